"""What a promotion, a choice and a reversion ask for: settings with documented defaults."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self, TypeAlias

from pydantic import Field, field_validator, model_validator

from pmx_ray.config import Settings, override, parse, read_yaml
from pmx_ray.provenance import canonical_json, sha256_hex

Loss: TypeAlias = Literal["squared_error", "absolute_error", "qlike", "crps", "pinball"]
MarketRegime: TypeAlias = Literal["bull", "bear", "sideways"]
Crisis: TypeAlias = Literal["crisis_2008", "crisis_2020"]
Stage: TypeAlias = Literal["paper", "small_live", "scale"]


class HitRateGates(Settings):
    """Hit rate to exceed before each stage of capital, fractions.

    They fall as capital rises and ignore what a hit pays: each is necessary, none is sufficient.

    Attributes
    ----------
    paper_frac : float
        In a backtest, before paper trading.
    small_live_frac : float
        In paper trading, before a small live account.
    scale_frac : float
        Live, before capital is raised.
    """

    paper_frac: float = Field(default=0.55, ge=0, lt=1)
    small_live_frac: float = Field(default=0.52, ge=0, lt=1)
    scale_frac: float = Field(default=0.50, ge=0, lt=1)


class SelectionPolicy(Settings):
    """How the primary model is chosen: a weighted score of four parts, each from 0 to 1.

    Attributes
    ----------
    weight_profit_factor, weight_drawdown, weight_sharpe, weight_stability : float
        Shares of the score; they sum to 1.
    full_profit_factor : float
        Profit factor that scores 1; breaking even (1) scores 0, linear between.
    zero_drawdown_frac : float
        Deepest fall that scores 0; none scores 1, linear between.
    full_sharpe_annual : float
        Annual Sharpe ratio that scores 1; 0 scores 0, linear between.
    n_time_blocks : int
        Stretches that the cutoffs are cut into, in time; stability is the share of these and of
        the market regimes in which RMSE skill is not below 0.
    min_regime_cutoffs : int
        Fewest cutoffs for a regime to count towards stability.
    min_trades : int
        With fewer, profit factor and Sharpe ratio score 0: they are unstable.
    min_uplift : float
        What a score must have over the baseline's.
    hysteresis : float
        What a score must have over the champion's, so that a near tie does not change the model.
    """

    weight_profit_factor: float = Field(default=0.30, ge=0, le=1)
    weight_drawdown: float = Field(default=0.20, ge=0, le=1)
    weight_sharpe: float = Field(default=0.25, ge=0, le=1)
    weight_stability: float = Field(default=0.25, ge=0, le=1)
    full_profit_factor: float = Field(default=2.0, gt=1)
    zero_drawdown_frac: float = Field(default=0.15, gt=0, le=1)
    full_sharpe_annual: float = Field(default=2.0, gt=0)
    n_time_blocks: int = Field(default=4, ge=1, le=100)
    min_regime_cutoffs: int = Field(default=10, ge=1)
    min_trades: int = Field(default=30, ge=1)
    min_uplift: float = Field(default=0.03, ge=0, le=1)
    hysteresis: float = Field(default=0.05, ge=0, le=1)

    @model_validator(mode="after")
    def _weights_sum_to_one(self) -> Self:
        total = (
            self.weight_profit_factor
            + self.weight_drawdown
            + self.weight_sharpe
            + self.weight_stability
        )
        if not math.isclose(total, 1.0, abs_tol=1e-9):
            raise ValueError(f"the four weights sum to {total:g}; they must sum to 1")
        return self


class DegradationPolicy(Settings):
    """When the model in service is taken out of it.

    Attributes
    ----------
    n_sessions : int
        Latest sessions that accuracy and losses are taken over.
    min_hit_rate_frac : float
        Hit rate below which it goes.
    min_sided_forecasts : int
        With fewer forecasts that took a side the hit rate is not judged.
    max_drawdown_frac : float
        Fall from the peak that it must stay below.
    max_loss_ratio : float
        Mean loss over the baseline's, above which it goes.
    max_data_age_hours : float
        Age of the newest price above which it goes: four days span a weekend and a holiday.
    """

    n_sessions: int = Field(default=30, ge=1)
    min_hit_rate_frac: float = Field(default=0.45, ge=0, le=1)
    min_sided_forecasts: int = Field(default=20, ge=1)
    max_drawdown_frac: float = Field(default=0.15, gt=0, le=1)
    max_loss_ratio: float = Field(default=1.2, ge=1)
    max_data_age_hours: float = Field(default=96.0, gt=0)


class GovernancePolicy(Settings):
    """What a challenger must show before it may replace the model in service.

    Attributes
    ----------
    min_profit_factor_uplift_frac : float
        Profit factor over the baseline's, less 1. A baseline that did not trade, or lost more than
        it gained, counts as 1: money left uninvested breaks even.
    max_drawdown_over_baseline_frac : float
        How much deeper than the baseline's the deepest fall may be, as a share of it.
    max_drawdown_frac : float
        Deepest fall from a peak that it must stay below, of capital.
    loss : str
        Loss that forecasts are judged by.
    alpha : float
        Size of the one-sided Diebold-Mariano test.
    spa_alpha : float
        Size of Hansen's test, after the bound for the trials outside the run.
    mcs_size : float
        A spec whose p-value is above it is in the model confidence set.
    min_deflated_sharpe : float
        Probability that the Sharpe ratio is above that of the luckiest of all trials.
    max_pbo : float
        Probability of backtest overfitting. Choosing among noise gives about 0.5; 0.2 asks that
        in four of five splits what looked best stays in the better half.
    tail : float
        Tail probability that the next two limits are stated at.
    max_value_at_risk_frac : float
        Loss of one cutoff, of capital: the most that may be lost in a day.
    max_expected_shortfall_frac : float
        Mean loss beyond it: two such cutoffs in a row stay within a drawdown of 15 %.
    max_coverage_gap_90_frac : float
        Distance of the 90 % interval's coverage from 0.9. At 125 cutoffs, half a year of daily
        ones, sound intervals have a standard error of 0.027 (tickers move together and add
        little): 0.05 refuses about 6 % of them, 0.03 would refuse 26 %.
    min_walk_forward_days : int
        Days between the first and the last cutoff; 182 are about six months.
    regimes : tuple of str
        Kinds of market it must be stable in: over at least ``min_regime_cutoffs`` cutoffs its mean
        net return is not below ``min_regime_net_return_frac`` and its fall stays below
        ``max_regime_drawdown_frac``. Return and fall are what an owner of capital lives through;
        skill can be had in a regime that loses money, and has its own tests over all regimes.
    min_regime_cutoffs : int
        Fewest cutoffs that a regime is judged on.
    min_regime_net_return_frac : float
        Mean net return of a cutoff.
    max_regime_drawdown_frac : float
        Deepest fall within the regime, of capital.
    crises : tuple of str
        Windows that are replayed. Leaving one out, for an asset that did not exist then, is a
        waiver that the policy's hash records.
    min_crisis_cutoffs : int
        Fewest cutoffs inside each.
    max_crisis_drawdown_frac : float
        Deepest fall within each, of capital.
    min_trades : int
        With fewer, profit figures are luck.
    stage : str
        Stage of capital that the certificate opens.
    hit_rate : HitRateGates
        Hit rate to exceed before each stage.
    min_hit_rate_low_frac : float
        What the lower end of the hit rate's interval must reach.
    min_interval_level : float
        Least coverage of the evaluation's intervals: a narrow interval has a flattering lower end.
    min_data_quality_frac : float
        Share of sound prices.
    max_failed_frac : float
        Share of its cells that it may fail on.
    max_fallback_age_days : int
        Since the fallback last served every forecast that it was asked for.
    min_round_trip_bps : float
        Cost of opening and closing a trade that the evaluation must take off at least, basis
        points: half a basis point of slippage and of fee a side is below any real market.
    min_resamples : int
        Fewest resamples of the evaluation's bootstrap.
    baselines : tuple of str
        Labels of the specs that skill may be measured against.
    max_decision_age_days : int
        Age of a decision beyond which it puts nothing into service.
    selection : SelectionPolicy
        How the primary model is chosen.
    degradation : DegradationPolicy
        When it is taken out of service.
    """

    min_profit_factor_uplift_frac: float = Field(default=0.03, ge=0)
    max_drawdown_over_baseline_frac: float = Field(default=0.5, ge=0)
    max_drawdown_frac: float = Field(default=0.15, gt=0, le=1)
    loss: Loss = "squared_error"
    alpha: float = Field(default=0.05, gt=0, lt=1)
    spa_alpha: float = Field(default=0.05, gt=0, lt=1)
    mcs_size: float = Field(default=0.10, gt=0, lt=1)
    min_deflated_sharpe: float = Field(default=0.95, ge=0, le=1)
    max_pbo: float = Field(default=0.20, ge=0, le=1)
    tail: float = Field(default=0.05, gt=0, le=0.25)
    max_value_at_risk_frac: float = Field(default=0.05, gt=0, le=1)
    max_expected_shortfall_frac: float = Field(default=0.075, gt=0, le=1)
    max_coverage_gap_90_frac: float = Field(default=0.05, gt=0, le=0.9)
    min_walk_forward_days: int = Field(default=182, ge=1)
    regimes: tuple[MarketRegime, ...] = ("bull", "bear", "sideways")
    min_regime_cutoffs: int = Field(default=10, ge=1)
    min_regime_net_return_frac: float = Field(default=0.0, ge=-1)
    max_regime_drawdown_frac: float = Field(default=0.15, gt=0, le=1)
    crises: tuple[Crisis, ...] = ("crisis_2008", "crisis_2020")
    min_crisis_cutoffs: int = Field(default=5, ge=1)
    max_crisis_drawdown_frac: float = Field(default=0.15, gt=0, le=1)
    min_trades: int = Field(default=30, ge=1)
    stage: Stage = "paper"
    hit_rate: HitRateGates = HitRateGates()
    min_hit_rate_low_frac: float = Field(default=0.50, ge=0, le=1)
    min_interval_level: float = Field(default=0.95, ge=0.5, lt=1)
    min_data_quality_frac: float = Field(default=0.95, ge=0, le=1)
    max_failed_frac: float = Field(default=0.05, ge=0, le=1)
    max_fallback_age_days: int = Field(default=30, ge=0)
    min_round_trip_bps: float = Field(default=2.0, ge=0)
    min_resamples: int = Field(default=200, ge=100)
    baselines: tuple[str, ...] = Field(default=("random_walk",), min_length=1)
    max_decision_age_days: int = Field(default=30, ge=1)
    selection: SelectionPolicy = SelectionPolicy()
    degradation: DegradationPolicy = DegradationPolicy()

    @field_validator("regimes", "crises")
    @classmethod
    def _named_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError(f"each is named once; got {', '.join(names)}")
        return names

    @property
    def min_hit_rate_frac(self) -> float:
        """Hit rate to exceed before the policy's stage."""
        match self.stage:
            case "paper":
                return self.hit_rate.paper_frac
            case "small_live":
                return self.hit_rate.small_live_frac
            case "scale":
                return self.hit_rate.scale_frac

    @property
    def sha256(self) -> str:
        """Hash of the policy's canonical JSON."""
        return sha256_hex(canonical_json(self.model_dump(mode="json")))


def load_policy(path: Path, assignments: Sequence[str] = ()) -> GovernancePolicy:
    """Return the policy of a YAML file, with ``key=value`` overrides applied.

    Raises
    ------
    SettingsError
        One line that says which key of which file is wrong, and what was perhaps meant.
    """
    return parse(GovernancePolicy, override(read_yaml(path), assignments), where=str(path))
