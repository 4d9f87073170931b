"""What a model's out-of-sample trades came to: all that a position's size may rest on."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from pmx_ray._typing import FloatArray
from pmx_ray.errors import DataError
from pmx_ray.portfolio.kelly import kelly_fraction


@dataclass(frozen=True, slots=True)
class TrackRecord:
    """Trades made on forecasts whose outcome the model had not seen, net of costs.

    Attributes
    ----------
    n_trades : int
        How many.
    win_rate_frac : float
        Share of them that gained, 0 to 1.
    payoff_ratio : float, optional
        Mean gain over mean loss, > 0; None where no trade gained or none lost, as it is then
        not known.

    Raises
    ------
    DataError
        If a number is outside its limits.
    """

    n_trades: int
    win_rate_frac: float
    payoff_ratio: float | None

    def __post_init__(self) -> None:
        if self.n_trades < 0:
            raise DataError(f"n_trades was {self.n_trades}; it must be >= 0")
        if not 0.0 <= self.win_rate_frac <= 1.0:
            raise DataError(f"win_rate_frac was {self.win_rate_frac}; it must be from 0 to 1")
        if self.payoff_ratio is not None and not 0.0 < self.payoff_ratio < np.inf:
            raise DataError(f"payoff_ratio was {self.payoff_ratio}; it must be finite and > 0")

    @classmethod
    def of(cls, returns: FloatArray) -> Self:
        """Return the record of net returns of trades, any shape, decimal.

        NaN is no trade; leave cutoffs at which nothing was traded out, as their 0 would count as a
        trade that did not gain.

        Examples
        --------
        >>> record = TrackRecord.of(np.array([0.03, -0.02, 0.01, np.nan]))
        >>> record.n_trades, round(record.win_rate_frac, 3), record.payoff_ratio
        (3, 0.667, 1.0)
        """
        known = returns[~np.isnan(returns)]
        gains, losses = known[known > 0.0], -known[known < 0.0]
        return cls(
            n_trades=len(known),
            win_rate_frac=len(gains) / len(known) if len(known) else 0.0,
            payoff_ratio=float(gains.mean() / losses.mean())
            if len(gains) and len(losses)
            else None,
        )

    @property
    def kelly(self) -> float | None:
        """Kelly's fraction of these trades; None where the payoff ratio is not known."""
        if self.payoff_ratio is None:
            return None
        return kelly_fraction(self.win_rate_frac, self.payoff_ratio)
