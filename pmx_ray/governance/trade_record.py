"""What the trades of an evaluation came to: counted from its forecasts, not from its tables."""

from collections.abc import Collection

import numpy as np

from pmx_ray._typing import FloatArray, IntArray
from pmx_ray.backtest.cells import collect
from pmx_ray.backtest.report_types import EvaluationReport
from pmx_ray.backtest.sweep import Sweep, frame_parts, load_settled
from pmx_ray.backtest.track_record import TrackRecord
from pmx_ray.lake import open_store


def track_records(
    sweep: Sweep, report: EvaluationReport, specs: Collection[str], *, step: int
) -> dict[str, TrackRecord]:
    """Return the record of each of ``specs`` at one step, by spec id.

    Trades are those that the leaderboard counts: on the cells that all complete specs scored.

    Parameters
    ----------
    sweep : Sweep
        Evaluated; its blocks are read again.
    report : EvaluationReport
        Its evaluation, which says which specs are complete.
    specs : collection of str
        Spec ids.
    step : int
        Sessions after the cutoff.

    Raises
    ------
    LakeError
        If a block is gone or damaged.
    """
    complete = {row["spec"] for row in report.leaderboard.to_pylist() if not row["incomplete"]}
    rule, h = sweep.settings.evaluation.rule, sweep.plan.steps.index(step)
    returns: dict[str, list[FloatArray]] = {spec: [] for spec in specs}
    cutoffs: dict[str, list[IntArray]] = {spec: [] for spec in specs}
    for run in frame_parts(sweep, load_settled(sweep), open_store(sweep.lake_url)):
        cells = collect(run)
        common, actual = cells.common(complete)[..., h], cells.actual[..., h]
        positions = np.searchsorted(sweep.panel.sessions, cells.axes.cutoff)  # (F,)
        for spec in specs:
            mean = np.where(common, cells.spec(spec).mean[..., h], np.nan)  # (F, N)
            trades = rule.trade(mean, actual)
            returns[spec].append(trades.returns[trades.taken])
            cutoffs[spec].append(positions[np.nonzero(trades.taken)[0]])
    return {
        spec: TrackRecord.of(np.concatenate(found), np.concatenate(cutoffs[spec]), step=step)
        for spec, found in returns.items()
    }
