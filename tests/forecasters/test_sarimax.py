"""SARIMAX against closed forms, statsmodels' own level model, and simulated processes."""

from dataclasses import replace

import numpy as np
import pytest
from statsmodels.tsa.arima_process import ArmaProcess
from statsmodels.tsa.statespace.sarimax import SARIMAX

from pmx_ray.errors import SettingsError
from pmx_ray.forecasters import sarimax_reference
from pmx_ray.forecasters.order_search import SarimaOrder, count_differences, search_order
from pmx_ray.forecasters.protocol import Failure, Forecast, Status
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.forecasters.sarima_filter import Observed, SarimaxParameters, forecast_level
from pmx_ray.forecasters.sarimax_reference import Sarimax, estimate, unidentified
from pmx_ray.forecasters.sarimax_settings import SarimaxSettings

RNG = np.random.default_rng(0)


def arma(ar, ma, n, *, seed=0):
    """Return n values of w(t) = ar w(t-1) + e(t) + ma e(t-1) with unit shocks."""
    process = ArmaProcess(np.r_[1.0, -np.array(ar)], np.r_[1.0, np.array(ma)])
    return process.generate_sample(
        n, distrvs=np.random.default_rng(seed).standard_normal, burnin=200
    )


def prices(percent_changes):
    return 50.0 * np.exp(np.r_[0.0, np.cumsum(percent_changes)] / 100.0)


def observed(levels, n_ahead, columns=None, ahead=None):
    empty = np.empty((len(levels), 0)), np.empty((n_ahead, 0))
    return Observed(levels, *(empty if columns is None else (columns, ahead)))


H = np.arange(1, 21)


def test_level_when_random_walk_then_last_level_and_h_variances():
    parameters = SarimaxParameters(SarimaOrder(0, 1, 0), False, np.array([2.0]))
    mean, variance = forecast_level(parameters, observed(RNG.normal(size=50).cumsum() + 400, 20))
    np.testing.assert_allclose(variance, 2.0 * H, rtol=1e-12)
    assert np.ptp(mean) == 0.0


def test_level_when_ar1_of_levels_then_closed_form():
    phi, c, s2 = 0.8, 3.0, 0.5
    levels = c / (1 - phi) + arma([phi], [], 200)
    parameters = SarimaxParameters(SarimaOrder(1, 0, 0), True, np.array([c, phi, s2]))
    mean, variance = forecast_level(parameters, observed(levels, 20))
    centre = c / (1 - phi)
    # Hamilton (1994), equation 4.2.19 and after it.
    np.testing.assert_allclose(mean, centre + phi**H * (levels[-1] - centre), rtol=1e-12)
    np.testing.assert_allclose(variance, s2 * (1 - phi ** (2 * H)) / (1 - phi**2), rtol=1e-10)


def test_level_when_ar1_of_changes_then_closed_form():
    phi, s2 = 0.5, 2.0
    levels = 400 + np.cumsum(arma([phi], [], 200))
    parameters = SarimaxParameters(SarimaOrder(1, 1, 0), False, np.array([phi, s2]))
    mean, variance = forecast_level(parameters, observed(levels, 20))
    last = levels[-1] - levels[-2]
    np.testing.assert_allclose(mean, levels[-1] + last * (phi - phi ** (H + 1)) / (1 - phi))
    # A shock j sessions before the end adds (1 - phi**(j + 1)) / (1 - phi) to the level.
    weights = (1 - phi**H) / (1 - phi)
    np.testing.assert_allclose(variance, s2 * np.cumsum(weights**2), rtol=1e-10)


@pytest.mark.parametrize(
    ("order", "constant", "values"),
    [
        (SarimaOrder(2, 1, 1), False, [0.4, -0.2, 0.3, 1.5]),
        (SarimaOrder(1, 1, 1), True, [0.05, 0.4, 0.3, 1.5]),
        (SarimaOrder(1, 2, 1), False, [0.2, -0.7, 1.5]),
        (SarimaOrder(0, 1, 3), False, [0.4, -0.2, 0.3, 1.5]),
        (SarimaOrder(1, 1, 0, 1, 1, 1, 5), False, [0.3, 0.2, -0.4, 1.5]),
        (SarimaOrder(2, 0, 2), True, [0.5, 0.5, 0.2, 0.1, 0.2, 1.5]),
    ],
    ids=str,
)
def test_level_when_statsmodels_filters_the_level_itself_then_equal(order, constant, values):
    levels = 400 + np.cumsum(arma([0.3], [0.2], 300))
    parameters = SarimaxParameters(order, constant, np.array(values))
    mean, variance = forecast_level(parameters, observed(levels, 20))
    model = SARIMAX(
        levels,
        order=(order.p, order.d, order.q),
        seasonal_order=(*(order.seasonal_p, order.seasonal_d, order.seasonal_q), order.period)
        if order.period > 1
        else (0, 0, 0, 0),
        trend="c" if constant else "n",
        use_exact_diffuse=True,
    )
    theirs = model.filter(values).get_forecast(20)
    # Two state spaces of one model: theirs carries the level in its state, from a diffuse start.
    np.testing.assert_allclose(mean, theirs.predicted_mean, rtol=1e-8)
    np.testing.assert_allclose(variance, theirs.var_pred_mean, rtol=1e-6)


def test_level_when_prices_are_missing_then_uncertainty_is_that_of_the_unseen_state():
    # The change before the last is unseen: an MA(1) shock must be guessed, and adds variance.
    theta, s2 = 0.9, 1.0
    levels = 400 + np.cumsum(arma([], [theta], 200))
    parameters = SarimaxParameters(SarimaOrder(0, 1, 1), False, np.array([theta, s2]))
    whole_mean, whole = forecast_level(parameters, observed(levels, 3))
    gap = levels.copy()
    gap[-4:-1] = np.nan  # no change has been seen for four sessions
    mean, variance = forecast_level(parameters, observed(gap, 3))
    np.testing.assert_allclose(mean, levels[-1], rtol=1e-12)  # nothing is known of the last shock
    # Unseen: w has its unconditional variance (1 + theta**2); seen: s2 once the filter settled.
    assert variance[0] == pytest.approx((1 + theta**2) * s2, rel=1e-9)
    assert whole[0] == pytest.approx(s2, rel=1e-6)
    assert whole_mean[0] != levels[-1]


def test_level_when_columns_explain_changes_then_beta_times_the_future_columns():
    rng = np.random.default_rng(1)
    columns, ahead = rng.normal(size=(100, 2)), rng.normal(size=(5, 2))
    beta = np.array([0.5, -2.0])
    levels = 400 + np.cumsum(columns @ beta)
    parameters = SarimaxParameters(SarimaOrder(0, 1, 0), False, np.array([*beta, 1.0]))
    mean, _ = forecast_level(parameters, observed(levels, 5, columns, ahead))
    np.testing.assert_allclose(mean, levels[-1] + np.cumsum(ahead @ beta), rtol=1e-12)


def test_estimate_when_changes_are_arma_then_parameters_within_three_standard_errors(history_of):
    changes = arma([0.6], [0.3], 2000, seed=3)
    found = estimate(
        history_of(prices(changes)), SarimaxSettings(engine="reference", order=(1, 1, 1))
    )
    # Box and Jenkins (1976), section 7.2.5: variance of (phi, theta) of an ARMA(1, 1), with their
    # theta of the opposite sign; about .022 and .027 here.
    phi, theta = 0.6, 0.3
    scale = (1 + phi * theta) / ((phi + theta) ** 2 * 2000)
    phi_error = np.sqrt(scale * (1 - phi**2) * (1 + phi * theta))
    theta_error = np.sqrt(scale * (1 - theta**2) * (1 + phi * theta))
    assert abs(found.values[0] - phi) < 3 * phi_error
    assert abs(found.values[1] - theta) < 3 * theta_error
    assert found.values[2] == pytest.approx(1.0, abs=3 * np.sqrt(2 / 2000))


def test_forecast_when_monday_moves_the_price_then_only_mondays_are_forecast(history_of):
    rng = np.random.default_rng(2)
    base = history_of(np.full(801, 50.0))
    is_monday = base.sessions[1:].astype("datetime64[D]").astype(np.int64) % 7 == 4  # 1970-01-05
    history = history_of(prices(rng.normal(0, 0.1, 800) + 1.0 * is_monday))
    settings = SarimaxSettings(engine="reference", order=(0, 1, 0), exog=("monday",))
    fitted = Sarimax(settings).fit(history, rng=RNG)
    (outcome,) = fitted.forecast(tuple(range(1, 11)))
    last = int(history.sessions[-1].astype("datetime64[D]").astype(np.int64) % 7)
    assert last == 0  # a Thursday, so that Friday is step 1 and Mondays are steps 2 and 7
    daily = 100.0 * np.diff(np.r_[0.0, outcome.mean])
    # 160 Mondays of noise .1 give beta a standard error of .008.
    np.testing.assert_allclose(daily, [0, 1, 0, 0, 0, 0, 1, 0, 0, 0], atol=0.03)


def test_forecast_when_steps_pass_the_lag_of_a_feature_then_status_names_the_setting(history_of):
    history = history_of(prices(arma([0.3], [], 300)))
    settings = SarimaxSettings(
        engine="reference", order=(1, 1, 0), exog=("abs_return_lagged",), exog_lag=5
    )
    fitted = Sarimax(settings).fit(history, rng=RNG)
    (within,) = fitted.forecast((1, 5))
    (beyond,) = fitted.forecast((1, 6))
    assert isinstance(within, Forecast)
    assert beyond.status is Status.ERROR
    assert "exog_lag >= 6" in beyond.reason


def test_forecast_when_a_lagged_feature_lacks_its_price_then_no_price(history_of):
    close = prices(arma([0.3], [], 300))
    close[-3] = np.nan  # its returns serve steps 18 and 19 at a lag of 20
    settings = SarimaxSettings(engine="reference", order=(1, 1, 0), exog=("abs_return_lagged",))
    fitted = Sarimax(settings).fit(history_of(close), rng=RNG)
    (near,), (far,) = fitted.forecast((1, 17)), fitted.forecast((1, 18))
    assert isinstance(near, Forecast)
    assert far.status is Status.NO_PRICE


def test_forecast_when_a_second_difference_lacks_a_price_then_no_price(history_of):
    close = prices(arma([0.3], [], 300))
    close[-2] = np.nan
    (outcome,) = (
        Sarimax(SarimaxSettings(engine="reference", order=(1, 2, 0)))
        .fit(history_of(close), rng=RNG)
        .forecast((1,))
    )
    assert outcome.status is Status.NO_PRICE


@pytest.mark.parametrize(
    ("columns", "constant", "fails"),
    [
        (np.zeros((150, 1)), False, True),  # no holiday in the window
        (np.ones((150, 1)), True, True),
        (np.ones((150, 1)), False, False),
        (np.tile([[1.0, 2.0], [0.5, 1.0]], (75, 1)), False, True),
        (np.tile([[1.0, 0.0], [0.0, 1.0]], (75, 1)), False, False),
        (np.tile([[1.0, 0.0], [0.0, 1.0]], (75, 1)), True, True),
    ],
)
def test_unidentified_when_columns_are_collinear_then_not_converged(columns, constant, fails):
    failure = unidentified(RNG.normal(size=150), columns, constant=constant)
    assert (failure is not None) is fails
    if failure is not None:
        assert failure.status is Status.NOT_CONVERGED


def test_fit_when_a_feature_never_occurs_then_not_converged(history_of):
    history = history_of(prices(arma([0.3], [], 150)))
    always_open = replace(history, calendar="24/7")
    settings = SarimaxSettings(
        engine="reference", order=(0, 1, 0), exog=("session_before_holiday",)
    )
    (outcome,) = Sarimax(settings).fit(always_open, rng=RNG).forecast((1,))
    assert outcome.status is Status.NOT_CONVERGED
    assert "collinear" in outcome.reason


def test_estimate_when_optimiser_gives_up_then_not_converged(history_of, monkeypatch):
    monkeypatch.setattr(sarimax_reference, "MAX_ITERATIONS", 1)
    outcome = estimate(
        history_of(prices(arma([0.6], [0.3], 300))),
        SarimaxSettings(engine="reference", order=(2, 1, 2)),
    )
    assert isinstance(outcome, Failure)
    assert outcome.status is Status.NOT_CONVERGED


def test_estimate_when_a_trend_is_not_differenced_then_explosive(history_of):
    history = history_of(prices(0.5 + RNG.normal(0, 0.001, 400)))
    outcome = estimate(history, SarimaxSettings(engine="reference", order=(1, 0, 0), trend="n"))
    assert isinstance(outcome, Failure)
    assert outcome.status is Status.EXPLOSIVE


def test_fit_when_too_few_changes_have_their_features_then_too_short(history_of):
    settings = SarimaxSettings(
        engine="reference", order=(1, 1, 0), exog=("abs_return_lagged",), exog_lag=260
    )
    history = history_of(prices(arma([0.3], [], 300)))
    (outcome,) = Sarimax(settings).fit(history, rng=RNG).forecast((1,))
    assert outcome.status is Status.TOO_SHORT
    assert outcome.reason.startswith("40 changes")  # of 300: the first 260 have no lagged value


def test_fit_when_nothing_but_the_search_sees_too_little_then_a_status(history_of):
    settings = SarimaxSettings(engine="reference", exog=("abs_return_lagged",), exog_lag=298)
    history = history_of(prices(arma([0.3], [], 300)))
    (outcome,) = Sarimax(settings).fit(history, rng=RNG).forecast((1,))
    assert outcome.status in {Status.TOO_SHORT, Status.NOT_CONVERGED}


def test_extend_when_called_then_nothing_is_estimated(history_of, monkeypatch):
    changes = arma([0.6], [], 400)
    fitted = Sarimax(SarimaxSettings(engine="reference")).fit(
        history_of(prices(changes[:300])), rng=RNG
    )
    monkeypatch.setattr(sarimax_reference, "estimate", None)  # a fit would call it
    (outcome,) = fitted.extend(history_of(prices(changes))).forecast((1,))
    refitted = SARIMAX(changes, order=fitted.parameters.order.arma, trend="n").filter(
        fitted.parameters.values
    )
    assert 100 * outcome.mean[0] == pytest.approx(refitted.forecast(1)[0], rel=1e-6)


def search(changes, **given):
    levels = 400 + np.cumsum(changes)
    limits = {"max_p": 3, "max_q": 3, "d": "auto", "period": 1, "test": "kpss", "trend": "auto"}
    return search_order(levels, np.empty((len(levels), 0)), **(limits | given))


def test_search_when_changes_are_noise_then_a_random_walk():
    assert search(arma([], [], 1500, seed=4)) == SarimaOrder(0, 1, 0)


def test_search_when_changes_are_ar2_then_their_autocorrelation_is_found():
    # AICc does not find the true order with certainty, and AR(2) is close to other ARMA models;
    # what must hold is that the order found has the process's first psi weights.
    truth = arma([0.5, 0.3], [], 3000, seed=5)
    found = search(truth)
    assert found.d == 1
    assert found.p + found.q >= 2
    model = SARIMAX(truth, order=found.arma).fit(disp=0)
    # psi: 1, .5, .25 + .3; standard errors near .02.
    np.testing.assert_allclose(model.impulse_responses(2).ravel(), [1, 0.5, 0.55], atol=0.08)


def test_search_when_limits_are_zero_then_no_arma():
    found = search(arma([0.6], [], 600), max_p=0, max_q=0)
    assert (found.p, found.q) == (0, 0)


def test_search_when_prices_are_missing_then_an_order_all_the_same():
    levels = 400 + np.cumsum(arma([0.6], [], 600, seed=1))
    levels[100:140] = np.nan
    found = search_order(
        levels, np.empty((600, 0)), max_p=2, max_q=0, d="auto", period=1, test="kpss", trend="auto"
    )
    assert (found.d, found.q) == (1, 0)
    assert found.p >= 1


@pytest.mark.parametrize("levels", [np.full(300, np.nan), np.array([1.0, 2.0, 4.0])], ids=len)
def test_search_when_nothing_can_be_estimated_then_not_converged(levels):
    found = search_order(
        levels,
        np.empty((len(levels), 0)),
        max_p=3,
        max_q=3,
        d=1,
        period=1,
        test="kpss",
        trend="auto",
    )
    assert isinstance(found, Failure)
    assert found.status is Status.NOT_CONVERGED


@pytest.mark.parametrize("test", ["kpss", "adf"])
@pytest.mark.parametrize(("n_sums", "d"), [(0, 0), (1, 1), (2, 2)])
def test_differences_when_noise_is_summed_then_as_many(test, n_sums, d):
    levels = np.random.default_rng(3).normal(size=500)
    for _ in range(n_sums):
        levels = np.cumsum(levels)
    assert count_differences(levels, d="auto", period=1, test=test) == (d, 0)


def test_differences_when_a_season_is_strong_then_one_seasonal_difference():
    season = np.tile(10.0 * np.random.default_rng(0).normal(size=5), 60)
    drifting = season * np.repeat(np.linspace(1, 4, 60), 5)
    levels = drifting + np.random.default_rng(1).normal(0, 0.5, 300)
    assert count_differences(levels, d=0, period=5, test="kpss") == (0, 1)


@pytest.mark.parametrize(
    "written",
    [
        {"order": (6, 1, 0)},
        {"order": (1, 3, 0)},
        {"order": (1, 1, 0), "d": 1},
        {"d": 3},
        {"order": (1, 1, 0), "seasonal_period": 5},
        {"order": (1, 1, 0), "seasonal_order": (1, 0, 0)},
        {"seasonal_order": (1, 0, 0)},
        {"order": (1, 1, 0), "seasonal_period": 5, "seasonal_order": (2, 0, 0)},
        {"order": (3, 1, 0), "seasonal_period": 3, "seasonal_order": (1, 0, 0)},
        {"exog": ("mondey",)},
        {"exog": ("monday", "monday")},
        {"exog": ("monday", {"kind": "calendar", "effects": ["monday"]})},
        {"engine": "reference", "exog": ({"kind": "cross_section"},)},
        {"engine": "reference", "exog": ({"kind": "volatility", "windw": 5},)},
        {"exog_lag": 0},
    ],
    ids=str,
)
def test_settings_when_they_contradict_then_refused(written):
    with pytest.raises(SettingsError):
        ForecasterSpec.parse({"name": "sarimax", **written})


def test_settings_when_a_feature_is_misspelt_then_the_nearest_is_named():
    with pytest.raises(SettingsError, match="did you mean 'monday'"):
        ForecasterSpec.parse({"name": "sarimax", "exog": ["mondey"]})


def test_spec_when_features_are_names_then_the_id_they_always_had():
    # Ids of the release before features could be mappings; blocks in a lake are found by them.
    assert ForecasterSpec.parse({"name": "sarimax"}).id == "01f77cbe6a0add52"
    named = {"name": "sarimax", "engine": "reference", "exog": ["monday"]}
    assert ForecasterSpec.parse(named).id == "8ba9e915ec1598d3"


def with_exog(*exog, **given):
    return SarimaxSettings(engine="reference", order=(1, 1, 0), exog=exog, exog_lag=5, **given)


def test_forecast_when_a_feature_is_a_mapping_then_as_its_name(history_of):  # proves M3
    history = history_of(prices(arma([0.3], [], 300)))
    short, long = (
        Sarimax(with_exog(written)).fit(history, rng=RNG).forecast((1, 5))[0]
        for written in ("abs_return_lagged", {"kind": "absolute_return"})
    )
    assert short.mean.tobytes() == long.mean.tobytes()


def test_forecast_when_changes_follow_a_lagged_feature_then_its_last_values_are_used(history_of):
    rng = np.random.default_rng(8)
    changes = rng.normal(0, 0.05, 600)
    for t in range(5, 600):
        changes[t] -= 0.9 * changes[t - 5]
    settings = with_exog({"kind": "return_lag", "lags": [0]}).model_copy(
        update={"order": (0, 1, 0)}
    )
    fitted = Sarimax(settings).fit(history_of(prices(changes)), rng=RNG)
    (outcome,) = fitted.forecast((1, 2, 3, 4, 5))
    daily = 100.0 * np.diff(np.r_[0.0, outcome.mean])
    # Five steps ahead is the cutoff's own return; the slope's standard error is .018.
    np.testing.assert_allclose(daily, -0.9 * changes[-5:], rtol=0.07)


def test_forecast_when_publication_takes_longer_then_the_last_step_is_not_known(history_of):
    history = history_of(prices(arma([0.3], [], 300)))
    late = {"kind": "rolling_moment", "window": 5, "moments": ["std"], "publication_lag": 3}
    fitted = Sarimax(with_exog(late)).fit(history, rng=RNG)
    (near,), (far,) = fitted.forecast((1, 3)), fitted.forecast((1, 4))
    assert isinstance(near, Forecast)  # the value of two sessions before the cutoff is out
    assert "set exog_lag >= 6" in far.reason


def test_fit_when_the_panel_lacks_what_a_feature_needs_then_status_names_it(history_of):
    history = history_of(prices(arma([0.3], [], 300)))
    needy = with_exog({"kind": "volatility", "estimators": ["parkinson"]})
    (outcome,) = Sarimax(needy).fit(history, rng=RNG).forecast((1,))
    assert outcome.status is Status.ERROR
    assert "no high" in outcome.reason
