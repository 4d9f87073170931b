"""Scores of one spec at one step: its leaderboard row, and its rows by ticker and by cutoff."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pmx_ray._typing import FloatArray
from pmx_ray.backtest.cells import Axes, SpecName
from pmx_ray.backtest.report_types import CUTOFFS_SCHEMA, TICKERS_SCHEMA
from pmx_ray.backtest.resampling import Draws
from pmx_ray.backtest.strategy import Sleeves
from pmx_ray.backtest.tally import Tally
from pmx_ray.stats import measures
from pmx_ray.stats.intervals import NO_INTERVAL, hit_rate_interval, ratio

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
    """Scores any spec at one step from its tally.

    Attributes
    ----------
    axes : Axes
        What the rows and tickers of a tally stand for.
    h : int
        Position on the step axis.
    draws : Draws
        Resamples of this step.
    step_size : int
        Sessions between cutoffs.
    level : float
        Coverage of the intervals.
    min_trades : int
        Fewest trades for which the profit factor gets an interval.
    """

    axes: Axes
    h: int
    draws: Draws
    step_size: int
    level: float
    min_trades: int

    def score(self, spec: SpecName, sums: Tally, *, incomplete: bool) -> Scores:
        """Return the scores of ``spec``, of which ``sums`` is the tally."""
        row = {
            "spec": spec.id,
            "label": spec.label,
            "name": spec.name,
            "step": self._sleeves.step,
            "incomplete": incomplete,
            "rank": 0,
            "n_cells": len(self.axes.cutoff) * len(self.axes.tickers),
            "n_scored": sums.count("scored"),
            "n_failed": sums.count("failed"),
            "n_common": sums.count("used"),
            "n_cutoffs": self.draws.n_cutoffs(sums.by_row["used"]),
            **_averages(sums),
            "tracking_error": sums.tracking_error,
            **self._hit_rate(sums),
            **self._skills(sums),
            **self._profit(sums),
            **self._path(sums.by_row["net_return"]),
        }
        return Scores(
            {name: none_if_nan(value) for name, value in row.items()},
            self._tickers(spec, sums.by_ticker),
            self._cutoffs(spec, sums.by_row),
        )

    @property
    def _sleeves(self) -> Sleeves:
        return Sleeves(self.axes.steps[self.h], self.step_size)

    def _hit_rate(self, sums: Tally) -> Row:
        low, high = hit_rate_interval(
            self.draws.per_cutoff(sums.by_row["hits"]),
            self.draws.per_cutoff(sums.by_row["n_hits"]),
            self.draws.counts,
            level=self.level,
        )
        return {
            "n_directional": sums.count("n_hits"),
            "hit_rate": sums.mean("hits"),
            "hit_rate_low": low,
            "hit_rate_high": high,
        }

    def _skills(self, sums: Tally) -> Row:
        row: Row = {}
        for name, loss in SKILLS.items():
            sides = sums.by_row[loss], sums.by_row[f"base_{loss}"]
            drawn = skill(name, *map(self.draws.resampled, sides))
            low, high = self.draws.interval(drawn, sums.by_row[f"n_{loss}"], level=self.level)
            row[name] = float(skill(name, *(np.asarray(side.sum()) for side in sides)))
            row[f"{name}_low"], row[f"{name}_high"] = low, high
        return row

    def _profit(self, sums: Tally) -> Row:
        """Return the profit factor; over all splits, as it needs no order in time."""
        gains, losses = sums.by_row["gains"], sums.by_row["losses"]
        low, high = NO_INTERVAL
        if sums.count("trades") >= self.min_trades:
            won, lost = self.draws.resampled(gains), self.draws.resampled(losses)
            factor = np.where((lost == 0.0) & (won > 0.0), np.inf, ratio(won, lost))
            low, high = self.draws.interval(factor, sums.by_row["n_returns"], level=self.level)
        return {
            "n_trades": sums.count("trades"),
            "profit_factor": measures.profit_factor(np.array([gains.sum(), -losses.sum()])),
            "profit_factor_low": low,
            "profit_factor_high": high,
        }

    def _path(self, returns: FloatArray) -> Row:
        """Return the measures of a walk through time; NaN for a combinatorial plan."""
        names = ("max_drawdown_frac", "net_return", "sharpe_annual", "volatility_adjusted_return")
        sleeves = self._sleeves
        if not self.axes.is_path or np.isnan(returns).all():
            return dict.fromkeys(names, np.nan)
        equity, a_year = sleeves.equity(returns), sleeves.periods_per_year
        figures = (
            float(measures.drawdown_frac(equity).max()),
            float(equity[-1]) - 1.0,
            measures.sharpe_annual(returns, periods_per_year=a_year),
            measures.volatility_adjusted_return(returns, periods_per_year=a_year),
        )
        return dict(zip(names, figures, strict=True))

    def _tickers(self, spec: SpecName, sums: Mapping[str, FloatArray]) -> pa.Table:
        columns = {
            "ticker": np.array(self.axes.tickers, dtype=object),
            "n_scored": sums["scored"],
            "n_failed": sums["failed"],
            "n_common": sums["used"],
            "rmse": np.sqrt(_means(sums, "squared_error")),
            "qlike": _means(sums, "qlike"),
            "crps": _means(sums, "crps"),
            **{
                name: skill(name, sums[loss], sums[f"base_{loss}"]) for name, loss in SKILLS.items()
            },
        }
        return self._table(spec, columns, TICKERS_SCHEMA)

    def _cutoffs(self, spec: SpecName, sums: Mapping[str, FloatArray]) -> pa.Table:
        returns = sums["net_return"]
        equity = np.full(len(returns), np.nan)
        drawdown = equity
        if self.axes.is_path and not np.isnan(returns).all():
            equity, drawdown = self._sleeves.equity(returns), self._sleeves.drawdown_frac(returns)
        columns = {
            "split": self.axes.split,
            "cutoff": self.axes.cutoff,
            "n_scored": sums["scored"],
            "n_common": sums["used"],
            "mse": _means(sums, "squared_error"),
            "qlike": _means(sums, "qlike"),
            "crps": _means(sums, "crps"),
            "net_return": returns,
            "equity": equity,
            "drawdown_frac": drawdown,
        }
        return self._table(spec, columns, CUTOFFS_SCHEMA)

    def _table(
        self, spec: SpecName, columns: Mapping[str, npt.NDArray[np.generic]], schema: pa.Schema
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


T = TypeVar("T")


def none_if_nan(value: T) -> T | None:
    """Return ``value``, or None if it is NaN."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _averages(sums: Tally) -> Row:
    return {
        "n_qlike": sums.count("n_qlike"),
        "rmse": math.sqrt(sums.mean("squared_error")),
        "mae": sums.mean("absolute_error"),
        **{name: sums.mean(name) for name in ("smape", "qlike", "crps", "pinball")},
        "coverage_50": sums.mean("inside_50"),
        "coverage_90": sums.mean("inside_90"),
    }


def _means(sums: Mapping[str, FloatArray], loss: str) -> FloatArray:
    """Return the means behind sums; NaN where nothing is known."""
    return ratio(sums[loss], sums[f"n_{loss}"])


def skill(name: str, own: FloatArray, base: FloatArray) -> FloatArray:
    """Return 1 - own / base of summed losses over the same cells; for the RMSE of their roots."""
    share = ratio(own, base)
    return 1.0 - (np.sqrt(share) if name == "skill_rmse" else share)
