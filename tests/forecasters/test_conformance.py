"""One suite for every forecaster: what ``forecasters.protocol`` promises, checked family by family.

A family that registers itself is in it without a line here.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from pmx_ray.data.calendar import calendar_sessions
from pmx_ray.data.panel import Panel
from pmx_ray.folds import FoldPlan, FoldSettings, build_folds
from pmx_ray.forecasters.batch import ForecastBatch, forecast_folds
from pmx_ray.forecasters.protocol import QUANTILE_LEVELS, Failure, Forecast, Forecaster, Status
from pmx_ray.forecasters.registry import ForecasterSpec, load_families

STEPS = (1, 5, 20)

VARIANTS = [
    {"name": "garch", "dist": "t"},
    {"name": "garch", "o": 1, "mean": "constant"},
    {"name": "garch", "engine": "reference"},
    {"name": "ewma_variance", "mean": "constant"},
    {"name": "sample_variance", "mean": "constant"},
    {"name": "sarimax", "engine": "reference"},
    {
        "name": "sarimax",
        "engine": "reference",
        "order": (1, 1, 1),
        "exog": ("monday", "abs_return_lagged"),
    },
    {"name": "sarimax", "order": (1, 0, 0)},
    {"name": "sarimax", "order": (2, 1, 1), "trend": "c"},
    {"name": "sarimax", "search": "grid", "d": 2},
]
BUILT_IN_NAMES = [
    name
    for name, family in load_families().items()
    if family.build.__module__.startswith("pmx_ray.")  # and not a plugin of other tests
]
SPECS = [
    ForecasterSpec.parse(written)
    for written in [{"name": name} for name in BUILT_IN_NAMES] + VARIANTS
]
every_spec = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.label)


def rng_at(_fold: int) -> np.random.Generator:
    # One for every fold: the number of a fold in its slice is no property of the fold, and the
    # runner's generators, which know the window of the fit, do not depend on it.
    return np.random.default_rng(7)


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def make_panel() -> Panel:
    """Return two tickers of 360 sessions whose volatility clusters."""
    source, returns = np.random.default_rng(5), []
    for _ in range(2):
        variance = 1.0
        for _ in range(360):
            returns.append(np.sqrt(variance) * source.standard_t(8) * np.sqrt(6 / 8))
            variance = 0.1 + 0.15 * returns[-1] ** 2 + 0.75 * variance
    close = 50.0 * np.exp(np.cumsum(np.array(returns).reshape(2, 360), axis=1) / 100.0)
    return Panel("XNYS", ("A", "B"), calendar_sessions("XNYS")[11000:11360], close)


PANEL = make_panel()
PLAN = build_folds(
    PANEL.sessions, FoldSettings(input_size=260, step_size=10, steps=STEPS, refit_every=3)
)
_WHOLE: dict[str, ForecastBatch] = {}


def scoped(forecaster: Forecaster, panel: Panel = PANEL) -> Panel:
    """Return as much of the panel as the forecaster fits jointly."""
    return panel.select(panel.tickers[:1]) if forecaster.scope == "ticker" else panel


def run(spec: ForecasterSpec, plan: FoldPlan = PLAN, panel: Panel = PANEL) -> ForecastBatch:
    forecaster = spec.build()
    return forecast_folds(forecaster, scoped(forecaster, panel), plan, rng_at)


def whole(spec: ForecasterSpec) -> ForecastBatch:
    """Return the batch of the whole plan, computed once a spec."""
    if spec.id not in _WHOLE:
        _WHOLE[spec.id] = run(spec)
    return _WHOLE[spec.id]


def bits(batch: ForecastBatch, folds: slice = slice(None)) -> list[bytes]:
    arrays = (batch.mean, batch.variance, batch.quantiles, batch.status)
    return [values[folds].tobytes() for values in arrays]


@every_spec
def test_forecast_when_history_is_good_then_a_distribution_a_ticker(spec):
    forecaster = spec.build()
    history = PLAN.context(scoped(forecaster), 0)
    outcomes = forecaster.fit(history, rng=rng()).forecast(STEPS)
    assert len(outcomes) == history.n_tickers
    for outcome in outcomes:
        assert isinstance(outcome, Forecast), outcome
        assert outcome.mean.shape == outcome.variance.shape == (3,)
        assert outcome.bands.shape == (len(QUANTILE_LEVELS), 3)
        # The returns have variance 1e-4: a slip between percent and decimal is a factor of 1e4.
        assert 1e-5 < outcome.variance[0] < 1e-3
        assert (outcome.bands[0] < outcome.bands[-1]).all()


@every_spec
def test_folds_when_plan_is_run_then_most_cells_hold_a_forecast(spec):
    # Otherwise the comparisons below would compare empty cells.
    assert (whole(spec).status == Status.OK).mean() > 0.6


@every_spec
@pytest.mark.parametrize("fold", [0, 4])  # one that refits, one that extends
def test_folds_when_the_future_is_noise_then_same_bits(spec, fold):
    """Proves that no forecast looks ahead of its cutoff."""  # proves E1
    cutoff = int(PLAN.cutoff[fold])
    close = PANEL.close.copy()
    close[:, cutoff + 1 :] = np.random.default_rng(1).uniform(
        1.0, 9.0, close[:, cutoff + 1 :].shape
    )
    noisy = Panel(PANEL.calendar, PANEL.tickers, PANEL.sessions, close)
    part = slice(fold, fold + 1)
    assert bits(run(spec, PLAN[part], noisy)) == bits(whole(spec), part)


@every_spec
@pytest.mark.parametrize("part", [slice(1, 5), slice(5, 9)], ids=["1-5", "5-9"])
def test_folds_when_a_plan_is_cut_then_same_bits(spec, part):
    assert bits(run(spec, PLAN[part])) == bits(whole(spec), part)


@every_spec
def test_extend_when_histories_lie_between_then_same_bits(spec):
    forecaster = spec.build()
    panel = scoped(forecaster)
    first, second, third = (PLAN.context(panel, fold) for fold in (0, 1, 2))
    fitted = forecaster.fit(first, rng=rng())
    short_way = fitted.extend(third).forecast(STEPS)
    long_way = fitted.extend(second).extend(first).extend(third).forecast(STEPS)
    for one, other in zip(short_way, long_way, strict=True):
        assert one.mean.tobytes() == other.mean.tobytes()
        assert one.bands.tobytes() == other.bands.tobytes()


@every_spec
def test_extend_when_history_is_that_of_the_fit_then_same_bits(spec):
    forecaster = spec.build()
    history = PLAN.context(scoped(forecaster), 0)
    fitted = forecaster.fit(history, rng=rng())
    fresh, extended = fitted.forecast(STEPS), fitted.extend(history).forecast(STEPS)
    for one, other in zip(fresh, extended, strict=True):
        assert one.bands.tobytes() == other.bands.tobytes()


def one_fold_sha256() -> str:
    """Return a hash of every spec's first fold, computed on one thread."""
    with threadpool_limits(1):
        parts = [part for spec in SPECS for part in bits(run(spec, PLAN[:1]))]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_folds_when_run_in_a_fresh_process_then_same_bits():
    script = "import runpy, sys; print(runpy.run_path(sys.argv[1])['one_fold_sha256']())"
    command = [sys.executable, "-W", "ignore", "-c", script, str(Path(__file__))]
    other = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert other.stdout.strip() == one_fold_sha256()


GOOD = PANEL.close[0, :260]


def with_nan(*stretches: slice) -> np.ndarray:
    close = GOOD.copy()
    for stretch in stretches:
        close[stretch] = np.nan
    return close


DEGENERATE: dict[str, tuple[np.ndarray, set[Status]]] = {
    "constant price": (np.full(260, 20.0), {Status.CONSTANT}),
    "constant growth": (20.0 * 1.001 ** np.arange(260), {Status.CONSTANT}),
    "two sessions": (GOOD[:2], {Status.TOO_SHORT}),
    "no price at all": (np.full(260, np.nan), {Status.TOO_SHORT, Status.NO_PRICE}),
    "no price at the cutoff": (with_nan(slice(259, 260)), {Status.NO_PRICE}),
    "delisted": (with_nan(slice(200, 260)), {Status.NO_PRICE, Status.TOO_SHORT}),
    "listed ten sessions ago": (with_nan(slice(0, 250)), {Status.TOO_SHORT}),
}


@every_spec
@pytest.mark.parametrize("case", DEGENERATE)
def test_fit_when_history_is_degenerate_then_status_says_so(spec, case, history_of):
    close, expected = DEGENERATE[case]
    (outcome,) = spec.build().fit(history_of(close), rng=rng()).forecast(STEPS)
    assert isinstance(outcome, Failure)
    assert outcome.status in expected
    assert outcome.reason


STALE = np.repeat(GOOD[::26], 26)
ODD: dict[str, np.ndarray] = {
    "sixty sessions": GOOD[:60],
    "interior gaps": with_nan(slice(40, 41), slice(100, 130), slice(255, 258)),
    "every other price": with_nan(slice(1, 259, 2)),
    "stale prices": STALE,
    "one jump": np.r_[GOOD[:200], 1000.0 * GOOD[200:]],
    "penny prices": 1e-9 * GOOD,
    "flat at last": np.r_[GOOD[:100], np.full(160, GOOD[99])],
}


@every_spec
@pytest.mark.parametrize("case", ODD)
def test_fit_when_history_is_odd_then_a_forecast_or_a_status(spec, case, history_of):
    # Called as it is, not through forecast_folds, which would turn an exception into a status.
    (outcome,) = spec.build().fit(history_of(ODD[case]), rng=rng()).forecast(STEPS)
    assert isinstance(outcome, Forecast) or outcome.status is not Status.ERROR


@every_spec
@pytest.mark.parametrize("case", ODD)
def test_extend_when_history_is_odd_then_a_forecast_or_a_status(spec, case, history_of):
    fitted = _fitted_once(spec, history_of)
    (outcome,) = fitted.extend(history_of(ODD[case])).forecast(STEPS)
    assert isinstance(outcome, Forecast) or outcome.status is not Status.ERROR


_FITTED: dict[str, object] = {}


def _fitted_once(spec, history_of):
    if spec.id not in _FITTED:
        _FITTED[spec.id] = spec.build().fit(history_of(GOOD), rng=rng())
    return _FITTED[spec.id]


@every_spec
def test_extend_when_cutoff_has_no_price_then_status_no_price(spec, history_of):
    history = history_of(with_nan(slice(259, 260)))
    (outcome,) = _fitted_once(spec, history_of).extend(history).forecast(STEPS)
    assert outcome.status is Status.NO_PRICE


@every_spec
def test_fit_when_train_window_ends_in_a_hole_then_extension_forecasts(spec, history_of):
    # So it does in combinatorial plans, whenever the last group is scored.
    history = history_of(PANEL.close[0, :340])
    fitted = spec.build().fit(history.without(280, 340), rng=rng())
    (outcome,) = fitted.extend(history).forecast(STEPS)
    if spec.name == "nested" and isinstance(outcome, Failure):
        # What it chose on five steps may explode within twenty; the hole has no part in it.
        assert outcome.status is Status.EXPLOSIVE
    else:
        assert isinstance(outcome, Forecast), outcome


@every_spec
def test_libraries_when_spec_is_recorded_then_each_has_a_version(spec):
    assert all(spec.libraries.values())
