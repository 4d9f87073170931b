"""The JSON schemas that an answer can be held to, and the grammar of one.

llama.cpp lets a model write what it likes where it does not understand a grammar, in silence. So a
schema is refused here unless every word of it is one that was seen to hold.
"""

import json
from collections.abc import Mapping

MAX_DEPTH = 12
"""Schemas nested deeper are refused."""

_WORDS = {
    "additionalProperties",
    "anyOf",
    "const",
    "enum",
    "items",
    "maxItems",
    "maximum",
    "maxLength",
    "minItems",
    "minimum",
    "minLength",
    "properties",
    "required",
    "type",
}
_REMARKS = {"$schema", "$id", "title", "description", "default", "examples"}
_TYPES = {"object", "array", "string", "integer", "number", "boolean", "null"}


class FormatError(ValueError):
    """An answer cannot be held to what a request asks for."""


def grammar_of(format: object) -> str:
    """Return the grammar of a request's ``format``: empty without one.

    Answers are written without white space, which saves a third of their tokens, and objects hold
    no properties but those named, as in Ollama.

    Parameters
    ----------
    format : object
        None or ``""`` for free text, ``"json"`` for any object, or a JSON schema.

    Raises
    ------
    FormatError
        If it is something else, or a schema that cannot be held.

    Examples
    --------
    >>> print(grammar_of({"type": "boolean"}))
    %llguidance {}
    start: %json {"type":"boolean","x-guidance":{"whitespace_flexible":false}}
    """
    if format is None or format == "":
        return ""
    if format == "json":
        schema: dict[str, object] = {"type": "object", "additionalProperties": True}
    elif isinstance(format, Mapping):
        schema = _held(format, "format", MAX_DEPTH)
    else:
        raise FormatError(f"format was {str(format)[:40]!r}; it must be 'json' or a JSON schema")
    schema["x-guidance"] = {"whitespace_flexible": False}
    return "%llguidance {}\nstart: %json " + json.dumps(schema, separators=(",", ":"))


def _held(schema: object, where: str, depth: int) -> dict[str, object]:
    if not isinstance(schema, Mapping) or not schema:
        raise FormatError(f"{where} is not a JSON schema with at least one key")
    if depth == 0:
        raise FormatError(f"format is nested deeper than {MAX_DEPTH}")
    held = {str(word): value for word, value in schema.items() if word not in _REMARKS}
    unknown = sorted(set(held) - _WORDS)
    if unknown:
        raise FormatError(f"{where}: '{unknown[0]}' is not supported; known: {_listed(_WORDS)}")
    if not {"type", "enum", "const", "anyOf"} & set(held):
        raise FormatError(f"{where} has no type, enum, const or anyOf")
    if "type" in held and (not isinstance(held["type"], str) or held["type"] not in _TYPES):
        raise FormatError(f"{where}: type must be one of {_listed(_TYPES)}")
    _check_limits(held, where)
    if "enum" in held and not (isinstance(held["enum"], list) and held["enum"]):
        raise FormatError(f"{where}: enum must be a list with at least one value")
    if "anyOf" in held:
        options = held["anyOf"]
        if not isinstance(options, list) or not options:
            raise FormatError(f"{where}: anyOf must be a list of schemas")
        held["anyOf"] = [_held(option, f"{where}.anyOf", depth - 1) for option in options]
    if "items" in held:
        held["items"] = _held(held["items"], f"{where}.items", depth - 1)
    if held.get("type") == "object":
        held |= _object(held, where, depth)
    return held


def _object(held: Mapping[str, object], where: str, depth: int) -> dict[str, object]:
    properties, required = held.get("properties", {}), held.get("required", [])
    if not isinstance(properties, Mapping):
        raise FormatError(f"{where}: properties must be an object of schemas")
    if not isinstance(required, list) or not all(name in properties for name in required):
        raise FormatError(f"{where}: required must be a list of names among the properties")
    open_ended = held.get("additionalProperties", not properties)
    if not isinstance(open_ended, bool):
        raise FormatError(f"{where}: additionalProperties must be true or false")
    return {
        "properties": {
            str(name): _held(inner, f"{where}.{name}", depth - 1)
            for name, inner in properties.items()
        },
        "additionalProperties": open_ended,
    }


def _check_limits(held: Mapping[str, object], where: str) -> None:
    for word in ("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems"):
        value = held.get(word, 0)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise FormatError(f"{where}: {word} must be a number")
        if word not in ("minimum", "maximum") and (not isinstance(value, int) or value < 0):
            raise FormatError(f"{where}: {word} must be a whole number >= 0")
    for kind in ("imum", "Length", "Items"):
        low, high = held.get(f"min{kind}"), held.get(f"max{kind}")
        if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
            raise FormatError(f"{where}: min{kind} was {low} and max{kind} {high}")


def _listed(words: set[str]) -> str:
    return ", ".join(sorted(words))
