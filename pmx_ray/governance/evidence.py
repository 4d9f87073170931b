"""What is known of one challenger at one step, picked out of report, comparison and facts."""

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from pmx_ray.backtest.comparison import POOLED, Comparison, SetTests
from pmx_ray.backtest.report_types import EvaluationReport
from pmx_ray.errors import DataError
from pmx_ray.governance.facts import Facts
from pmx_ray.governance.policy import GovernancePolicy


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table, or none; a figure that is null or NaN is None.

    Attributes
    ----------
    values : mapping
        By column; empty where the table has no such row.
    """

    values: Mapping[str, Any]

    @classmethod
    def of(cls, table: pa.Table, **where: str | int) -> Self:
        """Return the first row whose columns are as ``where`` says."""
        rows = rows_of(table, **where)
        return cls(rows[0] if rows else {})

    def __bool__(self) -> bool:
        return bool(self.values)

    def number(self, column: str) -> float | None:
        """Return a figure; it may be infinite."""
        value = self.values.get(column)
        return None if value is None or math.isnan(value) else float(value)

    def count(self, column: str) -> int:
        """Return a count; 0 where there is no row."""
        return int(self.values.get(column) or 0)

    def text(self, column: str) -> str:
        """Return a text; empty where there is no row."""
        return str(self.values.get(column, ""))


def rows_of(table: pa.Table, **where: str | int) -> list[dict[str, Any]]:
    """Return the rows whose columns are as ``where`` says."""
    for column, value in where.items():
        table = table.filter(pc.equal(table[column], pa.scalar(value, table[column].type)))
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Everything the checks read.

    Attributes
    ----------
    challenger, baseline : Row
        Of the leaderboard.
    strategy, pooled : Row
        The challenger's, of the strategies; and its pooled test against the baseline.
    regimes : mapping of str to Row
        The challenger's, by regime.
    sets : SetTests or None
        Of the policy's loss.
    cutoffs : tuple of date
        Those with a scored cell of the challenger, sorted.
    is_path : bool
        Whether they are one walk through time.
    level : float
        Coverage of the evaluation's intervals.
    tail : float
        Tail probability of its value at risk.
    settings : mapping
        Of the evaluation, as JSON values.
    n_resamples : int
        Of its bootstrap.
    facts : Facts
        What the gate reads elsewhere.
    as_of : datetime
        When the certificate is asked for, UTC.
    """

    challenger: Row
    baseline: Row
    strategy: Row
    pooled: Row
    regimes: Mapping[str, Row]
    sets: SetTests | None
    cutoffs: tuple[dt.date, ...]
    is_path: bool
    level: float
    tail: float
    settings: Mapping[str, Any]
    n_resamples: int
    facts: Facts
    as_of: dt.datetime


def gather(
    report: EvaluationReport,
    comparison: Comparison,
    policy: GovernancePolicy,
    *,
    facts: Facts,
    challenger: str,
    baseline: str,
    step: int,
    as_of: dt.datetime,
) -> Evidence:
    """Return the evidence on ``challenger``.

    Raises
    ------
    DataError
        If report and comparison are not of one evaluation, if a spec or the step is not in them,
        or if the challenger is the baseline or incomplete.
    """
    _same_evaluation(report, comparison, facts)
    own = Row.of(report.leaderboard, spec=challenger, step=step)
    base = Row.of(report.leaderboard, spec=baseline, step=step)
    _fit_to_judge(own, base, comparison, challenger=challenger, baseline=baseline, step=step)
    if as_of.tzinfo is None:
        raise DataError(f"as_of was {as_of.isoformat()}; it must carry its time zone, UTC")
    scored = [
        row for row in rows_of(report.cutoffs, spec=challenger, step=step) if row["n_common"] > 0
    ]
    of_step = [row for row in comparison.sets if (row.step, row.loss) == (step, policy.loss)]
    against = {"spec": challenger, "versus": baseline, "loss": policy.loss, "ticker": POOLED}
    return Evidence(
        challenger=own,
        baseline=base,
        strategy=Row.of(comparison.strategies, spec=challenger, step=step),
        pooled=Row.of(comparison.pairwise, **against, step=step),
        regimes={
            row["regime"]: Row(row)
            for row in rows_of(comparison.regimes, spec=challenger, step=step)
        },
        sets=of_step[0] if of_step else None,
        cutoffs=tuple(sorted(row["cutoff"] for row in scored)),
        is_path=not any(row["split"] for row in scored),
        level=comparison.level,
        tail=comparison.tail,
        settings=report.settings,
        n_resamples=comparison.n_resamples,
        facts=facts,
        as_of=as_of,
    )


def _same_evaluation(report: EvaluationReport, comparison: Comparison, facts: Facts) -> None:
    again = "run `pmx compare` again"
    if not comparison.key:
        raise DataError(f"the comparison names no evaluation; {again} on the evaluated folder")
    if comparison.key != facts.report_key:
        raise DataError(
            f"the comparison is of evaluation {comparison.key} and the report is "
            f"{facts.report_key or 'unnamed'}; {again}"
        )
    for name in ("baseline", "step_size", "seed"):
        found, expected = getattr(comparison, name), getattr(report, name)
        if found != expected:
            raise DataError(
                f"the comparison's {name} is {found} and the report's {expected}; {again}"
            )
    for name in ("level", "n_resamples", "tail"):
        found, stated = getattr(comparison, name), report.settings.get(name)
        if found != stated:
            raise DataError(
                f"the comparison's {name} is {found} and the report's {stated}; {again}"
            )


def _fit_to_judge(
    own: Row, base: Row, comparison: Comparison, *, challenger: str, baseline: str, step: int
) -> None:
    if challenger == baseline:
        raise DataError(f"challenger and baseline are both {challenger}; name two specs")
    if baseline != comparison.baseline:
        raise DataError(
            f"the comparison is against {comparison.baseline_label} and not against {baseline}; "
            "set evaluation.baseline and run `pmx evaluate` and `pmx compare` again"
        )
    for spec, row in ((challenger, own), (baseline, base)):
        if not row:
            raise DataError(f"spec {spec} is not in the report at step {step}; see `pmx evaluate`")
    compared = {row.spec for row in comparison.differences if row.step == step}
    compared |= {row["spec"] for row in rows_of(comparison.strategies, step=step)}
    if challenger not in compared:
        raise DataError(
            f"{own.text('label')} is not in the comparison at step {step}; run `pmx compare` again"
        )
    if own.values["incomplete"]:
        raise DataError(
            f"{own.text('label')} failed on {own.count('n_failed')} of {own.count('n_cells')} "
            "cells and is incomplete: it has no figures on the common cells to be judged by"
        )
