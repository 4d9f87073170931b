"""The five layers a signal passes before it may be acted on, each a pure function.

A layer may look at several figures; it shows the first that failed, else the last it looked at. A
signal that takes no side passes every layer but ``statistics``: there is nothing to lose by it, but
a forecast that cannot be right is worth no more for advising to hold.
"""

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np

from pmx_ray._typing import FloatArray
from pmx_ray.errors import DataError
from pmx_ray.governance.decision import Check
from pmx_ray.governance.judgement import binding, judged
from pmx_ray.signals.market import MarketContext
from pmx_ray.signals.quality import SIDE
from pmx_ray.signals.risk import percentile, volatility_annual, volatility_history
from pmx_ray.signals.types import LayerCheck, Signal
from pmx_ray.stats.regimes import Regime
from pmx_ray.taxonomy import Action, RiskLevel

Layer: TypeAlias = Literal["statistics", "regime", "sizing", "correlation", "costs"]

AGAINST = {Regime.BEAR.value: SIDE[Action.BUY], Regime.BULL.value: SIDE[Action.SELL]}
"""Side that goes against the market, by its regime."""


def validate(signal: Signal, context: MarketContext) -> tuple[LayerCheck, ...]:
    """Return what each of the five layers finds, in their order; all of them, also after a failure.

    Raises
    ------
    DataError
        If the market's last session is not the signal's cutoff: a later one would let the future
        in, an earlier one would judge it by another day.
    """
    if signal.cutoff != context.cutoff:
        raise DataError(
            f"signal for {signal.ticker} has its cutoff on {signal.cutoff} and the market ends on "
            f"{context.cutoff}; give the market up to the cutoff"
        )
    return (
        check_statistics(signal, context),
        check_regime(signal, context),
        check_sizing(signal, context),
        check_correlation(signal, context),
        check_costs(signal, context),
    )


def check_statistics(signal: Signal, context: MarketContext) -> LayerCheck:
    """Check that the forecast could be right, by the ticker's own history and past signals.

    There must be history enough; the expected move may be so many standard deviations of the
    ticker's own moves, the forecast volatility so many times the realised one or its inverse; and
    past signals of the model must not have been wrong more often than right beyond chance: their
    hit rate's interval must reach one half.
    """
    limits = context.settings.validator
    known = context.returns_of(signal.ticker)
    known = known[~np.isnan(known)]
    history = judged(
        "history", len(known), ">=", limits.min_history_sessions, unit="count",
        say=lambda value, limit: (
            f"{value} of the last {len(context.log_returns)} sessions have a return of "
            f"{signal.ticker}; {limit} are needed to judge a forecast by."
        ),
        missing="",
    )  # fmt: skip
    if not history.passed:
        return _layer("statistics", history)
    own = float(known.std(ddof=1)) * math.sqrt(signal.step)
    move = judged(
        "move", abs(signal.expected_return) / own if own > 0.0 else None, "<=", limits.max_sds,
        unit="ratio",
        say=lambda value, limit: (
            f"The expected move is {value} standard deviations of the ticker's own moves; it may "
            f"be {limit}."
        ),
        missing=f"{signal.ticker} has not moved at all; there is nothing to judge a forecast by.",
    )  # fmt: skip
    if not move.passed:
        return _layer("statistics", move)
    width = judged(
        "width", max(signal.volatility / own, own / signal.volatility), "<=",
        limits.max_volatility_ratio, unit="ratio",
        say=lambda value, limit: (
            f"Forecast and realised volatility are apart by a factor of {value}; it may be {limit}."
        ),
        missing="The ratio of forecast to realised volatility is not finite.",
    )  # fmt: skip
    return _layer("statistics", move, width, *_past(signal, context))


def _past(signal: Signal, context: MarketContext) -> tuple[Check, ...]:
    quality = context.quality.get(signal.source)
    enough = context.settings.validator.min_judged_cutoffs
    if quality is None or quality.n_effective < enough or not SIDE[signal.action]:
        return ()
    high = quality.hit_rate_interval[1] if quality.hit_rate_interval else None
    past = judged(
        "hit_rate", high, ">=", 0.5, unit="fraction",
        say=lambda value, limit: (
            f"Its past signals were right {quality.n_hits} times out of {quality.n_sided}, worth "
            f"{quality.n_effective:.1f} independent cutoffs, an interval that ends at {value}; it "
            f"must reach {limit}."
        ),
        missing="The interval of its past signals' hit rate is not known.",
    )  # fmt: skip
    return (past,)


def check_regime(signal: Signal, context: MarketContext) -> LayerCheck:
    """Check that the market is not in turmoil, and that a signal against its trend is sure enough.

    The risk level must not be extreme; the ticker's volatility over the last month must not be
    the highest of its history; to buy in a falling or sell in a rising market takes confidence.
    """
    if not SIDE[signal.action]:
        return _idle("regime")
    limits = context.settings.validator
    level = _risk_level(signal)
    history = volatility_history(context.returns_of(signal.ticker))
    turmoil = judged(
        "turmoil", percentile(float(history[-1]), history) if len(history) else None, "<=",
        limits.max_volatility_percentile, unit="fraction",
        say=lambda value, limit: (
            f"Over the last month {signal.ticker} moved more than in {value} of the months before; "
            f"up to {limit} is allowed."
        ),
        missing=f"{signal.ticker} has too few returns to say how it moves.",
    )  # fmt: skip
    if SIDE[signal.action] != AGAINST.get(context.regime):
        return _layer("regime", level, turmoil)
    trend = judged(
        "trend", signal.confidence, ">=", limits.min_confidence_against_market, unit="fraction",
        say=lambda value, limit: (
            f"To {signal.action} in a {context.regime} market takes a confidence of {limit}; it is "
            f"{value}."
        ),
        missing="",
    )  # fmt: skip
    return _layer("regime", level, turmoil, trend)


def recheck_risk(signal: Signal, checks: Sequence[LayerCheck]) -> tuple[LayerCheck, ...]:
    """Return a signal's checks after its risk level was raised and its size perhaps reduced.

    Of the limits only that on the risk level can be passed by so changed a signal: the others look
    at what did not change, or at a size that is smaller now.

    Parameters
    ----------
    signal : Signal
        As it is now; ticker, side, confidence, expected return and volatility as when checked.
    checks : sequence of LayerCheck
        What the layers found then.
    """
    level = _risk_level(signal)
    if level.passed or not SIDE[signal.action]:
        return tuple(checks)
    return tuple(
        _layer("regime", level) if check.layer == "regime" and check.passed else check
        for check in checks
    )


def check_sizing(signal: Signal, context: MarketContext) -> LayerCheck:
    """Check the position against the cap, and what it adds to the risk of capital."""
    size = abs(signal.position_frac)
    if size == 0.0:
        return _idle("sizing", "No capital is staked, so there is no size to limit.")
    cap = judged(
        "cap", size, "<=", context.settings.sizing.max_position_frac, unit="fraction",
        say=lambda value, limit: f"It stakes {value} of capital; one trade may take {limit}.",
        missing="",
    )  # fmt: skip
    annual = volatility_annual(signal.volatility**2, step=signal.step)
    risk = judged(
        "risk", size * annual, "<=", context.settings.validator.max_risk_frac, unit="fraction",
        say=lambda value, limit: (
            f"{size:.2%} of capital at {annual:.0%} annualised volatility add {value} to the "
            f"yearly standard deviation of capital; one trade may add {limit}."
        ),
        missing="",
    )  # fmt: skip
    return _layer("sizing", cap, risk)


def check_correlation(signal: Signal, context: MarketContext) -> LayerCheck:
    """Check that the trade is not what is held already under another name.

    The correlation is that of the trade's returns with those of all other positions together,
    over the latest sessions that all of them traded in.
    """
    others = {
        name: share
        for name, share in context.positions.items()
        if name != signal.ticker and share != 0.0
    }
    if signal.position_frac == 0.0 or not others:
        nothing = "No capital is staked" if signal.position_frac == 0.0 else "Nothing else is held"
        return _idle("correlation", f"{nothing}, so there is nothing to be correlated with.")
    limits = context.settings.validator
    recent = slice(-limits.correlation_sessions, None)
    own = SIDE[signal.action] * context.returns_of(signal.ticker)[recent]
    held = np.sum([w * context.returns_of(name)[recent] for name, w in others.items()], axis=0)
    both = ~np.isnan(own + held)
    enough = both.sum() >= limits.min_correlation_sessions
    check = judged(
        "correlation", _correlation(own[both], held[both]) if enough else None, "<=",
        limits.max_correlation, unit="ratio",
        say=lambda value, limit: (
            f"Over {both.sum()} sessions the trade moved with the {len(others)} other positions at "
            f"a correlation of {value}; it may be {limit}."
        ),
        missing=(
            f"Its correlation with the {len(others)} other positions is not known: they share "
            f"{both.sum()} sessions of the last {limits.correlation_sessions}, and "
            f"{limits.min_correlation_sessions} in which both moved are needed."
        ),
    )  # fmt: skip
    return _layer("correlation", check)


def check_costs(signal: Signal, context: MarketContext) -> LayerCheck:
    """Check that what is expected to be left after a round trip is enough."""
    if not SIDE[signal.action]:
        return _idle("costs")
    cost = context.settings.costs.build().round_trip_frac
    check = judged(
        "net_edge", (SIDE[signal.action] * signal.expected_return - cost) * 1e4, ">=",
        context.settings.validator.min_net_edge_bps, unit="bps",
        say=lambda value, limit: (
            f"Of the expected return {value} basis points are left after a round trip at "
            f"{cost * 1e4:g}; at least {limit} are asked for."
        ),
        missing="",
    )  # fmt: skip
    return _layer("costs", check)


def _risk_level(signal: Signal) -> Check:
    return judged(
        "risk_level", signal.risk_level.severity, "<=", RiskLevel.HIGH.severity, unit="count",
        say=lambda *_: f"The risk level is {signal.risk_level}; only extreme is refused.",
        missing="",
    )  # fmt: skip


def _correlation(own: FloatArray, held: FloatArray) -> float | None:
    """Return the correlation of two series, both (K,); None where one of them stands still."""
    spread = float(own.std() * held.std())
    if spread == 0.0:
        return None
    return float(((own - own.mean()) * (held - held.mean())).mean()) / spread


def _layer(layer: Layer, *checks: Check) -> LayerCheck:
    shown = binding(checks)
    return LayerCheck(
        layer=layer,
        passed=all(check.passed for check in checks),
        value=shown.value,
        limit=shown.limit,
        unit=shown.unit,
        sentence=shown.sentence,
    )


def _idle(layer: Layer, sentence: str = "It takes no side, so nothing can be lost.") -> LayerCheck:
    return LayerCheck(layer=layer, passed=True, value=None, limit=None, unit="", sentence=sentence)
