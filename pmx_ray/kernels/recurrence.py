"""Linear recurrences with autoregressive noise: fit, run forward, and what their errors weigh.

A series follows ``(1 - alpha(B)) (1 - beta(B)) y = e`` with B the lag: the recurrence ``beta``,
shared by the series of a fold, leaves ``d(t) = y(t) - sum(beta_i y(t - i))``, of which each series'
own ``alpha`` makes the innovation ``e(t) = d(t) - sum(alpha_j d(t - j))``. Multiplied out, this is
one recurrence with m = L - 1 + p coefficients.

What is fitted on a history takes stacks of folds in the namespace ``xp``; what runs on from its end
takes the series of one fold on the host, compiled.

Shapes: F folds, N series, T times, m lags (lag 1 first), H steps. A missing value is NaN.
"""

from types import ModuleType

import numpy as np

from pmx_ray._typing import FloatArray
from pmx_ray.kernels.compiling import compiled, inner
from pmx_ray.kernels.eigen import joined, on_host, transposed

BLOCK = 48
"""Times whose errors are one row of a matrix product."""

SINGULAR = 1e-8
"""Smallest pivot, relative to its diagonal entry, of normal equations that elimination solves."""


def fit_autoregression(residual: FloatArray, order: int, *, xp: ModuleType = np) -> FloatArray:
    """Return autoregressive coefficients without intercept, series by series, by least squares.

    Parameters
    ----------
    residual : ndarray of xp, shape (F, N, T)
        Rows with a missing value or lag are left out.
    order : int
        Lags p >= 0.
    xp : module
        Array namespace.

    Returns
    -------
    ndarray of shape (F, N, p)
        Lag 1 first. The shortest solution where there are several.
    """
    n_times = residual.shape[2]
    lags = [residual[:, :, order - i : n_times - i] for i in range(order + 1)]
    missing = xp.isnan(residual)
    if bool(xp.any(missing)):
        bad = missing[:, :, order:]
        for i in range(1, order + 1):
            bad = xp.logical_or(bad, missing[:, :, order - i : n_times - i])
        lags = [xp.where(bad, xp.zeros_like(lag), lag) for lag in lags]

    def product(i: int, j: int) -> FloatArray:
        dot = xp.matmul(lags[i][:, :, None, :], lags[j][:, :, :, None])
        return on_host(dot[:, :, 0, 0])

    gram = np.empty((*residual.shape[:2], order, order))
    moment = np.empty((*residual.shape[:2], order))
    for i in range(order):
        moment[..., i] = product(0, i + 1)
        for j in range(i + 1):
            gram[..., i, j] = gram[..., j, i] = product(i + 1, j + 1)
    return solve_normal(gram, moment)


def solve_normal(gram: FloatArray, moment: FloatArray) -> FloatArray:
    """Return the shortest least-squares solution of ``gram @ x = moment``.

    Parameters
    ----------
    gram : ndarray of shape (..., p, p)
        Symmetric, positive semi-definite.
    moment : ndarray of shape (..., p)

    Returns
    -------
    ndarray of shape (..., p)
        By elimination; by the pseudoinverse where a pivot vanishes.
    """
    order = gram.shape[-1]
    left, x = gram.copy(), moment.copy()
    sound = np.ones(gram.shape[:-2], np.bool_)
    with np.errstate(divide="ignore", invalid="ignore"):
        for i in range(order):
            pivot = left[..., i, i]
            sound &= pivot > SINGULAR * gram[..., i, i]
            for j in range(i + 1, order):
                factor = left[..., j, i] / pivot
                left[..., j, i:] -= factor[..., None] * left[..., i, i:]
                x[..., j] -= factor * x[..., i]
        for i in reversed(range(order)):
            for j in range(i + 1, order):
                x[..., i] -= left[..., i, j] * x[..., j]
            x[..., i] /= left[..., i, i]
    if not sound.all():
        inverse = np.linalg.pinv(gram[~sound], hermitian=True)
        x[~sound] = np.einsum("nij,nj->ni", inverse, moment[~sound])
    return x


def combine(beta: FloatArray, alpha: FloatArray) -> FloatArray:
    """Return the coefficients of ``1 - (1 - alpha(B)) (1 - beta(B))``.

    Parameters
    ----------
    beta : ndarray of shape (L - 1,)
    alpha : ndarray of shape (N, p)

    Returns
    -------
    ndarray of shape (N, L - 1 + p)
    """
    n_lags, (n_series, order) = len(beta), alpha.shape
    signal = np.concatenate([[1.0], -beta])
    product = np.zeros((n_series, n_lags + order))
    product[:, :n_lags] = beta
    for j in range(order):
        product[:, j : j + n_lags + 1] += alpha[:, j, None] * signal
    return product


def one_step_errors(
    series: FloatArray, beta: FloatArray, alpha: FloatArray, *, xp: ModuleType = np
) -> FloatArray:
    """Return value minus one-step forecast of each time that has m times before it.

    Parameters
    ----------
    series : ndarray of xp, shape (F, N, T)
    beta : ndarray of xp, shape (F, L - 1)
    alpha : ndarray of xp, shape (F, N, p)
    xp : module
        Array namespace.

    Returns
    -------
    ndarray of xp, shape (F, N, max(T - m, 0))
        NaN where the value or a lag is missing.
    """
    n_lags, order, n_times = beta.shape[1], alpha.shape[2], series.shape[2]
    n_errors = n_times - n_lags - order
    if n_errors <= 0:
        return series[:, :, :0]
    missing = xp.isnan(series)
    gaps = bool(xp.any(missing))
    filled = xp.where(missing, xp.zeros_like(series), series) if gaps else series
    ones = xp.ones((series.shape[0], 1), dtype=series.dtype)
    left = _filtered(filled, joined([ones, -beta], 1, xp), xp)
    errors = left[:, :, order:]
    for j in range(1, order + 1):
        errors = errors - alpha[:, :, j - 1 : j] * left[:, :, order - j : order - j + n_errors]
    if gaps:
        count = xp.where(missing, xp.ones_like(series), xp.zeros_like(series))
        n_missing = _filtered(count, xp.tile(ones, (1, n_lags + order + 1)), xp)
        errors = xp.where(n_missing > 0.5, xp.full_like(errors, np.nan), errors)
    return errors


def _filtered(series: FloatArray, weights: FloatArray, xp: ModuleType) -> FloatArray:
    """Return ``sum(w_i y(t - i), i < W)`` for each t from W - 1 on, (F, N, T - W + 1).

    Series are (F, N, T), weights (F, W). As one matrix product: a row of the left matrix holds the
    values that a block of sums needs, a column of the right one the weights shifted by a time.
    """
    (n_folds, n_series, n_times), width = series.shape, weights.shape[1]
    n_sums = n_times - width + 1
    n_blocks = -(-n_sums // BLOCK)
    front = xp.zeros((n_folds, n_series, n_blocks * BLOCK - n_sums), dtype=series.dtype)
    reach = _windows(joined([front, series], 2, xp), n_blocks, BLOCK + width - 1, xp)
    shifted = transposed(_shifted(weights, xp), xp)
    sums = xp.reshape(xp.matmul(reach, shifted), (n_folds, n_series, n_blocks * BLOCK))
    found: FloatArray = sums[:, :, n_blocks * BLOCK - n_sums :]
    return found


def _windows(series: FloatArray, n_windows: int, length: int, xp: ModuleType) -> FloatArray:
    """Return overlapping windows that start ``BLOCK`` times apart, (F, N windows, length)."""
    n_folds, n_series, _ = series.shape
    shape = (n_folds, n_series * n_windows, length)
    if xp is np:
        fold, row, time = series.strides
        views = np.lib.stride_tricks.as_strided(
            series, (n_folds, n_series, n_windows, length), (fold, row, BLOCK * time, time)
        )
        return views.reshape(shape)  # a copy: the windows overlap
    parts = [series[:, :, i * BLOCK : i * BLOCK + length] for i in range(n_windows)]
    windows: FloatArray = xp.reshape(xp.stack(parts, axis=2), shape)
    return windows


def _shifted(weights: FloatArray, xp: ModuleType) -> FloatArray:
    """Return rows of reversed weights, each one place further right, (F, BLOCK, BLOCK + W - 1).

    A period of one more than a row, written again and again into rows, moves by one place a row.
    """
    n_folds, width = weights.shape
    zeros = xp.zeros((n_folds, BLOCK), dtype=weights.dtype)
    period = joined([xp.flip(weights, axis=1), zeros], 1, xp)
    again = xp.tile(period, (1, BLOCK))[:, : BLOCK * (BLOCK + width - 1)]
    rows: FloatArray = xp.reshape(again, (n_folds, BLOCK, BLOCK + width - 1))
    return rows


def run_forward(coefficients: FloatArray, last: FloatArray, n_steps: int) -> FloatArray:
    """Return the next ``n_steps`` values of each recurrence without further innovations.

    Parameters
    ----------
    coefficients : ndarray of shape (N, m)
    last : ndarray of shape (N, m)
        The last m values in order of time.

    Returns
    -------
    ndarray of shape (N, n_steps)
    """
    ahead = np.zeros((len(last), n_steps))
    _run_forward(np.ascontiguousarray(coefficients), np.ascontiguousarray(last), ahead)
    return ahead


@compiled
def _run_forward(coefficients: FloatArray, last: FloatArray, ahead: FloatArray) -> None:
    """Add to each coming value, (N, H), what it takes from the values known by then.

    A value is spread over all later ones at once, a loop without a sum in it.
    """
    n_series, n_lags = coefficients.shape
    n_steps = ahead.shape[1]
    for n in range(n_series):
        for back in range(n_lags):
            value = last[n, n_lags - 1 - back]
            for h in range(min(n_steps, n_lags - back)):
                ahead[n, h] += coefficients[n, back + h] * value
        _feed_back(coefficients[n], ahead[n])


@inner
def _feed_back(coefficients: FloatArray, ahead: FloatArray) -> None:
    """Add to each of H values what it takes from those before it, lags (m,)."""
    n_steps, n_lags = len(ahead), len(coefficients)
    for done in range(n_steps):
        for lag in range(min(n_steps - done - 1, n_lags)):
            ahead[done + 1 + lag] += coefficients[lag] * ahead[done]


@inner
def add_scaled(factor: float, values: FloatArray, total: FloatArray, n: int) -> None:
    """Add ``factor`` times the first ``n`` values to the first ``n`` of ``total``."""
    for k in range(n):
        total[k] += factor * values[k]


def error_weights(coefficients: FloatArray, n_steps: int, *, cumulative: bool) -> FloatArray:
    """Return how later values weigh an innovation: ``psi_0 = 1, psi_1, ...``, (N, n_steps).

    The error of an h-step forecast is ``sum(psi_j e(t + h - j), j < h)``, so its variance is
    ``sigma^2 sum(psi_j^2, j < h)``. Where the forecast is the sum of the next h values, the
    weights are the running sums ``psi_0 + ... + psi_j``.

    Parameters
    ----------
    coefficients : ndarray of shape (N, m)
    n_steps : int
        H >= 1.
    cumulative : bool
        True for the sum of the next values, False for the value itself.
    """
    psi = np.zeros((len(coefficients), n_steps))
    _respond(np.ascontiguousarray(coefficients), psi)
    return np.cumsum(psi, axis=1) if cumulative else psi


@compiled
def _respond(coefficients: FloatArray, psi: FloatArray) -> None:
    """Write the response, (N, H), of each recurrence to an impulse of 1 into zeros."""
    for n in range(len(psi)):
        psi[n, 0] = 1.0
        _feed_back(coefficients[n], psi[n])


def horizon_errors(errors: FloatArray, weights: FloatArray, step: int) -> FloatArray:
    """Return the error of the forecast made at each origin, ``step`` values ahead.

    Parameters
    ----------
    errors : ndarray of shape (N, T)
        One-step errors.
    weights : ndarray of shape (N, H)
        Of ``error_weights``, H >= step.
    step : int
        1 <= step <= T.

    Returns
    -------
    ndarray of shape (N, T - step + 1)
        Entry i is the error at time ``i + step - 1`` of the forecast made one time before ``i``;
        NaN where a one-step error on the way is missing.
    """
    total = np.zeros((errors.shape[0], errors.shape[1] - step + 1))
    _sum_errors(np.ascontiguousarray(errors), np.ascontiguousarray(weights), step, total)
    return total


@compiled
def _sum_errors(errors: FloatArray, weights: FloatArray, step: int, total: FloatArray) -> None:
    n_series, n_origins = total.shape
    for n in range(n_series):
        for j in range(step):
            add_scaled(weights[n, j], errors[n, step - 1 - j :], total[n], n_origins)
