"""Run one work block: the pure function that every executor calls."""

import hashlib
import sys
import warnings
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from threadpoolctl import ThreadpoolController

from pmx_ray.backtest.blocks import Scopes, WorkBlock
from pmx_ray.backtest.frame import build_frame
from pmx_ray.data.panel import Panel
from pmx_ray.folds import FoldPlan
from pmx_ray.forecasters.batch import (
    BatchedForecaster,
    ForecastBatch,
    RngAt,
    forecast_folds,
)
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
    prices, folds = panel.select(block.tickers), plan[block.first : block.stop]
    return frame_of(prices, folds, block.spec, scopes=block.scopes, seed=block.seed)


def frame_of(
    panel: Panel, plan: FoldPlan, spec: ForecasterSpec, *, scopes: Scopes, seed: int
) -> pa.Table:
    """Return the forecast frame of ``spec`` over a whole plan; see ``run_block``.

    Parameters
    ----------
    panel : Panel
        The tickers of ``scopes``.
    plan : FoldPlan
        Folds over the panel's sessions; the first makes a fit of its own.
    spec : ForecasterSpec
        What is fitted.
    scopes : tuple of tuple of str
        The tickers by what is fitted jointly.
    seed : int
        Root of every generator a fit may draw from.
    """
    folds, first = _shifted(plan)
    prices = panel.window(first, first + folds.last_read + 1)
    seen = int(max(folds.train_stop.max(), folds.cutoff.max() + 1))
    batch = forecast_scopes(prices.window(0, seen), folds, spec, scopes=scopes, seed=seed)
    return build_frame(spec.id, prices, folds, batch)


def forecast_scopes(
    prices: Panel, folds: FoldPlan, spec: ForecasterSpec, *, scopes: Scopes, seed: int
) -> ForecastBatch:
    """Return the forecasts of ``spec`` for every ticker of ``prices``, in the panel's order.

    A batched forecaster of scope ``ticker`` gets all tickers in one call; any other is called scope
    by scope. Numerical libraries are held to one thread, so that sums are taken in one order. Each
    fit draws from a generator seeded with (seed, spec, tickers of the scope, last train session,
    split) and nothing else; in a call for many scopes without the tickers, since where a block was
    cut must not matter.

    Parameters
    ----------
    prices : Panel
        The tickers of ``scopes``, up to the last session that a fold sees.
    folds : FoldPlan
        Folds over the panel's sessions.
    spec : ForecasterSpec
        What is fitted.
    scopes : tuple of tuple of str
        Tickers by what is fitted jointly.
    seed : int
        Root of every generator.
    """
    forecaster, fixed = spec.build(), f"{seed}|{spec.id}"
    with _threads(len(sys.modules)).limit(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # libraries warn of what the status column reports
        if forecaster.scope == "ticker" and isinstance(forecaster, BatchedForecaster):
            return forecast_folds(forecaster, prices, folds, _generators(fixed, (), prices, folds))
        batches = []
        for scope in scopes:
            part = prices if scope == prices.tickers else prices.select(scope)
            rng_at = _generators(fixed, part.tickers, part, folds)
            batches.append(forecast_folds(forecaster, part, folds, rng_at))
    row_of = {ticker: n for n, ticker in enumerate(t for scope in scopes for t in scope)}
    return ForecastBatch.beside(batches).taken([row_of[ticker] for ticker in prices.tickers])


@lru_cache(maxsize=1)
def _threads(n_modules: int) -> ThreadpoolController:  # noqa: ARG001 - the key of the cache
    """Return the thread pools of the loaded libraries; a search that takes as long as 50 fits.

    A library comes with a module, so it is done anew when their number has changed.
    """
    return ThreadpoolController()


def _generators(fixed: str, tickers: tuple[str, ...], prices: Panel, folds: FoldPlan) -> RngAt:
    """Return the function from a fold to the generator of the fit that serves it."""

    def rng_at(fold: int) -> np.random.Generator:
        last = prices.sessions[int(folds.train_stop[fold]) - 1]
        key = f"{fixed}|{tickers}|{last}|{folds.split[fold]}"
        digest = hashlib.sha256(key.encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:16], "little"))

    return rng_at


def failed_block(
    panel: Panel, plan: FoldPlan, block: WorkBlock, *, status: Status, reason: str
) -> pa.Table:
    """Return the frame of a block that was never computed: every cell with one status."""
    folds, first = _shifted(plan[block.first : block.stop])
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


def _shifted(folds: FoldPlan) -> tuple[FoldPlan, int]:
    """Return the folds counted from the first session they see, and that session."""
    first = folds.first_seen
    return folds.shifted(first), first
