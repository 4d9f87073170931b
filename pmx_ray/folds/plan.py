"""The fold plan: the one type that owns every boundary between what is seen and what is scored.

A fold stands at a *cutoff*, the last session its forecast may see, and is scored on the sessions
``cutoff + step``. Its parameters come from a *train window* that may be older than the cutoff
(refit every K folds) and its conditioning data from a *context window* that ends on the cutoff.
Because each fold states both, any slice of a plan stands alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypeAlias

import numpy as np

from pmx_ray._typing import BoolArray, DateArray, IntArray, frozen
from pmx_ray.data.panel import Panel
from pmx_ray.errors import SettingsError

Holes: TypeAlias = tuple[tuple[int, int], ...]
"""Stretches ``[start, stop)`` of sessions cut out of a train window."""

NEVER = np.iinfo(np.int64).max
"""A session that no panel has."""

_PER_FOLD = ("train_start", "train_stop", "context_start", "cutoff", "refit", "split", "holes")


@dataclass(frozen=True, slots=True, eq=False)
class FoldPlan:
    """F folds over the sessions of one panel, as positions on its session axis.

    Attributes
    ----------
    train_start, train_stop : ndarray of int, shape (F,)
        Train window ``[train_start, train_stop)`` of the fit that serves the fold.
    context_start : ndarray of int, shape (F,)
        The forecast is conditioned on sessions ``[context_start, cutoff]``.
    cutoff : ndarray of int, shape (F,)
        Last session seen; increases within a split.
    refit : ndarray of bool, shape (F,)
        True where the fold's own fit is made.
    split : ndarray of int, shape (F,)
        Number of the combinatorial split; 0 elsewhere.
    holes : tuple of tuple of (start, stop), length F
        Stretches cut out of each train window.
    steps : tuple of int, length H
        Sessions after the cutoff that are scored.
    purge, embargo : int
        Sessions before and after a scored stretch that its fit does not see.

    Raises
    ------
    SettingsError
        If there is no fold, shapes differ, cutoffs do not increase, or a fit sees a session that
        its own split scores, less purge and embargo.
    """

    train_start: IntArray
    train_stop: IntArray
    context_start: IntArray
    cutoff: IntArray
    refit: BoolArray
    split: IntArray
    holes: tuple[Holes, ...]
    steps: tuple[int, ...]
    purge: int
    embargo: int

    def __post_init__(self) -> None:
        for name in ("train_start", "train_stop", "context_start", "cutoff", "split"):
            object.__setattr__(self, name, frozen(getattr(self, name), np.int64))
        object.__setattr__(self, "refit", frozen(self.refit, np.bool_))
        self._check_order()
        self._check_seen()

    def _check_order(self) -> None:
        if len(self.cutoff) == 0:
            raise SettingsError(
                "the plan has no fold; use a shorter input_size or steps, or an earlier start"
            )
        lengths = {
            len(values)
            for values in (
                self.train_start,
                self.train_stop,
                self.context_start,
                self.refit,
                self.split,
                self.holes,
            )
        }
        if lengths != {len(self.cutoff)}:
            raise SettingsError("every array of a fold plan must have one entry a fold")
        same_split = np.diff(self.split) == 0
        if (np.diff(self.cutoff)[same_split] <= 0).any():
            raise SettingsError("cutoffs must increase within a split")
        if (self.train_start < 0).any() or (self.train_stop <= self.train_start).any():
            raise SettingsError("each train window must hold at least one session of the panel")
        if (self.context_start < 0).any() or (self.context_start > self.cutoff).any():
            raise SettingsError("each context window must start on or before its cutoff")

    def _check_seen(self) -> None:
        first = np.maximum(self.cutoff + 1 - self.purge, self.train_start)
        last = self.cutoff + self.steps[-1] + self.embargo
        covered = self._first_not_free(first)
        bad = (covered <= last) & (first < self.train_stop)
        if bad.any():
            k = int(np.argmax(bad))
            raise SettingsError(
                f"fold {k} fits on session {covered[k]}, which lies in its scored sessions "
                f"{self.cutoff[k] + 1} to {self.cutoff[k] + self.steps[-1]} less purge "
                f"{self.purge} and embargo {self.embargo}"
            )

    def _first_not_free(self, first: IntArray) -> IntArray:
        """Return the first session from ``first`` on, shape (F,), that each fold's fit may see."""
        start, stop = _hole_arrays(self.holes)
        start = np.hstack([start, self.train_stop[:, None]])  # (F, holes + 1); free from there on
        stop = np.hstack([stop, np.full_like(self.train_stop, NEVER)[:, None]])
        order = np.argsort(start, axis=1)
        start, stop = np.take_along_axis(start, order, 1), np.take_along_axis(stop, order, 1)
        covered = first
        for a, b in zip(start.T, stop.T, strict=True):
            covered = np.where((a <= covered) & (covered < b), b, covered)
        return covered

    def __len__(self) -> int:
        return len(self.cutoff)

    def __getitem__(self, folds: slice) -> "FoldPlan":
        """Return the plan of a slice of folds; it stands alone and shares this plan's memory."""
        part = self._unchecked(**{name: getattr(self, name)[folds] for name in _PER_FOLD})
        if len(part) == 0 or folds.step not in (None, 1):
            part.__post_init__()  # of a run of folds, only its being empty can be wrong
        return part

    def _unchecked(self, **changed: object) -> "FoldPlan":
        """Return a plan with fields changed in a way that keeps every invariant."""
        plan = object.__new__(FoldPlan)
        for field in fields(FoldPlan):
            value = changed.get(field.name, getattr(self, field.name))
            object.__setattr__(plan, field.name, value)
        return plan

    @property
    def first_seen(self) -> int:
        """First session that any window of the plan reads."""
        return int(min(self.train_start.min(), self.context_start.min()))

    @property
    def lasts_read(self) -> IntArray:
        """Last session that the folds up to each one read or score, shape (F,)."""
        last: IntArray = np.maximum(self.train_stop - 1, self.cutoff + self.steps[-1])
        return np.maximum.accumulate(last)

    @property
    def last_read(self) -> int:
        """Last session that any window reads or any step scores."""
        return int(self.lasts_read[-1])

    def shifted(self, by: int) -> "FoldPlan":
        """Return the plan for a panel whose first ``by`` sessions were cut off.

        Raises
        ------
        SettingsError
            If a window reads one of them.
        """
        if by > self.first_seen:
            raise SettingsError(
                f"the plan was to be shifted by {by} sessions; it reads session {self.first_seen}"
            )
        moved = ("train_start", "train_stop", "context_start", "cutoff")
        return self._unchecked(
            **{name: frozen(getattr(self, name) - by, np.int64) for name in moved},
            holes=tuple(tuple((a - by, b - by) for a, b in holes) for holes in self.holes),
        )

    def new_fit(self, fold: int) -> bool:
        """Return whether ``fold`` needs another fit than the fold before it in this plan."""
        return fold == 0 or self._window(fold) != self._window(fold - 1)

    @property
    def n_fits(self) -> int:
        """Number of fits that serve the plan."""
        windows = np.stack([self.train_start, self.train_stop, self.split])
        return 1 + int(np.any(np.diff(windows, axis=1) != 0, axis=0).sum())

    @property
    def first_served(self) -> IntArray:
        """First fold that the fit of each fold serves, shape (F,)."""
        new = [fold if self.new_fit(fold) else 0 for fold in range(len(self))]
        first: IntArray = np.maximum.accumulate(np.array(new, np.int64))
        return first

    def _window(self, fold: int) -> tuple[int, int, Holes]:
        return int(self.train_start[fold]), int(self.train_stop[fold]), self.holes[fold]

    def training(self, panel: Panel, fold: int) -> Panel:
        """Return what the fit that serves ``fold`` may see, holes blanked as gaps."""
        start, stop, holes = self._window(fold)
        history = panel.window(start, stop)
        for first, last in holes:
            history = history.without(max(first - start, 0), max(last - start, 0))
        return history

    def context(self, panel: Panel, fold: int) -> Panel:
        """Return what the forecast of ``fold`` is conditioned on; it ends on the cutoff."""
        return panel.window(int(self.context_start[fold]), int(self.cutoff[fold]) + 1)


def _hole_arrays(holes: Sequence[Holes]) -> tuple[IntArray, IntArray]:
    """Return start and stop of each fold's holes, shape (F, most holes), filled with ``NEVER``."""
    kinds = list(dict.fromkeys(holes))  # folds of a split share theirs
    bounds = np.full((len(kinds), max(map(len, kinds)), 2), NEVER)
    for n, kind in enumerate(kinds):
        bounds[n, : len(kind)] = np.reshape(kind, (-1, 2))
    number = {kind: n for n, kind in enumerate(kinds)}
    bounds = bounds[[number[kind] for kind in holes]]
    return bounds[..., 0], bounds[..., 1]


def as_json(plan: FoldPlan, sessions: DateArray) -> dict[str, object]:
    """Return the plan with dates instead of positions, for ``folds.json``."""

    def day(position: int) -> str:
        return str(sessions[position])

    return {
        "steps": list(plan.steps),
        "purge": plan.purge,
        "embargo": plan.embargo,
        "folds": [
            {
                "split": int(plan.split[k]),
                "train": [day(int(plan.train_start[k])), day(int(plan.train_stop[k]) - 1)],
                "context_start": day(int(plan.context_start[k])),
                "cutoff": day(int(plan.cutoff[k])),
                "last_scored": day(int(plan.cutoff[k]) + plan.steps[-1]),
                "refit": bool(plan.refit[k]),
                "holes": [[day(a), day(b - 1)] for a, b in plan.holes[k]],
            }
            for k in range(len(plan))
        ],
    }


def slice_document(plan: FoldPlan) -> Sequence[Sequence[object]]:
    """Return every boundary of the plan as plain numbers, a list a field and the steps last."""
    return [
        plan.train_start.tolist(),
        plan.train_stop.tolist(),
        plan.context_start.tolist(),
        plan.cutoff.tolist(),
        plan.refit.tolist(),
        plan.split.tolist(),
        [[list(hole) for hole in holes] for holes in plan.holes],
        list(plan.steps),
    ]
