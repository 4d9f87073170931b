"""Stages that learn from past losses: ensemble, selector and tuner.

Each wraps the function that weighs or chooses and gives it the losses of a made-up contest: a few
candidates whose forecasts are drawn in advance, scored on the panel's own outcomes. What is audited
is the function's use of time: a loss may be used only once its outcome is out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from pmx_ray._typing import FloatArray, IntArray
from pmx_ray.data.panel import Panel
from pmx_ray.errors import SettingsError
from pmx_ray.folds import FoldPlan
from pmx_ray.leaks.stages import Kind, Outputs, Signals

N_CANDIDATES = 8
"""Enough that a wrong choice is seldom the right one by luck."""

FORECAST_SD = 0.01
"""Standard deviation of a candidate's made-up forecast, decimal log return."""


@dataclass(frozen=True, slots=True, eq=False)
class LossTable:
    """Losses of S candidates on F folds of N tickers, at one step.

    Attributes
    ----------
    losses : ndarray of shape (F, N, S)
        Squared errors, lower is better; NaN where the outcome is missing or not out yet.
    cutoff : ndarray of int, shape (F,)
        Session of each fold's forecast.
    known_at : ndarray of int, shape (F,)
        Session at whose close the fold's losses are out.
    """

    losses: FloatArray
    cutoff: IntArray
    known_at: IntArray

    def before(self, fold: int) -> "LossTable":
        """Return the folds whose losses are out at the cutoff of ``fold``."""
        return self.upto(int(np.searchsorted(self.known_at, self.cutoff[fold], side="right")))

    def upto(self, stop: int) -> "LossTable":
        """Return the first ``stop`` folds."""
        return LossTable(self.losses[:stop], self.cutoff[:stop], self.known_at[:stop])


Weigh: TypeAlias = Callable[[LossTable], FloatArray]
"""Losses of all folds to the weights that serve each fold, shape (F, S)."""

Select: TypeAlias = Callable[[LossTable], IntArray]
"""Losses of all folds to the candidate that serves each fold, shape (F,)."""

Tune: TypeAlias = Callable[[LossTable, int], int]
"""Losses of all folds and how many of them are for tuning, to the candidate that is frozen."""


@dataclass(frozen=True, slots=True)
class EnsembleStage:
    """An ensemble: its weights, and the forecast they make; one column of S weights."""

    name: str
    weigh: Weigh
    kind: Kind = "ensemble"

    def outputs(self, panel: Panel, plan: FoldPlan) -> Outputs:
        """Return the weights that serve each fold."""
        forecasts, table = contest(panel, plan)
        weights = self.weigh(table)
        mean = np.einsum("fns,fs->fn", forecasts, weights)[..., None]
        signals = Signals(mean, plan.steps[:1])
        return Outputs(weights[:, None].astype(np.float64), plan.cutoff, ("weights",), signals)


@dataclass(frozen=True, slots=True)
class SelectorStage:
    """A selector: the candidate that serves each fold, and its forecast."""

    name: str
    select: Select
    kind: Kind = "selector"

    def outputs(self, panel: Panel, plan: FoldPlan) -> Outputs:
        """Return the choice that serves each fold."""
        forecasts, table = contest(panel, plan)
        choice = np.asarray(self.select(table), np.int64)
        mean = forecasts[np.arange(len(plan)), :, choice][..., None]
        signals = Signals(mean, plan.steps[:1])
        return Outputs(choice[:, None, None], plan.cutoff, ("choice",), signals)


@dataclass(frozen=True, slots=True)
class TunerStage:
    """A tuner: one choice for good, of the first ``n_tuning`` folds alone.

    Raises
    ------
    SettingsError
        On ``outputs``, if the plan leaves no fold to evaluate on.
    """

    name: str
    tune: Tune
    n_tuning: int
    kind: Kind = "tuner"

    def outputs(self, panel: Panel, plan: FoldPlan) -> Outputs:
        """Return the choice; it may depend on the sessions that the tuning folds score."""
        if not 0 < self.n_tuning <= len(plan):
            raise SettingsError(
                f"n_tuning was {self.n_tuning}; it must be 1 to {len(plan)}, the plan's folds"
            )
        _, table = contest(panel, plan)
        choice = np.array([[[self.tune(table, self.n_tuning)]]], np.int64)
        return Outputs(choice, table.known_at[self.n_tuning - 1 : self.n_tuning], ("choice",))


def contest(panel: Panel, plan: FoldPlan) -> tuple[FloatArray, LossTable]:
    """Return the candidates' forecasts, shape (F, N, S), and their losses at the first step.

    A fold's forecasts are drawn from its own cutoff, so they know nothing of any price.
    """
    shape = (panel.n_tickers, N_CANDIDATES)
    draws = [np.random.default_rng(int(c)).normal(0.0, FORECAST_SD, shape) for c in plan.cutoff]
    forecasts = np.stack(draws)
    step = plan.steps[0]
    actual = outcomes(panel, plan.cutoff, step)
    losses = (forecasts - actual[..., None]) ** 2
    return forecasts, LossTable(losses, plan.cutoff, plan.cutoff + step)


def outcomes(panel: Panel, cutoff: IntArray, step: int) -> FloatArray:
    """Return log P(cutoff + step) - log P(cutoff), shape (F, N); NaN where a price is missing.

    A session beyond the panel has no price.
    """
    beyond = np.full((panel.n_tickers, step), np.nan)
    log_close = np.hstack([np.log(panel.close), beyond])
    change: FloatArray = (log_close[:, cutoff + step] - log_close[:, cutoff]).T
    return change
