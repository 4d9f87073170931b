"""Moments of log returns over many windows at once, compiled: what the cheap forecasters need.

A missing return is NaN and left out. Each window is computed from its own values alone, so that its
bits do not depend on the windows beside it.

Shapes: M tickers, T returns, F windows, R observed returns of a window.
"""

from dataclasses import dataclass

import numpy as np

from pmx_ray._typing import FloatArray, IntArray
from pmx_ray.kernels.compiling import compiled, inner

N_COLUMNS = 8
"""Numbers that a kernel writes for each window, in the order of ``WindowMoments``."""


@dataclass(frozen=True, slots=True, eq=False)
class WindowMoments:
    """What the observed returns of each window are like; every array is (M, F), NaN if none.

    Attributes
    ----------
    count : ndarray
        Observed returns, R.
    first, spread : ndarray
        The oldest of them, and largest less smallest.
    last_count, last_first, last_spread : ndarray
        The same of the last ``n_last`` of them.
    mean : ndarray
        Of those last ones, or 0 where moments are about zero.
    square : ndarray
        Sum of their squared deviations from ``mean``, or its weighted mean.
    """

    count: FloatArray
    first: FloatArray
    spread: FloatArray
    last_count: FloatArray
    last_first: FloatArray
    last_spread: FloatArray
    mean: FloatArray
    square: FloatArray


def window_moments(
    returns: FloatArray,
    first: IntArray,
    stop: IntArray,
    *,
    n_last: int | None = None,
    centred: bool,
    decay: float | None = None,
) -> WindowMoments:
    """Return the moments of windows of returns.

    Parameters
    ----------
    returns : ndarray of shape (M, T)
        NaN where a price is missing.
    first, stop : ndarray of int, shape (F,)
        Windows ``[first, stop)``.
    n_last : int, optional
        How many of the last observed returns the moments are of; all unless given.
    centred : bool
        Whether squares are taken about the mean or about zero.
    decay : float, optional
        Weight of a squared deviation relative to the one after it, in (0, 1). Then ``square`` is
        ``sum(decay**i * e(t-i)**2) / sum(decay**i)``, else it is the sum of squares.
    """
    longest = max(int(np.max(stop - first, initial=1)), 1)
    n_last = longest if n_last is None else n_last
    weights = np.zeros(0) if decay is None else decay ** np.arange(longest - 1, -1, -1.0)
    totals = np.cumsum(weights[::-1])
    written = np.empty((N_COLUMNS, len(returns), len(first)))
    _write_moments(
        np.require(returns, np.float64, ["C", "W"]),  # a read-only array would be compiled for anew
        np.require(first, np.int64, ["C", "W"]),
        np.require(stop, np.int64, ["C", "W"]),
        n_last,
        int(centred),
        weights,
        totals,
        written,
    )
    return WindowMoments(*written)


@compiled
def _write_moments(
    returns: FloatArray,
    first: IntArray,
    stop: IntArray,
    n_last: int,
    centred: int,
    weights: FloatArray,
    totals: FloatArray,
    written: FloatArray,
) -> None:
    observed = np.empty(returns.shape[1] + 1)
    for row in range(len(returns)):
        for window in range(len(first)):
            n = _compress(returns[row], first[window], stop[window], observed)
            of_window = written[:, row, window]
            of_window[0] = n
            of_window[1], of_window[2] = _range(observed[:n])
            last = observed[max(n - n_last, 0) : n]
            of_window[3] = len(last)
            of_window[4], of_window[5] = _range(last)
            mean = 0.0
            if centred == 1:
                mean = _sum(last) / len(last)
            of_window[6] = mean
            if len(weights) == 0:
                of_window[7] = _sum_of_squares(last, mean)
            else:
                newest = weights[len(weights) - len(last) :]
                of_window[7] = _weighted_squares(last, mean, newest) / totals[len(last) - 1]


@inner
def _compress(row: FloatArray, first: int, stop: int, observed: FloatArray) -> int:
    """Copy the values of a window that are not NaN, and return how many they are."""
    n = 0
    for t in range(first, stop):
        observed[n] = row[t]
        if not np.isnan(row[t]):
            n += 1
    return n


@inner
def _range(values: FloatArray) -> tuple[float, float]:
    """Return the first value, and the largest less the smallest."""
    if len(values) == 0:
        return np.nan, np.nan
    low = high = values[0]
    for value in values:
        low = min(low, value)
        high = max(high, value)
    return values[0], high - low


@inner
def _sum(values: FloatArray) -> float:
    """Return the sum, in four partial sums."""
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    whole = len(values) - len(values) % 4
    for t in range(0, whole, 4):
        a += values[t]
        b += values[t + 1]
        c += values[t + 2]
        d += values[t + 3]
    for t in range(whole, len(values)):
        a += values[t]
    return (a + b) + (c + d)


@inner
def _sum_of_squares(values: FloatArray, mean: float) -> float:
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    whole = len(values) - len(values) % 4
    for t in range(0, whole, 4):
        a += (values[t] - mean) ** 2
        b += (values[t + 1] - mean) ** 2
        c += (values[t + 2] - mean) ** 2
        d += (values[t + 3] - mean) ** 2
    for t in range(whole, len(values)):
        a += (values[t] - mean) ** 2
    return (a + b) + (c + d)


@inner
def _weighted_squares(values: FloatArray, mean: float, weights: FloatArray) -> float:
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    whole = len(values) - len(values) % 4
    for t in range(0, whole, 4):
        a += weights[t] * (values[t] - mean) ** 2
        b += weights[t + 1] * (values[t + 1] - mean) ** 2
        c += weights[t + 2] * (values[t + 2] - mean) ** 2
        d += weights[t + 3] * (values[t + 3] - mean) ** 2
    for t in range(whole, len(values)):
        a += weights[t] * (values[t] - mean) ** 2
    return (a + b) + (c + d)


def ewma_variance(deviations: FloatArray, decay: float) -> float:
    """Return the exponentially weighted mean of squared deviations.

    Parameters
    ----------
    deviations : ndarray of shape (R,)
        Log returns less their mean, oldest first, R >= 1.
    decay : float
        Weight of each relative to the one after it, in (0, 1).

    Returns
    -------
    float
        ``sum(decay**i * e(t-i)**2) / sum(decay**i)`` over i = 0 .. R - 1, decimal squared. The
        division makes a starting value needless.

    References
    ----------
    J.P. Morgan/Reuters (1996), RiskMetrics Technical Document, 4th edition, section 5.2.
    """
    weights = decay ** np.arange(len(deviations) - 1, -1, -1.0)
    return float(weights @ deviations**2 / weights.sum())


def plain_moments(
    window: FloatArray, *, n_last: int, centred: bool, decay: float | None = None
) -> tuple[float, ...]:
    """Return what ``window_moments`` does for one window, in its order: the plain twin.

    Parameters
    ----------
    window : ndarray of shape (T,)
        At least one value that is not NaN.
    """
    observed = window[~np.isnan(window)]
    last = observed[-n_last:]
    mean = float(last.mean()) if centred else 0.0
    deviations = last - mean
    square = np.sum(deviations**2) if decay is None else ewma_variance(deviations, decay)
    return (
        len(observed),
        float(observed[0]),
        float(np.ptp(observed)),
        len(last),
        float(last[0]),
        float(np.ptp(last)),
        mean,
        float(square),
    )
