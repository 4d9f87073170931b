import warnings
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.tsa.stattools import diebold_mariano_test

from pmx_ray.errors import DataError, SettingsError
from pmx_ray.stats.predictive import DifferenceMoments, diebold_mariano, effect_size

ARRAYS = ("mean", "statistic", "p_less", "p_two_sided", "paired_t", "paired_p_less", "n", "no_lags")


def _moving_average(n, *, order, seed, shift=0.0):
    noise = np.random.default_rng(seed).normal(size=n + order)
    return np.convolve(noise, np.ones(order + 1), mode="valid") + shift


def _with_gaps(differences, *, share, seed):
    hidden = np.random.default_rng(seed).random(differences.shape) < share
    return np.where(hidden, np.nan, differences)


def _plain(series, lags):
    """Return mean, statistic and whether no lag was used, from the definitions, pair by pair."""
    known = series[~np.isnan(series)]
    n, mean = len(known), known.mean()
    gamma = []
    for k in range(lags + 1):
        total = 0.0
        for t in range(k, len(series)):
            if not np.isnan(series[t]) and not np.isnan(series[t - k]):
                total += (series[t] - mean) * (series[t - k] - mean)
        gamma.append(total / n)
    variance, h = gamma[0] + 2.0 * sum(gamma[1:]), lags + 1
    no_lags = lags > 0 and (variance <= 0.0 or n <= h)
    if no_lags:
        variance, h = gamma[0], 1
    factor = np.sqrt((n + 1 - 2 * h + h * (h - 1) / n) / n)
    return mean, mean / np.sqrt(variance / n) * factor, no_lags


def test_diebold_mariano_when_one_step_then_as_statsmodels():
    # proves E3
    rng = np.random.default_rng(0)
    actual, first, second = rng.normal(size=(3, 80))
    found = diebold_mariano((actual - first) ** 2 - (actual - second) ** 2, lags=0)
    # Its kernel is Bartlett's, ours is rectangular; without lags there is no kernel.
    expected = diebold_mariano_test(actual, first, second, lags=0, harvey_adj=True, horizon=1)
    assert found.statistic == pytest.approx(expected.statistic, rel=1e-12)
    assert found.p_two_sided == pytest.approx(expected.pvalue, rel=1e-12)


@pytest.mark.parametrize("lags", [1, 4, 19])
def test_diebold_mariano_when_horizons_overlap_then_as_statsmodels_with_a_uniform_kernel(lags):
    d = _moving_average(300, order=lags, seed=lags, shift=-0.2)
    robust = OLS(d, np.ones_like(d)).fit(
        cov_type="HAC", cov_kwds={"maxlags": lags, "kernel": "uniform"}
    )
    n, h = 300, lags + 1
    expected = robust.tvalues[0] * np.sqrt((n + 1 - 2 * h + h * (h - 1) / n) / n)
    found = diebold_mariano(d, lags=lags)
    assert found.statistic == pytest.approx(expected, rel=1e-12)
    assert found.p_less == pytest.approx(stats.t.cdf(expected, df=n - 1), rel=1e-12)
    assert found.p_two_sided == pytest.approx(2 * stats.t.cdf(-abs(expected), df=n - 1), rel=1e-12)
    assert (found.n, found.lags, found.no_lags) == (n, lags, False)


def test_diebold_mariano_when_worked_by_hand_then_equal():
    # Differences -2, -1, -2, -3: mean -2, about it 0, 1, 0, -1; gamma_0 = 2/4, and gamma_1 = 0
    # as every product of neighbours holds a 0. With h = 2, n = 4 the factor is
    # sqrt((4 + 1 - 4 + 2/4) / 4) = sqrt(3/8), so the statistic is -2 / sqrt(1/8) sqrt(3/8).
    found = diebold_mariano(np.array([-2.0, -1.0, -2.0, -3.0]), lags=1)
    assert found.mean == -2.0
    assert found.statistic == pytest.approx(-2.0 * np.sqrt(3.0), rel=1e-14)
    assert found.p_less == pytest.approx(stats.t.cdf(-2.0 * np.sqrt(3.0), df=3), rel=1e-12)


def test_diebold_mariano_when_first_is_better_then_p_less_is_small():
    d = _moving_average(200, order=0, seed=1, shift=-0.5)
    assert diebold_mariano(d, lags=0).p_less < 0.001
    assert diebold_mariano(-d, lags=0).p_less > 0.999


def test_diebold_mariano_when_hac_variance_is_negative_then_no_lags_are_used():
    d = np.tile([1.0, -1.0], 20) + np.linspace(0.0, 0.1, 40)  # neighbours cancel: gamma_1 < 0
    found = diebold_mariano(d, lags=1)
    assert found.no_lags
    assert found.statistic == pytest.approx(diebold_mariano(d, lags=0).statistic, rel=1e-14)
    assert not diebold_mariano(d, lags=0).no_lags


@pytest.mark.parametrize("n", [2, 5, 6])
def test_diebold_mariano_when_no_more_observations_than_the_horizon_then_no_lags_are_used(n):
    d = _moving_average(n, order=2, seed=n)
    found = diebold_mariano(d, lags=5)
    assert found.no_lags
    assert found.statistic == pytest.approx(stats.ttest_1samp(d, 0.0).statistic, rel=1e-12)


def test_diebold_mariano_when_known_ones_are_far_apart_and_few_then_no_lags_are_used():
    # No pair is within the horizon, so the HAC variance is the plain one, but 4 observations say
    # nothing of 5 lags, and the factor has no meaning beyond the horizon.
    d = np.full(31, np.nan)
    d[::10] = [-1.0, -2.0, -4.0, 1.0]
    found = diebold_mariano(d, lags=5)
    assert found.no_lags
    assert found.statistic == pytest.approx(stats.ttest_1samp(d[::10], 0.0).statistic, rel=1e-12)


@pytest.mark.parametrize(
    ("differences", "n"),
    [
        pytest.param([], 0, id="none"),
        pytest.param([np.nan, np.nan], 0, id="none known"),
        pytest.param([np.nan, -1.0], 1, id="one"),
        pytest.param([-0.1, -0.1, -0.1], 3, id="always the same"),
    ],
)
@pytest.mark.parametrize("lags", [0, 2])
def test_diebold_mariano_when_spread_is_unknown_then_nan(differences, n, lags):
    found = diebold_mariano(np.array(differences), lags=lags)
    assert np.isnan([found.statistic, found.p_less, found.p_two_sided]).all()
    assert (found.n, found.no_lags) == (n, False)


def test_diebold_mariano_when_forecasts_are_the_same_then_p_is_one():
    found = diebold_mariano(np.array([0.0, np.nan, 0.0, 0.0]), lags=1)
    assert (found.mean, found.statistic, found.p_less, found.p_two_sided) == (0.0, 0.0, 1.0, 1.0)


def test_diebold_mariano_when_size_is_simulated_then_as_stated():
    # 2,000 series of 60 overlapping two-step differences without a mean; the binomial spread of
    # a share of 0.05 is 0.005, and the test is known to be a little off in small samples.
    moments = DifferenceMoments(2000, lags=1)
    noise = np.random.default_rng(8).normal(size=(61, 2000))
    moments.add(noise[1:] + noise[:-1])
    assert (moments.tests().p_less < 0.05).mean() == pytest.approx(0.05, abs=0.025)


@settings(max_examples=30, deadline=None)
@given(
    lags=st.integers(0, 6),
    cuts=st.lists(st.integers(0, 40), max_size=6),
    share=st.sampled_from([0.0, 0.1, 0.6]),
    level=st.sampled_from([0.0, 1e6]),
    seed=st.integers(0, 1000),
)
def test_difference_moments_when_cut_into_parts_then_as_the_whole(lags, cuts, share, level, seed):
    d = np.random.default_rng(seed).normal(size=(40, 5)) + level
    d = _with_gaps(d, share=share, seed=seed)
    d[:, 0], d[:, 1], d[:25, 2] = np.nan, 0.3, np.nan  # nothing known, no spread, known late
    whole, parts = DifferenceMoments(5, lags=lags), DifferenceMoments(5, lags=lags)
    whole.add(d)
    edges = sorted({0, 40, *cuts})
    for start, end in pairwise(edges):
        parts.add(d[start:end])
        parts.add(d[end:end])  # an empty part changes nothing
    for name in ARRAYS:
        expected, found = getattr(whole.tests(), name), getattr(parts.tests(), name)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("lags", [0, 1, 4])
@pytest.mark.parametrize("level", [0.0, 1e6])
def test_difference_moments_when_there_are_gaps_then_as_the_definition(lags, level):
    d = np.column_stack([_moving_average(60, order=lags, seed=s) for s in range(8)]) + level
    d = _with_gaps(d, share=0.25, seed=3)
    moments = DifferenceMoments(8, lags=lags)
    moments.add(d)
    tests = moments.tests()
    for column in range(8):
        mean, statistic, no_lags = _plain(d[:, column], lags)
        assert tests.mean[column] == pytest.approx(mean, rel=1e-12)
        # The definition itself holds 10 digits where the mean is 1e6 times the spread.
        assert tests.statistic[column] == pytest.approx(statistic, rel=1e-9 if level else 1e-12)
        assert tests.no_lags[column] == no_lags


def test_difference_moments_when_many_series_then_each_as_alone():
    d = _with_gaps(np.random.default_rng(2).normal(size=(50, 6)), share=0.2, seed=4)
    moments = DifferenceMoments(6, lags=2)
    moments.add(d)
    tests = moments.tests()
    for column in range(6):
        alone = diebold_mariano(d[:, column], lags=2)
        assert tests.statistic[column] == pytest.approx(alone.statistic, rel=1e-14)
        assert tests.p_less[column] == pytest.approx(alone.p_less, rel=1e-12)
        assert tests.n[column] == alone.n


def test_paired_t_when_checked_against_scipy_then_equal():
    # proves E3
    first, second = np.random.default_rng(6).normal(size=(2, 40, 3))
    moments = DifferenceMoments(3, lags=3)
    moments.add(first - second)
    tests = moments.tests()
    expected = stats.ttest_rel(first, second, alternative="less")
    np.testing.assert_allclose(tests.paired_t, expected.statistic, rtol=1e-12)
    np.testing.assert_allclose(tests.paired_p_less, expected.pvalue, rtol=1e-12)


def test_tests_when_nothing_was_added_then_nan_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tests = DifferenceMoments(2, lags=3).tests()
    assert np.isnan(tests.mean).all()
    assert np.isnan(tests.p_less).all()
    assert (tests.n == 0).all()


def test_difference_moments_when_fed_badly_then_refused():
    with pytest.raises(SettingsError, match="lags was -1"):
        DifferenceMoments(1, lags=-1)
    moments = DifferenceMoments(2, lags=0)
    with pytest.raises(DataError, match="rows of 2 series"):
        moments.add(np.zeros((3, 1)))
    with pytest.raises(DataError, match="infinite"):
        moments.add(np.array([[np.inf, 0.0]]))


def test_effect_size_when_worked_by_hand_then_mean_over_spread():
    # Mean -2, deviations 1, 0, -1: standard deviation 1.
    assert effect_size(np.array([-1.0, np.nan, -2.0, -3.0])) == pytest.approx(-2.0, rel=1e-14)


@pytest.mark.parametrize("values", [[], [1.0], [np.nan, 1.0], [0.1, 0.1, 0.1], [0.0, 0.0]])
def test_effect_size_when_there_is_no_spread_then_nan(values):
    assert np.isnan(effect_size(np.array(values)))
