"""Variance without an estimated model: exponentially weighted, and over a window.

Both are filters: nothing is estimated, so a fit only keeps the history and an extension is worth
as much as a refit. The cumulative log return over h sessions has h times the mean and variance of
one session.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from pmx_ray.config import Settings
from pmx_ray.data.panel import Panel
from pmx_ray.folds import FoldPlan
from pmx_ray.forecasters.batch import ForecastBatch, RngAt
from pmx_ray.forecasters.linear import Rule, estimate_contexts, estimate_history, forecast_linear
from pmx_ray.forecasters.protocol import (
    Failure,
    FittedForecaster,
    Forecast,
    Outcome,
    Scope,
    missing_price,
)
from pmx_ray.forecasters.registry import register

MIN_RETURNS = 20
"""Fewest log returns from which a variance is taken."""


class EwmaVarianceSettings(Settings):
    """Settings of the exponentially weighted variance.

    Attributes
    ----------
    decay : float
        Weight of a squared log return relative to that of the session after it.
    mean : str
        ``zero``, or ``constant``: the mean log return of the history.
    """

    decay: float = Field(default=0.94, gt=0, lt=1)
    mean: Literal["zero", "constant"] = "zero"


class SampleVarianceSettings(Settings):
    """Settings of the sample variance.

    Attributes
    ----------
    window : int
        Number of last log returns.
    mean : str
        ``zero``, or ``constant``: the mean log return of the window.
    """

    window: int = Field(default=250, ge=MIN_RETURNS)
    mean: Literal["zero", "constant"] = "zero"


@dataclass(frozen=True, slots=True)
class _Filter:
    """Moments of the next log return, taken afresh from whatever history it stands on."""

    rule: Rule
    history: Panel

    def extend(self, history: Panel) -> FittedForecaster:
        return replace(self, history=history)

    def forecast(self, steps: tuple[int, ...]) -> tuple[Outcome, ...]:
        failure = missing_price(self.history)
        if failure is not None:
            return (failure,)
        found = estimate_history(self.history, self.rule)
        if isinstance(found, Failure):
            return (found,)
        mean, variance = found
        h = np.array(steps, np.float64)
        return (Forecast(mean * h, variance * h),)


class _Filtering(ABC):
    """What both share: the moments of each context window, and h times them ahead."""

    scope: ClassVar[Scope] = "ticker"

    @property
    @abstractmethod
    def rule(self) -> Rule:
        """Which returns count, and how."""

    def fit(self, history: Panel, *, rng: np.random.Generator) -> FittedForecaster:  # noqa: ARG002
        """Stand on ``history``; nothing is estimated."""
        return _Filter(self.rule, history)

    def forecast_folds(self, panel: Panel, plan: FoldPlan, rng_at: RngAt) -> ForecastBatch:  # noqa: ARG002
        """Return what fit, extend and forecast would, each ticker on its own."""
        estimates = estimate_contexts(panel, plan, self.rule)
        return forecast_linear(panel, plan, estimates, price_first=True)


@register(
    "ewma_variance",
    settings=EwmaVarianceSettings,
    version="2",
    summary="exponentially weighted variance (RiskMetrics), mean zero",
    libraries=("numba", "numpy"),
    fit_s=1e-6,
    extend_s=4e-6,
    search={"decay": {"low": 0.85, "high": 0.995}, "mean": {"choices": ["zero", "constant"]}},
)
class EwmaVariance(_Filtering):
    """Variance of every coming session = exponentially weighted mean of squared log returns."""

    def __init__(self, settings: EwmaVarianceSettings) -> None:
        self.settings = settings

    @property
    def rule(self) -> Rule:
        """Squares of all returns, weighted by their age."""
        return Rule(
            MIN_RETURNS,
            centred=self.settings.mean == "constant",
            decay=self.settings.decay,
            flat_variance=True,
        )


@register(
    "sample_variance",
    settings=SampleVarianceSettings,
    version="2",
    summary="variance of the last `window` log returns, mean zero",
    libraries=("numba", "numpy"),
    fit_s=1e-6,
    extend_s=4e-6,
    search={"window": {"low": 20, "high": 1000, "log": True}},
)
class SampleVariance(_Filtering):
    """Variance of every coming session = variance of the last ``window`` log returns.

    About zero it is the mean square; about the window's mean it is divided by ``window - 1``.
    """

    def __init__(self, settings: SampleVarianceSettings) -> None:
        self.settings = settings

    @property
    def rule(self) -> Rule:
        """Squares of the last ``window`` returns."""
        window, centred = self.settings.window, self.settings.mean == "constant"
        return Rule(window, n_last=window, centred=centred, fewer=int(centred), flat_variance=True)
