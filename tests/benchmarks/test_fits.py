"""What the benchmark of fits judges by: constraints, the judge of likelihoods, intervals, twins."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from statsmodels.tsa.statespace.sarimax import SARIMAX

from benchmarks.fits.arima import judge, ratio_interval
from benchmarks.fits.garch import SAME, allowed, behind_best
from benchmarks.fits.order_search import fit_order, held, searched
from benchmarks.fits.peer_environment import LOCK
from benchmarks.fits.samossa import CASES, apart, forecast, plain_folds
from benchmarks.fits.section import ABSENT, Side, Size, ratios, speed_row
from benchmarks.fits.windows import STEPS, demo_folds, evenly, return_windows
from benchmarks.measuring import Sample


@pytest.mark.parametrize(
    ("changed", "fine"),
    [
        ({}, True),
        ({"alpha[1]": -1e-9}, True),  # within rounding of zero
        ({"alpha[1]": -1e-7}, False),
        ({"beta[1]": -1e-7}, False),
        ({"gamma[1]": -0.05}, True),  # bad news still weighs 0.05 - 0.05 = 0
        ({"gamma[1]": -0.06}, False),
        ({"beta[1]": 0.945}, True),  # 0.05 + 0.01 / 2 + 0.945 = 1
        ({"beta[1]": 0.95, "gamma[1]": 0.02}, False),  # 0.05 + 0.02 / 2 + 0.95
    ],
)
def test_allowed_when_near_a_constraint_then_as_by_hand(changed, fine):
    parameters = {"mu": 0.0, "omega": 0.1, "alpha[1]": 0.05, "beta[1]": 0.9, "gamma[1]": 0.01}
    assert allowed({**parameters, **changed}) is fine


def test_behind_when_peer_breaks_its_constraints_then_it_is_not_the_best():
    ours, theirs = np.array([-100.0, -100.0, -100.0]), np.array([-99.0, -99.0, np.nan])
    found = behind_best(ours, theirs, np.array([True, False, False]))
    np.testing.assert_allclose(found, [1.0 / 99.0, 0.0, 0.0])
    assert (found > SAME).tolist() == [True, False, False]


def test_judge_when_autoregression_then_the_density_of_the_normal_vector():
    phi, changes = 0.4, np.random.default_rng(2).normal(size=60)
    levels = np.concatenate([[0.0], np.cumsum(changes)]) / 100.0
    lags = np.abs(np.subtract.outer(np.arange(60), np.arange(60)))
    shape = phi**lags / (1.0 - phi**2)
    size = changes @ np.linalg.solve(shape, changes) / 60  # the variance that fits best
    density = stats.multivariate_normal(np.zeros(60), size * shape).logpdf(changes)
    assert judge(levels, np.array([phi]), np.zeros(0)) == pytest.approx(density, rel=1e-9)


def test_judge_when_not_stationary_then_never_the_best():
    assert judge(np.arange(30.0) ** 2, np.array([1.01]), np.zeros(0)) == -math.inf


def test_interval_when_errors_double_then_ratio_two():
    errors = np.random.default_rng(0).normal(size=(4, 10))
    low, high = ratio_interval(2.0 * errors, errors, np.random.default_rng(1))
    assert (low, high) == (pytest.approx(2.0), pytest.approx(2.0))


def test_interval_when_one_cutoff_decides_then_wide():
    ours = np.ones((4, 10))
    ours[:, 3] = 10.0  # sqrt((9 + 100) / 10) = 3.3 with it, 1 without
    low, high = ratio_interval(ours, np.ones((4, 10)), np.random.default_rng(1))
    assert low == pytest.approx(1.0)
    assert high > 3.3


def test_ratios_when_turns_differ_then_turn_by_turn():
    theirs, ours = Side(Sample((10.0, 30.0)), 5), Side(Sample((1.0, 2.0)), 100)
    assert ratios(theirs, ours).seconds == pytest.approx((200.0, 300.0))
    assert speed_row("m", "p", theirs, ours)["ratio"] == pytest.approx(250.0)


def test_row_when_peer_is_absent_then_said_and_no_promise_is_kept():
    row = speed_row("m", "p", Side(Sample((math.nan,)), 5), Side(Sample((1.0,)), 5))
    assert row["peer ms"] == ABSENT
    assert math.isnan(row["ratio"])


def levels_of(n_tickers: int, n_folds: int) -> np.ndarray:
    """Return levels whose changes are ARMA(1, 1)."""
    noise = np.random.default_rng(5).normal(size=(n_tickers, n_folds, 300))
    changes = noise.copy()
    for t in range(1, 300):
        changes[..., t] += 0.6 * changes[..., t - 1] + 0.5 * noise[..., t - 1]
    return 4.0 + 0.01 * np.cumsum(changes, axis=2)


def test_changes_when_order_given_then_those_of_statsmodels():
    levels = levels_of(1, 1)
    chosen = held(levels, "grid", 1)
    p, q = (int(n) for n in chosen.order[0, 0])
    assert min(p, q) > 0
    fits = fit_order(levels[0], p, q)
    model = SARIMAX(100.0 * np.diff(levels[0, 0]), order=(p, 0, q))
    model.ssm.initialize_stationary()
    result = model.filter(np.concatenate([fits.ar[0, :p], fits.ma[0, :q], [1.0]]))
    ahead = np.cumsum(result.forecast(STEPS[-1]))[np.array(STEPS) - 1] / 100.0
    np.testing.assert_allclose(chosen.change[0, 0], ahead, rtol=1e-6)


def test_orders_when_held_then_those_of_the_fold_searched():
    levels = levels_of(2, 5)
    every, kept = searched(levels, "stepwise").order, held(levels, "stepwise", 3).order
    assert np.array_equal(kept, every[:, [0, 0, 0, 3, 3]])
    assert len(np.unique(every.reshape(-1, 2), axis=0)) > 1


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_samossa_when_plain_loop_then_the_same_and_a_changed_one_is_seen(case):
    panel, plan = demo_folds(2)
    mean, variance = plain_folds(case, np.log(panel.close), plan)
    ours = forecast(case, panel, plan)
    assert apart(ours, mean, variance, with_variance=not case.calibrate) < 1e-8
    assert apart(ours, mean + 1e-6, variance, with_variance=False) > 1e-8
    if not case.calibrate:
        assert apart(ours, mean, 1.001 * variance, with_variance=True) > 1e-4


def test_windows_when_spread_then_every_year_and_no_peg():
    windows = return_windows(500, 200)
    assert windows.values.shape == (200, 500)
    assert np.isfinite(windows.values).all()
    assert (np.mean(windows.values == 0.0, axis=1) <= 0.5).all()
    assert {"AAPL", "EURUSD"} <= set(windows.tickers)
    assert "EUREEK" not in windows.tickers
    assert {"1992", "2001", "2008", "2020", "2026"} <= {cutoff[:4] for cutoff in windows.cutoffs}


def test_evenly_when_more_wanted_than_there_are_then_all():
    assert evenly(3, 10) == [0, 1, 2]
    assert evenly(101, 3) == [0, 50, 100]


def test_size_when_quick_then_the_smaller():
    assert (Size(True).pick(1, 2), Size(False).pick(1, 2)) == (1, 2)


def test_lock_when_read_then_pinned_by_hash_and_no_address():
    text = Path(LOCK).read_text(encoding="utf-8")
    assert re.search(r"^statsforecast==", text, re.MULTILINE)
    assert text.count("==") <= text.count("--hash=sha256:")
    assert "://" not in text
