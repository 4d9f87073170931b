"""The artefacts of a sweep as a reader meets them: steps, specs in order, and the baseline."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import pandas as pd

from pmx_ray.backtest.report_types import EvaluationReport
from pmx_ray.report import typeset


@dataclass(frozen=True, slots=True, eq=False)
class ReportView:
    """An ``EvaluationReport`` in pandas, with its specs in one order for every table and figure.

    Attributes
    ----------
    leaderboard, tickers, cutoffs, failures, dropped : DataFrame
        The tables of the report.
    steps : tuple of int
        Steps that were scored, ascending.
    specs : tuple of str
        Spec ids: the baseline, then the others, best first at the first step.
    labels : dict of str to str
        Spec id to the name a person knows it by.
    baseline : str
        Spec id that skill is measured against.
    level : float
        Coverage of the intervals.
    """

    leaderboard: pd.DataFrame
    tickers: pd.DataFrame
    cutoffs: pd.DataFrame
    failures: pd.DataFrame
    dropped: pd.DataFrame
    steps: tuple[int, ...]
    specs: tuple[str, ...]
    labels: dict[str, str]
    baseline: str
    level: float

    @classmethod
    def of(cls, report: EvaluationReport) -> Self:
        """Return the view of ``report``."""
        board = report.leaderboard.to_pandas()
        first = board.sort_values("step", kind="stable").drop_duplicates("spec")
        others = [str(spec) for spec in first["spec"] if spec != report.baseline]
        return cls(
            leaderboard=board,
            tickers=report.tickers.to_pandas(),
            cutoffs=report.cutoffs.to_pandas(),
            failures=report.failures.to_pandas(),
            dropped=report.dropped.to_pandas(),
            steps=tuple(sorted(int(step) for step in board["step"].unique())),
            specs=(report.baseline, *others),
            labels={str(s): str(n) for s, n in zip(first["spec"], first["label"], strict=True)},
            baseline=report.baseline,
            level=float(report.settings.get("level", 0.95)),
        )

    @property
    def walk(self) -> str:
        """The baseline in a sentence: the random walk, as a rule."""
        label = self.labels[self.baseline]
        return "the random walk" if label == "random_walk" else label

    @property
    def incomplete(self) -> tuple[str, ...]:
        """Specs that failed too often: their figures are over other cells than the rest's."""
        board = self.leaderboard
        found = set(board.loc[board["incomplete"], "spec"])
        return tuple(spec for spec in self.specs if spec in found)

    def at(self, step: int) -> pd.DataFrame:
        """Return the leaderboard of one step, best first, as the report orders it."""
        return self.leaderboard[self.leaderboard["step"] == step]


def common_cells(rows: pd.DataFrame) -> str:
    """Return how many of a step's cells its figures are over."""
    n, n_cells = int(rows["n_common"].max()), int(rows["n_cells"].max())
    return f"{n:,} of {typeset.things(n_cells, 'cell')} in common"


def comparable(texts: Iterable[str], rows: pd.DataFrame) -> list[str]:
    """Return the figures with those of incomplete rows in parentheses: they are over other cells.

    Without them the easiest cells would make the best loss.
    """
    return [
        f"({text})" if partial and text != typeset.DASH else text
        for text, partial in zip(texts, rows["incomplete"], strict=True)
    ]


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as mappings of column to value."""
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]
