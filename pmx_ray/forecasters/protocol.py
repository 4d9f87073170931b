"""What every forecaster is: fit on a history, extend it, forecast; and what comes out."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol, TypeAlias

import numpy as np
from scipy import special

from pmx_ray._typing import FloatArray, frozen
from pmx_ray.data.panel import Panel, observed_returns
from pmx_ray.errors import DataError

QUANTILE_LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Levels at which every forecast states its quantiles: a 90 % and a 50 % interval, and a median."""

Scope: TypeAlias = Literal["ticker", "group", "panel"]
"""What a forecaster fits jointly. A work block never cuts a scope."""


class Status(StrEnum):
    """Why a cell holds a forecast, or why it does not."""

    OK = "ok"
    TOO_SHORT = "too_short"
    CONSTANT = "constant"
    NO_PRICE = "no_price"
    NOT_CONVERGED = "not_converged"
    EXPLOSIVE = "explosive"
    UNANSWERED = "unanswered"
    ERROR = "error"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """Distribution of the cumulative log return over each of H steps.

    Attributes
    ----------
    mean : ndarray of shape (H,)
        E[log P(t + h) - log P(t)], decimal.
    variance : ndarray of shape (H,)
        Variance of the same cumulative log return, decimal squared, > 0.
    quantiles : ndarray of shape (Q, H)
        Its quantiles at ``QUANTILE_LEVELS``, each at least the one before. Those of the normal
        distribution with this mean and variance unless given.

    Raises
    ------
    DataError
        If a shape differs, a value is not finite, a variance is not positive, or quantiles cross.
    """

    mean: FloatArray
    variance: FloatArray
    quantiles: FloatArray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", frozen(self.mean, np.float64))
        object.__setattr__(self, "variance", frozen(self.variance, np.float64))
        if self.mean.ndim != 1 or self.mean.shape != self.variance.shape:
            raise DataError(
                f"mean has shape {self.mean.shape} and variance {self.variance.shape}; "
                "both must be (H,)"
            )
        if not (np.isfinite(self.mean).all() and np.isfinite(self.variance).all()):
            raise DataError("a forecast's mean and variance must be finite")
        if not (self.variance > 0).all():
            raise DataError(f"a forecast's variance must be > 0; it was {self.variance.min()}")
        given = self.quantiles
        if given is None:
            given = normal_quantiles(self.mean, self.variance)
        object.__setattr__(self, "quantiles", frozen(given, np.float64))
        self._check_quantiles()

    def _check_quantiles(self) -> None:
        quantiles = self.bands
        if quantiles.shape != (len(QUANTILE_LEVELS), len(self.mean)):
            raise DataError(
                f"quantiles have shape {quantiles.shape}; "
                f"it must be {(len(QUANTILE_LEVELS), len(self.mean))}"
            )
        if not np.isfinite(quantiles).all() or (np.diff(quantiles, axis=0) < 0).any():
            raise DataError("a forecast's quantiles must be finite and must not cross")

    @property
    def bands(self) -> FloatArray:
        """The quantiles, shape (Q, H); never absent once the forecast is built."""
        assert self.quantiles is not None  # noqa: S101 - set in __post_init__
        return self.quantiles


@dataclass(frozen=True, slots=True)
class Failure:
    """A cell without a forecast: a status other than OK, and the reason in words."""

    status: Status
    reason: str

    def __post_init__(self) -> None:
        if self.status is Status.OK:
            raise DataError("a failure cannot have the status ok")


Outcome: TypeAlias = Forecast | Failure


class FittedForecaster(Protocol):
    """Parameters estimated once, conditioned on a history that may have grown since."""

    def extend(self, history: Panel) -> "FittedForecaster":
        """Return the same parameters conditioned on ``history``.

        The answer depends on the parameters and on ``history`` alone, not on earlier calls, so
        that any run of folds can be computed from the fit that serves it.
        """
        ...

    def forecast(self, steps: tuple[int, ...]) -> tuple[Outcome, ...]:
        """Return one outcome a ticker, in the history's order, each over ``steps`` sessions."""
        ...


class Forecaster(Protocol):
    """A model with its settings; holds no data."""

    @property
    def scope(self) -> Scope:
        """What the forecaster fits jointly."""
        ...

    def fit(self, history: Panel, *, rng: np.random.Generator) -> FittedForecaster:
        """Estimate on ``history`` and stand at its last session.

        A history that cannot be fitted gives a fitted forecaster whose outcomes are failures; an
        exception is a defect, which the runner turns into a row with the status ``error``.
        """
        ...


@dataclass(frozen=True, slots=True)
class FailedFit:
    """A fit that did not work: every later forecast is the same failure."""

    failure: Failure
    n_tickers: int = 1

    def extend(self, history: Panel) -> "FailedFit":
        """Return the same failure for the tickers of ``history``."""
        return FailedFit(self.failure, history.n_tickers)

    def forecast(self, steps: tuple[int, ...]) -> tuple[Outcome, ...]:  # noqa: ARG002
        """Return the failure once a ticker."""
        return (self.failure,) * self.n_tickers


def normal_quantiles(mean: FloatArray, variance: FloatArray) -> FloatArray:
    """Return normal quantiles at ``QUANTILE_LEVELS``, shape (..., Q, H), of (..., H) moments."""
    z: FloatArray = special.ndtri(np.array(QUANTILE_LEVELS))
    return mean[..., None, :] + z[:, None] * np.sqrt(variance)[..., None, :]


def missing_price(history: Panel) -> Failure | None:
    """Return the failure of a one-ticker history without a price on its last session, or None."""
    if np.isnan(history.close[0, -1]):
        return Failure(Status.NO_PRICE, f"no price on the cutoff {history.sessions[-1]}")
    return None


FLAT = 1e-12
"""Log returns that spread no further than this are equal up to the rounding of a logarithm."""


def unusable(history: Panel, *, n_returns: int) -> Failure | None:
    """Return why a one-ticker history cannot be fitted, or None if it can.

    A missing price on the last session does not stop a fit, since a train window may end in a
    hole; it stops a forecast, see ``missing_price``.

    Parameters
    ----------
    history : Panel
        One ticker.
    n_returns : int
        Smallest number of log returns the forecaster needs.
    """
    returns = observed_returns(history)
    if len(returns) < n_returns:
        return Failure(Status.TOO_SHORT, f"{len(returns)} log returns; {n_returns} are needed")
    return no_spread(returns)


def no_spread(returns: FloatArray) -> Failure | None:
    """Return the failure of log returns of shape (R,) that are all equal, or None."""
    if np.ptp(returns) <= FLAT:
        return Failure(Status.CONSTANT, f"all {len(returns)} log returns equal {returns[0]:.3g}")
    return None
