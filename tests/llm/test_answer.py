"""What is taken from an answer, and that nothing is taken from anything else."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pmx_ray.errors import LlmError
from pmx_ray.llm.answer import LLMRiskAssessment, parse_answer
from pmx_ray.taxonomy import Action, RiskLevel

GOOD = {"action": "buy", "bp": 131, "confidence": 40, "risk": "extreme"}


def text(**change: object) -> str:
    return json.dumps({**GOOD, **change})


@pytest.mark.parametrize(
    ("action", "expected_pct"), [("buy", 1.31), ("sell", -1.31), ("hold", 0.0)]
)
def test_parse_when_good_then_sign_follows_action(action: str, expected_pct: float) -> None:
    said = parse_answer(text(action=action))
    assert said == LLMRiskAssessment(
        action=Action(action),
        expected_return_pct=expected_pct,
        confidence=0.4,
        risk_level=RiskLevel.EXTREME,
    )


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "buy",
        "null",
        "[]",
        '{"action":"buy"}',
        text(extra=1),
        text(action="BUY"),
        text(action=None),
        text(action=["buy"]),
        text(bp=-1),
        text(bp=2001),
        text(bp="100"),
        text(bp=True),
        text(bp=float("nan")),
        text(bp=float("inf")),
        text(bp=10**400),
        text(confidence=101),
        text(confidence=None),
        text(risk="severe"),
        text() + text(),
        text()[:-1],
        text()[:-1] + ',"bp":1}',
        "[" * 900,
        text() + " " * 1000,
        '{"action":"buy","bp":1e999,"confidence":1,"risk":"low"}',
    ],
)
def test_parse_when_anything_else_then_refused(wrong: str) -> None:
    with pytest.raises(LlmError, match="answer"):
        parse_answer(wrong)


@pytest.mark.parametrize("done_reason", ["length", "", "unfinished", "load"])
def test_parse_when_cut_off_then_refused_even_if_it_reads(done_reason: str) -> None:
    with pytest.raises(LlmError, match="cut off"):
        parse_answer(text(), done_reason=done_reason)


def test_error_when_answer_has_control_characters_then_one_printable_line() -> None:
    with pytest.raises(LlmError) as caught:
        parse_answer("\x1b[2J\n" + "x" * 500)
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-3000, 3000)
    | st.floats()
    | st.sampled_from(["buy", "sell", "low", "x"])
)
OBJECTS = st.dictionaries(st.sampled_from([*GOOD, "x"]), VALUES).map(json.dumps)


@given(st.text(max_size=60) | OBJECTS)
@settings(max_examples=300, deadline=None)
def test_parse_when_anything_then_bounded_or_refused(written: str) -> None:
    try:
        said = parse_answer(written)
    except LlmError:
        return
    assert abs(said.expected_return_pct) <= 20
    assert 0 <= said.confidence <= 1


@pytest.mark.parametrize(
    "change",
    [
        {"action": "sell"},
        {"action": "hold"},
        {"expected_return_pct": 20.01},
        {"confidence": 1.1},
        {"risk_level": "severe"},
        {"action": None},
    ],
)
def test_assessment_when_it_contradicts_itself_then_refused(change: dict[str, object]) -> None:
    good = {"action": "buy", "expected_return_pct": 1.0, "confidence": 0.5, "risk_level": "low"}
    LLMRiskAssessment.model_validate(good)
    with pytest.raises(ValidationError):
        LLMRiskAssessment.model_validate({**good, **change})
