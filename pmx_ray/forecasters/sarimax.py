"""SARIMAX of log prices, by one of three engines.

Two are the project's own kernel for ARIMA(p, d, q), on the processor (fast) or on a card (cuda):
see ``forecasters.arima``. The reference engine is what this module holds: pmdarima searches the
order, statsmodels estimates and filters, and seasons and exogenous columns are covered.

With y = 100 log P and w the differenced y, the model is ``w(t) = c + beta' x(t) + u(t)`` where u
is a seasonal ARMA process: at d = 1 an exogenous column explains the log return of its session.
The differenced series is filtered from its stationary distribution, and its forecast is summed
back to the level, so that a missing price costs the changes that need it and nothing else.
"""

import warnings
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from pmx_ray._typing import FloatArray
from pmx_ray.config import Settings
from pmx_ray.data.panel import Panel
from pmx_ray.errors import DataError
from pmx_ray.features.exogenous import exogenous, features_of
from pmx_ray.features.spec import FeatureSpec
from pmx_ray.forecasters.arima import MAX_INVERSE_ROOT, MIN_RETURNS, Arima, ArimaChoice
from pmx_ray.forecasters.order_search import (
    MAX_D,
    MAX_SEASONAL,
    SarimaOrder,
    UnitRootTest,
    has_constant,
    search_order,
)
from pmx_ray.forecasters.protocol import (
    FailedFit,
    Failure,
    FittedForecaster,
    Forecast,
    Forecaster,
    Outcome,
    Scope,
    Status,
    missing_price,
    unusable,
)
from pmx_ray.forecasters.registry import Device, register
from pmx_ray.forecasters.sarima_filter import (
    Observed,
    SarimaxParameters,
    forecast_level,
    observed_changes,
    state_space,
)
from pmx_ray.kernels.arma_likelihood import N_LAGS
from pmx_ray.kernels.arma_search import Search

MAX_ITERATIONS = 200
"""Steps of the optimiser the chosen order may take."""


class SarimaxSettings(Settings):
    """Settings of SARIMAX.

    Attributes
    ----------
    engine : str
        ``fast``, the project's own kernel: p and q at most 3, no season and no exogenous column.
        ``cuda``, the same kernel on a card; needs one.
        ``reference``, pmdarima and statsmodels: everything here but ``search: grid``.
    order : (p, d, q) or "auto"
        Ordinary order; ``auto`` searches it on every fit.
    max_p, max_q : int
        Highest orders searched.
    search : str
        ``stepwise``, or ``grid``: every order up to the highest.
    d : int or "auto"
        Ordinary differences of a searched order; ``auto`` asks ``unit_root_test``.
    unit_root_test : str
        ``kpss`` or ``adf``.
    seasonal_period : int, optional
        Sessions of a season; none by default.
    seasonal_order : (P, D, Q), optional
        Seasonal order; goes with an ``order`` that is given, and is searched otherwise.
    trend : str
        Constant in the differenced series: ``n`` none, ``c`` one (a drift at d = 1), ``auto`` one
        only where nothing is differenced.
    exog : tuple of FeatureSpec
        Features that explain the differenced series: names, or mappings with a kind.
    exog_lag : int
        Sessions by which features that are not known in advance are shifted; at least the longest
        step forecast.
    """

    engine: Literal["fast", "cuda", "reference"] = "fast"
    order: Literal["auto"] | tuple[int, int, int] = "auto"
    max_p: int = Field(default=3, ge=0, le=5)
    max_q: int = Field(default=3, ge=0, le=5)
    search: Search = "stepwise"
    d: Literal["auto"] | int = "auto"
    unit_root_test: UnitRootTest = "kpss"
    seasonal_period: int | None = Field(default=None, ge=2, le=63)
    seasonal_order: tuple[int, int, int] | None = None
    trend: Literal["auto", "n", "c"] = "auto"
    exog: tuple[FeatureSpec, ...] = ()
    exog_lag: int = Field(default=20, ge=1)

    @field_validator("exog")
    @classmethod
    def _of_one_ticker(cls, exog: tuple[FeatureSpec, ...]) -> tuple[FeatureSpec, ...]:
        features_of(exog)
        for spec in exog:
            if not isinstance(spec, str) and spec.needs_other_tickers:
                raise ValueError(
                    f"a feature of kind {spec.kind} needs the other tickers, and sarimax sees one "
                    "at a time; leave it out"
                )
        return exog

    @model_validator(mode="after")
    def _orders_fit(self) -> Self:
        if self.d != "auto" and not 0 <= self.d <= MAX_D:
            raise ValueError(f"d was {self.d}; it must be 0 to {MAX_D} or auto")
        if self.order == "auto":
            if self.seasonal_order is not None:
                raise ValueError("seasonal_order needs an order; set order too, or leave both out")
            return self
        p, d, q = self.order
        if not (0 <= p <= 5 and 0 <= d <= MAX_D and 0 <= q <= 5):
            raise ValueError(f"order was {self.order}; p and q must be 0 to 5, d 0 to {MAX_D}")
        if self.d != "auto":
            raise ValueError(f"d was {self.d} beside order {self.order}; leave d out")
        if (self.seasonal_order is None) != (self.seasonal_period is None):
            raise ValueError("with an order, set both or none of seasonal_order, seasonal_period")
        if any(not 0 <= n <= MAX_SEASONAL for n in self.seasonal_order or ()):
            raise ValueError(
                f"seasonal_order was {self.seasonal_order}; each must be 0 to {MAX_SEASONAL}"
            )
        if self.seasonal_period is not None and max(p, q) >= self.seasonal_period:
            raise ValueError(
                f"order was {self.order}; p and q must be < seasonal_period {self.seasonal_period}"
            )
        return self

    @model_validator(mode="after")
    def _engine_covers(self) -> Self:
        if self.engine == "reference":
            if self.search == "grid":
                raise ValueError("search was grid; the reference engine searches stepwise")
            return self
        orders = (self.max_p, self.max_q) if self.order == "auto" else self.order[::2]
        if max(orders) > N_LAGS:
            beyond = f"p or q up to {max(orders)}"
        elif self.seasonal_period is not None:
            beyond = "seasonal_period"
        elif self.exog:
            beyond = "exog"
        else:
            return self
        raise ValueError(f"engine {self.engine} does not cover {beyond}; use engine: reference")


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


def _libraries(settings: SarimaxSettings) -> tuple[str, ...]:
    if settings.engine == "reference":
        return ("exchange-calendars", "numpy", "pandas", "pmdarima", "scipy", "statsmodels")
    asked = settings.order == "auto" and settings.d == "auto" and settings.unit_root_test == "adf"
    kernel = "cupy-cuda12x" if settings.engine == "cuda" else "numba"
    return (kernel, "numpy", "scipy", *(("pmdarima", "statsmodels") if asked else ()))


def _device(settings: SarimaxSettings) -> Device:
    return "gpu" if settings.engine == "cuda" else "cpu"


def _fit_s(settings: SarimaxSettings) -> float:
    if settings.engine == "reference":
        return 1.3 if settings.order == "auto" else 0.035
    return 2e-3 if settings.order == "auto" else 2e-4


@register(
    "sarimax",
    settings=SarimaxSettings,
    version="2",
    summary="ARIMA of log prices, order by AICc; seasons and features by the reference engine",
    libraries=_libraries,
    fit_s=_fit_s,
    extend_s=1e-4,
    device=_device,
    search={
        "order": {"choices": [[p, 1, q] for p in range(3) for q in range(3)]},
        "trend": {"choices": ["n", "c"]},
    },
)
def build_sarimax(settings: SarimaxSettings) -> Forecaster:
    """Return the forecaster of the engine that ``settings`` name."""
    if settings.engine == "reference":
        return Sarimax(settings)
    choice = ArimaChoice(
        order=None if settings.order == "auto" else settings.order,
        max_p=settings.max_p,
        max_q=settings.max_q,
        d=None if settings.d == "auto" else settings.d,
        test=settings.unit_root_test,
        trend=settings.trend,
        search=settings.search,
        engine=settings.engine,
    )
    return Arima(choice)
