"""SAMoSSA folds: fitted and forecast, on a core and on a card."""

from functools import cache, partial

import numpy as np

from benchmarks.fits.windows import STEPS, panel
from benchmarks.gpu.limits import Card
from benchmarks.gpu.sides import LENGTH, Measured, apart, on_one_core, row_of, walls
from pmx_ray.folds import FoldPlan, FoldSettings, build_folds
from pmx_ray.forecasters.batch import ForecastBatch, forecast_folds
from pmx_ray.forecasters.registry import ForecasterSpec

SAME_MOMENTS = 1e-8
"""Relative distance of variances of card and processor that is promised."""


def measure(n_folds: int, *, n_sample: int, found: Card | None) -> Measured:
    """Measure one core on a sample, and the card on ``n_folds`` where there is one."""
    plan = _folds()
    sample = plan[:n_sample]
    ours = on_one_core(
        partial(forecast_all, "numpy", sample, len(sample)),
        first=partial(forecast_all, "numpy", plan[:2], 2),
    )
    row = partial(
        row_of, "rank 1, calibrated (the default)", ours, unit="fold", n_sample=len(sample),
        n=n_folds,
    )  # fmt: skip
    if found is None:
        return Measured(row(None))
    theirs = walls(partial(forecast_all, "cupy", plan, n_folds))
    card, host = (
        forecast_all(engine, sample, len(sample)).variance for engine in ("cupy", "numpy")
    )
    both = ~(np.isnan(card) | np.isnan(host))
    promise = apart("SAMoSSA: variances", card[both], host[both], limit=SAME_MOMENTS)
    return Measured(row(theirs), (promise,))


@cache
def _folds() -> FoldPlan:
    """Return a fold a session of the bundled shares, each refitted."""
    settings = FoldSettings.model_validate(
        {"input_size": LENGTH, "step_size": 1, "steps": list(STEPS)}
    )
    return build_folds(panel("us_equities").sessions, settings)


def forecast_all(engine: str, plan: FoldPlan, n_folds: int) -> ForecastBatch:
    """Forecast ``n_folds`` folds, going round the plan as often as it takes; return the last."""
    forecaster = ForecasterSpec.parse({"name": "samossa", "engine": engine}).build()
    prices, left = panel("us_equities"), n_folds
    while True:
        part = plan[: min(left, len(plan))]
        batch = forecast_folds(forecaster, prices, part, lambda _: np.random.default_rng(0))
        left -= len(part)
        if left <= 0:
            return batch
