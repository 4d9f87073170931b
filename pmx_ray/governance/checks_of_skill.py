"""Checks of whether the challenger forecasts better than the baseline, and not by luck."""

from pmx_ray.governance.decision import Check
from pmx_ray.governance.evidence import Evidence
from pmx_ray.governance.facts import TrialFacts
from pmx_ray.governance.judgement import judged, shown
from pmx_ray.governance.policy import GovernancePolicy
from pmx_ray.stats.overfitting import deflated_sharpe

COMPARE = "run `pmx compare`"
UNCOUNTED = "The trial ledger does not count this run's own configurations; run `pmx evaluate`."


def diebold_mariano(evidence: Evidence, policy: GovernancePolicy) -> Check:
    """Hold the p-value of equal accuracy, pooled over tickers, against its size."""
    row, loss = evidence.pooled, policy.loss.replace("_", " ")
    lags = "; its correction for overlapping forecasts could not be formed" * bool(
        row.values.get("no_lags")
    )
    return judged(
        "diebold_mariano",
        row.number("dm_p_less"),
        "<",
        policy.alpha,
        unit="probability",
        say=lambda value, limit: (
            f"Were its {loss} no better than the baseline's, the advantage found over "
            f"{row.count('n')} cutoffs, or a larger one, would come about with probability {value} "
            f"(one-sided Diebold-Mariano test, corrected for the sample size{lags}); below {limit} "
            "is asked for."
        ),
        missing=f"Its {loss} was not tested against the baseline's; {COMPARE}.",
    )


def superior_predictive_ability(evidence: Evidence, policy: GovernancePolicy) -> Check:
    """Hold Hansen's p-value, bounded for the trials that it does not see, against its size.

    Each trial outside of the test adds the challenger's own p-value (Bonferroni). A bootstrap of B
    resamples can say no less than ``1 / (B + 1)``.
    """
    trials, sets = evidence.facts.trials, evidence.sets
    p = None if sets is None else sets.spa_p
    alone = evidence.pooled.number("dm_p_less")
    counted = 1 <= trials.n_in_run <= trials.n_trials
    n_tested = 0 if sets is None else len(sets.mcs_p)
    n_outside = max(trials.n_trials - n_tested, 0)
    bound = None
    if p is not None and counted and not (n_outside and alone is None):
        least = 1.0 / (evidence.n_resamples + 1)
        bound = min(1.0, max(p, least) + n_outside * (alone or 0.0))
    return judged(
        "superior_predictive_ability",
        bound,
        "<",
        policy.spa_alpha,
        unit="probability",
        say=lambda value, limit: (
            "Were no forecaster of the run better than the baseline, its best would look this good "
            f"with probability {shown(p or 0.0, 'probability')} (Hansen's test of superior "
            f"predictive ability). The ledger counts {trials.n_trials:,} configurations tried on "
            f"this data, {n_tested:,} of them in this test; allowing for all of them it is at "
            f"most {value}; below {limit} is asked for."
        ),
        missing=(
            f"The forecasters of the run were not tested together; {COMPARE}."
            if counted
            else UNCOUNTED
        ),
    )


def model_confidence_set(evidence: Evidence, policy: GovernancePolicy) -> Check:
    """Hold the p-value in the model confidence set against its size."""
    inside = evidence.sets.mcs_p if evidence.sets is not None else {}
    sure = shown(1.0 - policy.mcs_size, "fraction", 0)
    return judged(
        "model_confidence_set",
        inside.get(evidence.challenger.text("spec")),
        ">",
        policy.mcs_size,
        unit="probability",
        say=lambda value, limit: (
            f"Forecasters whose p-value is above {limit} cannot be told from the best with {sure} "
            f"confidence (model confidence set); its p-value is {value}."
        ),
        missing=f"It is not among the forecasters of the model confidence set; {COMPARE}.",
    )


def deflated_sharpe_ratio(evidence: Evidence, policy: GovernancePolicy) -> Check:
    """Hold the probability that the Sharpe ratio is no stroke of luck against its limit."""
    trials = evidence.facts.trials
    return judged(
        "deflated_sharpe",
        _deflated(evidence, trials),
        ">=",
        policy.min_deflated_sharpe,
        unit="probability",
        say=lambda value, limit: (
            "The probability that its return for risk (Sharpe ratio) is truly above what the "
            f"luckiest of {trials.n_trials:,} worthless configurations would show is {value} "
            f"(deflated Sharpe ratio); at least {limit} is asked for."
        ),
        missing=(
            f"Its Sharpe ratio, or what its probability depends on, is missing; {COMPARE}."
            if 1 <= trials.n_in_run <= trials.n_trials
            else UNCOUNTED
        ),
    )


def _deflated(evidence: Evidence, trials: TrialFacts) -> float | None:
    names = ("sharpe", "n_effective", "skew", "kurtosis")
    sharpe, n, skew, kurtosis = (evidence.strategy.number(name) for name in names)
    if sharpe is None or n is None or skew is None or kurtosis is None:
        return None
    if not 1 <= trials.n_in_run <= trials.n_trials or not trials.sharpe_variance >= 0.0:
        return None
    return deflated_sharpe(
        sharpe,
        n_trials=trials.n_trials,
        variance=trials.sharpe_variance,
        n=n,
        skew=skew,
        kurtosis=kurtosis,
    )


def backtest_overfitting(evidence: Evidence, policy: GovernancePolicy) -> Check:
    """Hold the probability of backtest overfitting against its limit."""
    trials = evidence.facts.trials
    return judged(
        "backtest_overfitting",
        trials.pbo if trials.n_splits > 0 else None,
        "<=",
        policy.max_pbo,
        unit="probability",
        say=lambda value, limit: (
            f"Over {trials.n_splits:,} ways to halve the history, the configuration that looked "
            f"best in one half was in the worse half of all in the other with probability {value} "
            f"(backtest overfitting; choosing among noise gives 0.5); at most {limit} is allowed."
        ),
        missing=(
            "The probability of backtest overfitting needs at least two configurations on the same "
            "cutoffs, and enough cutoffs to split; add to the sweep and run `pmx sweep`."
        ),
    )


def interval_coverage(evidence: Evidence, policy: GovernancePolicy) -> Check:
    """Hold the distance of the 90 % interval's coverage from 0.9 against its limit."""
    coverage = evidence.challenger.number("coverage_90")
    return judged(
        "interval_coverage",
        None if coverage is None else abs(coverage - 0.9),
        "<=",
        policy.max_coverage_gap_90_frac,
        unit="fraction",
        say=lambda value, limit: (
            f"Its 90% intervals held the outcome in {shown(coverage or 0.0, 'fraction')} of cells, "
            f"{value} away from what they promise; at most {limit} is allowed."
        ),
        missing="The coverage of its 90% intervals is missing; run `pmx evaluate`.",
    )


def common_cells(evidence: Evidence, policy: GovernancePolicy) -> Check:
    """Hold the share of its cells that other forecasters' failures took away against the most.

    Figures are over the cells that all complete forecasters served: one that fails in bad times
    would flatter all the others.
    """
    served, common = (evidence.challenger.count(name) for name in ("n_scored", "n_common"))
    left_out = served - common
    return judged(
        "common_cells",
        left_out / served if left_out >= 0 and served > 0 else None,
        "<=",
        policy.max_failed_frac,
        unit="fraction",
        say=lambda value, limit: (
            f"Of the {served:,} cells it served, {left_out:,} are in no figure because another "
            f"forecaster of the run failed there, {value}; at most {limit} is allowed."
        ),
        missing="It served no cell; run `pmx evaluate`.",
    )
