"""EWMA and sample variance against arithmetic done by hand."""

import numpy as np
import pytest

from pmx_ray.errors import SettingsError
from pmx_ray.forecasters.protocol import Status
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.forecasters.variance import (
    EwmaVariance,
    EwmaVarianceSettings,
    SampleVariance,
    SampleVarianceSettings,
)

RNG = np.random.default_rng(0)
RETURNS = np.tile([0.03, -0.01], 15)


def prices(returns: np.ndarray) -> np.ndarray:
    return 50.0 * np.exp(np.r_[0.0, np.cumsum(returns)])


def forecast(forecaster, history, steps=(1, 4)):
    (outcome,) = forecaster.fit(history, rng=RNG).forecast(steps)
    return outcome


def test_ewma_when_defaults_then_decay_is_riskmetrics_and_mean_zero(history_of):
    history = history_of(prices(RETURNS))
    outcome = forecast(EwmaVariance(EwmaVarianceSettings()), history)
    weights = 0.94 ** np.arange(30)[::-1]
    expected = np.sum(weights * RETURNS**2) / np.sum(weights)
    np.testing.assert_allclose(outcome.variance, [expected, 4 * expected], rtol=1e-12)
    np.testing.assert_array_equal(outcome.mean, [0.0, 0.0])


def test_ewma_when_mean_is_constant_then_deviations_are_from_it(history_of):
    history = history_of(prices(RETURNS))
    outcome = forecast(EwmaVariance(EwmaVarianceSettings(mean="constant")), history)
    np.testing.assert_allclose(outcome.mean, [0.01, 0.04], rtol=1e-12)
    np.testing.assert_allclose(outcome.variance, [4e-4, 16e-4], rtol=1e-12)  # each is +-2 %


def test_sample_variance_when_mean_is_zero_then_mean_square_of_the_window(history_of):
    history = history_of(prices(np.r_[np.full(40, 0.5), RETURNS]))
    outcome = forecast(SampleVariance(SampleVarianceSettings(window=30)), history)
    np.testing.assert_allclose(outcome.variance, [5e-4, 20e-4], rtol=1e-11)
    np.testing.assert_array_equal(outcome.mean, [0.0, 0.0])


def test_sample_variance_when_mean_is_constant_then_divided_by_one_less(history_of):
    history = history_of(prices(RETURNS))
    settings_ = SampleVarianceSettings(window=30, mean="constant")
    outcome = forecast(SampleVariance(settings_), history, steps=(1,))
    np.testing.assert_allclose(outcome.mean, [0.01], rtol=1e-12)
    np.testing.assert_allclose(outcome.variance, [30 * 4e-4 / 29], rtol=1e-12)


@pytest.mark.parametrize("name", ["ewma_variance", "sample_variance"])
def test_extend_when_volatility_has_risen_then_forecast_follows_without_a_refit(name, history_of):
    forecaster = ForecasterSpec.parse({"name": name}).build()
    calm = np.tile([0.01, -0.01], 150)
    fitted = forecaster.fit(history_of(prices(calm)), rng=RNG)
    (before,) = fitted.forecast((1,))
    (after,) = fitted.extend(history_of(prices(np.r_[calm, 4 * calm[:50]]))).forecast((1,))
    assert after.variance[0] > 2 * before.variance[0]


@pytest.mark.parametrize("name", ["ewma_variance", "sample_variance"])
def test_extend_when_fit_was_too_short_then_forecast_once_there_is_enough(name, history_of):
    # Nothing is estimated, so an extension is worth as much as a refit.
    forecaster = ForecasterSpec.parse({"name": name}).build()
    returns = np.tile([0.01, -0.01], 150)
    fitted = forecaster.fit(history_of(prices(returns[:5])), rng=RNG)
    (early,) = fitted.forecast((1,))
    (late,) = fitted.extend(history_of(prices(returns))).forecast((1,))
    assert early.status is Status.TOO_SHORT
    np.testing.assert_allclose(late.variance, [1e-4], rtol=1e-9)


def test_sample_variance_when_the_window_alone_is_flat_then_constant(history_of):
    history = history_of(prices(np.r_[RETURNS, np.zeros(25)]))
    outcome = forecast(SampleVariance(SampleVarianceSettings(window=20)), history)
    assert outcome.status is Status.CONSTANT


@pytest.mark.parametrize(
    "written",
    [
        {"name": "ewma_variance", "decay": 1.0},
        {"name": "ewma_variance", "lambda": 0.9},
        {"name": "sample_variance", "window": 5},
    ],
)
def test_settings_when_out_of_range_then_refused(written):
    with pytest.raises(SettingsError):
        ForecasterSpec.parse(written)
