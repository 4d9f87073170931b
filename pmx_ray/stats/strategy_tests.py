"""Tests of a strategy's net returns against a benchmark, and bootstrap intervals of its figures.

Series are simple net returns by period, decimal, in time order. Only periods that both series
know count in a test; a NaN return is no observation.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import statsmodels.api as sm
from arch.bootstrap import StationaryBootstrap
from scipy import stats

from pmx_ray._typing import FloatArray
from pmx_ray.errors import DataError, SettingsError
from pmx_ray.stats.intervals import MIN_CUTOFFS, NO_INTERVAL, Interval, percentile_interval, ratio
from pmx_ray.stats.measures import sharpe_annual


@dataclass(frozen=True, slots=True)
class MeanTest:
    """Mean difference to a benchmark and its test.

    Attributes
    ----------
    mean : float
        Mean return less the benchmark's, decimal a period; above 0 the strategy is better. NaN
        without a pair.
    statistic : float
        Mean over its standard error; NaN for fewer than two pairs, at most ``lags`` of them, or
        differences that are all equal.
    p_greater : float
        One-sided p-value against "the mean is not above the benchmark's", from t(n - 1).
    n : int
        Pairs.
    """

    mean: float
    statistic: float
    p_greater: float
    n: int


@dataclass(frozen=True, slots=True)
class StrategyIntervals:
    """Bootstrap intervals of one strategy; all NaN for fewer than ``MIN_CUTOFFS`` returns.

    Attributes
    ----------
    sharpe_low, sharpe_high : float
        Of the annual Sharpe ratio.
    drawdown_low, drawdown_high : float
        Of the maximum drawdown, fraction.
    """

    sharpe_low: float
    sharpe_high: float
    drawdown_low: float
    drawdown_high: float


def mean_difference_test(returns: FloatArray, benchmark: FloatArray, *, lags: int) -> MeanTest:
    """Test whether the mean return is above the benchmark's, period by period.

    Parameters
    ----------
    returns, benchmark : ndarray of shape (T,)
        Strategy and benchmark.
    lags : int
        Newey-West lags of the standard error, >= 0: the periods by which positions overlap. With
        0 it is the paired t test.

    Raises
    ------
    SettingsError
        If ``lags`` is negative.
    DataError
        If the series differ in length.

    References
    ----------
    Newey, West (1987), Econometrica 55, 703-708.
    """
    if lags < 0:
        raise SettingsError(f"lags was {lags}; it must be >= 0")
    own, other = _pairs(returns, benchmark)
    difference = own - other
    n = len(difference)
    mean = float(difference.mean()) if n else np.nan
    if n < 2 or lags >= n or np.ptp(difference) == 0.0:
        return MeanTest(mean, np.nan, np.nan, n)
    unit = np.abs(difference).max()  # squares of tiny differences would underflow
    fit = sm.OLS(difference / unit, np.ones(n)).fit(
        cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": True}, use_t=True
    )
    statistic = float(ratio(fit.params, fit.bse)[0])
    return MeanTest(mean, statistic, float(stats.t.sf(statistic, n - 1)), n)


def information_ratio_annual(
    returns: FloatArray, benchmark: FloatArray, *, periods_per_year: float
) -> float:
    """Return mean over standard deviation of the difference, annualised; higher is better.

    NaN for fewer than two pairs, and where all differences are equal.

    References
    ----------
    Goodwin (1998), Financial Analysts Journal 54(4), 34-43.
    """
    own, other = _pairs(returns, benchmark)
    return sharpe_annual(own - other, periods_per_year=periods_per_year)


def variance_ratio_f_test(returns: FloatArray, benchmark: FloatArray) -> tuple[float, float]:
    """Return ``F = var / benchmark's var`` and its two-sided p-value; F below 1 is calmer.

    The test takes both series for independent normal samples. Returns have fatter tails and move
    together, so a small p-value is a hint, not proof.

    Returns
    -------
    tuple of float
        NaN for fewer than two pairs, or where a series does not vary.

    References
    ----------
    Snedecor, Cochran (1989), Statistical Methods, 8th edition, section 6.12.
    """
    own, other = _pairs(returns, benchmark)
    n = len(own)
    if n < 2 or np.ptp(own) == 0.0 or np.ptp(other) == 0.0:
        return np.nan, np.nan
    statistic = float((np.std(own, ddof=1) / np.std(other, ddof=1)) ** 2)
    tail = min(stats.f.cdf(statistic, n - 1, n - 1), stats.f.sf(statistic, n - 1, n - 1))
    return statistic, min(2.0 * float(tail), 1.0)


def bootstrap_interval(
    returns: FloatArray,
    statistic: Callable[[FloatArray], FloatArray],
    *,
    block: int,
    n_resamples: int = 1000,
    level: float,
    seed: int,
) -> Interval:
    """Return the percentile interval of a statistic over the stationary bootstrap.

    Parameters
    ----------
    returns : ndarray of shape (T,)
        Series.
    statistic : callable
        Maps resamples in rows, (B, T), to (B,).
    block : int
        Mean block length, >= 1, in periods; see ``intervals.block_length``.
    n_resamples : int
        B.
    level : float
        Coverage, in (0, 1).
    seed : int
        The same seed draws the same resamples.

    Returns
    -------
    tuple of float
        Low and high end; NaN for fewer than ``MIN_CUTOFFS`` returns.

    Raises
    ------
    SettingsError
        If ``block``, ``n_resamples`` or ``level`` is outside its limits.

    References
    ----------
    Politis, Romano (1994), Journal of the American Statistical Association 89, 1303-1313.
    """
    rows = _resamples(returns, block=block, n_resamples=n_resamples, level=level, seed=seed)
    return NO_INTERVAL if rows is None else percentile_interval(statistic(rows), level=level)


def sharpe_and_drawdown_intervals(
    returns: FloatArray,
    *,
    periods_per_year: float,
    n_sleeves: int = 1,
    block: int,
    n_resamples: int = 1000,
    level: float,
    seed: int,
) -> StrategyIntervals:
    """Return the intervals of annual Sharpe and maximum drawdown, over the same resamples.

    The remaining arguments, and the errors, are those of ``bootstrap_interval``.

    Parameters
    ----------
    returns : ndarray of shape (T,)
        Series; of overlapping positions, each return on its own sleeve.
    periods_per_year : float
        Returns of one sleeve that make a year.
    n_sleeves : int
        Equal parts of capital that take the returns in turn, >= 1.
    """
    if n_sleeves < 1:
        raise SettingsError(f"n_sleeves was {n_sleeves}; it must be >= 1")
    rows = _resamples(returns, block=block, n_resamples=n_resamples, level=level, seed=seed)
    if rows is None:
        return StrategyIntervals(*NO_INTERVAL, *NO_INTERVAL)
    sharpe = sharpe_annual_by_row(rows, periods_per_year=periods_per_year)
    return StrategyIntervals(
        *percentile_interval(sharpe, level=level),
        *percentile_interval(max_drawdown_frac_by_row(rows, n_sleeves=n_sleeves), level=level),
    )


def sharpe_annual_by_row(rows: FloatArray, *, periods_per_year: float) -> FloatArray:
    """Return ``measures.sharpe_annual`` of each row, (B, T) to (B,); no NaN in, T > 1."""
    deviation = np.where(np.ptp(rows, axis=1) == 0.0, 0.0, rows.std(axis=1, ddof=1))
    sharpe: FloatArray = ratio(rows.mean(axis=1), deviation) * np.sqrt(periods_per_year)
    return sharpe


def max_drawdown_frac_by_row(rows: FloatArray, *, n_sleeves: int = 1) -> FloatArray:
    """Return ``measures.max_drawdown_frac`` of each row, (B, T) to (B,); no NaN in, T > 0.

    With sleeves, of the equity of them all.
    """
    equity = _equity_by_row(rows, n_sleeves)
    peak = np.maximum(np.maximum.accumulate(equity, axis=1), 1.0)
    deepest: FloatArray = (1.0 - equity / peak).max(axis=1)
    return deepest


def _equity_by_row(rows: FloatArray, n_sleeves: int) -> FloatArray:
    """Return the capital after each period, (B, T)."""
    growth = np.maximum(1.0 + rows, 0.0)
    if n_sleeves == 1:
        return np.cumprod(growth, axis=1, dtype=np.float64)
    n_rows, n_periods = rows.shape
    turns = -(-n_periods // n_sleeves)
    padded = np.ones((n_rows, turns * n_sleeves))
    padded[:, :n_periods] = growth
    of_sleeve = np.cumprod(padded.reshape(n_rows, turns, n_sleeves), axis=1)
    # In a period only the sleeve whose turn it is gains or loses.
    gain = np.diff(of_sleeve, axis=1, prepend=1.0).reshape(n_rows, -1)[:, :n_periods]
    total: FloatArray = 1.0 + np.cumsum(gain, axis=1) / n_sleeves
    return np.maximum(total, 0.0)  # rounding, where all is lost


def _pairs(returns: FloatArray, benchmark: FloatArray) -> tuple[FloatArray, FloatArray]:
    if returns.shape != benchmark.shape:
        raise DataError(
            f"returns have shape {returns.shape} and the benchmark's {benchmark.shape}; "
            "give both on the same periods, with NaN where one has none"
        )
    known = ~(np.isnan(returns) | np.isnan(benchmark))
    return returns[known], benchmark[known]


def _resamples(
    returns: FloatArray, *, block: int, n_resamples: int, level: float, seed: int
) -> FloatArray | None:
    """Return resamples in rows, (B, T); None for too few returns."""
    if block < 1 or n_resamples < 1:
        raise SettingsError(f"block was {block} and n_resamples {n_resamples}; both must be >= 1")
    if not 0.0 < level < 1.0:
        raise SettingsError(f"level was {level}; it must lie between 0 and 1")
    known = returns[~np.isnan(returns)]
    if len(known) < MIN_CUTOFFS:
        return None
    bootstrap = StationaryBootstrap(block, known, seed=seed)
    rows = np.empty((n_resamples, len(known)))
    for row, (drawn, _) in zip(rows, bootstrap.bootstrap(n_resamples), strict=True):
        row[:] = drawn[0]
    return rows
