"""From forecast frames to an ``EvaluationReport``: losses, intervals and strategy measures.

Every figure of a spec is taken over the common cells, those that all complete specs scored, so
that two rows of the leaderboard differ by their forecasts and by nothing else.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pydantic import Field

from pmx_ray._typing import BoolArray
from pmx_ray.backtest.cells import (
    Axes,
    Cells,
    SpecCells,
    SpecName,
    collect,
    complete_specs,
    joined_axes,
    sorted_failures,
)
from pmx_ray.backtest.costs import CostSettings
from pmx_ray.backtest.report_types import DROPPED_SCHEMA, LEADERBOARD_SCHEMA, EvaluationReport
from pmx_ray.backtest.resampling import draw_cutoffs
from pmx_ray.backtest.scoring import Row, Scorer
from pmx_ray.backtest.strategy import TradingRule
from pmx_ray.backtest.tally import Tally, tally
from pmx_ray.config import Settings
from pmx_ray.forecasters.registry import ForecasterSpec


class EvaluationSettings(Settings):
    """How forecasts are scored and traded.

    Attributes
    ----------
    costs : CostSettings
        Of one side of a trade.
    min_edge_bps : float, optional
        Trade only where the expected log return exceeds this, basis points; the cost of a round
        trip unless given.
    baseline : str
        Label of the spec that skill is measured against.
    max_failed_frac : float
        A spec that fails on more than this share of the cells the baseline served is marked
        incomplete: it does not narrow the common cells, and ranks last.
    n_resamples : int
        Resamples of the bootstrap.
    level : float
        Coverage of every interval.
    min_trades : int
        Fewest trades for which the profit factor gets an interval.
    tail : float
        Tail probability of value at risk and expected shortfall.
    """

    costs: CostSettings = CostSettings()
    min_edge_bps: float | None = Field(default=None, ge=0)
    baseline: str = "random_walk"
    max_failed_frac: float = Field(default=0.05, ge=0, le=1)
    n_resamples: int = Field(default=1000, ge=100, le=100_000)
    level: float = Field(default=0.95, ge=0.5, lt=1)
    min_trades: int = Field(default=30, ge=1)
    tail: float = Field(default=0.05, gt=0, le=0.25)

    @property
    def rule(self) -> TradingRule:
        """The trading rule with these costs and this edge."""
        costs = self.costs.build()
        edge = costs.round_trip_frac if self.min_edge_bps is None else self.min_edge_bps / 1e4
        return TradingRule(costs, edge)


def evaluate(
    frames: Iterable[tuple[ForecasterSpec, pa.Table]],
    plan_step_size: int,
    settings: EvaluationSettings,
    *,
    baseline: str,
    seed: int,
) -> EvaluationReport:
    """Return the report of whole frames, read once, one spec at a time and in any order.

    Parameters
    ----------
    frames : iterable of (ForecasterSpec, pyarrow.Table)
        Each spec once, with all its rows in ``FRAME_SCHEMA``.
    plan_step_size : int
        Sessions between cutoffs.
    settings : EvaluationSettings
        Costs, edge, intervals.
    baseline : str
        Id of the spec that skill is measured against; it must be among the frames.
    seed : int
        Of the bootstrap.

    Raises
    ------
    DataError
        If the frames disagree on their cells or outcomes, or the baseline is missing.
    """
    cells = collect(frames)
    complete = complete_specs([cells], baseline, max_failed_frac=settings.max_failed_frac)
    return evaluate_parts(
        [cells], complete, plan_step_size, settings, baseline=baseline, seed=seed
    )  # fmt: skip


def evaluate_parts(
    parts: Iterable[Cells],
    complete: Set[str],
    plan_step_size: int,
    settings: EvaluationSettings,
    *,
    baseline: str,
    seed: int,
) -> EvaluationReport:
    """Return the report of cells that come in parts, runs of folds in their order, read once.

    One part is in memory at a time. ``complete`` are the specs that define the common cells, see
    ``complete_specs``; the other arguments and errors are those of ``evaluate``.
    """
    read = [_reduce(cells, complete, baseline, settings.rule) for cells in parts]
    axes = joined_axes([part.axes for part in read])
    rows: list[Row] = []
    tickers: list[pa.Table] = []
    cutoffs: list[pa.Table] = []
    blocks: dict[int, int] = {}
    for h, step in enumerate(axes.steps):
        draws = draw_cutoffs(
            axes, step, step_size=plan_step_size, n_resamples=settings.n_resamples, seed=seed
        )
        scorer = Scorer(
            axes=axes,
            h=h,
            draws=draws,
            step_size=plan_step_size,
            level=settings.level,
            min_trades=settings.min_trades,
        )
        scores = [
            scorer.score(
                spec,
                Tally.joined([part.tallies[spec.id, h] for part in read]),
                incomplete=spec.id not in complete,
            )
            for spec in read[0].specs
        ]
        rows += ranked([score.row for score in scores])
        tickers += [score.tickers for score in scores]
        cutoffs += [score.cutoffs for score in scores]
        blocks[step] = draws.block
    failures = pa.concat_tables([part.failures for part in read])
    return EvaluationReport(
        leaderboard=pa.Table.from_pylist(rows, schema=LEADERBOARD_SCHEMA),
        tickers=pa.concat_tables(tickers).combine_chunks(),
        cutoffs=pa.concat_tables(cutoffs).combine_chunks(),
        failures=sorted_failures(failures),
        dropped=pa.concat_tables([part.dropped for part in read]).combine_chunks(),
        baseline=baseline,
        step_size=plan_step_size,
        seed=seed,
        block_length=blocks,
        settings=settings.model_dump(mode="json"),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Reduced:
    """What is kept of one part: no cell but those that failed or were dropped."""

    axes: Axes
    specs: tuple[SpecName, ...]
    tallies: Mapping[tuple[str, int], Tally]
    failures: pa.Table
    dropped: pa.Table


def _reduce(cells: Cells, complete: Set[str], baseline: str, rule: TradingRule) -> _Reduced:
    base, common = cells.spec(baseline), cells.common(complete)
    tallies: dict[tuple[str, int], Tally] = {}
    for h in range(len(cells.axes.steps)):
        used = common[..., h]
        losses = cells.losses(base, h, used)
        for spec in cells.specs:
            tallies[spec.id, h] = tally(cells, spec, h, common=used, baseline=losses, rule=rule)
    dropped = _dropped(cells, [spec for spec in cells.specs if spec.id in complete], common)
    names = tuple(spec.named for spec in cells.specs)
    return _Reduced(cells.axes, names, tallies, cells.failures, dropped)


def ranked(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of one step, best first, with their ranks.

    By RMSE skill, complete specs before incomplete ones; equal skill shares a rank (forecasts of
    variance alone all have the skill 0) and is ordered by QLIKE, then label.
    """

    def merit(row: Row) -> tuple[bool, float]:
        return bool(row["incomplete"]), -_number(row["skill_rmse"], missing=-np.inf)

    def order(row: Row) -> tuple[tuple[bool, float], float, str]:
        return merit(row), _number(row["qlike"], missing=np.inf), str(row["label"])

    merits = [merit(row) for row in rows]
    return [
        {**row, "rank": 1 + sum(other < merit(row) for other in merits)}
        for row in sorted(rows, key=order)
    ]


def _number(value: str | int | float | bool | None, *, missing: float) -> float:
    return missing if value is None else float(value)


def _dropped(cells: Cells, complete: Sequence[SpecCells], common: BoolArray) -> pa.Table:
    """Return one row a cell outside the common set, with its cause."""
    row, ticker, step = np.nonzero(~common)
    missing = np.stack([spec.failed[~common] for spec in complete])  # (specs, dropped)
    no_outcome = np.isnan(cells.actual[~common])
    causes = np.full(len(row), "no outcome", dtype=object)
    patterns, which = np.unique(missing, axis=1, return_inverse=True)
    named = np.array(
        ["; ".join(s.label for s, gone in zip(complete, p, strict=True) if gone)
         for p in patterns.T],
        dtype=object,
    )  # fmt: skip
    causes[~no_outcome] = named[which[~no_outcome]]
    axes = cells.axes
    return pa.table(
        {
            "split": axes.split[row],
            "ticker": np.array(axes.tickers, dtype=object)[ticker],
            "cutoff": axes.cutoff[row],
            "step": np.array(axes.steps)[step],
            "cause": causes,
        },
        DROPPED_SCHEMA,
    )
