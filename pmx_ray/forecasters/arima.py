"""ARIMA of log prices by the project's own kernel: all fits and all folds of a plan at once.

With y = 100 log P and w the d-th difference of y, ``w - mu`` is an ARMA(p, q) process with p and q
at most 3, estimated by exact maximum likelihood. Its forecast is summed back to the level. A change
that needs a missing price is left out, and those on both sides of a gap are set side by side.

One history and many go through the same calls, so that both forms give the same bits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Protocol, TypeAlias

import numpy as np

from pmx_ray._typing import BoolArray, FloatArray, IntArray, frozen
from pmx_ray.data.panel import Panel
from pmx_ray.folds import FoldPlan
from pmx_ray.forecasters.batch import ForecastBatch, RngAt
from pmx_ray.forecasters.differencing import difference, difference_polynomial, integrate
from pmx_ray.forecasters.normal import normal_batch
from pmx_ray.forecasters.order_search import MAX_D, UnitRootTest, count_differences, has_constant
from pmx_ray.forecasters.protocol import (
    FailedFit,
    Failure,
    FittedForecaster,
    Forecast,
    Outcome,
    Scope,
    Status,
    missing_price,
    no_spread,
)
from pmx_ray.kernels import arma as kernel
from pmx_ray.kernels.arma import ArmaFits, Jobs, roots_within
from pmx_ray.kernels.arma_likelihood import N_LAGS
from pmx_ray.kernels.arma_search import Search, search_orders
from pmx_ray.kernels.cuda import arma as kernel_on_card
from pmx_ray.kernels.unit_root import kpss_differences

Engine: TypeAlias = Literal["fast", "cuda"]
"""Where windows are fitted and filtered: on the processor, or on a card."""

MIN_RETURNS = 100
"""Fewest log returns fitted or filtered."""

MAX_INVERSE_ROOT = 0.9999
"""An autoregressive root as near as this to the unit circle is a difference that was not taken."""


class _Kernel(Protocol):
    """What fits and filters windows: the module of an engine."""

    def fit_arma(self, windows: Sequence[FloatArray], jobs: Jobs) -> ArmaFits: ...

    def last_residuals(
        self, windows: Sequence[FloatArray], ar: FloatArray, ma: FloatArray, mean: FloatArray
    ) -> FloatArray: ...


def _kernel(engine: Engine) -> _Kernel:
    return kernel_on_card if engine == "cuda" else kernel


@dataclass(frozen=True, slots=True)
class ArimaChoice:
    """What is searched, and what is given.

    Attributes
    ----------
    order : (p, d, q), optional
        Searched where absent.
    max_p, max_q : int
        Highest orders searched, at most 3.
    d : int, optional
        Differences of a searched order; ``test`` decides where absent.
    test : str
        ``kpss`` or ``adf``.
    trend : str
        As in ``SarimaxSettings``.
    search : str
        ``stepwise`` or ``grid``.
    engine : str
        ``fast``, or ``cuda``; what is searched and which end counts is decided alike.
    """

    order: tuple[int, int, int] | None
    max_p: int
    max_q: int
    d: int | None
    test: UnitRootTest
    trend: Literal["auto", "n", "c"]
    search: Search
    engine: Engine = "fast"


@dataclass(frozen=True, slots=True, eq=False)
class ArimaParameters:
    """An estimated ARIMA(p, d, q) of percent log prices.

    Attributes
    ----------
    order : (p, d, q)
        Given or found.
    ar, ma : ndarray of shape (3,)
        phi and theta, zero beyond the order.
    mean : float
        mu, in percent; zero where none is estimated.
    variance : float
        Of an innovation, percent squared.
    """

    order: tuple[int, int, int]
    ar: FloatArray
    ma: FloatArray
    mean: float
    variance: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "ar", frozen(self.ar, np.float64))
        object.__setattr__(self, "ma", frozen(self.ma, np.float64))


def percent_logs(close: FloatArray) -> FloatArray:
    """Return 100 log P of prices of any shape; NaN where missing."""
    levels: FloatArray = 100.0 * np.log(close)
    return levels


def changes_of(levels: FloatArray, d: int) -> FloatArray:
    """Return the d-th differences of levels (T,) that have all their prices, side by side."""
    changes = difference(levels, difference_polynomial(d, 0, 1))
    seen: FloatArray = changes[~np.isnan(changes)]
    return seen


def unusable_levels(levels: FloatArray) -> Failure | None:
    """Return why percent log prices (T,) can be neither fitted nor filtered, or None."""
    return _unusable_changes(changes_of(levels, 1))


def _unusable_changes(changes: FloatArray) -> Failure | None:
    """Return the same of percent log returns, (R,)."""
    if len(changes) < MIN_RETURNS:
        return Failure(Status.TOO_SHORT, f"{len(changes)} log returns; {MIN_RETURNS} are needed")
    return no_spread(changes / 100.0)


def estimate_all(
    levels: Sequence[FloatArray], choice: ArimaChoice
) -> list[ArimaParameters | Failure]:
    """Fit every window, searching its order where none is given.

    Parameters
    ----------
    levels : sequence of ndarray
        Percent log prices of each window, NaN where missing.
    choice : ArimaChoice
        What is searched.

    Returns
    -------
    list of ArimaParameters or Failure
        TOO_SHORT where gaps leave too few changes, CONSTANT where they do not vary, NOT_CONVERGED
        where no order can be fitted or the optimiser gave up, EXPLOSIVE where a root reaches the
        unit circle.
    """
    windows = [changes_of(one, 1) for one in levels]
    found: list[ArimaParameters | Failure | None] = [_unusable_changes(one) for one in windows]
    n_diffs = np.ones(len(levels), np.int64)
    for row, one in enumerate(levels):
        if found[row] is None:
            decided = _differences(one, choice)
            if isinstance(decided, Failure):
                found[row] = decided
                continue
            if decided != 1:
                n_diffs[row] = decided
                windows[row] = changes_of(one, decided)
                found[row] = _too_few(windows[row])
    good = np.array([row for row, failure in enumerate(found) if failure is None], np.int64)
    if good.size:
        constant = np.array([has_constant(choice.trend, (int(n_diffs[row]), 0)) for row in good])
        p, q, fits = _fits([windows[row] for row in good], constant, choice)
        for place, row in enumerate(good):
            order = (int(p[place]), int(n_diffs[row]), int(q[place]))
            found[row] = _judged(order, fits, place)
    return [outcome for outcome in found if outcome is not None]


def _differences(levels: FloatArray, choice: ArimaChoice) -> int | Failure:
    if choice.order is not None:
        return choice.order[1]
    if choice.d is not None:
        return choice.d
    present = levels[~np.isnan(levels)]
    if choice.test == "kpss":
        return kpss_differences(present, most=MAX_D)
    try:
        return count_differences(present, d="auto", period=1, test=choice.test)[0]
    except (ValueError, np.linalg.LinAlgError) as error:
        detail = " ".join(str(error).split())[:150]
        return Failure(Status.NOT_CONVERGED, f"unit root test: {detail}")


def _too_few(changes: FloatArray) -> Failure | None:
    if len(changes) < MIN_RETURNS:
        reason = f"{len(changes)} changes with every price; {MIN_RETURNS} are needed"
        return Failure(Status.TOO_SHORT, reason)
    return None


def _fits(
    windows: Sequence[FloatArray], constant: BoolArray, choice: ArimaChoice
) -> tuple[IntArray, IntArray, ArmaFits]:
    fit = _kernel(choice.engine).fit_arma
    if choice.order is None:
        found = search_orders(
            windows, constant, max_p=choice.max_p, max_q=choice.max_q, search=choice.search, fit=fit
        )
        return found.p, found.q, found.fits
    p = np.full(len(windows), choice.order[0])
    q = np.full(len(windows), choice.order[2])
    return p, q, fit(windows, Jobs(np.arange(len(windows)), p, q, constant))


def _judged(order: tuple[int, int, int], fits: ArmaFits, place: int) -> ArimaParameters | Failure:
    if order[0] < 0:
        return Failure(Status.NOT_CONVERGED, "order search: no candidate could be fitted")
    if not np.isfinite(fits.loglik[place]):
        return Failure(Status.NOT_CONVERGED, f"the likelihood of {order} is not finite")
    if not roots_within(fits.ar[place : place + 1], MAX_INVERSE_ROOT)[0]:
        reason = f"an inverse AR root of {order} is not below {MAX_INVERSE_ROOT}"
        return Failure(Status.EXPLOSIVE, reason)
    if not fits.converged[place]:
        return Failure(Status.NOT_CONVERGED, f"the optimiser gave up on {order}")
    return ArimaParameters(
        order, fits.ar[place], fits.ma[place], float(fits.mean[place]), float(fits.variance[place])
    )


def forecast_all(
    parameters: Sequence[ArimaParameters],
    levels: Sequence[FloatArray],
    n_ahead: int,
    *,
    engine: Engine = "fast",
) -> tuple[FloatArray, FloatArray]:
    """Return mean and variance of the cumulative log return after each of W windows, (W, H).

    Parameters
    ----------
    parameters : sequence of ArimaParameters
        One a window.
    levels : sequence of ndarray
        Percent log prices; those that the differences sum up from are present.
    n_ahead : int
        Steps H.
    engine : str
        What filters the windows.
    """
    shape = (len(parameters), n_ahead)
    mean, variance = np.empty(shape), np.empty(shape)
    n_diffs = np.array([one.order[1] for one in parameters])
    for d in np.unique(n_diffs).tolist():
        rows = np.flatnonzero(n_diffs == d).tolist()
        part = [parameters[row] for row in rows]
        mean[rows], variance[rows] = _forecast_alike(
            part, [levels[row] for row in rows], d, n_ahead, engine
        )
    return mean, variance


def _forecast_alike(
    parameters: Sequence[ArimaParameters],
    levels: Sequence[FloatArray],
    d: int,
    n_ahead: int,
    engine: Engine,
) -> tuple[FloatArray, FloatArray]:
    """Return the same for windows that are differenced alike."""
    ar = np.stack([one.ar for one in parameters])
    ma = np.stack([one.ma for one in parameters])
    mu = np.array([one.mean for one in parameters])
    windows = [changes_of(one, d) for one in levels]
    shocks = np.zeros((N_LAGS + n_ahead, len(windows)))  # unknown ones have mean zero
    shocks[:N_LAGS] = _kernel(engine).last_residuals(windows, ar, ma, mu).T
    changes = np.empty_like(shocks)
    changes[:N_LAGS] = np.stack([one[-N_LAGS:] for one in windows], axis=1) - mu
    weights = np.zeros_like(shocks)  # of a shock on the changes after it, from row N_LAGS on
    for t in range(N_LAGS, N_LAGS + n_ahead):
        changes[t], weights[t] = 0.0, float(t == N_LAGS)
        for lag in range(1, N_LAGS + 1):
            changes[t] += ar[:, lag - 1] * changes[t - lag] + ma[:, lag - 1] * shocks[t - lag]
            weights[t] += ar[:, lag - 1] * weights[t - lag]
        if 1 <= t - N_LAGS <= N_LAGS:
            weights[t] += ma[:, t - N_LAGS - 1]
    polynomial = difference_polynomial(d, 0, 1)
    past = np.stack([one[len(one) - d :] for one in levels], axis=1)
    level = integrate(changes[N_LAGS:] + mu, polynomial, past)
    summed = integrate(weights[N_LAGS:], polynomial, np.zeros_like(past))
    last = np.array([one[-1] for one in levels])
    innovation = np.array([one.variance for one in parameters])
    variance = innovation * np.cumsum(summed * summed, axis=0)
    return (level - last).T / 100.0, variance.T / 1e4


def refused(parameters: ArimaParameters, levels: FloatArray) -> Failure | None:
    """Return why a forecast from the end of ``levels`` cannot be made, or None."""
    failure = unusable_levels(levels)
    d = parameters.order[1]
    if failure is None and d and np.isnan(levels[-d:]).any():
        reason = f"a price is missing among the last {d}, which are summed up"
        failure = Failure(Status.NO_PRICE, reason)
    if failure is None and d != 1:  # the log returns that were counted
        failure = _too_few(changes_of(levels, d))
    return failure


@dataclass(frozen=True, slots=True, eq=False)
class FittedArima:
    """Estimated coefficients, conditioned on the prices of a history."""

    parameters: ArimaParameters
    history: Panel
    engine: Engine = "fast"

    def extend(self, history: Panel) -> FittedForecaster:
        """Return the same order and coefficients, filtered over ``history`` instead."""
        return replace(self, history=history)

    def forecast(self, steps: tuple[int, ...]) -> tuple[Outcome, ...]:
        """Return the forecast of the one ticker; its distribution is normal."""
        levels = percent_logs(self.history.close[0])
        failure = missing_price(self.history) or refused(self.parameters, levels)
        if failure is not None:
            return (failure,)
        mean, variance = forecast_all([self.parameters], [levels], steps[-1], engine=self.engine)
        at = np.array(steps) - 1
        return (_outcome(mean[0, at], variance[0, at]),)


def _unbounded(mean: FloatArray, variance: FloatArray) -> bool:
    """Return whether a forecast, (H,), is not finite, or not uncertain."""
    fine = np.isfinite(mean) & np.isfinite(variance) & (variance > 0.0)
    return not fine.all()


_UNBOUNDED = Failure(Status.EXPLOSIVE, "the forecast grows out of bounds")


def _outcome(mean: FloatArray, variance: FloatArray) -> Outcome:
    return _UNBOUNDED if _unbounded(mean, variance) else Forecast(mean, variance)


class Arima:
    """Mean and variance of the log price by an ARIMA model, through the batched kernel.

    References
    ----------
    Box, Jenkins, Reinsel and Ljung (2016), Time Series Analysis, 5th edition, chapters 4, 5 and 7.
    """

    scope: ClassVar[Scope] = "ticker"

    def __init__(self, choice: ArimaChoice) -> None:
        self.choice = choice

    def fit(self, history: Panel, *, rng: np.random.Generator) -> FittedForecaster:  # noqa: ARG002
        """Search the order and estimate on ``history``; every start is a fixed one."""
        (found,) = estimate_all([percent_logs(history.close[0])], self.choice)
        if isinstance(found, Failure):
            return FailedFit(found)
        return FittedArima(found, history, self.choice.engine)

    def forecast_folds(
        self,
        panel: Panel,
        plan: FoldPlan,
        rng_at: RngAt,  # noqa: ARG002 - nothing is drawn
    ) -> ForecastBatch:
        """Return what fit, extend and forecast would for each ticker of ``panel``, on its own."""
        levels = percent_logs(panel.close)  # (M, T)
        number = np.cumsum([plan.new_fit(fold) for fold in range(len(plan))]) - 1  # fit of a fold
        firsts = np.flatnonzero(np.r_[True, np.diff(number) > 0])
        fits = estimate_all(
            [_training(row, plan, int(fold)) for fold in firsts for row in levels], self.choice
        )
        return _forecast_plan(
            panel,
            plan,
            levels,
            lambda fold, n: fits[number[fold] * panel.n_tickers + n],
            self.choice.engine,
        )


def _training(levels: FloatArray, plan: FoldPlan, fold: int) -> FloatArray:
    """Return what the fit that serves ``fold`` may see of levels (T,): ``FoldPlan.training``."""
    start = int(plan.train_start[fold])
    window = levels[start : int(plan.train_stop[fold])]
    if plan.holes[fold]:
        window = window.copy()
        for first, last in plan.holes[fold]:
            window[max(first - start, 0) : max(last - start, 0)] = np.nan
    return window


def _forecast_plan(
    panel: Panel,
    plan: FoldPlan,
    levels: FloatArray,
    fit_of: Callable[[int, int], ArimaParameters | Failure],
    engine: Engine,
) -> ForecastBatch:
    """Forecast every fold of every ticker with the fit that serves it."""
    served: list[tuple[int, int]] = []
    failures: dict[tuple[int, int], Failure] = {}
    parameters, contexts = [], []
    for fold in range(len(plan)):
        start, cutoff = int(plan.context_start[fold]), int(plan.cutoff[fold])
        for n in range(panel.n_tickers):
            fit, context = fit_of(fold, n), levels[n, start : cutoff + 1]
            if isinstance(fit, Failure):
                failures[fold, n] = fit
                continue
            failure: Failure | None
            if np.isnan(context[-1]):
                reason = f"no price on the cutoff {panel.sessions[cutoff]}"
                failure = Failure(Status.NO_PRICE, reason)
            else:
                failure = refused(fit, context)
            if failure is not None:
                failures[fold, n] = failure
                continue
            served.append((fold, n))
            parameters.append(fit)
            contexts.append(context)

    shape = (len(plan), panel.n_tickers, len(plan.steps))
    mean, variance = np.full(shape, np.nan), np.full(shape, np.nan)
    if served:
        at = np.array(plan.steps) - 1
        means, variances = forecast_all(parameters, contexts, plan.steps[-1], engine=engine)
        for place, cell in enumerate(served):
            mean[cell], variance[cell] = means[place, at], variances[place, at]
            if _unbounded(mean[cell], variance[cell]):
                failures[cell] = _UNBOUNDED
    return normal_batch(mean, variance, failures)
