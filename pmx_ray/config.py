"""Settings: frozen pydantic models, read from YAML, with errors a person can act on."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from pmx_ray.errors import SettingsError


class Settings(BaseModel):
    """Base of every settings class: frozen, finite, unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def suggestion(word: str, known: Sequence[str]) -> str:
    """Return ``; did you mean 'x'?`` for the nearest known word, or the list of known words.

    Examples
    --------
    >>> suggestion("gatch", ["garch", "drift"])
    "; did you mean 'garch'?"
    """
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; known: {', '.join(sorted(known))}" if known else ""


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key given twice; plain YAML loaders keep the last in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(
                problem=f"key '{twice}' is given twice", problem_mark=node.start_mark
            )
        return super().construct_mapping(node, deep=deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping that a YAML file holds.

    Raises
    ------
    SettingsError
        If the file is missing, is not YAML, or is not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise SettingsError(f"{path}: no such settings file{suggestion(path.name, near)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from None
    try:
        loaded = yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, RecursionError) as error:
        detail = " ".join(str(error).split())
        raise SettingsError(f"{path}: not valid YAML: {detail}") from None
    if loaded is None:
        raise SettingsError(f"{path}: is empty; it must be a mapping of keys")
    if not isinstance(loaded, dict):
        raise SettingsError(f"{path}: holds {type(loaded).__name__}; it must be a mapping of keys")
    return loaded


def override(values: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Return ``values`` with each ``a.b=value`` of ``assignments`` set; values are read as YAML.

    Raises
    ------
    SettingsError
        If an assignment has no ``=`` or its path runs through something that is not a mapping.

    Examples
    --------
    >>> override({"folds": {"step_size": 5}}, ["folds.step_size=20"])
    {'folds': {'step_size': 20}}
    """
    result = dict(values)
    for assignment in assignments:
        dotted, separator, text = assignment.partition("=")
        if not separator or not dotted:
            raise SettingsError(
                f"--set {assignment}: write it as key=value, e.g. folds.step_size=5"
            )
        *parents, last = dotted.split(".")
        node = result
        for key in parents:
            child = node.get(key, {})
            if not isinstance(child, Mapping):
                raise SettingsError(f"--set {assignment}: '{key}' is not a mapping")
            node[key] = dict(child)
            node = node[key]
        try:
            node[last] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise SettingsError(f"--set {assignment}: the value is not valid YAML") from None
    return result


M = TypeVar("M", bound=BaseModel)


def parse(model: type[M], values: Mapping[str, Any], *, where: str) -> M:
    """Return ``values`` as ``model``.

    Parameters
    ----------
    model : type of BaseModel
        The settings class.
    values : mapping
        What the user wrote.
    where : str
        File or option the values came from; starts the error's message.

    Raises
    ------
    SettingsError
        One line that names the first wrong key, what is wrong, and the nearest known key.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise SettingsError(f"{where}: {_first_error(model, error)}") from None


PLAIN = {
    "tuple_type": "must be a list, e.g. [1, 5]",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "string_type": "must be text",
    "string_pattern_mismatch": "must be at most 64 letters, digits, - and _",
}
"""What pydantic says in its own terms, in the user's."""


def _first_error(model: type[BaseModel], error: ValidationError) -> str:
    # Unknown keys first: a misspelt key is also reported as the missing right one.
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    location = [str(part) for part in first["loc"]]
    path = ".".join(location)
    if first["type"] == "extra_forbidden":
        known = _known_keys(model, first["loc"][:-1])
        return f"unknown key '{path}'{suggestion(location[-1], known)}"
    message = PLAIN.get(first["type"], first["msg"].removeprefix("Value error, "))
    given = first.get("input")
    shown = f" (was {given!r})" if isinstance(given, str | int | float | bool) else ""
    return f"{path}: {message}{shown}" if path else message


def _known_keys(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Return the keys that the settings class found at ``location`` accepts."""
    candidates: list[type[BaseModel]] = [model]
    for part in location:
        if isinstance(part, int):
            continue
        inner: list[type[BaseModel]] = []
        for candidate in candidates:
            if part in candidate.model_fields:
                inner += _models_in(candidate.model_fields[part].annotation)
            elif part in _tags(candidate):  # pydantic puts a union's tag into the location
                inner.append(candidate)
        candidates = inner
    return sorted({key for candidate in candidates for key in candidate.model_fields})


def _tags(model: type[BaseModel]) -> set[object]:
    """Return the literal values of a settings class's fields: the tags of a tagged union."""
    return {arg for field in model.model_fields.values() for arg in get_args(field.annotation)}


def _models_in(annotation: object) -> list[type[BaseModel]]:
    """Return the settings classes inside an annotation such as ``tuple[A | B, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for arg in get_args(annotation) for model in _models_in(arg)]
