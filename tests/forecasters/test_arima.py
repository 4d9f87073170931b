"""The fast engine of sarimax: forecasts against statsmodels, statuses, settings, batches."""

import numpy as np
import pytest
from statsmodels.tsa.statespace.sarimax import SARIMAX

from pmx_ray.data.panel import Panel
from pmx_ray.errors import SettingsError
from pmx_ray.folds import FoldSettings, build_folds
from pmx_ray.forecasters import arima
from pmx_ray.forecasters.arima import ArimaParameters, estimate_all, forecast_all
from pmx_ray.forecasters.batch import forecast_folds, gather
from pmx_ray.forecasters.protocol import Failure, Forecast, Status
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.forecasters.sarimax import build_sarimax
from pmx_ray.forecasters.sarimax_settings import SarimaxSettings

RNG = np.random.default_rng(0)


def fast(**settings):
    return build_sarimax(SarimaxSettings(**settings))


def noisy_prices(n=300, seed=0, scale=1.0):
    changes = np.random.default_rng(seed).normal(0.0, scale, n)
    return 50.0 * np.exp(np.cumsum(changes) / 100.0)


def padded(*values):
    return np.r_[values, np.zeros(3 - len(values))]


@pytest.mark.parametrize(
    ("order", "ar", "ma", "mean"),
    [
        ((2, 1, 1), (0.4, -0.2), (0.3,), 0.0),
        ((1, 1, 1), (0.4,), (0.3,), 0.05),
        ((1, 2, 1), (0.2,), (-0.7,), 0.0),
        ((0, 1, 3), (), (0.4, -0.2, 0.3), 0.0),
        ((3, 0, 2), (0.5, 0.2, 0.1), (0.2, 0.1), 400.0),
    ],
    ids=str,
)
def test_level_when_statsmodels_filters_the_level_itself_then_equal(order, ar, ma, mean):
    levels = 400 + np.cumsum(np.random.default_rng(1).normal(size=300))
    parameters = ArimaParameters(order, padded(*ar), padded(*ma), mean, 1.5)
    found_mean, found_variance = forecast_all([parameters], [levels], 20)
    model = SARIMAX(levels, order=order, trend="c" if mean else "n", use_exact_diffuse=True)
    constant = [mean * (1 - sum(ar))] if mean else []
    theirs = model.filter([*constant, *ar, *ma, 1.5]).get_forecast(20)
    np.testing.assert_allclose(100 * found_mean[0] + levels[-1], theirs.predicted_mean, rtol=1e-8)
    # Ours leaves out what 300 sessions do not tell of the shocks: nothing at these roots.
    np.testing.assert_allclose(1e4 * found_variance[0], theirs.var_pred_mean, rtol=1e-6)


def test_estimate_when_reference_engine_fits_too_then_the_same_optimum():
    levels = 100 * np.log(noisy_prices(500, seed=3))
    choice = fast(order=(1, 1, 0), trend="c").choice
    (found,) = estimate_all([levels], choice)
    theirs = SARIMAX(np.diff(levels), order=(1, 0, 0), trend="c").fit(disp=0, cov_type="none")
    constant, phi, variance = theirs.params
    # The optimiser of statsmodels stops within about 1e-5 of the optimum.
    np.testing.assert_allclose(found.ar[0], phi, atol=1e-4)
    np.testing.assert_allclose(found.mean, constant / (1 - phi), atol=1e-4)
    np.testing.assert_allclose(found.variance, variance, rtol=1e-4)


@pytest.mark.parametrize("trend", ["auto", "n", "c"])
@pytest.mark.parametrize("d", [0, 1])
def test_estimate_when_trend_says_so_then_a_mean(trend, d):
    levels = 100 * np.log(noisy_prices()) if d else 300 + RNG.normal(size=300)
    (found,) = estimate_all([levels], fast(order=(0, d, 0), trend=trend).choice)
    assert (found.mean != 0.0) is (trend == "c" or (trend == "auto" and d == 0))


def test_estimate_when_a_trend_is_not_differenced_then_explosive():
    levels = 390 + 0.5 * np.arange(400) + RNG.normal(0, 0.001, 400)
    (found,) = estimate_all([levels], fast(order=(1, 0, 0), trend="n").choice)
    assert isinstance(found, Failure)
    assert found.status is Status.EXPLOSIVE


def test_estimate_when_gaps_leave_too_few_second_differences_then_too_short():
    levels = 100 * np.log(noisy_prices(310))
    levels[::3] = np.nan  # two in three sessions: 103 returns, no second difference
    (found,) = estimate_all([levels], fast(order=(0, 2, 1)).choice)
    assert isinstance(found, Failure)
    assert found.status is Status.TOO_SHORT


def test_estimate_when_optimiser_gives_up_then_not_converged(monkeypatch):
    monkeypatch.setattr("pmx_ray.kernels.arma.ENOUGH", 0.0)
    monkeypatch.setattr("pmx_ray.kernels.arma.ROUNDS", ((1, False),))
    levels = 100 * np.log(noisy_prices())
    (found,) = estimate_all([levels], fast(order=(2, 1, 2)).choice)
    assert isinstance(found, Failure)
    assert found.status is Status.NOT_CONVERGED


def test_fit_when_a_gap_lies_within_then_changes_side_by_side(history_of):
    close = noisy_prices()
    gap = close.copy()
    gap[100:103] = np.nan
    fitted = fast(order=(1, 1, 0)).fit(history_of(gap), rng=RNG)
    changes = np.diff(100 * np.log(gap))
    joined = 300 + np.cumsum(np.r_[0.0, changes[~np.isnan(changes)]])
    (expected,) = estimate_all([joined], fast(order=(1, 1, 0)).choice)
    np.testing.assert_allclose(fitted.parameters.ar, expected.ar, rtol=1e-6)


def test_forecast_when_a_second_difference_lacks_a_price_then_no_price(history_of):
    close = noisy_prices()
    close[-2] = np.nan
    (outcome,) = fast(order=(1, 2, 0)).fit(history_of(close), rng=RNG).forecast((1,))
    assert outcome.status is Status.NO_PRICE


def test_extend_when_called_then_nothing_is_estimated(history_of, monkeypatch):
    close = noisy_prices(400)
    fitted = fast().fit(history_of(close[:300]), rng=RNG)
    monkeypatch.setattr(arima, "estimate_all", None)  # a fit would call it
    (outcome,) = fitted.extend(history_of(close)).forecast((1, 5))
    assert isinstance(outcome, Forecast)


def test_folds_when_tickers_share_a_panel_then_each_on_its_own(history_of):
    close = np.stack([noisy_prices(360, seed=s) for s in range(3)])
    close[1, 100:104] = np.nan
    close[2, 330:] = np.nan  # delisted
    history = history_of(close[:2])
    delisted = Panel("XNYS", ("A", "B", "C"), history.sessions, close, gap=np.isnan(close))
    plan = build_folds(
        history.sessions, FoldSettings(input_size=200, step_size=15, steps=(1, 5), refit_every=3)
    )
    forecaster = fast(search="stepwise")
    together = forecast_folds(forecaster, delisted, plan, np.random.default_rng)
    for n, ticker in enumerate(delisted.tickers):
        own = delisted.select((ticker,))
        rows = []
        for fold in range(len(plan)):
            if plan.new_fit(fold):
                fitted = forecaster.fit(plan.training(own, fold), rng=RNG)
            rows.append(fitted.extend(plan.context(own, fold)).forecast(plan.steps))
        alone = gather(rows, plan.steps, 1)
        assert together.mean[:, n].tobytes() == alone.mean[:, 0].tobytes()
        assert together.quantiles[:, n].tobytes() == alone.quantiles[:, 0].tobytes()
        assert together.status[:, n].tolist() == alone.status[:, 0].tolist()
        for fold in range(len(plan)):
            assert together.reasons.get((fold, n)) == alone.reasons.get((fold, 0))
    assert set(together.status.ravel()) == {"ok", "no_price"}


@pytest.mark.parametrize(
    "written",
    [
        {"order": (4, 1, 0)},
        {"max_q": 4},
        {"seasonal_period": 5},
        {"order": (1, 1, 0), "seasonal_period": 5, "seasonal_order": (1, 0, 0)},
        {"exog": ("monday",)},
    ],
    ids=str,
)
def test_settings_when_the_fast_engine_does_not_cover_them_then_the_other_is_named(written):
    with pytest.raises(SettingsError, match="use engine: reference"):
        ForecasterSpec.parse({"name": "sarimax", **written})
    assert ForecasterSpec.parse({"name": "sarimax", "engine": "reference", **written})


def test_settings_when_the_reference_is_to_search_a_grid_then_refused():
    with pytest.raises(SettingsError, match="searches stepwise"):
        ForecasterSpec.parse({"name": "sarimax", "engine": "reference", "search": "grid"})
