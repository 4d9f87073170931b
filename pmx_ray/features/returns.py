"""Log returns: lagged, in absolute size, differenced, and differenced by a fraction."""

from functools import partial
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, field_validator

from pmx_ray._typing import FloatArray
from pmx_ray.data.panel import Panel
from pmx_ray.features.column import Feature, ObservedKind
from pmx_ray.features.windows import session_returns, shifted, weighted_sum

MAX_WIDTH = 5_000
"""Most sessions that a fractional difference may reach back."""


class ReturnLag(ObservedKind):
    """Log returns of earlier sessions, decimal.

    Attributes
    ----------
    lags : tuple of int
        Sessions before; 0 is the session's own return.
    """

    kind: Literal["return_lag"] = "return_lag"
    lags: tuple[Annotated[int, Field(ge=0, le=1_000)], ...] = Field(default=(0,), min_length=1)

    def features(self) -> tuple[Feature, ...]:
        """Return one column a lag."""
        return tuple(
            self._feature(
                f"return_lag_{lag}",
                f"log return of {lag} sessions before",
                partial(lagged_return, lag=lag),
                warm_up=1 + lag,
            )
            for lag in self.lags
        )


class AbsoluteReturn(ObservedKind):
    """Absolute log return of the session in percent."""

    kind: Literal["absolute_return"] = "absolute_return"

    def features(self) -> tuple[Feature, ...]:
        """Return the one column."""
        summary = "absolute log return in percent, shifted"
        return (self._feature("abs_return_lagged", summary, absolute_return, warm_up=1),)


class Difference(ObservedKind):
    """Difference of the log price.

    Attributes
    ----------
    order : int
        How often it is differenced: 1 is the log return, 2 the change of the log return.
    """

    kind: Literal["difference"] = "difference"
    order: int = Field(default=2, ge=1, le=4)

    def features(self) -> tuple[Feature, ...]:
        """Return the one column."""
        observe = partial(difference, weights=binomial_weights(self.order))
        name, summary = f"difference_{self.order}", f"difference {self.order} of the log price"
        return (self._feature(name, summary, observe, warm_up=self.order),)


class FractionalDifference(ObservedKind):
    """Fractional difference of the log price over a window of fixed width.

    Attributes
    ----------
    order : float
        Between 0, the log price itself, and 1, its log return: the smallest order that makes the
        series stationary keeps most of its memory.
    threshold : float
        Weights smaller than this, and all older ones, are dropped.

    References
    ----------
    Lopez de Prado (2018), Advances in Financial Machine Learning, section 5.5. Hosking (1981),
    Biometrika 68, 165-176.
    """

    kind: Literal["fractional_difference"] = "fractional_difference"
    order: float = Field(default=0.4, gt=0, lt=2)
    threshold: float = Field(default=1e-3, gt=0, lt=1)

    @field_validator("order")
    @classmethod
    def _is_fractional(cls, order: float) -> float:
        if order == 1.0:
            raise ValueError("order was 1.0; write {kind: difference, order: 1}")
        return order

    def features(self) -> tuple[Feature, ...]:
        """Return the one column."""
        weights = fractional_weights(self.order, self.threshold)
        return (
            self._feature(
                f"difference_{self.order:g}",
                f"fractional difference {self.order:g} of the log price",
                partial(difference, weights=weights),
                warm_up=len(weights) - 1,
            ),
        )


def lagged_return(panel: Panel, *, lag: int) -> FloatArray:
    """Return the log return of ``lag`` sessions before, shape (N, T)."""
    return shifted(session_returns(panel), lag)


def absolute_return(panel: Panel) -> FloatArray:
    """Return the absolute log return of each session in percent, shape (N, T)."""
    return 100.0 * np.abs(session_returns(panel))


def difference(panel: Panel, *, weights: FloatArray) -> FloatArray:
    """Return the log price weighed by ``weights``, that of the session itself first, (N, T)."""
    return weighted_sum(np.log(panel.close), weights)


def binomial_weights(order: int) -> FloatArray:
    """Return the coefficients of ``(1 - L)**order``, lag 0 first."""
    weights = np.ones(1)
    for _ in range(order):
        weights = np.convolve(weights, [1.0, -1.0])
    return weights


def fractional_weights(order: float, threshold: float) -> FloatArray:
    """Return the coefficients of ``(1 - L)**order`` down to ``threshold``, lag 0 first.

    ``w(0) = 1`` and ``w(k) = -w(k - 1) (order - k + 1) / k``; at most ``MAX_WIDTH`` of them.
    """
    weights = [1.0]
    while len(weights) < MAX_WIDTH:
        following = -weights[-1] * (order - len(weights) + 1) / len(weights)
        if abs(following) < threshold:
            break
        weights.append(following)
    return np.array(weights)
