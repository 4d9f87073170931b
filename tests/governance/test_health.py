import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmx_ray.errors import DataError
from pmx_ray.governance.decision import GovernanceDecision, Outcome
from pmx_ray.governance.health import Health, degradation, reversion
from pmx_ray.governance.policy import DegradationPolicy, GovernancePolicy

POLICY = DegradationPolicy()
NAMES = ["rolling_hit_rate", "live_drawdown", "loss_ratio", "data_age"]
PARTIES = {
    "champion": "1111", "champion_label": "samossa", "baseline": "0000",
    "baseline_label": "random_walk", "fallback": "2222", "fallback_label": "drift",
    "step": 5, "report_key": "key",
}  # fmt: skip


def history(n=40, **changed):
    """Return 40 sessions of a sound model: 2 sided forecasts each, half of them right."""
    series = {
        "hits": np.ones(n),
        "n_sided": np.full(n, 2.0),
        "net_return": np.full(n, 0.001),
        "loss": np.full(n, 0.9),
        "baseline_loss": np.ones(n),
        "data_age_hours": 20.0,
    }
    return Health(**{**series, **changed})


def latest(value, rest, last=30, n=40):
    return np.array([rest] * (n - last) + [value] * last, float)


def failed(health, policy=POLICY):
    return [check.name for check in degradation(health, policy).checks if not check.passed]


def test_degradation_when_sound_then_every_check_passes():
    verdict = degradation(history(), POLICY)
    assert [check.name for check in verdict.checks] == NAMES
    assert (verdict.degraded, verdict.reasons, verdict.unjudged) == (False, (), ())


ALONE = {
    # 26 of 60 is 43.3 %
    "rolling_hit_rate": history(hits=np.array([2.0] * 10 + [1.0] * 26 + [0.0] * 4)),
    "live_drawdown": history(net_return=np.array([0.1] + [0.0] * 38 + [-0.15])),
    "loss_ratio": history(loss=latest(1.21, rest=0.1)),
    "data_age": history(data_age_hours=96.1),
}


@pytest.mark.parametrize("name", NAMES)
def test_degradation_when_one_figure_is_bad_then_that_check_alone_fails(name):  # proves G2, K2, L3
    assert failed(ALONE[name]) == [name]
    (reason,) = degradation(ALONE[name], POLICY).reasons
    assert reason.endswith("Not met.")


@pytest.mark.parametrize(
    "health",
    [
        history(hits=np.array([0.0] * 10 + [1.0] * 27 + [0.0] * 3)),  # 27 of 60 is 45 %
        history(loss=latest(1.5, rest=9.0), baseline_loss=np.full(40, 1.25)),
        history(data_age_hours=96.0),
        history(net_return=np.array([0.0] * 39 + [-0.149])),
    ],
)
def test_degradation_when_at_a_limit_or_bad_long_ago_then_sound(health):
    assert failed(health) == []


@pytest.mark.parametrize(
    "health",
    [
        history(29, hits=np.zeros(29)),  # a session short
        history(hits=np.zeros(40), n_sided=latest(0.5, rest=5.0)),  # 15 forecasts in 30 sessions
    ],
)
def test_hit_rate_when_too_little_is_known_then_not_judged(health):
    verdict = degradation(health, POLICY)
    assert not verdict.degraded
    assert any("hit rate is judged" in sentence for sentence in verdict.unjudged)


def test_degradation_when_nothing_was_traded_or_scored_then_said_and_not_judged():
    none = np.full(40, np.nan)
    verdict = degradation(history(net_return=none, loss=none), POLICY)
    assert [check.name for check in verdict.checks] == ["rolling_hit_rate", "data_age"]
    assert len(verdict.unjudged) == 2


@pytest.mark.parametrize("age", [np.nan, np.inf, -1.0])
def test_degradation_when_prices_have_no_age_then_stale(age):
    (found,) = degradation(history(data_age_hours=age), POLICY).reasons
    assert "has no age" in found


def test_loss_ratio_when_infinite_then_degraded():
    assert failed(history(loss=latest(np.inf, rest=1.0, last=1))) == ["loss_ratio"]


@settings(max_examples=30, deadline=None)
@given(misses=st.integers(0, 30), more=st.integers(0, 30), n_old=st.integers(0, 20))
def test_degradation_when_more_forecasts_miss_or_older_ones_go_then_never_sounder(
    misses, more, n_old
):
    def found(n_missed, n=30):
        hits = np.array(
            [1.0] * (n - 30) + [0.0] * min(n_missed, 30) + [2.0] * max(30 - n_missed, 0)
        )
        return failed(history(n, hits=hits))

    assert set(found(misses)) <= set(found(misses + more))
    assert found(misses) == found(misses, 30 + n_old)


def test_health_when_series_do_not_fit_then_refused():
    with pytest.raises(DataError, match="differ in length"):
        history(loss=np.ones(3))
    with pytest.raises(DataError, match="between 0 and n_sided"):
        history(hits=np.full(40, 3.0))
    with pytest.raises(DataError, match="not be NaN"):
        history(hits=np.full(40, np.nan))
    with pytest.raises(ValueError, match="read-only"):
        history().hits[0] = 9.0


def test_reversion_when_degraded_then_a_decision_that_names_what_takes_over():  # proves G3
    policy = GovernancePolicy()
    verdict = degradation(ALONE["data_age"], policy.degradation)
    decision = reversion(verdict, policy, **PARTIES, previous="before")
    assert decision.outcome is Outcome.REVERT
    assert (decision.challenger, decision.fallback) == ("1111", "2222")
    assert [check.name for check in decision.failed] == ["data_age"]
    assert decision.policy_sha256 == policy.sha256
    assert GovernanceDecision.from_document(decision.as_document()) == decision
    assert decision.id == reversion(verdict, policy, **PARTIES, previous="before").id


def test_reversion_when_sound_then_refused():
    with pytest.raises(DataError, match="samossa has not degraded"):
        reversion(degradation(history(), POLICY), GovernancePolicy(), **PARTIES)


@pytest.mark.parametrize("fallback", ["", "1111"])
def test_reversion_when_nothing_else_can_take_over_then_refused(fallback):
    verdict = degradation(ALONE["data_age"], POLICY)
    with pytest.raises(DataError, match="nothing else can take over"):
        reversion(verdict, GovernancePolicy(), **{**PARTIES, "fallback": fallback})
