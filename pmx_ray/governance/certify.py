"""Whether a challenger may be promoted: every check evaluated, refused unless all of them hold."""

from datetime import datetime

from pmx_ray.backtest.comparison import Comparison
from pmx_ray.backtest.report_types import EvaluationReport
from pmx_ray.governance.checks import all_checks
from pmx_ray.governance.decision import GovernanceDecision, Outcome
from pmx_ray.governance.evidence import gather
from pmx_ray.governance.facts import Facts
from pmx_ray.governance.policy import GovernancePolicy


def certify(
    report: EvaluationReport,
    comparison: Comparison,
    policy: GovernancePolicy,
    *,
    facts: Facts,
    challenger: str,
    baseline: str,
    step: int,
    as_of: datetime,
    previous: str = "",
) -> GovernanceDecision:
    """Return the decision on ``challenger``: promote where every check holds, hold otherwise.

    A figure that is missing, NaN or not covered fails its check; the sentence says what supplies
    it. The same arguments give the same decision, id and all.

    Parameters
    ----------
    report, comparison : EvaluationReport, Comparison
        Of one evaluation.
    policy : GovernancePolicy
        What is asked for.
    facts : Facts
        Trials, leak audit, replays, data quality and fallback, read elsewhere.
    challenger, baseline : str
        Spec ids; the baseline is the comparison's.
    step : int
        Sessions after the cutoff to judge at.
    as_of : datetime
        Now, UTC: the age of the fallback's drill is counted to it.
    previous : str
        Id of the decision before this one about the same alias.

    Raises
    ------
    DataError
        If report, comparison and facts are not of one evaluation, if a spec or the step is not in
        them, or if the challenger is the baseline or incomplete.
    """
    evidence = gather(
        report,
        comparison,
        policy,
        facts=facts,
        challenger=challenger,
        baseline=baseline,
        step=step,
        as_of=as_of,
    )
    checks = all_checks(evidence, policy)
    fallback = facts.fallback
    return GovernanceDecision(
        outcome=Outcome.PROMOTE if all(check.passed for check in checks) else Outcome.HOLD,
        challenger=challenger,
        challenger_label=evidence.challenger.text("label"),
        baseline=baseline,
        baseline_label=evidence.baseline.text("label"),
        fallback=fallback.spec if fallback else "",
        fallback_label=fallback.label if fallback else "",
        step=step,
        checks=checks,
        report_key=comparison.key,
        policy_sha256=policy.sha256,
        previous=previous,
    )
