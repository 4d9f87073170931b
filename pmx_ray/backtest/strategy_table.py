"""What the trading rule earned by each spec, with intervals, and tests against the baseline's."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from pmx_ray._typing import FloatArray
from pmx_ray.backtest.cells import Axes, SpecName
from pmx_ray.backtest.comparison import STRATEGIES_SCHEMA
from pmx_ray.backtest.resampling import Draws
from pmx_ray.backtest.scoring import Row, none_if_nan
from pmx_ray.backtest.strategy import Sleeves
from pmx_ray.backtest.tally import Tally
from pmx_ray.stats import measures
from pmx_ray.stats.overfitting import moments, probabilistic_sharpe
from pmx_ray.stats.strategy_tests import (
    information_ratio_annual,
    mean_difference_test,
    sharpe_and_drawdown_intervals,
    variance_ratio_f_test,
)
from pmx_ray.stats.tail_risk import expected_shortfall, value_at_risk


def strategy_table(
    tallies: Mapping[SpecName, Tally],
    axes: Axes,
    *,
    baseline: str,
    sleeves: Sleeves,
    draws: Draws,
    level: float,
    n_resamples: int,
    seed: int,
    tail: float,
) -> pa.Table:
    """Return the rows of ``STRATEGIES_SCHEMA`` of one step; none for a combinatorial plan.

    Parameters
    ----------
    tallies : mapping of SpecName to Tally
        Every spec, the baseline among them.
    axes : Axes
        Of the tallies' rows.
    baseline : str
        Spec id.
    sleeves : Sleeves
        How long positions are held.
    draws : Draws
        For the block length.
    level : float
        Coverage of the intervals.
    n_resamples, seed : int
        Of the stationary bootstrap.
    tail : float
        Tail probability of value at risk and expected shortfall.
    """
    if not axes.is_path:
        return STRATEGIES_SCHEMA.empty_table()
    (of_base,) = (t.by_row["net_return"] for spec, t in tallies.items() if spec.id == baseline)
    rows = []
    for spec, tally in tallies.items():
        returns = tally.by_row["net_return"]
        intervals = sharpe_and_drawdown_intervals(
            returns,
            periods_per_year=sleeves.periods_per_year,
            n_sleeves=sleeves.n_sleeves,
            block=draws.block,
            n_resamples=n_resamples,
            level=level,
            seed=int(np.random.default_rng([seed, sleeves.step]).integers(2**31)),
        )
        row: Row = {
            "spec": spec.id,
            "label": spec.label,
            "step": sleeves.step,
            "n_returns": int((~np.isnan(returns)).sum()),
            "n_trades": tally.count("trades"),
            **_sharpe(returns, sleeves),
            "sharpe_annual_low": intervals.sharpe_low,
            "sharpe_annual_high": intervals.sharpe_high,
            "max_drawdown_frac": float(np.max(sleeves.drawdown_frac(returns), initial=0.0)),
            "max_drawdown_frac_low": intervals.drawdown_low,
            "max_drawdown_frac_high": intervals.drawdown_high,
            **_against(returns, of_base, sleeves),
            "value_at_risk": value_at_risk(returns, probability=tail),
            "expected_shortfall": expected_shortfall(returns, probability=tail),
        }
        rows.append({name: none_if_nan(value) for name, value in row.items()})
    return pa.Table.from_pylist(rows, schema=STRATEGIES_SCHEMA)


def _sharpe(returns: FloatArray, sleeves: Sleeves) -> dict[str, float]:
    """Return the Sharpe ratio with what its probability depends on.

    Returns of positions that overlap are not independent: as many count as one sleeve has.
    """
    found = moments(returns)
    n = found.n / sleeves.n_sleeves
    probability = probabilistic_sharpe(
        found.sharpe, benchmark=0.0, n=n, skew=found.skew, kurtosis=found.kurtosis
    )
    return {
        "n_effective": n,
        "sharpe": found.sharpe,
        "sharpe_annual": measures.sharpe_annual(returns, periods_per_year=sleeves.periods_per_year),
        "skew": found.skew,
        "kurtosis": found.kurtosis,
        "probabilistic_sharpe": probability,
    }


def _against(returns: FloatArray, baseline: FloatArray, sleeves: Sleeves) -> dict[str, float]:
    test = mean_difference_test(returns, baseline, lags=sleeves.n_sleeves - 1)
    f, p = variance_ratio_f_test(returns, baseline)
    return {
        "mean_difference": test.mean,
        "t_statistic": test.statistic,
        "t_p_greater": test.p_greater,
        "information_ratio_annual": information_ratio_annual(
            returns, baseline, periods_per_year=sleeves.periods_per_year
        ),
        "f_statistic": f,
        "f_p_two_sided": p,
    }
