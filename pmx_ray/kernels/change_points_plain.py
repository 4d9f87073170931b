"""Change points session by session: the plain twin of ``kernels.change_points``.

A singular value decomposition of the Page matrix, one block after the other, and a sorted list of
calm energies. Slow, and what the fast form is held against.

Shapes: N series, T sessions, L sessions of a block.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from pmx_ray._typing import FloatArray
from pmx_ray.kernels.change_points_ranks import MOST_REFERENCE, critical_value
from pmx_ray.kernels.change_points_settings import ChangeSettings


@dataclass(frozen=True, slots=True)
class PlainChanges:
    """Alarms, their onsets, and the sum after each block by the session that ended it."""

    alarms: tuple[int, ...]
    onsets: tuple[int, ...]
    statistic: dict[int, float]


def plain_detect(series: FloatArray, settings: ChangeSettings) -> PlainChanges:
    """Return the changes of series whose base windows miss no value, (N, T); see ``detect``."""
    length, n_sessions = settings.window, series.shape[1]
    alarms, onsets, statistic = [], [], {}
    start = 0
    while start + settings.base_size <= n_sessions:
        base = series[:, start : start + settings.base_size]
        n_fitted = settings.n_pages // 2
        fitted = base[:, : n_fitted * length]
        mean, scale = fitted.mean(axis=1), fitted.std(axis=1)
        outside = _outside(fitted, mean, scale, length)

        def energies(block: FloatArray) -> dict[int, float]:
            z = (block - mean[:, None]) / scale[:, None]  # noqa: B023 - called in this turn only
            return {
                n: float(np.sum((outside.T @ row) ** 2))  # noqa: B023
                for n, row in enumerate(z)
                if not np.isnan(row).any()
            }

        calm = [
            energies(base[:, k * length : (k + 1) * length])
            for k in range(n_fitted, settings.n_pages)
        ]
        height = critical_value(
            len(calm), settings.run_length / length, allowance=settings.allowance
        )
        level, suspect, at = 0.0, [], start + settings.base_size
        onset, start = at, n_sessions
        while at + length <= n_sessions:
            new = energies(series[:, at : at + length])
            if not new:
                at += length
                continue
            onset = at if level == 0.0 else onset
            alike = [_mean_of_as_many(block, new) for block in calm]
            score = plain_score(float(np.mean(list(new.values()))), alike)
            level = max(0.0, level + score - settings.allowance)
            suspect.append(new)
            if level == 0.0:
                calm, suspect = calm + suspect, []
            at += length
            statistic[at - 1] = level
            if level >= height:
                alarms.append(at - 1)
                onsets.append(onset)
                start = at
                break
    return PlainChanges(tuple(alarms), tuple(onsets), statistic)


def _mean_of_as_many(block: dict[int, float], new: dict[int, float]) -> float:
    """Return the mean over as many series as ``new`` has, the same ones first."""
    same = [energy for n, energy in block.items() if n in new]
    other = [energy for n, energy in block.items() if n not in new]
    return float(np.mean((same + other)[: len(new)]))


def _outside(fitted: FloatArray, mean: FloatArray, scale: FloatArray, length: int) -> FloatArray:
    """Return the left singular vectors of the Page matrix beyond the rank, (L, L - r)."""
    pages = [
        (row[k : k + length] - m) / s
        for row, m, s in zip(fitted, mean, scale, strict=True)
        for k in range(0, len(row), length)
    ]
    u, s, _ = np.linalg.svd(np.stack(pages, axis=1), full_matrices=True)
    share, rank = 0.0, 0
    while share < 0.95 * np.sum(s**2):
        share += s[rank] ** 2
        rank += 1
    return u[:, min(rank, length // 2) :]


def plain_score(new: float, calm: Sequence[float]) -> float:
    """Return the normal score of ``new`` among the last calm values; no ties."""
    known = sorted([*calm[-MOST_REFERENCE:], new])
    return NormalDist().inv_cdf((known.index(new) + 0.5) / len(known))


def plain_run_length(
    draws: FloatArray, n_reference: int, *, allowance: float, height: float
) -> int:
    """Return the blocks until the sum reaches ``height``; all of them where it does not.

    Parameters
    ----------
    draws : ndarray of shape (n_reference + blocks,)
        The held-out blocks, then the new ones.
    n_reference : int
    allowance, height : float
    """
    calm, suspect, level = list(draws[:n_reference]), [], 0.0
    for block, new in enumerate(draws[n_reference:].tolist()):
        level = max(0.0, level + plain_score(new, calm) - allowance)
        if level >= height:
            return block + 1
        suspect.append(new)
        if level == 0.0:
            calm, suspect = calm + suspect, []
    return len(draws) - n_reference
