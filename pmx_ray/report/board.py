"""The leaderboard tables of the page, with each skill's interval drawn about zero."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pmx_ray.report import typeset
from pmx_ray.report.figures import Style
from pmx_ray.report.markup import Markup, markup, tag
from pmx_ray.report.tables import scroll, way
from pmx_ray.report.view import ReportView, common_cells, comparable, records
from pmx_ray.stats.catalogue import MEASURES

GLYPH = (100, 18)
"""Width and height of an interval's drawing, pixels."""


@dataclass(frozen=True, slots=True)
class Heading:
    """One column of a leaderboard table: group, text, and the cells of all rows."""

    group: str
    title: Markup
    cells: Sequence[Markup]


def leaderboard(view: ReportView, step: int, styles: Mapping[str, Style]) -> Markup:
    """Return the two leaderboard tables of one step: what decides, then the rest."""
    rows = view.at(step)
    n_cutoffs = typeset.things(int(rows["n_cutoffs"].max()), "cutoff")
    where = f"Step {step}: {common_cells(rows)} over {n_cutoffs}"
    if rows["incomplete"].any():
        where = f"{where}; in parentheses: incomplete, over fewer cells, not to be compared"
    trading = "Strategy, net of costs"
    first = [
        _measure(rows, "Price level", "rmse"),
        *_skill(rows, "Price level", "skill_rmse"),
        _measure(rows, "Variance", "qlike"),
        *_skill(rows, "Variance", "skill_qlike"),
        *(_measure(rows, "Distribution", name) for name in ("crps", "coverage_50", "coverage_90")),
        Heading("Direction", _title("hit_rate"), _ranged(rows, "hit_rate")),
    ]
    second = [
        *(
            _measure(rows, "Further losses", name)
            for name in ("mae", "smape", "tracking_error", "pinball")
        ),
        _counts(rows, trading, "Trades", "n_trades"),
        Heading(trading, _title("profit_factor"), _ranged(rows, "profit_factor")),
        *(
            _measure(rows, trading, name)
            for name in (
                "net_return",
                "max_drawdown_frac",
                "sharpe_annual",
                "volatility_adjusted_return",
            )
        ),
        _counts(rows, "Cells", "Scored", "n_scored"),
        _counts(rows, "Cells", "Failed", "n_failed"),
    ]
    return markup(
        _board(view, rows, styles, first, f"{where}. Skill, calibration and direction"),
        _board(view, rows, styles, second, f"{where}. Further losses, strategy and cells"),
    )


def _board(
    view: ReportView,
    rows: pd.DataFrame,
    styles: Mapping[str, Style],
    columns: Sequence[Heading],
    caption: str,
) -> Markup:
    groups: dict[str, int] = {}
    for column in columns:
        groups[column.group] = groups.get(column.group, 0) + 1
    head = tag(
        "thead",
        tag(
            "tr",
            tag("td"),
            *(
                tag("th", group, colspan=str(span), scope="colgroup")
                for group, span in groups.items()
            ),
            class_="groups",
        ),
        tag(
            "tr",
            tag("th", "Forecaster", scope="col"),
            *(tag("th", column.title, scope="col") for column in columns),
        ),
    )
    body = tag(
        "tbody",
        *(
            tag(
                "tr",
                tag("th", _name(row, view.baseline, styles), scope="row"),
                *(column.cells[n] for column in columns),
                class_=_class(row, view.baseline),
            )
            for n, row in enumerate(records(rows))
        ),
    )
    table = tag("table", tag("caption", caption), head, body)
    return scroll(table, caption, pinned=True)


def _class(row: Mapping[str, object], baseline: str) -> str:
    if row["spec"] == baseline:
        return "baseline"
    return "incomplete" if row["incomplete"] else ""


def _name(row: Mapping[str, object], baseline: str, styles: Mapping[str, Style]) -> Markup:
    spec = str(row["spec"])
    flags = []
    if spec == baseline:
        flags.append(tag("span", "baseline", class_="flag"))
    if row["incomplete"]:
        flags.append(
            tag(
                "span",
                f"incomplete: {row['n_common']:,} cells",
                class_="flag",
                title="failed too often: scored on the common cells it served, ranked last",
            )
        )
    drawing = swatch(styles[spec]) if spec in styles else Markup()
    return tag("span", drawing, _breakable(str(row["label"])), *flags, class_="table-label")


def _breakable(label: str) -> Markup:
    """Return a label that a narrow page may break after an underscore."""
    first, *rest = label.split("_")
    return tag("span", first, *(markup("_", tag("wbr"), part) for part in rest))


def swatch(style: Style) -> Markup:
    """Return a short line in the style of a forecaster."""
    dashes = {"solid": "", "dash": "5 3", "dot": "2 2", "dashdot": "5 2 2 2"}[style.dash]
    line = tag(
        "line",
        x1="0",
        x2="18",
        y1="5",
        y2="5",
        style=f"stroke:var({style.colour});stroke-width:3;stroke-dasharray:{dashes or 'none'}",
    )
    return tag("svg", line, width="18", height="10", aria_hidden="true")


def _measure(rows: pd.DataFrame, group: str, name: str) -> Heading:
    fraction = MEASURES[name].unit == "fraction"
    decimals = 2 if name in {"sharpe_annual", "volatility_adjusted_return"} else None
    if decimals is None:
        decimals = typeset.decimals_for(rows[name])
    texts = (
        typeset.percent(value) if fraction else typeset.fixed(value, decimals)
        for value in rows[name]
    )
    return Heading(group, _title(name), [_cell(text) for text in comparable(texts, rows)])


def _skill(rows: pd.DataFrame, group: str, name: str) -> tuple[Heading, Heading]:
    ends = list(zip(rows[name], rows[f"{name}_low"], rows[f"{name}_high"], strict=True))
    reach = _reach([end for row in ends for end in row[1:]])
    texts = comparable((typeset.skill(value) for value, _, _ in ends), rows)
    cells = [
        tag("td", text, _range(typeset.interval(low, high)))
        for text, (_, low, high) in zip(texts, ends, strict=True)
    ]
    drawings = [
        tag("td", Markup() if partial else _glyph(*end, reach), class_="glyph-cell")
        for end, partial in zip(ends, rows["incomplete"], strict=True)
    ]
    scale = tag("span", f"±{typeset.percent(reach)}", title="an interval at the edge goes on")
    return Heading(group, _title(name), cells), Heading(group, scale, drawings)


def _reach(ends: Sequence[float]) -> float:
    """Return the skill at a drawing's edge; a far outlier is cut off, its figures are not."""
    sizes = np.abs(np.array([end for end in ends if np.isfinite(end) and end != 0.0]))
    if not sizes.size:
        return 0.01
    return float(min(sizes.max(), 5 * np.quantile(sizes, 0.75)))


def _glyph(value: float, low: float, high: float, reach: float) -> Markup:
    """Return the interval as a line about the zero of the random walk."""
    if not low <= high:
        return Markup()
    width, height = GLYPH

    def x(skill: float) -> str:
        return f"{width / 2 * (1 + min(1.0, max(-1.0, skill / reach))):.1f}"

    colour = "--better" if low > 0 else "--worse" if high < 0 else "--soft"
    middle = str(height / 2)
    zero = tag(
        "line", x1=x(0), x2=x(0), y1="0", y2=str(height), style="stroke:var(--rw);stroke-width:1"
    )
    span = tag(
        "line",
        x1=x(low),
        x2=x(high),
        y1=middle,
        y2=middle,
        style=f"stroke:var({colour});stroke-width:2.5",
    )
    point = tag("circle", cx=x(value), cy=middle, r="3.2", style=f"fill:var({colour})")
    inside = point if abs(value) <= reach else Markup()
    return tag(
        "svg",
        zero,
        span,
        inside,
        class_="glyph",
        width=str(width),
        height=str(height),
        aria_hidden="true",
    )


def _ranged(rows: pd.DataFrame, name: str) -> list[Markup]:
    fraction = MEASURES[name].unit == "fraction"
    write: Callable[[float], str] = (
        typeset.percent if fraction else lambda value: typeset.fixed(value, 2)
    )
    cells = []
    texts = comparable(map(write, rows[name]), rows)
    for text, low, high in zip(texts, rows[f"{name}_low"], rows[f"{name}_high"], strict=True):
        known = not (np.isnan(low) or np.isnan(high))
        ends = f"[{write(low).removesuffix('%')}, {write(high).removesuffix('%')}]" if known else ""
        cells.append(tag("td", text, _range(ends)))
    return cells


def _counts(rows: pd.DataFrame, group: str, title: str, name: str) -> Heading:
    return Heading(group, markup(title), [_cell(typeset.count(n)) for n in rows[name]])


def _title(name: str) -> Markup:
    measure = MEASURES[name]
    arrow = {"lower": "\N{NO-BREAK SPACE}↓", "higher": "\N{NO-BREAK SPACE}↑", "target": ""}[
        measure.direction
    ]
    words = measure.title.replace(" %", "\N{NO-BREAK SPACE}%")
    return tag("abbr", f"{words}{arrow}", title=f"{measure.explanation} {way(measure)}")


def _cell(text: str) -> Markup:
    return tag("td", text)


def _range(text: str) -> Markup:
    return tag("span", text, class_="range") if text else Markup()
