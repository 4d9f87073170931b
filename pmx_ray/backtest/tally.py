"""What is kept of the cells of one spec at one step: sums by cutoff and by ticker.

Every figure of an evaluation is a function of these sums, so cells may come a run of folds at a
time and be let go: what stays grows by a few numbers a fold, whatever the number of tickers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pmx_ray._typing import BoolArray, FloatArray
from pmx_ray.backtest.cells import Cells, SpecCells
from pmx_ray.backtest.strategy import TradingRule
from pmx_ray.stats.intervals import ratio

BASE = ("squared_error", "qlike")
"""Losses of the baseline that skill is measured by."""

BY_TICKER = ("squared_error", "qlike", "crps")
"""Losses that are stated ticker by ticker."""


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Sums over the cells of F rows (split, cutoff) and N tickers.

    Attributes
    ----------
    by_row : mapping of str to ndarray of shape (F,)
        Sums over the tickers: each loss, with ``n_<loss>`` the cells that have one,
        ``base_<loss>`` the baseline's on the same cells, ``scored``, ``failed`` and ``used`` cells,
        ``gains`` and ``losses`` of trades (both >= 0), ``trades``, ``n_returns``; and
        ``net_return``, ``error_mean`` and ``error_squares``, the mean return, the mean forecast
        error and the sum of squares about it.
    by_ticker : mapping of str to ndarray of shape (N,)
        Sums over the rows: the losses of ``BY_TICKER`` with their counts, the baseline's, and
        ``scored``, ``failed`` and ``used``.
    """

    by_row: Mapping[str, FloatArray]
    by_ticker: Mapping[str, FloatArray]

    @classmethod
    def joined(cls, parts: Sequence["Tally"]) -> "Tally":
        """Return the tally of rows that came in parts, one after the other."""
        return cls(
            {
                name: np.concatenate([part.by_row[name] for part in parts])
                for name in parts[0].by_row
            },
            {
                name: np.sum([part.by_ticker[name] for part in parts], axis=0)
                for name in parts[0].by_ticker
            },
        )

    def mean(self, name: str) -> float:
        """Return the mean of a loss over every cell that has one; NaN where none does."""
        count = self.by_row[f"n_{name}"].sum()
        return float(self.by_row[name].sum() / count) if count else np.nan

    def count(self, name: str) -> int:
        """Return the sum of a count over the rows."""
        return int(self.by_row[name].sum())

    @property
    def tracking_error(self) -> float:
        """Standard deviation of the forecast error over all cells, from each row's moments."""
        n, mean = self.by_row["n_squared_error"], self.by_row["error_mean"]
        total = n.sum()
        if total < 2:
            return np.nan
        known = n > 0
        overall = (n[known] @ mean[known]) / total
        between = n[known] @ (mean[known] - overall) ** 2
        return float(np.sqrt((self.by_row["error_squares"].sum() + between) / (total - 1)))


def tally(
    cells: Cells,
    spec: SpecCells,
    h: int,
    *,
    common: BoolArray,
    baseline: Mapping[str, FloatArray],
    rule: TradingRule,
) -> Tally:
    """Return the sums of ``spec`` over the common cells of one step.

    Parameters
    ----------
    cells : Cells
        All specs on the same rows.
    spec : SpecCells
        One of them.
    h : int
        Position on the step axis.
    common : ndarray of bool, shape (F, N)
        Cells that figures are taken over.
    baseline : mapping of str to ndarray of shape (F, N)
        Losses of the spec that skill is measured against, on the common cells.
    rule : TradingRule
        How forecasts are traded.
    """
    scored, failed = cells.scored(spec)[..., h], spec.failed[..., h]
    used = common & scored
    own = cells.losses(spec, h, used)
    actual, mean = (
        np.where(used, grid[..., h], np.nan) for grid in (cells.actual, spec.mean)
    )  # fmt: skip
    trades = rule.trade(mean, actual)
    grids = {
        **own,
        **{f"base_{loss}": np.where(used, baseline[loss], np.nan) for loss in BASE},
        "gains": np.maximum(trades.returns, 0.0),
        "losses": np.maximum(-trades.returns, 0.0),
    }
    counts = {
        "scored": scored,
        "failed": failed,
        "used": used,
        "trades": trades.taken,
        "n_returns": ~np.isnan(trades.returns),
        **{f"n_{loss}": ~np.isnan(grid) for loss, grid in own.items()},
    }
    of_ticker = [
        *(f"{prefix}{loss}" for loss in BASE for prefix in ("", "n_", "base_")),
        "crps", "n_crps", "scored", "failed", "used",
    ]  # fmt: skip

    def sums(name: str, axis: int) -> FloatArray:
        grid = grids.get(name)
        total: FloatArray = counts[name].sum(axis) if grid is None else np.nansum(grid, axis)
        return total.astype(np.float64)

    error_mean, error_squares = _moments(actual - mean)
    by_row = {name: sums(name, 1) for name in (*grids, *counts)}
    return Tally(
        {
            **by_row,
            "net_return": trades.by_cutoff,
            "error_mean": error_mean,
            "error_squares": error_squares,
        },
        {name: sums(name, 0) for name in of_ticker},
    )


def _moments(error: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the mean of each row of (F, N), and the sum of squares about it; NaN is left out."""
    n = (~np.isnan(error)).sum(axis=1).astype(np.float64)
    mean = ratio(np.nansum(error, axis=1), n)
    return mean, np.nansum((error - mean[:, None]) ** 2, axis=1)
