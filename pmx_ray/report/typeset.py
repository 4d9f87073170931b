"""Numbers as a reader wants them: sensible digits, units, and an en dash where there is none."""

import math
from collections.abc import Iterable, Sequence

DASH = "\N{EN DASH}"
"""Stands for a number that could not be computed."""


MINUS = "\N{MINUS SIGN}"
"""Stands before a negative number; a terminal shows a hyphen in its place."""


def fixed(value: float, decimals: int) -> str:
    """Return ``value`` with ``decimals`` digits after the point; an en dash where it is NaN.

    Examples
    --------
    >>> fixed(0.023561, 5), fixed(float("nan"), 5), fixed(float("inf"), 2)
    ('0.02356', '–', '∞')
    """
    if math.isnan(value):
        return DASH
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0.0 else text.replace("-", MINUS)


def count(value: float) -> str:
    """Return a whole number with its thousands set apart; an en dash where not finite."""
    return f"{round(value):,}" if math.isfinite(value) else DASH


def percent(fraction: float, decimals: int = 1) -> str:
    """Return a fraction as a percentage with its sign and unit.

    Examples
    --------
    >>> percent(-0.0123), percent(0.91)
    ('−1.2%', '91.0%')
    """
    text = fixed(100.0 * fraction, decimals)
    return text if text == DASH else f"{text}%"


def skill(fraction: float, decimals: int = 2) -> str:
    """Return a skill as a percentage that always states its sign, so that better reads as ``+``.

    Examples
    --------
    >>> skill(0.0123), skill(-0.00304), skill(0.0)
    ('+1.23%', '−0.30%', '0.00%')
    """
    text = percent(fraction, decimals)
    zero = text == percent(0.0, decimals)
    return text if zero or text == DASH or text.startswith(MINUS) else f"+{text}"


def interval(low: float, high: float, decimals: int = 2, *, signed: bool = True) -> str:
    """Return an interval of fractions in percent; empty where an end is missing or both are 0.

    Examples
    --------
    >>> interval(-0.021, 0.004)
    '[−2.10, +0.40]'
    >>> interval(0.481, 0.533, 1, signed=False)
    '[48.1, 53.3]'
    """
    if not (math.isfinite(low) and math.isfinite(high)) or low == high == 0.0:
        return ""
    write = skill if signed else percent
    ends = (write(end, decimals).removesuffix("%") for end in (low, high))
    return f"[{', '.join(ends)}]"


def decimals_for(values: Iterable[float], *, significant: int = 4) -> int:
    """Return the decimals at which the smallest of ``values`` keeps its significant digits.

    One number of decimals serves a whole column, so that its points stand below each other.

    Examples
    --------
    >>> decimals_for([0.02356, 0.1056])
    5
    """
    sizes = [abs(value) for value in values if math.isfinite(value) and value != 0.0]
    if not sizes:
        return significant - 1
    return min(8, max(0, significant - 1 - math.floor(math.log10(min(sizes)))))


def listing(names: Sequence[str], *, most: int = 4) -> str:
    """Return names as a phrase, the ones past ``most`` counted.

    Examples
    --------
    >>> listing(["drift", "theta"]), listing(["a", "b", "c", "d", "e", "f"])
    ('drift and theta', 'a, b, c, d and 2 more')
    """
    shown = list(names)
    if len(names) > most + 1:
        shown = [*names[:most], f"{len(names) - most} more"]
    if len(shown) < 2:
        return "".join(shown)
    return f"{', '.join(shown[:-1])} and {shown[-1]}"


def shortened(text: str, width: int) -> str:
    """Return ``text`` in at most ``width`` characters; a longer one loses its middle.

    Examples
    --------
    >>> shortened("sarimax(order=1-1-1)", 13)
    'sarima…1-1-1)'
    """
    if len(text) <= width:
        return text
    end = (width - 1) // 2
    return f"{text[: width - 1 - end]}…{text[len(text) - end :]}"


def things(n: int, noun: str, plural: str = "") -> str:
    """Return a count with its noun in the right number.

    Examples
    --------
    >>> things(1, "cell"), things(1200, "cell")
    ('1 cell', '1,200 cells')
    """
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"
