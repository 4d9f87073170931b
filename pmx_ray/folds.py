"""Fold plans: the one type that owns every boundary between what is seen and what is scored.

A fold stands at a *cutoff*, the last session its forecast may see, and is scored on the sessions
``cutoff + step``. Its parameters come from a *train window* that may be older than the cutoff
(refit every K folds) and its conditioning data from a *context window* that ends on the cutoff.
Because each fold states both, any slice of a plan stands alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date
from itertools import combinations, pairwise
from math import comb
from typing import Literal, Self, TypeAlias

import numpy as np
from pydantic import Field, field_validator, model_validator

from pmx_ray._typing import BoolArray, DateArray, IntArray, frozen
from pmx_ray.config import Settings
from pmx_ray.data.panel import Panel
from pmx_ray.errors import SettingsError

Holes: TypeAlias = tuple[tuple[int, int], ...]
"""Stretches ``[start, stop)`` of sessions cut out of a train window."""

NEVER = np.iinfo(np.int64).max
"""A session that no panel has."""

_PER_FOLD = ("train_start", "train_stop", "context_start", "cutoff", "refit", "split", "holes")

MAX_FOLDS = 200_000
"""Most folds of a combinatorial plan."""


class FoldSettings(Settings):
    """How folds are laid out on a panel's sessions.

    Attributes
    ----------
    kind : str
        ``rolling`` keeps ``input_size`` train sessions, ``expanding`` keeps all since the first,
        ``combinatorial`` trains on both sides of the scored groups, purged and embargoed.
    input_size : int
        Sessions of a train window (``expanding``: of the first one) and of a context window.
    step_size : int
        Sessions between cutoffs.
    steps : tuple of int
        Sessions after the cutoff that are scored.
    start, end : date, optional
        First cutoff at the earliest, last scored session at the latest. A combinatorial plan
        groups, and sees, the sessions from ``start`` to ``end`` only.
    refit_every : int
        Folds that share one fit; 1 where ``combinatorial``, whose splits have one fit each.
    purge : int or "auto"
        Sessions before a scored stretch that no fit may see. ``auto`` is the longest step where
        training may follow scoring (combinatorial), and 0 where every window ends on its cutoff.
    embargo : int
        Sessions after a scored stretch that no fit of the same split may see, and sessions left
        free between the tuning and the evaluation partition.
    tuning_end : date, optional
        Folds scored up to this session are the tuning partition; a sweep evaluates the rest.
    n_groups, n_test_groups : int
        Of a combinatorial plan: stretches the sessions are cut into, and how many a split scores.
    """

    kind: Literal["rolling", "expanding", "combinatorial"] = "rolling"
    input_size: int = Field(default=1000, ge=30, le=100_000)
    step_size: int = Field(default=20, ge=1, le=10_000)
    steps: tuple[int, ...] = (1, 5, 20)
    start: date | None = None
    end: date | None = None
    refit_every: int = Field(default=1, ge=1, le=100_000)
    purge: int | Literal["auto"] = "auto"
    embargo: int = Field(default=0, ge=0, le=10_000)
    tuning_end: date | None = None
    n_groups: int = Field(default=6, ge=2, le=16)
    n_test_groups: int = Field(default=2, ge=1)

    @field_validator("steps")
    @classmethod
    def _steps_increase(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
        if not steps or steps[0] < 1 or list(steps) != sorted(set(steps)):
            raise ValueError(f"steps were {list(steps)}; they must be >= 1, sorted and not repeat")
        if steps[-1] > 1000:
            raise ValueError(f"the longest step was {steps[-1]}; it must be <= 1000 sessions")
        return steps

    @field_validator("purge")
    @classmethod
    def _purge_in_range(cls, purge: int | str) -> int | str:
        if isinstance(purge, int) and purge < 0:
            raise ValueError(f"purge was {purge}; it must be >= 0")
        if isinstance(purge, int) and purge > 10_000:
            raise ValueError(f"purge was {purge}; it must be <= 10000 sessions")
        return purge

    @model_validator(mode="after")
    def _groups_fit(self) -> Self:
        if self.n_test_groups >= self.n_groups:
            raise ValueError(
                f"n_test_groups was {self.n_test_groups}; it must be below n_groups "
                f"({self.n_groups})"
            )
        return self

    @model_validator(mode="after")
    def _one_fit_a_split(self) -> Self:
        if self.kind == "combinatorial" and self.refit_every != 1:
            raise ValueError(
                f"refit_every was {self.refit_every}; it must be 1 where kind is combinatorial, "
                "because each split has one fit"
            )
        return self


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


def build_folds(sessions: DateArray, settings: FoldSettings) -> FoldPlan:
    """Lay folds out on ``sessions``; only folds whose every step is over are laid.

    Cutoffs stand on a grid anchored at the first possible one, so that sessions added at the end
    add folds and change none.

    Parameters
    ----------
    sessions : ndarray of datetime64[D], shape (T,)
        The panel's sessions.
    settings : FoldSettings
        The layout.

    Raises
    ------
    SettingsError
        If no fold fits.
    """
    if settings.kind == "combinatorial":
        return _combinatorial(sessions, settings)
    return _walk_forward(sessions, settings)


def partition(plan: FoldPlan, sessions: DateArray, tuning_end: date) -> tuple[FoldPlan, FoldPlan]:
    """Split a walk-forward plan into a tuning and an evaluation plan that share no scored session.

    A fold is for tuning if its last scored session is at most ``tuning_end``, for evaluation if
    its cutoff lies at least the embargo after ``tuning_end``; folds in between are dropped.

    Raises
    ------
    SettingsError
        If either side has no fold, or the plan is combinatorial.
    """
    if plan.split.any():
        raise SettingsError("tuning_end: a combinatorial plan cannot be partitioned by date")
    last = int(np.searchsorted(sessions, np.datetime64(tuning_end), side="right")) - 1
    n_tuning = int(np.searchsorted(plan.cutoff + plan.steps[-1], last, side="right"))
    first_evaluation = int(np.searchsorted(plan.cutoff, last + plan.embargo))
    if n_tuning == 0 or first_evaluation == len(plan):
        raise SettingsError(
            f"tuning_end {tuning_end} leaves {n_tuning} tuning and "
            f"{len(plan) - first_evaluation} evaluation folds; both need at least one"
        )
    return plan[:n_tuning], plan[first_evaluation:]


def _walk_forward(sessions: DateArray, settings: FoldSettings) -> FoldPlan:
    purge = 0 if settings.purge == "auto" else settings.purge
    first, last = _cutoff_range(sessions, settings, purge)
    cutoff = np.arange(first, last + 1, settings.step_size)
    refit = np.arange(len(cutoff)) % settings.refit_every == 0
    fitted_at = cutoff[np.arange(len(cutoff)) // settings.refit_every * settings.refit_every]
    train_stop = fitted_at + 1 - purge
    rolling = settings.kind == "rolling"
    return FoldPlan(
        train_start=train_stop - settings.input_size if rolling else np.zeros_like(cutoff),
        train_stop=train_stop,
        context_start=cutoff + 1 - settings.input_size if rolling else np.zeros_like(cutoff),
        cutoff=cutoff,
        refit=refit,
        split=np.zeros_like(cutoff),
        holes=((),) * len(cutoff),
        steps=settings.steps,
        purge=purge,
        embargo=settings.embargo,
    )


def _between(sessions: DateArray, settings: FoldSettings) -> tuple[int, int]:
    """Return the positions ``[first, stop)`` of the sessions from ``start`` to ``end``."""
    first, stop = 0, len(sessions)
    if settings.start is not None:
        first = int(np.searchsorted(sessions, np.datetime64(settings.start)))
    if settings.end is not None:
        stop = int(np.searchsorted(sessions, np.datetime64(settings.end), side="right"))
    return first, stop


def _cutoff_range(sessions: DateArray, settings: FoldSettings, purge: int) -> tuple[int, int]:
    start, stop = _between(sessions, settings)
    first = max(settings.input_size - 1 + purge, start)
    last = stop - 1 - settings.steps[-1]
    if last < first:
        raise _no_fold(sessions, settings, purge)
    return first, last


def _no_fold(sessions: DateArray, settings: FoldSettings, purge: int) -> SettingsError:
    return SettingsError(
        f"folds: {len(sessions)} sessions leave no fold with input_size "
        f"{settings.input_size}, purge {purge}, steps up to {settings.steps[-1]}, "
        f"start {settings.start} and end {settings.end}"
    )


def _combinatorial(sessions: DateArray, settings: FoldSettings) -> FoldPlan:
    """Combinatorial purged cross-validation; Lopez de Prado (2018), chapter 12."""
    purge = settings.steps[-1] if settings.purge == "auto" else settings.purge
    first, end = _between(sessions, settings)
    edges = np.linspace(first, max(first, end), settings.n_groups + 1).astype(np.int64).tolist()
    groups = list(pairwise(edges))
    cutoffs = [_group_cutoffs(group, first, settings) for group in groups]
    _check_n_folds(cutoffs, sessions, settings, purge)
    rows: list[tuple[int, bool, int, Holes]] = []
    for split, scored in enumerate(combinations(range(len(groups)), settings.n_test_groups)):
        holes = tuple(
            (max(start - purge, first), min(stop + settings.embargo, end))
            for start, stop in (groups[g] for g in scored)
        )
        of_split = [cutoff for g in scored for cutoff in cutoffs[g]]
        rows += [(cutoff, k == 0, split, holes) for k, cutoff in enumerate(of_split)]
    cutoff = np.array([row[0] for row in rows], np.int64)
    return FoldPlan(
        train_start=np.full_like(cutoff, first),
        train_stop=np.full_like(cutoff, end),
        context_start=cutoff + 1 - settings.input_size,
        cutoff=cutoff,
        refit=np.array([row[1] for row in rows], np.bool_),
        split=np.array([row[2] for row in rows], np.int64),
        holes=tuple(row[3] for row in rows),
        steps=settings.steps,
        purge=purge,
        embargo=settings.embargo,
    )


def _group_cutoffs(group: tuple[int, int], first: int, settings: FoldSettings) -> range:
    """Return the cutoffs whose steps lie in ``group`` and whose context does not precede ``first``.

    A forecast of a group's first session stands on the session before the group.
    """
    start, stop = group
    earliest = max(start - 1, first + settings.input_size - 1)
    return range(earliest, stop - settings.steps[-1], settings.step_size)


def _check_n_folds(
    cutoffs: Sequence[range], sessions: DateArray, settings: FoldSettings, purge: int
) -> None:
    splits_a_group = comb(settings.n_groups - 1, settings.n_test_groups - 1)
    n_folds = splits_a_group * sum(map(len, cutoffs))
    if n_folds == 0:
        raise _no_fold(sessions, settings, purge)
    if n_folds > MAX_FOLDS:
        raise SettingsError(
            f"folds: {settings.n_groups} groups of which {settings.n_test_groups} are scored make "
            f"{n_folds} folds; at most {MAX_FOLDS} are laid, so use a longer step_size, "
            "fewer n_groups or fewer n_test_groups"
        )


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
