"""The subspace that a base window spans, and the energy that blocks hold outside it.

Shapes: N series, L sessions of a block, K blocks of a base window, B blocks, r the rank.
"""

from dataclasses import dataclass
from types import ModuleType

import numpy as np

from pmx_ray._typing import BoolArray, FloatArray, IntArray
from pmx_ray.kernels.change_points_ranks import critical_value
from pmx_ray.kernels.change_points_settings import MIN_HELD_OUT, ChangeSettings
from pmx_ray.kernels.eigen import eigenpairs, on_host, transposed

ENERGY = 0.95
"""Share of the squared singular values that the subspace keeps, where half of L suffice for it."""


MIN_COLUMNS = 2
"""Fewest columns of a fitted half's Page matrix that span a subspace."""


@dataclass(frozen=True, slots=True)
class Base:
    """What one base window gave.

    Attributes
    ----------
    start, stop : int
        Its sessions ``[start, stop)``; monitoring starts at ``stop``.
    rank : int
        Dimension of the subspace, r.
    spectral_gap : float
        ``1 - s_{r+1} / s_r`` of the fitted half's singular values; 0 none, 1 pure signal.
    noise_variance : float
        Mean square that the subspace leaves in the fitted half, per direction outside it, of
        series with variance 1.
    drift : float
        Mean energy of a held-out block outside the subspace:
        ``(L - r) noise_variance`` and what the subspace misses out of sample.
    threshold : float
        Height of the sum at which a change is alarmed, h.
    """

    start: int
    stop: int
    rank: int
    spectral_gap: float
    noise_variance: float
    drift: float
    threshold: float


@dataclass(frozen=True, slots=True, eq=False)
class Subspace:
    """A base, what is taken out of each series, and the directions outside the subspace."""

    base: Base
    held_out: FloatArray  # (blocks, N), see ``series_energies``
    mean: FloatArray  # (N, 1) of xp
    scale: FloatArray  # (N, 1) of xp
    usable: BoolArray  # (N,)
    outside: FloatArray  # (L, L - r) of xp

    @property
    def length(self) -> int:
        """Sessions of a block, L."""
        return int(self.outside.shape[0])


def fit_subspace(
    values: FloatArray, missing: BoolArray, start: int, settings: ChangeSettings, xp: ModuleType
) -> Subspace | None:
    """Return the subspace of the base window at ``start``; None where too little is known."""
    length, n_fitted = settings.window, settings.n_pages // 2
    middle, stop = start + length * n_fitted, start + settings.base_size
    known = ~missing[:, start:middle]
    mean, scale = _moments(values[:, start:middle], known, xp)
    complete = known.reshape(len(known), n_fitted, length).all(axis=2)  # (N, fitted)
    usable = (on_host(scale)[:, 0] > 0.0) & (2 * complete.sum(axis=1) >= n_fitted)
    complete &= usable[:, None]
    if complete.sum() < MIN_COLUMNS:
        return None
    scale = xp.where(scale > 0.0, scale, xp.ones_like(scale))
    pages = xp.reshape((values[:, start:middle] - mean) / scale, (-1, length))
    pages = pages * xp.asarray(complete.reshape(-1, 1).astype(np.float64))
    squares, vectors = eigenpairs(xp.matmul(transposed(pages, xp), pages)[None, ...], xp=xp)
    rank = _rank(squares[0])
    outside = vectors[0, :, rank:]
    space = Subspace(_NO_BASE, np.zeros((0, len(known))), mean, scale, usable, outside)
    held_out = series_energies(space, values, missing, np.arange(middle, stop, length), xp)
    held_out = held_out[~np.isnan(held_out).all(axis=1)]
    if len(held_out) < max(MIN_HELD_OUT, (settings.n_pages - n_fitted) // 2):
        return None
    n_columns = int(complete.sum())
    base = Base(
        start, stop, rank, _gap(squares[0], rank),
        float(squares[0, rank:].sum()) / (n_columns * (length - rank)),
        float(mean_energies(held_out).mean()),
        critical_value(
            len(held_out), settings.run_length / length, allowance=settings.allowance
        ),
    )  # fmt: skip
    return Subspace(base, held_out, mean, scale, usable, outside)


_NO_BASE = Base(0, 0, 0, 0.0, 0.0, 0.0, 0.0)


def _moments(values: FloatArray, known: BoolArray, xp: ModuleType) -> tuple[FloatArray, FloatArray]:
    """Return mean and standard deviation of what is known, (N, 1) each."""
    weight = xp.asarray(known.astype(np.float64))
    count = xp.asarray(np.maximum(known.sum(axis=1, keepdims=True), 1).astype(np.float64))
    mean = xp.sum(values * weight, axis=1, keepdims=True) / count
    centred = (values - mean) * weight
    scale = xp.sqrt(xp.sum(centred * centred, axis=1, keepdims=True) / count)
    size = xp.abs(mean) * 1e-12  # a constant's spread is rounding
    return mean, xp.where(scale > size, scale, xp.zeros_like(scale))


def _rank(squares: FloatArray) -> int:
    """Return the fewest that hold ``ENERGY`` of squared singular values (L,), at most half of L.

    Of noise that share takes nearly every direction, and would leave none to see a change in.
    """
    energy = np.cumsum(np.maximum(squares, 0.0))
    wanted = int(np.searchsorted(energy, ENERGY * energy[-1])) + 1
    return min(wanted, len(squares) // 2)


def _gap(squares: FloatArray, rank: int) -> float:
    kept, left = np.sqrt(np.maximum(squares[rank - 1 : rank + 1], 0.0))
    return 1.0 - float(left) / float(kept)


def series_energies(
    space: Subspace, values: FloatArray, missing: BoolArray, starts: IntArray, xp: ModuleType
) -> FloatArray:
    """Return the energy outside the subspace of each series' blocks, (B, N).

    Parameters
    ----------
    space : Subspace
    values : ndarray of xp, shape (N, T)
        Any number where missing.
    missing : ndarray of bool, shape (N, T)
    starts : ndarray of int, shape (B,)
        First sessions of blocks that follow each other.
    xp : module
        Array namespace.

    Returns
    -------
    ndarray of shape (B, N)
        NaN where a series has a value missing, or none to go by in the base window.
    """
    if len(starts) == 0:
        return np.zeros((0, len(missing)))
    begin, end = int(starts[0]), int(starts[-1]) + space.length
    shape = (len(missing), len(starts), space.length)  # (N, B, L)
    standard = (values[:, begin:end] - space.mean) / space.scale
    # Block after block, so that the product of one is the same beside any others.
    blocks = xp.moveaxis(xp.reshape(standard, shape), 1, 0)
    left = xp.matmul(blocks, space.outside)
    energy = on_host(xp.sum(left * left, axis=-1))  # (B, N)
    whole = ~missing[:, begin:end].reshape(shape).any(axis=2).T & space.usable
    return np.where(whole, energy, np.nan)


def mean_energies(energies: FloatArray) -> FloatArray:
    """Return the mean of blocks' energies, (B, N), over complete series, (B,); NaN without one."""
    whole = ~np.isnan(energies)
    count = whole.sum(axis=1)
    total = np.where(whole, energies, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
