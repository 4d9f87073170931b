"""Forecast frames with numbers written by hand, for the tests of evaluation and comparison."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pytest

from pmx_ray.backtest.frame import FRAME_SCHEMA, QUANTILE_COLUMNS, canonical
from pmx_ray.forecasters.protocol import normal_quantiles
from pmx_ray.forecasters.registry import ForecasterSpec

RANDOM_WALK = ForecasterSpec.parse({"name": "random_walk"})
DRIFT = ForecasterSpec.parse({"name": "drift"})
FIRST_CUTOFF = np.datetime64("2020-01-06")


def averaging(window: int) -> ForecasterSpec:
    """Return one of many specs with labels of their own."""
    return ForecasterSpec.parse({"name": "historical_mean", "window": window})


def hand_frame(
    spec: ForecasterSpec,
    mean: object,
    actual: object,
    *,
    variance: object = 4e-4,
    realized: object = None,
    steps: Sequence[int] = (1,),
    split: Sequence[int] | None = None,
    cutoff: Sequence[int] | None = None,
    failed: Mapping[tuple[int, int], tuple[str, str]] | None = None,
) -> pa.Table:
    """Return the frame of grids (F, N, H), with tickers A, B, ... and weekly cutoffs.

    ``realized`` is the squared outcome unless given; ``failed`` maps (fold, ticker) to a status
    and a reason.
    """
    actual = np.array(actual, float)
    mean, variance = (
        np.broadcast_to(np.asarray(grid, float), actual.shape).copy() for grid in (mean, variance)
    )
    realized = actual**2 if realized is None else np.broadcast_to(realized, actual.shape)
    status = np.full(actual.shape, "ok", dtype=object)
    reason = np.full(actual.shape, None, dtype=object)
    for position, (kind, words) in (failed or {}).items():
        mean[position] = variance[position] = np.nan
        status[position], reason[position] = kind, words
    f, n, h = (axis.ravel() for axis in np.indices(actual.shape))
    cutoffs = FIRST_CUTOFF + 7 * np.array(range(len(actual)) if cutoff is None else cutoff)
    splits = np.zeros(len(actual), int) if split is None else np.array(split)
    bands = normal_quantiles(mean.ravel(), variance.ravel())
    columns = {
        "spec": [spec.id] * actual.size,
        "split": splits[f],
        "ticker": [chr(ord("A") + i) for i in n],
        "cutoff": cutoffs[f],
        "step": np.array(steps)[h],
        "time": cutoffs[f] + np.array(steps)[h],
        "mean": mean.ravel(),
        "variance": variance.ravel(),
        **dict(zip(QUANTILE_COLUMNS, bands, strict=True)),
        "actual": actual.ravel(),
        "realized_variance": np.asarray(realized, float).ravel(),
        "status": status.ravel(),
        "reason": reason.ravel(),
        "refit": np.ones(actual.size, bool),
    }
    arrays = {
        field.name: pa.array(columns[field.name], field.type, from_pandas=True)
        for field in FRAME_SCHEMA
    }
    return canonical(pa.table(arrays, schema=FRAME_SCHEMA))


def assert_same_figures(found: Mapping[str, object], expected: Mapping[str, object]) -> None:
    """Compare two rows: figures to 1e-12, which leaves room for the order of a sum alone."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, float):
            assert found[name] == pytest.approx(value, rel=1e-12, abs=1e-15), name
        else:
            assert found[name] == value, name
