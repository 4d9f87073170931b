import empyrical
import numpy as np
import pytest
import statsmodels.api as sm
from arch.bootstrap import StationaryBootstrap
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from skfolio import measures as skfolio_measures

from pmx_ray.backtest.strategy import Sleeves
from pmx_ray.errors import DataError, SettingsError
from pmx_ray.stats.intervals import MIN_CUTOFFS, percentile_interval
from pmx_ray.stats.measures import max_drawdown_frac, sharpe_annual
from pmx_ray.stats.strategy_tests import (
    bootstrap_interval,
    information_ratio_annual,
    max_drawdown_frac_by_row,
    mean_difference_test,
    sharpe_and_drawdown_intervals,
    sharpe_annual_by_row,
    variance_ratio_f_test,
)

YEAR = {"periods_per_year": 252}
DRAW = {"block": 3, "n_resamples": 200, "level": 0.9, "seed": 11}
ROWS = arrays(
    np.float64,
    st.tuples(st.integers(1, 4), st.integers(2, 12)),
    elements=st.floats(-1.5, 1.0).map(lambda x: round(x, 3)),
)


def series(seed, n=250, mean=0.0005):
    return np.random.default_rng(seed).normal(mean, 0.01, n)


# proves A10: t test of the mean difference, information ratio, F test of variances
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_mean_difference_when_no_lags_then_the_paired_t_test_of_scipy(seed):
    returns, benchmark = series(seed), series(seed + 10)
    found = mean_difference_test(returns, benchmark, lags=0)
    expected = stats.ttest_rel(returns, benchmark, alternative="greater")
    assert found.mean == pytest.approx(np.mean(returns - benchmark))
    assert found.statistic == pytest.approx(expected.statistic, rel=1e-12)
    assert found.p_greater == pytest.approx(expected.pvalue, rel=1e-12)
    assert found.n == 250


def test_mean_difference_when_lagged_then_the_newey_west_sum_of_the_paper():
    difference = np.convolve(series(4, 60, mean=0.002), np.ones(3), "valid")
    n, centred = len(difference), difference - difference.mean()
    spread = centred @ centred
    for lag in (1, 2):
        spread += 2 * (1 - lag / 3) * (centred[lag:] @ centred[:-lag])
    error = np.sqrt(spread / n**2 * n / (n - 1))
    found = mean_difference_test(difference, np.zeros(n), lags=2)
    assert found.statistic == pytest.approx(difference.mean() / error)
    assert found.p_greater == pytest.approx(stats.t.sf(difference.mean() / error, n - 1))


def test_mean_difference_when_lagged_then_equal_to_statsmodels():
    returns, benchmark = series(5), series(6)
    fit = sm.OLS(returns - benchmark, np.ones(250)).fit(
        cov_type="HAC", cov_kwds={"maxlags": 4, "use_correction": True}, use_t=True
    )
    found = mean_difference_test(returns, benchmark, lags=4)
    assert found.statistic == pytest.approx(fit.tvalues[0], rel=1e-12)


def test_mean_difference_when_positions_overlap_then_lags_keep_the_size():
    rejected = {0: 0, 9: 0}
    for seed in range(200):
        overlapping = np.convolve(series(seed, 409, mean=0.0), np.ones(10), "valid")
        for lags in rejected:
            found = mean_difference_test(overlapping, np.zeros(400), lags=lags)
            rejected[lags] += found.p_greater < 0.05
    # the t test takes every period for news; Bartlett weights remove most of that, not all
    assert rejected[0] > 40
    assert rejected[9] < 30


@given(seed=st.integers(0, 99), lags=st.integers(0, 5), scale=st.sampled_from([1e-200, 2.0]))
@settings(max_examples=20, deadline=None)
def test_mean_difference_when_sides_are_swapped_or_levered_then_turned_or_the_same(
    seed, lags, scale
):
    returns, benchmark = series(seed, 30), series(seed + 500, 30)
    found = mean_difference_test(returns, benchmark, lags=lags)
    swapped = mean_difference_test(benchmark, returns, lags=lags)
    assert swapped.p_greater == pytest.approx(1 - found.p_greater)
    levered = mean_difference_test(returns * scale, benchmark * scale, lags=lags)
    assert levered.statistic == pytest.approx(found.statistic)


@pytest.mark.parametrize(
    ("returns", "mean", "n"),
    [
        pytest.param([], np.nan, 0, id="nothing"),
        pytest.param([0.01, np.nan], 0.01, 1, id="one pair"),
        pytest.param([0.01, 0.03], 0.02, 2, id="no more than lags"),
        pytest.param([0.0] * 9, 0.0, 9, id="the benchmark itself"),
    ],
)
def test_mean_difference_when_it_cannot_be_told_then_nan(returns, mean, n):
    values = np.array(returns, float)
    found = mean_difference_test(values, np.zeros(len(values)), lags=2)
    assert np.isnan(found.statistic)
    assert np.isnan(found.p_greater)
    assert found.mean == pytest.approx(mean, nan_ok=True)
    assert found.n == n


def test_tests_when_a_period_is_missing_on_one_side_then_the_pair_is_left_out():
    returns, benchmark = series(7), series(8)
    with_gap, other = np.insert(returns, 5, np.nan), np.insert(benchmark, 5, 0.5)
    expected = mean_difference_test(returns, benchmark, lags=1)
    assert mean_difference_test(with_gap, other, lags=1) == expected
    assert variance_ratio_f_test(with_gap, other) == variance_ratio_f_test(returns, benchmark)
    ratio = information_ratio_annual(returns, benchmark, **YEAR)
    assert information_ratio_annual(with_gap, other, **YEAR) == ratio
    assert variance_ratio_f_test(other, with_gap) == variance_ratio_f_test(benchmark, returns)


def test_information_ratio_when_checked_against_empyrical_then_equal_to_1e_12():
    returns, benchmark = series(9), series(10)
    expected = empyrical.excess_sharpe(returns, benchmark) * np.sqrt(252)
    found = information_ratio_annual(returns, benchmark, **YEAR)
    assert found == pytest.approx(expected, rel=1e-12)


def test_information_ratio_when_the_benchmark_is_held_then_nan():
    assert np.isnan(information_ratio_annual(series(1), series(1), **YEAR))


def test_f_test_when_the_handbook_example_then_its_statistic_and_decision():
    # NIST/SEMATECH e-Handbook 1.3.5.9: ceramic strength, 2 x 240 pieces, F = 1.123037, accepted
    # between 0.7756 and 1.2894
    first, second = (stats.zscore(series(seed, 240), ddof=1) for seed in (1, 2))
    f, p = variance_ratio_f_test(65.54909 * first, 61.85425 * second)
    assert f == pytest.approx(1.123037, abs=1e-6)
    assert p > 0.05
    for limit in (0.7756, 1.2894):
        _, p = variance_ratio_f_test(np.sqrt(limit) * first, second)
        assert p == pytest.approx(0.05, abs=2e-4)  # limits are printed to four digits


def test_f_test_when_by_hand_then_known_p_value():
    # variances 2 and 8: F = 1/4 with (1, 1) degrees, P(F < 1/4) = 2/pi arctan(1/2)
    f, p = variance_ratio_f_test(np.array([1.0, 3.0]), np.array([2.0, 6.0]))
    assert f == pytest.approx(0.25)
    assert p == pytest.approx(4 / np.pi * np.arctan(0.5))


def test_f_test_when_the_variances_are_equal_then_certain():
    f, p = variance_ratio_f_test(np.array([1.0, 2.0]), np.array([2.0, 1.0]))
    assert (f, p) == pytest.approx((1.0, 1.0))


@pytest.mark.parametrize("returns", [[], [0.1], [0.1, 0.1]])
def test_f_test_when_a_series_does_not_vary_then_nan(returns):
    other = np.arange(len(returns), dtype=float)
    assert np.isnan(variance_ratio_f_test(np.array(returns), other)).all()
    assert np.isnan(variance_ratio_f_test(other, np.array(returns))).all()


@given(rows=ROWS)
@settings(max_examples=30, deadline=None)
def test_rows_when_measured_together_then_each_as_alone(rows):
    # the identity resample: the interval's statistic is the leaderboard's figure
    sharpe = sharpe_annual_by_row(rows, **YEAR)
    drawdown = max_drawdown_frac_by_row(rows)
    for b, row in enumerate(rows):
        expected = sharpe_annual(row, **YEAR)
        assert sharpe[b] == pytest.approx(expected, rel=1e-12, nan_ok=True)
        assert drawdown[b] == pytest.approx(max_drawdown_frac(row), abs=1e-15)


@given(rows=ROWS, n_sleeves=st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_rows_when_capital_is_in_sleeves_then_the_drawdown_of_the_backtest(rows, n_sleeves):
    sleeves = Sleeves(step=n_sleeves, step_size=1)
    drawdown = max_drawdown_frac_by_row(rows, n_sleeves=n_sleeves)
    for b, row in enumerate(rows):
        assert drawdown[b] == pytest.approx(sleeves.drawdown_frac(row).max(), abs=1e-12)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_rows_when_checked_against_empyrical_and_skfolio_then_equal_to_1e_12(seed):
    returns = series(seed)
    sharpe = sharpe_annual_by_row(returns[None], **YEAR)[0]
    assert sharpe == pytest.approx(empyrical.sharpe_ratio(returns), rel=1e-12)
    deviation = skfolio_measures.standard_deviation(returns)
    expected = skfolio_measures.mean(returns) / deviation * np.sqrt(252)
    assert sharpe == pytest.approx(expected, rel=1e-12)
    drawdown = max_drawdown_frac_by_row(returns[None])[0]
    assert drawdown == pytest.approx(-empyrical.max_drawdown(returns), rel=1e-12)
    path = skfolio_measures.get_drawdowns(returns, compounded=True)
    assert drawdown == pytest.approx(skfolio_measures.max_drawdown(path), rel=1e-12)


@pytest.mark.parametrize("n_sleeves", range(1, 40))
def test_rows_when_every_sleeve_loses_all_then_a_drawdown_of_one_and_no_more(n_sleeves):
    rows = np.append(series(n_sleeves, n_sleeves, mean=0.1), np.full(n_sleeves, -1.0))[None]
    assert max_drawdown_frac_by_row(rows, n_sleeves=n_sleeves)[0] <= 1.0
    assert max_drawdown_frac_by_row(rows, n_sleeves=n_sleeves)[0] == pytest.approx(1.0, abs=1e-12)


# proves A12: bootstrap intervals of Sharpe and of maximum drawdown
def test_intervals_when_checked_against_the_loop_of_arch_then_equal():
    returns = series(12, 80)
    found = sharpe_and_drawdown_intervals(returns, **YEAR, **DRAW)
    bootstrap = StationaryBootstrap(3, returns, seed=11)
    drawn = bootstrap.apply(
        lambda x: np.array([sharpe_annual(x, **YEAR), max_drawdown_frac(x)]), 200
    )
    sharpe = percentile_interval(drawn[:, 0], level=0.9)
    drawdown = percentile_interval(drawn[:, 1], level=0.9)
    assert (found.sharpe_low, found.sharpe_high) == pytest.approx(sharpe)
    assert (found.drawdown_low, found.drawdown_high) == pytest.approx(drawdown)


def test_intervals_when_one_statistic_is_asked_then_as_in_the_pair():
    returns = series(13, 60)
    pair = sharpe_and_drawdown_intervals(returns, **YEAR, n_sleeves=4, **DRAW)
    sharpe = bootstrap_interval(returns, lambda rows: sharpe_annual_by_row(rows, **YEAR), **DRAW)
    assert (pair.sharpe_low, pair.sharpe_high) == sharpe
    drawdown = bootstrap_interval(
        returns, lambda rows: max_drawdown_frac_by_row(rows, n_sleeves=4), **DRAW
    )
    assert (pair.drawdown_low, pair.drawdown_high) == drawdown


def test_intervals_when_not_told_then_of_a_thousand_resamples():
    drawn = []
    bootstrap_interval(
        series(14, 20),
        lambda rows: drawn.append(rows.shape) or rows.mean(axis=1),
        block=2,
        level=0.9,
        seed=1,
    )
    assert drawn == [(1000, 20)]


def test_intervals_when_the_seed_is_the_same_then_the_same_bits():
    returns = series(15, 60)
    first, again = (sharpe_and_drawdown_intervals(returns, **YEAR, **DRAW) for _ in range(2))
    assert first == again
    assert sharpe_and_drawdown_intervals(returns, **YEAR, **{**DRAW, "seed": 12}) != first


def test_intervals_when_replicated_then_they_cover_the_true_sharpe():
    true = 0.1 * np.sqrt(252)
    covered = 0
    for seed in range(200):
        found = sharpe_and_drawdown_intervals(
            series(seed, 200, mean=0.001),
            **YEAR,
            block=1,
            n_resamples=200,
            level=0.9,
            seed=seed,
        )
        covered += found.sharpe_low <= true <= found.sharpe_high
    assert covered / 200 == pytest.approx(0.9, abs=0.064)  # three standard errors


def test_intervals_when_returns_are_few_then_nan():
    few = np.append(series(16, MIN_CUTOFFS - 1), np.nan)
    found = sharpe_and_drawdown_intervals(few, **YEAR, **DRAW)
    values = [found.sharpe_low, found.sharpe_high, found.drawdown_low, found.drawdown_high]
    assert np.isnan(values).all()
    enough = sharpe_and_drawdown_intervals(series(16, MIN_CUTOFFS), **YEAR, **DRAW)
    assert enough.sharpe_low < enough.sharpe_high


def test_intervals_when_returns_never_vary_then_no_sharpe_and_no_drawdown():
    found = sharpe_and_drawdown_intervals(np.full(20, 0.01), **YEAR, **DRAW)
    assert np.isnan([found.sharpe_low, found.sharpe_high]).all()
    assert (found.drawdown_low, found.drawdown_high) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"block": 0}, "block was 0"),
        ({"n_resamples": 0}, "n_resamples 0"),
        ({"level": 1.0}, "level was 1.0"),
        ({"n_sleeves": 0}, "n_sleeves was 0"),
    ],
)
def test_intervals_when_a_setting_is_outside_its_limits_then_refused(wrong, message):
    with pytest.raises(SettingsError, match=message):
        sharpe_and_drawdown_intervals(series(1), **YEAR, **{**DRAW, **wrong})


def test_tests_when_series_differ_in_length_or_lags_are_negative_then_refused():
    with pytest.raises(DataError, match="same periods"):
        mean_difference_test(np.zeros(3), np.zeros(1), lags=0)
    with pytest.raises(SettingsError, match="lags was -1"):
        mean_difference_test(np.zeros(3), np.zeros(3), lags=-1)
