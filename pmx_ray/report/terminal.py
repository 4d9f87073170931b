"""The leaderboard on a terminal: one table a step, as many columns as its width can hold."""

from dataclasses import dataclass

import pandas as pd
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pmx_ray.backtest.report_types import EvaluationReport
from pmx_ray.report import typeset
from pmx_ray.report.view import ReportView, records

WIDE = 160
"""Width in characters at which every column is shown."""

LABEL_WIDTH = 28
"""Longest a forecaster's name may be in the table; a longer one loses its middle."""

GAP = 2
"""Characters that a column takes beside its content."""


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
        The column with the lowest importance is the first to go on a narrow terminal.
    """

    title: str
    cells: tuple[str, ...]
    importance: int

    @property
    def width(self) -> int:
        """Characters that the column needs."""
        return max(cell_len(text) for text in (self.title, *self.cells)) + GAP


def leaderboard_tables(report: EvaluationReport, *, width: int = WIDE) -> list[Table]:
    """Return the leaderboard as one table a step, best rank first.

    Parameters
    ----------
    report : EvaluationReport
        What was found.
    width : int
        Characters a line may hold. Columns that do not fit are left out, the least important
        first, and the caption names them; nothing wraps.
    """
    view = ReportView.of(report)
    return [_table(view, step, width) for step in view.steps]


def print_leaderboard(report: EvaluationReport, console: Console) -> None:
    """Print the leaderboard as wide as ``console`` is."""
    for table in leaderboard_tables(report, width=console.width):
        console.print(table)


def _table(view: ReportView, step: int, width: int) -> Table:
    rows = view.at(step)
    names = [_name(row, view.baseline) for row in records(rows)]
    label = Column("forecaster", tuple(names), 99)
    columns = _columns(rows)
    shown = _fitting(columns, width - label.width)
    left_out = [column.title for column in columns if column not in shown]
    table = Table(
        title=f"Step {step}: {typeset.count(rows['n_common'].max())} common cells",
        caption=_caption(rows, left_out),
        title_justify="left",
        caption_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, GAP, 0, 0),
        header_style="bold",
    )
    table.add_column(label.title, no_wrap=True)
    for column in shown:
        table.add_column(column.title, justify="right", no_wrap=True)
    for position, spec in enumerate(rows["spec"]):
        cells = [Text(column.cells[position]) for column in (label, *shown)]
        table.add_row(*cells, style="dim" if spec == view.baseline else "")
    return table


def _name(row: dict[str, object], baseline: str) -> str:
    marks = ("=" if row["spec"] == baseline else "") + ("!" if row["incomplete"] else "")
    text = " ".join(str(row["label"]).split())
    if len(text) > LABEL_WIDTH:
        half = (LABEL_WIDTH - 1) // 2
        text = f"{text[: LABEL_WIDTH - 1 - half]}…{text[-half:]}"
    return f"{text} {marks}" if marks else text


def _caption(rows: pd.DataFrame, left_out: list[str]) -> str:
    lines = ["= the baseline; skill is the loss saved against it, with its interval"]
    if rows["incomplete"].any():
        lines.append(
            "! incomplete: failed too often; scored on the common cells it served, ranked last"
        )
    if left_out:
        lines.append(f"left out for width: {', '.join(left_out)}")
    return "\n".join(lines)


def _fitting(columns: list[Column], room: int) -> list[Column]:
    """Return the most important columns whose widths sum to at most ``room``, in their order."""
    shown = list(columns)
    while len(shown) > 1 and sum(column.width for column in shown) > room:
        shown.remove(min(shown, key=lambda column: column.importance))
    return shown


def _columns(rows: pd.DataFrame) -> list[Column]:
    failed = rows["n_failed"].sum() > 0
    return [
        _fixed(rows, "RMSE", "rmse", 12),
        _with_range(rows, "skill", "skill_rmse", 11),
        _fixed(rows, "QLIKE", "qlike", 9),
        _with_range(rows, "QLIKE skill", "skill_qlike", 8),
        _fixed(rows, "CRPS", "crps", 5),
        _percents(rows, "cover 90", "coverage_90", 6),
        _with_range(rows, "hit rate", "hit_rate", 4),
        _profit(rows, "profit factor (trades)", 3),
        _percents(rows, "drawdown", "max_drawdown_frac", 2),
        Column("failed", tuple(typeset.count(n) for n in rows["n_failed"]), 10 if failed else 1),
    ]


def _fixed(rows: pd.DataFrame, title: str, name: str, importance: int) -> Column:
    decimals = typeset.decimals_for(rows[name])
    return Column(title, tuple(typeset.fixed(v, decimals) for v in rows[name]), importance)


def _percents(rows: pd.DataFrame, title: str, name: str, importance: int) -> Column:
    return Column(title, tuple(typeset.percent(v) for v in rows[name]), importance)


def _with_range(rows: pd.DataFrame, title: str, name: str, importance: int) -> Column:
    signed = name.startswith("skill")
    write = typeset.skill if signed else typeset.percent
    digits = 2 if signed else 1
    values = (write(value, digits) for value in rows[name])
    ranges = [
        typeset.interval(low, high, digits, signed=signed)
        for low, high in zip(rows[f"{name}_low"], rows[f"{name}_high"], strict=True)
    ]
    widest = max(map(len, ranges), default=0)
    cells = [
        f"{value} {text:>{widest}}".rstrip() if text else value + " " * bool(widest) + " " * widest
        for value, text in zip(values, ranges, strict=True)
    ]
    return Column(title, tuple(cells), importance)


def _profit(rows: pd.DataFrame, title: str, importance: int) -> Column:
    pairs = zip(rows["profit_factor"], rows["n_trades"], strict=True)
    cells = tuple(f"{typeset.fixed(factor, 2)} ({trades:,})" for factor, trades in pairs)
    return Column(title, cells, importance)
