from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from pmx_ray.config import Settings, override, parse, read_yaml, suggestion
from pmx_ray.errors import SettingsError


class Left(Settings):
    side: Literal["left"] = "left"
    depth: int = 1


class Right(Settings):
    side: Literal["right"] = "right"
    width: float = 1.0


class Tree(Settings):
    name: str
    branch: Annotated[Left | Right, Field(discriminator="side")] = Left()
    leaves: tuple[Left, ...] = ()


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"nam": "x"}, "f.yaml: unknown key 'nam'; did you mean 'name'?"),
        ({"name": "x", "zzz": 1}, "f.yaml: unknown key 'zzz'; known: branch, leaves, name"),
        (
            {"name": "x", "branch": {"side": "right", "widht": 2}},
            "f.yaml: unknown key 'branch.right.widht'; did you mean 'width'?",
        ),
        (
            {"name": "x", "leaves": [{"dept": 2}]},
            "f.yaml: unknown key 'leaves.0.dept'; did you mean 'depth'?",
        ),
        ({"name": "x", "leaves": [{"depth": "deep"}]}, "leaves.0.depth: .* (was 'deep')"),
        ({"name": "x", "branch": {"side": "up"}}, "branch: .*'left', 'right'"),
        ({}, "f.yaml: name: Field required"),
    ],
)
def test_parse_when_a_key_is_wrong_then_one_line_says_where(
    written: dict[str, object], message: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(Tree, written, where="f.yaml")
    text = str(caught.value)
    assert "\n" not in text
    if ".*" in message:
        for part in message.split(".*"):
            assert part in text
    else:
        assert text == message


def test_parse_when_a_number_is_infinite_then_refused() -> None:
    with pytest.raises(SettingsError, match="width: Input should be a finite number"):
        parse(Right, {"width": float("inf")}, where="f.yaml")


def test_override_when_nested_then_set_and_typed_as_yaml() -> None:
    values = {"folds": {"step_size": 5}, "seed": 1}
    assert override(values, ["folds.step_size=20", "folds.steps=[1, 5]", "a.b=x"]) == {
        "folds": {"step_size": 20, "steps": [1, 5]},
        "seed": 1,
        "a": {"b": "x"},
    }
    assert values == {"folds": {"step_size": 5}, "seed": 1}  # untouched


@pytest.mark.parametrize("assignment", ["seed", "=1", "seed.x=1", "seed=[1"])
def test_override_when_malformed_then_refused(assignment: str) -> None:
    with pytest.raises(SettingsError, match="--set"):
        override({"seed": 1}, [assignment])


def test_read_when_the_file_is_missing_then_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "demo.yaml").write_text("a: 1")
    with pytest.raises(SettingsError, match=r"no such settings file; did you mean 'demo.yaml'\?"):
        read_yaml(tmp_path / "dmo.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "not valid YAML"),
        ("- 1", "holds list"),
        ("", "is empty"),
        ("a: 1\nb: {c: 1, c: 2}", "key 'c' is given twice"),
        ("a: " + "[" * 3000, "not valid YAML"),
    ],
)
def test_read_when_not_a_mapping_then_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "f.yaml").write_text(text)
    with pytest.raises(SettingsError, match=message):
        read_yaml(tmp_path / "f.yaml")


def test_suggestion_when_nothing_is_near_then_lists_what_is_known() -> None:
    assert suggestion("qqq", ["garch", "drift"]) == "; known: drift, garch"
    assert suggestion("qqq", []) == ""
