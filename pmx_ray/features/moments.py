"""Moments and quantiles of the last log returns."""

from functools import partial
from typing import Annotated, Literal, TypeAlias

import numpy as np
import pandas as pd
from pydantic import Field

from pmx_ray._typing import FloatArray
from pmx_ray.data.panel import Panel
from pmx_ray.features.column import Feature, ObservedKind
from pmx_ray.features.windows import central_moment, session_returns, trailing_mean

Moment: TypeAlias = Literal["mean", "std", "skew", "kurtosis"]

FLAT = 1e-12
"""Returns that spread less than this have no shape but that of their rounding."""


class RollingMoment(ObservedKind):
    """Sample moments of the last log returns.

    Attributes
    ----------
    window : int
        Log returns that count; none may be missing.
    moments : tuple of str
        ``mean``, ``std`` (divided by ``window - 1``), and the unbiased ``skew`` and excess
        ``kurtosis``, which a window of equal returns does not have.

    References
    ----------
    Joanes and Gill (1998), The Statistician 47, 183-189: G1 and G2.
    """

    kind: Literal["rolling_moment"] = "rolling_moment"
    window: int = Field(default=20, ge=4, le=2_000)
    moments: tuple[Moment, ...] = Field(default=("mean", "std"), min_length=1)

    def features(self) -> tuple[Feature, ...]:
        """Return one column a moment."""
        return tuple(
            self._feature(
                f"return_{moment}_{self.window}",
                f"{moment} of the last {self.window} log returns",
                partial(rolling_moment, window=self.window, moment=moment),
                warm_up=self.window,
            )
            for moment in self.moments
        )


class RollingQuantile(ObservedKind):
    """Quantiles of the last log returns, linear between order statistics.

    Attributes
    ----------
    window : int
        Log returns that count; none may be missing.
    levels : tuple of float
        0 is the smallest return, 1 the largest.
    """

    kind: Literal["rolling_quantile"] = "rolling_quantile"
    window: int = Field(default=60, ge=2, le=2_000)
    levels: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(
        default=(0.05, 0.95), min_length=1
    )

    def features(self) -> tuple[Feature, ...]:
        """Return one column a level."""
        return tuple(
            self._feature(
                f"return_quantile_{level:g}_{self.window}",
                f"quantile {level:g} of the last {self.window} log returns",
                partial(rolling_quantile, window=self.window, level=level),
                warm_up=self.window,
            )
            for level in self.levels
        )


def rolling_moment(panel: Panel, *, window: int, moment: Moment) -> FloatArray:
    """Return a moment of the last ``window`` log returns, shape (N, T)."""
    returns = session_returns(panel)
    if moment == "mean":
        return trailing_mean(returns, window)
    variance = central_moment(returns, window, 2)
    if moment == "std":
        spread: FloatArray = np.sqrt(variance * window / (window - 1))
        return spread
    spreads = np.where(variance > FLAT**2, variance, np.nan)
    n = float(window)
    shape: FloatArray
    if moment == "skew":
        biased = central_moment(returns, window, 3) / spreads**1.5
        shape = biased * np.sqrt(n * (n - 1)) / (n - 2)
    else:
        excess = central_moment(returns, window, 4) / spreads**2 - 3.0
        shape = ((n + 1) * excess + 6.0) * (n - 1) / ((n - 2) * (n - 3))
    return shape


def rolling_quantile(panel: Panel, *, window: int, level: float) -> FloatArray:
    """Return a quantile of the last ``window`` log returns, shape (N, T)."""
    returns = pd.DataFrame(session_returns(panel).T)
    found: FloatArray = returns.rolling(window).quantile(level).to_numpy().T
    return found
