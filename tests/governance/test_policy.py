from pathlib import Path

import pytest

from pmx_ray.config import read_yaml
from pmx_ray.errors import SettingsError
from pmx_ray.governance.policy import GovernancePolicy, load_policy

FILE = Path(__file__).parents[2] / "configs" / "governance.yaml"


def keys(values, prefix=""):
    """Return the dotted names of every leaf of a nested mapping."""
    return {
        name
        for key, value in values.items()
        for name in (
            keys(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}"}
        )
    }


def test_policy_file_when_read_then_every_default_and_no_other_value():
    assert load_policy(FILE) == GovernancePolicy()
    assert keys(read_yaml(FILE)) == keys(GovernancePolicy().model_dump())


def test_policy_when_default_then_the_numbers_of_the_requirements():  # proves G4, G5, R1, V1, K2
    policy = GovernancePolicy()
    assert policy.min_profit_factor_uplift_frac == 0.03
    assert (policy.max_drawdown_over_baseline_frac, policy.max_drawdown_frac) == (0.5, 0.15)
    assert policy.alpha == 0.05
    assert (policy.min_round_trip_bps, policy.min_resamples) == (2.0, 200)
    assert (policy.baselines, policy.max_decision_age_days) == (("random_walk",), 30)
    assert policy.min_walk_forward_days == 182
    assert policy.regimes == ("bull", "bear", "sideways")
    assert policy.crises == ("crisis_2008", "crisis_2020")
    assert policy.degradation.min_hit_rate_frac == 0.45
    assert policy.degradation.n_sessions == 30


@pytest.mark.parametrize(("stage", "gate"), [("paper", 0.55), ("small_live", 0.52), ("scale", 0.5)])
def test_hit_rate_gate_when_stage_rises_then_falls(stage, gate):  # proves K2
    assert GovernancePolicy(stage=stage).min_hit_rate_frac == gate


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("max_pbbo: 0.2", "unknown key 'max_pbbo'; did you mean 'max_pbo'"),
        ("selection: {hysteresys: 0.1}", "unknown key 'selection.hysteresys'"),
        ("alpha: 2", "alpha: .*less than 1 .was 2"),
        ("crises: [crisis_1929]", "crises.0: .*crisis_2008"),
        ("selection: {weight_sharpe: 0.5}", "the four weights sum to 1.25; they must sum to 1"),
        ("alpha: .nan", "alpha: "),
        ("regimes: [bull, bull]", "regimes: each is named once"),
    ],
)
def test_load_policy_when_a_key_is_wrong_then_one_line_says_where(tmp_path, written, message):
    path = tmp_path / "governance.yaml"
    path.write_text(written)
    with pytest.raises(SettingsError, match=message) as caught:
        load_policy(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_load_policy_when_the_file_is_missing_then_the_nearest_is_named():
    with pytest.raises(SettingsError, match=r"did you mean 'governance\.yaml'"):
        load_policy(FILE.with_name("governanse.yaml"))


def test_load_policy_when_overridden_then_only_that_value_changes_and_the_hash():
    policy = load_policy(FILE, ["degradation.n_sessions=20"])
    assert policy.degradation.n_sessions == 20
    assert policy.sha256 != GovernancePolicy().sha256
    assert load_policy(FILE).sha256 == GovernancePolicy().sha256
