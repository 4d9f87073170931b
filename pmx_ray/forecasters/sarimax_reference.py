"""The reference engine of the SARIMAX family: pmdarima and statsmodels.

With y = 100 log P and w the differenced y, the model is ``w(t) = c + beta' x(t) + u(t)`` where u
is a seasonal ARMA process: at d = 1 an exogenous column explains the log return of its session.
The differenced series is filtered from its stationary distribution, and its forecast is summed
back to the level, so that a missing price costs the changes that need it and nothing else.
"""

import warnings
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from pmx_ray._typing import FloatArray
from pmx_ray.data.panel import Panel
from pmx_ray.errors import DataError
from pmx_ray.features.exogenous import exogenous, features_of
from pmx_ray.forecasters.arima import MAX_INVERSE_ROOT, MIN_RETURNS
from pmx_ray.forecasters.order_search import SarimaOrder, has_constant, search_order
from pmx_ray.forecasters.protocol import (
    FailedFit,
    Failure,
    FittedForecaster,
    Forecast,
    Outcome,
    Scope,
    Status,
    missing_price,
    unusable,
)
from pmx_ray.forecasters.sarima_filter import (
    Observed,
    SarimaxParameters,
    forecast_level,
    observed_changes,
    state_space,
)
from pmx_ray.forecasters.sarimax_settings import SarimaxSettings

MAX_ITERATIONS = 200
"""Steps of the optimiser the chosen order may take."""


def _observe(history: Panel, settings: SarimaxSettings, *, n_ahead: int) -> Observed:
    levels = 100.0 * np.log(history.close[0])
    rows = exogenous(settings.exog, history, n_ahead=n_ahead, shift=settings.exog_lag)
    return Observed(levels, rows[: len(levels)], rows[len(levels) :])


def estimate(history: Panel, settings: SarimaxSettings) -> SarimaxParameters | Failure:
    """Search the order where none is given, and estimate its coefficients.

    Parameters
    ----------
    history : Panel
        One ticker.
    settings : SarimaxSettings
        What to search.

    Returns
    -------
    SarimaxParameters or Failure
        TOO_SHORT where gaps leave too few changes, NOT_CONVERGED where the search or the optimiser
        failed or the columns are collinear, EXPLOSIVE where a root reaches the unit circle.

    Raises
    ------
    DataError
        If the history lacks a field that a feature needs.
    """
    seen = _observe(history, settings, n_ahead=0)
    order = _order(seen, settings)
    if isinstance(order, Failure):
        return order
    constant = has_constant(settings.trend, (order.d, order.seasonal_d))
    failure = unidentified(observed_changes(order, seen), seen.columns, constant=constant)
    if failure is not None:
        return failure
    try:
        model = state_space(order, seen, constant=constant)  # its import undoes warning filters
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # starting values, convergence; the flag is read below
            result = model.fit(disp=0, maxiter=MAX_ITERATIONS, cov_type="none")
    except (ValueError, np.linalg.LinAlgError) as error:
        detail = " ".join(str(error).split())[:150]
        return Failure(Status.NOT_CONVERGED, f"statsmodels: {detail}")
    if not (result.mle_retvals["converged"] and np.isfinite(result.params).all()):
        return Failure(Status.NOT_CONVERGED, f"the optimiser gave up on {order}")
    if len(result.arroots) and np.abs(result.arroots).min() <= 1.0 / MAX_INVERSE_ROOT:
        root = 1.0 / np.abs(result.arroots).min()
        return Failure(
            Status.EXPLOSIVE, f"an inverse AR root is {root:.6f}; it must be < {MAX_INVERSE_ROOT}"
        )
    return SarimaxParameters(order, constant, result.params)


def _order(seen: Observed, settings: SarimaxSettings) -> SarimaOrder | Failure:
    if settings.order != "auto":
        seasonal = settings.seasonal_order or (0, 0, 0)
        return SarimaOrder(*settings.order, *seasonal, settings.seasonal_period or 1)
    return search_order(
        seen.levels,
        seen.columns,
        max_p=settings.max_p,
        max_q=settings.max_q,
        d=settings.d,
        period=settings.seasonal_period or 1,
        test=settings.unit_root_test,
        trend=settings.trend,
    )


def unidentified(changes: FloatArray, columns: FloatArray, *, constant: bool) -> Failure | None:
    """Return why coefficients cannot be told apart from these data, or None.

    Parameters
    ----------
    changes : ndarray of shape (T,)
        NaN where missing.
    columns : ndarray of shape (T, K)
        Exogenous columns.
    constant : bool
        Whether a column of ones is estimated beside them.
    """
    present = ~np.isnan(changes)
    n_changes = int(present.sum())
    if n_changes < MIN_RETURNS:
        return Failure(
            Status.TOO_SHORT,
            f"{n_changes} changes with every price and feature; {MIN_RETURNS} are needed",
        )
    used = np.column_stack([columns[present], np.ones((n_changes, int(constant)))])
    if used.shape[1] and np.linalg.matrix_rank(used) < used.shape[1]:
        return Failure(
            Status.NOT_CONVERGED, "exogenous columns are constant or collinear; leave one out"
        )
    return None


@dataclass(frozen=True, slots=True, eq=False)
class FittedSarimax:
    """Estimated coefficients, conditioned on the prices of a history."""

    parameters: SarimaxParameters
    settings: SarimaxSettings
    history: Panel

    def extend(self, history: Panel) -> FittedForecaster:
        """Return the same order and coefficients, filtered over ``history`` instead."""
        return replace(self, history=history)

    def forecast(self, steps: tuple[int, ...]) -> tuple[Outcome, ...]:
        """Return the forecast of the one ticker; its distribution is normal."""
        failure = missing_price(self.history) or unusable(self.history, n_returns=MIN_RETURNS)
        if failure is not None:
            return (failure,)
        seen = _observe(self.history, self.settings, n_ahead=steps[-1])
        failure = self._unknown(seen)
        if failure is not None:
            return (failure,)
        mean, variance = forecast_level(self.parameters, seen)
        at = np.array(steps) - 1
        return (Forecast((mean[at] - seen.levels[-1]) / 100.0, variance[at] / 1e4),)

    def _unknown(self, seen: Observed) -> Failure | None:
        """Return what a forecast from here lacks, or None."""
        n_lags = len(self.parameters.order.polynomial) - 1
        if n_lags and np.isnan(seen.levels[-n_lags:]).any():
            return Failure(
                Status.NO_PRICE, f"a price is missing among the last {n_lags}, which are summed up"
            )
        unknown = np.isnan(seen.ahead).any(axis=1)
        if not unknown.any():
            return None
        step = int(unknown.argmax()) + 1
        lag = self.settings.exog_lag
        late = max(known.publication_lag for known in features_of(self.settings.exog)) - 1
        if step > lag - late:
            needed = step + late
            return Failure(
                Status.ERROR, f"features are not known {step} steps ahead; set exog_lag >= {needed}"
            )
        return Failure(Status.NO_PRICE, f"a feature lacks the price {lag} sessions before {step=}")


class Sarimax:
    """The reference engine: mean and variance of the log price by a seasonal ARIMA model.

    References
    ----------
    Durbin and Koopman (2012), Time Series Analysis by State Space Methods, 2nd edition, section
    3.4 (ARIMA in state space) and 4.10 (missing observations).
    """

    scope: ClassVar[Scope] = "ticker"

    def __init__(self, settings: SarimaxSettings) -> None:
        self.settings = settings

    def fit(self, history: Panel, *, rng: np.random.Generator) -> FittedForecaster:  # noqa: ARG002
        """Search the order and estimate on ``history``; the optimiser starts at fixed values."""
        failure = unusable(history, n_returns=MIN_RETURNS)
        if failure is not None:
            return FailedFit(failure)
        try:
            parameters = estimate(history, self.settings)
        except DataError as error:
            return FailedFit(Failure(Status.ERROR, str(error)))
        if isinstance(parameters, Failure):
            return FailedFit(parameters)
        return FittedSarimax(parameters, self.settings, history)
