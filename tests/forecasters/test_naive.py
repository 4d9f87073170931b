"""Random walk, drift and historical mean against arithmetic done by hand."""

import numpy as np
import pytest

from pmx_ray.forecasters.naive import (
    Drift,
    DriftSettings,
    HistoricalMean,
    HistoricalMeanSettings,
    RandomWalk,
    RandomWalkSettings,
)
from pmx_ray.forecasters.protocol import Status

RNG = np.random.default_rng(0)
# 30 returns that alternate 3 % and -1 %: mean 1 %, mean square (9 + 1) / 2 = 5e-4, variance 4e-4.
RETURNS = np.tile([0.03, -0.01], 15)


def prices(returns: np.ndarray) -> np.ndarray:
    return 50.0 * np.exp(np.r_[0.0, np.cumsum(returns)])


def moments(forecaster, history, steps=(1, 4)):
    (outcome,) = forecaster.fit(history, rng=RNG).forecast(steps)
    return outcome.mean, outcome.variance


def test_random_walk_when_returns_alternate_then_mean_zero_and_mean_square(history_of):
    mean, variance = moments(RandomWalk(RandomWalkSettings()), history_of(prices(RETURNS)))
    np.testing.assert_array_equal(mean, [0.0, 0.0])
    np.testing.assert_allclose(variance, [5e-4, 20e-4], rtol=1e-12)


def test_random_walk_when_forecast_then_quantiles_are_normal(history_of):
    fitted = RandomWalk(RandomWalkSettings()).fit(history_of(prices(RETURNS)), rng=RNG)
    (outcome,) = fitted.forecast((1,))
    # The normal table: 1.6449 and 0.6745 standard deviations.
    table = np.array([-1.644854, -0.674490, 0.0, 0.674490, 1.644854])
    np.testing.assert_allclose(outcome.bands[:, 0], table * np.sqrt(5e-4), atol=1e-8)


def test_drift_when_returns_alternate_then_mean_slope_and_variance(history_of):
    mean, variance = moments(Drift(DriftSettings()), history_of(prices(RETURNS)))
    np.testing.assert_allclose(mean, [0.01, 0.04], rtol=1e-12)
    np.testing.assert_allclose(variance, [4e-4, 16e-4], rtol=1e-12)


def test_historical_mean_when_window_is_short_then_older_returns_do_not_count(history_of):
    history = history_of(prices(np.r_[np.full(40, 0.5), RETURNS[:20]]))
    mean, variance = moments(HistoricalMean(HistoricalMeanSettings(window=20)), history)
    np.testing.assert_allclose(mean, [0.01, 0.04], rtol=1e-11)
    np.testing.assert_allclose(variance, [4e-4, 16e-4], rtol=1e-11)


def test_drift_when_a_price_is_missing_then_the_return_over_the_gap_is_left_out(history_of):
    close = prices(np.r_[RETURNS, [0.07, 0.07], RETURNS])
    close[31] = np.nan  # both returns of 7 % need it
    mean, _ = moments(Drift(DriftSettings()), history_of(close))
    np.testing.assert_allclose(mean, [0.01, 0.04], rtol=1e-12)


@pytest.mark.parametrize(
    ("forecaster", "n_returns"),
    [
        (RandomWalk(RandomWalkSettings()), 20),
        (Drift(DriftSettings()), 20),
        (HistoricalMean(HistoricalMeanSettings(window=25)), 25),
    ],
)
def test_fit_when_one_return_too_few_then_too_short(forecaster, n_returns, history_of):
    enough = history_of(prices(RETURNS[:n_returns]))
    one_less = history_of(prices(RETURNS[: n_returns - 1]))
    (good,) = forecaster.fit(enough, rng=RNG).forecast((1,))
    (bad,) = forecaster.fit(one_less, rng=RNG).forecast((1,))
    assert good.variance[0] > 0
    assert bad.status is Status.TOO_SHORT
    assert str(n_returns) in bad.reason


def test_extend_when_history_grows_then_parameters_stay(history_of):
    fitted = Drift(DriftSettings()).fit(history_of(prices(RETURNS)), rng=RNG)
    (later,) = fitted.extend(history_of(prices(np.r_[RETURNS, np.full(50, 0.2)]))).forecast((1,))
    np.testing.assert_allclose(later.mean, [0.01], rtol=1e-12)
