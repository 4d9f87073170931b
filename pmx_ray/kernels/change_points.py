"""Change points by singular spectrum analysis: what new blocks hold outside a fitted subspace.

A base window is cut into Page columns. The first half gives mean, scale and the left singular
subspace; the energy that a later block of L sessions has outside it is ranked among the held-out
second half and the calm blocks since, over as many series. The normal scores of those ranks, less
an allowance, are summed from below at 0 (CUSUM), and an alarm is raised at a threshold. Then a new
base window is waited for. What is said of a session depends on no later one.

Ranks, because they have one distribution whatever the noise is, as long as blocks are
exchangeable: the threshold for an average run length is then a property of the procedure, and is
simulated once, error of the base window included. A threshold bootstrapped from the few dozen
blocks of a base window misses the run length several times over; see docs/change_points.md.

Shapes: N series, T sessions, L sessions of a block, K blocks of a base window, r the rank.

References
----------
Alanqary, Alomar, Shah (2021), Change Point Detection via Multivariate Singular Spectrum Analysis,
NeurIPS 34, 23218-23230.
McDonald (1990), A cusum procedure based on sequential ranks, Naval Research Logistics 37, 627-646.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from pmx_ray._typing import BoolArray, FloatArray, IntArray, frozen
from pmx_ray.errors import DataError
from pmx_ray.kernels.change_points_ranks import RankSum, score_table
from pmx_ray.kernels.change_points_settings import ChangeSettings
from pmx_ray.kernels.change_points_space import (
    Base,
    Subspace,
    fit_subspace,
    mean_energies,
    series_energies,
)

__all__ = ["Base", "ChangeSettings", "Changes", "change_density", "detect"]

TINY = np.finfo(np.float64).tiny

AHEAD = 64
"""Blocks whose energies are taken at a time; those after an alarm were taken in vain."""


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """What was detected on T sessions; on fewer of them it is the beginning of the same.

    Attributes
    ----------
    alarms : ndarray of int, shape (A,)
        Sessions at whose close a change was alarmed, ascending.
    onsets : ndarray of int, shape (A,)
        First session of the block that raised the sum from 0 for the last time, per alarm.
    statistic : ndarray of shape (T,)
        The sum after the last whole block, in normal scores; NaN where blind.
    energy_ratio : ndarray of shape (T,)
        Energy of the last whole block outside the subspace over the base's drift; NaN where blind
        or before the first block.
    blind : ndarray of bool, shape (T,)
        Sessions that are waited for, or make up a base window: a change there goes unseen.
    bases : tuple of Base
        Base windows that were whole, the oldest first.
    """

    alarms: IntArray
    onsets: IntArray
    statistic: FloatArray
    energy_ratio: FloatArray
    blind: BoolArray
    bases: tuple[Base, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "alarms", frozen(self.alarms, np.int64))
        object.__setattr__(self, "onsets", frozen(self.onsets, np.int64))
        object.__setattr__(self, "statistic", frozen(self.statistic, np.float64))
        object.__setattr__(self, "energy_ratio", frozen(self.energy_ratio, np.float64))
        object.__setattr__(self, "blind", frozen(self.blind, np.bool_))

    @property
    def blind_periods(self) -> tuple[tuple[int, int], ...]:
        """Blind sessions as stretches ``[start, stop)``."""
        edges = np.flatnonzero(np.diff(np.concatenate([[0], self.blind.astype(np.int8), [0]])))
        return tuple((int(a), int(b)) for a, b in edges.reshape(-1, 2))


def detect(
    series: FloatArray, settings: ChangeSettings | None = None, *, xp: ModuleType = np
) -> Changes:
    """Return the changes of N series that are watched together, each known at its alarm.

    Deterministic; detection on the first t sessions is the beginning of detection on more, to the
    bit on the host.

    Parameters
    ----------
    series : ndarray of shape (N, T)
        One row a series, in any unit; NaN where a value is missing. A block of a series with a
        missing value is left out, a block without a complete series leaves the sum as it is.
    settings : ChangeSettings, optional
        ``input`` is not read here: ``watched_series`` makes that of prices.
    xp : module
        Array namespace that carries the products: numpy, or cupy on a card.

    Raises
    ------
    DataError
        If ``series`` is not two-dimensional or a value is infinite.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(size=(3, 600))
    >>> noise[:, 400:] *= 3.0
    >>> detect(noise, ChangeSettings()).alarms.tolist()
    [419]
    """
    settings = settings or ChangeSettings()
    _check(series)
    values, missing = xp.asarray(np.nan_to_num(series)), np.isnan(series)
    watch = _Watch.of(series.shape[1])
    start = 0
    while start + settings.base_size <= series.shape[1]:
        base = fit_subspace(values, missing, start, settings, xp)
        if base is None:
            start += settings.window
            continue
        start = _monitor(watch, base, values, missing, settings, xp)
    return watch.changes()


def change_density(alarms: IntArray, n_sessions: int, *, window: int = 250) -> FloatArray:
    """Return alarms per session over the ``window`` sessions up to each session, (T,).

    Parameters
    ----------
    alarms : ndarray of int, shape (A,)
        Positions of the sessions with an alarm, ``Changes.alarms``.
    n_sessions : int
        T.
    window : int
        Trailing sessions, the session itself among them; the first sessions look back on fewer.

    Raises
    ------
    DataError
        If ``window`` is below 1 or an alarm lies outside the sessions.

    Examples
    --------
    >>> change_density(np.array([1]), 4, window=2).tolist()
    [0.0, 0.5, 0.5, 0.0]
    """
    if window < 1:
        raise DataError(f"window was {window}; it must be >= 1 session")
    if len(alarms) and (alarms.min() < 0 or alarms.max() >= n_sessions):
        raise DataError(
            f"alarms lie at {alarms.min()} to {alarms.max()}; they must lie in the "
            f"{n_sessions} sessions"
        )
    n_alarms = np.concatenate([[0], np.cumsum(np.bincount(alarms, minlength=n_sessions))])
    stop = np.arange(1, n_sessions + 1)
    first = np.maximum(stop - window, 0)
    density: FloatArray = (n_alarms[stop] - n_alarms[first]) / (stop - first)
    return density


@dataclass(slots=True)
class _Watch:
    """What is written while sessions pass: a path's value where it is new, NaN where it stands."""

    alarms: list[int]
    onsets: list[int]
    statistic: FloatArray
    energy_ratio: FloatArray
    blind: BoolArray
    bases: list[Base]

    @classmethod
    def of(cls, n_sessions: int) -> "_Watch":
        unknown = np.full(n_sessions, np.nan)
        return cls([], [], unknown, unknown.copy(), np.ones(n_sessions, np.bool_), [])

    def begin(self, base: Base) -> None:
        self.bases.append(base)
        self.blind[base.stop :] = False
        self.statistic[base.stop : base.stop + 1] = 0.0

    def note(self, session: int, level: float, ratio: float) -> None:
        self.statistic[session], self.energy_ratio[session] = level, ratio

    def alarm(self, session: int, onset: int) -> None:
        self.alarms.append(session)
        self.onsets.append(onset)
        self.blind[session + 1 :] = True

    def changes(self) -> Changes:
        return Changes(
            np.array(self.alarms, np.int64), np.array(self.onsets, np.int64),
            self._held(self.statistic), self._held(self.energy_ratio), self.blind,
            tuple(self.bases),
        )  # fmt: skip

    def _held(self, path: FloatArray) -> FloatArray:
        """Return a path with each value held until the next, NaN where blind."""
        first = np.zeros(len(path), np.int64)
        for base in self.bases:
            first[base.stop : base.stop + 1] = base.stop
        new = np.where(np.isnan(path), first, np.arange(len(path)))
        held: FloatArray = path[np.maximum.accumulate(new)]
        return np.where(self.blind, np.nan, held)


def _check(series: FloatArray) -> None:
    if series.ndim != 2 or series.shape[0] == 0:
        raise DataError(f"series have shape {series.shape}; it must be (N, T) with N >= 1")
    if np.isinf(series).any():
        n, t = np.argwhere(np.isinf(series))[0]
        raise DataError(f"series {n} is infinite at session {t}; give NaN where it is unknown")


def _monitor(
    watch: _Watch,
    space: Subspace,
    values: FloatArray,
    missing: BoolArray,
    settings: ChangeSettings,
    xp: ModuleType,
) -> int:
    """Watch from the base window on; return the session after the alarm, or after the last."""
    base, length = space.base, settings.window
    n_sessions: int = missing.shape[1]
    watch.begin(base)
    scores = score_table(len(space.held_out))
    rank_sum = RankSum(space.held_out, [], scores, settings.allowance)
    onset = base.stop
    for start, energies, energy in _blocks(space, values, missing, xp):
        last = start + length - 1
        onset = start if rank_sum.level == 0.0 else onset
        watch.note(last, rank_sum.add(energies), energy / max(base.drift, TINY))
        if rank_sum.level >= base.threshold:
            watch.alarm(last, onset)
            return last + 1
    return n_sessions


def _blocks(
    space: Subspace, values: FloatArray, missing: BoolArray, xp: ModuleType
) -> Iterator[tuple[int, FloatArray, float]]:
    """Yield start, energies (N,) and their mean of the known blocks after the base window."""
    length = space.length
    starts = np.arange(space.base.stop, missing.shape[1] - length + 1, length)
    for first in range(0, len(starts), AHEAD):
        some = starts[first : first + AHEAD]
        energies = series_energies(space, values, missing, some, xp)
        means = mean_energies(energies).tolist()
        for start, of_series, mean in zip(some.tolist(), energies, means, strict=True):
            if not np.isnan(mean):
                yield int(start), of_series, float(mean)
