"""Nested tuning: a forecaster that searches its own parameters at every fit.

Each fit runs a study over inner folds of its history and fits the best configuration on the whole
of it. What evaluates the forecaster evaluates the search with it, so no fold that is scored has
had a say in what is scored.

Shapes: K inner folds, M tickers, H steps.
"""

from dataclasses import dataclass, replace

import numpy as np

from pmx_ray.data.panel import Panel
from pmx_ray.forecasters.inner_folds import FINAL
from pmx_ray.forecasters.nested_search import InnerContest, new_study, search
from pmx_ray.forecasters.nested_settings import NestedSettings, corners
from pmx_ray.forecasters.protocol import FittedForecaster, Outcome, Scope
from pmx_ray.forecasters.registry import Device, ForecasterSpec, family, register


def _device(settings: NestedSettings) -> Device:
    return settings.space.default.device


def _libraries(settings: NestedSettings) -> tuple[str, ...]:
    known, names = family(settings.family), {"numpy", "optuna", "scipy"}
    for spec in (settings.space.default, *corners(settings.space)):
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
    version="2",
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
        contest = InnerContest.of(history, self.settings, seeds)
        best, n_trials = self.space.default, 0
        if contest is not None:
            n_trials = self.settings.n_trials
            study = new_study(self.space, seed=seeds[0], n_trials=n_trials)
            best = search(study, self.space, contest.score, n_trials=n_trials) or best
        fitted = best.build().fit(history, rng=np.random.default_rng([*seeds, FINAL]))
        return FittedNested(fitted, best, n_trials)
