"""The forecasters to beat: random walk, drift and historical mean.

All three forecast the cumulative log return ``r(1) + ... + r(h)`` of one ticker from the mean and
variance of its log returns; they differ in the mean they dare to state.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import Field

from pmx_ray.config import Settings
from pmx_ray.data.panel import Panel
from pmx_ray.folds import FoldPlan
from pmx_ray.forecasters.batch import ForecastBatch, RngAt
from pmx_ray.forecasters.linear import Rule, estimate_fits, estimate_history, forecast_linear
from pmx_ray.forecasters.protocol import (
    FailedFit,
    Failure,
    FittedForecaster,
    Forecast,
    Outcome,
    Scope,
    missing_price,
)
from pmx_ray.forecasters.registry import register

MIN_RETURNS = 20
"""Fewest log returns from which a mean and a variance are taken."""


class RandomWalkSettings(Settings):
    """Settings of the random walk: none."""


class DriftSettings(Settings):
    """Settings of the drift: none."""


class HistoricalMeanSettings(Settings):
    """Settings of the historical mean.

    Attributes
    ----------
    window : int
        Number of last log returns averaged.
    """

    window: int = Field(default=250, ge=MIN_RETURNS)


@dataclass(frozen=True, slots=True)
class _FittedMoments:
    """Mean and variance of one log return, both per session, and the ticker's price status."""

    mean: float
    variance: float
    history: Panel

    def extend(self, history: Panel) -> FittedForecaster:
        return _FittedMoments(self.mean, self.variance, history)

    def forecast(self, steps: tuple[int, ...]) -> tuple[Outcome, ...]:
        failure = missing_price(self.history)
        if failure is not None:
            return (failure,)
        h = np.array(steps, np.float64)
        return (Forecast(self.mean * h, self.variance * h),)


class _Moments(ABC):
    """What the three share: moments of a train window, and h times them ahead."""

    scope: ClassVar[Scope] = "ticker"

    @property
    @abstractmethod
    def rule(self) -> Rule:
        """Which returns count, and how."""

    def fit(self, history: Panel, *, rng: np.random.Generator) -> FittedForecaster:  # noqa: ARG002
        """Estimate mean and variance of one log return."""
        found = estimate_history(history, self.rule)
        if isinstance(found, Failure):
            return FailedFit(found)
        return _FittedMoments(*found, history)

    def forecast_folds(self, panel: Panel, plan: FoldPlan, rng_at: RngAt) -> ForecastBatch:  # noqa: ARG002
        """Return what fit, extend and forecast would, each ticker on its own."""
        estimates = estimate_fits(panel, plan, self.rule)
        return forecast_linear(panel, plan, estimates, price_first=False)


@register(
    "random_walk",
    settings=RandomWalkSettings,
    version="2",
    summary="log price stays; variance is the mean squared log return",
    libraries=("numba", "numpy"),
    fit_s=4e-6,
    extend_s=1e-6,
)
class RandomWalk(_Moments):
    """E[log P(t + h)] = log P(t): the baseline of every comparison."""

    def __init__(self, settings: RandomWalkSettings) -> None:
        self.settings = settings

    @property
    def rule(self) -> Rule:
        """Variance about zero, over the whole history."""
        return Rule(MIN_RETURNS, centred=False)


@register(
    "drift",
    settings=DriftSettings,
    version="2",
    summary="log price goes on at its mean slope over the whole history",
    libraries=("numba", "numpy"),
    fit_s=4e-6,
    extend_s=1e-6,
)
class Drift(_Moments):
    """E[log P(t + h)] = log P(t) + h * mean log return of the history."""

    def __init__(self, settings: DriftSettings) -> None:
        self.settings = settings

    @property
    def rule(self) -> Rule:
        """Mean and variance over the whole history."""
        return Rule(MIN_RETURNS)


@register(
    "historical_mean",
    settings=HistoricalMeanSettings,
    version="2",
    summary="log price goes on at the mean log return of the last `window` sessions",
    libraries=("numba", "numpy"),
    fit_s=4e-6,
    extend_s=1e-6,
    search={"window": {"low": 60, "high": 1000, "log": True}},
)
class HistoricalMean(_Moments):
    """E[log P(t + h)] = log P(t) + h * mean of the last ``window`` log returns."""

    def __init__(self, settings: HistoricalMeanSettings) -> None:
        self.settings = settings

    @property
    def rule(self) -> Rule:
        """Mean and variance over the last ``window`` returns."""
        return Rule(self.settings.window, n_last=self.settings.window, flat_last=True)
