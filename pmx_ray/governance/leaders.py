"""Which forecaster leads for each ticker and in each regime; the baseline where none beats it."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, TypeAlias

from pmx_ray.backtest.comparison import Comparison
from pmx_ray.backtest.report_types import EvaluationReport
from pmx_ray.governance.evidence import Row, rows_of

Scope: TypeAlias = Literal["ticker", "regime"]


@dataclass(frozen=True, slots=True)
class Leader:
    """The forecaster with the best RMSE skill of one ticker or regime.

    Attributes
    ----------
    scope : str
        ``ticker`` or ``regime``.
    name : str
        Of the ticker or regime.
    spec, label : str
        The leader; the baseline where no skill is above 0.
    skill : float
        Its RMSE skill, a fraction; 0 for the baseline.
    margin : float
        How much it has over the next one, the baseline among them, >= 0.
    """

    scope: Scope
    name: str
    spec: str
    label: str
    skill: float
    margin: float


def leaders(comparison: Comparison, report: EvaluationReport, *, step: int) -> tuple[Leader, ...]:
    """Return the leader of each ticker, then of each regime, by name; of complete specs alone.

    A ticker or regime without any figure has no leader and is left out. A lead is what was seen;
    whether it is more than chance is for the tests of the comparison to say.
    """
    complete = {
        row["spec"] for row in rows_of(report.leaderboard, step=step) if not row["incomplete"]
    }
    tickers = rows_of(report.tickers, step=step)
    regimes = rows_of(comparison.regimes, step=step)
    return (
        *_leaders("ticker", tickers, complete, comparison),
        *_leaders("regime", regimes, complete, comparison),
    )


def _leaders(
    scope: Scope, rows: Iterable[dict[str, Any]], complete: set[str], comparison: Comparison
) -> Iterable[Leader]:
    known = [row for row in map(Row, rows) if row.number("skill_rmse") is not None]
    known = sorted(
        (row for row in known if row.text("spec") in complete), key=lambda row: row.text(scope)
    )
    for name, group in groupby(known, key=lambda row: row.text(scope)):
        yield _leader(scope, name, list(group), comparison)


def _leader(scope: Scope, name: str, rows: list[Row], comparison: Comparison) -> Leader:
    baseline = comparison.baseline
    skills = {
        (row.text("spec"), row.text("label")): row.number("skill_rmse") or 0.0
        for row in rows
        if row.text("spec") != baseline
    }
    order = sorted(skills, key=lambda spec: (-skills[spec], spec[1]))
    if not order or skills[order[0]] <= 0.0:
        behind = -skills[order[0]] if order else 0.0
        return Leader(scope, name, baseline, comparison.baseline_label, 0.0, behind)
    best = order[0]
    following = max([0.0, *(skills[spec] for spec in order[1:])])
    return Leader(scope, name, *best, skills[best], skills[best] - following)
