"""From what edge on a signal trades, how large, and what the validator holds it to."""

from typing import Self

from pydantic import Field, model_validator

from pmx_ray.backtest.costs import CostSettings
from pmx_ray.backtest.strategy import TradingRule
from pmx_ray.config import Settings
from pmx_ray.portfolio.kelly import MAX_POSITION_FRAC
from pmx_ray.stats.intervals import MIN_CUTOFFS


class SizingSettings(Settings):
    """How a track record becomes a position.

    Attributes
    ----------
    kelly_frac : float
        Share of Kelly's fraction to use, 0 to 1; a half keeps three quarters of the growth at a
        quarter of the variance.
    min_trades : int
        Out-of-sample trades below which nothing is staked.
    min_effective_trades : int
        Independent trades that they must be worth, else nothing is staked: trades of one cutoff
        move together, and outcomes that overlap are largely the same.
    prior_trades : int
        Imagined independent trades at break-even that the record is pooled with.
    max_position_frac : float
        Largest share of capital in one trade, at most 0.02.
    """

    kelly_frac: float = Field(default=0.5, ge=0, le=1)
    min_trades: int = Field(default=30, ge=1)
    min_effective_trades: int = Field(default=MIN_CUTOFFS, ge=1)
    prior_trades: int = Field(default=100, ge=0)
    max_position_frac: float = Field(default=MAX_POSITION_FRAC, ge=0, le=MAX_POSITION_FRAC)


class RiskSettings(Settings):
    """When acting on a signal is how risky.

    Attributes
    ----------
    medium_from, high_from, extreme_from : float
        Annualised volatility, decimal, from which the level holds; below the first it is low.
    raised_from_percentile : float
        Share of its own history that lies below the volatility from which the level is one higher,
        0 to 1.
    """

    medium_from: float = Field(default=0.15, gt=0)
    high_from: float = Field(default=0.30, gt=0)
    extreme_from: float = Field(default=0.60, gt=0)
    raised_from_percentile: float = Field(default=0.95, ge=0, le=1)

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if not self.medium_from < self.high_from < self.extreme_from:
            raise ValueError("medium_from, high_from and extreme_from must rise")
        return self


class ValidatorSettings(Settings):
    """What the five layers hold a signal to.

    Attributes
    ----------
    history_sessions : int
        Sessions before the cutoff that the layers look at.
    min_history_sessions : int
        Fewest of them that must hold a price of the ticker.
    max_sds : float
        Largest expected move, in standard deviations of the ticker's own moves over the horizon.
    max_volatility_ratio : float
        Largest ratio, either way, of forecast to realised volatility.
    max_volatility_percentile : float
        Share of its own history that may lie below the ticker's present volatility, 0 to 1.
    min_confidence_against_market : float
        Confidence from which a signal may go against a rising or falling market, 0 to 1.
    max_risk_frac : float
        Largest position times annualised volatility: what the trade alone adds to the yearly
        standard deviation of capital.
    correlation_sessions : int
        Latest sessions over which correlation is measured.
    min_correlation_sessions : int
        Fewest of them that must be known.
    max_correlation : float
        Largest correlation of the trade with what is held, 0 to 1.
    min_net_edge_bps : float
        Least expected return net of a round trip, basis points.
    min_judged_cutoffs : int
        Independent cutoffs of past signals with an outcome from which their hit rate counts; that
        so many are all wrong by chance is less likely than 1 in 40 from 6 on.
    """

    history_sessions: int = Field(default=504, ge=2)
    min_history_sessions: int = Field(default=126, ge=22)
    max_sds: float = Field(default=3.0, gt=0)
    max_volatility_ratio: float = Field(default=4.0, ge=1)
    max_volatility_percentile: float = Field(default=0.99, ge=0, le=1)
    min_confidence_against_market: float = Field(default=0.55, ge=0, le=1)
    max_risk_frac: float = Field(default=0.01, gt=0)
    correlation_sessions: int = Field(default=60, ge=3)
    min_correlation_sessions: int = Field(default=40, ge=3)
    max_correlation: float = Field(default=0.85, ge=0, le=1)
    min_net_edge_bps: float = Field(default=0.0, ge=0)
    min_judged_cutoffs: int = Field(default=6, ge=1)

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.min_history_sessions > self.history_sessions:
            raise ValueError("min_history_sessions is more than history_sessions")
        if self.min_correlation_sessions > self.correlation_sessions:
            raise ValueError("min_correlation_sessions is more than correlation_sessions")
        return self


class SignalSettings(Settings):
    """Everything between a forecast and a signal that may be acted on.

    Attributes
    ----------
    costs : CostSettings
        Of trading; the same object that the backtest charges.
    min_edge_bps : float, optional
        Expected log return that a trade needs, basis points; a round trip's cost unless given.
    sizing : SizingSettings
        From track record to position.
    risk : RiskSettings
        From volatility to risk level.
    validator : ValidatorSettings
        Limits of the five layers.
    """

    costs: CostSettings = CostSettings()
    min_edge_bps: float | None = Field(default=None, ge=0)
    sizing: SizingSettings = SizingSettings()
    risk: RiskSettings = RiskSettings()
    validator: ValidatorSettings = ValidatorSettings()

    @property
    def rule(self) -> TradingRule:
        """The rule that takes a side: the one that the backtest trades by."""
        costs = self.costs.build()
        edge = costs.round_trip_frac if self.min_edge_bps is None else self.min_edge_bps / 1e4
        return TradingRule(costs, edge)
