"""Where searches of the ARMA likelihood start, for many jobs at once.

The likelihood of a model with both parts has a ridge of nearly cancelling roots with several tops.
Hannan and Rissanen's estimate finds a signal that stands out; a scan of near-cancelling factors,
added to a smaller model, finds the best place on the ridge.

References
----------
Hannan and Rissanen (1982), Biometrika 69, 81-94.
"""

import numpy as np

from pmx_ray._typing import BoolArray, FloatArray
from pmx_ray.kernels.arma_likelihood import (
    N_COEFFICIENTS,
    N_GIVEN,
    N_LAGS,
    PADDING,
)
from pmx_ray.kernels.compiling import compiled
from pmx_ray.kernels.lanes import fma, load, spread, store, where

N_LONG = 12
"""Lags of the long autoregression that Hannan and Rissanen's residuals are from."""

N_AUTO = N_LONG + N_LAGS + 1
"""Autocovariances that it all is read from."""

RISING = np.array([[b, 0.0] for b in (0.3, 0.6, 0.8, 0.9, 0.95)])
"""Positive roots b of the ``1 - b B`` that are scanned; the ridge has tops on both sides."""

FALLING = -RISING
"""Negative ones."""

WAVES = np.array(
    [
        [2.0 * radius * np.cos(turn * np.pi), -radius * radius]
        for radius in (0.8, 0.97)
        for turn in (0.04, 0.1, 0.18, 0.26, 0.34, 0.42, 0.5, 0.58, 0.66, 0.74, 0.82, 0.9)
    ]
)
"""Coefficients of the factors ``1 - b1 B - b2 B**2`` with complex roots that are scanned."""


@compiled
def autocovariances(values: FloatArray, out: FloatArray) -> None:
    """Write sums of products at lag 0 to 15, (G, 16, 8), of values (G, n, 8) that end in zeros."""
    n = values.shape[1]
    for group in range(len(values)):
        for lag in range(0, N_AUTO, 4):
            a = b = c = d = spread(0.0)
            for t in range(n * group, n * (group + 1) - PADDING):
                here, there = load(values, t), t + lag
                a = fma(here, load(values, there), a)
                b = fma(here, load(values, there + 1), b)
                c = fma(here, load(values, there + 2), c)
                d = fma(here, load(values, there + 3), d)
            at = N_AUTO * group + lag
            store(out, at, a)
            store(out, at + 1, b)
            store(out, at + 2, c)
            store(out, at + 3, d)


def hannan_rissanen(auto: FloatArray, free: FloatArray) -> FloatArray:
    """Return phi and theta by regression on lags and on the residuals of a long autoregression.

    All sums of products are read from the autocovariances, so that no residual is computed.

    Parameters
    ----------
    auto : ndarray of shape (J, 16)
        Autocovariances, or any multiple of them.
    free : ndarray of shape (J, 6)
        1 where a coefficient is estimated, else 0.

    Returns
    -------
    ndarray of shape (J, 6)
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        auto = np.nan_to_num(auto / auto[:, :1])
    long = _long_autoregression(auto)  # (J, 13), of e(t) = sum long(i) y(t-i)
    reach = np.abs(np.arange(-N_LONG, N_LAGS + 1)[:, None] + np.arange(N_LONG + 1))
    every = _sums(auto[:, reach] * long[:, None, :])  # y(t) e(t-k), k from -12 to 3
    cross = every[:, N_LONG - 2 :]
    behind = np.arange(N_LAGS)[:, None] - np.arange(N_LONG + 1) + N_LONG
    noise = _sums(every[:, behind] * long[:, None, :])  # e(t) e(t-k), k from 0 to 2

    lags = np.arange(N_LAGS)
    apart = np.abs(lags[:, None] - lags)
    lead = lags - lags[:, None] + 2
    matrix = np.block(
        [[auto[:, apart], cross[:, lead]], [_swapped(cross[:, lead]), noise[:, apart]]]
    )
    right = np.hstack([auto[:, 1 : N_LAGS + 1], cross[:, 3:]]) * free
    diagonal = np.arange(N_COEFFICIENTS)
    matrix = matrix * free[:, :, None] * free[:, None, :]
    matrix[:, diagonal, diagonal] = matrix[:, diagonal, diagonal] * (1.0 + 1e-4) + (1.0 - free)
    matrix[:, diagonal, diagonal] += 1e-12
    return np.linalg.solve(matrix, right[:, :, None])[:, :, 0] * free


def _sums(products: FloatArray) -> FloatArray:
    """Return sums over the last axis, term after term: the same bits for one job and for many."""
    total = products[..., 0].copy()
    for i in range(1, products.shape[-1]):
        total += products[..., i]
    return total


def _swapped(matrices: FloatArray) -> FloatArray:
    return matrices.transpose(0, 2, 1)


def _long_autoregression(auto: FloatArray) -> FloatArray:
    """Return coefficients 0 to 12 of the prediction error filter, by Durbin and Levinson."""
    long = np.zeros((len(auto), N_LONG + 1))
    long[:, 0] = 1.0
    error = np.ones(len(auto))
    for m in range(1, N_LONG + 1):
        total = auto[:, m].copy()
        for i in range(1, m):
            total += long[:, i] * auto[:, m - i]
        k = np.where(error > 0.0, -total / np.where(error > 0.0, error, 1.0), 0.0)
        k = np.clip(k, -1.0, 1.0)
        long[:, 1 : m + 1] += k[:, None] * long[:, m - 1 :: -1][:, :m]
        error *= 1.0 - k * k
    return long


def drawn_inside(coefficients: FloatArray, within: BoolArray, radius: float) -> FloatArray:
    """Return polynomials (J, 3) with all roots shrunk by ``radius`` where ``within`` is false."""
    shrunk = coefficients * radius ** np.arange(1, N_LAGS + 1)
    return np.where(within[:, None], coefficients, shrunk)


@compiled
def scan(
    residuals: FloatArray,
    given: FloatArray,
    factors: FloatArray,
    n_roots: int,
    out: FloatArray,
) -> None:
    """Find the pair of nearly cancelling factors whose addition promises the most.

    With residuals e of a smaller model, the model with ``a(B) = 1 - a1 B - a2 B**2`` and
    ``b(B)`` more has ``e + (b1 - a1) v(t) + (b2 - a2) v(t-1)`` where ``v = B e / b(B)``: least
    squares in the differences.

    Parameters
    ----------
    residuals : ndarray of shape (G, n, 8)
        e, zeros after the end of a window.
    given
        As in ``climb``.
    factors : ndarray of shape (K, 2)
        b1 and b2 tried.
    n_roots : int
        1 leaves a2 at zero, 2 estimates it.
    out : ndarray of shape (G, 4, 8)
        a1, a2, b1, b2.
    """
    n_steps = residuals.shape[1]
    for group in range(len(given)):
        count, most = load(given, N_GIVEN * group), spread(-1.0)
        for k in range(len(factors)):
            b1, b2 = factors[k, 0], factors[k, 1]
            v1 = v2 = x1 = x2 = product = spread(0.0)
            square = spread(1e-300)
            for t in range(n_steps):
                e0 = load(residuals, n_steps * group + t)
                x1, x2 = fma(e0, v1, x1), fma(e0, v2, x2)
                live = where(count > t - 1, v1, 0.0)
                square, product = fma(live, v1, square), fma(live, v2, product)
                v1, v2 = fma(b1, v1, fma(b2, v2, e0)), v1
            d1, d2 = x1 / square, spread(0.0)
            if n_roots == 2:
                left = 1.0 / (square * square - product * product)
                d1 = (square * x1 - product * x2) * left
                d2 = (square * x2 - product * x1) * left
            gain = d1 * x1 + d2 * x2
            better = gain > most
            most = where(better, gain, most)
            store(out, 4 * group, where(better, b1 + d1, load(out, 4 * group)))
            store(out, 4 * group + 1, where(better, b2 + d2, load(out, 4 * group + 1)))
            store(out, 4 * group + 2, where(better, b1, load(out, 4 * group + 2)))
            store(out, 4 * group + 3, where(better, b2, load(out, 4 * group + 3)))


def with_factor(tail: FloatArray, first: FloatArray, second: FloatArray) -> FloatArray:
    """Return coefficients 1 to 3 of ``(1 + tail(B)) (1 - first B - second B**2)``, (J, 3)."""
    longer = tail.copy()
    longer[:, 0] -= first
    longer[:, 1] -= second + first * tail[:, 0]
    longer[:, 2] -= first * tail[:, 1] + second * tail[:, 0]
    return longer
