"""Numbers of each kind against pandas, scipy, hand calculation and the papers' own examples."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pmx_ray.data.calendar import calendar_sessions
from pmx_ray.data.panel import Panel
from pmx_ray.features.cross_section import CrossSection, first_component
from pmx_ray.features.matrix import feature_matrix
from pmx_ray.features.moments import RollingMoment, RollingQuantile
from pmx_ray.features.returns import (
    MAX_WIDTH,
    Difference,
    FractionalDifference,
    ReturnLag,
    fractional_weights,
)
from pmx_ray.features.seasonal import Seasonal, earlier_mean_of_season, season_of
from pmx_ray.features.volatility import Volatility, session_variance, volatility

RNG = np.random.default_rng(11)
RETURNS = RNG.standard_t(5, (3, 299)) * 0.01
SESSIONS = calendar_sessions("XNYS")[10_000:10_300]
CLOSE = 20.0 * np.exp(np.hstack([np.zeros((3, 1)), np.cumsum(RETURNS, axis=1)]))
PANEL = Panel("XNYS", ("A", "B", "C"), SESSIONS, CLOSE)
FRAME = pd.DataFrame(np.hstack([np.full((3, 1), np.nan), RETURNS]).T)


def prices(open_, high, low, close):
    """Return one ticker of one session."""
    fields = {n: np.array([[v]]) for n, v in {"open": open_, "high": high, "low": low}.items()}
    return Panel("XNYS", ("A",), SESSIONS[:1], np.array([[close]]), **fields)


@pytest.mark.parametrize(
    ("moment", "theirs"),
    [
        ("mean", lambda r: r.mean()),
        ("std", lambda r: r.std()),
        ("skew", lambda r: r.skew()),
        ("kurtosis", lambda r: r.kurt()),
    ],
)
@pytest.mark.parametrize("window", [4, 21])
def test_moment_when_rolled_then_as_pandas(moment, theirs, window):
    ours = feature_matrix((RollingMoment(window=window, moments=(moment,)),), PANEL)
    # pandas adds and removes one value at a time and carries the rounding along.
    np.testing.assert_allclose(
        ours.values[:, :, 0].T, theirs(FRAME.rolling(window)).to_numpy(), rtol=1e-7, atol=1e-12
    )


def test_moment_when_one_window_then_as_scipy():
    ours = feature_matrix((RollingMoment(window=50, moments=("skew", "kurtosis")),), PANEL)
    last = RETURNS[1, -50:]
    assert ours["return_skew_50"][1, -1] == pytest.approx(stats.skew(last, bias=False), rel=1e-10)
    assert ours["return_kurtosis_50"][1, -1] == pytest.approx(
        stats.kurtosis(last, bias=False), rel=1e-10
    )


def test_moment_when_prices_stand_still_then_no_spread_and_no_shape():
    flat = Panel("XNYS", ("A",), SESSIONS[:30], np.full((1, 30), 7.3))
    ours = feature_matrix((RollingMoment(window=10, moments=("std", "skew", "kurtosis")),), flat)
    assert (ours["return_std_10"][0, 10:] == 0.0).all()
    assert np.isnan(ours["return_skew_10"]).all()
    assert np.isnan(ours["return_kurtosis_10"]).all()


@pytest.mark.parametrize("level", [0.0, 0.05, 0.5, 0.9, 1.0])
def test_quantile_when_rolled_then_as_numpy_of_each_window(level):
    ours = feature_matrix((RollingQuantile(window=30, levels=(level,)),), PANEL).values[:, :, 0]
    windows = np.lib.stride_tricks.sliding_window_view(RETURNS, 30, axis=1)
    np.testing.assert_allclose(ours[:, 30:], np.quantile(windows, level, axis=2), rtol=1e-9)


def test_lag_and_difference_when_made_then_of_the_returns():
    ours = feature_matrix((ReturnLag(lags=(0, 2)), Difference(order=1), Difference(order=3)), PANEL)
    np.testing.assert_allclose(ours["return_lag_2"][:, 3:], RETURNS[:, :-2], rtol=1e-9)
    np.testing.assert_allclose(ours["difference_1"], ours["return_lag_0"], atol=1e-15)
    third = np.diff(np.log(CLOSE), n=3, axis=1)
    np.testing.assert_allclose(ours["difference_3"][:, 3:], third, atol=1e-13)


def test_fractional_weights_when_order_is_a_half_then_the_binomial_series():
    # (1 - x)**(1/2) = 1 - x/2 - x**2/8 - x**3/16 - 5 x**4/128 - ...; the next is 7/256 = .027.
    np.testing.assert_allclose(
        fractional_weights(0.5, 0.03), [1, -1 / 2, -1 / 8, -1 / 16, -5 / 128]
    )


def test_fractional_weights_when_order_is_near_one_then_near_the_difference():
    weights = fractional_weights(1.0 - 1e-9, 1e-6)
    np.testing.assert_allclose(weights, [1.0, -1.0], atol=1e-8)


def test_fractional_weights_when_the_threshold_is_tiny_then_a_bounded_window():
    assert len(fractional_weights(0.1, 1e-9)) == MAX_WIDTH


def test_fractional_difference_when_made_then_the_weighted_log_prices():
    ours = feature_matrix((FractionalDifference(order=0.5, threshold=0.03),), PANEL)
    weights = np.array([1, -1 / 2, -1 / 8, -1 / 16, -5 / 128])
    by_hand = np.log(CLOSE[2, 95:100])[::-1] @ weights
    assert ours["difference_0.5"][2, 99] == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize(
    ("estimator", "variance"),
    [
        # open 100, high e^.02, low e^-.01, close e^.01 of it: range .03, up .02, down -.01.
        ("parkinson", 0.03**2 / (4 * np.log(2))),
        # 1/2 (H - L)^2 - (2 log 2 - 1) (C - O)^2: .00045 - .3863 x .0001
        ("garman_klass", 0.00045 - 0.38629436111989 * 0.0001),
        # (H - C)(H - O) + (L - C)(L - O): .01 x .02 + -.02 x -.01
        ("rogers_satchell", 0.0004),
    ],
)
def test_range_variance_when_one_session_then_by_hand(estimator, variance):
    day = prices(100.0, 100 * np.exp(0.02), 100 * np.exp(-0.01), 100 * np.exp(0.01))
    assert session_variance(day, estimator)[0, 0] == pytest.approx(variance, rel=1e-10)
    root = volatility(day, window=1, estimator=estimator)[0, 0]
    assert root == pytest.approx(np.sqrt(variance), rel=1e-10)


def test_rogers_satchell_when_the_session_only_trends_then_zero():
    # The estimator's point: a straight drift from low to high is no variance.
    up = prices(100.0, 105.0, 100.0, 105.0)
    assert session_variance(up, "rogers_satchell")[0, 0] == pytest.approx(0.0, abs=1e-15)
    assert session_variance(up, "parkinson")[0, 0] > 1e-4


@pytest.mark.parametrize("estimator", ["parkinson", "garman_klass", "rogers_satchell"])
@pytest.mark.parametrize(
    "day",
    [
        (100.0, 98.0, 103.0, 101.0),  # open, high, low, close: high and low swapped
        (100.0, 102.0, 99.0, 102.1),
        (100.0, 102.0, 99.0, 98.9),
        (102.1, 102.0, 99.0, 101.0),
        (98.9, 102.0, 99.0, 101.0),
        (100.0, 102.0, 99.0, 50.5),  # a close that alone is adjusted for a split
    ],
)
def test_range_variance_when_no_session_can_be_so_then_nan(estimator, day):
    assert np.isnan(session_variance(prices(*day), estimator)[0, 0])


def test_range_variance_when_adjusted_prices_are_rounded_then_known():
    day = prices(100.0, 102.0, 99.0, np.nextafter(102.0, 103.0))
    assert session_variance(day, "parkinson")[0, 0] > 0.0


@pytest.mark.parametrize("estimator", ["parkinson", "garman_klass", "rogers_satchell"])
def test_range_variance_when_brownian_then_unbiased(estimator):
    # 4,000 sessions of 1,000 moves: variance 1e-4 each. The discrete range misses the extremes, by
    # about .9 standard deviations of a move at each end, or 6 % of the variance by Parkinson's.
    moves = np.random.default_rng(0).normal(0, 0.01 / np.sqrt(1000), (4000, 1000))
    path = np.cumsum(moves, axis=1)
    ends = [np.fmax(path.max(axis=1), 0), np.fmin(path.min(axis=1), 0), path[:, -1]]
    high, low, close = (100 * np.exp(values)[None] for values in ends)
    panel = Panel(
        "XNYS",
        ("A",),
        calendar_sessions("XNYS")[5000:9000],
        close,
        open=np.full_like(close, 100.0),
        high=high,
        low=low,
    )
    mean = session_variance(panel, estimator).mean()
    assert 0.90e-4 < mean < 1.02e-4


def test_realized_when_rolled_then_root_mean_square():
    ours = feature_matrix((Volatility(window=12),), PANEL)["realized_volatility_12"]
    theirs = np.sqrt((FRAME**2).rolling(12).mean().to_numpy().T)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_parts_when_added_then_the_return():
    parts = Seasonal(window=30, parts=("trend", "season", "remainder"))
    whole = feature_matrix((parts,), PANEL).values.sum(axis=2)
    np.testing.assert_allclose(whole[:, 60:], RETURNS[:, 59:], atol=1e-15)


def test_season_when_mondays_rise_then_found_without_the_session_itself():
    monday = season_of(SESSIONS, "weekday") == 0
    close = 50.0 * np.exp(np.cumsum(0.01 * monday))[None]
    ours = feature_matrix(
        (Seasonal(window=50, parts=("trend", "season")),), Panel("XNYS", ("A",), SESSIONS, close)
    )
    season = ours["weekday_season_50"][0, 100:]
    trend = ours["weekday_trend_50"][0, 100:]
    # Under a fifth of the sessions are Mondays: trend near .002, Mondays above it by the rest.
    np.testing.assert_allclose(season[monday[100:]] + trend[monday[100:]], 0.01, atol=4e-4)
    np.testing.assert_allclose(season[~monday[100:]] + trend[~monday[100:]], 0.0, atol=4e-4)


def test_season_when_counted_by_hand_then_the_mean_of_earlier_like_sessions():
    values = np.array([[1.0, 10.0, 3.0, 20.0, 5.0, np.nan, 7.0, 40.0]])
    mean = earlier_mean_of_season(values, np.array([0, 1] * 4), 4)
    np.testing.assert_allclose(mean[0], [np.nan, np.nan, 1.0, 10.0, 2.0, 15.0, 4.0, 20.0])


def test_season_when_numbered_then_weekday_and_month():
    days = np.array(["2024-01-01", "2024-02-29", "2024-12-31"], "datetime64[D]")
    assert season_of(days, "weekday").tolist() == [0, 3, 1]  # Monday, Thursday, Tuesday
    assert season_of(days, "month").tolist() == [0, 1, 11]


def test_market_when_prices_are_missing_then_the_mean_of_the_rest():
    close = CLOSE.copy()
    close[1, :100], close[2, :50] = np.nan, np.nan
    ours = feature_matrix((CrossSection(),), Panel("XNYS", ("A", "B", "C"), SESSIONS, close))
    market = ours["market_return"][0]
    assert np.isnan(market[:51]).all()  # of one ticker alone
    np.testing.assert_allclose(market[51:101], RETURNS[[0, 2], 50:100].mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(market[101:], RETURNS[:, 100:].mean(axis=0), rtol=1e-8, atol=1e-14)


def test_abnormal_return_when_fitted_then_as_a_regression_on_the_sessions_before():
    ours = feature_matrix((CrossSection(factors=("abnormal_return",), window=40),), PANEL)
    market, session = RETURNS.mean(axis=0), 200
    before = slice(session - 41, session - 1)  # returns start on session 1
    line = stats.linregress(market[before], RETURNS[2, before])
    by_hand = RETURNS[2, session - 1] - line.intercept - line.slope * market[session - 1]
    assert ours["abnormal_return_40"][2, session] == pytest.approx(by_hand, rel=1e-9)


def test_component_when_two_tickers_then_weights_by_inverse_volatility():
    # At a positive correlation the first eigenvector of a 2 x 2 matrix is (1, 1) / sqrt 2.
    base = RNG.normal(0, 0.01, 61)
    pair = np.vstack([base + RNG.normal(0, 0.003, 61), 2.0 * base + RNG.normal(0, 0.003, 61)])
    inverse = 1.0 / pair[:, :60].std(axis=1)
    by_hand = (inverse / inverse.sum()) @ pair[:, 60]
    assert first_component(pair, 60)[0, 60] == pytest.approx(by_hand, rel=1e-9)


def test_component_when_many_tickers_then_that_of_the_correlation_matrix():
    rng = np.random.default_rng(2)
    loadings = rng.uniform(0.5, 1.5, 8)
    returns = np.outer(loadings, rng.normal(0, 0.01, 81)) + rng.normal(0, 0.004, (8, 81))
    before = returns[:, :80]
    vector = np.linalg.eigh(np.corrcoef(before))[1][:, -1]
    weights = vector / before.std(axis=1)
    weights *= np.sign(weights.sum()) / np.abs(weights).sum()
    assert first_component(returns, 80)[3, 80] == pytest.approx(weights @ returns[:, 80], rel=1e-9)


def test_component_when_more_tickers_than_sessions_then_that_of_the_correlation_matrix():
    rng = np.random.default_rng(6)
    returns = np.outer(rng.uniform(0.5, 1.5, 30), rng.normal(0, 0.01, 13))
    returns += rng.normal(0, 0.004, (30, 13))
    for session in (10, 12):
        before = returns[:, session - 10 : session]
        weights = np.linalg.eigh(np.corrcoef(before))[1][:, -1] / before.std(axis=1)
        weights *= np.sign(weights.sum()) / np.abs(weights).sum()
        ours = first_component(returns, 10)[0, session]
        assert ours == pytest.approx(weights @ returns[:, session], rel=1e-9)


def test_component_when_500_tickers_then_memory_is_bounded():
    returns = np.random.default_rng(3).normal(0, 0.01, (500, 160))
    tracemalloc.start()
    try:
        first_component(returns, 60)
        assert tracemalloc.get_traced_memory()[1] < 90e6
    finally:
        tracemalloc.stop()


def test_component_when_a_ticker_lacks_a_price_then_that_of_the_others():
    returns = RNG.normal(0, 0.01, (4, 31))
    torn = returns.copy()
    torn[1, 5] = np.nan
    others = np.delete(returns, 1, axis=0)
    np.testing.assert_allclose(first_component(torn, 30)[0, 30], first_component(others, 30)[0, 30])
