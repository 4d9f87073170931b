"""Formats: what the grammar is, and that nothing unknown passes for one."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmx_ray.llm.answer import ANSWER_SCHEMA
from pmx_ray.llm.local.schema import FormatError, grammar_of


def held(format: object) -> dict[str, object]:
    head, _, schema = grammar_of(format).partition("%json ")
    assert head == "%llguidance {}\nstart: "
    values: dict[str, object] = json.loads(schema)
    assert values.pop("x-guidance") == {"whitespace_flexible": False}
    return values


@pytest.mark.parametrize("free", [None, ""])
def test_grammar_when_no_format_then_none(free: object) -> None:
    assert grammar_of(free) == ""


def test_grammar_when_answer_schema_then_held_as_it_is() -> None:
    assert held(ANSWER_SCHEMA) == dict(ANSWER_SCHEMA)


def test_grammar_when_object_names_properties_then_no_others() -> None:
    schema = {"title": "T", "type": "object", "properties": {"a": {"type": "null", "title": "A"}}}
    assert held(schema) == {
        "type": "object",
        "properties": {"a": {"type": "null"}},
        "additionalProperties": False,
    }
    assert held("json")["additionalProperties"] is True


@pytest.mark.parametrize(
    "wrong",
    [
        "xml",
        7,
        True,
        [],
        {},
        {"type": "nope"},
        {"type": ["string", "null"]},
        {"type": "string", "pattern": "a+"},
        {"$ref": "#/$defs/x"},
        {"type": "object", "not": {"type": "null"}},
        {"type": "object", "properties": []},
        {"type": "object", "properties": {"a": {}}},
        {"type": "object", "properties": {"a": {"type": "nope"}}},
        {"type": "object", "properties": {}, "required": ["a"]},
        {"type": "object", "additionalProperties": {"type": "null"}},
        {"type": "array", "items": 5},
        {"enum": []},
        {"anyOf": []},
        {"anyOf": [{"type": "nope"}]},
        {"type": "integer", "minimum": "0"},
        {"type": "integer", "minimum": 2, "maximum": 1},
        {"type": "string", "maxLength": -1},
        {"minimum": 1},
    ],
)
def test_grammar_when_format_cannot_be_held_then_refused(wrong: object) -> None:
    with pytest.raises(FormatError):
        grammar_of(wrong)


def test_grammar_when_nested_too_deep_then_refused() -> None:
    schema: dict[str, object] = {"type": "null"}
    for _ in range(12):
        schema = {"type": "array", "items": schema}
    with pytest.raises(FormatError, match="deeper than 12"):
        grammar_of(schema)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["object", "string", "a"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ["type", "properties", "items", "anyOf", "enum", "required", "minimum", "a"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(JSON)
@settings(max_examples=300, deadline=None)
def test_grammar_when_anything_then_a_grammar_or_a_format_error(format: object) -> None:
    try:
        grammar = grammar_of(format)
    except FormatError:
        return
    assert (grammar == "") == (format in (None, ""))
