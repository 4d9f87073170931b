"""A small sweep for tests on a real cluster: blocks to compute, and the hash of what came out."""

from pathlib import Path

import pyarrow as pa
from conftest import walk

from pmx_ray.backtest.blocks import BlockSize, WorkBlock, plan_blocks
from pmx_ray.backtest.executor import Settled
from pmx_ray.backtest.frame import FRAME_SCHEMA, FrameDigest, canonical
from pmx_ray.folds import FoldSettings, build_folds
from pmx_ray.forecasters.registry import ForecasterSpec, load_families
from pmx_ray.lake import open_store, read_block
from pmx_ray.remote.cluster import WorkerPool

PLUGINS = ("odd_forecasters",)
load_families(PLUGINS)
PANEL = walk("ABCDEF", 330)
PLAN = build_folds(
    PANEL.sessions, FoldSettings(input_size=90, step_size=10, steps=(1, 5), refit_every=4)
)
SPECS = tuple(ForecasterSpec.parse({"name": name}) for name in ("busy", "drift", "samossa"))
SMALL = BlockSize(folds=4, tickers=1)


def cut(*names: str, size: BlockSize = SMALL) -> tuple[WorkBlock, ...]:
    specs = tuple(ForecasterSpec.parse({"name": name}) for name in names) or SPECS
    return plan_blocks(PANEL, PLAN, specs=specs, seed=3, size=size, known=frozenset()).blocks


def pools(
    n_workers: int = 2, *, gpu: int = 0, labels: dict[str, str] | None = None
) -> list[WorkerPool]:
    return [WorkerPool("cpu", n_workers, 0.0, labels or {}), WorkerPool("gpu", gpu, 1.0, {})]


def digest(lake: Path, settled: list[Settled]) -> str:
    store, whole = open_store(str(lake)), FrameDigest()
    for spec in sorted({row.block.spec.id for row in settled}):
        parts = [
            read_block(store, row.receipt, FRAME_SCHEMA)
            for row in settled
            if row.block.spec.id == spec and row.receipt is not None
        ]
        whole.update(canonical(pa.concat_tables(parts)))
    return whole.hexdigest()
