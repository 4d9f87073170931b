"""What the validator sees beside a signal: the market at its cutoff, positions, past quality."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Self

import numpy as np

from pmx_ray._typing import FloatArray, frozen
from pmx_ray.data.panel import Panel
from pmx_ray.errors import DataError
from pmx_ray.signals.quality import SignalQuality
from pmx_ray.signals.settings import SignalSettings
from pmx_ray.signals.types import Source
from pmx_ray.stats.regimes import UNLABELLED, RegimeRule, label, market_index


@dataclass(frozen=True, slots=True, eq=False)
class MarketContext:
    """The market at a cutoff; one for all tickers of a book.

    Attributes
    ----------
    cutoff : date
        Last session in it.
    tickers : tuple of str, length N
        Of the columns.
    log_returns : ndarray of shape (T, N)
        Of the last sessions, oldest first, the last one into ``cutoff``; NaN where a ticker did
        not trade on both days.
    regime : str
        ``bull``, ``bear`` or ``sideways`` of all tickers together at the cutoff, or empty.
    positions : mapping of str to float
        Share of capital held in each ticker, signed.
    quality : mapping of Source to SignalQuality
        Of past signals of each model; a model without an entry has none that could be judged.
    settings : SignalSettings
        Limits and costs.

    Raises
    ------
    DataError
        If shapes do not fit, or a position is not finite.
    """

    cutoff: date
    tickers: tuple[str, ...]
    log_returns: FloatArray
    regime: str = UNLABELLED
    positions: Mapping[str, float] = field(default_factory=dict)
    quality: Mapping[Source, SignalQuality] = field(default_factory=dict)
    settings: SignalSettings = field(default_factory=SignalSettings)

    def __post_init__(self) -> None:
        object.__setattr__(self, "log_returns", frozen(self.log_returns, np.float64))
        if self.log_returns.ndim != 2 or self.log_returns.shape[1] != len(self.tickers):
            raise DataError(
                f"log_returns has shape {self.log_returns.shape}; it must be sessions x "
                f"{len(self.tickers)} tickers"
            )
        wrong = [name for name, held in self.positions.items() if not np.isfinite(held)]
        if wrong:
            raise DataError(f"position in {wrong[0]} is {self.positions[wrong[0]]}; give a number")

    @classmethod
    def of(
        cls,
        panel: Panel,
        settings: SignalSettings,
        *,
        positions: Mapping[str, float] | None = None,
        quality: Mapping[Source, SignalQuality] | None = None,
    ) -> Self:
        """Return the context of a panel that ends at the cutoff.

        Raises
        ------
        DataError
            If the panel holds no session.
        """
        if panel.n_sessions == 0:
            raise DataError("the panel holds no session; there is nothing to judge signals by")
        n = settings.validator.history_sessions
        close = panel.close[:, -(n + 1) :]
        regimes = label(market_index(close), RegimeRule())
        return cls(
            cutoff=panel.sessions[-1].astype(object),
            tickers=panel.tickers,
            log_returns=np.diff(np.log(close), axis=1).T,
            regime=str(regimes[-1]),
            positions=dict(positions or {}),
            quality=dict(quality or {}),
            settings=settings,
        )

    def returns_of(self, ticker: str) -> FloatArray:
        """Return a ticker's column, (T,); all NaN where the market does not hold it."""
        if ticker not in self.tickers:
            return np.full(len(self.log_returns), np.nan)
        column: FloatArray = self.log_returns[:, self.tickers.index(ticker)]
        return column
