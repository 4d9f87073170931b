"""Carry blocks out: the one way a block reaches the lake, and the executor without a cluster."""

import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import structlog

from pmx_ray import tracing
from pmx_ray.backtest.attempts import attempted
from pmx_ray.backtest.blocks import WorkBlock
from pmx_ray.backtest.runner import n_failed, run_block
from pmx_ray.data.panel import Panel
from pmx_ray.folds import FoldPlan
from pmx_ray.kernels.compiling import seconds_compiling
from pmx_ray.lake import BlockStore, Receipt, write_block

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Settled:
    """A block that is over: its receipt, or why it was quarantined."""

    block: WorkBlock
    receipt: Receipt | None
    reason: str | None = None


def compute_block(
    panel: Panel,
    plan: FoldPlan,
    block: WorkBlock,
    *,
    store: BlockStore,
    node: str,
    attempt: int = 1,
) -> Receipt:
    """Run ``block``, write it to the lake and return its receipt; repeating it changes nothing."""
    about: tracing.Attributes = {
        "pmx.block": block.id[:16],
        "pmx.forecaster": block.spec.name,  # and not its parameters: one may be a path
        "pmx.spec_id": block.spec.id[:12],
        "pmx.attempt": attempt,
    }
    with tracing.span("block", about):
        receipt = _computed(panel, plan, block, store=store, node=node, attempt=attempt)
        tracing.note({"pmx.rows": receipt.rows, "pmx.failed": receipt.failed})
    return receipt


def _computed(
    panel: Panel, plan: FoldPlan, block: WorkBlock, *, store: BlockStore, node: str, attempt: int
) -> Receipt:
    with attempted(store, block, node=node, attempt=attempt):
        started, compiled = time.perf_counter(), seconds_compiling()
        table = run_block(panel, plan, block)
        compiling_s = seconds_compiling() - compiled
        seconds = round(max(time.perf_counter() - started - compiling_s, 0.0), 4)
    failed = n_failed(table)
    receipt = write_block(
        store, block.id, table, failed=failed, seconds=seconds, node=node, attempt=attempt
    )
    _log.info(
        "block_done",
        block=block.id[:16],
        spec=block.spec.label,
        rows=table.num_rows,
        failed=failed,
        seconds=seconds,
        compiling_s=round(compiling_s, 4),
        attempt=attempt,
    )
    return receipt


def run_in_process(
    panel: Panel, plan: FoldPlan, blocks: Sequence[WorkBlock], *, store: BlockStore
) -> Iterator[Settled]:
    """Compute ``blocks`` one after the other in this process.

    A block that the machine could not compute (no memory, no file handle) is quarantined.
    """
    for block in blocks:
        try:
            receipt = compute_block(panel, plan, block, store=store, node=platform.node())
        except (MemoryError, OSError) as error:
            detail = " ".join(str(error).split())[:200]
            yield Settled(
                block, None, f"given up after 1 attempt: {type(error).__name__}: {detail}"
            )
        else:
            yield Settled(block, receipt)
