"""Differences of a level series, and the way back from their forecast to the level's."""

import numpy as np

from pmx_ray._typing import FloatArray


def difference_polynomial(d: int, seasonal_d: int, period: int) -> FloatArray:
    """Return the coefficients of ``(1 - L)**d (1 - L**period)**seasonal_d``, lag 0 first.

    Examples
    --------
    >>> difference_polynomial(2, 0, 1).tolist()
    [1.0, -2.0, 1.0]
    """
    polynomial = np.ones(1)
    for _ in range(d):
        polynomial = np.convolve(polynomial, [1.0, -1.0])
    seasonal = np.zeros(period + 1)
    seasonal[0], seasonal[-1] = 1.0, -1.0
    for _ in range(seasonal_d):
        polynomial = np.convolve(polynomial, seasonal)
    return polynomial


def difference(levels: FloatArray, polynomial: FloatArray) -> FloatArray:
    """Return ``sum_i c(i) y(t - i)``, shape (T,); NaN where a level it needs is missing.

    Parameters
    ----------
    levels : ndarray of shape (T,)
        May hold NaN.
    polynomial : ndarray of shape (K + 1,)
        Coefficients c, lag 0 first.
    """
    changes: FloatArray = polynomial[0] * levels
    for lag in np.flatnonzero(polynomial[1:]) + 1:
        changes[lag:] += polynomial[lag] * levels[:-lag]
    changes[: len(polynomial) - 1] = np.nan
    return changes


def integrate(changes: FloatArray, polynomial: FloatArray, past: FloatArray) -> FloatArray:
    """Return the levels whose differences are ``changes``: the inverse of ``difference``.

    Parameters
    ----------
    changes : ndarray of shape (H, ...)
        Differences ahead.
    polynomial : ndarray of shape (K + 1,)
        Coefficients c with c(0) = 1.
    past : ndarray of shape (K, ...)
        Last K levels, oldest first.

    Returns
    -------
    ndarray of shape (H, ...)
    """
    n_lags = len(polynomial) - 1
    levels = np.concatenate([past, changes])
    for t in range(n_lags, len(levels)):
        for lag in range(1, n_lags + 1):
            levels[t] -= polynomial[lag] * levels[t - lag]
    return levels[n_lags:]
