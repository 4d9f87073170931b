"""What a user of the kernel does: fit an order, or search 16 of them, and forecast."""

from dataclasses import dataclass

import numpy as np

from benchmarks.fits.windows import STEPS
from pmx_ray._typing import FloatArray, IntArray
from pmx_ray.kernels.arma import N_LAGS, ArmaFits, Jobs, fit_arma, last_residuals

MODELS = np.array([(p, q) for p in range(N_LAGS + 1) for q in range(N_LAGS + 1)])


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Orders and forecasts of the folds of N tickers.

    Attributes
    ----------
    order : ndarray of int, shape (N, F, 2)
        p and q.
    change : ndarray of shape (N, F, H)
        Mean change of the level at ``STEPS``.
    """

    order: IntArray
    change: FloatArray


def fit_order(levels: FloatArray, p: int, q: int) -> ArmaFits:
    """Fit ARIMA(p, 1, q) without drift to windows of levels, (W, T), and forecast."""
    n = len(levels)
    fits, _ = _fitted(levels, np.full(n, p), np.full(n, q))
    return fits


def every_fold(levels: FloatArray) -> Found:
    """Search all 16 models at each fold of levels (N, F, T) by AICc, and forecast."""
    return held_orders(levels, 1)


def held_orders(levels: FloatArray, kept: int) -> Found:
    """Search at each ``kept``-th fold; fit the order found there at the folds between."""
    n_tickers, n_folds, n_times = levels.shape
    anchors = levels[:, ::kept].reshape(-1, n_times)
    best = _smallest_aicc(anchors).reshape(n_tickers, -1, 2)
    order = np.repeat(best, kept, axis=1)[:, :n_folds]
    windows, flat = levels.reshape(-1, n_times), order.reshape(-1, 2)
    _, change = _fitted(windows, flat[:, 0], flat[:, 1])
    return Found(order, change.reshape(n_tickers, n_folds, len(STEPS)))


def _smallest_aicc(levels: FloatArray) -> IntArray:
    windows = list(np.diff(levels, axis=1))
    n_windows, n_models, n = len(windows), len(MODELS), levels.shape[1] - 1
    p, q = (np.tile(MODELS[:, i], n_windows) for i in (0, 1))
    which = np.repeat(np.arange(n_windows), n_models)
    found = fit_arma(windows, Jobs(which, p, q, np.zeros(len(which), np.bool_)))
    k = p + q + 1
    aicc = -2.0 * found.loglik + 2.0 * k * n / (n - k - 1)
    best: IntArray = MODELS[aicc.reshape(n_windows, n_models).argmin(axis=1)]
    return best


def _fitted(levels: FloatArray, p: IntArray, q: IntArray) -> tuple[ArmaFits, FloatArray]:
    changes = list(np.diff(levels, axis=1))
    n = len(changes)
    fits = fit_arma(changes, Jobs(np.arange(n), p, q, np.zeros(n, np.bool_)))
    residuals = last_residuals(changes, fits.ar, fits.ma, fits.mean)
    past = np.stack([one[-N_LAGS:] for one in changes])
    return fits, _ahead(fits, past, residuals)


def _ahead(fits: ArmaFits, past: FloatArray, residuals: FloatArray) -> FloatArray:
    """Return the mean change of the level at ``STEPS``, (W, H)."""
    values = np.concatenate([past, np.zeros((len(past), STEPS[-1]))], axis=1)
    errors = np.concatenate([residuals, np.zeros((len(past), STEPS[-1]))], axis=1)
    for t in range(N_LAGS, values.shape[1]):
        for i in range(N_LAGS):
            values[:, t] += (
                fits.ar[:, i] * values[:, t - 1 - i] + fits.ma[:, i] * errors[:, t - 1 - i]
            )
    change: FloatArray = np.cumsum(values[:, N_LAGS:], axis=1)[:, np.array(STEPS) - 1]
    return change
