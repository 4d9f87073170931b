import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from statsmodels.stats.diagnostic import acorr_ljungbox
from statsmodels.stats.stattools import durbin_watson as durbin_watson_of_statsmodels

from pmx_ray.errors import DataError, SettingsError
from pmx_ray.stats.diagnostics import (
    christoffersen_p,
    conditional_coverage_p,
    durbin_watson,
    jarque_bera_p,
    kupiec,
    kupiec_p,
    ljung_box_p,
    mincer_zarnowitz,
    pit_histogram,
    pit_p,
)

ANY_FLOATS = arrays(np.float64, st.integers(0, 12), elements=st.floats(width=64))


def noise(seed, n=200):
    return np.random.default_rng(seed).normal(size=n)


def autoregression(seed, n=400, coefficient=0.5):
    z = noise(seed, n)
    for t in range(1, n):
        z[t] += coefficient * z[t - 1]
    return z


def ones_at(n, *positions):
    breaches = np.zeros(n, bool)
    breaches[list(positions)] = True
    return breaches


# proves A11: Ljung-Box, Durbin-Watson and Jarque-Bera
@pytest.mark.parametrize("seed", [1, 2])
def test_autocorrelation_when_checked_against_the_libraries_then_equal(seed):
    z = autoregression(seed, coefficient=0.1)
    expected = acorr_ljungbox(z, lags=[10])["lb_pvalue"].iloc[0]
    assert ljung_box_p(z, lags=10) == pytest.approx(expected, rel=1e-12)
    assert durbin_watson(z) == pytest.approx(durbin_watson_of_statsmodels(z), rel=1e-12)
    assert jarque_bera_p(z) == pytest.approx(stats.jarque_bera(z).pvalue, rel=1e-12)


def test_autocorrelation_when_by_hand_then_known_values():
    # r1 = .4 of 1..5, Q = 5 x 7 x .4^2 / 4 = 1.4
    assert ljung_box_p(np.arange(1.0, 6.0), lags=1) == pytest.approx(stats.chi2.sf(1.4, 1))
    assert durbin_watson(np.array([1.0, -1.0, 1.0, -1.0])) == pytest.approx(12 / 4)
    assert durbin_watson(np.array([1.0, 1.0, -1.0, -1.0])) == pytest.approx(4 / 4)
    # skew 0 and kurtosis 1: JB = 12 / 6 x (1 - 3)^2 / 4 = 2, and chi2(2) leaves exp(-2 / 2)
    assert jarque_bera_p(np.array([1.0, -1.0] * 6)) == pytest.approx(np.exp(-1.0))


def test_ljung_box_when_errors_are_noise_or_related_then_seldom_or_always_rejected():
    rejected = [ljung_box_p(noise(seed), lags=5) < 0.05 for seed in range(200)]
    assert np.mean(rejected) == pytest.approx(0.05, abs=0.045)  # three standard errors
    assert all(ljung_box_p(autoregression(seed), lags=5) < 0.05 for seed in range(10))


def test_jarque_bera_when_tails_are_fat_then_rejected():
    assert jarque_bera_p(np.random.default_rng(0).standard_t(3, 1000)) < 1e-6


@pytest.mark.parametrize(
    "z",
    [
        pytest.param([], id="nothing"),
        pytest.param([1.0], id="one"),
        pytest.param([np.nan, 1.0, np.inf], id="one that is finite"),
        pytest.param([0.0] * 9, id="all zero"),
        pytest.param([0.1 + 0.2, 0.3] * 9, id="constant but for rounding"),
    ],
)
def test_diagnostics_when_a_series_is_short_or_constant_then_nan(z):
    values = np.array(z, float)
    assert np.isnan(ljung_box_p(values, lags=1))
    assert np.isnan(durbin_watson(values))
    assert np.isnan(jarque_bera_p(values))


def test_ljung_box_when_no_more_values_than_lags_then_nan():
    assert np.isnan(ljung_box_p(noise(0, 5), lags=5))
    assert ljung_box_p(noise(0, 6), lags=5) > 0.0


def test_diagnostics_when_a_value_is_missing_then_left_out():
    z = noise(4)
    gappy = np.insert(z, 9, np.nan)
    assert ljung_box_p(gappy, lags=5) == ljung_box_p(z, lags=5)
    assert durbin_watson(gappy) == durbin_watson(z)
    assert jarque_bera_p(gappy) == jarque_bera_p(z)
    assert mincer_zarnowitz(gappy, gappy[::-1], lags=1).p > 0.0


@given(z=ANY_FLOATS, other=ANY_FLOATS)
@settings(max_examples=30, deadline=None)
def test_diagnostics_when_any_floats_then_a_probability_or_nan(z, other):
    n = min(len(z), len(other))
    found = [
        ljung_box_p(z, lags=2),
        jarque_bera_p(z),
        pit_p(z),
        mincer_zarnowitz(z[:n], other[:n], lags=1).p,
        durbin_watson(z) / 4.0,
    ]
    assert all(np.isnan(p) or 0.0 <= p <= 1.0 for p in found)


@given(seed=st.integers(0, 99), scale=st.sampled_from([1e-200, 1e-8, -3.0, 1e200]))
@settings(max_examples=20, deadline=None)
def test_diagnostics_when_the_unit_changes_then_the_same(seed, scale):
    z, mean = noise(seed, 40), noise(seed + 1000, 40)
    assert ljung_box_p(z * scale, lags=3) == pytest.approx(ljung_box_p(z, lags=3))
    assert durbin_watson(z * scale) == pytest.approx(durbin_watson(z))
    assert jarque_bera_p(z * scale) == pytest.approx(jarque_bera_p(z))
    plain = mincer_zarnowitz(z, mean, lags=2)
    scaled = mincer_zarnowitz(z * scale, mean * scale, lags=2)
    expected = (plain.intercept * scale, plain.slope, plain.p)
    assert scaled == pytest.approx(expected)


@pytest.mark.parametrize("size", [1.0, 1e-4])
@pytest.mark.parametrize("lags", [0, 4])
def test_mincer_zarnowitz_when_checked_against_statsmodels_then_equal(lags, size):
    mean = autoregression(5, 150) * size
    actual = 0.3 * size + 0.8 * mean + autoregression(6, 150) * size
    fit = sm.OLS(actual, sm.add_constant(mean)).fit(
        cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": True}, use_t=True
    )
    expected = fit.f_test("const = 0, x1 = 1").pvalue
    assert mincer_zarnowitz(actual, mean, lags=lags) == pytest.approx((*fit.params, expected))


def test_mincer_zarnowitz_when_the_forecast_is_constant_then_the_bias_alone_is_tested():
    actual = noise(7, 60) + 0.2
    for constant in (0.0, 0.1):
        intercept, slope, p = mincer_zarnowitz(actual, np.full(60, constant), lags=0)
        assert intercept == pytest.approx(actual.mean() - constant)
        assert np.isnan(slope)
        assert p == pytest.approx(stats.ttest_1samp(actual, constant).pvalue)


def test_mincer_zarnowitz_when_nothing_is_left_to_judge_by_then_no_p_value():
    mean = noise(8, 30)
    assert mincer_zarnowitz(mean, mean, lags=1) == pytest.approx((0.0, 1.0, np.nan), nan_ok=True)
    stretched = mincer_zarnowitz(0.5 + 2 * mean, mean, lags=1)
    assert stretched == pytest.approx((0.5, 2.0, np.nan), nan_ok=True)
    still = mincer_zarnowitz(np.zeros(30), np.zeros(30), lags=1)
    assert still == pytest.approx((0.0, np.nan, np.nan), nan_ok=True)


def test_mincer_zarnowitz_when_forecasts_are_right_or_too_bold_then_seldom_or_always_rejected():
    rejected = []
    for seed in range(200):
        mean = noise(seed, 120)
        actual = mean + noise(seed + 5000, 120)
        rejected.append(mincer_zarnowitz(actual, mean, lags=0).p < 0.05)
        assert mincer_zarnowitz(actual, 3 * mean, lags=0).p < 0.01
    assert np.mean(rejected) == pytest.approx(0.05, abs=0.045)


def test_mincer_zarnowitz_when_there_are_few_pairs_then_nan():
    assert np.isnan(mincer_zarnowitz(noise(1, 5), noise(2, 5), lags=2)).all()
    assert not np.isnan(mincer_zarnowitz(noise(1, 6), noise(2, 6), lags=2)).any()


@pytest.mark.parametrize("n", [1, 20, 300])
def test_pit_when_checked_against_scipy_then_equal(n):
    pit = np.random.default_rng(n).uniform(size=n)
    expected = stats.kstest(pit, stats.uniform.cdf).pvalue
    assert pit_p(np.append(pit, np.nan)) == pytest.approx(expected)


def test_pit_when_by_hand_then_known_p_value():
    # one transform at .3: the distance to uniform is .7, and P(D >= .7) = 2 (1 - .7)
    assert pit_p(np.array([0.3])) == pytest.approx(0.6)
    assert np.isnan(pit_p(np.array([np.nan])))


def test_pit_when_the_forecast_is_too_narrow_then_rejected_and_high_at_the_ends():
    pit = stats.norm.cdf(2.0 * noise(9, 1000))
    assert pit_p(pit) < 1e-6
    counts = pit_histogram(pit, 10)
    assert counts[[0, -1]].min() > 2 * counts[1:-1].max()
    assert counts.sum() == 1000


def test_pit_histogram_when_by_hand_then_both_ends_are_counted():
    pit = np.array([0.0, 0.2, 0.25, 0.5, 1.0, np.nan])
    assert pit_histogram(pit, 4).tolist() == [2, 1, 1, 1]
    assert pit_histogram(np.array([0.1, 0.3]), 2).tolist() == [2, 0]
    assert pit_histogram(np.array([]), 2).tolist() == [0, 0]


# Kupiec (1995), table of the non-rejection regions of the 95 % test: fewest and most breaches.
# The table prints "N < 7" for (0.01, 255); none at all has a ratio of 5.13 and is rejected too.
@pytest.mark.parametrize(
    ("probability", "n", "least", "most"),
    [
        (0.01, 255, 1, 6),
        (0.01, 510, 2, 10),
        (0.01, 1000, 5, 16),
        (0.025, 255, 3, 11),
        (0.025, 510, 7, 20),
        (0.025, 1000, 16, 35),
        (0.05, 255, 7, 20),
        (0.05, 510, 17, 35),
        (0.05, 1000, 38, 64),
        (0.075, 255, 12, 27),
        (0.075, 510, 28, 50),
        (0.075, 1000, 60, 91),
        (0.1, 255, 17, 35),
        (0.1, 510, 39, 64),
        (0.1, 1000, 82, 119),
    ],
)
def test_kupiec_when_asked_for_the_published_regions_then_the_same(probability, n, least, most):
    accepted = np.flatnonzero(kupiec(np.arange(n + 1), n, probability=probability) >= 0.05)
    assert (accepted[0], accepted[-1]) == (least, most)
    assert len(accepted) == most - least + 1


@pytest.mark.parametrize(("breaches", "n"), [(0, 50), (1, 50), (9, 50), (50, 50), (0, 1)])
def test_kupiec_when_checked_against_binomial_likelihoods_then_equal(breaches, n):
    binomial = stats.binom.logpmf(breaches, n, [0.05, breaches / n])
    expected = stats.chi2.sf(2 * (binomial[1] - binomial[0]), 1)
    assert kupiec_p(breaches, n, probability=0.05) == pytest.approx(expected)


def test_kupiec_when_many_series_then_each_as_alone():
    many = kupiec([0, 3, 5], [40, 50, 100], probability=0.05)
    alone = [kupiec_p(x, n, probability=0.05) for x, n in [(0, 40), (3, 50), (5, 100)]]
    assert many.tolist() == alone
    assert alone[2] == pytest.approx(1.0)


def test_kupiec_when_rounding_turns_the_ratio_negative_then_certain():
    assert kupiec_p(3, 10, probability=0.1 + 0.2) == 1.0


def test_kupiec_when_there_is_no_outcome_then_nan():
    assert np.isnan(kupiec_p(0, 0, probability=0.05))


@pytest.mark.parametrize("breaches", [-1, 6])
def test_kupiec_when_breaches_cannot_be_then_refused(breaches):
    with pytest.raises(DataError, match=f"{breaches} breaches in 5 outcomes"):
        kupiec_p(breaches, 5, probability=0.05)


def test_christoffersen_when_by_hand_then_known_value():
    # 0 0 0 1 1 0 0 0 0 1 0: five 00, two 01, two 10, one 11
    breaches = ones_at(11, 3, 4, 9)
    of_own = 5 * np.log(5 / 7) + 2 * np.log(2 / 7) + 2 * np.log(2 / 3) + np.log(1 / 3)
    of_all = 7 * np.log(7 / 10) + 3 * np.log(3 / 10)
    ratio = 2 * (of_own - of_all)
    assert ratio == pytest.approx(0.02243, abs=1e-5)
    assert christoffersen_p(breaches) == pytest.approx(stats.chi2.sf(ratio, 1))
    # three breaches in eleven, against one in ten promised
    coverage = 2 * (3 * np.log(3 / 11 / 0.1) + 8 * np.log(8 / 11 / 0.9))
    both = conditional_coverage_p(breaches, probability=0.1)
    assert both == pytest.approx(stats.chi2.sf(ratio + coverage, 2))


@given(seed=st.integers(0, 999))
@settings(max_examples=20, deadline=None)
def test_christoffersen_when_checked_against_the_g_test_of_scipy_then_equal(seed):
    breaches = np.random.default_rng(seed).uniform(size=60) < 0.4
    table = np.zeros((2, 2))
    np.add.at(table, (breaches[:-1].astype(int), breaches[1:].astype(int)), 1)
    found = stats.chi2_contingency(table, correction=False, lambda_="log-likelihood")
    assert christoffersen_p(breaches) == pytest.approx(found.pvalue)


@pytest.mark.parametrize(
    ("breaches", "expected"),
    [
        pytest.param(np.zeros(9, bool), 1.0, id="no breach"),
        pytest.param(np.ones(9, bool), 1.0, id="nothing but breaches"),
        pytest.param(ones_at(9, 8), 1.0, id="one, at the end"),
        pytest.param(np.zeros(1, bool), np.nan, id="no transition"),
        pytest.param(np.zeros(0, bool), np.nan, id="nothing"),
    ],
)
def test_christoffersen_when_a_state_never_occurs_then_defined(breaches, expected):
    assert christoffersen_p(breaches) == pytest.approx(expected, nan_ok=True)


def test_christoffersen_when_breaches_come_in_runs_then_rejected_though_coverage_is_right():
    runs = ones_at(200, *range(50, 60))
    assert kupiec_p(10, 200, probability=0.05) == pytest.approx(1.0)
    assert christoffersen_p(runs) < 1e-6
    assert conditional_coverage_p(runs, probability=0.05) < 1e-6


def test_conditional_coverage_when_nothing_breaks_then_the_coverage_alone_speaks():
    # -2 x 100 x log .95 = 10.26, and chi2(2) leaves exp(-10.26 / 2) = .95^100
    found = conditional_coverage_p(np.zeros(100, bool), probability=0.05)
    assert found == pytest.approx(0.95**100)


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_coverage_when_the_probability_is_none_then_refused(probability):
    with pytest.raises(SettingsError, match="probability was"):
        kupiec_p(1, 9, probability=probability)


def test_diagnostics_when_lags_or_bins_are_too_few_then_refused():
    with pytest.raises(SettingsError, match="lags was 0; it must be >= 1"):
        ljung_box_p(noise(1), lags=0)
    with pytest.raises(SettingsError, match="lags was -1; it must be >= 0"):
        mincer_zarnowitz(noise(1), noise(2), lags=-1)
    with pytest.raises(SettingsError, match="bins was 0"):
        pit_histogram(noise(1), 0)
