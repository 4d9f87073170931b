import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pmx_ray.backtest.costs import Costs
from pmx_ray.backtest.strategy import Sleeves, TradingRule
from pmx_ray.stats.measures import profit_factor, sharpe_annual

RULE = TradingRule(Costs(0.001, 0.001), min_edge=0.004)
ACTUAL = np.array([[0.03, -0.02], [0.01, 0.05]])


def test_side_when_the_edge_is_not_exceeded_then_out():
    mean = np.array([0.005, -0.005, 0.004, -0.004, 0.0, np.nan])
    np.testing.assert_array_equal(RULE.side(mean), [1, -1, 0, 0, 0, np.nan])


# proves E2: a perfect forecast earns every move less its cost, its opposite loses it twice
@pytest.mark.parametrize(
    ("mean", "expected", "factor"),
    [
        pytest.param(ACTUAL, np.abs(np.expm1(ACTUAL)) - 0.004, np.inf, id="oracle"),
        pytest.param(-ACTUAL, -np.abs(np.expm1(ACTUAL)) - 0.004, 0.0, id="anti-oracle"),
        pytest.param(
            np.full((2, 2), 0.01), np.expm1(ACTUAL) - 0.004,
            (np.expm1([0.03, 0.01, 0.05]) - 0.004).sum() / -(np.expm1(-0.02) - 0.004),
            id="constant",
        ),
        pytest.param(np.zeros((2, 2)), np.zeros((2, 2)), np.nan, id="random walk"),
    ],
)  # fmt: skip
def test_trade_when_golden_then_known_returns(mean, expected, factor):
    trades = RULE.trade(mean, ACTUAL)
    assert trades.returns == pytest.approx(expected)
    assert profit_factor(trades.returns[trades.taken]) == pytest.approx(factor, nan_ok=True)


def test_trade_when_a_ticker_is_missing_then_spread_over_the_others():
    mean = np.array([[0.01, np.nan], [0.0, 0.01], [np.nan, np.nan]])
    actual = np.log(np.array([[1.024, 1.5], [1.5, 1.014], [1.5, 1.5]]))
    trades = RULE.trade(mean, actual)
    # one ticker at .02; one in cash and one at .01; none
    assert trades.by_cutoff == pytest.approx([0.02, 0.005, np.nan], nan_ok=True)
    assert trades.taken.sum() == 2


@pytest.mark.parametrize(
    ("step", "step_size", "n_sleeves", "periods"),
    [(1, 20, 1, 12.6), (20, 20, 1, 12.6), (20, 5, 4, 12.6), (7, 5, 2, 25.2), (5, 1, 5, 50.4)],
)
def test_sleeves_when_positions_overlap_then_no_capital_is_used_twice(
    step, step_size, n_sleeves, periods
):
    sleeves = Sleeves(step, step_size)
    assert sleeves.n_sleeves == n_sleeves
    assert sleeves.periods_per_year == pytest.approx(periods)
    assert sleeves.n_sleeves * step_size >= step


def test_equity_when_two_sleeves_then_by_hand():
    # sleeve 0: 1.1, then 0.55; sleeve 1: 1.2, then 1.32
    returns = np.array([0.1, 0.2, -0.5, 0.1])
    sleeves = Sleeves(10, 5)
    assert sleeves.equity(returns) == pytest.approx([1.05, 1.15, 0.875, 0.935])
    below = [0.0, 0.0, 1 - 0.875 / 1.15, 1 - 0.935 / 1.15]
    assert sleeves.drawdown_frac(returns) == pytest.approx(below)


def test_equity_when_a_cutoff_is_unknown_or_ruinous_then_carried_or_zero():
    assert Sleeves(1, 1).equity(np.array([0.1, np.nan, -2.0, 0.5])) == pytest.approx(
        [1.1, 1.1, 0, 0]
    )


@given(
    returns=arrays(np.float64, 12, elements=st.floats(-1.5, 1.5)),
    step=st.integers(1, 8),
    step_size=st.integers(1, 8),
)
@settings(max_examples=50, deadline=None)
def test_equity_when_any_returns_then_the_mean_of_sleeves_compounded_apart(
    returns, step, step_size
):
    sleeves = Sleeves(step, step_size)
    k = sleeves.n_sleeves
    apart = [np.prod(np.maximum(1.0 + returns[s::k], 0.0)) for s in range(k)]
    assert sleeves.equity(returns)[-1] == pytest.approx(np.mean(apart))


def test_sharpe_when_holding_overlaps_then_not_counted_as_independent():
    # Holding white noise of Sharpe s for 20 sessions, started every 5, still has the Sharpe s.
    rng = np.random.default_rng(0)
    daily = rng.normal(0.001, 0.01, 40_000)
    held = np.convolve(daily, np.ones(20), mode="valid")[::5]
    overlapping = sharpe_annual(held, periods_per_year=Sleeves(20, 5).periods_per_year)
    # Standard error of an annual Sharpe over 159 years is about 0.08.
    assert overlapping == pytest.approx(sharpe_annual(daily, periods_per_year=252), abs=0.1)
