"""The leaderboard on a terminal: one table a step, as many columns as its width can hold."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pandas as pd
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pmx_ray.backtest.report_types import EvaluationReport
from pmx_ray.report import typeset
from pmx_ray.report.view import ReportView, common_cells, comparable, records

WIDE = 160
"""Width in characters at which every column is shown."""

LABEL_WIDTH = 28
"""Longest a forecaster's name may be in the table; a longer one loses its middle."""

GAP = 2
"""Characters between two columns."""

NAME = "forecaster"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the terminal's leaderboard.

    Attributes
    ----------
    title : str
        Heading.
    cells : tuple of str
        One text a row.
    importance : int
        The columns with the highest importance are kept on a narrow terminal.
    """

    title: str
    cells: tuple[str, ...]
    importance: int

    @property
    def width(self) -> int:
        """Characters that the column needs."""
        return max(cell_len(text) for text in (self.title, *self.cells))


def leaderboard_tables(report: EvaluationReport, *, width: int = WIDE) -> list[Table]:
    """Return the leaderboard as one table a step, best rank first.

    Parameters
    ----------
    report : EvaluationReport
        What was found.
    width : int
        Characters a line may hold. Of the columns those that fit are kept, the most important
        first, the same in every table; nothing wraps.
    """
    view = ReportView.of(report)
    layout = _layout(view, width)
    return [_table(view, step, layout) for step in view.steps]


def print_leaderboard(report: EvaluationReport, console: Console) -> None:
    """Print the leaderboard as wide as ``console`` is, and how to read it."""
    view = ReportView.of(report)
    layout = _layout(view, console.width)
    for step in view.steps:
        console.print(_table(view, step, layout), crop=False)
        console.print()
    for note in _notes(view, layout):
        console.print(Text(note))


def _layout(view: ReportView, width: int) -> dict[str, int]:
    """Return the columns shown and the width of each, the same for every step."""
    widths: dict[str, int] = {}
    importance: dict[str, int] = {}
    for step in view.steps:
        for column in _columns(view.at(step), view.baseline):
            widths[column.title] = max(column.width, widths.get(column.title, 0))
            importance[column.title] = max(column.importance, importance.get(column.title, 0))
    room = width
    kept: set[str] = set()
    for title in sorted(widths, key=lambda title: -importance[title]):
        needed = widths[title] + (GAP if kept else 0)
        if needed <= room:
            room -= needed
            kept.add(title)
    return {title: widths[title] for title in widths if title in kept}


def _table(view: ReportView, step: int, layout: Mapping[str, int]) -> Table:
    rows = view.at(step)
    columns = [column for column in _columns(rows, view.baseline) if column.title in layout]
    table = Table(
        title=f"Step {step}: {common_cells(rows)}",
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, GAP, 0, 0),
    )
    for column in columns:
        justify: Literal["left", "right"] = "left" if column.title == NAME else "right"
        table.add_column(
            column.title, justify=justify, no_wrap=True, min_width=layout[column.title]
        )
    for position, spec in enumerate(rows["spec"]):
        cells = [_kept(column.cells[position]) for column in columns]
        table.add_row(*cells, style="dim" if spec == view.baseline else "")
    return table


def _kept(text: str) -> Text:
    """Return a cell in plain characters whose trailing padding rich does not strip."""
    text = text.replace(typeset.MINUS, "-")
    return Text(text.replace(" ", "\N{NO-BREAK SPACE}") if text.endswith(" ") else text)


def _notes(view: ReportView, layout: Mapping[str, int]) -> list[str]:
    level = typeset.percent(view.level, 0)
    notes = [f"= baseline; skill: loss saved against {view.walk} [{level} interval]"]
    if view.leaderboard["incomplete"].any():
        notes.append(
            "! incomplete: failed too often, ranked last; (in parentheses) over fewer cells"
        )
    titles = [column.title for column in _columns(view.at(view.steps[0]), view.baseline)]
    left_out = [title for title in titles if title not in layout]
    if left_out:
        notes.append(f"too narrow for: {', '.join(left_out)}; see leaderboard.parquet")
    return notes


def _name(row: dict[str, object], baseline: str) -> str:
    marks = ("=" if row["spec"] == baseline else "") + ("!" if row["incomplete"] else "")
    text = typeset.shortened(" ".join(str(row["label"]).split()), LABEL_WIDTH)
    return f"{text} {marks}" if marks else text


def _columns(rows: pd.DataFrame, baseline: str) -> list[Column]:
    failed = rows["n_failed"].sum() > 0
    names = tuple(_name(row, baseline) for row in records(rows))
    return [
        Column(NAME, names, 99),
        _fixed(rows, "RMSE", "rmse", 9),
        _with_range(rows, "RMSE skill", "skill_rmse", 12),
        _fixed(rows, "QLIKE", "qlike", 8),
        _with_range(rows, "QLIKE skill", "skill_qlike", 11),
        _fixed(rows, "CRPS", "crps", 5),
        _percents(rows, "cover 90", "coverage_90", 6),
        _with_range(rows, "hit rate", "hit_rate", 4),
        _profit(rows, "profit factor (trades)", 3),
        _percents(rows, "drawdown", "max_drawdown_frac", 2),
        Column("failed", tuple(typeset.count(n) for n in rows["n_failed"]), 10 if failed else 1),
    ]


def _fixed(rows: pd.DataFrame, title: str, name: str, importance: int) -> Column:
    decimals = typeset.decimals_for(rows[name])
    texts = (typeset.fixed(v, decimals) for v in rows[name])
    return Column(title, tuple(comparable(texts, rows)), importance)


def _percents(rows: pd.DataFrame, title: str, name: str, importance: int) -> Column:
    texts = (typeset.percent(v) for v in rows[name])
    return Column(title, tuple(comparable(texts, rows)), importance)


def _with_range(rows: pd.DataFrame, title: str, name: str, importance: int) -> Column:
    signed = name.startswith("skill")
    write = typeset.skill if signed else typeset.percent
    digits = 2 if signed else 1
    values = comparable((write(value, digits) for value in rows[name]), rows)
    ranges = [
        typeset.interval(low, high, digits, signed=signed)
        for low, high in zip(rows[f"{name}_low"], rows[f"{name}_high"], strict=True)
    ]
    first, second = (max(map(len, texts), default=0) for texts in (values, ranges))
    cells = tuple(  # padded on both sides, so that the values stand below each other
        f"{value:>{first}} {text:>{second}}" if second else value
        for value, text in zip(values, ranges, strict=True)
    )
    return Column(title, cells, importance)


def _profit(rows: pd.DataFrame, title: str, importance: int) -> Column:
    pairs = zip(rows["profit_factor"], rows["n_trades"], strict=True)
    cells = tuple(f"{typeset.fixed(factor, 2)} ({trades:,})" for factor, trades in pairs)
    return Column(title, cells, importance)
