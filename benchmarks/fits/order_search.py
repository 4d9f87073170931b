"""What a user of the kernel does: fit an order, or search 16 of them, and forecast."""

from dataclasses import dataclass

import numpy as np

from benchmarks.fits.windows import STEPS
from pmx_ray._typing import FloatArray, IntArray
from pmx_ray.kernels.arma import ArmaFits, Jobs, fit_arma, last_residuals
from pmx_ray.kernels.arma_search import Search, search_orders

N_LAGS = 3
"""Highest p and q."""


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """Orders and forecasts of the folds of N tickers.

    Attributes
    ----------
    order : ndarray of int, shape (N, F, 2)
        p and q; -1 where no candidate could be fitted.
    change : ndarray of shape (N, F, H)
        Mean change of the level at ``STEPS``; NaN where there is no order.
    """

    order: IntArray
    change: FloatArray


def fit_order(levels: FloatArray, p: int, q: int) -> ArmaFits:
    """Fit ARIMA(p, 1, q) without drift to windows of levels, (W, T), and forecast."""
    fits, _ = _fitted(levels, np.full(len(levels), p), np.full(len(levels), q))
    return fits


def searched(levels: FloatArray, search: Search) -> Chosen:
    """Search p and q up to 3 at each fold of levels (N, F, T), and forecast."""
    n_tickers, n_folds, n_times = levels.shape
    changes = list(np.diff(levels.reshape(-1, n_times), axis=1))
    found = search_orders(
        changes, np.zeros(len(changes), np.bool_), max_p=N_LAGS, max_q=N_LAGS, search=search
    )
    order = np.stack([found.p, found.q], axis=1).reshape(n_tickers, n_folds, 2)
    change = _ahead(changes, found.fits).reshape(n_tickers, n_folds, len(STEPS))
    return Chosen(order, change)


def held(levels: FloatArray, search: Search, kept: int) -> Chosen:
    """Search at each ``kept``-th fold; fit the order found there at every fold."""
    n_tickers, n_folds, n_times = levels.shape
    anchors = searched(levels[:, ::kept], search).order
    order = np.repeat(anchors, kept, axis=1)[:, :n_folds]
    p, q = order.reshape(-1, 2).T
    _, change = _fitted(levels.reshape(-1, n_times), np.maximum(p, 0), np.maximum(q, 0))
    change[p < 0] = np.nan
    return Chosen(order, change.reshape(n_tickers, n_folds, len(STEPS)))


def _fitted(levels: FloatArray, p: IntArray, q: IntArray) -> tuple[ArmaFits, FloatArray]:
    changes = list(np.diff(levels, axis=1))
    n = len(changes)
    fits = fit_arma(changes, Jobs(np.arange(n), p, q, np.zeros(n, np.bool_)))
    return fits, _ahead(changes, fits)


def _ahead(changes: list[FloatArray], fits: ArmaFits) -> FloatArray:
    """Return the mean change of the level at ``STEPS``, (W, H)."""
    shape = (len(changes), N_LAGS + STEPS[-1])
    values, errors = np.zeros(shape), np.zeros(shape)
    values[:, :N_LAGS] = np.stack([one[-N_LAGS:] for one in changes])
    errors[:, :N_LAGS] = last_residuals(changes, fits.ar, fits.ma, fits.mean)
    for t in range(N_LAGS, shape[1]):
        for lag in range(1, N_LAGS + 1):
            values[:, t] += fits.ar[:, lag - 1] * values[:, t - lag]
            values[:, t] += fits.ma[:, lag - 1] * errors[:, t - lag]
    change: FloatArray = np.cumsum(values[:, N_LAGS:], axis=1)[:, np.array(STEPS) - 1]
    return change
