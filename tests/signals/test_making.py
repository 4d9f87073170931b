import math
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmx_ray.backtest.costs import CostSettings
from pmx_ray.backtest.track_record import TrackRecord
from pmx_ray.errors import DataError
from pmx_ray.signals.making import Statement, make_signal, probability_right
from pmx_ray.signals.settings import SignalSettings, SizingSettings
from pmx_ray.signals.types import Source
from pmx_ray.taxonomy import Action, RiskLevel

RECORD = TrackRecord(n_trades=900, n_effective=100.0, win_rate_frac=0.55, payoff_ratio=1.2)
QUARTER = SignalSettings(sizing=SizingSettings(kelly_frac=0.25))
PHI_HALF = 0.6914624612740131  # standard normal distribution at 0.5, from tables

means = st.floats(-0.5, 0.5)
variances = st.floats(1e-8, 0.5)


def made(mean=0.014, variance=0.0004, step=1, track=RECORD, settings=QUARTER, **changed):
    values = {"ticker": "AAPL", "cutoff": date(2026, 3, 31), "source": Source.CHAMPION, **changed}
    return make_signal(
        mean=mean, variance=variance, step=step, track=track, settings=settings, **values
    )


def test_make_signal_by_hand():  # proves A18
    signal = made()
    assert signal.action is Action.BUY  # 140 bp, more than the 40 bp of a round trip
    assert signal.volatility == pytest.approx(0.02)
    assert signal.confidence == pytest.approx(PHI_HALF, abs=1e-12)  # (0.014 - 0.004) / 0.02
    assert signal.risk_level is RiskLevel.HIGH  # 0.02 * sqrt(252) = 31.7 % a year
    # Kelly 0.55 - 0.45 / 1.2 = 0.175; 100 of 200 trades are real: 0.0875; a quarter of it
    # (900 trades, but worth 100)
    assert signal.position_frac == pytest.approx(0.0875 * PHI_HALF * 0.25, abs=1e-12)
    assert signal.why == (
        "Expected log return over the next session: +140.0 bp, more than the 40.0 bp that a trade "
        "needs: buy; 1.51% of capital by Kelly's rule (900 trades worth 100.0 independent ones, "
        "55.0% won, gain over loss 1.20)."
    )


def test_make_signal_when_half_kelly_then_capped():
    assert made(settings=SignalSettings()).position_frac == 0.02  # 0.0875 * 0.69 / 2 is 3 %


def test_make_signal_when_longer_then_risk_is_per_year_all_the_same():
    assert made(variance=0.0004 * 5, step=5).risk_level is RiskLevel.HIGH
    assert made(variance=0.0004, step=5).risk_level is RiskLevel.LOW  # 14.2 % a year


@pytest.mark.parametrize(
    ("mean", "action"),
    [
        (0.0041, Action.BUY),
        (0.004, Action.HOLD),
        (0.0, Action.HOLD),
        (-0.004, Action.HOLD),
        (-0.0041, Action.SELL),
    ],
)
def test_make_signal_holds_inside_the_cost_band(mean, action):
    assert made(mean).action is action


def test_make_signal_when_edge_is_set_then_it_counts_and_not_the_cost():
    settings = SignalSettings(min_edge_bps=150.0)
    assert made(settings=settings).action is Action.HOLD
    assert made(settings=SignalSettings(costs=CostSettings(fee_bps=80))).action is Action.HOLD


def track(n_trades, n_effective, win_rate_frac, payoff_ratio):
    return TrackRecord(
        n_trades=n_trades,
        n_effective=n_effective,
        win_rate_frac=win_rate_frac,
        payoff_ratio=payoff_ratio,
    )


def test_make_signal_when_trades_overlap_then_the_stake_is_that_of_few():  # proves A18
    many, few = (made(track=track(n, 20.0, 0.55, 1.2)).position_frac for n in (9000, 30))
    # 0.175 * 20 / 120, a quarter of it, times the confidence; 9000 independent ones reach the cap
    assert many == few == pytest.approx(0.175 / 6 * 0.25 * made().confidence)
    assert made(track=track(9000, 9000.0, 0.55, 1.2)).position_frac == 0.02


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (None, "nothing is staked, as the model has no track record"),
        (track(29, 29.0, 0.6, 1.5), "has 29 trades and 30 are asked for"),
        (track(40, 40.0, 1.0, None), "all of its 40 trades ended alike"),
        (
            track(400, 80.0, 0.4, 1.0),
            "past trades did not pay (400 trades worth 80.0 independent ones, 40.0% won",
        ),
        (
            track(600, 9.9, 0.6, 1.5),
            "its 600 trades are worth 9.9 independent ones and 10 are asked for",
        ),
    ],
)
def test_make_signal_when_the_record_supports_no_stake_then_none_and_said(record, words):
    signal = made(track=record)
    assert (signal.action, signal.position_frac) == (Action.BUY, 0.0)
    assert words in signal.why


def test_confidence_when_holding_is_the_chance_that_neither_side_pays():
    # within one standard deviation either way
    within = probability_right(Action.HOLD, 0.0, 0.004, edge=0.004)
    assert within == pytest.approx(0.6826894921370859, abs=1e-12)


def test_make_signal_when_volatility_is_unusual_then_riskier():
    assert made(volatility_percentile=0.94).risk_level is RiskLevel.HIGH
    assert made(volatility_percentile=0.95).risk_level is RiskLevel.EXTREME


def test_make_signal_when_words_are_more_careful_then_they_count():
    agreed = made(statement=Statement(Action.BUY, 0.5, RiskLevel.EXTREME))
    assert (agreed.action, agreed.confidence) == (Action.BUY, 0.5)
    assert agreed.risk_level is RiskLevel.EXTREME
    assert agreed.position_frac == pytest.approx(0.0875 * 0.5 * 0.25)


def test_make_signal_when_words_are_bolder_then_they_do_not_count():
    bold = made(statement=Statement(Action.BUY, 1.0, RiskLevel.LOW))
    assert bold == made()
    still = made(mean=0.001, statement=Statement(Action.BUY, 0.01, RiskLevel.LOW))
    assert (still.action, still.position_frac) == (Action.HOLD, 0.0)
    assert still.confidence == made(mean=0.001).confidence  # words about buying, not about holding
    assert "own words say buy: hold" not in still.why  # the number holds, the words do not decide


def test_make_signal_when_words_contradict_the_number_then_hold():
    signal = made(statement=Statement(Action.SELL, 0.9, RiskLevel.LOW))
    assert (signal.action, signal.position_frac) == (Action.HOLD, 0.0)
    assert signal.why.endswith("and the model's own words say sell: hold.")


@pytest.mark.parametrize(
    ("mean", "variance"),
    [(math.nan, 1e-4), (math.inf, 1e-4), (0.01, 0.0), (0.01, -1.0), (0.01, math.nan)],
)
def test_make_signal_when_the_forecast_is_no_number_then_error(mean, variance):
    with pytest.raises(DataError, match="must be finite"):
        made(mean, variance)


def test_statement_when_confidence_is_no_share_then_error():
    with pytest.raises(DataError, match="must lie between 0 and 1"):
        Statement(Action.BUY, 60.0, RiskLevel.LOW)


@given(means, variances, st.integers(1, 60))
def test_make_signal_takes_the_side_that_the_backtest_takes(mean, variance, step):
    signal = made(mean, variance, step)
    side = SignalSettings().rule.side(np.array([mean]))[0]
    assert {Action.BUY: 1, Action.SELL: -1, Action.HOLD: 0}[signal.action] == side
    assert abs(signal.position_frac) <= 0.02
    assert signal.position_frac * side >= 0
    if side:
        assert signal.confidence >= 0.5


@given(means, variances)
def test_make_signal_when_the_forecast_is_mirrored_then_so_is_the_signal(mean, variance):
    up, down = made(mean, variance), made(-mean, variance)
    assert down.position_frac == -up.position_frac
    assert down.confidence == pytest.approx(up.confidence, abs=1e-12)


@given(means, variances)
def test_confidences_of_the_three_actions_add_up_to_one(mean, variance):
    sigma = math.sqrt(variance)
    total = sum(probability_right(a, mean, sigma, edge=0.004) for a in Action)
    assert total == pytest.approx(1.0, abs=1e-12)
