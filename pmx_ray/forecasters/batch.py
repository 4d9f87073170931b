"""Forecasts of many folds at once: the seam that a batched kernel fills.

A forecaster may offer a ``forecast_folds`` of its own; where it does not, ``forecast_folds`` here
walks the folds with fit, extend and forecast. Both forms give the same batch.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from pmx_ray._typing import FloatArray, frozen
from pmx_ray.data.panel import Panel
from pmx_ray.errors import DataError, EngineError
from pmx_ray.folds import FoldPlan
from pmx_ray.forecasters.defects import note_traceback
from pmx_ray.forecasters.protocol import (
    QUANTILE_LEVELS,
    FailedFit,
    Failure,
    FittedForecaster,
    Forecast,
    Forecaster,
    Outcome,
    Status,
)

MACHINE_ERRORS = (MemoryError, OSError, EngineError)
"""What says something of the machine and nothing of the model: never a row, since a row is kept and
served wherever the same block is wanted again. The executor retries the block or ends the run."""

RngAt: TypeAlias = Callable[[int], np.random.Generator]
"""Fold to the generator of the fit that serves it; a pure function of seed, spec, tickers, fit."""


@dataclass(frozen=True, slots=True, eq=False)
class ForecastBatch:
    """Outcomes of F folds for M tickers over H steps; NaN where the status is not ``ok``.

    Attributes
    ----------
    mean, variance : ndarray of shape (F, M, H)
        As in ``Forecast``.
    quantiles : ndarray of shape (F, M, Q, H)
        At ``QUANTILE_LEVELS``.
    status : ndarray of str, shape (F, M)
        Values of ``Status``.
    reasons : mapping of (fold, ticker) positions to str
        Why a cell failed, in words.
    """

    mean: FloatArray
    variance: FloatArray
    quantiles: FloatArray
    status: npt.NDArray[np.str_]
    reasons: Mapping[tuple[int, int], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("mean", "variance", "quantiles"):
            object.__setattr__(self, name, frozen(getattr(self, name), np.float64))
        n_folds, n_tickers, n_steps = self.mean.shape
        if self.variance.shape != self.mean.shape or self.status.shape != (n_folds, n_tickers):
            raise DataError("variance must be shaped as mean, and status (F, M)")
        if self.quantiles.shape != (n_folds, n_tickers, len(QUANTILE_LEVELS), n_steps):
            raise DataError(f"quantiles have shape {self.quantiles.shape}; it must be (F, M, Q, H)")
        ok = self.status == Status.OK
        finite = np.isfinite(self.mean) & np.isfinite(self.variance) & (self.variance > 0)
        if not finite[ok].all():
            raise DataError("a cell with the status ok needs a finite mean and a variance > 0")
        bands = self.quantiles[ok]
        if not np.isfinite(bands).all() or (np.diff(bands, axis=1) < 0).any():
            raise DataError("a cell with the status ok needs finite quantiles that do not cross")
        unknown = set() if ok.all() else set(np.unique(self.status[~ok])) - set(Status)
        if unknown:
            raise DataError(f"status '{unknown.pop()}' is unknown; known: {', '.join(Status)}")

    @classmethod
    def beside(cls, batches: Sequence["ForecastBatch"]) -> "ForecastBatch":
        """Return batches of the same folds and steps as one, their tickers side by side."""
        if len(batches) == 1:
            return batches[0]
        columns = np.cumsum([0, *(batch.mean.shape[1] for batch in batches)]).tolist()
        return cls(
            np.concatenate([batch.mean for batch in batches], axis=1),
            np.concatenate([batch.variance for batch in batches], axis=1),
            np.concatenate([batch.quantiles for batch in batches], axis=1),
            np.concatenate([batch.status for batch in batches], axis=1),
            {
                (fold, column + ticker): reason
                for column, batch in zip(columns, batches, strict=False)
                for (fold, ticker), reason in batch.reasons.items()
            },
        )

    def taken(self, columns: Sequence[int]) -> "ForecastBatch":
        """Return the batch of the tickers at ``columns``, in that order."""
        if list(columns) == list(range(self.mean.shape[1])):
            return self
        place = {column: n for n, column in enumerate(columns)}
        return ForecastBatch(
            self.mean[:, columns],
            self.variance[:, columns],
            self.quantiles[:, columns],
            self.status[:, columns],
            {(f, place[m]): reason for (f, m), reason in self.reasons.items() if m in place},
        )


@runtime_checkable
class BatchedForecaster(Protocol):
    """A forecaster with a kernel that serves all folds of a plan in one call."""

    def forecast_folds(self, panel: Panel, plan: FoldPlan, rng_at: RngAt) -> ForecastBatch:
        """Return what fit, extend and forecast would, fold by fold.

        A forecaster of scope ``ticker`` is handed the tickers of many scopes at once. It treats
        each on its own: the bits of a ticker depend neither on which others stand beside it nor on
        how many.
        """
        ...


def forecast_folds(
    forecaster: Forecaster, panel: Panel, plan: FoldPlan, rng_at: RngAt
) -> ForecastBatch:
    """Forecast every fold of ``plan`` for every ticker of ``panel``.

    Parameters
    ----------
    forecaster : Forecaster
        If it is a ``BatchedForecaster``, its own kernel serves.
    panel : Panel
        The tickers of one scope; of any number of scopes if it is a ``BatchedForecaster`` of
        scope ``ticker``.
    plan : FoldPlan
        Folds over the panel's sessions.
    rng_at : callable
        Fold to the generator its fit may draw from.
    """
    if isinstance(forecaster, BatchedForecaster):
        return _all_at_once(forecaster, panel, plan, rng_at)
    return gather(list(_walk(forecaster, panel, plan, rng_at)), plan.steps, panel.n_tickers)


def _all_at_once(
    forecaster: BatchedForecaster, panel: Panel, plan: FoldPlan, rng_at: RngAt
) -> ForecastBatch:
    shape = (len(plan), panel.n_tickers, len(plan.steps))
    try:
        batch = forecaster.forecast_folds(panel, plan, rng_at)
        if batch.mean.shape != shape:
            raise DataError(f"the batch has shape {batch.mean.shape}; it must be {shape}")
    except MACHINE_ERRORS:
        raise
    except Exception as error:  # noqa: BLE001 - becomes rows that name ticker, spec and cutoff
        if panel.n_tickers > 1 and getattr(forecaster, "scope", None) == "ticker":
            # One ticker's defect must not cost the others that share its block.
            alone = (panel.select((ticker,)) for ticker in panel.tickers)
            return ForecastBatch.beside([_all_at_once(forecaster, p, plan, rng_at) for p in alone])
        row = (_defect("forecast_folds", error),) * panel.n_tickers
        return gather([row] * len(plan), plan.steps, panel.n_tickers)
    return batch


def _walk(
    forecaster: Forecaster, panel: Panel, plan: FoldPlan, rng_at: RngAt
) -> Iterator[tuple[Outcome, ...]]:
    fitted: FittedForecaster = FailedFit(Failure(Status.ERROR, "no fit was made"))
    for fold in range(len(plan)):
        if plan.new_fit(fold):
            fitted = _fit(forecaster, plan.training(panel, fold), rng_at(fold))
        yield _forecast(fitted, plan.context(panel, fold), plan.steps)


def _fit(forecaster: Forecaster, history: Panel, rng: np.random.Generator) -> FittedForecaster:
    try:
        return forecaster.fit(history, rng=rng)
    except MACHINE_ERRORS:
        raise
    except Exception as error:  # noqa: BLE001 - becomes rows that name ticker, spec and cutoff
        return FailedFit(_defect("fit", error), history.n_tickers)


def _forecast(
    fitted: FittedForecaster, context: Panel, steps: tuple[int, ...]
) -> tuple[Outcome, ...]:
    try:
        return _checked(fitted.extend(context).forecast(steps), context.n_tickers, len(steps))
    except MACHINE_ERRORS:
        raise
    except Exception as error:  # noqa: BLE001 - becomes rows that name ticker, spec and cutoff
        return (_defect("forecast", error),) * context.n_tickers


def _checked(outcomes: tuple[Outcome, ...], n_tickers: int, n_steps: int) -> tuple[Outcome, ...]:
    """Return the outcomes if they are one a ticker, each a failure or a forecast of all steps."""
    if len(outcomes) != n_tickers:
        raise DataError(f"forecast gave {len(outcomes)} outcomes for {n_tickers} tickers")
    for outcome in outcomes:
        if isinstance(outcome, Forecast):
            if len(outcome.mean) != n_steps:
                raise DataError(f"a forecast has {len(outcome.mean)} steps; {n_steps} were asked")
        elif not isinstance(outcome, Failure):
            raise DataError(f"an outcome is a {type(outcome).__name__}, no Forecast or Failure")
    return outcomes


def _defect(where: str, error: Exception) -> Failure:
    detail = " ".join(str(error).split())[:200]
    reason = f"{where} raised {type(error).__name__}: {detail}"
    note_traceback(reason, error)
    return Failure(Status.ERROR, reason)


def assemble(
    mean: FloatArray,
    variance: FloatArray,
    quantiles: FloatArray,
    failures: Mapping[tuple[int, int], Failure],
) -> ForecastBatch:
    """Return the batch of arrays and of the cells that failed.

    Parameters
    ----------
    mean, variance : ndarray of shape (F, M, H)
        Taken over, and set to NaN in the cells that failed.
    quantiles : ndarray of shape (F, M, Q, H)
        Likewise.
    failures : mapping of (fold, ticker) positions to Failure
        Every cell without a forecast.
    """
    status = np.full(mean.shape[:2], Status.OK.value, dtype="<U16")
    for cell, failure in failures.items():
        mean[cell] = variance[cell] = quantiles[cell] = np.nan
        status[cell] = failure.status.value
    reasons = {cell: failure.reason for cell, failure in failures.items()}
    return ForecastBatch(mean, variance, quantiles, status, reasons)


def gather(
    outcomes: list[tuple[Outcome, ...]], steps: tuple[int, ...], n_tickers: int
) -> ForecastBatch:
    """Return F rows of M outcomes as one batch."""
    shape = (len(outcomes), n_tickers, len(steps))
    mean, variance = np.full(shape, np.nan), np.full(shape, np.nan)
    quantiles = np.full((*shape[:2], len(QUANTILE_LEVELS), shape[2]), np.nan)
    status = np.full(shape[:2], Status.OK.value, dtype="<U16")
    reasons: dict[tuple[int, int], str] = {}
    for fold, row in enumerate(outcomes):
        for ticker, outcome in enumerate(row):
            match outcome:
                case Forecast():
                    mean[fold, ticker] = outcome.mean
                    variance[fold, ticker] = outcome.variance
                    quantiles[fold, ticker] = outcome.bands
                case Failure():
                    status[fold, ticker] = outcome.status.value
                    reasons[fold, ticker] = outcome.reason
    return ForecastBatch(mean, variance, quantiles, status, reasons)
