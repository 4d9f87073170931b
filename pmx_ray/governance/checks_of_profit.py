"""Checks of what the challenger's trades earned and risked, against the baseline's."""

import math

from pmx_ray.governance.decision import Check
from pmx_ray.governance.evidence import Evidence, Row
from pmx_ray.governance.judgement import judged, shown
from pmx_ray.governance.policy import GovernancePolicy

EVALUATE = "run `pmx evaluate`"
COMPARE = "run `pmx compare`"
BREAK_EVEN = 1.0
"""Profit factor of money left uninvested."""

STAGES = {"paper": "paper trading", "small_live": "a small live account", "scale": "more capital"}


def profit_factor_uplift(evidence: Evidence, policy: GovernancePolicy) -> Check:
    """Hold the profit factor, net of costs, against the baseline's."""
    own, how = _own_factor(evidence.challenger)
    base, whose = _base_factor(evidence.baseline)
    return judged(
        "profit_factor_uplift",
        None if own is None or base is None else own / base - 1.0,
        ">=",
        policy.min_profit_factor_uplift_frac,
        unit="fraction",
        say=lambda value, limit: (
            f"Net of costs it gained {own:.3f} for each 1 that it lost{how}; {whose}. "
            f"That is an uplift of {value}; at least {limit} is asked for."
        ),
        missing=how if own is None else whose,
    )


def _own_factor(row: Row) -> tuple[float | None, str]:
    """Return the factor to judge by, and a remark on it, or what is missing.

    Without a losing trade the factor is infinite, which says little. It is then judged as if one
    more trade had lost what a trade gained on average, which makes it the number of trades, or
    by the lower end of its bootstrap interval if that is less; there has to be an interval.
    """
    factor, n = row.number("profit_factor"), row.count("n_trades")
    if factor is None:
        return None, f"The challenger has no profit factor: it made {n} trades; {EVALUATE}."
    if math.isfinite(factor):
        return factor, ""
    low = row.number("profit_factor_low")
    if low is None:
        return None, (
            f"None of its {n} trades lost, so its profit factor is infinite, and they are too few "
            f"for an interval, which is needed then; evaluate more cutoffs with `pmx sweep`."
        )
    return min(float(n), low), (
        f" (none of its {n} trades lost; counted with one more that loses what one gained on "
        "average, or by the lower end of the interval)"
    )


def _base_factor(row: Row) -> tuple[float | None, str]:
    """Return the factor to beat, and a remark on it, or what is missing."""
    factor = BREAK_EVEN if row.count("n_trades") == 0 else row.number("profit_factor")
    if factor is None:
        return None, f"The baseline traded and has no profit factor; {EVALUATE}."
    if row.count("n_trades") == 0:
        return BREAK_EVEN, "the baseline takes no side and counts as 1, breaking even"
    if factor < BREAK_EVEN:
        return BREAK_EVEN, (
            f"the baseline's {factor:.3f} counts as 1, as money left uninvested breaks even"
        )
    return factor, f"the baseline gained {factor:.3f}"


def drawdown_relative(evidence: Evidence, policy: GovernancePolicy) -> Check:
    """Hold the deepest fall against the baseline's."""
    idle = evidence.baseline.count("n_trades") == 0
    base = 0.0 if idle else evidence.baseline.number("max_drawdown_frac")
    share = 1.0 + policy.max_drawdown_over_baseline_frac
    allowed = policy.max_drawdown_frac if idle or base is None else share * base
    because = (
        "the baseline takes no side and never falls, so that there is nothing to be relative to, "
        "and the absolute limit binds alone"
        if idle
        else f"which is {share:g} times the {shown(base or 0.0, 'fraction')} of the baseline"
    )
    return judged(
        "drawdown_relative",
        None if base is None else evidence.challenger.number("max_drawdown_frac"),
        "<=",
        allowed,
        unit="fraction",
        say=lambda value, limit: (
            f"Its capital fell by up to {value} from a peak; at most {limit} is allowed, {because}."
        ),
        missing=_no_path("challenger's or the baseline's deepest fall"),
    )


def drawdown_absolute(evidence: Evidence, policy: GovernancePolicy) -> Check:
    """Hold the deepest fall against the limit on any strategy."""
    return judged(
        "drawdown_absolute",
        evidence.challenger.number("max_drawdown_frac"),
        "<",
        policy.max_drawdown_frac,
        unit="fraction",
        say=lambda value, limit: (
            f"Its capital fell by up to {value} from a peak; whatever the baseline did, it must "
            f"stay below {limit}."
        ),
        missing=_no_path("challenger's deepest fall"),
    )


def value_at_risk(evidence: Evidence, policy: GovernancePolicy) -> Check:
    """Hold the loss that one cutoff in twenty exceeds against its limit."""
    return _tail_loss(
        "value_at_risk",
        evidence,
        policy,
        limit=policy.max_value_at_risk_frac,
        words="lost at least {} of the capital it traded (value at risk)",
    )


def expected_shortfall(evidence: Evidence, policy: GovernancePolicy) -> Check:
    """Hold the mean loss beyond the value at risk against its limit."""
    return _tail_loss(
        "expected_shortfall",
        evidence,
        policy,
        limit=policy.max_expected_shortfall_frac,
        words="lost {} of the capital it traded on average (expected shortfall)",
    )


def _tail_loss(
    name: str, evidence: Evidence, policy: GovernancePolicy, *, limit: float, words: str
) -> Check:
    worst = f"the worst {shown(policy.tail, 'fraction', 0)} of cutoffs"
    same_tail = evidence.tail == policy.tail
    return judged(
        name,
        evidence.strategy.number(name) if same_tail else None,
        "<=",
        limit,
        unit="fraction",
        say=lambda value, allowed: (
            f"In {worst} it {words.format(value)}; at most {allowed} is allowed."
        ),
        missing=(
            f"The comparison does not state its loss in {worst}; {COMPARE}."
            if same_tail
            else f"The comparison looks at a tail of {evidence.tail:g} and the policy at "
            f"{policy.tail:g}; set evaluation.tail and {EVALUATE} and `pmx compare`."
        ),
    )


def n_trades(evidence: Evidence, policy: GovernancePolicy) -> Check:
    """Hold the number of trades against the fewest that say anything."""
    return judged(
        "n_trades",
        float(evidence.challenger.count("n_trades")),
        ">=",
        policy.min_trades,
        unit="count",
        say=lambda value, limit: (
            f"It made {value} trades; at least {limit} are asked for, as the profit of fewer is "
            "mostly luck."
        ),
        missing=f"The number of its trades is missing; {EVALUATE}.",
    )


def hit_rate(evidence: Evidence, policy: GovernancePolicy) -> Check:
    """Hold the share of right directions against the gate of the stage."""
    sides = f"{evidence.challenger.count('n_directional'):,}"
    return judged(
        "hit_rate",
        evidence.challenger.number("hit_rate"),
        ">",
        policy.min_hit_rate_frac,
        unit="fraction",
        say=lambda value, limit: (
            f"It named the right direction in {value} of {sides} forecasts; more than {limit} is "
            f"asked for before {STAGES[policy.stage]}, which is necessary and not sufficient."
        ),
        missing=f"None of its forecasts took a side, so it has no hit rate; {EVALUATE}.",
    )


def hit_rate_lower_bound(evidence: Evidence, policy: GovernancePolicy) -> Check:
    """Hold the lower end of the hit rate's interval against a coin."""
    level = shown(evidence.level, "fraction", 0)
    wide = evidence.level >= policy.min_interval_level
    return judged(
        "hit_rate_lower_bound",
        evidence.challenger.number("hit_rate_low") if wide else None,
        ">=",
        policy.min_hit_rate_low_frac,
        unit="fraction",
        say=lambda value, limit: (
            f"Allowing for chance, its hit rate may be as low as {value} (lower end of the {level} "
            f"interval); at least {limit} is asked for, a coin having 50%."
        ),
        missing=(
            f"Its hit rate has no interval; {EVALUATE}."
            if wide
            else f"The evaluation's intervals cover {level} and the policy asks for "
            f"{shown(policy.min_interval_level, 'fraction', 0)}; set evaluation.level and "
            f"{EVALUATE}."
        ),
    )


def _no_path(what: str) -> str:
    return (
        f"The {what} is missing, which only a walk through time has; set folds.kind to rolling "
        "or expanding and run `pmx sweep`."
    )
