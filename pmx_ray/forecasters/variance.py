"""Variance without an estimated model: exponentially weighted, and over a window.

Both are filters: nothing is estimated, so a fit only keeps the history and an extension is worth
as much as a refit. The cumulative log return over h sessions has h times the mean and variance of
one session.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypeAlias

import numpy as np
from pydantic import Field

from pmx_ray._typing import FloatArray
from pmx_ray.config import Settings
from pmx_ray.data.panel import Panel, observed_returns
from pmx_ray.forecasters.protocol import (
    FLAT,
    Failure,
    FittedForecaster,
    Forecast,
    Outcome,
    Scope,
    Status,
    missing_price,
    unusable,
)
from pmx_ray.forecasters.registry import register

MIN_RETURNS = 20
"""Fewest log returns from which a variance is taken."""

Moments: TypeAlias = Callable[[FloatArray], tuple[float, float]]
"""Log returns, shape (R,), to the mean and variance of the next one."""


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


def ewma_variance(deviations: FloatArray, decay: float) -> float:
    """Return the exponentially weighted mean of squared deviations.

    Parameters
    ----------
    deviations : ndarray of shape (R,)
        Log returns less their mean, oldest first, R >= 1.
    decay : float
        Weight of each relative to the one after it, in (0, 1).

    Returns
    -------
    float
        ``sum(decay**i * e(t-i)**2) / sum(decay**i)`` over i = 0 .. R - 1, decimal squared. The
        division makes a starting value needless.

    References
    ----------
    J.P. Morgan/Reuters (1996), RiskMetrics Technical Document, 4th edition, section 5.2.
    """
    weights = decay ** np.arange(len(deviations) - 1, -1, -1.0)
    return float(weights @ deviations**2 / weights.sum())


@dataclass(frozen=True, slots=True)
class _Filter:
    """Moments of the next log return, taken afresh from whatever history it stands on."""

    moments: Moments
    n_returns: int
    history: Panel

    def extend(self, history: Panel) -> FittedForecaster:
        return replace(self, history=history)

    def forecast(self, steps: tuple[int, ...]) -> tuple[Outcome, ...]:
        failure = missing_price(self.history) or unusable(self.history, n_returns=self.n_returns)
        if failure is not None:
            return (failure,)
        mean, variance = self.moments(observed_returns(self.history))
        if variance <= FLAT**2:
            return (Failure(Status.CONSTANT, f"the variance of a log return is {variance:.3g}"),)
        h = np.array(steps, np.float64)
        return (Forecast(mean * h, variance * h),)


@register(
    "ewma_variance",
    settings=EwmaVarianceSettings,
    version="1",
    summary="exponentially weighted variance (RiskMetrics), mean zero",
)
class EwmaVariance:
    """Variance of every coming session = exponentially weighted mean of squared log returns."""

    scope: ClassVar[Scope] = "ticker"

    def __init__(self, settings: EwmaVarianceSettings) -> None:
        self.settings = settings

    def fit(self, history: Panel, *, rng: np.random.Generator) -> FittedForecaster:  # noqa: ARG002
        """Stand on ``history``; nothing is estimated."""
        return _Filter(self._moments, MIN_RETURNS, history)

    def _moments(self, returns: FloatArray) -> tuple[float, float]:
        mean = float(returns.mean()) if self.settings.mean == "constant" else 0.0
        return mean, ewma_variance(returns - mean, self.settings.decay)


@register(
    "sample_variance",
    settings=SampleVarianceSettings,
    version="1",
    summary="variance of the last `window` log returns, mean zero",
)
class SampleVariance:
    """Variance of every coming session = variance of the last ``window`` log returns.

    About zero it is the mean square; about the window's mean it is divided by ``window - 1``.
    """

    scope: ClassVar[Scope] = "ticker"

    def __init__(self, settings: SampleVarianceSettings) -> None:
        self.settings = settings

    def fit(self, history: Panel, *, rng: np.random.Generator) -> FittedForecaster:  # noqa: ARG002
        """Stand on ``history``; nothing is estimated."""
        return _Filter(self._moments, self.settings.window, history)

    def _moments(self, returns: FloatArray) -> tuple[float, float]:
        window = returns[-self.settings.window :]
        if self.settings.mean == "constant":
            return float(window.mean()), float(window.var(ddof=1))
        return 0.0, float(np.mean(window**2))
