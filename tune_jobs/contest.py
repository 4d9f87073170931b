"""What every configuration of a search is scored on: tuning folds, and the random walk there."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pmx_ray._typing import FloatArray, IntArray, frozen
from pmx_ray.backtest.blocks import scopes_of
from pmx_ray.backtest.cells import collect
from pmx_ray.backtest.runner import frame_of
from pmx_ray.backtest.settings import BASELINE
from pmx_ray.backtest.strategy import TradingRule
from pmx_ray.data.panel import Panel
from pmx_ray.errors import DataError
from pmx_ray.folds import FoldPlan, folds_of
from pmx_ray.forecasters.protocol import Status
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.kernels.compiling import seconds_compiling
from tune_jobs.rungs import Run, cut_rungs
from tune_jobs.settings import Loss, TuneSettings


def relative_loss(own: FloatArray, base: FloatArray) -> float:
    """Return the loss over that of the random walk, averaged over the steps; lower is better.

    Parameters
    ----------
    own, base : ndarray of shape (C, H)
        Sums of both losses over the same cells of each cutoff.

    Returns
    -------
    float
        1 where both are as good; NaN where a step has no loss of the random walk.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return float((own.sum(axis=0) / base.sum(axis=0)).mean())


@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """What a configuration got on some folds.

    Attributes
    ----------
    fold : ndarray of int, shape (C,)
        Folds of the tuning plan.
    own, base : ndarray of shape (C, H)
        Sums of the loss over the tickers that both it and the random walk forecast.
    net_return : ndarray of shape (C, H)
        Of the trading rule; NaN where there was no forecast.
    n_failed, n_cells : int
        Cells without a forecast, of how many.
    fit_s : float
        Seconds of one core that forecasting took, compiling apart.
    """

    fold: IntArray
    own: FloatArray
    base: FloatArray
    net_return: FloatArray
    n_failed: int
    n_cells: int
    fit_s: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "fold", frozen(self.fold, np.int64))
        for name in ("own", "base", "net_return"):
            object.__setattr__(self, name, frozen(getattr(self, name), np.float64))

    @classmethod
    def joined(cls, parts: Iterable["Score"]) -> "Score":
        """Return the score on the folds of all parts, in the order of time."""
        parts = list(parts)
        fold = np.concatenate([part.fold for part in parts])
        order = np.argsort(fold)
        arrays = {
            name: np.concatenate([getattr(part, name) for part in parts])[order]
            for name in ("own", "base", "net_return")
        }
        return cls(
            fold=fold[order],
            **arrays,
            n_failed=sum(part.n_failed for part in parts),
            n_cells=sum(part.n_cells for part in parts),
            fit_s=sum(part.fit_s for part in parts),
        )

    @property
    def loss(self) -> float:
        """See ``relative_loss``."""
        return relative_loss(self.own, self.base)

    @property
    def failed_frac(self) -> float:
        """Share of the cells without a forecast."""
        return self.n_failed / self.n_cells


@dataclass(frozen=True, slots=True, eq=False)
class Contest:
    """The tuning partition, cut into rungs, with the forecasts of the random walk.

    Attributes
    ----------
    panel : Panel
        Sessions up to the last that a tuning fold scores; no later one.
    plan : FoldPlan
        The tuning partition.
    rungs : tuple of tuple of (first, stop)
        Runs of folds that each rung adds.
    base : mapping of (first, stop) to pyarrow.Table
        Frame of the random walk over each run.
    loss : str
        What is lowered.
    rule : TradingRule
        What turns forecasts into returns, for the ledger.
    seed : int
        Root of every generator a fit may draw from.
    """

    panel: Panel
    plan: FoldPlan
    rungs: tuple[tuple[Run, ...], ...]
    base: Mapping[Run, pa.Table]
    loss: Loss
    rule: TradingRule
    seed: int

    def score(self, spec: ForecasterSpec, rung: int) -> Score:
        """Return what ``spec`` gets on the folds that ``rung`` adds."""
        return Score.joined(self._score(spec, run) for run in self.rungs[rung])

    def whole(self, spec: ForecasterSpec) -> Score:
        """Return what ``spec`` gets on every tuning fold."""
        return Score.joined(self.score(spec, rung) for rung in range(len(self.rungs)))

    def _score(self, spec: ForecasterSpec, run: Run) -> Score:
        started, compiled = time.perf_counter(), seconds_compiling()
        table = forecasts(self.panel, self.plan, spec, run=run, seed=self.seed)
        fit_s = time.perf_counter() - started - (seconds_compiling() - compiled)
        cells = collect([(_BASE, self.base[run]), (spec, table)])
        base, own = cells.spec(_BASE.id), cells.spec(spec.id)
        common = cells.common({base.id, own.id})
        own_sums, base_sums, returns = [], [], []
        for h in range(len(self.plan.steps)):
            used = common[..., h]
            own_sums.append(np.nansum(cells.losses(own, h, used)[self.loss], axis=1))
            base_sums.append(np.nansum(cells.losses(base, h, used)[self.loss], axis=1))
            mean = np.where(used, own.mean[..., h], np.nan)
            returns.append(self.rule.trade(mean, cells.actual[..., h]).by_cutoff)
        return Score(
            fold=np.arange(*run),
            own=np.stack(own_sums, axis=1),
            base=np.stack(base_sums, axis=1),
            net_return=np.stack(returns, axis=1),
            n_failed=int((own.failed & ~base.failed).sum()),
            n_cells=int((~base.failed).sum()),
            fit_s=max(fit_s, 0.0),
        )


_BASE = ForecasterSpec.parse({"name": BASELINE})


def forecasts(
    panel: Panel, plan: FoldPlan, spec: ForecasterSpec, *, run: Run, seed: int
) -> pa.Table:
    """Return the frame of ``spec`` over a run of folds: the rows that a sweep's blocks hold."""
    return frame_of(panel, plan[slice(*run)], spec, scopes=scopes_of(spec, panel), seed=seed)


def _serves(table: pa.Table, steps: tuple[int, ...]) -> bool:
    """Return whether a frame holds a forecast with an outcome at every step."""
    fine = pc.and_(pc.equal(table["status"], Status.OK.value), pc.is_finite(table["actual"]))
    return set(pc.unique(table.filter(fine)["step"]).to_pylist()) == set(steps)


def tuning_partition(panel: Panel, settings: TuneSettings) -> tuple[Panel, FoldPlan]:
    """Return the sessions that a search may see, and the tuning folds over them.

    Parameters
    ----------
    panel : Panel
        Sessions after ``folds.tuning_end`` are cut off before folds are laid.
    settings : TuneSettings
        The search's.

    Raises
    ------
    SettingsError
        If no fold fits.
    """
    last = np.datetime64(str(settings.folds.tuning_end))
    seen = panel.window(0, int(np.searchsorted(panel.sessions, last, side="right")))
    plan = folds_of(seen, settings.folds)
    return seen.window(0, plan.last_read + 1), plan


def open_contest(panel: Panel, plan: FoldPlan, settings: TuneSettings) -> Contest:
    """Return the contest on a tuning partition; forecasts the random walk on all of it.

    Raises
    ------
    DataError
        If the random walk has no forecast at all.
    """
    rungs = cut_rungs(
        plan,
        n_chunks=settings.n_chunks,
        n_rungs=settings.n_rungs,
        reduction=settings.reduction,
    )
    base = {
        run: forecasts(panel, plan, _BASE, run=run, seed=settings.seed)
        for run in (run for rung in rungs for run in rung)
    }
    served = {run for run, table in base.items() if _serves(table, plan.steps)}
    if not served:
        raise DataError("the random walk has no forecast on any tuning fold; check the prices")
    # A run of folds without a price to forecast says nothing of any configuration.
    kept = tuple(tuple(run for run in rung if run in served) for rung in rungs)
    rungs = tuple(rung for rung in kept if rung)
    rule = settings.evaluation.rule
    return Contest(panel, plan, rungs, base, settings.loss, rule, settings.seed)
