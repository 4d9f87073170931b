"""Linear recurrences with autoregressive noise: fit, run forward, and what their errors weigh.

A series follows ``(1 - alpha(B)) (1 - beta(B)) y = e`` with B the lag: the recurrence ``beta``,
shared by all series, leaves ``d(t) = y(t) - sum(beta_i y(t - i))``, of which each series' own
``alpha`` makes the innovation ``e(t) = d(t) - sum(alpha_j d(t - j))``. Multiplied out, this is one
recurrence with m = L - 1 + p coefficients.

Shapes: N series, T times, m lags (lag 1 first), H steps. A missing value is NaN.
"""

import numpy as np

from pmx_ray._typing import FloatArray


def fit_autoregression(residual: FloatArray, order: int) -> FloatArray:
    """Return autoregressive coefficients without intercept, series by series, by least squares.

    Parameters
    ----------
    residual : ndarray of shape (N, T)
        Rows with a missing value or lag are left out.
    order : int
        Lags p >= 0.

    Returns
    -------
    ndarray of shape (N, p)
        Lag 1 first.
    """
    n_series, n_times = residual.shape
    if order == 0:
        return np.zeros((n_series, 0))
    lagged = np.stack([residual[:, order - i : n_times - i] for i in range(order + 1)], axis=2)
    lagged = np.where(np.isnan(lagged).any(axis=2, keepdims=True), 0.0, lagged)
    y, x = lagged[:, :, 0], lagged[:, :, 1:]  # (N, T - p) and (N, T - p, p)
    gram = np.einsum("nti,ntj->nij", x, x)
    moment = np.einsum("nti,nt->ni", x, y)
    alpha: FloatArray = np.einsum("nij,nj->ni", np.linalg.pinv(gram, hermitian=True), moment)
    return alpha


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
    signal = np.concatenate([[1.0], -beta])
    product = np.stack([np.convolve(signal, np.concatenate([[1.0], -a])) for a in alpha])
    return -product[:, 1:]


def one_step_errors(series: FloatArray, beta: FloatArray, alpha: FloatArray) -> FloatArray:
    """Return value minus one-step forecast, (N, T); NaN where a lag is missing.

    Parameters
    ----------
    series : ndarray of shape (N, T)
    beta : ndarray of shape (L - 1,)
    alpha : ndarray of shape (N, p)
    """
    errors = _filtered(series, np.broadcast_to(beta, (len(series), len(beta))))
    return _filtered(errors, alpha)


def _filtered(series: FloatArray, coefficients: FloatArray) -> FloatArray:
    """Return ``y(t) - sum(c_i y(t - i))``, (N, T); NaN where a lag is missing."""
    n_lags = coefficients.shape[1]
    filtered = np.full(series.shape, np.nan)
    if series.shape[1] > n_lags:
        for n, row in enumerate(series):
            weights = np.concatenate([[1.0], -coefficients[n]])
            filtered[n, n_lags:] = np.convolve(row, weights, mode="valid")
    return filtered


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
    n_lags = coefficients.shape[1]
    path = np.concatenate([last, np.zeros((len(last), n_steps))], axis=1)
    ascending = np.ascontiguousarray(coefficients[:, ::-1])
    for step in range(n_steps):
        path[:, n_lags + step] = np.sum(ascending * path[:, step : step + n_lags], axis=1)
    return path[:, n_lags:]


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
    impulse = np.zeros_like(coefficients)
    impulse[:, -1:] = 1.0
    after = run_forward(coefficients, impulse, n_steps - 1)
    psi = np.concatenate([np.ones((len(coefficients), 1)), after], axis=1)
    return np.cumsum(psi, axis=1) if cumulative else psi


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
    return np.stack(
        [np.convolve(e, w[:step], mode="valid") for e, w in zip(errors, weights, strict=True)]
    )
