"""The CUDA source of the ARMA kernels, compiled for cards and, as C++, run on the host.

What a card alone can show, that it launches there and how fast it is, is not tested here.
"""

import sys

import array_api_strict
import numpy as np
import nvrtc
import pytest
from cuda_arma_host import LOGARITHM_OFF, ArmaHost
from cuda_host import COMPILER
from skfolio.datasets import load_sp500_dataset
from statsmodels.tsa.arima_process import arma_acovf

from pmx_ray.errors import EngineError
from pmx_ray.kernels import arma
from pmx_ray.kernels import arma_likelihood as lik
from pmx_ray.kernels.arma import Jobs
from pmx_ray.kernels.arma_climb import climb
from pmx_ray.kernels.arma_host import Table
from pmx_ray.kernels.arma_likelihood import padded_length
from pmx_ray.kernels.arma_plain import loglikelihood
from pmx_ray.kernels.arma_start import RISING, WAVES
from pmx_ray.kernels.cuda import arma as cuda
from pmx_ray.kernels.lanes import WIDTH

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler (g++, clang++)")

POINTS = {
    "plain": [0.5, -0.2, 0.1, 0.3, 0.2, -0.1],
    "white": [0.0] * 6,
    "near the circle": [1.9, -0.98, 0.05, -1.9, 0.93, 0.0],  # of both polynomials
}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory):
    """Return the kernels, compiled once."""
    return ArmaHost(tmp_path_factory.mktemp("cuda"))


@pytest.fixture
def as_card(monkeypatch, host):
    """Put the host in the place of the card."""
    monkeypatch.setattr(cuda, "_device", lambda: (np, host.launch))


@pytest.fixture(scope="module")
def real() -> list[np.ndarray]:
    """Twenty-four windows of 120 to 1000 percent returns of stocks, crises among them."""
    returns = 100.0 * np.diff(np.log(load_sp500_dataset().to_numpy()), axis=0).T
    stops = np.linspace(1000, returns.shape[1], 24).astype(int)
    lengths = np.where(np.arange(24) % 2 == 0, 1000, np.linspace(120, 995, 24).astype(int))
    rows = zip(np.arange(24) % len(returns), stops, lengths, strict=True)
    return [returns[row, stop - length : stop].copy() for row, stop, length in rows]


def every_order(n_windows: int, *, step: int = 1) -> Jobs:
    """Return each order for each window, every third of them with a mean."""
    window = np.repeat(np.arange(n_windows), 16)
    p, q = (
        np.tile(np.repeat(np.arange(4), 4), n_windows),
        np.tile(np.arange(4), 16 // 4 * n_windows),
    )
    return Jobs(window, p, q, np.arange(len(window)) % 3 == 0).of(np.arange(0, len(window), step))


@needs_compiler
@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("point", POINTS.values(), ids=POINTS)
def test_derivatives_when_numba_takes_them_then_equal(point, constant, host, real):
    x = np.array(point)
    windows = [real[lane][: 6 if lane == 3 else 100 + lane] for lane in range(WIDTH)]
    table = np.zeros((WIDTH, padded_length(110)))
    given = np.ones((1, lik.N_GIVEN, WIDTH))
    given[0, 1], given[0, 8:] = float(constant), x[:, None]
    for lane, window in enumerate(windows):
        table[lane, : len(window)], given[0, 0, lane] = window, len(window)
    z, out = np.zeros((lik.ROWS, WIDTH)), np.empty((1, 11, WIDTH))
    scratch = [np.empty((table.shape[1], *rest)) for rest in ((2, 8), (8,), (8,))]
    e = np.zeros((1, table.shape[1], WIDTH))
    climb(
        table, np.arange(WIDTH), np.zeros(WIDTH), given, 0, False, z, scratch[0], e, *scratch[1:],
        out,
    )  # fmt: skip
    for lane, window in enumerate(windows):
        ours = np.zeros(81)
        host.launch("differentiated", 1, window, len(window), int(constant), x, ours)
        # The same terms in the same order; only the logarithm is each platform's own.
        np.testing.assert_allclose(ours[:3], out[0, 6:9, lane], rtol=1e-14)
        slopes = z[lik.SLOPE : lik.SLOPE + 6, lane]
        np.testing.assert_allclose(ours[3:9], slopes, rtol=1e-12)
        for at, row in ((9, lik.NEWTON), (45, lik.GAUSS)):
            lower = np.tril(z[row : row + 36, lane].reshape(6, 6))
            np.testing.assert_allclose(ours[at : at + 36].reshape(6, 6), lower, rtol=1e-12)


def apart(ours: arma.ArmaFits, theirs: arma.ArmaFits) -> tuple[float, float]:
    """Return the largest distance of log-likelihoods, relative, and of coefficients."""
    coefficients = np.hstack([ours.ar - theirs.ar, ours.ma - theirs.ma])
    behind = np.abs(ours.loglik / theirs.loglik - 1.0)
    return float(behind.max()), float(np.abs(coefficients).max())


@needs_compiler
def test_fit_when_numba_fits_the_same_windows_then_same_estimates(as_card, real):
    jobs = every_order(len(real))
    ours, theirs = cuda.fit_arma(real, jobs), arma.fit_arma(real, jobs)
    # Both take the same steps but where a logarithm decides between two points that are alike.
    behind, coefficients = apart(ours, theirs)
    assert behind < 1e-9
    assert coefficients < 1e-5
    np.testing.assert_array_equal(ours.converged, theirs.converged)
    assert np.mean(ours.n_steps == theirs.n_steps) > 0.95
    np.testing.assert_allclose(ours.mean, theirs.mean, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(ours.variance, theirs.variance, rtol=1e-8)


@needs_compiler
def test_fit_when_the_logarithm_is_its_neighbour_then_within_the_tolerance(
    monkeypatch, tmp_path, real
):
    # What a card does otherwise: where it ends apart, the likelihood is flat.
    off = ArmaHost(tmp_path, before=LOGARITHM_OFF)
    monkeypatch.setattr(cuda, "_device", lambda: (np, off.launch))
    jobs = every_order(len(real))
    ours, theirs = cuda.fit_arma(real, jobs), arma.fit_arma(real, jobs)
    assert (ours.loglik != theirs.loglik).any()
    behind, coefficients = apart(ours, theirs)
    assert behind < 1e-9
    assert coefficients < 1e-5


@needs_compiler
def test_fit_when_ended_then_the_twin_agrees_on_its_likelihood(as_card, real):
    jobs = every_order(6, step=5)
    fits = cuda.fit_arma(real, jobs)
    for row, window in enumerate(jobs.window):
        twin = loglikelihood(real[window], fits.ar[row], fits.ma[row], fits.mean[row])
        assert fits.loglik[row] == pytest.approx(twin, rel=1e-9)


@needs_compiler
@pytest.mark.parametrize("window", [np.zeros(50), np.full(50, 3.0)], ids=["zeros", "equal"])
def test_fit_when_window_is_constant_then_not_finite(window, as_card, real):
    ones = np.ones(2, np.int64)
    fits = cuda.fit_arma([window, real[0]], Jobs(np.arange(2), ones, ones, ones == 1))
    assert np.isnan(fits.loglik[0])
    assert np.isfinite(fits.loglik[1])


@needs_compiler
def test_fit_when_in_several_batches_then_same_bits(monkeypatch, as_card, real):
    jobs = every_order(len(real), step=7)
    shuffled = jobs.of(np.random.default_rng(0).permutation(len(jobs)))
    whole = cuda.fit_arma(real, shuffled).as_rows()
    ar, ma = np.full((len(real), 3), 0.1), np.full((len(real), 3), 0.2)
    last = cuda.last_residuals(real, ar, ma, np.ones(len(real)))
    monkeypatch.setattr(cuda, "BYTES", 8 * 1000 * 5)
    assert len(cuda._parts(real)) == 5
    np.testing.assert_array_equal(cuda.fit_arma(real, shuffled).as_rows(), whole)
    np.testing.assert_array_equal(cuda.last_residuals(real, ar, ma, np.ones(len(real))), last)


@needs_compiler
@pytest.mark.parametrize("point", POINTS.values(), ids=POINTS)
def test_filter_when_numba_filters_the_same_windows_then_equal(point, as_card, real):
    ar, ma = np.tile(point[:3], (len(real), 1)), np.tile(point[3:], (len(real), 1))
    mean = np.linspace(-1.0, 1.0, len(real))
    ours = cuda.last_residuals(real, ar, ma, mean)
    np.testing.assert_allclose(ours, arma.last_residuals(real, ar, ma, mean), rtol=1e-12)


@needs_compiler
def test_filter_when_window_is_whole_then_conditional_expectations(as_card):
    # Given the window, e is normal with y: E[e | y] = Cov(e, y) Cov(y)^-1 y.
    phi, theta = 0.7, 0.5
    window = np.random.default_rng(3).normal(size=9)
    gamma = arma_acovf([1, -phi], [1, theta], nobs=9)
    psi = np.r_[1.0, (phi + theta) * phi ** np.arange(8)]
    lag = np.subtract.outer(np.arange(9), np.arange(9))  # of y(t) behind e(s), by (t, s)
    covariance = np.where(lag >= 0, psi[np.abs(lag)], 0.0)
    expected = covariance.T @ np.linalg.solve(gamma[np.abs(lag)], window)
    pad = np.zeros(2)
    found = cuda.last_residuals([window], np.r_[phi, pad][None], np.r_[theta, pad][None], pad[:1])
    np.testing.assert_allclose(found[0], expected[-3:], rtol=1e-10)


@needs_compiler
@pytest.mark.parametrize("namespace", [np, array_api_strict], ids=["numpy", "array-api-strict"])
def test_starts_when_numba_reads_them_then_equal(namespace, host, real):
    def launch(name, n_threads, *arguments):
        host.launch(name, n_threads, *map(_of_numpy, arguments))

    jobs = every_order(8, step=3)
    table = Table.of(real[:8], jobs.centred(8))
    card, processor = cuda.Batch(table, xp=namespace, launch=launch), arma.Host(table)
    np.testing.assert_allclose(
        card.autocovariances(jobs), processor.autocovariances(jobs), rtol=1e-12
    )
    base = 0.2 * jobs.free()
    for n_roots, factors in ((1, (RISING, -RISING)), (2, (WAVES,))):
        ours, theirs = (
            engine.scan(jobs, base, factors=factors, n_roots=n_roots)
            for engine in (card, processor)
        )
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def _of_numpy(argument: object) -> object:
    return argument if isinstance(argument, int | float) else np.from_dlpack(argument)


@pytest.mark.skipif(sys.platform != "linux", reason="NVRTC comes for Linux")
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_source_when_compiled_for_a_card_then_every_kernel_is_in_it(architecture):
    binary = nvrtc.cubin(cuda.source(), architecture, options=cuda.OPTIONS)
    assert binary.startswith(b"\x7fELF")
    for name in (b"columns", b"autocovariances", b"scan", b"climb", b"last_residuals"):
        assert b".text." + name in binary


def test_fit_when_there_is_no_card_then_an_error_of_the_machine(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    ones = np.ones(1, np.int64)
    with pytest.raises(EngineError, match="sarimax: engine cuda is not installed; pip install"):
        cuda.fit_arma([np.ones(300)], Jobs(ones - 1, ones, ones, ones == 1))
