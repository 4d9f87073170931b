"""Checks of where and when the challenger was tried, on what data, and of what stands behind it."""

import math

from pmx_ray.backtest.costs import CostSettings
from pmx_ray.governance.decision import Check
from pmx_ray.governance.evidence import Evidence, Row
from pmx_ray.governance.facts import FallbackFacts, ReplayFacts
from pmx_ray.governance.judgement import binding, judged
from pmx_ray.governance.policy import Crisis, GovernancePolicy, MarketRegime

DRILL = "`pmx certify` holds a drill of the fallback it is given"
SECONDS_PER_DAY = 86_400.0


def walk_forward_length(evidence: Evidence, policy: GovernancePolicy) -> Check:
    """Hold the days between the first and the last cutoff against the fewest asked for."""
    cutoffs, days = evidence.cutoffs, None
    if cutoffs and evidence.is_path:
        days = float((cutoffs[-1] - cutoffs[0]).days)
    return judged(
        "walk_forward_length",
        days,
        ">=",
        policy.min_walk_forward_days,
        unit="days",
        say=lambda value, limit: (
            f"It was tried at {len(cutoffs):,} cutoffs from {cutoffs[0]} to {cutoffs[-1]}, over "
            f"{value} days, at each of which it saw the past alone; at least {limit} days are "
            "asked for."
        ),
        missing=(
            "It was not walked forward through time: there are no scored cutoffs, or they come "
            "from a combinatorial plan; set folds.kind to rolling or expanding and run `pmx sweep`."
        ),
    )


def regime(evidence: Evidence, policy: GovernancePolicy, *, name: MarketRegime) -> Check:
    """Ask for enough cutoffs in a kind of market, no loss there on average, and a bounded fall."""
    row = evidence.regimes.get(name, Row({}))
    check, n = f"regime_{name}", row.count("n_cutoffs")
    missing = (
        f"Its figures in {name} markets are missing; run `pmx compare`, on a walk through time."
    )
    return binding(
        (
            judged(
                check,
                float(n) if row else None,
                ">=",
                policy.min_regime_cutoffs,
                unit="count",
                say=lambda value, limit: (
                    f"{value} {_lie(n)} in {name} markets; judging takes at least {limit}."
                ),
                missing=missing,
            ),
            judged(
                check,
                row.number("max_drawdown_frac"),
                "<",
                policy.max_regime_drawdown_frac,
                unit="fraction",
                say=lambda value, limit: (
                    f"Over {_cutoffs(n)} in {name} markets its capital fell by up to {value} "
                    f"from a peak; it must stay below {limit}."
                ),
                missing=missing,
            ),
            judged(
                check,
                row.number("net_return"),
                ">=",
                policy.min_regime_net_return_frac,
                unit="fraction",
                say=lambda value, limit: (
                    f"Over {_cutoffs(n)} in {name} markets it earned {value} on average, net of "
                    f"costs; at least {limit} is asked for."
                ),
                missing=missing,
            ),
        )
    )


def crisis(evidence: Evidence, policy: GovernancePolicy, *, name: Crisis) -> Check:
    """Ask for forecasts all through a historical crisis, enough cutoffs, and a bounded fall."""
    found = next((replay for replay in evidence.facts.replays if replay.name == name), None)
    replay = found or ReplayFacts(name, 0, math.nan, math.nan, n_served=0, n_asked=0)
    year = name.removeprefix("crisis_")
    missing = (
        f"It was not replayed over the crisis of {year}: no prices reach it; give the panel prices "
        "that do, and run `pmx sweep`."
    )
    n, failed = replay.n_cutoffs, replay.n_asked - replay.n_served
    return binding(
        (
            judged(
                name,
                failed / replay.n_asked if replay.n_asked > 0 else None,
                "<=",
                policy.max_failed_frac,
                unit="fraction",
                say=lambda value, limit: (
                    f"Replayed over the crisis of {year}, it gave no forecast for {failed:,} of "
                    f"{replay.n_asked:,} cells with an outcome, {value}; at most {limit} is "
                    "allowed."
                ),
                missing=missing,
            ),
            judged(
                name,
                float(n) if n > 0 else None,
                ">=",
                policy.min_crisis_cutoffs,
                unit="count",
                say=lambda value, limit: (
                    f"{value} {_lie(n)} in the crisis of {year}; judging takes at least {limit}."
                ),
                missing=missing,
            ),
            judged(
                name,
                replay.max_drawdown_frac,
                "<=",
                policy.max_crisis_drawdown_frac,
                unit="fraction",
                say=lambda value, limit: (
                    f"Replayed over {_cutoffs(n)} of the crisis of {year}, its capital fell by up "
                    f"to {value} from a peak; at most {limit} is allowed."
                ),
                missing=missing,
            ),
        )
    )


def _cutoffs(n: int) -> str:
    return f"{n:,} cutoff{'' if n == 1 else 's'}"


def _lie(n: int) -> str:
    return "cutoff lies" if n == 1 else "cutoffs lie"


def leak_audit(evidence: Evidence, policy: GovernancePolicy) -> Check:  # noqa: ARG001 - one form
    """Ask for an audit that found no use of the future."""
    leaks = evidence.facts.leaks
    first = f" The first: {leaks.findings[0]}." if leaks.findings else ""
    return judged(
        "leak_audit",
        float(len(leaks.findings)) if leaks.n_probes > 0 else None,
        "<=",
        0.0,
        unit="count",
        say=lambda value, limit: (
            f"The audit recomputed {leaks.n_probes:,} forecasts, features and scores with the "
            f"future hidden or changed. Leaks found: {value}; allowed: {limit}.{first}"
        ),
        missing="No leak audit was made; run `pmx audit-leaks`.",
    )


def data_quality(evidence: Evidence, policy: GovernancePolicy) -> Check:
    """Hold the share of sound prices against the least asked for."""
    quality = evidence.facts.quality
    return judged(
        "data_quality",
        quality.score,
        ">=",
        policy.min_data_quality_frac,
        unit="fraction",
        say=lambda value, limit: (
            f"{value} of the prices it was judged on are sound (tickers left out: "
            f"{quality.n_quarantined}); at least {limit} is asked for."
        ),
        missing="The quality of the prices is not known; run `pmx sweep`.",
    )


def failed_cells(evidence: Evidence, policy: GovernancePolicy) -> Check:
    """Hold the share of cells without a forecast against the most allowed."""
    n, failed = (evidence.challenger.count(name) for name in ("n_cells", "n_failed"))
    return judged(
        "failed_cells",
        failed / n if n > 0 else None,
        "<=",
        policy.max_failed_frac,
        unit="fraction",
        say=lambda value, limit: (
            f"It gave no forecast for {failed:,} of {n:,} cells, {value}; at most {limit} is "
            "allowed."
        ),
        missing="It was asked for no forecast; run `pmx evaluate`.",
    )


def fallback(evidence: Evidence, policy: GovernancePolicy) -> Check:
    """Ask for another forecaster that served every forecast of a recent drill."""
    behind = evidence.facts.fallback
    if behind is None or not behind.spec:
        return _no_fallback(policy, f"There is no forecaster to fall back on; name one, {DRILL}")
    if behind.spec == evidence.challenger.text("spec"):
        return _no_fallback(
            policy, f"The fallback, {behind.label}, is the challenger itself; name another"
        )
    return binding(
        (
            judged(
                "fallback",
                behind.n_served / behind.n_asked if behind.n_asked > 0 else None,
                ">=",
                1.0,
                unit="fraction",
                say=lambda value, limit: (
                    f"In its drill the fallback, {behind.label}, served {value} of "
                    f"{behind.n_asked:,} forecasts it was asked for; {limit} is asked for."
                ),
                missing=f"The drill asked the fallback, {behind.label}, for nothing; {DRILL}.",
            ),
            judged(
                "fallback",
                _days_since(behind, evidence),
                "<=",
                policy.max_fallback_age_days,
                unit="days",
                say=lambda value, limit: (
                    f"The fallback, {behind.label}, served all of {behind.n_asked:,} forecasts in "
                    f"a drill {value} days ago; at most {limit} days are allowed."
                ),
                missing=(
                    f"The drill of the fallback, {behind.label}, is dated after this certificate "
                    f"or has no time zone; {DRILL}."
                ),
            ),
        )
    )


def evaluation_settings(evidence: Evidence, policy: GovernancePolicy) -> Check:
    """Ask for an evaluation that did not flatter: its baseline, its bootstrap and its costs."""
    check, missing = (
        "evaluation_settings",
        "The costs and resamples of the evaluation are not known; run `pmx evaluate`.",
    )
    named, stated = evidence.baseline.text("label"), evidence.settings
    costs, n_resamples = stated.get("costs"), stated.get("n_resamples")
    return binding(
        (
            judged(
                check,
                float(named not in policy.baselines),
                "<=",
                0.0,
                unit="count",
                say=lambda value, limit: (
                    f"Skill is measured against {named}; baselines other than "
                    f"{', '.join(policy.baselines)}: {value}, allowed: {limit}."
                ),
                missing=missing,
            ),
            judged(
                check,
                None if n_resamples is None else float(n_resamples),
                ">=",
                policy.min_resamples,
                unit="count",
                say=lambda value, limit: (
                    f"The evaluation resampled {value} times; at least {limit} are asked for."
                ),
                missing=missing,
            ),
            judged(
                check,
                None if costs is None else CostSettings.model_validate(costs).round_trip_bps,
                ">=",
                policy.min_round_trip_bps,
                unit="bps",
                say=lambda value, limit: (
                    f"Each trade was charged {value} basis points for opening and closing, "
                    f"measured against {named}; at least {limit} are asked for."
                ),
                missing=missing,
            ),
        )
    )


def _no_fallback(policy: GovernancePolicy, sentence: str) -> Check:
    limit = float(policy.max_fallback_age_days)
    return Check("fallback", None, "<=", limit, "days", passed=False, sentence=f"{sentence}.")


def _days_since(behind: FallbackFacts, evidence: Evidence) -> float | None:
    """Return days since the drill, those begun counted whole: a day's certificates agree."""
    if behind.exercised_at.tzinfo is None:
        return None
    seconds = (evidence.as_of - behind.exercised_at).total_seconds()
    return float(math.ceil(seconds / SECONDS_PER_DAY)) if seconds >= 0.0 else None
