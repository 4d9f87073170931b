"""`pmx check-forecaster` as a person uses it; `pmx audit-leaks` is in test_app."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pmx_ray.cli.app import app
from pmx_ray.errors import SettingsError


def run(*words: str, code: int) -> str:
    done = CliRunner().invoke(app, ["check-forecaster", *words, "--input-size", "260"])
    assert done.exit_code == code, done.output
    return done.output


def test_check_forecaster_when_sound_then_exit_0() -> None:
    out = run("leaks.faulty:Sound", code=0)
    assert "check: 20 of 20 checks passed" in out
    assert "FAIL" not in out


def test_check_forecaster_when_it_looks_ahead_then_exit_1_and_what_to_do() -> None:
    lines = run("leaks.faulty:LooksAhead", code=1).splitlines()
    failed = [line.split()[1:4] for line in lines if line.startswith("  FAIL")]
    assert failed == [["no", "leak:", "truncate"], ["no", "leak:", "overwrite"]]
    assert sum("-> use sessions up to the cutoff only" in line for line in lines) == 2


def test_check_forecaster_when_it_cannot_run_then_the_rest_is_not_made() -> None:
    assert "check: 0 of 1 checks passed; 19 more were not made" in run(
        "leaks.faulty:NoExtend", code=1
    )


def test_check_forecaster_when_json_is_asked_then_one_object_a_line() -> None:
    out = run("leaks.faulty:Percent", "--json", code=1)
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["name"] for line in lines if line.get("passed") is False] == ["decimal units"]
    assert lines[-1] == {"event": "check", "checks": 20, "failed": 1, "skipped": 0}


def test_check_forecaster_when_a_setting_is_given_then_used() -> None:
    assert "leaks.faulty:Sound(share=0.5)" in run(
        "leaks.faulty:Sound", "--setting", "share=0.5", code=0
    )


@pytest.mark.parametrize("word", ["share", "=1", "share=[1"])
def test_check_forecaster_when_a_setting_is_not_name_value_then_refused(word: str) -> None:
    done = CliRunner().invoke(app, ["check-forecaster", "leaks.faulty:Sound", "--setting", word])
    assert isinstance(done.exception, SettingsError)
    assert word in str(done.exception)


def test_check_forecaster_when_the_class_is_the_documented_one_then_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "leaks.md").read_text()
    (tmp_path / "momentum_models.py").write_text(page.split("```python\n")[1].split("```")[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    out = run("momentum_models:Momentum", code=1)
    shown = [line for line in page.splitlines() if line.startswith("  FAIL")]
    assert [line.split("   ")[0] for line in out.splitlines() if "FAIL" in line] == [
        line.split("   ")[0] for line in shown
    ]
