"""The forecasters to beat: random walk, drift and historical mean.

All three forecast the cumulative log return ``r(1) + ... + r(h)`` of one ticker from the mean and
variance of its log returns; they differ in the mean they dare to state.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import Field

from pmx_ray._typing import FloatArray
from pmx_ray.config import Settings
from pmx_ray.data.panel import Panel, observed_returns
from pmx_ray.forecasters.protocol import (
    FailedFit,
    FittedForecaster,
    Forecast,
    Outcome,
    Scope,
    missing_price,
    no_spread,
    unusable,
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


def _fit_moments(history: Panel, returns: FloatArray, mean: float) -> FittedForecaster:
    return _FittedMoments(mean, float(np.mean((returns - mean) ** 2)), history)


@register(
    "random_walk",
    settings=RandomWalkSettings,
    version="1",
    summary="log price stays; variance is the mean squared log return",
)
class RandomWalk:
    """E[log P(t + h)] = log P(t): the baseline of every comparison."""

    scope: ClassVar[Scope] = "ticker"

    def __init__(self, settings: RandomWalkSettings) -> None:
        self.settings = settings

    def fit(self, history: Panel, *, rng: np.random.Generator) -> FittedForecaster:  # noqa: ARG002
        """Estimate the variance of one log return about zero."""
        failure = unusable(history, n_returns=MIN_RETURNS)
        if failure is not None:
            return FailedFit(failure)
        return _fit_moments(history, observed_returns(history), 0.0)


@register(
    "drift",
    settings=DriftSettings,
    version="1",
    summary="log price goes on at its mean slope over the whole history",
)
class Drift:
    """E[log P(t + h)] = log P(t) + h * mean log return of the history."""

    scope: ClassVar[Scope] = "ticker"

    def __init__(self, settings: DriftSettings) -> None:
        self.settings = settings

    def fit(self, history: Panel, *, rng: np.random.Generator) -> FittedForecaster:  # noqa: ARG002
        """Estimate mean and variance of one log return over the whole history."""
        failure = unusable(history, n_returns=MIN_RETURNS)
        if failure is not None:
            return FailedFit(failure)
        returns = observed_returns(history)
        return _fit_moments(history, returns, float(returns.mean()))


@register(
    "historical_mean",
    settings=HistoricalMeanSettings,
    version="1",
    summary="log price goes on at the mean log return of the last `window` sessions",
)
class HistoricalMean:
    """E[log P(t + h)] = log P(t) + h * mean of the last ``window`` log returns."""

    scope: ClassVar[Scope] = "ticker"

    def __init__(self, settings: HistoricalMeanSettings) -> None:
        self.settings = settings

    def fit(self, history: Panel, *, rng: np.random.Generator) -> FittedForecaster:  # noqa: ARG002
        """Estimate mean and variance of one log return over the last ``window`` returns."""
        window = self.settings.window
        returns = observed_returns(history)[-window:]
        failure = unusable(history, n_returns=window) or no_spread(returns)
        if failure is not None:
            return FailedFit(failure)
        return _fit_moments(history, returns, float(returns.mean()))
