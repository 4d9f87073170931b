from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from governance_cases import (
    BASE,
    LABELS,
    OWN,
    STEP,
    THIRD,
    altered,
    comparison,
    cutoff_rows,
    report,
    table_of,
)
from hand_frames import DRIFT, RANDOM_WALK, averaging, hand_frame
from hypothesis import given, settings
from hypothesis import strategies as st

from pmx_ray.backtest.compare import compare
from pmx_ray.backtest.comparison import REGIMES_SCHEMA
from pmx_ray.backtest.evaluate import EvaluationSettings, evaluate
from pmx_ray.backtest.report_types import CUTOFFS_SCHEMA, TICKERS_SCHEMA
from pmx_ray.errors import DataError
from pmx_ray.governance.leaders import Leader, leaders
from pmx_ray.governance.policy import SelectionPolicy
from pmx_ray.governance.select import choose_primary_model

POLICY = SelectionPolicy()
IDLE = {"spec": BASE, "max_drawdown_frac": 0.0}


def row(spec, **figures):
    """Return a leaderboard row that scores a half in every part but stability."""
    return {
        "spec": spec, "n_trades": 100, "profit_factor": 1.5, "max_drawdown_frac": 0.075,
        "sharpe_annual": 1.0, **figures,
    }  # fmt: skip


def board(*rows, mse=None, regimes=()):
    """Return report and comparison; ``mse`` maps a spec to its error at each of 8 cutoffs."""
    errors = {BASE: [1.0] * 8, **(mse or {})}
    cutoffs = [
        {**cutoff, "mse": value}
        for spec, values in errors.items()
        for cutoff, value in zip(cutoff_rows(spec, 8), values, strict=True)
    ]
    return (
        report(list(rows), cutoffs=table_of(CUTOFFS_SCHEMA, cutoffs)),
        comparison(regimes=table_of(REGIMES_SCHEMA, list(regimes))),
    )


def choose(pair, champion=None, policy=POLICY):
    return choose_primary_model(*pair, policy, champion=champion, baseline=BASE, step=STEP)


def test_score_when_figures_are_given_then_by_hand():  # proves G2
    pair = board(
        row(OWN),
        IDLE,
        mse={OWN: [0.5, 0.5, 2.0, 2.0, 0.9, 0.9, 1.0, 1.0]},  # skill >= 0 in 3 of 4 blocks
        regimes=[
            {"spec": OWN, "regime": "bull", "n_cutoffs": 10, "skill_rmse": 0.1},
            {"spec": OWN, "regime": "bear", "n_cutoffs": 10, "skill_rmse": -0.1},
            {"spec": OWN, "regime": "sideways", "n_cutoffs": 9, "skill_rmse": -0.1},  # too few
            {"spec": OWN, "regime": "crisis_2008", "n_cutoffs": 50, "skill_rmse": -0.1},
        ],
    )
    found = {candidate.spec: candidate for candidate in choose(pair).candidates}
    own, base = found[OWN], found[BASE]
    assert (own.profit_factor, own.drawdown, own.sharpe) == (0.5, 0.5, 0.5)
    assert own.stability == pytest.approx(4 / 6)
    assert own.score == pytest.approx(0.75 * 0.5 + 0.25 * 4 / 6)
    assert (base.profit_factor, base.drawdown, base.sharpe, base.stability) == (0, 1, 0, 1)
    assert base.score == pytest.approx(0.2 + 0.25)


@pytest.mark.parametrize(
    ("figures", "part", "score"),
    [
        ({"profit_factor": 0.7}, "profit_factor", 0.0),
        ({"profit_factor": 3.0}, "profit_factor", 1.0),
        ({"profit_factor": np.inf}, "profit_factor", 1.0),
        ({"profit_factor": np.inf, "n_trades": 29}, "profit_factor", 0.0),
        ({"profit_factor": None}, "profit_factor", 0.0),
        ({"sharpe_annual": -1.0}, "sharpe", 0.0),
        ({"sharpe_annual": 2.5}, "sharpe", 1.0),
        ({"sharpe_annual": 2.5, "n_trades": 29}, "sharpe", 0.0),
        ({"max_drawdown_frac": 0.2}, "drawdown", 0.0),
        ({"max_drawdown_frac": None}, "drawdown", 0.0),
        ({}, "stability", 0.0),  # no cutoff and no regime to be stable in
    ],
)
def test_score_when_a_figure_is_extreme_or_missing_then_within_0_and_1(figures, part, score):
    found = {c.spec: c for c in choose(board(row(OWN, **figures), IDLE)).candidates}
    assert getattr(found[OWN], part) == score


def test_choice_when_the_best_has_the_uplift_then_it_is_primary():
    chosen = choose(board(row(OWN, profit_factor=2.0), IDLE, mse={OWN: [0.9] * 8}))
    assert (chosen.spec, chosen.label) == (OWN, "samossa")
    assert "samossa scores 0.775 and the baseline, random_walk, 0.450" in chosen.reasons[0]
    assert chosen.reasons[1] == "No model is in service yet."


def test_choice_when_the_uplift_is_too_small_then_the_baseline():
    pair = board(row(OWN, profit_factor=1.0), IDLE, mse={OWN: [0.9] * 8})  # 0.475 against 0.45
    chosen = choose(pair)
    assert chosen.spec == BASE
    assert "an uplift of +0.025 where at least 0.030 is asked for" in chosen.reasons[0]
    assert choose(pair, policy=SelectionPolicy(min_uplift=0.02)).spec == OWN


@pytest.mark.parametrize(
    ("factor", "chosen"),
    [(1.66, THIRD), (1.68, OWN)],  # 0.3 x 0.16 = 0.048 and 0.3 x 0.18 = 0.054 against 0.05
)
def test_choice_when_the_champion_is_behind_then_only_the_hysteresis_moves_it(factor, chosen):
    pair = board(
        row(OWN, profit_factor=factor), row(THIRD), IDLE, mse={OWN: [0.9] * 8, THIRD: [0.9] * 8}
    )
    assert choose(pair, champion=None).spec == OWN
    found = choose(pair, champion=THIRD)
    assert found.spec == chosen
    assert ("so drift stays" in found.reasons[1]) == (chosen == THIRD)


def test_choice_when_the_champion_is_below_the_baseline_then_hysteresis_does_not_hold_it():
    weak = row(THIRD, profit_factor=1.0, sharpe_annual=0.8)  # 0.1 + 0.1 + 0.25 = 0.45, then less
    pair = board(weak | {"max_drawdown_frac": 0.08}, IDLE, mse={THIRD: [0.9] * 8})
    found = choose(pair, champion=THIRD)
    assert found.spec == BASE
    assert "below the baseline, and is replaced" in found.reasons[1]


def test_choice_when_the_champion_is_gone_or_incomplete_then_replaced_with_the_reason():
    mse = {OWN: [0.9] * 8, THIRD: [0.9] * 8}
    pair = board(row(OWN), row(THIRD, profit_factor=2.0, incomplete=True), IDLE, mse=mse)
    found = choose(pair, champion=THIRD)
    assert found.spec == OWN
    assert "has no complete row here and is replaced" in found.reasons[1]
    assert THIRD not in {candidate.spec for candidate in found.candidates}


def test_choice_when_the_best_is_in_service_then_it_stays():
    found = choose(board(row(OWN), IDLE, mse={OWN: [0.9] * 8}), champion=OWN)
    assert (found.spec, found.reasons[1]) == (OWN, "samossa is in service already and stays.")


def test_choice_when_nothing_else_is_complete_then_the_baseline():
    assert choose(board(IDLE)).reasons[0] == "random_walk is the only complete forecaster."


def test_choice_when_the_baseline_is_missing_then_refused():
    with pytest.raises(DataError, match="baseline 0000bbbb has no complete row at step 5"):
        choose(board(row(OWN)))


def test_choice_when_candidates_tie_then_by_label():
    pair = board(row(OWN), row(THIRD), IDLE, mse={OWN: [0.9] * 8, THIRD: [0.9] * 8})
    assert [c.label for c in choose(pair).candidates] == ["drift", "samossa", "random_walk"]


@settings(max_examples=30, deadline=None)
@given(
    before=st.tuples(st.floats(0, 3), st.floats(0, 1), st.floats(-3, 3)),
    gain=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
)
def test_score_when_a_part_improves_then_never_falls(before, gain):
    def score(factor, fall, sharpe):
        figures = {"profit_factor": factor, "max_drawdown_frac": fall, "sharpe_annual": sharpe}
        return {c.spec: c for c in choose(board(row(OWN, **figures), IDLE)).candidates}[OWN].score

    (factor, fall, sharpe), (more, less, higher) = before, gain
    after = score(factor + more, max(0.0, fall - less), sharpe + higher)
    assert 0.0 <= score(factor, fall, sharpe) <= after <= 1.0


def test_choice_when_the_future_is_another_then_what_was_chosen_before_is_the_same():  # proves G2
    rng = np.random.default_rng(5)
    actual = rng.normal(0.0, 0.03, (60, 3, 1))
    signal = 0.6 * actual + rng.normal(0.0, 0.02, actual.shape)
    other = actual.copy()
    other[40:] = rng.normal(0.0, 0.3, (20, 3, 1))

    def chosen_at(known, outcomes):
        means = ((RANDOM_WALK, 0.0), (DRIFT, signal), (averaging(20), -signal))
        frames = [
            (spec, hand_frame(spec, np.broadcast_to(mean, actual.shape)[:known], outcomes[:known]))
            for spec, mean in means
        ]
        made = [
            f(frames, 5, EvaluationSettings(n_resamples=100), baseline=RANDOM_WALK.id, seed=1)
            for f in (evaluate, compare)
        ]
        return choose_primary_model(
            *made, POLICY, champion=None, baseline=RANDOM_WALK.id, step=1
        )  # fmt: skip

    assert chosen_at(40, actual).label == "drift"
    assert chosen_at(40, actual) == chosen_at(40, other)
    assert chosen_at(60, actual).candidates != chosen_at(60, other).candidates


def test_choice_when_rows_of_another_step_change_then_the_same():
    pair = board(row(OWN), IDLE, mse={OWN: [0.9] * 8})
    found, made = pair
    elsewhere = altered(found.leaderboard, {}, {"step": 20, "profit_factor": 9.0})
    both = replace(found, leaderboard=pa.concat_tables([found.leaderboard, elsewhere]))
    assert choose((both, made)) == choose(pair)


def ticker(spec, name, skill):
    return {"spec": spec, "ticker": name, "skill_rmse": skill}


def test_leaders_when_read_then_best_skill_and_margin_or_the_baseline():  # proves E5
    tickers = [
        ticker(BASE, "A", 0.0), ticker(OWN, "A", 0.05), ticker(THIRD, "A", 0.02),
        ticker(BASE, "B", 0.0), ticker(OWN, "B", 0.05), ticker(THIRD, "B", -0.02),
        ticker(BASE, "C", 0.0), ticker(OWN, "C", -0.03), ticker(THIRD, "C", -0.02),
        ticker(BASE, "D", 0.0), ticker(OWN, "D", 0.0), ticker(THIRD, "D", None),
        ticker(BASE, "E", None), ticker(OWN, "E", None),
    ]  # fmt: skip
    regimes = [
        {"spec": BASE, "regime": "bull", "skill_rmse": 0.0},
        {"spec": THIRD, "regime": "bull", "skill_rmse": 0.01},
        {"spec": BASE, "regime": "bear", "skill_rmse": 0.0},
    ]
    found = leaders(
        comparison(regimes=table_of(REGIMES_SCHEMA, regimes)),
        report([row(OWN), row(THIRD), IDLE], tickers=table_of(TICKERS_SCHEMA, tickers)),
        step=STEP,
    )
    walk = BASE, LABELS[BASE]
    assert found == (
        Leader("ticker", "A", OWN, "samossa", 0.05, pytest.approx(0.03)),
        Leader("ticker", "B", OWN, "samossa", 0.05, 0.05),
        Leader("ticker", "C", *walk, 0.0, 0.02),
        Leader("ticker", "D", *walk, 0.0, 0.0),
        Leader("regime", "bear", *walk, 0.0, 0.0),
        Leader("regime", "bull", THIRD, "drift", 0.01, 0.01),
    )


def test_leaders_when_a_spec_is_incomplete_then_it_leads_nothing():
    tickers = [ticker(BASE, "A", 0.0), ticker(OWN, "A", 0.5)]
    made = report([row(OWN, incomplete=True), IDLE], tickers=table_of(TICKERS_SCHEMA, tickers))
    assert [leader.spec for leader in leaders(comparison(), made, step=STEP)] == [BASE]
