"""How many differences a series needs, by the KPSS test of level stationarity."""

import numpy as np

from pmx_ray._typing import FloatArray

CRITICAL_VALUE = 0.463
"""Of the KPSS statistic about a level, at 5 %: Kwiatkowski et al. (1992), table 1."""


def kpss_statistic(values: FloatArray) -> float:
    """Return the KPSS statistic of stationarity about a level.

    Parameters
    ----------
    values : ndarray of shape (T,)
        Without NaN, not all equal.

    Returns
    -------
    float
        Sum of squared partial sums over T squared and the long-run variance, which is estimated
        with Bartlett weights over ``4 (T / 100)**(1/4)`` lags.

    References
    ----------
    Kwiatkowski, Phillips, Schmidt and Shin (1992), Journal of Econometrics 54, 159-178.
    """
    n = len(values)
    residual = values - values.mean()
    n_lags = int(4.0 * (n / 100.0) ** 0.25)
    variance = residual @ residual
    for lag in range(1, min(n_lags, n - 1) + 1):
        weight = 1.0 - lag / (n_lags + 1.0)
        variance += 2.0 * weight * (residual[lag:] @ residual[:-lag])
    sums = np.cumsum(residual)
    return float((sums @ sums) / (n * variance))


def kpss_differences(levels: FloatArray, *, most: int) -> int:
    """Return how many differences make ``levels`` stationary at the 5 % level, at most ``most``.

    Parameters
    ----------
    levels : ndarray of shape (T,)
        Without NaN.
    """
    for d in range(most):
        if np.ptp(levels) == 0.0 or kpss_statistic(levels) <= CRITICAL_VALUE:
            return d
        levels = np.diff(levels)
    return most
