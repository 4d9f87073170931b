"""Which trials a report makes, and what all trials of a slice say of a run."""

import numpy as np
import pytest
from hand_frames import DRIFT, RANDOM_WALK, hand_frame

from pmx_ray.backtest.costs import CostSettings
from pmx_ray.backtest.evaluate import EvaluationSettings, evaluate
from pmx_ray.governance.trials import series, trial_facts, trials_of
from pmx_ray.ledger import open_ledger
from pmx_ray.ledger.trials import Trial, Trials, TrialSource
from pmx_ray.stats.overfitting import moments, probability_of_overfitting

FREE = EvaluationSettings(costs=CostSettings(slippage_bps=0, fee_bps=0), n_resamples=100)


def evaluated(n=120, seed=0, settings=FREE, **layout):
    actual = np.random.default_rng(seed).normal(0.0, 0.02, (n, 2, 1))
    frames = [
        (RANDOM_WALK, hand_frame(RANDOM_WALK, 0.0, actual, **layout)),
        (DRIFT, hand_frame(DRIFT, 0.3 * actual, actual, **layout)),
    ]
    return evaluate(frames, 1, settings, baseline=RANDOM_WALK.id, seed=0)


def noise(cutoffs, n, seed=1):
    rng = np.random.default_rng(seed)
    return tuple(
        Trial(f"c{k}", f"s{k}", f"noise {k}", 1, TrialSource.TUNE, ("A",), cutoffs,
              rng.normal(0.0, 0.01, len(cutoffs)))
        for k in range(n)
    )  # fmt: skip


def test_trials_when_a_report_has_two_specs_then_one_each_with_its_returns():
    report = evaluated()
    found = trials_of(report, ["B", "A"], source=TrialSource.SWEEP)
    assert {trial.label for trial in found} == {"random_walk", "drift"}
    assert {trial.tickers for trial in found} == {("A", "B")}
    (drift,) = [trial for trial in found if trial.spec_id == DRIFT.id]
    cutoffs, returns = series(report, spec=DRIFT.id, step=1)
    assert np.array_equal(drift.cutoffs, cutoffs)
    assert np.array_equal(drift.returns, returns)
    assert len(returns) == 120


def test_trials_when_costs_change_then_another_configuration():
    cheap = trials_of(evaluated(), ["A"], source=TrialSource.SWEEP)
    dear = EvaluationSettings(costs=CostSettings(slippage_bps=10, fee_bps=10), n_resamples=100)
    other = trials_of(evaluated(settings=dear), ["A"], source=TrialSource.SWEEP)
    assert not {trial.config_id for trial in cheap} & {trial.config_id for trial in other}


def test_trials_when_the_plan_is_combinatorial_then_counted_without_returns():
    layout = {"split": [0] * 60 + [1] * 60, "cutoff": [*range(60), *range(60)]}
    (first, *_) = trials_of(evaluated(**layout), ["A"], source=TrialSource.SWEEP)
    assert len(first.cutoffs) == 60
    assert np.isnan(first.returns).all()


@pytest.mark.parametrize(("ci", "source"), [("1", TrialSource.CI), ("", TrialSource.SWEEP)])
def test_trials_when_in_ci_then_said(monkeypatch, ci, source):
    monkeypatch.setenv("CI", ci)
    assert {trial.source for trial in trials_of(evaluated(), ["A"])} == {source}


def test_facts_when_hundreds_were_tried_then_counted_with_their_variance_and_overfitting(tmp_path):
    own = trials_of(evaluated(), ["A"], source=TrialSource.SWEEP)
    tried = noise(own[0].cutoffs, 40)
    with open_ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        Trials(ledger).record([*tried, *own])
        span = {"first": own[0].cutoffs[0], "last": own[0].cutoffs[-1]}
        known = Trials(ledger).touching(("A",), **span)
    facts = trial_facts(known, own, step=1, step_size=1)
    assert (facts.n_trials, facts.n_in_run) == (42, 2)
    sharpes = [moments(t.returns).sharpe for t in known if not np.isnan(moments(t.returns).sharpe)]
    assert facts.sharpe_variance == pytest.approx(np.var(sharpes, ddof=1))
    returns = np.column_stack([trial.returns for trial in known])
    expected = probability_of_overfitting(returns, n_blocks=16)
    assert (facts.pbo, facts.n_splits) == (expected.pbo, 12_870)


def test_facts_when_alone_then_no_variance_and_overfitting_against_the_walk():
    own = trials_of(evaluated(), ["A"], source=TrialSource.SWEEP)
    facts = trial_facts((), own, step=1, step_size=1)
    assert (facts.n_trials, facts.n_in_run, facts.sharpe_variance) == (2, 2, 0.0)
    assert facts.pbo == 0.0  # its skill is there in every half


def test_facts_when_trials_stand_on_other_cutoffs_then_counted_and_left_out_of_overfitting():
    own = trials_of(evaluated(), ["A"], source=TrialSource.SWEEP)
    elsewhere = noise(own[0].cutoffs[:1] - 3 * 365 + np.arange(50), 5)
    facts = trial_facts(elsewhere, own, step=1, step_size=1)
    assert facts.n_trials == 7
    assert facts.pbo == trial_facts((), own, step=1, step_size=1).pbo


def test_facts_when_cutoffs_are_too_few_then_no_probability():
    own = trials_of(evaluated(n=6), ["A"], source=TrialSource.SWEEP)
    facts = trial_facts(noise(own[0].cutoffs, 3), own, step=1, step_size=1)
    assert (facts.pbo, facts.n_splits) == (None, 0)
