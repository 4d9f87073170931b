"""The GARCH kernel against a plain loop, `arch`, and finite differences."""

import math

import numpy as np
import pytest
from arch import arch_model
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from skfolio.datasets import load_sp500_dataset

from pmx_ray.kernels import garch
from pmx_ray.kernels.garch import Form
from pmx_ray.kernels.garch_derivatives import (
    BANK_ROWS,
    LOGLIK,
    PATH_ROWS,
    derivatives,
    derivatives_of_one_lag,
)
from pmx_ray.kernels.garch_likelihood import ROWS
from pmx_ray.kernels.garch_search import MAX_PERSISTENCE, NU_BOUNDS
from pmx_ray.kernels.lanes import WIDTH

FORMS = [
    Form(mean, p, o, q, student)
    for mean in (0, 1)
    for p in (1, 2)
    for o in (0, 1)
    for q in (1, 2)
    for student in (0, 1)
]
ONE_LAG = [form for form in FORMS if form.p == form.q == 1]
VALUES = {
    "mu": 0.03, "omega": 0.05, "alpha_1": 0.06, "alpha_2": 0.03, "delta": 0.12,
    "beta_1": 0.55, "beta_2": 0.2, "nu": 7.0,
}  # fmt: skip


def label(form: Form) -> str:
    return "".join(map(str, form))


every_form = pytest.mark.parametrize("form", FORMS, ids=label)


def point(form: Form, **changed: float) -> np.ndarray:
    return np.array([(VALUES | changed)[name] for name in form.names])


def plain_variances(y: np.ndarray, theta: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the variance of every session and the one after, by the definition, and residuals."""
    e = y - theta.get("mu", 0.0)
    from_start = y - (y.mean() if "mu" in theta else 0.0)
    weights = 0.94 ** np.arange(min(75, len(y)))
    back = float(weights @ from_start[:75] ** 2 / weights.sum())
    s: list[float] = []
    for t in range(len(y) + 1):

        def square(lag: int, t: int = t) -> float:
            return e[t - lag] ** 2 if t >= lag else back

        def variance(lag: int, t: int = t) -> float:
            return s[t - lag] if t >= lag else back

        if "delta" not in theta:
            first = theta["alpha_1"] * square(1)
        elif t == 0:
            first = 0.5 * (theta["alpha_1"] + theta["delta"]) * back
        else:
            first = theta["delta" if e[t - 1] < 0 else "alpha_1"] * square(1)
        s.append(
            theta["omega"] + first + theta.get("alpha_2", 0.0) * square(2)
            + theta["beta_1"] * variance(1) + theta.get("beta_2", 0.0) * variance(2)
        )  # fmt: skip
    return np.array(s), e


def plain_loglik(y: np.ndarray, theta: dict[str, float]) -> float:
    s, e = plain_variances(y, theta)
    if "nu" in theta:
        scale = np.sqrt(s[:-1] * (theta["nu"] - 2) / theta["nu"])
        return float(stats.t(theta["nu"], scale=scale).logpdf(e).sum())
    return float(stats.norm(scale=np.sqrt(s[:-1])).logpdf(e).sum())


def draws(n_windows: int, n: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 0.9 * rng.standard_t(6, (n_windows, n)) + 0.05


@pytest.fixture(scope="module")
def real() -> np.ndarray:
    """Forty windows of 500 percent returns of stocks, crises among them."""
    returns = 100.0 * np.diff(np.log(load_sp500_dataset().to_numpy()), axis=0).T
    stops = np.linspace(600, returns.shape[1], 4).astype(int)
    return np.array([row[stop - 500 : stop] for row in returns[::2] for stop in stops])


@every_form
def test_loglikelihood_when_written_as_a_loop_then_equal(form):
    windows = draws(3, 97)
    parameters = np.array([point(form), point(form, omega=0.4), point(form, beta_1=0.1)])
    wanted = [
        plain_loglik(y, dict(zip(form.names, row, strict=True)))
        for y, row in zip(windows, parameters, strict=True)
    ]
    np.testing.assert_allclose(garch.loglikelihood(windows, parameters, form), wanted, rtol=1e-12)


@every_form
def test_filter_variances_when_written_as_a_loop_then_equal(form):
    windows = draws(2, 60)
    theta = point(form)
    named = dict(zip(form.names, theta, strict=True))
    found = garch.filter_variances(windows, np.array([theta, theta]), form, n_steps=4)
    for y, row in zip(windows, found, strict=True):
        s, e = plain_variances(y, named)
        respond = named["alpha_1"]
        if form.o:
            respond = 0.5 * (respond + named["delta"])
        squares, path = [*(e**2)], [*s]
        for _ in range(3):  # a coming square is its expectation, the variance
            squares.append(path[-1])
            path.append(
                named["omega"] + respond * squares[-1] + named.get("alpha_2", 0.0) * squares[-2]
                + named["beta_1"] * path[-1] + named.get("beta_2", 0.0) * path[-2]
            )  # fmt: skip
        np.testing.assert_allclose(row, path[-4:], rtol=1e-12)


def slopes(form: Form, y: np.ndarray, x: np.ndarray, *, one_lag: bool = False):
    """Return log-likelihood, gradient (K,) and Hessian (K, K) of the first lane."""
    gradient, hessian = np.zeros((ROWS + 1, WIDTH)), np.zeros((ROWS * ROWS, WIDTH))
    facts = np.repeat([[0.0], [1.0], [1.1]], WIDTH, axis=1)
    rows = np.zeros((ROWS, WIDTH))
    rows[: len(x)] = x[:, None]
    lanes = np.repeat(y[:, None], WIDTH, axis=1)
    if one_lag:
        path = np.full((PATH_ROWS * len(y), WIDTH), np.nan)
        derivatives_of_one_lag(lanes, facts, form, rows, gradient, hessian, path)
    else:
        derivatives(lanes, facts, form, rows, gradient, hessian, np.zeros((BANK_ROWS, WIDTH)))
    k = len(x)
    lower = hessian[:, 0].reshape(ROWS, ROWS)[:k, :k]
    both = np.tril(lower) + np.tril(lower, -1).T
    return gradient[LOGLIK, 0], gradient[:k, 0], both


@every_form
def test_derivatives_when_differenced_then_equal(form):
    y, x, h = draws(1, 120)[0], point(form), 1e-5
    _, gradient, hessian = slopes(form, y, x)
    for i in range(len(x)):
        step = np.zeros(len(x))
        step[i] = h
        above, below = slopes(form, y, x + step), slopes(form, y, x - step)
        # Central differences are right to h squared times the next derivative.
        scale = np.abs(gradient).max()
        assert (above[0] - below[0]) / (2 * h) == pytest.approx(gradient[i], abs=1e-6 * scale)
        slope = (above[1] - below[1]) / (2 * h)
        np.testing.assert_allclose(slope, hessian[i], atol=1e-6 * np.abs(hessian[i]).max())


@pytest.mark.parametrize("form", ONE_LAG, ids=label)
@settings(max_examples=15, deadline=None)
@given(
    omega=st.floats(1e-6, 2.0),
    alpha=st.floats(0.0, 0.5),
    delta=st.floats(0.0, 0.5),
    beta=st.floats(0.0, 0.99),
    nu=st.floats(2.05, 400.0),
    seed=st.integers(0, 99),
)
def test_one_lag_pass_when_anywhere_inside_the_bounds_then_the_general_one(
    form, omega, alpha, delta, beta, nu, seed
):
    y = draws(1, 61, seed)[0]
    x = point(form, omega=omega, alpha_1=alpha, delta=delta, beta_1=beta, nu=nu)
    value, gradient, hessian = slopes(form, y, x)
    value_fast, gradient_fast, hessian_fast = slopes(form, y, x, one_lag=True)
    assert value_fast == pytest.approx(value, rel=1e-11)
    np.testing.assert_allclose(gradient_fast, gradient, rtol=1e-8, atol=1e-9 * abs(value))
    scale = np.abs(hessian).max()
    np.testing.assert_allclose(hessian_fast, hessian, rtol=1e-8, atol=1e-10 * scale)


@pytest.mark.parametrize(
    "form",
    [Form(1, 1, 0, 1, 0), Form(0, 1, 1, 1, 0), Form(1, 1, 0, 1, 1), Form(1, 1, 1, 1, 1)],
    ids=label,
)
def test_fit_when_arch_fits_the_same_windows_then_no_lower(form, real):
    fits = garch.fit(real, form)
    theirs = []
    for y in real:
        model = arch_model(
            y,
            mean="Constant" if form.mean else "Zero",
            o=form.o,
            dist="t" if form.student else "normal",
            rescale=False,
        )
        theirs.append(model.fit(disp="off", show_warning=False).loglikelihood)
    np.testing.assert_allclose(
        fits.loglik, garch.loglikelihood(real, fits.parameters, form), rtol=1e-12
    )
    behind = (np.array(theirs) - fits.loglik) / np.abs(fits.loglik)
    assert behind.max() < 1e-6
    # And ahead by no more than local maxima explain: the two are of one likelihood.
    assert np.median(np.abs(behind)) < 1e-8


def test_fit_when_two_lags_then_seldom_below_arch(real):
    form = Form(1, 2, 0, 2, 0)
    ours = garch.fit(real, form).loglik
    theirs = np.array(
        [
            arch_model(y, p=2, q=2, rescale=False).fit(disp="off", show_warning=False).loglikelihood
            for y in real
        ]
    )
    # With two betas the likelihood has many maxima; a library's single start misses more of them.
    assert (ours < theirs - 1e-6 * np.abs(theirs)).sum() <= 3
    assert (theirs < ours - 1e-6 * np.abs(ours)).sum() >= 3


@pytest.mark.parametrize("form", [Form(1, 1, 0, 1, 0), Form(1, 1, 1, 1, 1), Form(0, 2, 1, 2, 0)])
def test_fit_when_windows_stand_beside_others_then_same_bits(form, real):
    together = garch.fit(real[:21], form)
    alone = [garch.fit(real[w : w + 1], form) for w in range(21)]
    np.testing.assert_array_equal(together.parameters, np.vstack([f.parameters for f in alone]))
    np.testing.assert_array_equal(together.loglik, np.concatenate([f.loglik for f in alone]))
    reordered = garch.fit(real[20::-1], form)
    np.testing.assert_array_equal(together.parameters[::-1], reordered.parameters)


@pytest.mark.parametrize("form", [Form(1, 1, 0, 1, 0), Form(1, 1, 1, 1, 1), Form(1, 2, 1, 2, 1)])
def test_fit_when_real_windows_then_inside_the_bounds_and_flat_there(form, real):
    fits = garch.fit(real, form)
    lags = np.array([name.startswith(("alpha", "delta", "beta")) for name in form.names])
    assert (fits.parameters[:, lags] >= 0.0).all()
    weights = np.ones(len(form.names)) * lags
    if form.o:
        weights[[form.names.index("alpha_1"), form.names.index("delta")]] = 0.5
    assert (fits.parameters @ weights <= MAX_PERSISTENCE + 1e-12).all()
    if form.student:
        assert (fits.parameters[:, -1] >= NU_BOUNDS[0]).all()
        assert (fits.parameters[:, -1] <= NU_BOUNDS[1]).all()
    assert fits.converged.mean() > 0.95
    # A random step inside the bounds never gains: Newton promised less than TOLERANCE.
    rng = np.random.default_rng(0)
    moved = fits.parameters * (1.0 + 1e-3 * rng.standard_normal(fits.parameters.shape))
    inside = moved @ weights <= MAX_PERSISTENCE
    gain = garch.loglikelihood(real, moved, form) - fits.loglik
    assert (gain[inside & fits.converged] < 1e-5).all()


def test_fit_when_returns_are_rescaled_then_parameters_scale_with_them(real):
    form = Form(1, 1, 1, 1, 1)
    percent, decimal = garch.fit(real[:9], form), garch.fit(real[:9] / 100.0, form)
    scale = np.array([100.0, 1e4, 1.0, 1.0, 1.0, 1.0])
    # Newton stops within a log-likelihood of 1e-6 of the top, which a flat ridge stretches.
    np.testing.assert_allclose(decimal.parameters * scale, percent.parameters, rtol=1e-3, atol=1e-4)
    shift = 500 * math.log(100.0)
    np.testing.assert_allclose(decimal.loglik - shift, percent.loglik, atol=1e-5)


def test_fit_when_a_window_is_pathological_then_it_ends_and_says_so():
    # Three quarters of the returns are zero: the Student-t density has a spike without a top.
    y = np.where(np.arange(400) % 4 == 0, draws(1, 400)[0], 0.0)[None, :]
    fits = garch.fit(y, Form(0, 1, 1, 1, 1))
    assert np.isfinite(fits.parameters).all()
    assert fits.steps[0] <= 4 * garch.MAX_STEPS
