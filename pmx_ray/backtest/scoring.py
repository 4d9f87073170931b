"""Scores of one spec at one step: its leaderboard row, and its rows by ticker and by cutoff."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pmx_ray._typing import BoolArray, FloatArray
from pmx_ray.backtest.cells import Cells, SpecCells
from pmx_ray.backtest.report_types import CUTOFFS_SCHEMA, TICKERS_SCHEMA
from pmx_ray.backtest.resampling import Draws
from pmx_ray.backtest.strategy import Sleeves, Trades, TradingRule
from pmx_ray.stats import measures
from pmx_ray.stats.intervals import NO_INTERVAL, Interval, hit_rate_interval, ratio
from pmx_ray.stats.losses import tracking_error

SKILLS = {"skill_rmse": "squared_error", "skill_qlike": "qlike"}
"""Each skill and the loss behind it."""

Row: TypeAlias = dict[str, str | int | float | bool | None]


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What one spec got at one step: ``row`` of the leaderboard, and the two finer tables."""

    row: Row
    tickers: pa.Table
    cutoffs: pa.Table


@dataclass(frozen=True, slots=True, eq=False)
class Scorer:
    """Scores any spec on the common cells of one step.

    Attributes
    ----------
    cells : Cells
        All specs.
    h : int
        Position on the step axis.
    baseline : mapping of str to ndarray of shape (F, N)
        Losses of the spec that skill is measured against, on the common cells.
    common : ndarray of bool, shape (F, N)
        Cells that figures are taken over.
    draws : Draws
        Resamples of this step.
    rule : TradingRule
        How forecasts are traded.
    step_size : int
        Sessions between cutoffs.
    level : float
        Coverage of the intervals.
    min_trades : int
        Fewest trades for which the profit factor gets an interval.
    """

    cells: Cells
    h: int
    baseline: Mapping[str, FloatArray]
    common: BoolArray
    draws: Draws
    rule: TradingRule
    step_size: int
    level: float
    min_trades: int

    def score(self, spec: SpecCells, *, incomplete: bool) -> Scores:
        """Return the scores of ``spec``."""
        scored = self.cells.scored(spec)[..., self.h]
        failed = spec.failed[..., self.h]
        used = self.common & scored
        own = self.cells.losses(spec, self.h, used)
        base = {name: np.where(used, self.baseline[name], np.nan) for name in SKILLS.values()}
        mean, actual = self._compared(spec.mean, used), self._compared(self.cells.actual, used)
        trades = self.rule.trade(mean, actual)
        row = {
            "spec": spec.id,
            "label": spec.label,
            "name": spec.name,
            "step": self._sleeves.step,
            "incomplete": incomplete,
            "rank": 0,
            "n_cells": used.size,
            "n_scored": int(scored.sum()),
            "n_failed": int(failed.sum()),
            "n_common": int(used.sum()),
            "n_cutoffs": self.draws.n_cutoffs(used),
            **_averages(own),
            "tracking_error": tracking_error(actual, mean),
            **self._hit_rate(own["hits"]),
            **self._skills(own, base),
            **self._profit(trades),
            **self._path(trades),
        }
        return Scores(
            {name: none_if_nan(value) for name, value in row.items()},
            self._tickers(spec, own, base, scored, failed),
            self._cutoffs(spec, own, scored, trades),
        )

    @property
    def _sleeves(self) -> Sleeves:
        return Sleeves(self.cells.axes.steps[self.h], self.step_size)

    def _compared(self, grid: FloatArray, used: BoolArray) -> FloatArray:
        return np.where(used, grid[..., self.h], np.nan)

    def _hit_rate(self, hits: FloatArray) -> Row:
        low, high = hit_rate_interval(
            self.draws.per_cutoff(hits),
            self.draws.per_cutoff(_known(hits).astype(np.float64)),
            self.draws.counts,
            level=self.level,
        )
        return {
            "n_directional": int(_known(hits).sum()),
            "hit_rate": _mean(hits),
            "hit_rate_low": low,
            "hit_rate_high": high,
        }

    def _skills(self, own: Mapping[str, FloatArray], base: Mapping[str, FloatArray]) -> Row:
        row: Row = {}
        for name, loss in SKILLS.items():
            drawn = _skill(name, *(self.draws.resampled(side[loss]) for side in (own, base)))
            low, high = self.draws.interval(drawn, _known(own[loss]), level=self.level)
            totals = (np.asarray(np.nansum(side[loss])) for side in (own, base))
            row[name] = float(_skill(name, *totals))
            row[f"{name}_low"], row[f"{name}_high"] = low, high
        return row

    def _profit(self, trades: Trades) -> Row:
        """Return the profit factor; over all splits, as it needs no order in time."""
        taken = trades.returns[trades.taken]
        low, high = NO_INTERVAL
        if len(taken) >= self.min_trades:
            low, high = self._profit_interval(trades)
        return {
            "n_trades": len(taken),
            "profit_factor": measures.profit_factor(taken),
            "profit_factor_low": low,
            "profit_factor_high": high,
        }

    def _profit_interval(self, trades: Trades) -> Interval:
        gains = self.draws.resampled(np.maximum(trades.returns, 0.0))
        losses = self.draws.resampled(np.maximum(-trades.returns, 0.0))
        factor = np.where((losses == 0.0) & (gains > 0.0), np.inf, ratio(gains, losses))
        return self.draws.interval(factor, _known(trades.returns), level=self.level)

    def _path(self, trades: Trades) -> Row:
        """Return the measures of a walk through time; NaN for a combinatorial plan."""
        names = ("max_drawdown_frac", "net_return", "sharpe_annual", "volatility_adjusted_return")
        returns, sleeves = trades.by_cutoff, self._sleeves
        if not self.cells.axes.is_path or np.isnan(returns).all():
            return dict.fromkeys(names, np.nan)
        equity, a_year = sleeves.equity(returns), sleeves.periods_per_year
        figures = (
            float(measures.drawdown_frac(equity).max()),
            float(equity[-1]) - 1.0,
            measures.sharpe_annual(returns, periods_per_year=a_year),
            measures.volatility_adjusted_return(returns, periods_per_year=a_year),
        )
        return dict(zip(names, figures, strict=True))

    def _tickers(
        self,
        spec: SpecCells,
        own: Mapping[str, FloatArray],
        base: Mapping[str, FloatArray],
        scored: BoolArray,
        failed: BoolArray,
    ) -> pa.Table:
        tickers = self.cells.axes.tickers
        skills = {
            name: _skill(name, np.nansum(own[loss], axis=0), np.nansum(base[loss], axis=0))
            for name, loss in SKILLS.items()
        }
        columns = {
            "ticker": np.array(tickers, dtype=object),
            "n_scored": scored.sum(axis=0),
            "n_failed": failed.sum(axis=0),
            "n_common": _known(own["squared_error"]).sum(axis=0),
            "rmse": np.sqrt(_means(own["squared_error"], axis=0)),
            "qlike": _means(own["qlike"], axis=0),
            "crps": _means(own["crps"], axis=0),
            **skills,
        }
        return self._table(spec, columns, TICKERS_SCHEMA)

    def _cutoffs(
        self, spec: SpecCells, own: Mapping[str, FloatArray], scored: BoolArray, trades: Trades
    ) -> pa.Table:
        axes, returns = self.cells.axes, trades.by_cutoff
        equity = np.full(len(returns), np.nan)
        drawdown = equity
        if axes.is_path and not np.isnan(returns).all():
            equity, drawdown = self._sleeves.equity(returns), self._sleeves.drawdown_frac(returns)
        columns = {
            "split": axes.split,
            "cutoff": axes.cutoff,
            "n_scored": scored.sum(axis=1),
            "n_common": _known(own["squared_error"]).sum(axis=1),
            "mse": _means(own["squared_error"], axis=1),
            "qlike": _means(own["qlike"], axis=1),
            "crps": _means(own["crps"], axis=1),
            "net_return": returns,
            "equity": equity,
            "drawdown_frac": drawdown,
        }
        return self._table(spec, columns, CUTOFFS_SCHEMA)

    def _table(
        self, spec: SpecCells, columns: Mapping[str, npt.NDArray[np.generic]], schema: pa.Schema
    ) -> pa.Table:
        size = len(columns["n_scored"])
        fixed = {"spec": spec.id, "label": spec.label, "step": self._sleeves.step}
        arrays = {
            **{name: pa.repeat(pa.scalar(value, schema.field(name).type), size)
               for name, value in fixed.items()},
            **{name: pa.array(values, schema.field(name).type, from_pandas=True)
               for name, values in columns.items()},
        }  # fmt: skip
        return pa.table({name: arrays[name] for name in schema.names}, schema)


def none_if_nan(value: str | int | float | bool | None) -> str | int | float | bool | None:
    """Return ``value``, or None if it is NaN."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _averages(own: Mapping[str, FloatArray]) -> Row:
    return {
        "n_qlike": int(_known(own["qlike"]).sum()),
        "rmse": math.sqrt(_mean(own["squared_error"])),
        "mae": _mean(own["absolute_error"]),
        "smape": _mean(own["smape"]),
        "qlike": _mean(own["qlike"]),
        "crps": _mean(own["crps"]),
        "pinball": _mean(own["pinball"]),
        "coverage_50": _mean(own["inside_50"]),
        "coverage_90": _mean(own["inside_90"]),
    }


def _known(values: FloatArray) -> BoolArray:
    return ~np.isnan(values)


def _mean(values: FloatArray) -> float:
    known = values[_known(values)]
    return float(known.mean()) if len(known) else math.nan


def _means(values: FloatArray, *, axis: int) -> FloatArray:
    """Return means along ``axis``; NaN where nothing is known."""
    return ratio(np.nansum(values, axis=axis), _known(values).sum(axis=axis).astype(np.float64))


def _skill(name: str, own: FloatArray, base: FloatArray) -> FloatArray:
    """Return 1 - own / base of summed losses over the same cells; for the RMSE of their roots."""
    share = ratio(own, base)
    return 1.0 - (np.sqrt(share) if name == "skill_rmse" else share)
