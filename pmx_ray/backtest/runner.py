"""Run one work block: the pure function that every executor calls."""

import hashlib
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from threadpoolctl import threadpool_limits

from pmx_ray.backtest.blocks import WorkBlock
from pmx_ray.backtest.frame import build_frame, canonical
from pmx_ray.data.panel import Panel
from pmx_ray.folds import FoldPlan
from pmx_ray.forecasters.batch import ForecastBatch, forecast_folds
from pmx_ray.forecasters.protocol import QUANTILE_LEVELS, Status
from pmx_ray.forecasters.registry import ForecasterSpec


def run_block(panel: Panel, plan: FoldPlan, block: WorkBlock) -> pa.Table:
    """Return the forecast frame of ``block``; the same bits wherever and however often it runs.

    A forecaster gets the sessions up to the last one its folds may see; what is scored is added
    afterwards.

    Parameters
    ----------
    panel : Panel
        The sweep's prices.
    plan : FoldPlan
        The sweep's folds, over the panel's sessions.
    block : WorkBlock
        The part of the sweep to compute.

    Returns
    -------
    pyarrow.Table
        Rows of ``FRAME_SCHEMA``, canonically sorted; a failed fit is a row with a status.
    """
    folds, first = _own_folds(plan, block)
    seen = int(max(folds.train_stop.max(), folds.cutoff.max() + 1))
    parts = []
    for scope in block.scopes:
        prices = panel.select(scope).window(first, first + folds.last_read + 1)
        batch = forecast_scope(prices.window(0, seen), folds, block.spec, seed=block.seed)
        parts.append(build_frame(block.spec.id, prices, folds, batch))
    return canonical(pa.concat_tables(parts))


def forecast_scope(
    prices: Panel, folds: FoldPlan, spec: ForecasterSpec, *, seed: int
) -> ForecastBatch:
    """Return the forecasts of ``spec`` for the tickers of one scope.

    Numerical libraries are held to one thread, so that sums are taken in one order. Each fit draws
    from a generator seeded with (seed, spec, tickers, last train session, split) and nothing else.
    """

    def rng_at(fold: int) -> np.random.Generator:
        last = prices.sessions[int(folds.train_stop[fold]) - 1]
        key = f"{seed}|{spec.id}|{prices.tickers}|{last}|{folds.split[fold]}"
        digest = hashlib.sha256(key.encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:16], "little"))

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # libraries warn of what the status column reports
        return forecast_folds(spec.build(), prices, folds, rng_at)


def failed_block(
    panel: Panel, plan: FoldPlan, block: WorkBlock, *, status: Status, reason: str
) -> pa.Table:
    """Return the frame of a block that was never computed: every cell with one status."""
    folds, first = _own_folds(plan, block)
    prices = panel.select(block.tickers).window(first, first + folds.last_read + 1)
    shape = (len(folds), prices.n_tickers, len(folds.steps))
    missing = np.full(shape, np.nan)
    batch = ForecastBatch(
        mean=missing,
        variance=missing,
        quantiles=np.full((*shape[:2], len(QUANTILE_LEVELS), shape[2]), np.nan),
        status=np.full(shape[:2], status.value),
        reasons={(f, m): reason for f in range(shape[0]) for m in range(shape[1])},
    )
    return build_frame(block.spec.id, prices, folds, batch)


def n_failed(table: pa.Table) -> int:
    """Return how many rows of a frame have another status than ``ok``."""
    return int(pc.sum(pc.not_equal(table["status"], Status.OK.value)).as_py() or 0)


def _own_folds(plan: FoldPlan, block: WorkBlock) -> tuple[FoldPlan, int]:
    folds = plan[block.first : block.stop]
    first = folds.first_seen
    return folds.shifted(first), first
