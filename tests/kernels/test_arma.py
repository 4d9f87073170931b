"""ARMA fits against a Kalman recursion, dense densities, statsmodels and known parameters."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.tsa.arima_process import ArmaProcess, arma_acovf
from statsmodels.tsa.statespace.sarimax import SARIMAX

from pmx_ray.kernels import arma_likelihood as lik
from pmx_ray.kernels.arma import Jobs, _repeated, fit_arma, last_residuals, roots_within
from pmx_ray.kernels.arma_climb import climb
from pmx_ray.kernels.arma_likelihood import padded_length
from pmx_ray.kernels.arma_plain import loglikelihood
from pmx_ray.kernels.arma_start import hannan_rissanen, with_factor


def polynomial(partial):
    """Return the autoregression with these partial autocorrelations (Durbin and Levinson)."""
    found = []
    for k in partial:
        found = [c - k * found[-1 - i] for i, c in enumerate(found)] + [k]
    return np.array(found)


def simulated(ar, ma, n, *, seed=0, mean=0.0):
    process = ArmaProcess(np.r_[1.0, -np.array(ar)], np.r_[1.0, np.array(ma)])
    rng = np.random.default_rng(seed)
    return mean + process.generate_sample(n, distrvs=rng.standard_normal, burnin=300)


def jobs(p, q, n_windows=1, *, constant=False):
    return Jobs(
        np.arange(n_windows),
        np.full(n_windows, p),
        np.full(n_windows, q),
        np.full(n_windows, constant),
    )


def evaluated(window, ar, ma, *, constant=False):
    """Return log-likelihood, mean, slopes and residuals from the compiled pass, in lane 3."""
    n, lane = len(window), 3
    table = np.zeros((8, padded_length(n + 5)))  # other lanes are longer
    table[:, : n + 5] = np.random.default_rng(1).normal(size=(8, n + 5))
    table[lane] = 0.0
    table[lane, :n] = window
    given = np.ones((1, lik.N_GIVEN, 8))
    given[0, 0], given[0, 1] = n + 5, float(constant)
    given[0, 0, lane], given[0, 8:] = n, np.r_[ar, ma][:, None]
    z, e = np.zeros((lik.ROWS, 8)), np.zeros((1, table.shape[1], 8))
    scratch = [np.empty((table.shape[1], *rest)) for rest in ((2, 8), (8,), (8,))]
    out = np.empty((1, 11, 8))
    where = table, np.arange(8), np.zeros(8), given
    climb(*where, 0, False, z, scratch[0], e, *scratch[1:], out)
    loglik = -0.5 * (out[0, 6, lane] + n * (np.log(2 * np.pi / n) + 1))
    slopes = z[lik.SLOPE : lik.SLOPE + 6, lane].copy()
    return loglik, out[0, 8, lane], slopes, e[0, :n, lane]


partials = st.lists(st.floats(-0.95, 0.95), min_size=3, max_size=3)


@settings(max_examples=60, deadline=None)
@given(partials, partials, st.integers(1, 80), st.integers(0, 1000))
def test_likelihood_when_any_coefficients_then_that_of_the_twin(ar, ma, n, seed):
    phi, theta = polynomial(ar), -polynomial(ma)
    window = np.random.default_rng(seed).normal(size=n)
    value, *_ = evaluated(window, phi, theta)
    # Sums of n terms of size 1, in two orders, with a state covariance up to 1e5 in between.
    assert value == pytest.approx(loglikelihood(window, phi, theta, 0.0), rel=1e-7, abs=1e-7)


def test_likelihood_when_window_is_short_then_the_normal_density():
    phi, theta = polynomial([0.6, -0.3, 0.4]), -polynomial([0.5, 0.2, -0.7])
    window = np.random.default_rng(3).normal(size=12)
    gamma = arma_acovf(np.r_[1, -phi], np.r_[1, theta], nobs=12)
    covariance = gamma[np.abs(np.subtract.outer(np.arange(12), np.arange(12)))]
    scale = window @ np.linalg.solve(covariance, window) / 12
    density = stats.multivariate_normal(np.zeros(12), scale * covariance).logpdf(window)
    assert evaluated(window, phi, theta)[0] == pytest.approx(density, rel=1e-10)


@pytest.mark.parametrize("near", [0.5, 0.99, 0.9999])
def test_likelihood_when_roots_near_the_circle_then_that_of_statsmodels(near):
    phi, theta = polynomial([near, -0.3, 0.2]), -polynomial([near, 0.4, 0.1])
    window = simulated([0.5], [0.3], 400)
    model = SARIMAX(window, order=(3, 0, 3), trend="n", concentrate_scale=True)
    theirs = model.loglike(np.r_[phi, theta])
    # statsmodels stops updating its covariance once it changes by less than 1e-19 of itself.
    assert evaluated(window, phi, theta)[0] == pytest.approx(theirs, rel=1e-8)


def test_mean_when_estimated_then_that_of_generalised_least_squares():
    phi, theta = polynomial([0.7, 0.1, 0.1]), -polynomial([-0.4, 0.3, 0.2])
    window = 5.0 + np.random.default_rng(3).normal(size=15)
    gamma = arma_acovf(np.r_[1, -phi], np.r_[1, theta], nobs=15)
    covariance = gamma[np.abs(np.subtract.outer(np.arange(15), np.arange(15)))]
    weights = np.linalg.solve(covariance, np.ones(15))
    value, mean, *_ = evaluated(window, phi, theta, constant=True)
    assert mean == pytest.approx(weights @ window / weights.sum(), rel=1e-10)
    assert value == pytest.approx(loglikelihood(window, phi, theta, mean), rel=1e-10)


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("n", [6, 200])
def test_slopes_when_coefficients_move_then_differences_of_the_twin(n, constant):
    at = np.r_[polynomial([0.8, -0.3, 0.4]), -polynomial([0.9, 0.2, -0.5])]
    window = 1.0 + np.random.default_rng(5).normal(size=n)
    _, _, slopes, _ = evaluated(window, at[:3], at[3:], constant=constant)

    def twin(x):
        mean = evaluated(window, x[:3], x[3:], constant=constant)[1]
        return -2.0 * loglikelihood(window, x[:3], x[3:], mean)

    moved = 1e-6 * np.eye(6)
    differences = np.array([(twin(at + d) - twin(at - d)) / 2e-6 for d in moved])
    np.testing.assert_allclose(slopes, differences, rtol=1e-5, atol=1e-5 * np.abs(slopes).max())


def test_residuals_when_window_is_whole_then_conditional_expectations():
    # Given the window, e is normal with y: E[e | y] = Cov(e, y) Cov(y)^-1 y.
    phi, theta = 0.7, 0.5
    window = np.random.default_rng(3).normal(size=9)
    gamma = arma_acovf([1, -phi], [1, theta], nobs=9)
    psi = np.r_[1.0, (phi + theta) * phi ** np.arange(8)]
    lag = np.subtract.outer(np.arange(9), np.arange(9))  # of y(t) behind e(s), by (t, s)
    covariance = np.where(lag >= 0, psi[np.abs(lag)], 0.0)
    expected = covariance.T @ np.linalg.solve(gamma[np.abs(lag)], window)
    pad = np.zeros(2)
    found = last_residuals([window], np.r_[phi, pad][None], np.r_[theta, pad][None], np.zeros(1))
    np.testing.assert_allclose(found[0], expected[-3:], rtol=1e-10)


WINDOWS = [
    simulated([0.6], [0.3], 150, seed=1),
    simulated([], [], 300, seed=2),
    simulated([1.2, -0.5], [0.4], 220, seed=3, mean=2.0),
    np.cumsum(simulated([], [], 180, seed=4)),
    simulated([], [-0.95], 300, seed=5),
]
RANDOM_WALK = 3


def test_fit_when_jobs_lie_beside_then_same_bits():
    many = Jobs(
        np.repeat(np.arange(5), 16),
        np.tile(np.repeat(np.arange(4), 4), 5),
        np.tile(np.arange(4), 20),
        np.arange(80) % 3 == 0,
    )
    together = fit_arma(WINDOWS, many).as_rows()
    for job in (3, 21, 37, 62, 79):
        alone = fit_arma(WINDOWS, many.of(np.array([job]))).as_rows()
        assert alone.tobytes() == together[job : job + 1].tobytes()


def test_filter_when_windows_lie_beside_then_same_bits():
    ar = np.tile(polynomial([0.4, 0.2, -0.1]), (5, 1))
    ma = np.tile(polynomial([0.9, 0.2, -0.1]), (5, 1))
    together = last_residuals(WINDOWS, ar, ma, np.arange(5.0))
    for row in range(5):
        part = slice(row, row + 1)
        alone = last_residuals(WINDOWS[part], ar[part], ma[part], np.arange(5.0)[part])
        assert alone.tobytes() == together[part].tobytes()


def test_fit_when_ended_then_the_twin_agrees_on_its_likelihood():
    fits = fit_arma(WINDOWS, jobs(2, 1, 5, constant=True))
    for row, window in enumerate(WINDOWS):
        twin = loglikelihood(window, fits.ar[row], fits.ma[row], fits.mean[row])
        assert fits.loglik[row] == pytest.approx(twin, rel=1e-9)


@pytest.mark.parametrize(("p", "q"), [(1, 1), (2, 0), (0, 3), (2, 1)])
def test_fit_when_statsmodels_fits_too_then_no_lower(p, q):
    fits = fit_arma(WINDOWS, jobs(p, q, 5))
    for row, window in enumerate(WINDOWS):
        if p == 0 and row == RANDOM_WALK:
            continue  # which is no moving average: its likelihood has several tops alike
        model = SARIMAX(window, order=(p, 0, q), trend="n")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its starting values
            theirs = model.fit(disp=0, cov_type="none", maxiter=200)
        assert fits.loglik[row] >= theirs.llf - 1e-6 * abs(theirs.llf)


def test_fit_when_process_is_known_then_within_three_standard_errors():
    n, phi, theta = 3000, 0.6, 0.3
    fits = fit_arma(
        [simulated([phi], [theta], n, seed=s, mean=4.0) for s in range(8)],
        jobs(1, 1, 8, constant=True),
    )
    # Box and Jenkins (1976), section 7.2.5, with their theta of the opposite sign.
    scale = (1 + phi * theta) / ((phi + theta) ** 2 * n)
    phi_error = np.sqrt(scale * (1 - phi**2) * (1 + phi * theta))
    theta_error = np.sqrt(scale * (1 - theta**2) * (1 + phi * theta))
    assert (np.abs(fits.ar[:, 0] - phi) < 3 * phi_error).all()
    assert (np.abs(fits.ma[:, 0] - theta) < 3 * theta_error).all()
    assert (np.abs(fits.mean - 4.0) < 3 * (1 + theta) / (1 - phi) / np.sqrt(n)).all()
    assert (np.abs(fits.variance - 1.0) < 3 * np.sqrt(2 / n)).all()
    assert fits.converged.all()


def test_fit_when_order_is_zero_then_sample_moments():
    window = np.array([1.0, 4.0, 2.0, 5.0])
    fits = fit_arma(
        [window, window],
        Jobs(np.arange(2), np.zeros(2, int), np.zeros(2, int), np.array([True, False])),
    )
    np.testing.assert_allclose(fits.mean, [3.0, 0.0], rtol=1e-14)
    np.testing.assert_allclose(fits.variance, [2.5, 11.5], rtol=1e-14)  # 10 / 4 and 46 / 4


def test_fit_when_differenced_too_often_then_root_on_the_circle():
    # The differenced noise has theta = -1, where the exact likelihood is highest or close to it.
    noise = np.diff(np.random.default_rng(1).normal(size=300))
    fits = fit_arma([noise], jobs(0, 1))
    assert -1.0 < fits.ma[0, 0] < -0.97


@pytest.mark.parametrize("window", [np.zeros(50), np.full(50, 3.0)], ids=["zeros", "equal"])
def test_fit_when_window_is_constant_then_not_finite_or_explained(window):
    fits = fit_arma([window, WINDOWS[0]], jobs(1, 1, 2, constant=True))
    assert np.isnan(fits.loglik[0])
    assert np.isfinite(fits.loglik[1])


def test_start_when_autocovariances_are_exact_then_the_process():
    phi, theta = 0.5, 0.4
    gamma = arma_acovf([1, -phi], [1, theta], nobs=16)
    found = hannan_rissanen(gamma[None], np.array([[1.0, 0, 0, 1, 0, 0]]))
    # The long autoregression of 12 lags leaves theta**12 = 2e-5, the ridge 1e-4.
    np.testing.assert_allclose(found[0], [phi, 0, 0, theta, 0, 0], atol=1e-3)


def test_factor_when_added_then_the_product_of_polynomials():
    tail = np.array([[0.3, -0.2, 0.0]])
    longer = with_factor(tail, np.array([0.5]), np.array([0.0]))
    np.testing.assert_allclose(longer[0], np.convolve([1, 0.3, -0.2], [1, -0.5])[1:])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-2, 2), min_size=3, max_size=3), st.floats(0.3, 1.0))
def test_roots_when_compared_with_a_radius_then_those_of_the_companion(coefficients, radius):
    largest = np.abs(np.roots(np.r_[1.0, -np.array(coefficients)])).max()
    if abs(largest - radius) > 1e-4:
        assert roots_within(np.array([coefficients]), radius)[0] == (largest < radius)


def test_repeats_when_ends_of_a_job_are_near_then_all_but_the_best():
    tried = np.zeros((5, 11))
    tried[:, 0] = [0.5, 0.5005, 0.7, 0.5001, 0.5]
    index = np.array([0, 0, 0, 0, 1])  # the last is another job's
    rank = np.array([2.0, 1.0, 0.0, 3.0, 5.0])
    assert _repeated(tried, index, rank).tolist() == [True, False, False, True, False]
