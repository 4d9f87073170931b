"""Every check of a promotion, in the order a committee reads them."""

from collections.abc import Iterator

from pmx_ray.governance import checks_of_conduct as conduct
from pmx_ray.governance import checks_of_profit as profit
from pmx_ray.governance import checks_of_skill as skill
from pmx_ray.governance.decision import Check
from pmx_ray.governance.evidence import Evidence
from pmx_ray.governance.knowledge import knowledge_cutoff
from pmx_ray.governance.policy import GovernancePolicy


def all_checks(evidence: Evidence, policy: GovernancePolicy) -> tuple[Check, ...]:
    """Return every check, each evaluated whatever the others found."""
    return tuple(_checks(evidence, policy))


def _checks(evidence: Evidence, policy: GovernancePolicy) -> Iterator[Check]:
    yield profit.profit_factor_uplift(evidence, policy)
    yield profit.drawdown_relative(evidence, policy)
    yield profit.drawdown_absolute(evidence, policy)
    yield skill.diebold_mariano(evidence, policy)
    yield skill.superior_predictive_ability(evidence, policy)
    yield skill.model_confidence_set(evidence, policy)
    yield skill.deflated_sharpe_ratio(evidence, policy)
    yield skill.backtest_overfitting(evidence, policy)
    yield profit.value_at_risk(evidence, policy)
    yield profit.expected_shortfall(evidence, policy)
    yield skill.interval_coverage(evidence, policy)
    yield conduct.walk_forward_length(evidence, policy)
    for regime in policy.regimes:
        yield conduct.regime(evidence, policy, name=regime)
    for crisis in policy.crises:
        yield conduct.crisis(evidence, policy, name=crisis)
    yield conduct.leak_audit(evidence, policy)
    if (known := evidence.facts.knowledge) is not None:
        yield knowledge_cutoff(evidence, known)
    yield profit.n_trades(evidence, policy)
    yield profit.hit_rate(evidence, policy)
    yield profit.hit_rate_lower_bound(evidence, policy)
    yield conduct.data_quality(evidence, policy)
    yield conduct.failed_cells(evidence, policy)
    yield skill.common_cells(evidence, policy)
    yield conduct.fallback(evidence, policy)
    yield conduct.evaluation_settings(evidence, policy)
