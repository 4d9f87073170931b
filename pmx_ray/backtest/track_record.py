"""What a model's out-of-sample trades came to: all that a position's size may rest on."""

from typing import Self

from pydantic import Field, model_validator

from pmx_ray._typing import FloatArray, IntArray
from pmx_ray.config import Settings
from pmx_ray.stats.intervals import n_effective


class TrackRecord(Settings):
    """Trades made at one step on forecasts whose outcome the model had not seen, net of costs.

    Attributes
    ----------
    n_trades : int
        How many.
    n_effective : float
        How many independent trades they are worth, at most ``n_trades``: trades of one cutoff move
        together, and outcomes that overlap are largely the same.
    win_rate_frac : float
        Share of them that gained, 0 to 1; 0 where there was none.
    payoff_ratio : float, optional
        Mean gain over mean loss, > 0; None where no trade gained or none lost, as it is then not
        known.
    """

    n_trades: int = Field(ge=0)
    n_effective: float = Field(ge=0)
    win_rate_frac: float = Field(ge=0, le=1)
    payoff_ratio: float | None = Field(gt=0)

    @model_validator(mode="after")
    def _worth_no_more_than_they_are(self) -> Self:
        if self.n_effective > self.n_trades:
            raise ValueError(
                f"n_effective was {self.n_effective:g} and n_trades {self.n_trades}; trades are "
                "worth at most their number"
            )
        return self

    @classmethod
    def of(cls, returns: FloatArray, cutoffs: IntArray, *, step: int) -> Self:
        """Return the record of trades, both arrays of shape (R,).

        Parameters
        ----------
        returns : ndarray of shape (R,)
            Net return of each, decimal; one of 0 counts as a trade that did not gain, so leave out
            cutoffs at which nothing was traded.
        cutoffs : ndarray of int, shape (R,)
            Position on the sessions of the cutoff that each was made at.
        step : int
            Sessions that each was held for, >= 1.

        Examples
        --------
        Two tickers at two cutoffs a session apart, held for 5 sessions: one bet, made once.

        >>> import numpy as np
        >>> TrackRecord.of(np.array([0.03, -0.02, 0.01, -0.02]), np.array([0, 0, 1, 1]), step=5)
        TrackRecord(n_trades=4, n_effective=1.0, win_rate_frac=0.5, payoff_ratio=1.0)
        """
        gains, losses = returns[returns > 0.0], -returns[returns < 0.0]
        both = len(gains) > 0 and len(losses) > 0
        return cls(
            n_trades=len(returns),
            n_effective=n_effective(cutoffs, step=step),
            win_rate_frac=len(gains) / len(returns) if len(returns) else 0.0,
            payoff_ratio=float(gains.mean() / losses.mean()) if both else None,
        )
