"""The CUDA source of the GARCH kernels, compiled for cards and, as C++, run on the host.

What a card alone can show, that it launches there and how fast it is, is not tested here.
"""

import functools
import sys

import numpy as np
import nvrtc
import pytest
from cuda_host import COMPILER, Host
from skfolio.datasets import load_sp500_dataset

from pmx_ray.errors import EngineError
from pmx_ray.kernels import garch
from pmx_ray.kernels.cuda import garch as cuda
from pmx_ray.kernels.garch import Form
from pmx_ray.kernels.garch_derivatives import BANK_ROWS, LOGLIK, derivatives
from pmx_ray.kernels.garch_likelihood import ROWS
from pmx_ray.kernels.lanes import WIDTH

ONE_LAG = [Form(m, 1, o, 1, s) for m in (0, 1) for o in (0, 1) for s in (0, 1)]
MORE_LAGS = [Form(0, 2, 0, 1, 0), Form(1, 1, 1, 2, 0), Form(1, 2, 1, 2, 1)]
VALUES = {
    "mu": 0.03, "omega": 0.05, "alpha_1": 0.06, "alpha_2": 0.03, "delta": 0.12,
    "beta_1": 0.55, "beta_2": 0.2, "nu": 7.0,
}  # fmt: skip

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler (g++, clang++)")
every_form = pytest.mark.parametrize(
    "form", ONE_LAG + MORE_LAGS, ids=lambda f: "".join(map(str, f))
)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory):
    """Return a function from a model to its kernels, each compiled once."""
    return functools.cache(lambda form: Host(form, tmp_path_factory.mktemp("cuda")))


@pytest.fixture(scope="module")
def real() -> np.ndarray:
    """Thirty windows of 1000 percent returns of stocks, crises among them."""
    returns = 100.0 * np.diff(np.log(load_sp500_dataset().to_numpy()), axis=0).T
    stops = np.linspace(1000, returns.shape[1], 3).astype(int)
    return np.array([row[stop - 1000 : stop] for row in returns[::2] for stop in stops])


def batch(windows: np.ndarray, kernels: Host) -> cuda.Batch:
    return cuda.Batch(windows, xp=np, launch=kernels.launch)


@needs_compiler
@every_form
def test_derivatives_when_numba_takes_them_then_equal(form, host, real):
    x = np.array([VALUES[name] for name in form.names])
    gradient, hessian = np.zeros((ROWS + 1, WIDTH)), np.zeros((ROWS * ROWS, WIDTH))
    facts = np.repeat([[0.0], [1.0], [1.1]], WIDTH, axis=1)
    rows = np.zeros((ROWS, WIDTH))
    rows[: len(x)] = x[:, None]
    y = np.ascontiguousarray(real[:WIDTH, :501].T)
    derivatives(y, facts, form, rows, gradient, hessian, np.zeros((BANK_ROWS, WIDTH)))
    k = len(x)
    for lane in range(WIDTH):
        slope, curvature = np.zeros(k), np.zeros((k, k))
        column = np.ascontiguousarray(y[:, lane])
        value = host(form).differentiated(column, len(column), 1.1, x, slope, curvature)
        lower = np.tril(hessian[:, lane].reshape(ROWS, ROWS)[:k, :k])
        # Sums of 501 terms in the same order; only roundings inside a term differ.
        assert value == pytest.approx(gradient[LOGLIK, lane], rel=1e-12)
        np.testing.assert_allclose(slope, gradient[:k, lane], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(curvature, lower, rtol=1e-9, atol=1e-8)


@needs_compiler
@every_form
def test_fit_when_numba_fits_the_same_windows_then_same_maximum(form, host, real):
    ours = garch.estimate(batch(real, host(form)), form, real.shape[1])
    theirs = garch.fit(real, form)
    behind = np.abs(ours.loglik / theirs.loglik - 1.0)
    # A constant is in units of the window's variance, degrees of freedom of themselves.
    unit = np.ones_like(ours.parameters)
    unit[:, form.mean] = real.var(axis=1)
    if form.student:
        unit[:, -1] = theirs.parameters[:, -1]
    apart = (np.abs(ours.parameters - theirs.parameters) / unit).max(axis=1)
    same = (behind < 1e-9) & (apart < 1e-5) & (ours.converged == theirs.converged)
    # Both follow one path up to rounding. With two lags the path may fork at a rounding, for the
    # likelihood has ridges and maxima side by side.
    n_forks = 0 if form.p == form.q == 1 else 1
    assert same.sum() >= len(same) - n_forks
    assert behind.max() < 1e-6


@needs_compiler
@every_form
def test_forecast_when_numba_filters_the_same_windows_then_equal(form, host, real):
    parameters = np.tile([VALUES[name] for name in form.names], (len(real), 1))
    ahead = batch(real, host(form)).forecast(parameters, 20)
    wanted = garch.filter_variances(real, parameters, form, n_steps=20)
    np.testing.assert_allclose(ahead, wanted, rtol=1e-12)


@needs_compiler
@pytest.mark.parametrize("n", [60, 501])
def test_survey_when_numba_surveys_then_equal(n, host, real):
    # Fewer sessions than the backcast weighs; an odd number of them.
    for form in (Form(0, 1, 0, 1, 0), Form(1, 1, 1, 1, 1)):
        windows = np.ascontiguousarray(real[:9, :n])
        grid = garch._grid(form)[0]
        theirs = garch.Host(windows, form).survey(grid)
        for ours, wanted in zip(batch(windows, host(form)).survey(grid), theirs, strict=True):
            np.testing.assert_allclose(ours, wanted, rtol=1e-11, atol=1e-14)


@needs_compiler
def test_batch_when_made_then_the_caller_keeps_his_windows(host, real):
    for windows in (real[:1].copy(), real[:3].copy()):
        before = windows.copy()
        batch(windows, host(ONE_LAG[0]))
        np.testing.assert_array_equal(windows, before)


@needs_compiler
def test_fit_when_in_several_batches_then_as_in_one(monkeypatch, host, real):
    form = ONE_LAG[0]
    monkeypatch.setattr(cuda, "_device", lambda form: (np, host(form).launch))
    whole = cuda.fit(real, form)
    ahead = cuda.filter_variances(real, whole.parameters, form, n_steps=5)
    monkeypatch.setattr(cuda, "BYTES", 8 * real.shape[1] * 7)
    parts = cuda.fit(real, form)
    for name in ("parameters", "loglik", "converged", "steps"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))
    again = cuda.filter_variances(real, whole.parameters, form, n_steps=5)
    np.testing.assert_array_equal(again, ahead)


@pytest.mark.skipif(sys.platform != "linux", reason="NVRTC comes for Linux")
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("form", [ONE_LAG[0], ONE_LAG[-1], MORE_LAGS[-1]])
def test_source_when_compiled_for_a_card_then_every_kernel_is_in_it(form, architecture):
    binary = nvrtc.cubin(cuda.source(form), architecture, options=cuda.OPTIONS)
    assert binary.startswith(b"\x7fELF")
    for name in (b"prepare", b"survey", b"search", b"forecast"):
        assert b".text." + name in binary


def test_fit_when_there_is_no_card_then_an_error_of_the_machine(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(EngineError, match="garch: engine cuda is not installed; pip install"):
        cuda.fit(np.ones((1, 300)), ONE_LAG[0])
