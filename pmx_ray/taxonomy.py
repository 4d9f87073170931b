"""Words that the API, the ledger and the router share: actions and risk levels, one enum each."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from pmx_ray.errors import DataError

T = TypeVar("T")


class Action(StrEnum):
    """What a signal advises; every signal has one."""

    BUY = "buy"
    SELL = "sell"
    HOLD = "hold"


class RiskLevel(StrEnum):
    """How risky acting on a signal is, mildest first."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    EXTREME = "extreme"

    @property
    def severity(self) -> int:
        """0 for low to 3 for extreme."""
        return list(RiskLevel).index(self)

    @property
    def score(self) -> float:
        """Severity as a fraction, 0 for low to 1 for extreme."""
        return self.severity / (len(RiskLevel) - 1)


_RISK_WORDS = {
    "low": RiskLevel.LOW,
    "very_low": RiskLevel.LOW,
    "minimal": RiskLevel.LOW,
    "medium": RiskLevel.MEDIUM,
    "moderate": RiskLevel.MEDIUM,
    "mid": RiskLevel.MEDIUM,
    "normal": RiskLevel.MEDIUM,
    "high": RiskLevel.HIGH,
    "elevated": RiskLevel.HIGH,
    "extreme": RiskLevel.EXTREME,
    "very_high": RiskLevel.EXTREME,
    "critical": RiskLevel.EXTREME,
    "severe": RiskLevel.EXTREME,
}

_ACTION_WORDS = {
    "buy": Action.BUY,
    "long": Action.BUY,
    "strong_buy": Action.BUY,
    "sell": Action.SELL,
    "short": Action.SELL,
    "strong_sell": Action.SELL,
    "hold": Action.HOLD,
    "neutral": Action.HOLD,
    "wait": Action.HOLD,
    "none": Action.HOLD,
    "no_data": Action.HOLD,
}


def risk_level(word: str) -> RiskLevel:
    """Return the risk level that a word of older records means.

    Raises
    ------
    DataError
        If it means none.

    Examples
    --------
    >>> risk_level(" Very High ").value
    'extreme'
    """
    return _looked_up(word, _RISK_WORDS, "risk level")


def action(word: str | None) -> Action:
    """Return the action that a word of older records means; none, or no data, is to hold.

    Raises
    ------
    DataError
        If it means none.

    Examples
    --------
    >>> action("STRONG_BUY").value, action(None).value
    ('buy', 'hold')
    """
    return Action.HOLD if not word else _looked_up(word, _ACTION_WORDS, "action")


def _looked_up(word: str, words: Mapping[str, T], what: str) -> T:
    key = re.sub(r"[\s-]+", "_", word.strip().lower())
    try:
        return words[key]
    except KeyError:
        raise DataError(f"{what} was {word!r}; it must be one of {', '.join(words)}") from None
