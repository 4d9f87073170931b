import empyrical
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pmx_ray.stats.measures import (
    annual_volatility,
    drawdown_frac,
    hit_rate,
    hits,
    max_drawdown_frac,
    profit_factor,
    sharpe_annual,
    volatility_adjusted_return,
)

SERIES = arrays(
    np.float64, st.integers(2, 30), elements=st.floats(-0.5, 0.5).map(lambda x: round(x, 6))
)


@pytest.fixture(params=[1, 2, 3])
def returns(request):
    return np.random.default_rng(request.param).normal(0.0005, 0.01, 250)


@pytest.mark.parametrize(
    ("trades", "expected"),
    [
        pytest.param([0.02, 0.01], np.inf, id="oracle: no loss"),
        pytest.param([-0.02, -0.01], 0.0, id="anti-oracle: no gain"),
        pytest.param([0.03, -0.01, -0.01], 1.5, id="by hand"),
        pytest.param([0.03, np.nan, -0.02, 0.0], 1.5, id="missing and flat trades count nothing"),
        pytest.param([], np.nan, id="no trade"),
        pytest.param([0.0], np.nan, id="neither gain nor loss"),
    ],
)  # proves E2
def test_profit_factor_when_golden_then_known_value(trades, expected):
    assert profit_factor(np.array(trades, float)) == pytest.approx(expected, nan_ok=True)


@given(trades=SERIES, scale=st.floats(0.1, 10.0))
@settings(max_examples=50, deadline=None)
def test_profit_factor_when_scaled_or_shuffled_then_the_same(trades, scale):
    expected = profit_factor(trades)
    assert profit_factor(trades * scale) == pytest.approx(expected, rel=1e-9, nan_ok=True)
    assert profit_factor(trades[::-1]) == pytest.approx(expected, rel=1e-9, nan_ok=True)


def test_drawdown_when_by_hand_then_known_values():
    equity = np.array([1.1, 0.88, 1.0, 1.2, 0.9])
    assert drawdown_frac(equity) == pytest.approx([0.0, 0.2, 1.0 - 1.0 / 1.1, 0.0, 0.25])


def test_drawdown_when_the_first_return_is_a_loss_then_counted_from_the_start():
    assert max_drawdown_frac(np.array([-0.1, 0.05])) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        pytest.param([0.01, 0.02], 0.0, id="oracle"),
        pytest.param([-0.5, -0.5], 0.75, id="anti-oracle"),
        pytest.param([0.0, 0.0], 0.0, id="constant"),
        pytest.param([-1.5, 0.5], 1.0, id="all lost stays lost"),
        pytest.param([np.nan], np.nan, id="nothing known"),
    ],
)
def test_max_drawdown_when_golden_then_known_value(series, expected):
    assert max_drawdown_frac(np.array(series)) == pytest.approx(expected, nan_ok=True)


@given(series=SERIES)
@settings(max_examples=50, deadline=None)
def test_max_drawdown_when_any_returns_then_a_fraction_not_below_the_worst_one(series):
    deepest = max_drawdown_frac(series)
    assert max(-series.min(), 0.0) - 1e-12 <= deepest <= 1.0


def test_measures_when_checked_against_empyrical_then_equal(returns):
    year = {"periods_per_year": 252}
    assert max_drawdown_frac(returns) == pytest.approx(-empyrical.max_drawdown(returns))
    assert sharpe_annual(returns, **year) == pytest.approx(empyrical.sharpe_ratio(returns))
    volatility = empyrical.annual_volatility(returns)
    assert annual_volatility(returns, **year) == pytest.approx(volatility)
    growth = empyrical.cagr(returns)
    assert volatility_adjusted_return(returns, **year) == pytest.approx(growth / volatility)


def test_sharpe_when_by_hand_then_known_value():
    # mean .01, deviations .01, -.01: standard deviation .01 sqrt 2; four periods a year
    assert sharpe_annual(np.array([0.02, 0.0]), periods_per_year=4) == pytest.approx(np.sqrt(2.0))


@pytest.mark.parametrize("series", [[], [0.01], [0.01, 0.01, 0.01], [0.0, 0.0], [0.01, np.nan]])
def test_ratios_when_returns_do_not_vary_then_nan(series):
    values = np.array(series, float)
    assert np.isnan(sharpe_annual(values, periods_per_year=252))
    assert np.isnan(volatility_adjusted_return(values, periods_per_year=252))


@given(series=SERIES.filter(lambda x: np.ptp(x) > 1e-3), scale=st.floats(0.1, 10.0))
@settings(max_examples=50, deadline=None)
def test_sharpe_when_leverage_changes_then_the_same_and_its_sign_turns(series, scale):
    expected = sharpe_annual(series, periods_per_year=252)
    assert sharpe_annual(series * scale, periods_per_year=252) == pytest.approx(expected, abs=1e-9)
    assert sharpe_annual(-series, periods_per_year=252) == pytest.approx(-expected, abs=1e-9)


def test_measures_when_a_return_is_missing_then_left_out(returns):
    with_gap = np.insert(returns, 7, np.nan)
    year = {"periods_per_year": 252}
    assert sharpe_annual(with_gap, **year) == sharpe_annual(returns, **year)
    assert max_drawdown_frac(with_gap) == max_drawdown_frac(returns)
    assert profit_factor(with_gap) == profit_factor(returns)


@pytest.mark.parametrize(
    ("forecast", "expected"),
    [
        pytest.param([0.02, -0.01, 0.03, 0.0], 1.0, id="oracle"),
        pytest.param([-0.02, 0.01, -0.03, 0.0], 0.0, id="anti-oracle"),
        pytest.param([0.01] * 4, 2 / 3, id="constant"),
        pytest.param([0.0] * 4, np.nan, id="random walk takes no side"),
        pytest.param([np.nan, 0.01, 0.01, 0.01], 0.5, id="missing left out"),
    ],
)
def test_hit_rate_when_golden_then_known_value(forecast, expected):
    actual = np.array([0.02, -0.01, 0.03, 0.0])
    assert hit_rate(actual, np.array(forecast)) == pytest.approx(expected, nan_ok=True)


@given(series=SERIES, scale=st.floats(0.1, 10.0))
@settings(max_examples=50, deadline=None)
def test_hits_when_a_forecast_is_scaled_then_the_same_and_turned_then_the_rest(series, scale):
    forecast = np.roll(series, 1)
    np.testing.assert_array_equal(hits(series, forecast * scale), hits(series, forecast))
    np.testing.assert_array_equal(hits(series, -forecast), 1.0 - hits(series, forecast))
