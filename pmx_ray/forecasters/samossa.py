"""SAMoSSA: singular spectrum analysis of many tickers at once, with autoregressive noise.

A recurrence shared by all tickers is read off the stacked Page matrix of their log returns (or log
prices), each ticker keeps an autoregression of its own for what the recurrence leaves, and the
variance of that innovation is carried through both, then scaled to the errors seen inside the
history. With one ticker it is the univariate method.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import isqrt
from types import ModuleType
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field

from pmx_ray._typing import BoolArray, FloatArray, IntArray
from pmx_ray.config import Settings
from pmx_ray.data.panel import Panel
from pmx_ray.errors import DataError
from pmx_ray.folds import FoldPlan
from pmx_ray.forecasters.batch import ForecastBatch, RngAt
from pmx_ray.forecasters.normal import normal_batch
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
from pmx_ray.kernels.devices import card
from pmx_ray.kernels.samossa import (
    Choice,
    Model,
    fit_models,
    fit_stack,
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

STACK_BYTES = 2**30
"""Memory of a card that one stack of fits may take."""

HOST_BYTES = 2**21
"""Memory that one stack of fits may take on the host: about a core's own cache."""

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


def _card_libraries(settings: SamossaSettings) -> tuple[str, ...]:
    return ("cupy-cuda12x",) if settings.engine == "cupy" else ()


def _fit_s(settings: SamossaSettings) -> float:
    """Return rough seconds a ticker, 20 of them jointly over 1000 sessions unless on its own."""
    if settings.tune:
        return 0.015 if settings.scope == "ticker" else 0.0015
    alone = 4e-4 if settings.scope == "ticker" else 1e-4
    return 4.0 * alone if settings.rank == "whitened" else alone


@dataclass(frozen=True, slots=True, eq=False)
class Joint:
    """One joint fit on the rows of a price matrix; knows neither tickers nor sessions.

    Attributes
    ----------
    rows : ndarray of int, shape (N,)
        Rows of the M that were fitted.
    failures : mapping of int to Failure
        Why each other row is not among them.
    model : Model, optional
        Absent where no row could be fitted.
    innovation_variance : ndarray of shape (N,)
        Mean squared one-step residual, decimal squared.
    calibration : Calibration, optional
        Absent where it was not asked for.
    difference : bool
        Whether the model is of log returns or of log prices.
    """

    rows: IntArray
    failures: Mapping[int, Failure]
    model: Model | None
    innovation_variance: FloatArray
    calibration: Calibration | None
    difference: bool

    @property
    def rank(self) -> int:
        """Singular values kept; 0 without a model."""
        return 0 if self.model is None else self.model.rank

    @property
    def n_sessions(self) -> int:
        """Last sessions that a forecast is conditioned on; 0 without a model."""
        return 0 if self.model is None else self.model.n_lags + self.difference

    def variance(self, horizon: IntArray) -> FloatArray:
        """Return innovation variance x unit variance x scale of the step, (N, H)."""
        if self.model is None:
            return np.zeros((0, len(horizon)))
        with np.errstate(all="ignore"):
            units = unit_variances(self.model.coefficients, horizon, cumulative=self.difference)
            scale = 1.0 if self.calibration is None else self.calibration.scale(horizon)
            scaled = self.innovation_variance[:, None] * units * scale
        return np.maximum(scaled, MIN_VARIANCE)

    def mean(self, log_close: FloatArray, horizon: IntArray) -> tuple[FloatArray, BoolArray]:
        """Return the mean, (N, H), and whether a price it needs is missing, (N,).

        Parameters
        ----------
        log_close : ndarray of shape (N, T)
            Log prices of the fitted rows up to the cutoff; too few sessions are missing ones.
        horizon : ndarray of int, shape (H,)
        """
        if self.model is None:
            return np.zeros((0, len(horizon))), np.zeros(0, np.bool_)
        last = log_close[:, -self.n_sessions :]
        if last.shape[1] < self.n_sessions:
            return np.full((len(last), len(horizon)), np.nan), np.ones(len(last), np.bool_)
        if self.difference:
            last = np.diff(last, axis=1)
        with np.errstate(all="ignore"):
            path = self.model.path(last, int(horizon[-1]))
            if self.difference:
                mean = np.cumsum(path, axis=1)[:, horizon - 1]
            else:
                mean = path[:, horizon - 1] - last[:, -1:]
        missing: BoolArray = np.logical_or.reduce(np.isnan(last), axis=1)
        return mean, missing


@dataclass(frozen=True, slots=True, eq=False)
class FittedSamossa:
    """One joint fit, standing at the last session of a history.

    Attributes
    ----------
    joint : Joint
        What was estimated.
    tickers : tuple of str, length M
        Those of the history that was fitted, the rows of ``joint``.
    history : Panel
        What the forecast is conditioned on.
    """

    joint: Joint
    tickers: tuple[str, ...]
    history: Panel

    @property
    def model(self) -> Model | None:
        """The joint model; absent where no ticker could be fitted."""
        return self.joint.model

    @property
    def calibration(self) -> Calibration | None:
        """What scales the variance; absent where it was not asked for."""
        return self.joint.calibration

    @property
    def difference(self) -> bool:
        """Whether the model is of log returns or of log prices."""
        return self.joint.difference

    def extend(self, history: Panel) -> FittedForecaster:
        """Return the same model and calibration, conditioned on the end of ``history``."""
        return replace(self, history=history)

    def forecast(self, steps: tuple[int, ...]) -> tuple[Outcome, ...]:
        """Return one outcome a ticker; see ``Forecaster``."""
        horizon = np.array(steps, np.int64)
        fitted = [self.tickers[row] for row in self.joint.rows]
        mean, missing = self.joint.mean(self._log_close(fitted), horizon)
        variance = self.joint.variance(horizon)
        wrong = dict(_wrong(mean, variance, missing))
        found: dict[str, Outcome] = {
            self.tickers[row]: failure for row, failure in self.joint.failures.items()
        }
        for n, ticker in enumerate(fitted):
            found[ticker] = wrong[n] if n in wrong else Forecast(mean[n], variance[n])
        unseen = Failure(Status.ERROR, "the fit has not seen this ticker")
        cutoff, last = self.history.sessions[-1], self.history.close[:, -1]
        return tuple(
            _no_price(cutoff) if np.isnan(close) else found.get(ticker, unseen)
            for ticker, close in zip(self.history.tickers, last, strict=True)
        )

    def _log_close(self, tickers: Sequence[str]) -> FloatArray:
        """Return the last log prices of ``tickers``; NaN where the history has none."""
        seen = self.history.close[:, -max(self.joint.n_sessions, 1) :]
        row_of = {ticker: row for row, ticker in enumerate(self.history.tickers)}
        close = np.full((len(tickers), seen.shape[1]), np.nan)
        for n, ticker in enumerate(tickers):
            if ticker in row_of:
                close[n] = seen[row_of[ticker]]
        log_close: FloatArray = np.log(close)
        return log_close


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """A history to fit: usable rows (N,) of M, their log prices (N, T), why others are not."""

    rows: IntArray
    log_close: FloatArray
    failures: Mapping[int, Failure]

    @classmethod
    def of(cls, log_close: FloatArray) -> Self:
        log_close = _without_empty_end(log_close)
        failures = _unusable(log_close)
        rows = np.array([row for row in range(len(log_close)) if row not in failures], np.int64)
        return cls(rows, log_close[rows], failures)


def _unfitted(task: _Task, failure: Failure | None = None) -> Joint:
    """Return the fit of a task without a usable row, or whose usable rows all failed."""
    failures = dict(task.failures)
    if failure is not None:
        failures |= dict.fromkeys(task.rows.tolist(), failure)
    return Joint(np.zeros(0, np.int64), failures, None, np.zeros(0), None, True)


def _stack_bytes(n_series: int, n_times: int) -> int:
    """Return about how many bytes a card needs for one history of a stack."""
    values = n_series * n_times
    length = isqrt(values)
    return 8 * (values * (10 + length // 64) + 4 * length**2)


@register(
    "samossa",
    settings=SamossaSettings,
    version="2",
    summary="singular spectrum analysis across tickers, with autoregressive noise",
    fit_s=_fit_s,
    extend_s=1e-5,
    device=_device,
    libraries=lambda s: ("numba", "numpy", "scipy", *_card_libraries(s)),
    search={
        "rank": {"choices": [1, 2, 3, 5, 8, "donoho", "energy", "whitened"]},
        "shape_ratio": {"choices": [1, 3, 5]},
        "ar_order": {"low": 0, "high": 3},
        "difference": {"choices": [True, False]},
    },
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
        (joint,) = self._fit_each([np.log(history.close)], xp)
        return FittedSamossa(joint, history.tickers, history)

    def forecast_folds(
        self,
        panel: Panel,
        plan: FoldPlan,
        rng_at: RngAt,  # noqa: ARG002
    ) -> ForecastBatch:
        """Return what fit, extend and forecast would, without a panel a fold."""
        xp = array_namespace(self.settings.engine)
        log_close = np.log(panel.close)
        horizon = np.array(plan.steps, np.int64)
        mean = np.full((len(plan), panel.n_tickers, len(horizon)), np.nan)
        variance = mean.copy()
        failures: dict[tuple[int, int], Failure] = {}
        refits = [fold for fold in range(len(plan)) if plan.new_fit(fold)]
        joints = self._fit_each((_training(log_close, plan, fold) for fold in refits), xp)
        for joint, (first, stop) in zip(joints, pairwise([*refits, len(plan)]), strict=True):
            spread = joint.variance(horizon)
            for fold in range(first, stop):
                end = int(plan.cutoff[fold]) + 1
                start = max(int(plan.context_start[fold]), end - max(joint.n_sessions, 1))
                ahead, missing = joint.mean(log_close[joint.rows, start:end], horizon)
                mean[fold, joint.rows], variance[fold, joint.rows] = ahead, spread
                wrong = {int(joint.rows[n]): why for n, why in _wrong(ahead, spread, missing)}
                gone = np.flatnonzero(np.isnan(log_close[:, end - 1])).tolist()
                absent = dict.fromkeys(gone, _no_price(panel.sessions[end - 1]))
                for row, failure in ({**joint.failures, **wrong, **absent}).items():
                    failures[fold, row] = failure
        return normal_batch(mean, variance, failures)

    def _fit_each(self, histories: Iterable[FloatArray], xp: ModuleType) -> Iterator[Joint]:
        """Yield the joint fit of each history of log prices (M, T), in their order."""
        waiting: list[_Task] = []
        for log_close in histories:
            task = _Task.of(log_close)
            if waiting and not self._goes_with(waiting, task, xp):
                yield from self._fit_alike(waiting, xp)
                waiting = []
            waiting.append(task)
        yield from self._fit_alike(waiting, xp)

    def _goes_with(self, waiting: Sequence[_Task], task: _Task, xp: ModuleType) -> bool:
        """Return whether ``task`` is fitted in one stack with those that wait."""
        settings, shape = self.settings, task.log_close.shape
        if settings.tune or settings.rank == "whitened" or not len(task.rows):
            return False
        if xp is np and isinstance(settings.rank, str):
            return False  # ranks of its own size a fold's matrices, and with them its bits
        room = HOST_BYTES if xp is np else STACK_BYTES
        alike = waiting[0].log_close.shape == shape
        return alike and (len(waiting) + 1) * _stack_bytes(*shape) <= room

    def _fit_alike(self, tasks: Sequence[_Task], xp: ModuleType) -> Iterator[Joint]:
        """Yield the fits of histories of one shape; where that fails, each is fitted alone."""
        if not tasks or not len(tasks[0].rows):
            yield from (_unfitted(task) for task in tasks)
            return
        try:
            fits = list(self._fit_stack(np.stack([task.log_close for task in tasks]), xp))
        except (DataError, np.linalg.LinAlgError) as error:
            if len(tasks) == 1:
                short = isinstance(error, DataError)
                status = Status.TOO_SHORT if short else Status.NOT_CONVERGED
                yield _unfitted(tasks[0], Failure(status, str(error)))
                return
            fits = []
        if not fits or (xp is np and len({fit.rank for fit in fits}) > 1):
            for task in tasks:
                yield from self._fit_alike([task], xp)
            return
        for task, fit in zip(tasks, fits, strict=True):
            yield replace(fit, rows=task.rows, failures=task.failures)

    def _fit_stack(self, log_close: FloatArray, xp: ModuleType) -> Iterator[Joint]:
        """Yield the fits of usable log prices (F, N, T); rows and failures are left open."""
        settings = self.settings
        choice = Choice(settings.rank, settings.shape_ratio, settings.ar_order)
        difference = settings.difference
        n_held_out = (log_close.shape[2] - 1) // 3
        if settings.tune:
            choice, difference = _tuned(log_close[0], n_held_out, xp)
        series = np.diff(log_close, axis=2) if difference else log_close
        final = fit_stack(series, choice, xp=xp)
        innovation = mean_square(final.errors, xp=xp) * final.scale**2
        calibrations: Sequence[Calibration | None] = [None] * len(series)
        if settings.calibrate:
            early = fit_stack(series, choice, n_held_out=n_held_out, n_errors=n_held_out, xp=xp)
            calibrations = calibrate(early, final, n_held_out, cumulative=difference, xp=xp)
        none = np.zeros(0, np.int64)
        for fold, (model, calibration) in enumerate(zip(final.models, calibrations, strict=True)):
            yield Joint(none, {}, model, innovation[fold], calibration, difference)


def array_namespace(engine: Literal["numpy", "cupy"]) -> ModuleType:
    """Return the module that carries the matrix products.

    Raises
    ------
    EngineError
        If ``cupy`` is not installed or sees no card.
    """
    return np if engine == "numpy" else card("samossa: engine cupy", instead="engine numpy")


def _tuned(log_close: FloatArray, n_held_out: int, xp: ModuleType) -> tuple[Choice, bool]:
    """Return the choice and differencing with the least squared one-step error held out.

    Errors of log returns and log prices are alike at one step; each ticker's are taken relative
    to the variance of its log returns. Of equals the first wins, log returns before log prices.
    """
    size = np.nanvar(np.diff(log_close, axis=1), axis=1)
    choices = grid()
    best, least = (choices[0], True), np.inf
    for difference in (True, False):
        series = np.diff(log_close, axis=1) if difference else log_close
        for model in fit_models(series[:, :-n_held_out], choices, xp=xp):
            loss = float(np.nanmean(held_out_squares(model, series, n_held_out) / size))
            if loss < least:
                best, least = (model.choice, difference), loss
    return best


def _training(log_close: FloatArray, plan: FoldPlan, fold: int) -> FloatArray:
    """Return the log prices (M, T) that the fit of ``fold`` may see, holes blanked."""
    start, stop = int(plan.train_start[fold]), int(plan.train_stop[fold])
    seen = log_close[:, start:stop]
    if plan.holes[fold]:
        seen = seen.copy()
        for first, last in plan.holes[fold]:
            seen[:, max(first - start, 0) : max(last - start, 0)] = np.nan
    return seen


def _without_empty_end(log_close: FloatArray) -> FloatArray:
    """Return prices up to the last session on which any ticker has one.

    A train window may end in a stretch that was blanked for every ticker.
    """
    if not np.isnan(log_close[:, -1]).all():
        return log_close
    priced = np.flatnonzero(~np.isnan(log_close).all(axis=0))
    return log_close[:, : priced[-1] + 1] if priced.size else log_close


def _unusable(log_close: FloatArray) -> dict[int, Failure]:
    """Return why rows of log prices (M, T) cannot be part of a joint fit, each by itself."""
    n_sessions = log_close.shape[1]
    returns = np.diff(log_close, axis=1)
    absent = np.isnan(returns)
    n_returns = returns.shape[1] - absent.sum(axis=1)
    needed = max(MIN_RETURNS, int(np.ceil(MIN_SHARE * (n_sessions - 1))))
    highest = np.where(absent, -np.inf, returns).max(axis=1, initial=-np.inf)
    lowest = np.where(absent, np.inf, returns).min(axis=1, initial=np.inf)
    unpriced, short = np.isnan(log_close[:, -1]), n_returns < needed
    failures = {}
    for row in np.flatnonzero(unpriced | short | (highest - lowest <= FLAT)).tolist():
        if unpriced[row]:
            status, reason = Status.NO_PRICE, "no price on the last session of the fit"
        elif short[row]:
            status = Status.TOO_SHORT
            reason = f"{n_returns[row]} log returns in {n_sessions} sessions; {needed} are needed"
        else:
            first = returns[row, ~absent[row]][0]
            status = Status.CONSTANT
            reason = f"all {n_returns[row]} log returns equal {first:.3g}"
        failures[row] = Failure(status, reason)
    return failures


def _no_price(cutoff: np.datetime64) -> Failure:
    return Failure(Status.NO_PRICE, f"no price on the cutoff {cutoff}")


def _wrong(
    mean: FloatArray, variance: FloatArray, missing: BoolArray
) -> Iterator[tuple[int, Failure]]:
    """Yield each of N rows whose moments (N, H) are no forecast, and why."""
    within = (np.abs(mean) <= MAX_LOG_RETURN) & (variance <= MAX_LOG_RETURN**2)
    for n in np.flatnonzero(missing | ~within.all(axis=1)).tolist():
        if missing[n]:
            reason = "a price is missing in the window before the cutoff"
            yield n, Failure(Status.TOO_SHORT, reason)
        elif np.isnan(variance[n]).all():
            reason = "the fit found no window without a missing price"
            yield n, Failure(Status.TOO_SHORT, reason)
        else:
            largest = max(np.abs(mean[n]).max(), np.sqrt(variance[n].max()))
            reason = f"a cumulative log return reaches {largest:.3g}; the limit is {MAX_LOG_RETURN}"
            yield n, Failure(Status.EXPLOSIVE, reason)
