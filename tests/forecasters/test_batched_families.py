"""Families that serve all folds at once: the same batch as fit, extend and forecast, fold by fold.

The conformance suite compares slices and single calls; here a panel holds every kind of bad ticker,
and the plans refit, extend, grow and have holes.
"""

import numpy as np
import pytest

from pmx_ray.data.calendar import calendar_sessions
from pmx_ray.data.panel import Panel
from pmx_ray.folds import FoldPlan, FoldSettings, build_folds
from pmx_ray.forecasters.batch import BatchedForecaster, ForecastBatch, forecast_folds
from pmx_ray.forecasters.protocol import Forecaster
from pmx_ray.forecasters.registry import ForecasterSpec


class Walked:
    """A forecaster without its ``forecast_folds``, so that the folds are walked."""

    def __init__(self, inner: Forecaster) -> None:
        self.scope, self.fit = inner.scope, inner.fit


def rng_at(fold: int) -> np.random.Generator:
    return np.random.default_rng(fold)


def poisoned_panel() -> Panel:
    """Return eight tickers of 400 sessions, of which six are bad in one way each."""
    returns = np.random.default_rng(3).normal(0.0, 0.02, (8, 400))
    close = 30.0 * np.exp(returns.cumsum(axis=1))
    close[1] = 20.0
    close[2, 150:] = close[2, 150]
    close[3, :260] = np.nan
    close[4, 300:] = np.nan
    close[5, [90, 91, 200, 259, 331, 332]] = np.nan
    close[6, ::2] = np.nan
    sessions = calendar_sessions("XNYS")[9000:9400]
    return Panel("XNYS", tuple("ABCDEFGH"), sessions, close, gap=np.isnan(close))


PANEL = poisoned_panel()

PLANS = {
    "rolling": FoldSettings(input_size=120, step_size=7, steps=(1, 5)),
    "refit every third": FoldSettings(input_size=120, step_size=7, steps=(1, 5), refit_every=3),
    "expanding": FoldSettings(kind="expanding", input_size=120, step_size=11, steps=(1, 5)),
    "purged": FoldSettings(input_size=120, step_size=7, steps=(1, 20), purge=20),
    "combinatorial": FoldSettings(
        kind="combinatorial", input_size=70, step_size=9, steps=(1, 5), n_groups=4
    ),
}

SPECS = [
    ForecasterSpec.parse(written)
    for written in [
        {"name": "random_walk"},
        {"name": "drift"},
        {"name": "historical_mean", "window": 60},
        {"name": "sample_variance", "window": 60},
        {"name": "sample_variance", "window": 60, "mean": "constant"},
        {"name": "ewma_variance"},
        {"name": "ewma_variance", "mean": "constant", "decay": 0.8},
        {"name": "samossa", "scope": "panel"},
        {"name": "samossa", "scope": "panel", "rank": "donoho", "calibrate": False},
        {"name": "samossa", "scope": "panel", "rank": 5, "ar_order": 3, "difference": False},
        {"name": "samossa", "scope": "ticker"},
        {"name": "samossa", "scope": "panel", "rank": "whitened", "shape_ratio": 3},
    ]
]


def assert_same(one: ForecastBatch, other: ForecastBatch) -> None:
    assert np.array_equal(one.status, other.status)
    assert dict(one.reasons) == dict(other.reasons)
    for name in ("mean", "variance", "quantiles"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()


def plan_of(name: str) -> FoldPlan:
    return build_folds(PANEL.sessions, PLANS[name])


def panels_of(forecaster: Forecaster) -> list[Panel]:
    """Return the panel, or each ticker's, as the runner hands them over."""
    if forecaster.scope == "ticker":
        return [PANEL.select([ticker]) for ticker in PANEL.tickers]
    return [PANEL]


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.label)
def test_folds_when_served_at_once_then_as_walked(spec, name):
    forecaster, plan = spec.build(), plan_of(name)
    assert isinstance(forecaster, BatchedForecaster)
    statuses = set()
    for panel in panels_of(forecaster):
        at_once = forecast_folds(forecaster, panel, plan, rng_at)
        assert_same(at_once, forecast_folds(Walked(forecaster), panel, plan, rng_at))
        statuses |= set(at_once.status.ravel().tolist())
    assert {"ok", "no_price", "too_short", "constant"} <= statuses
    assert "error" not in statuses


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.label)
def test_folds_when_the_plan_is_cut_then_the_same_bits(spec):
    forecaster, plan = spec.build(), plan_of("refit every third")
    panel = panels_of(forecaster)[0]
    whole = forecast_folds(forecaster, panel, plan, rng_at)
    for part in (slice(0, 1), slice(4, 17), slice(20, len(plan))):
        cut = forecast_folds(forecaster, panel, plan[part], rng_at)
        assert cut.mean.tobytes() == whole.mean[part].tobytes()
        assert cut.variance.tobytes() == whole.variance[part].tobytes()


@pytest.mark.parametrize(
    "spec", [spec for spec in SPECS if spec.name != "samossa"], ids=lambda spec: spec.label
)
def test_folds_when_tickers_are_handed_over_together_then_each_as_on_its_own(spec):
    forecaster, plan = spec.build(), plan_of("rolling")
    together = forecast_folds(forecaster, PANEL, plan, rng_at)
    for n, ticker in enumerate(PANEL.tickers):
        alone = forecast_folds(forecaster, PANEL.select([ticker]), plan, rng_at)
        assert np.array_equal(alone.status[:, 0], together.status[:, n])
        assert alone.quantiles[:, 0].tobytes() == together.quantiles[:, n].tobytes()
        reasons = {(fold, 0): why for (fold, m), why in together.reasons.items() if m == n}
        assert dict(alone.reasons) == reasons


def test_folds_when_contexts_are_shorter_than_the_recurrence_then_too_short_as_walked():
    forecaster = ForecasterSpec.parse({"name": "samossa"}).build()
    short = PLANS["combinatorial"].model_copy(update={"input_size": 30})
    plan = build_folds(PANEL.sessions, short)
    at_once = forecast_folds(forecaster, PANEL, plan, rng_at)
    assert_same(at_once, forecast_folds(Walked(forecaster), PANEL, plan, rng_at))
    assert "ok" not in set(at_once.status.ravel().tolist())
