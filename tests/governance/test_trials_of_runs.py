"""Which trials a report makes, and what all trials of a slice say of a run."""

from dataclasses import replace

import numpy as np
import pytest
from hand_frames import DRIFT, RANDOM_WALK, hand_frame

from pmx_ray.backtest.costs import CostSettings
from pmx_ray.backtest.evaluate import EvaluationSettings, evaluate
from pmx_ray.backtest.settings import SweepSettings
from pmx_ray.data.bundled import BundledSettings
from pmx_ray.folds import FoldSettings
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


SWEEP = SweepSettings(
    name="hand", panel=BundledSettings(name="us_equities"), forecasters=({"name": "drift"},)
)


def made(report, tickers=("A",), sweep=SWEEP):
    return trials_of(report, sweep, tickers, source=TrialSource.SWEEP)


def noise(cutoffs, n, seed=1):
    rng = np.random.default_rng(seed)
    return tuple(
        Trial(f"c{k}", f"s{k}", f"noise {k}", 1, TrialSource.TUNE, ("A",), cutoffs,
              rng.normal(0.0, 0.01, len(cutoffs)))
        for k in range(n)
    )  # fmt: skip


def test_trials_when_a_report_has_two_specs_then_one_each_with_its_returns():
    report = evaluated()
    found = made(report, ["B", "A"])
    assert {trial.label for trial in found} == {"random_walk", "drift"}
    assert {trial.tickers for trial in found} == {("A", "B")}
    (drift,) = [trial for trial in found if trial.spec_id == DRIFT.id]
    cutoffs, returns = series(report, spec=DRIFT.id, step=1)
    assert np.array_equal(drift.cutoffs, cutoffs)
    assert np.array_equal(drift.returns, returns)
    assert len(returns) == 120


def test_trials_when_costs_change_then_another_configuration():
    cheap = made(evaluated())
    dear = EvaluationSettings(costs=CostSettings(slippage_bps=10, fee_bps=10), n_resamples=100)
    other = made(evaluated(settings=dear))
    assert not {trial.config_id for trial in cheap} & {trial.config_id for trial in other}


def test_trials_when_the_plan_is_combinatorial_then_counted_without_returns():
    layout = {"split": [0] * 60 + [1] * 60, "cutoff": [*range(60), *range(60)]}
    (first, *_) = made(evaluated(**layout))
    assert len(first.cutoffs) == 60
    assert np.isnan(first.returns).all()


@pytest.mark.parametrize(("ci", "source"), [("1", TrialSource.CI), ("", TrialSource.SWEEP)])
def test_trials_when_in_ci_then_said(monkeypatch, ci, source):
    monkeypatch.setenv("CI", ci)
    assert {trial.source for trial in trials_of(evaluated(), SWEEP, ["A"])} == {source}


def test_facts_when_hundreds_were_tried_then_counted_with_their_variance_and_overfitting(tmp_path):
    own = made(evaluated())
    tried = noise(own[0].cutoffs, 40)
    with open_ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        Trials(ledger).record([*tried, *own])
        span = {"first": own[0].cutoffs[0], "last": own[0].cutoffs[-1]}
        known = Trials(ledger).touching(("A",), **span)
    facts = trial_facts(known, own, step=1, step_size=1)
    assert (facts.n_trials, facts.n_in_run) == (42, 2)
    sharpes = [moments(t.returns).sharpe for t in known if not np.isnan(moments(t.returns).sharpe)]
    assert facts.sharpe_variance == pytest.approx(max(np.var(sharpes, ddof=1), 1 / 120))
    returns = np.column_stack([trial.returns for trial in known])
    expected = probability_of_overfitting(returns, n_blocks=16)
    assert (facts.pbo, facts.n_splits) == (expected.pbo, 12_870)


def test_facts_when_alone_then_the_least_variance_and_overfitting_against_the_walk():
    own = made(evaluated())
    facts = trial_facts((), own, step=1, step_size=1)
    assert (facts.n_trials, facts.n_in_run) == (2, 2)
    assert facts.sharpe_variance == pytest.approx(1 / 120)  # of worthless strategies
    assert facts.pbo == 0.0  # its skill is there in every half


def test_facts_when_trials_stand_on_other_cutoffs_then_counted_and_left_out_of_overfitting():
    own = made(evaluated())
    elsewhere = noise(own[0].cutoffs[:1] - 3 * 365 + np.arange(50), 5)
    facts = trial_facts(elsewhere, own, step=1, step_size=1)
    assert facts.n_trials == 7
    assert facts.pbo == trial_facts((), own, step=1, step_size=1).pbo


def test_facts_when_cutoffs_are_too_few_then_no_probability():
    own = made(evaluated(n=6))
    facts = trial_facts(noise(own[0].cutoffs, 3), own, step=1, step_size=1)
    assert (facts.pbo, facts.n_splits) == (None, 0)


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 8},
        {"folds": FoldSettings(input_size=500)},
        {"folds": FoldSettings(refit_every=2)},
        {"folds": FoldSettings(start="2011-01-03")},
    ],
)
def test_trials_when_any_setting_of_the_fit_changes_then_another_configuration(changed):
    report = evaluated()
    other = made(report, sweep=SWEEP.model_copy(update=changed))
    assert not {t.config_id for t in made(report)} & {t.config_id for t in other}


def test_trials_when_the_tickers_change_then_another_configuration():
    report = evaluated()
    assert made(report)[0].config_id != made(report, ["A", "B"])[0].config_id


def test_trials_when_a_day_is_added_then_the_same_configurations():
    shorter, longer = made(evaluated(n=119)), made(evaluated(n=120))
    assert {t.config_id for t in shorter} == {t.config_id for t in longer}


def test_facts_when_a_trial_covers_part_of_the_cutoffs_then_it_moves_no_probability():
    own = made(evaluated())
    part = noise(own[0].cutoffs[:60], 1)
    facts = trial_facts(part, own, step=1, step_size=1)
    alone = trial_facts((), own, step=1, step_size=1)
    assert (facts.n_trials, facts.pbo, facts.n_splits) == (3, alone.pbo, alone.n_splits)


def test_facts_when_all_others_are_of_another_step_then_the_variance_is_not_nothing():
    own = made(evaluated())
    others = [replace(t, step=5) for t in noise(own[0].cutoffs, 50)]
    assert trial_facts(others, own, step=1, step_size=1).sharpe_variance >= 1 / 120
