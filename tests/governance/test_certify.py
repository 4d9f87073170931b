import math
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from governance_cases import BASE, KEY, NOW, OWN, STEP, THIRD, cutoff_rows, passing, table_of
from hypothesis import given, settings
from hypothesis import strategies as st

from pmx_ray.backtest.comparison import REGIMES_SCHEMA, STRATEGIES_SCHEMA
from pmx_ray.backtest.report_types import CUTOFFS_SCHEMA
from pmx_ray.errors import DataError
from pmx_ray.governance.decision import GovernanceDecision, Outcome
from pmx_ray.governance.facts import LeakFacts
from pmx_ray.governance.judgement import holds, texts
from pmx_ray.governance.policy import GovernancePolicy

NAMES = (
    "profit_factor_uplift", "drawdown_relative", "drawdown_absolute", "diebold_mariano",
    "superior_predictive_ability", "model_confidence_set", "deflated_sharpe",
    "backtest_overfitting", "value_at_risk", "expected_shortfall", "interval_coverage",
    "walk_forward_length", "regime_bull", "regime_bear", "regime_sideways", "crisis_2008",
    "crisis_2020", "leak_audit", "n_trades", "hit_rate", "hit_rate_lower_bound", "data_quality",
    "failed_cells", "common_cells", "fallback", "evaluation_settings",
)  # fmt: skip


def short_walk(case, n):
    cutoffs = table_of(CUTOFFS_SCHEMA, cutoff_rows(OWN, n))
    return replace(case, report=replace(case.report, cutoffs=cutoffs))


def with_costs(case, slippage_bps, fee_bps):
    costs = {"slippage_bps": slippage_bps, "fee_bps": fee_bps}
    report = replace(case.report, settings={**case.report.settings, "costs": costs})
    return replace(case, report=report)


def with_resamples(case, n):
    report = replace(case.report, settings={**case.report.settings, "n_resamples": n})
    return replace(case, report=report, comparison=replace(case.comparison, n_resamples=n))


def failed(decision):
    return [check.name for check in decision.failed]


def check(decision, name):
    return next(check for check in decision.checks if check.name == name)


def test_certify_when_every_check_holds_then_promote():  # proves G1, G3
    decision = passing().decide(previous="before")
    assert decision.outcome is Outcome.PROMOTE
    assert tuple(c.name for c in decision.checks) == NAMES
    assert (decision.challenger, decision.challenger_label) == (OWN, "samossa")
    assert (decision.baseline_label, decision.fallback_label) == ("random_walk", "drift")
    assert (decision.report_key, decision.step, decision.previous) == (KEY, STEP, "before")
    assert GovernanceDecision.from_document(decision.as_document()) == decision


def test_certify_when_every_check_holds_then_figures_by_hand():
    found = {c.name: c.value for c in passing().decide().checks}
    assert found["profit_factor_uplift"] == pytest.approx(1.5 / 1.1 - 1.0)
    assert found["drawdown_relative"] == 0.08
    assert found["superior_predictive_ability"] == pytest.approx(0.004 + 4 * 0.002)  # 4 outside
    assert found["interval_coverage"] == pytest.approx(0.01)
    assert found["walk_forward_length"] == 5 * 99
    assert found["failed_cells"] == 0.01
    assert found["fallback"] == 3.0
    # Best of 6 at a standard deviation of 0.1: 0.1 (0.42278 z(1 - 1/6) + 0.57722 z(1 - 1/(6 e)))
    # = 0.1 (0.42278 x 0.96742 + 0.57722 x 1.54376) = 0.13001; then, with normal moments,
    # Phi((0.5 - 0.13001) sqrt(99) / sqrt(1 + 0.5 x 0.25)) = Phi(3.471) = 0.99974.
    assert found["deflated_sharpe"] == pytest.approx(0.99974, abs=5e-6)


ALONE = {
    "profit_factor_uplift": lambda c: c.with_report("leaderboard", profit_factor=1.13),
    "drawdown_relative": lambda c: c.with_report("leaderboard", spec=BASE, max_drawdown_frac=0.05),
    "drawdown_absolute": lambda c: c.with_report(
        "leaderboard", spec=BASE, max_drawdown_frac=0.12
    ).with_report("leaderboard", max_drawdown_frac=0.15),
    "diebold_mariano": lambda c: c.with_comparison("pairwise", dm_p_less=0.05).with_facts(
        trials={"n_trials": 2}
    ),
    "superior_predictive_ability": lambda c: c.with_sets(spa_p=0.045),
    "model_confidence_set": lambda c: c.with_sets(mcs_p={OWN: 0.1, BASE: 1.0}),
    "deflated_sharpe": lambda c: c.with_comparison("strategies", sharpe=0.2),
    "backtest_overfitting": lambda c: c.with_facts(trials={"pbo": 0.21}),
    "value_at_risk": lambda c: c.with_comparison("strategies", value_at_risk=0.051),
    "expected_shortfall": lambda c: c.with_comparison("strategies", expected_shortfall=0.076),
    "interval_coverage": lambda c: c.with_report("leaderboard", coverage_90=0.84),
    "walk_forward_length": lambda c: short_walk(c, 37),  # 36 x 5 = 180 days
    "regime_bull": lambda c: c.with_comparison("regimes", regime="bull", net_return=-0.001),
    "regime_bear": lambda c: c.with_comparison("regimes", regime="bear", max_drawdown_frac=0.15),
    "regime_sideways": lambda c: c.with_comparison("regimes", regime="sideways", n_cutoffs=9),
    "crisis_2008": lambda c: c.with_replay("crisis_2008", max_drawdown_frac=0.16),
    "crisis_2020": lambda c: c.with_replay("crisis_2020", n_cutoffs=0),
    "leak_audit": lambda c: c.with_facts(leaks={"findings": ("a scaler saw 2020-03-16",)}),
    "n_trades": lambda c: c.with_report("leaderboard", n_trades=29),
    "hit_rate": lambda c: c.with_report("leaderboard", hit_rate=0.55),
    "hit_rate_lower_bound": lambda c: c.with_report("leaderboard", hit_rate_low=0.49),
    "data_quality": lambda c: c.with_facts(quality={"score": 0.94}),
    "failed_cells": lambda c: c.with_report("leaderboard", n_failed=51),
    "common_cells": lambda c: c.with_report("leaderboard", n_common=940),
    "fallback": lambda c: c.with_facts(fallback={"n_served": 39}),
    "evaluation_settings": lambda c: with_costs(c, 0.4, 0.5),
}
"""For each check a case that fails it and no other."""


def test_alone_when_counted_then_one_case_a_check():
    assert tuple(ALONE) == NAMES


@pytest.mark.parametrize("name", ALONE)
def test_certify_when_one_check_fails_then_hold_for_it_alone(name):  # proves G1
    decision = ALONE[name](passing()).decide()
    assert decision.outcome is Outcome.HOLD
    assert failed(decision) == [name]
    assert len(decision.checks) == len(NAMES)


EDGES = {
    "drawdown_relative at its limit": lambda c: c.with_report(
        "leaderboard", max_drawdown_frac=0.0750
    ).with_report("leaderboard", spec=BASE, max_drawdown_frac=0.05),
    "hit rate just above": lambda c: c.with_report("leaderboard", hit_rate=0.5501),
    "hit rate's lower end at a coin": lambda c: c.with_report("leaderboard", hit_rate_low=0.5),
    "thirty trades": lambda c: c.with_report("leaderboard", n_trades=30),
    "182 days": lambda c: replace(c, policy=GovernancePolicy(min_walk_forward_days=5 * 99)),
    "a regime that breaks even": lambda c: c.with_comparison(
        "regimes", regime="bear", net_return=0.0
    ),
    "a drill 30 days ago": lambda c: c.with_facts(
        fallback={"exercised_at": NOW - timedelta(days=30)}
    ),
    "a baseline that takes no side": lambda c: c.with_report(
        "leaderboard", spec=BASE, n_trades=0, profit_factor=None, max_drawdown_frac=0.0
    ),
    "no losing trade": lambda c: c.with_report(
        "leaderboard", profit_factor=math.inf, profit_factor_low=math.inf
    ),
}


@pytest.mark.parametrize("edge", EDGES)
def test_certify_when_at_a_limit_that_counts_then_promote(edge):
    decision = EDGES[edge](passing()).decide()
    assert failed(decision) == []
    assert decision.outcome is Outcome.PROMOTE


REFUSED = {
    # Nothing, where there should be something.
    "no profit factor": (
        "profit_factor_uplift",
        lambda c: c.with_report("leaderboard", profit_factor=None),
        "pmx evaluate",
    ),
    "no losing trade and no interval": (
        "profit_factor_uplift",
        lambda c: c.with_report("leaderboard", profit_factor=math.inf, profit_factor_low=None),
        "too few for an interval",
    ),
    "a baseline that traded without a factor": (
        "profit_factor_uplift",
        lambda c: c.with_report("leaderboard", spec=BASE, profit_factor=None),
        "pmx evaluate",
    ),
    "a baseline without a losing trade": (
        "profit_factor_uplift",
        lambda c: c.with_report("leaderboard", spec=BASE, profit_factor=math.inf),
        "-100.0%",
    ),
    "a baseline without a drawdown": (
        "drawdown_relative",
        lambda c: c.with_report("leaderboard", spec=BASE, max_drawdown_frac=None),
        "walk through time",
    ),
    "no pooled test": (
        "diebold_mariano",
        lambda c: c.with_comparison("pairwise", ticker="A").with_facts(trials={"n_trials": 2}),
        "pmx compare",
    ),
    "a pooled test of another loss": (
        "diebold_mariano",
        lambda c: c.with_comparison("pairwise", loss="qlike").with_facts(trials={"n_trials": 2}),
        "pmx compare",
    ),
    "a pooled test against another spec": (
        "diebold_mariano",
        lambda c: c.with_comparison("pairwise", versus=THIRD).with_facts(trials={"n_trials": 2}),
        "pmx compare",
    ),
    "no SPA": (
        "superior_predictive_ability", lambda c: c.with_sets(spa_p=None), "pmx compare",
    ),
    "NaN in the confidence set": (
        "model_confidence_set", lambda c: c.with_sets(mcs_p={OWN: math.nan}), "pmx compare",
    ),
    "nothing in the confidence set": (
        "model_confidence_set", lambda c: c.with_sets(mcs_p={OWN: None}), "pmx compare",
    ),
    "no Sharpe ratio": (
        "deflated_sharpe", lambda c: c.with_comparison("strategies", sharpe=None), "pmx compare",
    ),
    "no variance of trials": (
        "deflated_sharpe",
        lambda c: c.with_facts(trials={"sharpe_variance": math.nan}),
        "missing",
    ),
    "no PBO": (
        "backtest_overfitting", lambda c: c.with_facts(trials={"pbo": None}), "pmx sweep",
    ),
    "no splits behind the PBO": (
        "backtest_overfitting", lambda c: c.with_facts(trials={"n_splits": 0}), "pmx sweep",
    ),
    "no coverage": (
        "interval_coverage", lambda c: c.with_report("leaderboard", coverage_90=None),
        "pmx evaluate",
    ),
    "a combinatorial plan": (
        "walk_forward_length", lambda c: c.with_report("cutoffs", split=1), "combinatorial",
    ),
    "cutoffs without a scored cell": (
        "walk_forward_length", lambda c: c.with_report("cutoffs", n_common=0), "pmx sweep",
    ),
    "a regime without figures": (
        "regime_bear",
        lambda c: c.with_comparison("regimes", regime="bear", net_return=None),
        "pmx compare",
    ),
    "a crisis that nothing replayed": (
        "crisis_2008", lambda c: c.with_facts(replays=c.facts.replays[1:]), "pmx sweep",
    ),
    "a crisis with NaN": (
        "crisis_2020",
        lambda c: c.with_replay("crisis_2020", max_drawdown_frac=math.nan),
        "pmx sweep",
    ),
    "no leak audit": (
        "leak_audit", lambda c: c.with_facts(leaks=LeakFacts(0, ())), "pmx audit-leaks",
    ),
    "no side taken": (
        "hit_rate", lambda c: c.with_report("leaderboard", hit_rate=None), "pmx evaluate",
    ),
    "no interval of the hit rate": (
        "hit_rate_lower_bound",
        lambda c: c.with_report("leaderboard", hit_rate_low=None),
        "pmx evaluate",
    ),
    "NaN for a quality": (
        "data_quality", lambda c: c.with_facts(quality={"score": math.nan}), "pmx sweep",
    ),
    "no cells": (
        "failed_cells", lambda c: c.with_report("leaderboard", n_cells=0, n_failed=0), "pmx",
    ),
    "no fallback": ("fallback", lambda c: c.with_facts(fallback=None), "pmx certify"),
    "a fallback never asked": (
        "fallback", lambda c: c.with_facts(fallback={"n_asked": 0, "n_served": 0}), "pmx certify",
    ),
    "an old drill": (
        "fallback",
        lambda c: c.with_facts(fallback={"exercised_at": NOW - timedelta(days=30, seconds=1)}),
        "31 days ago; at most 30 days",
    ),
    "a drill to come": (
        "fallback",
        lambda c: c.with_facts(fallback={"exercised_at": NOW + timedelta(seconds=1)}),
        "after this certificate",
    ),
    "a drill without a time zone": (
        "fallback",
        lambda c: c.with_facts(fallback={"exercised_at": datetime(2024, 5, 30)}),
        "no time zone",
    ),
    "the challenger for a fallback": (
        "fallback", lambda c: c.with_facts(fallback={"spec": OWN}), "challenger itself",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_certify_when_a_figure_is_missing_then_its_check_alone_says_what_supplies_it(case):
    name, change, words = REFUSED[case]
    decision = change(passing()).decide()
    assert decision.outcome is Outcome.HOLD
    assert failed(decision) == [name]
    assert words in check(decision, name).sentence


def test_certify_when_there_is_no_strategy_row_then_three_checks_fail():
    case = passing()
    empty = replace(case.comparison, strategies=STRATEGIES_SCHEMA.empty_table())
    with pytest.raises(DataError, match="not in the comparison"):
        replace(case, comparison=empty).decide()
    of_base = case.with_comparison("strategies", sharpe=None, value_at_risk=None)
    found = failed(of_base.with_comparison("strategies", expected_shortfall=None).decide())
    assert found == ["deflated_sharpe", "value_at_risk", "expected_shortfall"]


def test_certify_when_there_are_no_regimes_or_sets_then_their_checks_fail():
    case = passing()
    bare = replace(case.comparison, regimes=REGIMES_SCHEMA.empty_table(), sets=())
    assert failed(replace(case, comparison=bare).decide()) == [
        "superior_predictive_ability", "model_confidence_set",
        "regime_bull", "regime_bear", "regime_sideways",
    ]  # fmt: skip


@pytest.mark.parametrize("other", [{"loss": "qlike"}, {"step": 20}])
def test_certify_when_the_sets_are_of_another_loss_or_step_then_not_taken(other):
    assert failed(passing().with_sets(**other).decide()) == [
        "superior_predictive_ability", "model_confidence_set",
    ]  # fmt: skip


@pytest.mark.parametrize("counts", [(0, 0), (5, 0), (1, 2)])
def test_certify_when_the_ledger_does_not_count_the_run_then_luck_is_not_ruled_out(counts):
    n_trials, n_in_run = counts
    decision = passing().with_facts(trials={"n_trials": n_trials, "n_in_run": n_in_run}).decide()
    assert failed(decision) == ["superior_predictive_ability", "deflated_sharpe"]
    assert "pmx evaluate" in check(decision, "superior_predictive_ability").sentence


def test_certify_when_intervals_are_narrow_or_the_tail_is_another_then_not_taken():
    case = passing()
    stated = {**case.report.settings, "level": 0.5, "tail": 0.2}
    loose = replace(
        case,
        report=replace(case.report, settings=stated),
        comparison=replace(case.comparison, level=0.5, tail=0.2),
    )
    assert failed(loose.decide()) == [
        "value_at_risk", "expected_shortfall", "hit_rate_lower_bound",
    ]  # fmt: skip


def test_profit_factor_when_no_trade_lost_then_counted_with_one_that_does():
    case = passing().with_report(
        "leaderboard", profit_factor=math.inf, profit_factor_low=math.inf, n_trades=44
    )
    found = check(case.decide(), "profit_factor_uplift")
    assert found.value == pytest.approx(44 / 1.1 - 1.0)
    bounded = case.with_report("leaderboard", profit_factor_low=1.12).decide()
    assert failed(bounded) == ["profit_factor_uplift"]


def test_profit_factor_when_the_baseline_loses_then_breaking_even_is_to_be_beaten():
    losing = passing().with_report("leaderboard", spec=BASE, profit_factor=0.5)
    assert check(losing.decide(), "profit_factor_uplift").value == pytest.approx(0.5)
    less = losing.with_report("leaderboard", profit_factor=0.9)
    assert failed(less.decide()) == ["profit_factor_uplift"]


def test_drawdown_when_the_baseline_takes_no_side_then_the_absolute_limit_binds():  # proves G5
    idle = passing().with_report(
        "leaderboard", spec=BASE, n_trades=0, profit_factor=None, max_drawdown_frac=0.0
    )
    found = check(idle.decide(), "drawdown_relative")
    assert (found.limit, found.passed) == (0.15, True)
    assert "nothing to be relative to" in found.sentence
    traded = passing().with_report("leaderboard", spec=BASE, max_drawdown_frac=0.0)
    assert failed(traded.decide()) == ["drawdown_relative"]


@pytest.mark.parametrize(
    ("change", "value", "limit", "words"),
    [
        (lambda c: with_costs(c, 0.0, 0.0), 0.0, 2.0, "charged 0.00 basis points"),
        (lambda c: with_resamples(c, 199), 199.0, 200.0, "resampled 199 times"),
        (
            lambda c: replace(c, policy=GovernancePolicy(baselines=("drift",))),
            1.0,
            0.0,
            "against random_walk; baselines other than drift",
        ),
    ],
)
def test_evaluation_settings_when_one_is_lax_then_that_one_is_shown(change, value, limit, words):
    decision = change(passing()).decide()
    found = check(decision, "evaluation_settings")
    assert failed(decision) == ["evaluation_settings"]
    assert (found.value, found.limit) == (value, limit)
    assert words in found.sentence


def test_evaluation_settings_when_at_the_limits_then_promote():
    # A side of half a basis point of slippage and half of fee is a round trip of 2.
    assert failed(with_resamples(with_costs(passing(), 0.5, 0.5), 200).decide()) == []


def test_evaluation_settings_when_not_stated_then_says_what_supplies_them():
    case = passing()
    stated = {k: v for k, v in case.report.settings.items() if k != "costs"}
    decision = replace(case, report=replace(case.report, settings=stated)).decide()
    assert failed(decision) == ["evaluation_settings"]
    assert "pmx evaluate" in check(decision, "evaluation_settings").sentence


def test_regime_when_several_conditions_fail_then_the_first_is_shown():
    case = passing().with_comparison(
        "regimes", regime="bull", net_return=-0.1, max_drawdown_frac=0.3
    )
    found = check(case.decide(), "regime_bull")
    assert (found.value, found.limit, found.comparator) == (0.3, 0.15, "<")


def test_policy_when_a_crisis_is_waived_then_not_checked_and_the_hash_says_so():
    case = passing().with_replay("crisis_2008", n_cutoffs=0)
    waived = replace(case, policy=GovernancePolicy(crises=("crisis_2020",))).decide()
    assert waived.outcome is Outcome.PROMOTE
    assert waived.policy_sha256 != passing().decide().policy_sha256


@pytest.mark.parametrize("alter", [None, *ALONE.values()])
def test_checks_when_shown_then_verdict_figures_and_sentence_agree(alter):
    case = passing() if alter is None else alter(passing())
    for found in case.decide().checks:
        if found.value is None:
            assert not found.passed
            assert "`pmx " in found.sentence
            continue
        assert found.passed == holds(found.value, found.comparator, found.limit)
        for text in texts(found.value, found.limit, unit=found.unit):
            assert text in found.sentence, found.sentence
        assert found.sentence.endswith(" Met." if found.passed else " Not met.")


def test_decision_when_made_again_then_the_same_id():
    assert passing().decide().id == passing().decide().id
    later = replace(passing(), as_of=NOW - timedelta(hours=1))
    assert later.decide().id == passing().decide().id  # the age of the drill is in whole days
    assert passing().decide(previous="x").id != passing().decide().id


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c.with_facts(report_key="other"),
            f"of evaluation {KEY} and the report is other",
        ),
        (lambda c: replace(c, comparison=replace(c.comparison, key="")), "names no evaluation"),
        (lambda c: replace(c, comparison=replace(c.comparison, seed=8)), "seed is 8 .* 7"),
        (lambda c: replace(c, comparison=replace(c.comparison, step_size=1)), "step_size is 1"),
        (lambda c: replace(c, comparison=replace(c.comparison, level=0.9)), "level is 0.9"),
        (lambda c: replace(c, as_of=NOW.replace(tzinfo=None)), "time zone"),
        (lambda c: c.with_report("leaderboard", incomplete=True), "samossa failed on 10 of 1000"),
    ],
)
def test_certify_when_the_parts_do_not_belong_together_then_refused(change, message):
    with pytest.raises(DataError, match=message):
        change(passing()).decide()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"challenger": BASE}, "challenger and baseline are both"),
        ({"challenger": THIRD}, "is not in the report at step 5"),
        ({"baseline": THIRD}, "the comparison is against random_walk"),
        ({"step": 20}, "is not in the report at step 20"),
    ],
)
def test_certify_when_a_name_is_not_there_then_refused(names, message):
    with pytest.raises(DataError, match=message):
        passing().decide(**names)


LIMITS = {
    # Where a figure passes in the case above, and the direction in which it gets worse.
    "profit_factor": ("leaderboard", 1.5, -1),
    "max_drawdown_frac": ("leaderboard", 0.08, 1),
    "hit_rate": ("leaderboard", 0.58, -1),
    "hit_rate_low": ("leaderboard", 0.53, -1),
    "dm_p_less": ("pairwise", 0.002, 1),
    "sharpe": ("strategies", 0.5, -1),
    "value_at_risk": ("strategies", 0.02, 1),
    "expected_shortfall": ("strategies", 0.03, 1),
    "spa_p": ("sets", 0.004, 1),
    "n_trials": ("trials", 6, 1),
    "pbo": ("trials", 0.1, 1),
    "score": ("quality", 0.999, -1),
}


def moved(case, figure, amount):
    table, value, sign = LIMITS[figure]
    figures = {figure: value + sign * amount}
    match table:
        case "leaderboard":
            return case.with_report(table, **figures)
        case "sets":
            return case.with_sets(**figures)
        case "trials" | "quality":
            whole = {k: round(v) if k == "n_trials" else v for k, v in figures.items()}
            return case.with_facts(**{table: whole})
    return case.with_comparison(table, **figures)


@settings(max_examples=30, deadline=None)
@given(
    figure=st.sampled_from(sorted(LIMITS)),
    start=st.floats(0.0, 0.5),
    more=st.floats(0.0, 0.5),
)
def test_certify_when_a_figure_gets_worse_then_hold_never_turns_to_promote(figure, start, more):
    scale = 100.0 if figure == "n_trials" else 1.0
    before = moved(passing(), figure, scale * start).decide()
    after = moved(passing(), figure, scale * (start + more)).decide()
    passed = {c.name for c in before.checks if c.passed}
    assert {c.name for c in after.checks if c.passed} <= passed
    assert not (before.outcome is Outcome.HOLD and after.outcome is Outcome.PROMOTE)


def test_as_of_when_in_another_zone_then_the_same_decision():
    tokyo = NOW.astimezone(timezone(timedelta(hours=9)))
    assert replace(passing(), as_of=tokyo).decide().id == passing().decide().id


def test_spa_when_no_resample_was_as_good_then_still_not_certain():
    found = check(passing().with_sets(spa_p=0.0).decide(), "superior_predictive_ability")
    assert found.value == pytest.approx(1 / 1001 + 4 * 0.002)
    many = passing().with_sets(spa_p=0.0).with_facts(trials={"n_trials": 500})
    assert "superior_predictive_ability" in failed(many.decide())
