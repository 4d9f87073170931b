"""What a trade costs: the one object that the edge gate, the backtest and an engine share."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from pydantic import Field

from pmx_ray._typing import FloatArray
from pmx_ray.config import Settings

Side: TypeAlias = Literal["BUY", "SELL"]


class CostSettings(Settings):
    """What one side of a trade costs.

    Attributes
    ----------
    slippage_bps : float
        Adverse move of the fill price, basis points of the price.
    fee_bps : float
        Fee, basis points of the traded value.
    """

    slippage_bps: float = Field(default=10.0, ge=0, lt=10_000)
    fee_bps: float = Field(default=10.0, ge=0, lt=10_000)

    @property
    def round_trip_bps(self) -> float:
        """Cost of opening and closing, basis points of the position's value."""
        return 2 * (self.slippage_bps + self.fee_bps)

    def build(self) -> "Costs":
        """Return the cost object of these settings."""
        return Costs(self.slippage_bps / 1e4, self.fee_bps / 1e4)


@dataclass(frozen=True, slots=True)
class Costs:
    """Costs of trading, as fractions.

    Attributes
    ----------
    slippage_frac, fee_frac : float
        A side; fraction of the price and of the traded value.

    Examples
    --------
    >>> costs = CostSettings().build()
    >>> round(costs.round_trip_frac, 6)
    0.004
    >>> costs.fill_price(100.0, side="BUY")
    100.1
    """

    slippage_frac: float
    fee_frac: float

    @property
    def round_trip_frac(self) -> float:
        """Cost of opening and closing at an unchanged price, fraction of the position's value."""
        return 2 * (self.slippage_frac + self.fee_frac)

    def fill_price(self, price: float, *, side: Side) -> float:
        """Return the price paid (BUY) or received (SELL) when the market stands at ``price``."""
        match side:
            case "BUY":
                return price * (1 + self.slippage_frac)
            case "SELL":
                return price * (1 - self.slippage_frac)

    def fee(self, value: float) -> float:
        """Return the fee on a traded ``value`` of either sign."""
        return abs(value) * self.fee_frac

    def net_return(self, position: FloatArray, gross: FloatArray) -> FloatArray:
        """Return what a position earned over a round trip, net of costs.

        Parameters
        ----------
        position : ndarray
            Share of capital, long above 0, short below.
        gross : ndarray of the same shape
            Simple return of the price, decimal; NaN gives NaN.

        Returns
        -------
        ndarray
            ``position * gross - abs(position) * round_trip_frac``: costs are taken on the value
            at the opening, so they are exact where the price has not moved.
        """
        net: FloatArray = position * gross - np.abs(position) * self.round_trip_frac
        return net
