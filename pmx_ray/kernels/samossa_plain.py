"""SAMoSSA as the paper writes it: the plain twin of ``kernels.samossa``.

A singular value decomposition, least squares by a general solver, and a loop over times. Slow, and
what the fast form is held against.

Shapes: N series, T times, L window, p lags, H steps.
"""

from dataclasses import dataclass

import numpy as np

from pmx_ray._typing import FloatArray
from pmx_ray.kernels.samossa import Choice
from pmx_ray.kernels.ssa import choose_rank, window_length


@dataclass(frozen=True, slots=True, eq=False)
class PlainModel:
    """What was estimated; see ``kernels.samossa.Model``.

    Attributes
    ----------
    rank : int
    mean, scale : ndarray of shape (N,)
    beta : ndarray of shape (L - 1,)
        Lag 1 first.
    alpha : ndarray of shape (N, p)
        Lag 1 first.
    """

    rank: int
    mean: FloatArray
    scale: FloatArray
    beta: FloatArray
    alpha: FloatArray


def plain_fit(series: FloatArray, choice: Choice) -> PlainModel:
    """Fit series without missing values, (N, T), with one of the paper's rank rules."""
    mean, scale = series.mean(axis=1), series.std(axis=1)
    standard = (series - mean[:, None]) / scale[:, None]
    n_series, n_times = series.shape
    length = window_length(n_series, n_times, shape_ratio=choice.shape_ratio)
    n_pages = n_times // length
    used = standard[:, n_times - n_pages * length :]
    pages = np.stack(
        [row[k * length : (k + 1) * length] for row in used for k in range(n_pages)], axis=1
    )
    u, s, vt = np.linalg.svd(pages, full_matrices=False)
    assert choice.rank != "whitened"  # noqa: S101 - a rule of ours, not the paper's
    rank = choose_rank(choice.rank, s, (pages.shape[0], pages.shape[1]))
    low = (u[:, :rank] * s[:rank]) @ vt[:rank]
    beta = np.linalg.lstsq(low[:-1].T, low[-1], rcond=1e-9)[0][::-1]
    noise = used - low.T.reshape(n_series, -1)
    alpha = np.stack([_autoregression(row, choice.ar_order) for row in noise])
    return PlainModel(rank, mean, scale, beta, alpha)


def _autoregression(noise: FloatArray, order: int) -> FloatArray:
    lags = np.array([noise[t - order : t][::-1] for t in range(order, len(noise))])
    alpha: FloatArray = np.linalg.lstsq(lags, noise[order:], rcond=None)[0]
    return alpha


def plain_path(model: PlainModel, series: FloatArray, n_steps: int) -> FloatArray:
    """Return the mean of the next ``n_steps`` values after ``series`` (N, T), (N, n_steps)."""
    ahead = np.empty((len(series), n_steps))
    for n, row in enumerate(series):
        y = list((row - model.mean[n]) / model.scale[n])
        noise = [_left(model.beta, y[: len(y) - j]) for j in range(model.alpha.shape[1])]
        for h in range(n_steps):
            innovation = sum(a * d for a, d in zip(model.alpha[n], noise, strict=True))
            signal = sum(b * y[-i] for i, b in enumerate(model.beta, start=1))
            y.append(signal + innovation)
            noise = [innovation, *noise][: len(noise)]
            ahead[n, h] = y[-1] * model.scale[n] + model.mean[n]
    return ahead


def plain_innovation_variance(model: PlainModel, series: FloatArray) -> FloatArray:
    """Return the mean squared one-step error on ``series`` (N, T), in its unit, (N,)."""
    order = model.alpha.shape[1]
    found = np.empty(len(series))
    for n, row in enumerate(series):
        y = list((row - model.mean[n]) / model.scale[n])
        left = [_left(model.beta, y[:t]) for t in range(len(model.beta) + 1, len(y) + 1)]
        squares = [
            (left[t] - sum(model.alpha[n, j] * left[t - 1 - j] for j in range(order))) ** 2
            for t in range(order, len(left))
        ]
        found[n] = np.mean(squares) * model.scale[n] ** 2
    return found


def _left(beta: FloatArray, values: list[float]) -> float:
    """Return the last value less what the recurrence makes of those before it."""
    return values[-1] - float(sum(b * values[-1 - i] for i, b in enumerate(beta, start=1)))


def plain_unit_variances(
    model: PlainModel, steps: tuple[int, ...], *, cumulative: bool
) -> FloatArray:
    """Return the forecast variance of each step for innovations of variance 1, (N, H)."""
    found = np.empty((len(model.alpha), len(steps)))
    for n, alpha in enumerate(model.alpha):
        noise, psi = [1.0], [1.0]
        for _ in range(max(steps) - 1):
            noise.append(sum(a * noise[-i] for i, a in enumerate(alpha, 1) if i <= len(noise)))
            signal = sum(b * psi[-i] for i, b in enumerate(model.beta, 1) if i <= len(psi))
            psi.append(signal + noise[-1])
        weights = np.cumsum(psi) if cumulative else np.array(psi)
        found[n] = [np.sum(weights[:step] ** 2) for step in steps]
    return found
