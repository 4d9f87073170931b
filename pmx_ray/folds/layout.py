"""How folds are laid out on a panel's sessions: settings, and the plans they make."""

from collections.abc import Sequence
from datetime import date
from itertools import combinations, pairwise
from math import comb
from typing import Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from pmx_ray._typing import DateArray, IntArray
from pmx_ray.config import Settings
from pmx_ray.data.panel import Panel
from pmx_ray.errors import SettingsError
from pmx_ray.folds.changes import change_alarms, refit_folds
from pmx_ray.folds.plan import FoldPlan, Holes
from pmx_ray.kernels.change_points_settings import ChangeSettings

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
    refit_on_change : ChangeSettings, optional
        Refit as well at the first cutoff by which a change of the panel was alarmed since the
        last fit; ``refit_every`` is then the most folds that share one fit. Not where
        ``combinatorial``.
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
    # Left out where it is not used: what it could change is then named as ever.
    refit_on_change: ChangeSettings | None = Field(
        default=None, exclude_if=lambda given: given is None
    )
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
        if self.kind == "combinatorial" and self.refit_on_change is not None:
            raise ValueError(
                "refit_on_change was given; leave it out where kind is combinatorial, because "
                "each split has one fit"
            )
        return self


def build_folds(
    sessions: DateArray, settings: FoldSettings, *, alarms: IntArray | None = None
) -> FoldPlan:
    """Lay folds out on ``sessions``; only folds whose every step is over are laid.

    Cutoffs stand on a grid anchored at the first possible one, so that sessions added at the end
    add folds and change none.

    Parameters
    ----------
    sessions : ndarray of datetime64[D], shape (T,)
        The panel's sessions.
    settings : FoldSettings
        The layout.
    alarms : ndarray of int, shape (A,), optional
        Sessions at whose close a change was alarmed, see ``change_alarms``; used, and needed,
        where ``settings.refit_on_change`` is given.

    Raises
    ------
    SettingsError
        If no fold fits, or alarms are needed and not given.
    """
    if settings.refit_on_change is None:
        alarms = None
    elif alarms is None:
        raise SettingsError(
            "refit_on_change needs the panel's alarms and none were given; hand over those of "
            "change_alarms(panel, settings.refit_on_change), or leave refit_on_change out"
        )
    if settings.kind == "combinatorial":
        return _combinatorial(sessions, settings)
    return _walk_forward(sessions, settings, alarms)


def folds_of(panel: Panel, settings: FoldSettings) -> FoldPlan:
    """Lay folds out on a panel, with a fit at every change where ``refit_on_change`` asks for it.

    Raises
    ------
    SettingsError
        If no fold fits.
    """
    changes = settings.refit_on_change
    alarms = None if changes is None else change_alarms(panel, changes)
    return build_folds(panel.sessions, settings, alarms=alarms)


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


def _walk_forward(sessions: DateArray, settings: FoldSettings, alarms: IntArray | None) -> FoldPlan:
    purge = 0 if settings.purge == "auto" else settings.purge
    first, last = _cutoff_range(sessions, settings, purge)
    cutoff = np.arange(first, last + 1, settings.step_size)
    refit = refit_folds(cutoff, refit_every=settings.refit_every, alarms=alarms)
    fitted_at = cutoff[np.maximum.accumulate(np.where(refit, np.arange(len(cutoff)), 0))]
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
