"""GARCH and GJR-GARCH of percent log returns, estimated by batched kernels or by `arch`.

With e(t) = 100 r(t) - mu, the variance of the next session is

    s2(t) = omega + sum alpha(i) e2(t-i) + sum gamma(i) e2(t-i) [e(t-i) < 0] + sum beta(j) s2(t-j)

and the variance over h sessions is the sum of the recursion's h steps, where a coming e2 is
replaced by its expectation s2 and half of it is expected to fall below zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import numpy as np

from pmx_ray._typing import BoolArray, FloatArray
from pmx_ray.data.panel import Panel, observed_returns
from pmx_ray.folds import FoldPlan
from pmx_ray.forecasters.batch import ForecastBatch, RngAt, assemble
from pmx_ray.forecasters.garch_model import (
    MAX_PERSISTENCE,
    MIN_RETURNS,
    ON_BOUND,
    GarchParameters,
    GarchSettings,
    guard,
    student_t_quantiles,
)
from pmx_ray.forecasters.garch_reference import ReferenceGarch
from pmx_ray.forecasters.protocol import (
    QUANTILE_LEVELS,
    FailedFit,
    Failure,
    FittedForecaster,
    Forecast,
    Forecaster,
    Outcome,
    Scope,
    Status,
    missing_price,
    normal_quantiles,
    unusable,
)
from pmx_ray.forecasters.registry import Device, register
from pmx_ray.forecasters.return_windows import (
    Cell,
    context_windows,
    training_windows,
)
from pmx_ray.kernels import garch as kernel
from pmx_ray.kernels.cuda import garch as kernel_on_card


class _Kernel(Protocol):
    """What estimates and filters windows: the module of an engine."""

    def fit(self, windows: FloatArray, form: kernel.Form) -> kernel.Fits: ...

    def filter_variances(
        self, windows: FloatArray, parameters: FloatArray, form: kernel.Form, *, n_steps: int
    ) -> FloatArray: ...


def _kernel(settings: GarchSettings) -> _Kernel:
    return kernel_on_card if settings.engine == "cuda" else kernel


def _device(settings: GarchSettings) -> Device:
    return "gpu" if settings.engine == "cuda" else "cpu"


_LIBRARIES = {
    "fast": ("llvmlite", "numba", "numpy", "scipy"),
    "cuda": ("cupy-cuda12x", "numpy", "scipy"),
    "reference": ("arch", "numpy", "scipy"),
}


def _form(settings: GarchSettings) -> kernel.Form:
    return kernel.Form(
        mean=int(settings.mean == "constant"),
        p=settings.p,
        o=settings.o,
        q=settings.q,
        student=int(settings.dist == "t"),
    )


def estimate(returns: FloatArray, settings: GarchSettings) -> tuple[FloatArray, dict[int, Failure]]:
    """Estimate each window by maximum likelihood with the kernel.

    Parameters
    ----------
    returns : ndarray of shape (W, n)
        Percent log returns, not all equal.
    settings : GarchSettings
        Orders, distribution and mean.

    Returns
    -------
    parameters : ndarray of shape (W, K)
        As ``kernels.garch.fit`` returns them.
    failures : dict of int to Failure
        The windows whose estimate is not used: NOT_CONVERGED where the search gave up or a
        coefficient stands on its bound, EXPLOSIVE where the persistence reaches
        ``MAX_PERSISTENCE``.
    """
    form = _form(settings)
    fits = _kernel(settings).fit(returns, form)
    failures: dict[int, Failure] = {}
    squares = np.mean(returns**2, axis=1)
    for w in np.flatnonzero(_doubtful(fits.parameters, form, squares)).tolist():
        refused = guard(named(fits.parameters[w], form), float(squares[w]))
        if refused is not None:
            failures[w] = refused
    for w in np.flatnonzero(~fits.converged).tolist():
        reason = f"no maximum after {kernel.MAX_STEPS} steps"
        failures.setdefault(w, Failure(Status.NOT_CONVERGED, reason))
    return fits.parameters, failures


def _doubtful(parameters: FloatArray, form: kernel.Form, squares: FloatArray) -> BoolArray:
    """Return which estimates stand near a bound; of the others ``guard`` has nothing to say."""
    at_alpha = form.mean + 1
    at_beta = at_alpha + form.p + form.o
    lags = parameters[:, at_alpha : at_beta + form.q]
    weights = np.ones(lags.shape[1])
    if form.o:
        weights[0] = weights[form.p] = 0.5
    clear = lags @ weights < MAX_PERSISTENCE - ON_BOUND
    clear &= lags.min(axis=1) > ON_BOUND
    clear &= parameters[:, form.mean] > ON_BOUND * squares
    if form.student:
        low, high = 1.01 * kernel.NU_BOUNDS[0], 0.98 * kernel.NU_BOUNDS[1]
        clear &= (low < parameters[:, -1]) & (parameters[:, -1] < high)
    doubtful: BoolArray = ~clear
    return doubtful


def named(parameters: FloatArray, form: kernel.Form) -> GarchParameters:
    """Return one window's coefficients (K,) by their usual names."""
    at_alpha = form.mean + 1
    at_beta = at_alpha + form.p + form.o
    values = parameters.tolist()
    alpha = tuple(values[at_alpha : at_alpha + form.p])
    return GarchParameters(
        mu=values[0] if form.mean else 0.0,
        omega=values[form.mean],
        alpha=alpha,
        gamma=(values[at_beta - 1] - alpha[0],) if form.o else (),
        beta=tuple(values[at_beta : at_beta + form.q]),
        nu=values[-1] if form.student else None,
    )


def predict(
    returns: FloatArray, parameters: FloatArray, settings: GarchSettings, steps: Sequence[int]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return mean, variance (W, H) and quantiles (W, Q, H) of the cumulative log return.

    Parameters
    ----------
    returns : ndarray of shape (W, n)
        Percent log returns up to the cutoff.
    parameters : ndarray of shape (W, K)
        As ``estimate`` returns them.
    settings : GarchSettings
        What they are, and the engine.
    steps : sequence of int
        H sessions ahead, increasing.
    """
    form, h = _form(settings), np.array(steps, np.float64)
    ahead = _kernel(settings).filter_variances(returns, parameters, form, n_steps=steps[-1])
    variance = np.cumsum(ahead, axis=1)[:, np.array(steps) - 1] / 1e4
    mu = parameters[:, 0] if form.mean else np.zeros(len(parameters))
    mean = mu[:, None] / 100.0 * h
    if form.student:
        return mean, variance, student_t_quantiles(mean, variance, h, parameters[:, -1])
    return mean, variance, normal_quantiles(mean, variance)


@dataclass(frozen=True, slots=True, eq=False)
class FittedGarch:
    """Estimated coefficients (1, K), conditioned on the returns of a history."""

    parameters: FloatArray
    settings: GarchSettings
    history: Panel

    def extend(self, history: Panel) -> FittedForecaster:
        """Return the same coefficients, filtered over ``history`` instead."""
        return replace(self, history=history)

    def forecast(self, steps: tuple[int, ...]) -> tuple[Outcome, ...]:
        """Return the forecast of the one ticker; what the family's page says of quantiles holds."""
        failure = missing_price(self.history) or unusable(self.history, n_returns=MIN_RETURNS)
        if failure is not None:
            return (failure,)
        returns = 100.0 * observed_returns(self.history)[None, :]
        mean, variance, quantiles = predict(returns, self.parameters, self.settings, steps)
        return (Forecast(mean[0], variance[0], quantiles[0]),)


class Garch:
    """Mean zero (or a constant) and the variance of a GARCH recursion.

    Returns across a gap are left out and the rest is set side by side.

    References
    ----------
    Bollerslev (1986), Journal of Econometrics 31, 307-327.
    Bollerslev (1987), Review of Economics and Statistics 69, 542-547 (Student-t).
    Glosten, Jagannathan and Runkle (1993), Journal of Finance 48, 1779-1801 (GJR).
    """

    scope: ClassVar[Scope] = "ticker"

    def __init__(self, settings: GarchSettings) -> None:
        self.settings = settings

    def fit(self, history: Panel, *, rng: np.random.Generator) -> FittedForecaster:  # noqa: ARG002
        """Estimate on the log returns of ``history``; the starting values are a fixed grid."""
        failure = unusable(history, n_returns=MIN_RETURNS)
        if failure is not None:
            return FailedFit(failure)
        returns = 100.0 * observed_returns(history)[None, :]
        parameters, failures = estimate(returns, self.settings)
        if failures:
            return FailedFit(failures[0])
        return FittedGarch(parameters, self.settings, history)

    def forecast_folds(self, panel: Panel, plan: FoldPlan, rng_at: RngAt) -> ForecastBatch:  # noqa: ARG002
        """Estimate and forecast every fold of every ticker, each on its own, in a few calls."""
        refused, failures = dict[Cell, Failure](), dict[Cell, Failure]()
        n_parameters = len(_form(self.settings).names)
        parameters = np.full((len(plan), panel.n_tickers, n_parameters), np.nan)
        for seen in training_windows(panel, plan, refused, n_returns=MIN_RETURNS):
            found, bad = estimate(100.0 * seen.returns, self.settings)
            parameters[seen.folds, seen.tickers] = found
            for w, failure in bad.items():
                refused[int(seen.folds[w]), int(seen.tickers[w])] = failure
        serving = plan.first_served
        for (fit, ticker), failure in refused.items():
            for fold in np.flatnonzero(serving == fit).tolist():
                failures[fold, ticker] = failure
        shape = (len(plan), panel.n_tickers, len(plan.steps))
        mean, variance = np.full(shape, np.nan), np.full(shape, np.nan)
        quantiles = np.full((*shape[:2], len(QUANTILE_LEVELS), shape[2]), np.nan)
        for seen in context_windows(panel, plan, failures, n_returns=MIN_RETURNS):
            cells = seen.folds, seen.tickers
            used = parameters[serving[seen.folds], seen.tickers]
            mean[cells], variance[cells], quantiles[cells] = predict(
                100.0 * seen.returns, used, self.settings, plan.steps
            )
        return assemble(mean, variance, quantiles, failures)


@register(
    "garch",
    settings=GarchSettings,
    version="3",
    summary="GARCH and GJR-GARCH of log returns, normal or Student-t, by maximum likelihood",
    libraries=lambda settings: _LIBRARIES[settings.engine],
    fit_s=lambda settings: 0.013 if settings.engine == "reference" else 5e-5,
    extend_s=1e-5,
    device=_device,
    search={
        "p": {"low": 1, "high": 2},
        "o": {"low": 0, "high": 1},
        "q": {"low": 1, "high": 2},
        "dist": {"choices": ["normal", "t"]},
        "mean": {"choices": ["constant", "zero"]},
    },
)
def build(settings: GarchSettings) -> Forecaster:
    """Return the forecaster of the engine that the settings name."""
    return ReferenceGarch(settings) if settings.engine == "reference" else Garch(settings)
