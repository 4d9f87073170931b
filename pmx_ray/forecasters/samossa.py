"""SAMoSSA: singular spectrum analysis of many tickers at once, with autoregressive noise.

A recurrence shared by all tickers is read off the stacked Page matrix of their log returns (or log
prices), each ticker keeps an autoregression of its own for what the recurrence leaves, and the
variance of that innovation is carried through both, then scaled to the errors seen inside the
history. With one ticker it is the univariate method.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from pmx_ray._typing import FloatArray, IntArray
from pmx_ray.config import Settings
from pmx_ray.data.panel import Panel
from pmx_ray.errors import DataError, EngineError
from pmx_ray.forecasters.protocol import (
    Failure,
    FittedForecaster,
    Forecast,
    Outcome,
    Scope,
    Status,
)
from pmx_ray.forecasters.registry import Device, register
from pmx_ray.kernels.calibration import Calibration, calibrate
from pmx_ray.kernels.samossa import (
    Choice,
    Model,
    fit_models,
    grid,
    held_out_squares,
    mean_square,
    unit_variances,
)

MIN_RETURNS = 60
"""Fewest log returns of a ticker in a history that is fitted."""

MIN_SHARE = 0.5
"""Smallest share of a history's sessions on which a ticker of the joint fit has a return."""

FLAT = 1e-10
"""Log returns that differ by no more are one constant: prices are not quoted that finely."""

MAX_LOG_RETURN = 5.0
"""Largest mean and standard deviation of a cumulative log return that are not called explosive."""

MIN_VARIANCE = 1e-20
"""Variance that a series without any innovation is given, decimal squared."""


class SamossaSettings(Settings):
    """Settings of SAMoSSA.

    Attributes
    ----------
    scope : str
        What shares one recurrence: all tickers, those of a group, or one (univariate).
    rank : str or int
        Singular values kept: ``donoho`` threshold, 90 % of the ``energy``, a number, or
        ``whitened``: Donoho's threshold once the autoregressive noise is made white. The default
        is 1: the noise of returns is shared by the tickers, and the rules take it for signal.
    shape_ratio : int
        Columns over rows of the Page matrix.
    ar_order : int
        Lags of each ticker's autoregression.
    difference : bool
        True works on log returns, False on log prices.
    tune : bool
        Choose rank, shape ratio, order and differencing over the paper's grid, by the squared
        one-step error on the last third of each history; the four settings are then not used.
    calibrate : bool
        Scale the variance of each step to the errors seen on the last third of each history.
    engine : str
        What carries the matrix products: ``numpy``, or ``cupy`` on a card.
    """

    scope: Scope = "panel"
    rank: Literal["donoho", "energy", "whitened"] | Annotated[int, Field(ge=1)] = 1
    shape_ratio: Literal[1, 3, 5] = 1
    ar_order: int = Field(default=1, ge=0, le=3)
    difference: bool = True
    tune: bool = False
    calibrate: bool = True
    engine: Literal["numpy", "cupy"] = "numpy"


def _device(settings: SamossaSettings) -> Device:
    return "gpu" if settings.engine == "cupy" else "cpu"


@dataclass(frozen=True, slots=True, eq=False)
class FittedSamossa:
    """One joint fit, standing at the last session of a history.

    Attributes
    ----------
    tickers : tuple of str
        Those of the joint fit, N of them.
    failures : mapping of str to Failure
        Why each other ticker is not among them.
    model : Model, optional
        Absent where no ticker could be fitted.
    innovation_variance : ndarray of shape (N,)
        Mean squared one-step residual, decimal squared.
    calibration : Calibration, optional
        Absent where it was not asked for, or no errors could be seen.
    difference : bool
        Whether the model is of log returns or of log prices.
    history : Panel
        What the forecast is conditioned on.
    """

    tickers: tuple[str, ...]
    failures: Mapping[str, Failure]
    model: Model | None
    innovation_variance: FloatArray
    calibration: Calibration | None
    difference: bool
    history: Panel

    def extend(self, history: Panel) -> FittedForecaster:
        """Return the same model and calibration, conditioned on the end of ``history``."""
        return replace(self, history=history)

    def forecast(self, steps: tuple[int, ...]) -> tuple[Outcome, ...]:
        """Return one outcome a ticker; see ``Forecaster``."""
        found: dict[str, Outcome] = dict(self.failures)
        if self.model is not None:
            found |= self._joint_forecast(self.model, steps)
        outcomes: list[Outcome] = []
        for ticker, close in zip(self.history.tickers, self.history.close[:, -1], strict=True):
            if np.isnan(close):
                reason = f"no price on the cutoff {self.history.sessions[-1]}"
                outcomes.append(Failure(Status.NO_PRICE, reason))
            else:
                absent = Failure(Status.ERROR, "the fit has not seen this ticker")
                outcomes.append(found.get(ticker, absent))
        return tuple(outcomes)

    def _joint_forecast(self, model: Model, steps: tuple[int, ...]) -> dict[str, Outcome]:
        horizon = np.array(steps, np.int64)
        last = self._last_values(model.n_lags)
        with np.errstate(over="ignore", invalid="ignore"):
            path = model.path(last, int(horizon.max()))
            if self.difference:
                mean = np.cumsum(path, axis=1)[:, horizon - 1]
            else:
                mean = path[:, horizon - 1] - last[:, -1:]
            variance = self._variance(model, horizon)
        return {
            ticker: _outcome(mean[n], variance[n], missing=bool(np.isnan(last[n]).any()))
            for n, ticker in enumerate(self.tickers)
        }

    def _variance(self, model: Model, horizon: IntArray) -> FloatArray:
        """Return innovation variance x unit variance of the recursion x scale of the step."""
        units = unit_variances(model.coefficients, horizon, cumulative=self.difference)
        scale = 1.0 if self.calibration is None else self.calibration.scale(horizon)
        return np.maximum(self.innovation_variance[:, None] * units * scale, MIN_VARIANCE)

    def _last_values(self, n_lags: int) -> FloatArray:
        """Return the last values of the joint fit's tickers, (N, m); NaN where there is none."""
        n_sessions = n_lags + self.difference
        close = np.full((len(self.tickers), n_sessions), np.nan)
        row_of = {ticker: row for row, ticker in enumerate(self.history.tickers)}
        for n, ticker in enumerate(self.tickers):
            if ticker in row_of:
                seen = self.history.close[row_of[ticker], -n_sessions:]
                close[n, n_sessions - len(seen) :] = seen
        return _series(close, difference=self.difference)


@register(
    "samossa",
    settings=SamossaSettings,
    version="1",
    summary="singular spectrum analysis across tickers, with autoregressive noise",
    fit_s=4e-4,
    extend_s=1e-4,
    device=_device,
    libraries=lambda s: ("cupy-cuda12x", "numpy") if s.engine == "cupy" else ("numpy",),
)
class Samossa:
    """Multivariate singular spectrum analysis with stochastic autoregressive noise.

    References
    ----------
    Alomar, Dahleh, Mann, Shah (2023), NeurIPS, arXiv 2305.16491.
    """

    def __init__(self, settings: SamossaSettings) -> None:
        self.settings = settings

    @property
    def scope(self) -> Scope:
        """What shares one recurrence."""
        return self.settings.scope

    def fit(self, history: Panel, *, rng: np.random.Generator) -> FittedForecaster:  # noqa: ARG002
        """Fit every usable ticker of ``history`` jointly; the others get a failure each."""
        xp = array_namespace(self.settings.engine)
        close = _without_empty_end(history.close)
        failures = {
            ticker: failure
            for ticker, row in zip(history.tickers, close, strict=True)
            if (failure := _unusable(row)) is not None
        }
        tickers = tuple(ticker for ticker in history.tickers if ticker not in failures)
        nothing = FittedSamossa((), failures, None, np.zeros(0), None, True, history)
        if not tickers:
            return nothing
        joint = close[[ticker in tickers for ticker in history.tickers]]
        try:
            return self._fit_joint(joint, xp, replace(nothing, tickers=tickers))
        except DataError as error:
            failure = Failure(Status.TOO_SHORT, str(error))
            return replace(nothing, failures=failures | dict.fromkeys(tickers, failure))

    def _fit_joint(
        self, close: FloatArray, xp: ModuleType, unfitted: FittedSamossa
    ) -> FittedSamossa:
        settings = self.settings
        choice = Choice(settings.rank, settings.shape_ratio, settings.ar_order)
        difference = settings.difference
        n_held_out = (close.shape[1] - 1) // 3
        if settings.tune:
            choice, difference = _tuned(close, n_held_out, xp)
        series = _series(close, difference=difference)
        (model,) = fit_models(series, (choice,), xp=xp)
        calibration = None
        if settings.calibrate:
            (early,) = fit_models(series[:, :-n_held_out], (choice,), xp=xp)
            calibration = calibrate(early, model, series, n_held_out, cumulative=difference)
        return replace(
            unfitted,
            model=model,
            innovation_variance=mean_square(model.errors(series)),
            calibration=calibration,
            difference=difference,
        )


def array_namespace(engine: Literal["numpy", "cupy"]) -> ModuleType:
    """Return the module that carries the matrix products.

    Raises
    ------
    EngineError
        If ``cupy`` is not installed or sees no card.
    """
    if engine == "numpy":
        return np
    try:
        cupy = importlib.import_module("cupy")
    except ImportError:
        raise EngineError(
            "samossa: engine cupy is not installed; pip install pmx-ray[gpu]"
        ) from None
    if not cupy.cuda.is_available():
        raise EngineError("samossa: engine cupy sees no card; use engine numpy")
    return cupy


def _series(close: FloatArray, *, difference: bool) -> FloatArray:
    """Return log returns (N, T - 1) or log prices (N, T) of prices (N, T)."""
    log_close: FloatArray = np.log(close)
    return np.diff(log_close, axis=1) if difference else log_close


def _tuned(close: FloatArray, n_held_out: int, xp: ModuleType) -> tuple[Choice, bool]:
    """Return the choice and differencing with the least squared one-step error held out.

    Errors of log returns and log prices are alike at one step; each ticker's are taken relative
    to the variance of its log returns. Of equals the first wins, log returns before log prices.
    """
    size = np.nanvar(_series(close, difference=True), axis=1)
    choices = grid()
    best, least = (choices[0], True), np.inf
    for difference in (True, False):
        series = _series(close, difference=difference)
        for model in fit_models(series[:, :-n_held_out], choices, xp=xp):
            loss = float(np.nanmean(held_out_squares(model, series, n_held_out) / size))
            if loss < least:
                best, least = (model.choice, difference), loss
    return best


def _without_empty_end(close: FloatArray) -> FloatArray:
    """Return prices up to the last session on which any ticker has one.

    A train window may end in a stretch that was blanked for every ticker.
    """
    priced = np.flatnonzero(~np.isnan(close).all(axis=0))
    return close[:, : priced[-1] + 1] if priced.size else close


def _unusable(close: FloatArray) -> Failure | None:
    """Return why prices (T,) cannot be part of a joint fit, from these prices alone."""
    if np.isnan(close[-1]):
        return Failure(Status.NO_PRICE, "no price on the last session of the fit")
    returns = np.diff(np.log(close))
    returns = returns[~np.isnan(returns)]
    needed = max(MIN_RETURNS, int(np.ceil(MIN_SHARE * (len(close) - 1))))
    if len(returns) < needed:
        reason = f"{len(returns)} log returns in {len(close)} sessions; {needed} are needed"
        return Failure(Status.TOO_SHORT, reason)
    if np.ptp(returns) <= FLAT:
        return Failure(Status.CONSTANT, f"all {len(returns)} log returns equal {returns[0]:.3g}")
    return None


def _outcome(mean: FloatArray, variance: FloatArray, *, missing: bool) -> Outcome:
    if missing:
        return Failure(Status.TOO_SHORT, "a price is missing in the window before the cutoff")
    if np.isnan(variance).all():
        return Failure(Status.TOO_SHORT, "the fit found no window without a missing price")
    largest = max(np.abs(mean).max(), np.sqrt(variance.max()))
    if not largest <= MAX_LOG_RETURN:
        reason = f"a cumulative log return reaches {largest:.3g}; the limit is {MAX_LOG_RETURN}"
        return Failure(Status.EXPLOSIVE, reason)
    return Forecast(mean, variance)
