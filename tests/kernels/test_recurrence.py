"""Recurrences with autoregressive noise, against statsmodels, plain loops and simulation."""

import array_api_strict
import numpy as np
import pytest
from statsmodels.tsa.ar_model import AutoReg

from pmx_ray.kernels.recurrence import (
    combine,
    error_weights,
    fit_autoregression,
    horizon_errors,
    one_step_errors,
    run_forward,
    solve_normal,
)

BETA = np.array([0.5, -0.2, 0.1])
ALPHA = np.array([[-0.5, 0.2], [0.3, 0.0]])


@pytest.mark.parametrize("order", [1, 2, 3])
def test_autoregression_when_fitted_then_as_statsmodels(order):
    noise = np.random.default_rng(0).normal(size=(2, 300)).cumsum(axis=1) * 0.1
    (alpha,) = fit_autoregression(noise[None], order)
    for row, found in zip(noise, alpha, strict=True):
        np.testing.assert_allclose(found, AutoReg(row, order, trend="n").fit().params, rtol=1e-8)


def test_autoregression_when_values_missing_then_rows_with_them_are_left_out():
    noise = np.random.default_rng(0).normal(size=(1, 200))
    noise[0, [40, 90]] = np.nan
    rows = [t for t in range(2, 200) if not np.isnan(noise[0, t - 2 : t + 1]).any()]
    lags = np.array([[noise[0, t - 1], noise[0, t - 2]] for t in rows])
    expected = np.linalg.lstsq(lags, noise[0, rows], rcond=None)[0]
    np.testing.assert_allclose(fit_autoregression(noise[None], 2)[0, 0], expected, rtol=1e-10)


def test_autoregression_when_residual_is_zero_then_zero():
    assert np.array_equal(fit_autoregression(np.zeros((1, 1, 50)), 2), [[[0.0, 0.0]]])


def test_autoregression_when_known_process_then_recovered():
    innovation = np.random.default_rng(5).normal(size=20_000)
    noise = innovation.copy()
    for t in range(1, len(noise)):
        noise[t] -= 0.5 * noise[t - 1]
    # Standard error sqrt((1 - 0.25) / 20000) = 0.006; four of them.
    assert fit_autoregression(noise[None, None], 1)[0, 0, 0] == pytest.approx(-0.5, abs=0.025)


def test_combine_when_one_lag_each_then_by_hand():
    # (1 + 0.5 B)(1 - 0.8 B) = 1 - 0.3 B - 0.4 B^2
    np.testing.assert_allclose(combine(np.array([0.8]), np.array([[-0.5]])), [[0.3, 0.4]])


def test_normal_equations_when_sound_or_not_then_as_the_pseudoinverse():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 40, 3))
    x[1, :, 1] = 0.0
    x[2, :, 2] = x[2, :, 0]
    x[3] = 0.0
    gram, moment = x.transpose(0, 2, 1) @ x, (x.transpose(0, 2, 1) @ rng.normal(size=(5, 40, 1)))
    expected = np.linalg.pinv(gram, hermitian=True) @ moment
    np.testing.assert_allclose(solve_normal(gram, moment[..., 0]), expected[..., 0], rtol=1e-10)


def errors_of(series: np.ndarray, beta: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Return the one-step errors of one fold's series (N, T), NaN before the first, (N, T)."""
    known = one_step_errors(series[None], beta[None], alpha[None])[0]
    return np.concatenate(
        [np.full((len(series), series.shape[1] - known.shape[1]), np.nan), known], axis=1
    )


@pytest.mark.parametrize("n_times", [6, 30, 53, 101, 150])
def test_one_step_errors_when_beta_and_alpha_then_as_plain_loop(n_times):
    series = np.random.default_rng(1).normal(size=(2, n_times))
    errors = errors_of(series, BETA, ALPHA)
    assert np.isnan(errors[:, :5]).all()
    for n in range(2):
        left = {
            t: series[n, t] - BETA @ series[n, [t - 1, t - 2, t - 3]] for t in range(3, n_times)
        }
        for t in range(5, n_times):
            noise = ALPHA[n] @ [left[t - 1], left[t - 2]]
            assert errors[n, t] == pytest.approx(left[t] - noise, abs=1e-12)


@pytest.mark.parametrize("n_lags", [0, 1, 47, 48, 49, 130])
def test_one_step_errors_when_lags_fill_blocks_or_not_then_as_convolution(n_lags):
    rng = np.random.default_rng(1)
    series, beta = rng.normal(size=(2, 300)), rng.normal(size=n_lags) / 10
    found = one_step_errors(series[None], beta[None], np.zeros((1, 2, 0)))[0]
    for row, errors in zip(series, found, strict=True):
        expected = np.convolve(row, np.concatenate([[1.0], -beta]), mode="valid")
        np.testing.assert_allclose(errors, expected, atol=1e-12)


def test_one_step_errors_when_value_missing_then_those_that_need_it_are():
    series = np.random.default_rng(1).normal(size=(2, 200))
    whole = errors_of(series, BETA, ALPHA)
    series[0, 60] = np.nan
    errors = errors_of(series, BETA, ALPHA)
    assert np.flatnonzero(np.isnan(errors[0])).tolist() == [0, 1, 2, 3, 4, 60, 61, 62, 63, 64, 65]
    there = ~np.isnan(errors)
    assert np.array_equal(errors[there], whole[there])  # the same bits


def test_one_step_errors_when_too_few_times_then_none():
    assert one_step_errors(np.ones((1, 2, 5)), BETA[None], ALPHA[None]).shape == (1, 2, 0)


def test_errors_and_noise_when_folds_are_stacked_on_array_api_strict_then_as_each_on_numpy():
    rng = np.random.default_rng(2)
    series = rng.normal(size=(3, 2, 120))
    series[1, 0, 70] = np.nan
    beta = rng.normal(size=(3, 6)) / 10
    strict = array_api_strict.asarray
    alpha = fit_autoregression(strict(series), 3, xp=array_api_strict)
    errors = one_step_errors(strict(series), strict(beta), strict(alpha), xp=array_api_strict)
    for fold in range(3):
        (alone,) = fit_autoregression(series[fold : fold + 1], 3)
        np.testing.assert_allclose(alpha[fold], alone, rtol=1e-12)
        (left,) = one_step_errors(series[fold : fold + 1], beta[fold : fold + 1], alone[None])
        np.testing.assert_allclose(np.asarray(errors)[fold], left, atol=1e-13)


def test_run_forward_when_next_value_known_then_error_is_the_one_step_error():
    series = np.random.default_rng(1).normal(size=(2, 30))
    ahead = run_forward(combine(BETA, ALPHA), series[:, 24:29], 1)
    error = errors_of(series, BETA, ALPHA)[:, 29]
    np.testing.assert_allclose(series[:, 29] - ahead[:, 0], error, atol=1e-12)


def test_run_forward_when_three_steps_then_forecasts_feed_back():
    coefficients = np.array([[0.5, 0.25]])
    # 0.5 * 2 + 0.25 * 4 = 2; 0.5 * 2 + 0.25 * 2 = 1.5; 0.5 * 1.5 + 0.25 * 2 = 1.25
    np.testing.assert_allclose(
        run_forward(coefficients, np.array([[4.0, 2.0]]), 3), [[2.0, 1.5, 1.25]]
    )


def plain_run_forward(coefficients: np.ndarray, last: np.ndarray, n_steps: int) -> np.ndarray:
    """Return each next value as the sum that defines it."""
    path = last.tolist()
    for row, lags in zip(path, coefficients, strict=True):
        for _ in range(n_steps):
            row.append(sum(c * row[-i] for i, c in enumerate(lags, start=1)))
    return np.array(path)[:, last.shape[1] :]


@pytest.mark.parametrize(("n_lags", "n_steps"), [(1, 5), (7, 3), (7, 20), (40, 20)])
def test_run_forward_when_compiled_then_as_plain_loop(n_lags, n_steps):
    rng = np.random.default_rng(3)
    coefficients, last = rng.normal(size=(2, 3, n_lags)) / 5
    expected = plain_run_forward(coefficients, last, n_steps)
    np.testing.assert_allclose(run_forward(coefficients, last, n_steps), expected, atol=1e-13)
    impulse = np.zeros((3, n_lags))
    impulse[:, -1] = 1.0
    psi = np.concatenate(
        [np.ones((3, 1)), plain_run_forward(coefficients, impulse, n_steps)], axis=1
    )
    found = error_weights(coefficients, n_steps + 1, cumulative=False)
    np.testing.assert_allclose(found, psi, atol=1e-13)


@pytest.mark.parametrize(
    ("cumulative", "expected"), [(False, [1, 0.5, 0.25]), (True, [1, 1.5, 1.75])]
)
def test_error_weights_when_first_order_then_powers(cumulative, expected):
    weights = error_weights(np.array([[0.5]]), 3, cumulative=cumulative)
    np.testing.assert_allclose(weights, [expected])


@pytest.mark.parametrize("cumulative", [False, True])
@pytest.mark.parametrize("step", [1, 2, 7])
def test_horizon_errors_when_origin_walks_then_as_forecast_from_each(step, cumulative):
    series = np.random.default_rng(2).normal(size=(2, 40))
    coefficients = combine(BETA, ALPHA)
    errors = errors_of(series, BETA, ALPHA)
    found = horizon_errors(errors, error_weights(coefficients, 7, cumulative=cumulative), step)
    for origin in range(4, 40 - step):
        path = run_forward(coefficients, series[:, origin - 4 : origin + 1], step)
        actual = series[:, origin + 1 : origin + 1 + step]
        wanted = (actual - path).sum(axis=1) if cumulative else actual[:, -1] - path[:, -1]
        np.testing.assert_allclose(found[:, origin + 1], wanted, atol=1e-10)


@pytest.mark.parametrize("cumulative", [False, True])
def test_variance_when_process_simulated_then_as_spread_of_its_futures(cumulative):
    rng = np.random.default_rng(7)
    coefficients = combine(BETA, ALPHA[:1])
    n_paths, past, sigma = 40_000, np.array([0.4, -1.0, 0.3, 0.2, 0.9]), 0.7
    paths = np.tile(past, (n_paths, 1))
    for _ in range(20):
        shock = sigma * rng.normal(size=n_paths)
        nxt = paths[:, -1:-6:-1] @ coefficients[0] + shock
        paths = np.column_stack([paths, nxt])
    future = paths[:, 5:].cumsum(axis=1) if cumulative else paths[:, 5:]
    weights = error_weights(coefficients, 20, cumulative=cumulative)
    variance = sigma**2 * np.cumsum(weights[0] ** 2)
    mean = run_forward(coefficients, past[None], 20)[0]
    mean = mean.cumsum() if cumulative else mean
    for step in (1, 5, 20):
        # A variance of 40,000 normal draws has relative error sqrt(2 / 40000) = 0.7 %; five of it.
        assert future[:, step - 1].var() == pytest.approx(variance[step - 1], rel=0.035)
        spread = 5 * np.sqrt(variance[step - 1] / n_paths)
        assert future[:, step - 1].mean() == pytest.approx(mean[step - 1], abs=spread)
