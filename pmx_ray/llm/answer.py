"""What a language model may answer, as a schema it is held to, and the strict reading of it.

The model gives a direction and a size, never a signed return beside an action: so an answer
cannot contradict itself.
"""

import json
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Self, TypeVar

from pydantic import Field, model_validator

from pmx_ray.config import Settings
from pmx_ray.errors import LlmError
from pmx_ray.taxonomy import Action, RiskLevel

MAX_MOVE_BP = 2000
"""Largest move an answer may name: 20 %, in basis points."""

MAX_TEXT = 1000
"""Characters of an answer that are looked at; a whole one has about 60."""

ANSWER_SCHEMA: Mapping[str, object] = MappingProxyType(
    {
        "type": "object",
        "properties": {
            "action": {"type": "string", "enum": [action.value for action in Action]},
            "bp": {"type": "integer", "minimum": 0, "maximum": MAX_MOVE_BP},
            "confidence": {"type": "integer", "minimum": 0, "maximum": 100},
            "risk": {"type": "string", "enum": [level.value for level in RiskLevel]},
        },
        "required": ["action", "bp", "confidence", "risk"],
        "additionalProperties": False,
    }
)
"""JSON schema of an answer: about 20 tokens without white space."""

_SIGN = {Action.BUY: 1, Action.SELL: -1, Action.HOLD: 0}


class LLMRiskAssessment(Settings):
    """What a language model thinks of one ticker over one horizon.

    Attributes
    ----------
    action : Action
        What to do; never absent.
    expected_return_pct : float
        Expected simple return over the horizon, percent, -20 to 20: above 0 only to buy, below 0
        only to sell, 0 to hold.
    confidence : float
        0 to 1, as the model states it; nothing says that it is calibrated.
    risk_level : RiskLevel
        Low, medium, high or extreme.
    """

    action: Action
    expected_return_pct: float = Field(ge=-MAX_MOVE_BP / 100, le=MAX_MOVE_BP / 100)
    confidence: float = Field(ge=0, le=1)
    risk_level: RiskLevel

    @model_validator(mode="after")
    def _sides_agree(self) -> Self:
        side = (self.expected_return_pct > 0) - (self.expected_return_pct < 0)
        if side not in (0, _SIGN[self.action]):
            raise ValueError(
                f"action is {self.action} and expected_return_pct {self.expected_return_pct:g}"
            )
        return self


def parse_answer(text: str, *, done_reason: str = "stop") -> LLMRiskAssessment:
    """Return what an answer says, or refuse it; nothing is guessed and nothing is filled in.

    Parameters
    ----------
    text : str
        What the model wrote: one JSON object of ``ANSWER_SCHEMA``.
    done_reason : str
        Why it stopped writing; ``length`` means that its answer was cut off.

    Raises
    ------
    LlmError
        If the answer was cut off, is not that object, or holds a value out of bounds.

    Examples
    --------
    >>> said = parse_answer('{"action":"sell","bp":85,"confidence":60,"risk":"high"}')
    >>> said.action.value, said.expected_return_pct, said.confidence, said.risk_level.value
    ('sell', -0.85, 0.6, 'high')
    """
    if done_reason != "stop":
        raise LlmError(
            f"answer ended by {done_reason or 'nothing'!r} and may be cut off: {_shown(text)}; "
            "raise max_tokens"
        )
    if len(text) > MAX_TEXT:
        raise LlmError(f"answer has {len(text)} characters; at most {MAX_TEXT} are read")
    try:
        values = json.loads(text, object_pairs_hook=_once_each, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise LlmError(f"answer is not one JSON object ({error}): {_shown(text)}") from None
    if not isinstance(values, dict) or set(values) != {"action", "bp", "confidence", "risk"}:
        raise LlmError(
            f"answer is not an object of action, bp, confidence and risk: {_shown(text)}"
        )
    chosen = _word(values["action"], "action", Action)
    move_bp = _number(values["bp"], "bp", MAX_MOVE_BP)
    return LLMRiskAssessment(
        action=chosen,
        expected_return_pct=_SIGN[chosen] * move_bp / 100.0,
        confidence=_number(values["confidence"], "confidence", 100) / 100.0,
        risk_level=_word(values["risk"], "risk", RiskLevel),
    )


def _once_each(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key is given twice")
    return values


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is no number")


def _number(value: object, name: str, limit: int) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise LlmError(f"{name} of an answer was {_shown(repr(value))}; it must be a number")
    if not 0 <= value <= limit or not math.isfinite(value):
        raise LlmError(f"{name} of an answer was {_shown(repr(value))}; it must be 0 to {limit}")
    return float(value)


W = TypeVar("W", Action, RiskLevel)


def _word(value: object, name: str, words: type[W]) -> W:
    if not isinstance(value, str) or value not in list(words):
        known = ", ".join(words)
        raise LlmError(f"{name} of an answer was {_shown(repr(value))}; it must be one of {known}")
    return words(value)


def _shown(text: str) -> str:
    """Return the beginning of what a model wrote, on one line and without control characters."""
    flat = " ".join(text.split())
    return repr(flat if len(flat) <= 80 else flat[:77] + "...")
