from datetime import date

import numpy as np
import pytest
from arch.data import sp500
from hypothesis import given, settings
from hypothesis import strategies as st

from pmx_ray.errors import DataError, SettingsError
from pmx_ray.stats.regimes import (
    CRISES,
    UNLABELLED,
    Regime,
    RegimeRule,
    in_window,
    label,
    market_index,
)


def walk(seed, n, drift=0.0):
    return np.exp(np.random.default_rng(seed).normal(drift, 0.01, n).cumsum())


def test_label_when_by_hand_then_known_regimes():
    # log returns .02, .02, -.01, -.01, -.05; over two of them the trend is .04, .01, -.02, -.06
    # and band x deviation x sqrt 2 is .5 x (0, .03, 0, .04)
    close = np.exp(np.cumsum([0.0, 0.02, 0.02, -0.01, -0.01, -0.05]))
    labels = label(close, RegimeRule(look_back=2, band=0.5))
    assert labels.tolist() == ["", "", "bull", "sideways", "bear", "bear"]


def test_label_when_the_band_grows_then_only_a_stronger_trend_counts():
    # trend .01 against a deviation of .03 / sqrt 2 times sqrt 2: a third of a deviation
    close = np.exp(np.array([0.0, 0.02, 0.01]))
    assert label(close, RegimeRule(look_back=2, band=0.33))[-1] == Regime.BULL
    assert label(close, RegimeRule(look_back=2, band=0.34))[-1] == Regime.SIDEWAYS


@pytest.mark.parametrize(
    ("close", "expected"),
    [
        pytest.param(np.full(9, 7.0), Regime.SIDEWAYS, id="flat"),
        pytest.param(1.01 ** np.arange(9), Regime.BULL, id="steady rise"),
        pytest.param(0.99 ** np.arange(9), Regime.BEAR, id="steady fall"),
    ],
)
def test_label_when_golden_then_known_regime(close, expected):
    labels = label(close, RegimeRule(look_back=5))
    assert labels.tolist() == [UNLABELLED] * 5 + [expected] * 4


@pytest.mark.parametrize("n", [0, 1, 126])
def test_label_when_shorter_than_the_look_back_then_unlabelled(n):
    assert label(np.ones(n), RegimeRule()).tolist() == [UNLABELLED] * n


def test_label_when_a_close_is_missing_then_unlabelled_until_it_left_the_look_back():
    close = 1.01 ** np.arange(9)
    close[4] = np.nan
    expected = ["", "", "bull", "bull", "", "", "", "bull", "bull"]
    assert label(close, RegimeRule(look_back=2)).tolist() == expected


def test_label_when_a_walk_has_no_drift_then_sideways_38_percent_of_the_time():
    # P(|Z| < .5) = .383; the trend, thousands of look-backs long, tells it to about .02
    labels = label(walk(3, 60_000), RegimeRule(look_back=20))
    shares = [np.mean(labels[20:] == regime) for regime in Regime]
    assert shares == pytest.approx([0.309, 0.309, 0.383], abs=0.025)


@given(
    seed=st.integers(0, 99),
    cut=st.integers(1, 79),
    rule=st.builds(RegimeRule, look_back=st.integers(2, 30), band=st.floats(0.0, 1.0)),
)
@settings(max_examples=30, deadline=None)
def test_label_when_the_future_is_overwritten_then_the_same(seed, cut, rule):
    close = walk(seed, 80)
    other = close.copy()
    other[cut:] = walk(seed + 1000, 80 - cut, drift=0.1) * 100
    expected = label(close, rule)[:cut].tolist()
    assert label(other, rule)[:cut].tolist() == expected
    assert label(close[:cut], rule).tolist() == expected


@given(seed=st.integers(0, 99), scale=st.floats(0.01, 100.0))
@settings(max_examples=20, deadline=None)
def test_label_when_scaled_then_the_same_and_upside_down_then_the_opposite(seed, scale):
    close, rule = walk(seed, 60), RegimeRule(look_back=10)
    labels = label(close, rule)
    assert label(close * scale, rule).tolist() == labels.tolist()
    turned = {"": "", "bull": "bear", "bear": "bull", "sideways": "sideways"}
    assert label(1.0 / close, rule).tolist() == [turned[name] for name in labels.tolist()]


@pytest.mark.parametrize("bad", [0.0, -1.0, np.inf])
def test_label_when_a_close_is_no_price_then_refused(bad):
    with pytest.raises(DataError, match=r"position 1 is .*above 0"):
        label(np.array([1.0, bad]), RegimeRule())


@pytest.mark.parametrize("wrong", [{"look_back": 1}, {"band": -0.1}, {"band": np.nan}])
def test_regime_rule_when_outside_its_limits_then_refused(wrong):
    with pytest.raises(SettingsError, match="it must be >="):
        RegimeRule(**wrong)


def test_market_index_when_by_hand_then_geometric_mean_of_what_is_known():
    close = np.array(
        [
            [1.0, 2.0, 4.0, np.nan, 3.0, 6.0],
            [5.0, 5.0, 5.0, np.nan, np.nan, np.nan],
            [np.nan, np.nan, 9.0, np.nan, 1.0, 0.5],
        ]
    )
    # sqrt(2 x 1); again, as the third is known on one session only; nobody; nobody; sqrt(2 / 2)
    expected = [1.0, np.sqrt(2), 2.0, 2.0, 2.0, 2.0]
    assert market_index(close) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("shape", "expected"), [((2, 0), []), ((2, 1), [1.0]), ((0, 3), [1.0] * 3)]
)
def test_market_index_when_there_is_no_return_then_it_stands_at_one(shape, expected):
    assert market_index(np.ones(shape)).tolist() == expected


@given(seed=st.integers(0, 99), cut=st.integers(1, 39))
@settings(max_examples=20, deadline=None)
def test_market_index_when_the_future_is_overwritten_then_the_same(seed, cut):
    close = np.stack([walk(seed + n, 40) for n in range(3)])
    other = close.copy()
    other[:, cut:] = np.nan
    np.testing.assert_array_equal(market_index(other)[:cut], market_index(close)[:cut])


@pytest.mark.parametrize("first_last", list(CRISES.items()), ids=list(CRISES))
def test_crises_when_the_days_around_them_are_asked_then_both_ends_are_inside(first_last):
    _, (first, last) = first_last
    days = np.arange(np.datetime64(first) - 1, np.datetime64(last) + 2)
    inside = in_window(days, (first, last))
    assert inside[1:-1].all()
    assert not inside[[0, -1]].any()


def test_crises_when_held_against_the_s_and_p_500_then_its_peak_and_trough():
    close = sp500.load()["Close"]["1999":"2012"]
    peak, trough = CRISES["crisis_2008"]
    assert (close.idxmax().date(), close.max()) == (peak, pytest.approx(1565.15, abs=0.005))
    since = close[str(peak) :]
    assert (since.idxmin().date(), since.min()) == (trough, pytest.approx(676.53, abs=0.005))
    labels = label(close.to_numpy(), RegimeRule())
    fall = in_window(close.index.to_numpy().astype("datetime64[D]"), (date(2008, 10, 1), trough))
    assert set(labels[fall]) == {Regime.BEAR}


def test_crises_when_named_then_they_hold_the_troughs_of_the_index():
    assert CRISES["crisis_2008"] == (date(2007, 10, 9), date(2009, 3, 9))
    first, last = CRISES["crisis_2020"]
    assert first == date(2020, 2, 19)
    assert first < date(2020, 3, 23) < last == date(2020, 8, 18)
