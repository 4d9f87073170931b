"""Measures of a series of net returns, and of the side a forecast takes.

A NaN return is no observation: every measure leaves it out, and is NaN where too few remain.
Returns are simple and decimal, one a period; ``periods_per_year`` says how many make a year.
"""

import numpy as np

from pmx_ray._typing import FloatArray

SESSIONS_PER_YEAR = 252
"""Sessions that make a year wherever a figure is annualised."""


def profit_factor(trades: FloatArray) -> float:
    """Return the sum of gains over the sum of losses of trades, net of costs; higher is better.

    Returns
    -------
    float
        Infinite if there is a gain and no loss, NaN if there is neither. Read it beside the
        number of trades: it is unstable under about 30.
    """
    known = _observed(trades)
    gains, losses = float(known[known > 0].sum()), float(-known[known < 0].sum())
    if losses == 0.0:
        return np.inf if gains > 0.0 else np.nan
    return gains / losses


def drawdown_frac(equity: FloatArray) -> FloatArray:
    """Return how far equity stands below its peak so far, as a fraction of that peak.

    Parameters
    ----------
    equity : ndarray of shape (T,)
        Value of one unit of capital after each period; the 1 it starts from is the first peak.

    Returns
    -------
    ndarray of shape (T,)
        In [0, 1].
    """
    peak = np.maximum.accumulate(np.maximum(equity, 1.0))
    below: FloatArray = 1.0 - equity / peak
    return below


def max_drawdown_frac(returns: FloatArray) -> float:
    """Return the deepest fall of compounded capital from its peak; lower is better, in [0, 1]."""
    known = _observed(returns)
    if len(known) == 0:
        return np.nan
    return float(drawdown_frac(_equity(known)).max())


def annual_volatility(returns: FloatArray, *, periods_per_year: float) -> float:
    """Return the annualised standard deviation; NaN for fewer than two returns."""
    known = _observed(returns)
    if len(known) < 2:
        return np.nan
    return float(np.std(known, ddof=1) * np.sqrt(periods_per_year))


def sharpe_annual(returns: FloatArray, *, periods_per_year: float) -> float:
    """Return mean over standard deviation, annualised, without a risk-free rate; higher is better.

    NaN for fewer than two returns, and where all of them are equal.

    References
    ----------
    Sharpe (1994), Journal of Portfolio Management 21, 49-58.
    """
    known = _observed(returns)
    if _constant(known):
        return np.nan
    ratio = np.mean(known) / np.std(known, ddof=1)
    return float(ratio * np.sqrt(periods_per_year))


def volatility_adjusted_return(returns: FloatArray, *, periods_per_year: float) -> float:
    """Return compound annual growth over annual volatility; higher is better.

    NaN for fewer than two returns, and where all of them are equal.
    """
    known = _observed(returns)
    if _constant(known):
        return np.nan
    growth = _equity(known)[-1] ** (periods_per_year / len(known)) - 1.0
    return float(growth / annual_volatility(known, periods_per_year=periods_per_year))


def hits(actual: FloatArray, mean: FloatArray) -> FloatArray:
    """Return 1 where the forecast has the sign of the outcome, 0 where it has the other.

    NaN where either is 0 or NaN: a forecast of no move takes no side, and a price that stayed
    proves none wrong.
    """
    product = np.sign(actual) * np.sign(mean)
    hit: FloatArray = np.where(product == 0.0, np.nan, (product + 1.0) / 2.0)
    return hit


def hit_rate(actual: FloatArray, mean: FloatArray) -> float:
    """Return the share of hits among the forecasts that take a side; NaN if none does."""
    known = _observed(hits(actual, mean))
    return float(known.mean()) if len(known) else np.nan


def _equity(known: FloatArray) -> FloatArray:
    growth = np.maximum(1.0 + known, 0.0)  # what is lost stays lost
    return np.cumprod(growth, dtype=np.float64)


def _observed(values: FloatArray) -> FloatArray:
    flat = np.ravel(values)
    return flat[~np.isnan(flat)]


def _constant(known: FloatArray) -> bool:
    return len(known) < 2 or bool(np.ptp(known) == 0.0)
