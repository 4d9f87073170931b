"""Stages of the pipeline as the audit sees them: from prices and folds to numbers with a limit.

A stage is handed the *whole* panel, never a history cut for it: where the cut is made is part of
what is audited. ``leaks.choosing`` has the stages that learn from past losses.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol, TypeAlias

import numpy as np

from pmx_ray._typing import FloatArray, IntArray
from pmx_ray.backtest.blocks import scopes_of
from pmx_ray.backtest.runner import forecast_scopes
from pmx_ray.data.panel import Panel
from pmx_ray.features.exogenous import exogenous
from pmx_ray.folds import FoldPlan
from pmx_ray.forecasters.batch import ForecastBatch
from pmx_ray.forecasters.protocol import Status
from pmx_ray.forecasters.registry import ForecasterSpec

Kind: TypeAlias = Literal["feature", "scaler", "forecaster", "ensemble", "tuner", "selector"]

CODES = {status.value: float(n) for n, status in enumerate(Status)}
"""A number for each status, so that a changed status is a changed output."""


@dataclass(frozen=True, slots=True, eq=False)
class Signals:
    """What a stage says of coming returns, fold by fold.

    Attributes
    ----------
    mean : ndarray of shape (F, N, K)
        K statements about the direction; any scale, NaN where there is none.
    steps : tuple of int, length K
        Sessions after the cutoff that each is about.
    variance : ndarray of shape (F, N, K), optional
        Statements about the size, > 0; None where the stage makes none.
    """

    mean: FloatArray
    steps: tuple[int, ...]
    variance: FloatArray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Outputs:
    """What a stage gave: R rows of M columns with C numbers each.

    Attributes
    ----------
    values : ndarray of float or int, shape (R, M, C)
        Compared bit by bit. Integers say that the stage chooses among few alternatives, so that
        one changed future may well leave the choice, and several are tried.
    limits : ndarray of int, shape (R,)
        Last session that each row may depend on; does not decrease.
    columns : tuple of str, length M
        Tickers, or what else a column is.
    signals : Signals, optional
        None where the stage says nothing of returns.
    """

    values: FloatArray | IntArray
    limits: IntArray
    columns: tuple[str, ...]
    signals: Signals | None = None


class Stage(Protocol):
    """A part of the pipeline that the audit can run."""

    @property
    def kind(self) -> Kind:
        """What sort of stage it is."""
        ...

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    def outputs(self, panel: Panel, plan: FoldPlan) -> Outputs:
        """Return the outputs of every fold of a walk-forward plan.

        The panel may end on the last cutoff, where every outcome is still open. The answer
        depends on the arguments alone.
        """
        ...


@dataclass(frozen=True, slots=True)
class ForecasterStage:
    """Forecasts of one spec, as the runner makes them; the forecaster gets the whole panel."""

    spec: ForecasterSpec
    kind: Kind = "forecaster"

    @property
    def name(self) -> str:
        """The spec's label."""
        return self.spec.label

    def outputs(self, panel: Panel, plan: FoldPlan) -> Outputs:
        """Return mean, variance, quantiles and status of every cell."""
        scopes = scopes_of(self.spec, panel)
        batch = forecast_scopes(panel, plan, self.spec, scopes=scopes, seed=0)
        signals = Signals(batch.mean, plan.steps, batch.variance)
        return Outputs(numbers_of(batch), plan.cutoff, panel.tickers, signals)


def numbers_of(batch: ForecastBatch) -> FloatArray:
    """Return everything a batch holds but its reasons as one array of shape (F, M, C)."""
    cells = batch.mean.shape[:2]
    status = np.vectorize(CODES.__getitem__, otypes=[np.float64])(batch.status)
    bands = batch.quantiles.reshape(*cells, -1)
    return np.concatenate([batch.mean, batch.variance, bands, status[..., None]], axis=2)


Columns: TypeAlias = Callable[[Panel], FloatArray]
"""Panel to K features a session, shape (N, T, K) or (N, T), each known at its session's close."""


@dataclass(frozen=True, slots=True)
class FeatureStage:
    """A feature function; the row of the cutoff must not need a later session.

    Attributes
    ----------
    name : str
    compute : callable
        See ``Columns``; with ``ahead`` sessions more on its time axis.
    ahead : int
        The output of a fold is the row so many sessions after its cutoff: 0 for features known at
        the close, more for those that state their value in advance.
    """

    name: str
    compute: Columns
    ahead: int = 0
    kind: Kind = "feature"

    def outputs(self, panel: Panel, plan: FoldPlan) -> Outputs:
        """Return the features of each cutoff."""
        table = self.compute(panel)
        table = table[:, :, None] if table.ndim == 2 else table
        rows = table[:, plan.cutoff + self.ahead].transpose(1, 0, 2).astype(np.float64)
        return Outputs(rows, plan.cutoff, panel.tickers, Signals(rows, (1,) * rows.shape[2]))


def exogenous_stage(name: str, *, n_ahead: int) -> FeatureStage:
    """Return the stage of a registered feature, used as a forecaster of ``n_ahead`` steps does."""
    return FeatureStage(name, partial(_exogenous, name, n_ahead), ahead=n_ahead)


def _exogenous(name: str, n_ahead: int, panel: Panel) -> FloatArray:
    histories = (panel.select((ticker,)) for ticker in panel.tickers)
    columns = [exogenous((name,), h, n_ahead=n_ahead, shift=n_ahead)[:, 0] for h in histories]
    return np.stack(columns)


Scale: TypeAlias = Callable[[FloatArray, slice], FloatArray]
"""Values of shape (N, T) and the train window's sessions, to scaled values of shape (N, T)."""


@dataclass(frozen=True, slots=True)
class ScalerStage:
    """A scaler on log returns, fitted on each fold's train window; its value on the cutoff."""

    name: str
    scale: Scale
    kind: Kind = "scaler"

    def outputs(self, panel: Panel, plan: FoldPlan) -> Outputs:
        """Return the scaled log return of each cutoff."""
        returns = np.diff(np.log(panel.close), axis=1, prepend=np.nan)
        rows = np.empty((len(plan), panel.n_tickers, 1))
        for fold, cutoff in enumerate(plan.cutoff):
            train = slice(int(plan.train_start[fold]), int(plan.train_stop[fold]))
            rows[fold, :, 0] = self.scale(returns, train)[:, cutoff]
        return Outputs(rows, plan.cutoff, panel.tickers, Signals(rows, (1,)))
