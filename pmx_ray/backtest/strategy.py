"""The trading rule that turns forecasts into net returns: long, short or out, held to the step.

At each cutoff the capital on hand is spread evenly over the tickers. A ticker whose expected log
return exceeds the edge is bought, one below minus the edge is sold short, and the position is
closed at the step; the rest stays in cash, which earns nothing. Where the step is longer than the
distance of cutoffs, positions overlap: capital is then split into ``ceil(step / step_size)``
sleeves that take turns, so that no unit of it is ever in two trades.
"""

from dataclasses import dataclass

import numpy as np

from pmx_ray._typing import BoolArray, FloatArray
from pmx_ray.backtest.costs import Costs
from pmx_ray.stats.intervals import ratio
from pmx_ray.stats.measures import SESSIONS_PER_YEAR, drawdown_frac


@dataclass(frozen=True, slots=True, eq=False)
class Trades:
    """What the rule did at each cutoff and ticker; NaN where there was no forecast or outcome.

    Attributes
    ----------
    side : ndarray of shape (F, N)
        1 long, -1 short, 0 out.
    returns : ndarray of shape (F, N)
        Simple net return on the ticker's share of capital; 0 where out.
    """

    side: FloatArray
    returns: FloatArray

    @property
    def taken(self) -> BoolArray:
        """Where a trade was made, (F, N)."""
        taken: BoolArray = np.abs(self.side) == 1.0
        return taken

    @property
    def by_cutoff(self) -> FloatArray:
        """Mean return over the tickers of each cutoff, shape (F,); NaN where none is known."""
        known = ~np.isnan(self.returns)
        return ratio(np.nansum(self.returns, axis=1), known.sum(axis=1).astype(np.float64))


@dataclass(frozen=True, slots=True)
class TradingRule:
    """Trade where the expected move pays for the trade.

    Attributes
    ----------
    costs : Costs
        What a round trip costs.
    min_edge : float
        Trade only where the expected log return exceeds this in size.
    """

    costs: Costs
    min_edge: float

    def side(self, mean: FloatArray) -> FloatArray:
        """Return 1, -1 or 0 for each expected log return, decimal; NaN stays NaN."""
        taken: FloatArray = np.sign(mean) * (np.abs(mean) > self.min_edge)
        return taken

    def trade(self, mean: FloatArray, actual: FloatArray) -> Trades:
        """Return the trades on expected log returns and the log returns that came, both (F, N)."""
        side = self.side(mean)
        return Trades(side, self.costs.net_return(side, np.expm1(actual)))


@dataclass(frozen=True, slots=True)
class Sleeves:
    """How capital is shared among cutoffs whose positions overlap.

    Attributes
    ----------
    step : int
        Sessions a position is held.
    step_size : int
        Sessions between cutoffs.
    """

    step: int
    step_size: int

    @property
    def n_sleeves(self) -> int:
        """Number of sleeves, ``ceil(step / step_size)``."""
        return -(-self.step // self.step_size)

    @property
    def periods_per_year(self) -> float:
        """Trades a year of one sleeve, which opens a trade every ``n_sleeves`` cutoffs.

        Annualising by sleeve and not by cutoff keeps overlapping returns from being counted as
        independent ones.
        """
        return SESSIONS_PER_YEAR / (self.n_sleeves * self.step_size)

    def equity(self, returns: FloatArray) -> FloatArray:
        """Return the value of one unit of capital after each cutoff's trades are closed.

        Parameters
        ----------
        returns : ndarray of shape (F,)
            Net return of each cutoff on its sleeve, in time order; a NaN leaves the sleeve as it
            is. A sleeve that has lost everything stays at 0.

        Returns
        -------
        ndarray of shape (F,)
        """
        n_folds = len(returns)
        growth = np.ones((n_folds, self.n_sleeves))
        turn = np.arange(n_folds) % self.n_sleeves
        growth[np.arange(n_folds), turn] = np.maximum(1.0 + np.nan_to_num(returns), 0.0)
        total: FloatArray = np.cumprod(growth, axis=0).mean(axis=1)
        return total

    def drawdown_frac(self, returns: FloatArray) -> FloatArray:
        """Return how far the equity of ``returns`` stands below its peak so far, shape (F,)."""
        return drawdown_frac(self.equity(returns))
