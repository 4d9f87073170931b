"""What a change is looked for in: log volatility or log prices without trend, from prices."""

import numpy as np

from pmx_ray._typing import FloatArray
from pmx_ray.kernels.change_points_settings import ChangeSettings

TREND_WINDOW = 20
"""Sessions whose mean log price is taken for a price's level."""


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
        Natural logarithms; NaN where a price that is needed is missing, as in the first sessions,
        and where a price stood still for a whole volatility window.
    """
    log_close = np.log(close)
    match settings.input:
        case "log_volatility":
            return _log_volatility(log_close, settings.volatility_window)
        case "log_price":
            return log_close - _trailing_mean(log_close, TREND_WINDOW)


def _log_volatility(log_close: FloatArray, window: int) -> FloatArray:
    squares = np.full(log_close.shape, np.nan)
    squares[:, 1:] = np.diff(log_close, axis=1) ** 2
    variance = _trailing_mean(squares, window)
    moved = np.where(variance > 0.0, variance, np.nan)
    found: FloatArray = 0.5 * np.log(moved)
    return found


def _trailing_mean(values: FloatArray, window: int) -> FloatArray:
    mean = np.full(values.shape, np.nan)
    if values.shape[1] >= window:
        # Each window is summed by itself: a running sum would let rounding of the past in.
        windows = np.lib.stride_tricks.sliding_window_view(values, window, axis=1)
        mean[:, window - 1 :] = windows.mean(axis=2)
    return mean
