"""What the trades of an evaluation came to: counted from its forecasts, not from its tables."""

from collections.abc import Collection

import numpy as np

from pmx_ray._typing import FloatArray
from pmx_ray.backtest.cells import collect
from pmx_ray.backtest.report_types import EvaluationReport
from pmx_ray.backtest.sweep import Sweep, frame_parts, load_settled
from pmx_ray.governance.terms import TradeRecord
from pmx_ray.lake import open_store


def trade_records(
    sweep: Sweep, report: EvaluationReport, specs: Collection[str], *, step: int
) -> dict[str, TradeRecord]:
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
    for run in frame_parts(sweep, load_settled(sweep), open_store(sweep.lake_url)):
        cells = collect(run)
        common, actual = cells.common(complete)[..., h], cells.actual[..., h]
        for spec, found in returns.items():
            mean = np.where(common, cells.spec(spec).mean[..., h], np.nan)
            trades = rule.trade(mean, actual)
            found.append(trades.returns[trades.taken])
    return {spec: record_of(np.concatenate(parts)) for spec, parts in returns.items()}


def record_of(returns: FloatArray) -> TradeRecord:
    """Return the record of the net returns of trades, shape (R,), decimal.

    Examples
    --------
    >>> record_of(np.array([0.03, -0.02, 0.01, -0.02]))
    TradeRecord(n_trades=4, win_rate_frac=0.5, payoff_ratio=1.0)
    """
    gains, losses = returns[returns > 0.0], -returns[returns < 0.0]
    return TradeRecord(
        n_trades=len(returns),
        win_rate_frac=len(gains) / len(returns) if len(returns) else 0.0,
        payoff_ratio=float(gains.mean() / losses.mean()) if len(gains) and len(losses) else None,
    )
