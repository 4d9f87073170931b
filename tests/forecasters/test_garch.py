"""GARCH and GJR against arch's own forecast, a recursion by hand, and simulated parameters."""

import numpy as np
import pytest
from arch import arch_model
from arch.univariate import GARCH, Normal, StudentsT, ZeroMean
from scipy import stats

from pmx_ray.errors import SettingsError
from pmx_ray.forecasters import garch, garch_model, garch_reference
from pmx_ray.forecasters.garch import Garch
from pmx_ray.forecasters.garch_model import (
    GarchParameters,
    GarchSettings,
    guard,
    student_t_quantiles,
)
from pmx_ray.forecasters.garch_reference import ReferenceGarch, step_variances
from pmx_ray.forecasters.protocol import QUANTILE_LEVELS, Failure, Forecast, Status
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.kernels import garch as kernel

RNG = np.random.default_rng(0)

both_engines = pytest.mark.parametrize("engine", ["fast", "reference"])


def estimate(returns: np.ndarray, settings: GarchSettings) -> GarchParameters | Failure:
    """Return what the engine of the settings makes of one window."""
    if settings.engine == "reference":
        return garch_reference.estimate(returns, settings)
    parameters, failures = garch.estimate(returns[None, :], settings)
    return failures.get(0) or garch.named(parameters[0], garch._form(settings))


def fit(history, settings: GarchSettings):
    return garch.build(settings).fit(history, rng=RNG)


def prices(percent: np.ndarray) -> np.ndarray:
    return 50.0 * np.exp(np.r_[0.0, np.cumsum(percent)] / 100.0)


def test_step_variances_when_two_returns_then_the_recursion_done_by_hand():
    parameters = GarchParameters(mu=0.5, omega=0.1, alpha=(0.2,), gamma=(0.1,), beta=(0.6,))
    # Residuals 1.5 and -1; backcast (2.25 + .94 * 1) / 1.94 = 1.644330.
    # s2(1) = .1 + .2 * 1.644330 + .1 * 1.644330 / 2 + .6 * 1.644330 = 1.497680
    # s2(2) = .1 + .2 * 2.25 + 0 + .6 * 1.497680 = 1.448608
    # s2(3) = .1 + .2 * 1 + .1 * 1 + .6 * 1.448608 = 1.269165, the first session ahead
    # s2(4) = .1 + (.2 + .05 + .6) * 1.269165 = 1.178790
    ahead = step_variances(parameters, np.array([2.0, -0.5]), n_steps=2)
    np.testing.assert_allclose(ahead, [1.269165, 1.178790], atol=1e-6)


def test_step_variances_when_far_ahead_then_the_unconditional_level():
    parameters = GarchParameters(mu=0.0, omega=0.1, alpha=(0.1,), gamma=(), beta=(0.8,))
    ahead = step_variances(parameters, np.array([5.0, -4.0]), n_steps=400)
    assert ahead[-1] == pytest.approx(0.1 / (1 - 0.9), rel=1e-9)


@pytest.mark.parametrize(
    ("orders", "mean", "dist"),
    [
        ((1, 0, 1), "Zero", "normal"),
        ((1, 0, 1), "Constant", "t"),
        ((1, 1, 1), "Zero", "t"),
        ((2, 1, 1), "Zero", "normal"),
        ((1, 0, 2), "Constant", "normal"),
    ],
)
def test_step_variances_when_arch_forecasts_from_the_same_parameters_then_equal(
    orders, mean, dist, garch_returns
):
    p, o, q = orders
    returns = garch_returns(np.random.default_rng(3), 1000, gamma=0.06, beta=0.84)
    result = arch_model(returns, mean=mean, p=p, o=o, q=q, dist=dist, rescale=False).fit(disp="off")
    values = result.params
    parameters = GarchParameters(
        mu=values.get("mu", 0.0),
        omega=values["omega"],
        alpha=tuple(values[f"alpha[{i + 1}]"] for i in range(p)),
        gamma=tuple(values[f"gamma[{i + 1}]"] for i in range(o)),
        beta=tuple(values[f"beta[{i + 1}]"] for i in range(q)),
        nu=values.get("nu"),
    )
    theirs = result.forecast(horizon=20, reindex=False).variance.to_numpy()[0]
    ours = step_variances(parameters, returns, n_steps=20)
    # The same sums in another order; the start of the recursion has died out after 1000 sessions.
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)


@both_engines
def test_forecast_when_arch_estimates_then_variance_is_its_sum_in_decimals(
    engine, history_of, garch_returns
):
    returns = garch_returns(np.random.default_rng(4), 1000)
    (outcome,) = fit(history_of(prices(returns)), GarchSettings(engine=engine)).forecast((1, 20))
    result = arch_model(returns, mean="Zero", rescale=False).fit(disp="off")
    ahead = result.forecast(horizon=20, reindex=False).variance.to_numpy()[0]
    # Both optimise the same likelihood of returns that differ by the rounding of exp and log, and
    # stop within the optimiser's tolerance of each other.
    np.testing.assert_allclose(outcome.variance, [ahead[0] / 1e4, ahead.sum() / 1e4], rtol=1e-4)
    np.testing.assert_array_equal(outcome.mean, [0.0, 0.0])


@both_engines
@pytest.mark.parametrize(
    ("truth", "settings"),
    [
        ({"omega": 0.05, "alpha": 0.08, "beta": 0.87}, GarchSettings()),
        (
            {"omega": 0.05, "alpha": 0.04, "gamma": 0.1, "beta": 0.85, "nu": 6.0},
            GarchSettings(o=1, dist="t"),
        ),
    ],
    ids=["garch", "gjr-t"],
)
def test_estimate_when_process_is_simulated_then_parameters_within_three_standard_errors(
    truth, settings, engine, garch_returns
):
    returns = garch_returns(np.random.default_rng(11), 5000, **truth)
    found = estimate(returns, settings.model_copy(update={"engine": engine}))
    errors = (
        arch_model(returns, mean="Zero", o=settings.o, dist=settings.dist, rescale=False)
        .fit(disp="off")
        .std_err
    )
    pairs = {
        "omega": (found.omega, "omega"),
        "alpha": (found.alpha[0], "alpha[1]"),
        "beta": (found.beta[0], "beta[1]"),
    }
    if settings.o:
        pairs |= {"gamma": (found.gamma[0], "gamma[1]"), "nu": (found.nu, "nu")}
    for name, (value, column) in pairs.items():
        assert abs(value - truth[name]) < 3 * errors[column], name


@both_engines
def test_estimate_when_variance_is_integrated_then_explosive(engine):
    # alpha + beta = 1.05 at simulation: the estimate runs into the constraint at 1.
    rng = np.random.default_rng(2)
    variance, returns = 1.0, []
    for _ in range(1500):
        returns.append(np.sqrt(variance) * rng.standard_normal())
        variance = 0.05 + 0.25 * returns[-1] ** 2 + 0.80 * variance
    outcome = estimate(np.array(returns), GarchSettings(engine=engine))
    assert isinstance(outcome, Failure)
    assert outcome.status is Status.EXPLOSIVE
    assert "0.9999" in outcome.reason


def test_estimate_when_optimiser_gives_up_then_not_converged(garch_returns, monkeypatch):
    monkeypatch.setattr(garch_reference, "MAX_ITERATIONS", 2)
    settings = GarchSettings(engine="reference")
    outcome = estimate(garch_returns(np.random.default_rng(4), 1000), settings)
    assert isinstance(outcome, Failure)
    assert outcome.status is Status.NOT_CONVERGED
    assert "flag 9" in outcome.reason  # SLSQP's code for the iteration limit


GOOD = {"mu": 0.0, "omega": 0.05, "alpha": (0.08,), "gamma": (), "beta": (0.87,), "nu": 6.0}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, None),
        ({"beta": (0.9198,)}, None),  # persistence 0.9998
        ({"beta": (0.9199,)}, Status.EXPLOSIVE),  # 0.9999
        ({"alpha": (float("nan"),)}, Status.EXPLOSIVE),
        ({"omega": 1e-8}, Status.NOT_CONVERGED),
        ({"alpha": (0.0,)}, Status.NOT_CONVERGED),
        ({"alpha": (0.08, 0.0)}, Status.NOT_CONVERGED),
        ({"alpha": (0.0,), "gamma": (0.1,)}, None),  # only bad news matters: a model of its own
        ({"alpha": (0.05,), "gamma": (-0.05,)}, Status.NOT_CONVERGED),
        ({"beta": (0.0,)}, Status.NOT_CONVERGED),
        ({"nu": 2.05}, Status.NOT_CONVERGED),
        ({"nu": 500.0}, Status.NOT_CONVERGED),
    ],
)
def test_guard_when_a_coefficient_is_on_its_bound_then_status(change, status):
    failure = guard(GarchParameters(**(GOOD | change)), 1.0)
    assert (failure and failure.status) is status


@pytest.mark.parametrize("form", [kernel.Form(1, 1, 1, 1, 1), kernel.Form(0, 2, 0, 2, 0)])
def test_doubtful_when_drawn_near_every_bound_then_guard_refuses_no_other(form):
    # The quick look over all windows may call for the guard in vain, but must never spare it.
    rng = np.random.default_rng(5)
    k = len(form.names)
    parameters = rng.choice([0.0, 1e-7, 2e-6, 0.1, 0.45, 0.8999, 0.9], size=(4000, k))
    if form.student:
        parameters[:, -1] = rng.choice([2.05, 2.0515, 2.06, 8.0, 494.0, 496.0, 500.0], size=4000)
    doubtful = garch._doubtful(parameters, form, np.ones(4000))
    refused = np.array([guard(garch.named(row, form), 1.0) is not None for row in parameters])
    assert refused.any()
    assert not (refused & ~doubtful).any()
    assert not doubtful.all()


@both_engines
def test_fit_when_one_return_too_few_then_too_short(engine, history_of, garch_returns):
    returns = garch_returns(np.random.default_rng(8), 200)
    settings = GarchSettings(engine=engine)
    (enough,) = fit(history_of(prices(returns)), settings).forecast((1,))
    (short,) = fit(history_of(prices(returns[1:])), settings).forecast((1,))
    assert not (isinstance(enough, Failure) and enough.status is Status.TOO_SHORT)
    assert short.status is Status.TOO_SHORT


@both_engines
def test_extend_when_a_shock_follows_then_one_more_step_of_the_recursion(
    engine, history_of, garch_returns, monkeypatch
):
    returns = garch_returns(np.random.default_rng(4), 600)
    fitted = fit(history_of(prices(returns)), GarchSettings(engine=engine))
    monkeypatch.setattr(garch, "estimate", None)  # a fit would call it
    monkeypatch.setattr(garch_reference, "estimate", None)
    (before,) = fitted.forecast((1,))
    (after,) = fitted.extend(history_of(prices(np.r_[returns, -8.0]))).forecast((1,))
    found = fitted.parameters
    if engine == "fast":
        found = garch.named(found[0], garch._form(fitted.settings))
    by_hand = found.omega + found.alpha[0] * 64.0 + found.beta[0] * 1e4 * before.variance[0]
    # The price passes through exp and log on its way.
    assert 1e4 * after.variance[0] == pytest.approx(by_hand, rel=1e-10)


def test_quantiles_when_one_step_then_those_of_scipys_t():
    # The variance of t(5) is 5/3, so that scale**2 = variance * 3/5.
    found = student_t_quantiles(
        np.array([[0.01]]), np.array([[4e-4]]), np.array([1.0]), np.array([5.0])
    )[0]
    exact = stats.t(5, loc=0.01, scale=np.sqrt(4e-4 * 3 / 5)).ppf(QUANTILE_LEVELS)
    np.testing.assert_allclose(found[:, 0], exact, rtol=1e-10)


def test_quantiles_when_many_steps_then_kurtosis_is_that_of_a_sum():
    # Excess kurtosis of t(nu) is 6 / (nu - 4), and a sum of h draws has 1/h of it.
    nu, h = 6.0, 20
    nu_h = 4 + h * (nu - 4)
    assert stats.t(nu_h).stats("k") == pytest.approx(stats.t(nu).stats("k") / h)
    found = student_t_quantiles(
        np.zeros((1, 1)), np.array([[20.0]]), np.array([20.0]), np.array([nu])
    )[0]
    exact = stats.t(nu_h, scale=np.sqrt(20.0 * (nu_h - 2) / nu_h)).ppf(QUANTILE_LEVELS)
    np.testing.assert_allclose(found[:, 0], exact, rtol=1e-10, atol=1e-12)


def test_quantiles_when_summed_draws_are_counted_then_levels_hold():
    # 200,000 sums of 5 independent t(6) draws; 3 standard errors of a share of .05 are .0015, and
    # the matched distribution is an approximation, hence .003.
    draws = np.random.default_rng(6).standard_t(6.0, (200_000, 5)) * np.sqrt(4 / 6)
    quantiles = student_t_quantiles(
        np.zeros((1, 1)), np.array([[5.0]]), np.array([5.0]), np.array([6.0])
    )[0]
    shares = (draws.sum(axis=1)[:, None] <= quantiles[:, 0]).mean(axis=0)
    np.testing.assert_allclose(shares, QUANTILE_LEVELS, atol=0.003)


def test_quantiles_when_kurtosis_is_infinite_then_same_shape_at_every_step():
    found = student_t_quantiles(
        np.zeros((1, 2)), np.ones((1, 2)), np.array([1.0, 20.0]), np.array([3.5])
    )[0]
    np.testing.assert_array_equal(found[:, 0], found[:, 1])


@both_engines
def test_forecast_when_constant_mean_then_it_grows_with_the_step(engine, history_of, garch_returns):
    returns = garch_returns(np.random.default_rng(4), 1000) + 0.2
    settings = GarchSettings(mean="constant", engine=engine)
    fitted = fit(history_of(prices(returns)), settings)
    (outcome,) = fitted.forecast((1, 10))
    assert isinstance(outcome, Forecast)
    assert outcome.mean[1] == pytest.approx(10 * outcome.mean[0], rel=1e-14)
    # The truth .2 %; the standard error of the mean of 1000 returns of variance 1 is .03 %.
    assert outcome.mean[0] == pytest.approx(0.002, abs=0.001)


def test_arch_when_its_bounds_are_read_then_ours_are_the_same():
    # `NU_BOUNDS` restates them; a release of arch that moves them must fail here.
    assert tuple(StudentsT().bounds(np.ones(3))[0]) == kernel.NU_BOUNDS
    model = ZeroMean(np.random.default_rng(0).normal(size=300), volatility=GARCH(1, 0, 1))
    model.distribution = Normal()
    lowest = model.volatility.bounds(np.ones(10))[0][0]
    assert lowest < garch_model.ON_BOUND


@pytest.mark.parametrize(
    "written", [{"p": 0}, {"o": 2}, {"q": 0}, {"dist": "skewt"}, {"mean": "ar"}, {"vol": "egarch"}]
)
def test_settings_when_out_of_range_then_refused(written):
    with pytest.raises(SettingsError):
        ForecasterSpec.parse({"name": "garch", **written})


def test_settings_when_the_kernel_does_not_cover_three_lags_then_says_which_engine_does():
    with pytest.raises(SettingsError, match="use engine reference"):
        ForecasterSpec.parse({"name": "garch", "p": 3})
    spec = ForecasterSpec.parse({"name": "garch", "p": 3, "engine": "reference"})
    assert isinstance(spec.build(), ReferenceGarch)
    assert isinstance(ForecasterSpec.parse({"name": "garch"}).build(), Garch)
