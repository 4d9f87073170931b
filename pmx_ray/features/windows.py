"""Sums over trailing windows whose bits depend on what is in the window and on nothing else.

Each is a loop over the sessions of the window with whole rows added at a time: the order of the
additions is the same at every session, however long the panel is and wherever it begins. A running
sum would be quicker and would carry the rounding of all earlier sessions along.
"""

from collections.abc import Sequence

import numpy as np

from pmx_ray._typing import FloatArray
from pmx_ray.data.panel import Panel


def session_returns(panel: Panel) -> FloatArray:
    """Return the log return into each session, shape (N, T); NaN on the first and beside a gap."""
    returns = np.full(panel.close.shape, np.nan)
    returns[:, 1:] = panel.log_returns()
    return returns


def shifted(values: FloatArray, sessions: int) -> FloatArray:
    """Return the value of so many sessions before, (N, T); NaN on the first ``sessions``."""
    moved = np.full(values.shape, np.nan)
    moved[:, sessions:] = values[:, : max(values.shape[1] - sessions, 0)]
    return moved


def weighted_sum(values: FloatArray, weights: Sequence[float] | FloatArray) -> FloatArray:
    """Return ``sum_k weights[k] * values(s - k)``, shape (N, T).

    Parameters
    ----------
    values : ndarray of shape (N, T)
        NaN where missing.
    weights : sequence of float, length W
        Of the session itself first.

    Returns
    -------
    ndarray of shape (N, T)
        NaN where a value of the window is missing or lies before the first session.
    """
    n_sessions, window = values.shape[1], len(weights)
    total = np.full(values.shape, np.nan)
    if window <= n_sessions:
        inside = np.zeros((len(values), n_sessions - window + 1))
        for k, weight in enumerate(weights):
            inside += weight * values[:, window - 1 - k : n_sessions - k]
        total[:, window - 1 :] = inside
    return total


def trailing_mean(values: FloatArray, window: int) -> FloatArray:
    """Return the mean of the last ``window`` values, (N, T); NaN as in ``weighted_sum``."""
    return weighted_sum(values, np.ones(window)) / window


def central_moment(values: FloatArray, window: int, order: int) -> FloatArray:
    """Return ``mean((x - mean(x))**order)`` over the last ``window`` values, shape (N, T)."""
    mean = trailing_mean(values, window)
    n_sessions = values.shape[1]
    total = np.zeros_like(mean[:, window - 1 :])
    for k in range(window if window <= n_sessions else 0):
        deviation = values[:, window - 1 - k : n_sessions - k] - mean[:, window - 1 :]
        power = deviation
        for _ in range(order - 1):
            power = power * deviation  # plain products: ** takes the logarithm of its base
        total += power
    moment = np.full(values.shape, np.nan)
    moment[:, window - 1 :] = total / window
    return moment


def covariance(ones: FloatArray, others: FloatArray, window: int) -> FloatArray:
    """Return the mean product of deviations over the last ``window`` values, shape (N, T)."""
    mean, other_mean = trailing_mean(ones, window), trailing_mean(others, window)
    n_sessions = ones.shape[1]
    total = np.zeros_like(mean[:, window - 1 :])
    for k in range(window if window <= n_sessions else 0):
        here = slice(window - 1 - k, n_sessions - k)
        deviation = ones[:, here] - mean[:, window - 1 :]
        total += deviation * (others[:, here] - other_mean[:, window - 1 :])
    product = np.full(ones.shape, np.nan)
    product[:, window - 1 :] = total / window
    return product
