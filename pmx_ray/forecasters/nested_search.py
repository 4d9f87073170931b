"""A search inside one history: what proposes configurations, and what scores them.

Shapes: K inner folds, M tickers, H steps.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pmx_ray._typing import FloatArray
from pmx_ray.data.panel import Panel
from pmx_ray.errors import SettingsError
from pmx_ray.folds import FoldPlan
from pmx_ray.forecasters.batch import forecast_folds
from pmx_ray.forecasters.inner_folds import VALIDATION, Loss, inner_losses, inner_plan
from pmx_ray.forecasters.members import forecast_member
from pmx_ray.forecasters.nested_settings import NestedSettings
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.forecasters.search_space import SearchSpace

if TYPE_CHECKING:
    from optuna.study import Study

MISSING_COST = 2.0
"""Loss of an inner cell without a forecast, in mean losses of the random walk: a configuration
must not win by failing where it would have been wrong."""


def search(
    study: "Study",
    space: SearchSpace,
    score: Callable[[ForecasterSpec], float],
    *,
    n_trials: int,
) -> ForecasterSpec | None:
    """Return the configuration with the least score, the first of equals; None if all failed.

    Parameters
    ----------
    study : Study
        Proposes; it minimises.
    space : SearchSpace
    score : callable
        Configuration to its loss; NaN where it failed. Called once a configuration.
    n_trials : int
        Proposals; one that comes again is a trial and is not computed again.
    """
    from optuna.trial import TrialState  # noqa: PLC0415 - only where a search is made

    scores: dict[str, float] = {}
    best, least = None, np.inf
    for _ in range(n_trials):
        trial = study.ask(space.distributions())
        spec = _accepted(space, trial.params)
        if spec is None:
            study.tell(trial, state=TrialState.FAIL)
            continue
        if spec.id not in scores:
            scores[spec.id] = score(spec)
        loss = scores[spec.id]
        if np.isnan(loss):
            study.tell(trial, state=TrialState.FAIL)
            continue
        study.tell(trial, loss)
        if loss < least:
            best, least = spec, loss
    return best


def _accepted(space: SearchSpace, stored: Mapping[str, Any]) -> ForecasterSpec | None:
    """Return the spec of a trial, or None where its parameters do not go together."""
    try:
        return space.spec(stored)
    except SettingsError:
        return None


def new_study(space: SearchSpace, *, seed: int, n_trials: int) -> "Study":
    """Return a study in memory whose first trial is the default, if the space holds it."""
    import optuna  # noqa: PLC0415 - only where a search is made

    optuna.logging.set_verbosity(optuna.logging.WARNING)  # a line a fit would drown the rest
    # A third of the trials explores; Optuna's ten would leave a short study all random.
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(3, n_trials // 3))
    study = optuna.create_study(sampler=sampler)
    default = space.stored(space.default)
    if default is not None:
        study.enqueue_trial(default)
    return study


@dataclass(frozen=True, slots=True, eq=False)
class InnerContest:
    """Inner folds of a history, and the random walk's losses on them, (K, M, H)."""

    history: Panel
    plan: FoldPlan
    loss: Loss
    baseline: FloatArray
    seeds: Sequence[int]

    @classmethod
    def of(
        cls, history: Panel, settings: NestedSettings, seeds: Sequence[int]
    ) -> "InnerContest | None":
        """Return the contest, or None where there is nothing to score."""
        plan = inner_plan(
            history.n_sessions,
            n_folds=settings.n_inner_folds,
            spacing=settings.inner_step,
            refit_every=settings.refit_every,
            steps=settings.steps,
        )
        if plan is None:
            return None
        walk = ForecasterSpec.parse({"name": "random_walk"}).build()
        batch = forecast_member(walk, history, plan, np.random.default_rng)
        baseline = inner_losses(batch, history, plan, loss=settings.loss)
        known = bool((baseline > 0).any())
        return cls(history, plan, settings.loss, baseline, seeds) if known else None

    def score(self, spec: ForecasterSpec) -> float:
        """Return the mean loss of a configuration in units of the random walk's; NaN without one.

        Each ticker and step counts in units of its own. Every configuration draws from the same
        generators, so that they differ by their parameters alone.
        """
        batch = forecast_folds(spec.build(), self.history, self.plan, self._rng_at)
        losses = inner_losses(batch, self.history, self.plan, loss=self.loss)
        known = ~np.isnan(self.baseline)
        if np.isnan(losses[known]).all():
            return np.nan
        count = known.sum(axis=0)  # (M, H)
        scale = np.where(known, self.baseline, 0.0).sum(axis=0) / np.maximum(count, 1)
        told = scale > 0
        filled = np.where(np.isnan(losses), MISSING_COST * scale, losses)
        mean = np.where(known, filled, 0.0).sum(axis=0)[told] / (count * scale)[told]
        return float(mean.mean())

    def _rng_at(self, fold: int) -> np.random.Generator:
        return np.random.default_rng([*self.seeds, VALIDATION, fold])
