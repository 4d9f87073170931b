"""What a family's card engine forecasts, beside what its processor engine does."""

from collections.abc import Mapping

import numpy as np

from pmx_ray.data.panel import Panel
from pmx_ray.folds import FoldSettings, build_folds
from pmx_ray.forecasters.batch import ForecastBatch, forecast_folds
from pmx_ray.forecasters.protocol import Status
from pmx_ray.forecasters.registry import ForecasterSpec


def rng_at(_fold: int) -> np.random.Generator:
    return np.random.default_rng(0)


def rows(written: Mapping[str, object], panel: Panel, folds: FoldSettings) -> ForecastBatch:
    """Return the forecasts of a spec on every fold of a panel."""
    forecaster = ForecasterSpec.parse(written).build()
    return forecast_folds(forecaster, panel, build_folds(panel.sessions, folds), rng_at)


def assert_same_rows(
    written: Mapping[str, object],
    panel: Panel,
    folds: FoldSettings,
    *,
    holding: set[Status],
    atol: float = 0.0,
) -> None:
    """Hold ``engine: cuda`` to the rows of ``fast``, among which each status of ``holding`` is.

    Coefficients agree to 1e-5 of their unit at worst, and a forecast to about as much.
    """
    ours, theirs = (
        rows({**written, "engine": engine}, panel, folds) for engine in ("cuda", "fast")
    )
    assert holding <= {Status(code) for code in np.unique(theirs.status)}
    np.testing.assert_array_equal(ours.status, theirs.status)
    for name in ("mean", "variance", "quantiles"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-5, atol=atol)
