"""The paired loss differences of a comparison, one table a step, in words and short figures."""

import math
from collections.abc import Mapping, Sequence

from pmx_ray.backtest.comparison import Comparison, PairedDifference
from pmx_ray.report import typeset
from pmx_ray.report.markup import Markup, tag
from pmx_ray.report.tables import document, scroll
from pmx_ray.report.view import ReportView
from pmx_ray.stats.catalogue import MEASURES

IDENTITIES = frozenset({"baseline", "key", "schema_version"})
"""Entries of the document that tell a program what it holds, and a reader nothing."""

LOSSES = {"squared_error": "Squared error", "absolute_error": "Absolute error"}
"""Paired losses that the catalogue has as a mean or a root only."""


def lead(view: ReportView) -> str:
    """Return what the section shows and how its signs are read."""
    return (
        f"Mean loss of the forecaster less that of {view.walk} on the same cells. Below 0: the "
        f"forecaster loses less than {view.walk}. ↓ marks an interval wholly below 0, ↑ one wholly "
        "above."
    )


def tables(view: ReportView, comparison: Comparison) -> list[Markup]:
    """Return a table a step, then what else the document says but for its hashes."""
    listed = comparison.differences
    steps = sorted({one.step for one in listed})
    rest = {
        name: value
        for name, value in comparison.as_document().items()
        if name not in IDENTITIES | {"differences", "sets"}
    }
    return [
        *(_table(view, [one for one in listed if one.step == s]) for s in steps),
        document(rest),
    ]


def _table(view: ReportView, listed: Sequence[PairedDifference]) -> Markup:
    losses = list(dict.fromkeys(one.loss for one in listed))
    powers = {loss: _power([one for one in listed if one.loss == loss]) for loss in losses}
    by_spec: dict[str, dict[str, PairedDifference]] = {}
    for one in listed:
        by_spec.setdefault(one.spec, {})[one.loss] = one
    blocks = sorted({one.block_length for one in listed})
    caption = (
        f"Step {listed[0].step}: loss less that of {view.walk}, with its "
        f"{typeset.percent(view.level, 0)} interval. Below 0: the forecaster loses less than "
        f"{view.walk}. Mean block of the bootstrap: "
        f"{typeset.listing([str(n) for n in blocks])} cutoffs"
    )
    titles = [
        tag("th", "Forecaster", scope="col"),
        *(tag("th", _title(loss, powers[loss]), scope="col") for loss in losses),
        tag("th", "Cells", scope="col"),
        tag("th", "Cutoffs", scope="col"),
    ]
    rows = (
        tag(
            "tr",
            tag("th", _name(view, next(iter(found.values()))), scope="row"),
            *(_cell(found.get(loss), powers[loss]) for loss in losses),
            tag("td", _counted({loss: one.n_cells for loss, one in found.items()})),
            tag("td", _counted({loss: one.n_cutoffs for loss, one in found.items()})),
        )
        for found in by_spec.values()
    )
    head, body = tag("thead", tag("tr", *titles)), tag("tbody", *rows)
    return scroll(tag("table", tag("caption", caption), head, body), caption, pinned=True)


def _name(view: ReportView, one: PairedDifference) -> Markup:
    flag = tag("span", "incomplete", class_="flag") if one.spec in view.incomplete else Markup()
    return tag("span", one.label, flag, class_="table-label")


def _cell(one: PairedDifference | None, power: int) -> Markup:
    if one is None or one.mean is None:
        return tag("td", typeset.DASH)
    scale = 10.0**-power
    mean = significant(one.mean * scale)
    if one.low is None or one.high is None:
        return tag("td", mean, " ", tag("span", "no interval", class_="range"))
    ends = f"[{significant(one.low * scale)}, {significant(one.high * scale)}]"
    sign, place = ("↓", "better") if one.high < 0 else ("↑", "worse") if one.low > 0 else ("", "")
    mark = tag("strong", sign, " ", class_=place) if sign else Markup()
    return tag("td", mark, mean, " ", tag("span", ends, class_="range"))


def significant(value: float, digits: int = 3) -> str:
    """Return ``value`` with its sign and at least ``digits`` significant digits.

    Examples
    --------
    >>> significant(0.012345), significant(-12.3456), significant(0.0)
    ('+0.0123', '−12.3', '0')
    """
    if value == 0.0 or not math.isfinite(value):
        return "0" if value == 0.0 else typeset.fixed(value, 0)
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])  # after rounding
    text = typeset.fixed(value, max(0, digits - 1 - exponent))
    return text if text.startswith(typeset.MINUS) else f"+{text}"


def _power(listed: Sequence[PairedDifference]) -> int:
    """Return the power of ten, by threes, at which the largest mean of a loss is read."""
    largest = max((abs(one.mean) for one in listed if one.mean is not None), default=0.0)
    return 3 * math.floor(math.log10(largest) / 3) if 0.0 < largest < 1.0 else 0


def _title(loss: str, power: int) -> str:
    words = MEASURES[loss].title if loss in MEASURES else LOSSES.get(loss, loss.replace("_", " "))
    return f"{words}, 1e{power}".replace("-", typeset.MINUS) if power else words


def _counted(counts: Mapping[str, int]) -> str:
    """Return the number most losses share, then the losses that have another."""
    numbers = list(counts.values())
    usual = max(numbers, key=numbers.count)
    others = (f"{_title(loss, 0)} {n:,}" for loss, n in counts.items() if n != usual)
    return "; ".join((f"{usual:,}", *others))
