"""Order search and unit-root test against AICc by hand, a plain walk and pmdarima."""

import numpy as np
import pytest
from pmdarima.arima import ndiffs
from statsmodels.tsa.stattools import kpss

from pmx_ray.kernels.arma import Jobs, fit_arma
from pmx_ray.kernels.arma_search import aicc, search_orders
from pmx_ray.kernels.unit_root import kpss_differences, kpss_statistic

RNG = np.random.default_rng(11)


def autoregression(phi, n, seed):
    rng, values = np.random.default_rng(seed), [0.0, 0.0]
    for _ in range(n + 100):
        values.append(phi[0] * values[-1] + phi[1] * values[-2] + rng.standard_normal())
    return np.array(values[-n:])


WINDOWS = [autoregression(phi, 250, s) for s, phi in enumerate([(0, 0), (0.6, 0), (0.4, 0.4)] * 3)]


def table(window):
    """Return AICc of all 16 orders of one window."""
    p, q = (grid.ravel() for grid in np.mgrid[:4, :4])
    jobs = Jobs(np.zeros(16, int), p, q, np.zeros(16, bool))
    return aicc(fit_arma([window], jobs), jobs, np.full(16, len(window))).reshape(4, 4)


def test_aicc_when_by_hand_then_equal():
    jobs = Jobs(np.zeros(1, int), np.array([2]), np.array([0]), np.array([True]))
    fits = fit_arma([WINDOWS[2]], jobs)
    k, n = 4, 250  # two coefficients, mean and variance
    expected = 2 * k - 2 * fits.loglik[0] + 2 * k * (k + 1) / (n - k - 1)
    assert aicc(fits, jobs, np.array([n]))[0] == pytest.approx(expected, rel=1e-14)


def test_aicc_when_a_root_is_within_one_percent_then_refused():
    overdifferenced = np.diff(RNG.normal(size=300))
    jobs = Jobs(np.zeros(2, int), np.zeros(2, int), np.array([0, 1]), np.zeros(2, bool))
    criterion = aicc(fit_arma([overdifferenced], jobs), jobs, np.full(2, 299))
    assert np.isfinite(criterion).tolist() == [True, False]


def test_grid_when_searched_then_the_least_of_the_table():
    found = search_orders(WINDOWS, np.zeros(9, bool), max_p=3, max_q=3, search="grid")
    for row, window in enumerate(WINDOWS):
        criterion = table(window)
        assert criterion[found.p[row], found.q[row]] == criterion.min()


def walked(criterion):
    """Return where the walk of Hyndman and Khandakar ends on a table, one model at a time."""
    seen = set()
    best = None
    for order in [(2, 2), (0, 0), (1, 0), (0, 1)]:
        seen.add(order)
        if best is None or criterion[order] < criterion[best]:
            best = order
    moves = [(-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)]
    moved = True
    while moved:
        moved = False
        for dp, dq in moves:
            order = best[0] + dp, best[1] + dq
            if not (0 <= order[0] <= 3 and 0 <= order[1] <= 3) or order in seen:
                continue
            seen.add(order)
            if criterion[order] < criterion[best]:
                best, moved = order, True
                break
    return best


def test_stepwise_when_searched_then_the_end_of_the_walk():
    found = search_orders(WINDOWS, np.zeros(9, bool), max_p=3, max_q=3, search="stepwise")
    for row, window in enumerate(WINDOWS):
        assert (found.p[row], found.q[row]) == walked(table(window))


def test_search_when_windows_lie_beside_then_same_bits():
    together = search_orders(WINDOWS, np.ones(9, bool), max_p=3, max_q=3, search="stepwise")
    alone = search_orders(WINDOWS[4:5], np.ones(1, bool), max_p=3, max_q=3, search="stepwise")
    assert alone.fits.as_rows().tobytes() == together.fits.as_rows()[4:5].tobytes()


def test_search_when_limits_are_zero_then_no_lags():
    found = search_orders(WINDOWS[:2], np.zeros(2, bool), max_p=0, max_q=0, search="stepwise")
    assert found.p.tolist() == found.q.tolist() == [0, 0]


def test_search_when_nothing_varies_then_no_order():
    found = search_orders([np.zeros(100)], np.zeros(1, bool), max_p=1, max_q=1, search="grid")
    assert found.p.tolist() == [-1]


def test_kpss_when_short_then_by_hand():
    # Residuals -1, 0, 1; no lag at n = 3; partial sums -1, -1, 0: 2 / 9 over 2 / 3.
    assert kpss_statistic(np.array([1.0, 2.0, 3.0])) == pytest.approx(1 / 3, rel=1e-14)


@pytest.mark.filterwarnings("ignore::statsmodels.tools.sm_exceptions.InterpolationWarning")
@pytest.mark.parametrize(("n", "n_lags"), [(60, 3), (300, 5), (1000, 7)])
def test_kpss_when_statsmodels_computes_it_then_equal(n, n_lags):
    values = np.cumsum(np.random.default_rng(n).normal(size=n))
    theirs = kpss(values, regression="c", nlags=n_lags, result_object=False)[0]
    assert kpss_statistic(values) == pytest.approx(theirs, rel=1e-10)


def test_kpss_when_pmdarima_decides_then_as_many_differences():
    rng = np.random.default_rng(8)
    seen = set()
    for n_sums in (0, 1, 2, 1, 0, 1):
        for n in (60, 300, 1000):
            for share in (0.0, 0.01, 0.1):
                values = rng.normal(size=n)
                for _ in range(n_sums):
                    values = np.cumsum(values)
                values = values + share * np.cumsum(rng.normal(size=n))
                found = kpss_differences(values, most=2)
                assert found == ndiffs(values, test="kpss", max_d=2)
                seen.add(found)
    assert seen == {0, 1, 2}


def test_kpss_when_constant_then_no_difference():
    assert kpss_differences(np.full(50, 2.0), most=2) == 0
    assert kpss_differences(np.arange(50.0), most=2) == 1  # its differences are all equal
