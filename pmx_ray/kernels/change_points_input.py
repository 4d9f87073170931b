"""What a change is looked for in: log volatility, log returns or log prices without their level."""

import numpy as np

from pmx_ray._typing import FloatArray
from pmx_ray.kernels.change_points_settings import ChangeSettings

LEVEL_WINDOW = 20
"""Sessions whose mean log price is taken for a price's level."""

LEAST_MOVE = 1e-4
"""Smallest absolute log return that is told from none, a basis point: prices come in ticks."""


def watched_series(close: FloatArray, settings: ChangeSettings) -> FloatArray:
    """Return the series of ``settings.input`` at each session, (N, T), from earlier ones and it.

    Parameters
    ----------
    close : ndarray of shape (N, T)
        Prices > 0; NaN where unknown.
    settings : ChangeSettings

    Returns
    -------
    ndarray of shape (N, T)
        Natural logarithms; NaN where a price that is needed is missing, as in the first sessions.
    """
    log_close = np.log(close)
    match settings.input:
        case "log_volatility":
            return np.log(np.maximum(np.abs(_returns(log_close)), LEAST_MOVE))
        case "log_return":
            return _returns(log_close)
        case "log_price":
            return _less_level(log_close)


def _returns(log_close: FloatArray) -> FloatArray:
    returns = np.full(log_close.shape, np.nan)
    returns[:, 1:] = np.diff(log_close, axis=1)
    return returns


def _less_level(log_close: FloatArray) -> FloatArray:
    found = np.full(log_close.shape, np.nan)
    if log_close.shape[1] >= LEVEL_WINDOW:
        # Each window is summed by itself: a running sum would let rounding of the past in.
        windows = np.lib.stride_tricks.sliding_window_view(log_close, LEVEL_WINDOW, axis=1)
        found[:, LEVEL_WINDOW - 1 :] = log_close[:, LEVEL_WINDOW - 1 :] - windows.mean(axis=2)
    return found
