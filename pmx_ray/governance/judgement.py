"""One figure held against one limit, in words that a risk committee can read."""

import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

from pmx_ray.governance.decision import Check, Comparator

Unit: TypeAlias = Literal["fraction", "probability", "ratio", "count", "days", "hours", "bps"]

DECIMALS: dict[Unit, int] = {
    "fraction": 1, "probability": 3, "ratio": 2, "count": 0, "days": 0, "hours": 0,
    "bps": 2,
}  # fmt: skip
"""Digits after the point; more are shown where a figure lies that close to its limit."""

MOST_DECIMALS = 12


def judged(
    name: str,
    value: float | None,
    comparator: Comparator,
    limit: float,
    *,
    unit: Unit,
    say: Callable[[str, str], str],
    missing: str,
) -> Check:
    """Return the check that ``value`` stands to ``limit`` as ``comparator`` says.

    Parameters
    ----------
    name : str
        Of the check.
    value : float or None
        What was found. None, NaN and infinities are no figure: the check has then failed.
    comparator : str
        ``>=``, ``<=``, ``<`` or ``>``.
    limit : float
        What is asked for.
    unit : str
        Of both.
    say : callable
        From the texts of value and limit to what was found and what is asked for.
    missing : str
        What is missing and what supplies it, said where there is no figure.
    """
    if value is None or not math.isfinite(value):
        return Check(name, None, comparator, float(limit), unit, passed=False, sentence=missing)
    passed = holds(value, comparator, limit)
    sentence = f"{say(*texts(value, limit, unit=unit))} {'Met.' if passed else 'Not met.'}"
    return Check(
        name, float(value), comparator, float(limit), unit, passed=passed, sentence=sentence
    )


def binding(checks: Sequence[Check]) -> Check:
    """Return the first of several conditions of one check that failed; else the last of them."""
    return next((check for check in checks if not check.passed), checks[-1])


def holds(value: float, comparator: Comparator, limit: float) -> bool:
    """Return whether ``value`` stands to ``limit`` as ``comparator`` says."""
    match comparator:
        case ">=":
            return value >= limit
        case "<=":
            return value <= limit
        case ">":
            return value > limit
        case "<":
            return value < limit


def texts(value: float, limit: float, *, unit: Unit) -> tuple[str, str]:
    """Return both as texts, with as many digits as it takes to tell them apart.

    Examples
    --------
    >>> texts(0.1204, 0.15, unit="fraction")
    ('12.0%', '15.0%')
    >>> texts(0.14999, 0.15, unit="fraction")
    ('14.999%', '15.000%')
    """
    for decimals in range(DECIMALS[unit], MOST_DECIMALS):
        pair = shown(value, unit, decimals), shown(limit, unit, decimals)
        if pair[0] != pair[1] or value == limit:
            return pair
    return repr(value), repr(limit)


def shown(value: float, unit: Unit, decimals: int | None = None) -> str:
    """Return ``value`` as text: a fraction as a percentage, a count with its thousands apart."""
    digits = DECIMALS[unit] if decimals is None else decimals
    if unit == "fraction":
        return f"{100.0 * value:.{digits}f}%"
    if unit == "probability" and 0.0 < value < 0.5 * 10.0**-digits:
        return f"below {10.0**-digits:.{digits}f}"
    return f"{value:,.{digits}f}"
