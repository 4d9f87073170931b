"""How risky a trade is: annualised volatility, and its place in the ticker's own history."""

import math

import numpy as np

from pmx_ray._typing import FloatArray
from pmx_ray.errors import DataError
from pmx_ray.signals.settings import RiskSettings
from pmx_ray.stats.measures import SESSIONS_PER_YEAR
from pmx_ray.taxonomy import RiskLevel

WINDOW = 20
"""Sessions over which realised volatility is measured: about a month."""


def volatility_annual(variance: float, *, step: int) -> float:
    """Return the annualised volatility of a variance over ``step`` sessions, decimal.

    Raises
    ------
    DataError
        If the variance is not finite and above 0, or the step below 1.

    Examples
    --------
    >>> round(volatility_annual(0.0004, step=1), 4)
    0.3175
    """
    if not 0.0 < variance < math.inf:
        raise DataError(f"variance was {variance}; it must be finite and > 0")
    if step < 1:
        raise DataError(f"step was {step}; it must be >= 1")
    return math.sqrt(variance / step * SESSIONS_PER_YEAR)


def volatility_history(log_returns: FloatArray) -> FloatArray:
    """Return the annualised volatility of each window of ``WINDOW`` returns, oldest first.

    Parameters
    ----------
    log_returns : ndarray of shape (T,)
        Decimal; NaN where unknown, left out beforehand.

    Returns
    -------
    ndarray of shape (max(K - WINDOW + 1, 0),)
        K known returns.
    """
    known = log_returns[~np.isnan(log_returns)]
    if len(known) < WINDOW:
        return np.empty(0)
    windows = np.lib.stride_tricks.sliding_window_view(known, WINDOW)
    annual: FloatArray = windows.std(axis=1, ddof=1) * math.sqrt(SESSIONS_PER_YEAR)
    return annual


def percentile(volatility: float, history: FloatArray) -> float | None:
    """Return the share of ``history`` below ``volatility``, 0 to 1; None without a history.

    Examples
    --------
    >>> percentile(0.25, np.array([0.1, 0.2, 0.25, 0.4]))
    0.5
    """
    return float((history < volatility).mean()) if len(history) else None


def risk_level_of(
    volatility: float, settings: RiskSettings, *, percentile: float | None = None
) -> RiskLevel:
    """Return how risky a trade in something of this volatility is.

    Parameters
    ----------
    volatility : float
        Annualised, decimal, > 0.
    settings : RiskSettings
        Where each level begins.
    percentile : float, optional
        Its place in the ticker's own history, 0 to 1; an unusual one raises the level by one.

    Examples
    --------
    >>> risk_level_of(0.32, RiskSettings()).value
    'high'
    >>> risk_level_of(0.32, RiskSettings(), percentile=0.97).value
    'extreme'
    """
    floors = (settings.medium_from, settings.high_from, settings.extreme_from)
    severity = sum(volatility >= floor for floor in floors)
    if percentile is not None and percentile >= settings.raised_from_percentile:
        severity += 1
    return list(RiskLevel)[min(severity, len(RiskLevel) - 1)]
