"""Nested tuning: a forecaster that searches its own parameters at every fit.

Each fit runs a study over inner folds of its history and fits the best configuration on the whole
of it. What evaluates the forecaster evaluates the search with it, so no fold that is scored has
had a say in what is scored.

Shapes: K inner folds, M tickers, H steps.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field, field_validator, model_validator

from pmx_ray._typing import FloatArray
from pmx_ray.config import Settings
from pmx_ray.data.panel import Panel
from pmx_ray.errors import SettingsError
from pmx_ray.folds import FoldPlan
from pmx_ray.forecasters.batch import forecast_folds
from pmx_ray.forecasters.inner_folds import Loss, inner_losses, inner_plan
from pmx_ray.forecasters.members import forecast_member, member_version
from pmx_ray.forecasters.protocol import FittedForecaster, Outcome, Scope
from pmx_ray.forecasters.registry import Device, ForecasterSpec, family, register
from pmx_ray.forecasters.search_space import SearchSpace

if TYPE_CHECKING:
    from optuna.study import Study

MISSING_COST = 2.0
"""Loss of an inner cell without a forecast, in mean losses of the random walk: a configuration
must not win by failing where it would have been wrong."""

VALIDATION, FINAL = 0, 1
"""Which of a fit's generators: for the inner folds, or for the fit that is kept."""


class NestedSettings(Settings):
    """Settings of nested tuning.

    Attributes
    ----------
    family : str
        The forecaster that is tuned.
    fixed : mapping
        Parameters that every configuration has; the others keep their defaults.
    search : mapping of parameter to {low, high} or {choices}
        What is searched, as in a tuning; the family's own space unless given. It may not change
        what the family fits jointly, nor its device.
    n_trials : int
        Configurations tried at each fit; the defaults are the first, if the space holds them.
    loss : str
        ``squared_error``, ``crps`` or ``qlike``.
    steps : tuple of int
        Sessions ahead at which inner folds are scored.
    n_inner_folds : int
        Inner folds; fewer where they would take more than a third of a history.
    inner_step : int
        Sessions between them.
    refit_every : int
        Inner folds that share one fit.
    family_version : str
        Version of the family's numbers; filled in.
    """

    family: str = "samossa"
    fixed: dict[str, Any] = Field(default_factory=dict)
    search: dict[str, Any] = Field(default_factory=dict)
    n_trials: int = Field(default=8, ge=1, le=10_000)
    loss: Loss = "crps"
    steps: tuple[int, ...] = (1, 5)
    n_inner_folds: int = Field(default=24, ge=1, le=1000)
    inner_step: int = Field(default=5, ge=1, le=1000)
    refit_every: int = Field(default=12, ge=1, le=1000)
    family_version: str = ""

    @field_validator("steps")
    @classmethod
    def _steps_increase(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
        if not steps or steps[0] < 1 or steps[-1] > 250 or list(steps) != sorted(set(steps)):
            raise ValueError(f"steps were {list(steps)}; they must be 1 to 250 and increase")
        return steps

    @model_validator(mode="before")
    @classmethod
    def _written_out(cls, given: Any) -> Any:
        """Write the space and the family's version out, so that they are part of the spec."""
        if not isinstance(given, Mapping):
            return given
        name = given.get("family", "samossa")
        fixed, search = given.get("fixed") or {}, given.get("search") or None
        if not isinstance(name, str) or not isinstance(fixed, Mapping):
            return given
        space = SearchSpace.parse(name, search, fixed=fixed)
        _check_frame(space)
        version, written = member_version(name), given.get("family_version")
        if written and written != version:
            raise SettingsError(
                f"{name} was written for version {written} of its family; this is {version}; "
                "leave family_version out to use it"
            )
        found = space.as_json()
        return {
            **given,
            "fixed": found["fixed"],
            "search": found["search"],
            "family_version": version,
        }

    @property
    def space(self) -> SearchSpace:
        """What is searched."""
        return SearchSpace.parse(self.family, self.search, fixed=self.fixed)

    @property
    def n_inner_trials(self) -> int:
        """Configurations that one fit compares; a count of trials has to reckon with them."""
        return self.n_trials


def _check_frame(space: SearchSpace) -> None:
    """Refuse a search that changes the scope or the device, which are of the spec as a whole."""
    default = space.default
    scope = default.build().scope
    for spec in _corners(space):
        if spec.build().scope != scope or spec.device != default.device:
            raise SettingsError(
                f"search: {spec.label} has another scope or device than {default.label}; fix what "
                "decides it, under fixed"
            )


def _corners(space: SearchSpace) -> Iterator[ForecasterSpec]:
    """Yield the default with each end or choice of each dimension in turn."""
    for key, dimension in space.dimensions:
        for value in dimension.examples:
            written = {"name": space.family, **dict(space.fixed), key: value}
            yield ForecasterSpec.parse(written, where="search")


def _device(settings: NestedSettings) -> Device:
    return settings.space.default.device


def _libraries(settings: NestedSettings) -> tuple[str, ...]:
    known, names = family(settings.family), {"numpy", "optuna", "scipy"}
    for spec in (settings.space.default, *_corners(settings.space)):
        names |= set(known.libraries(spec.settings))
    return tuple(sorted(names))


def _fit_s(settings: NestedSettings) -> float:
    known = family(settings.family)
    n_inner = -(-settings.n_inner_folds // settings.refit_every)
    trial = n_inner * known.fit_s(settings.space.default.settings)
    trial += settings.n_inner_folds * known.extend_s + 2e-4
    return settings.n_trials * trial


@dataclass(frozen=True, slots=True, eq=False)
class FittedNested:
    """The fit of the best configuration.

    Attributes
    ----------
    inner : FittedForecaster
    spec : ForecasterSpec
        The configuration.
    n_inner_trials : int
        Configurations that were compared; 0 where the history was too short for inner folds.
    """

    inner: FittedForecaster
    spec: ForecasterSpec
    n_inner_trials: int

    def extend(self, history: Panel) -> "FittedNested":
        """Return the same fit conditioned on ``history``."""
        return replace(self, inner=self.inner.extend(history))

    def forecast(self, steps: tuple[int, ...]) -> tuple[Outcome, ...]:
        """Return the outcomes of the best configuration."""
        return self.inner.forecast(steps)


@register(
    "nested",
    settings=NestedSettings,
    version="1",
    summary="another forecaster whose parameters are searched anew inside every fit",
    libraries=_libraries,
    fit_s=_fit_s,
    extend_s=1e-4,
    device=_device,
)
class Nested:
    """A forecaster that tunes another one inside each train window.

    References
    ----------
    Varma, Simon (2006), BMC Bioinformatics 7, 91.
    Bergstra, Bardenet, Bengio, Kegl (2011), NeurIPS 24, 2546-2554.
    """

    def __init__(self, settings: NestedSettings) -> None:
        self.settings = settings
        self.space = settings.space

    @property
    def scope(self) -> Scope:
        """That of the forecaster that is tuned."""
        return self.space.default.build().scope

    def fit(self, history: Panel, *, rng: np.random.Generator) -> FittedNested:
        """Search inside ``history``, then fit the best configuration on the whole of it."""
        seeds = rng.integers(0, 2**32, size=4).tolist()
        contest = _Contest.of(history, self.settings, seeds)
        best, n_trials = self.space.default, 0
        if contest is not None:
            n_trials = self.settings.n_trials
            study = _study(self.space, seed=seeds[0], n_trials=n_trials)
            best = search(study, self.space, contest.score, n_trials=n_trials) or best
        fitted = best.build().fit(history, rng=np.random.default_rng([*seeds, FINAL]))
        return FittedNested(fitted, best, n_trials)


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


def _study(space: SearchSpace, *, seed: int, n_trials: int) -> "Study":
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
class _Contest:
    """Inner folds of a history, and the random walk's losses on them, (K, M, H)."""

    history: Panel
    plan: FoldPlan
    loss: Loss
    baseline: FloatArray
    seeds: Sequence[int]

    @classmethod
    def of(
        cls, history: Panel, settings: NestedSettings, seeds: Sequence[int]
    ) -> "_Contest | None":
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
