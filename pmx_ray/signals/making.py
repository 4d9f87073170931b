"""From a forecast to a signal: the side that pays after costs, how sure, how risky, how large."""

import math
from dataclasses import dataclass
from datetime import date

import numpy as np
from scipy import special

from pmx_ray.backtest.track_record import TrackRecord
from pmx_ray.errors import DataError
from pmx_ray.portfolio.kelly import kelly_fraction, shrunk, stake_frac
from pmx_ray.signals.risk import risk_level_of, volatility_annual
from pmx_ray.signals.settings import SignalSettings, SizingSettings
from pmx_ray.signals.types import Signal, Source
from pmx_ray.taxonomy import Action, RiskLevel

SIDES = {1: Action.BUY, -1: Action.SELL, 0: Action.HOLD}


@dataclass(frozen=True, slots=True)
class Statement:
    """What a language model said beside its number; it can only make a signal more careful.

    Attributes
    ----------
    action : Action
        A side other than that of the expected return means hold.
    confidence : float
        In that action, 0 to 1; where it is what the forecast advises, the lower of both counts.
    risk_level : RiskLevel
        The higher of this and the forecast's own counts.
    """

    action: Action
    confidence: float
    risk_level: RiskLevel

    def __post_init__(self) -> None:
        if not 0.0 <= self.confidence <= 1.0:
            raise DataError(f"confidence was {self.confidence}; it must lie between 0 and 1")


def make_signal(
    *,
    ticker: str,
    mean: float,
    variance: float,
    step: int,
    cutoff: date,
    source: Source,
    track: TrackRecord | None,
    settings: SignalSettings,
    volatility_percentile: float | None = None,
    statement: Statement | None = None,
) -> Signal:
    """Return what a forecast advises.

    Parameters
    ----------
    ticker : str
        Whom it is about.
    mean, variance : float
        Of the cumulative log return over ``step`` sessions after ``cutoff``, decimal.
    step : int
        Horizon, sessions.
    cutoff : date
        Last session the model saw.
    source : Source
        Who forecast.
    track : TrackRecord, optional
        Out-of-sample trades of the same model at the same step; without enough of them nothing is
        staked, and the signal says so.
    settings : SignalSettings
        Costs, sizing and risk.
    volatility_percentile : float, optional
        Place of the forecast volatility in the ticker's own history, 0 to 1.
    statement : Statement, optional
        What a language model said beside its number.

    Raises
    ------
    DataError
        If the mean is not finite, or the variance not finite and above 0.
    """
    if not math.isfinite(mean):
        raise DataError(f"expected return of {ticker} was {mean}; it must be finite")
    volatility = math.sqrt(variance) if 0.0 < variance < math.inf else 0.0
    annual = volatility_annual(variance, step=step)
    side = int(settings.rule.side(np.asarray(mean, dtype=np.float64)))
    overruled = side != 0 and statement is not None and statement.action is not SIDES[side]
    side = 0 if overruled else side
    action = SIDES[side]
    confidence = probability_right(action, mean, volatility, edge=settings.rule.min_edge)
    level = risk_level_of(annual, settings.risk, percentile=volatility_percentile)
    if statement is not None:
        if statement.action is action:
            confidence = min(confidence, statement.confidence)
        level = max(level, statement.risk_level, key=lambda word: word.severity)
    stake, sizing = _stake(track, confidence, settings.sizing)
    return Signal(
        ticker=ticker,
        action=action,
        step=step,
        expected_return=mean,
        volatility=volatility,
        confidence=confidence,
        risk_level=level,
        position_frac=side * stake if side and stake else 0.0,
        cutoff=cutoff,
        source=source,
        why=_why(
            action,
            mean,
            step=step,
            settings=settings,
            sizing=sizing,
            overruling=statement if overruled else None,
        ),
    )


def probability_right(action: Action, mean: float, volatility: float, *, edge: float) -> float:
    """Return the probability that an action is the right one, as the forecast itself sees it.

    The log return over the horizon is taken as normal. To buy is right where it exceeds the edge,
    to sell where it lies below minus the edge, to hold where it lies between.

    Parameters
    ----------
    action : Action
        What is advised.
    mean, volatility : float
        Of the cumulative log return; volatility > 0.
    edge : float
        What a trade must gain to pay, decimal, >= 0.

    Returns
    -------
    float
        0 to 1; above 0.5 to buy or sell where the mean exceeds the edge.

    Examples
    --------
    >>> round(probability_right(Action.BUY, 0.014, 0.02, edge=0.004), 4)  # Phi(0.5)
    0.6915
    """
    above = float(special.ndtr((mean - edge) / volatility))
    below = float(special.ndtr((-mean - edge) / volatility))
    match action:
        case Action.BUY:
            return above
        case Action.SELL:
            return below
        case Action.HOLD:
            return max(1.0 - above - below, 0.0)


def _stake(
    track: TrackRecord | None, confidence: float, settings: SizingSettings
) -> tuple[float, str]:
    """Return the share of capital, and in words what it rests on."""
    if track is None:
        return 0.0, "nothing is staked, as the model has no track record"
    if track.n_trades < settings.min_trades:
        return 0.0, (
            f"nothing is staked, as its track record has {track.n_trades} trades and "
            f"{settings.min_trades} are asked for"
        )
    if track.n_effective < settings.min_effective_trades:
        return 0.0, (
            f"nothing is staked, as its {track.n_trades} trades are worth {track.n_effective:.1f} "
            f"independent ones and {settings.min_effective_trades} are asked for"
        )
    if track.payoff_ratio is None:
        return 0.0, (
            f"nothing is staked, as all of its {track.n_trades} trades ended alike and gain over "
            "loss is not known"
        )
    kelly = shrunk(
        kelly_fraction(track.win_rate_frac, track.payoff_ratio),
        n_effective=track.n_effective,
        prior_trades=settings.prior_trades,
    )
    record = (
        f"{track.n_trades} trades worth {track.n_effective:.1f} independent ones, "
        f"{track.win_rate_frac:.1%} won, gain over loss {track.payoff_ratio:.2f}"
    )
    if kelly <= 0.0:
        return 0.0, f"nothing is staked, as its past trades did not pay ({record})"
    stake = stake_frac(
        kelly,
        confidence=confidence,
        fraction=settings.kelly_frac,
        cap_frac=settings.max_position_frac,
    )
    return stake, f"{stake:.2%} of capital by Kelly's rule ({record})"


def _why(
    action: Action,
    mean: float,
    *,
    step: int,
    settings: SignalSettings,
    sizing: str,
    overruling: Statement | None,
) -> str:
    sessions = "session" if step == 1 else f"{step} sessions"
    expected = f"Expected log return over the next {sessions}: {mean * 1e4:+.1f} bp"
    edge = f"{settings.rule.min_edge * 1e4:.1f} bp that a trade needs"
    if overruling is not None:
        return f"{expected}, and the model's own words say {overruling.action}: hold."
    if action is Action.HOLD:
        return f"{expected}, within the {edge}: hold."
    return f"{expected}, more than the {edge}: {action}; {sizing}."
