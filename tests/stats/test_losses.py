import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from pmx_ray.stats.losses import (
    absolute_error,
    crps_normal,
    inside,
    pinball,
    qlike,
    smape,
    squared_error,
    tracking_error,
)

RETURNS = st.floats(-0.5, 0.5)
VARIANCES = st.floats(1e-6, 1.0)
ACTUAL = np.array([0.02, -0.01, 0.03])


# The golden rows of a loss: the oracle knows the outcome, the anti-oracle says its opposite, the
# constant says 0.01 always. proves E2
@pytest.mark.parametrize(
    ("forecast", "squared", "absolute", "tracking"),
    [
        pytest.param(ACTUAL, [0, 0, 0], [0, 0, 0], 0.0, id="oracle"),
        # errors .04, -.02, .06: mean .08/3, deviations .04/3, -.14/3, .10/3
        pytest.param(
            -ACTUAL, [16e-4, 4e-4, 36e-4], [0.04, 0.02, 0.06], np.sqrt(0.0312 / 9 / 2),
            id="anti-oracle",
        ),
        # errors .01, -.02, .02: mean .01/3, deviations .02/3, -.07/3, .05/3
        pytest.param(
            np.full(3, 0.01), [1e-4, 4e-4, 4e-4], [0.01, 0.02, 0.02], np.sqrt(0.0078 / 9 / 2),
            id="constant",
        ),
    ],
)  # fmt: skip
def test_point_losses_when_golden_then_known_values(forecast, squared, absolute, tracking):
    assert squared_error(ACTUAL, forecast) == pytest.approx(np.array(squared, float))
    assert absolute_error(ACTUAL, forecast) == pytest.approx(np.array(absolute, float))
    assert tracking_error(ACTUAL, forecast) == pytest.approx(tracking)


def test_tracking_error_when_the_bias_is_constant_then_zero():
    assert tracking_error(ACTUAL, ACTUAL + 0.05) == pytest.approx(0.0, abs=1e-15)


def test_tracking_error_when_a_pair_is_missing_then_left_out():
    with_gap = np.array([0.02, np.nan, -0.01, 0.03])
    assert tracking_error(with_gap, np.zeros(4)) == pytest.approx(np.std(ACTUAL, ddof=1))
    assert np.isnan(tracking_error(np.array([0.1, np.nan]), np.zeros(2)))


def test_smape_when_the_price_is_110_and_100_was_forecast_then_on_the_m4_scale():
    # 200 * |110 - 100| / (110 + 100)
    assert smape(np.log(np.array([1.1])), np.zeros(1)) == pytest.approx([2000 / 210])


@given(price=st.floats(0.01, 1e5), actual=RETURNS, mean=RETURNS)
@settings(max_examples=50, deadline=None)
def test_smape_when_computed_from_prices_then_the_same_at_any_price(price, actual, mean):
    a, f = price * np.exp(actual), price * np.exp(mean)
    expected = 200.0 * abs(a - f) / (abs(a) + abs(f))
    assert smape(np.array(actual), np.array(mean)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("realized", "forecast", "expected"),
    [
        pytest.param(4e-4, 4e-4, 0.0, id="oracle"),
        pytest.param(8e-4, 4e-4, 1.0 - np.log(2.0), id="half of what came"),
        pytest.param(4e-4, 8e-4, np.log(2.0) - 0.5, id="twice what came"),
        pytest.param(0.0, 4e-4, np.nan, id="price did not move"),
        pytest.param(4e-4, 0.0, np.nan, id="forecast of none"),
        pytest.param(np.nan, 4e-4, np.nan, id="missing"),
    ],
)
def test_qlike_when_golden_then_known_value(realized, forecast, expected):
    loss = qlike(np.array([realized]), np.array([forecast]))
    assert loss == pytest.approx([expected], nan_ok=True)


@given(realized=VARIANCES, forecast=VARIANCES, scale=st.floats(1e-3, 1e3))
@settings(max_examples=50, deadline=None)
def test_qlike_when_the_unit_changes_then_the_same_and_never_negative(realized, forecast, scale):
    r, f = np.array([realized]), np.array([forecast])
    assert qlike(r, f)[0] >= -1e-12  # rounding of x - log x - 1 near 1
    assert qlike(r * scale, f * scale) == pytest.approx(qlike(r, f), rel=1e-9, abs=1e-12)


def test_crps_when_the_outcome_is_the_mean_of_a_standard_normal_then_the_known_constant():
    # (sqrt 2 - 1) / sqrt pi, Gneiting and Raftery (2007), section 4.2
    loss = crps_normal(np.zeros(1), np.zeros(1), np.ones(1))
    assert loss == pytest.approx([(np.sqrt(2.0) - 1.0) / np.sqrt(np.pi)])


@pytest.mark.parametrize("actual", [-0.07, 0.0, 0.01, 0.2])
@pytest.mark.parametrize(("mean", "variance"), [(0.0, 4e-4), (0.03, 1e-2)])
def test_crps_when_integrated_numerically_then_the_same(actual, mean, variance):
    cdf = stats.norm(mean, np.sqrt(variance)).cdf
    below = integrate.quad(lambda x: cdf(x) ** 2, mean - 2.0, actual, limit=200)[0]
    above = integrate.quad(lambda x: (1.0 - cdf(x)) ** 2, actual, mean + 2.0, limit=200)[0]
    loss = crps_normal(np.array([actual]), np.array([mean]), np.array([variance]))
    assert loss == pytest.approx([below + above], rel=1e-5)  # quad's own accuracy at the kink


@given(actual=RETURNS, mean=RETURNS, variance=st.floats(1e-4, 1.0), scale=st.floats(0.1, 10.0))
@settings(max_examples=50, deadline=None)
def test_crps_when_the_unit_changes_then_it_scales(actual, mean, variance, scale):
    a, m, v = np.array([actual]), np.array([mean]), np.array([variance])
    scaled = crps_normal(a * scale, m * scale, v * scale**2)
    assert scaled == pytest.approx(scale * crps_normal(a, m, v), rel=1e-9)


def test_crps_when_the_forecast_is_sure_then_the_absolute_error():
    loss = crps_normal(ACTUAL, np.zeros(3), np.full(3, 1e-18))
    assert loss == pytest.approx(np.abs(ACTUAL), abs=1e-8)


@pytest.mark.parametrize(
    ("actual", "quantile", "level", "expected"),
    [(1.0, 0.0, 0.9, 0.9), (0.0, 1.0, 0.9, 0.1), (1.0, 1.0, 0.05, 0.0), (-2.0, 0.0, 0.25, 1.5)],
)
def test_pinball_when_by_hand_then_known_value(actual, quantile, level, expected):
    assert pinball(np.array([actual]), np.array([quantile]), level) == pytest.approx([expected])


@pytest.mark.parametrize("level", [0.05, 0.25, 0.5, 0.95])
def test_pinball_when_the_quantile_is_the_samples_own_then_least(level):
    sample = np.random.default_rng(0).normal(size=999)
    own = np.quantile(sample, level, method="inverted_cdf")
    best = pinball(sample, np.full(999, own), level).mean()
    others = [
        pinball(sample, np.full(999, own + d), level).mean() for d in (-0.2, -0.05, 0.05, 0.2)
    ]
    assert best < min(others)


def test_pinball_when_averaged_over_all_levels_then_half_the_crps():
    # CRPS is twice the integral of the pinball loss over its levels; Gneiting, Raftery (2007)
    levels = (np.arange(20_000) + 0.5) / 20_000
    quantiles = stats.norm(0.01, 0.02).ppf(levels)
    mean = pinball(np.full(levels.size, 0.035), quantiles, levels).mean()
    crps = crps_normal(np.array([0.035]), np.array([0.01]), np.array([4e-4]))
    assert [2.0 * mean] == pytest.approx(crps, rel=1e-4)  # midpoint rule, 20,000 points


def test_inside_when_on_the_edge_then_counted_and_missing_stays_missing():
    low, high = np.full(5, -0.1), np.full(5, 0.1)
    actual = np.array([-0.1, 0.1, 0.0, 0.11, np.nan])
    np.testing.assert_array_equal(inside(actual, low, high), [1, 1, 1, 0, np.nan])


@pytest.mark.parametrize("loss", [squared_error, absolute_error, smape])
def test_point_losses_when_a_value_is_missing_then_missing(loss):
    result = loss(np.array([np.nan, 0.1]), np.array([0.1, np.nan]))
    assert np.isnan(result).all()
