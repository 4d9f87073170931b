"""Attempts at blocks that a receipt does not tell of: those that raised, and their tracebacks.

They lie in the lake at ``attempts/ab/<block id>.json``, a list in the order of attempts. Nothing
that is computed reads them, so they may hold what differs from run to run; where one cannot be
written, the block goes on without.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from pydantic import TypeAdapter, ValidationError

from pmx_ray.backtest.blocks import WorkBlock
from pmx_ray.clock import Clock, utc_now
from pmx_ray.errors import LakeError
from pmx_ray.forecasters.defects import traceback_text, tracebacks
from pmx_ray.lake import BlockStore
from pmx_ray.lake.blocks import READERS

ATTEMPTS = "attempts/"
"""Prefix of their keys."""

LONG_S = 1.0
"""Predicted seconds from which on a block's begin is noted: a write that costs little beside."""

Ended: TypeAlias = Literal["running", "raised", "failed_cells"]
"""How an attempt stands: under way or lost with its worker; raised; done with cells that failed."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a block.

    Attributes
    ----------
    attempt : int
        Which try, from 1.
    node : str
        Where.
    began : str
        When, ISO 8601 with its time zone.
    ended : str
        One of ``Ended``.
    seconds : float or None
        How long it took; None while it is under way.
    error : str or None
        What it raised, in one line.
    tracebacks : mapping of str to str
        By the reason that the rows state, or by ``error``.
    """

    attempt: int
    node: str
    began: str
    ended: Ended
    seconds: float | None = None
    error: str | None = None
    tracebacks: Mapping[str, str] = field(default_factory=dict)


_ROWS = TypeAdapter(list[Attempt])


@contextmanager
def attempted(
    store: BlockStore, block: WorkBlock, *, node: str, attempt: int, clock: Clock = utc_now
) -> Iterator[None]:
    """Keep what a receipt of this attempt will not tell: an error, tracebacks, that it began.

    Parameters
    ----------
    store : BlockStore
        The lake.
    block : WorkBlock
        Computed inside the context.
    node : str
        Where.
    attempt : int
        Which try, from 1; what earlier runs kept is dropped by the first.
    clock : callable
        Says when it began.
    """
    began, started = clock().isoformat(timespec="seconds"), time.perf_counter()
    marked = attempt > 1 or block.predicted_s >= LONG_S
    before = [row for row in _read(store, block.id) if row.attempt < attempt] if marked else []

    def keep(ended: Ended, traces: Mapping[str, str], error: str | None = None) -> None:
        seconds = None if ended == "running" else round(time.perf_counter() - started, 4)
        row = Attempt(attempt, node, began, ended, seconds, error, traces)
        _write(store, block.id, [*before, row])

    if marked:
        keep("running", {})
    try:
        with tracebacks() as kept:
            yield
    except Exception as error:
        line = error_line(error)
        keep("raised", {line: traceback_text(error)}, line)
        raise
    except BaseException:
        _write(store, block.id, before)  # the run was stopped; nothing is under way
        raise
    if kept:
        keep("failed_cells", kept)
    elif marked:
        _write(store, block.id, before)


def forget_attempts(store: BlockStore, ids: Iterable[str]) -> None:
    """Drop what is kept of blocks that are about to be computed afresh."""
    for block_id in ids:
        _write(store, block_id, [])


def error_line(error: BaseException) -> str:
    """Return an error in one line of at most 300 characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def load_attempts(store: BlockStore, ids: Iterable[str]) -> dict[str, tuple[Attempt, ...]]:
    """Return what is kept of each block, in the order of attempts; most have nothing.

    Raises
    ------
    LakeError
        If the store cannot be listed.
    """
    kept = {key.rpartition("/")[2].removesuffix(".json") for key in store.keys(ATTEMPTS)}
    wanted = sorted(kept & set(ids))
    with ThreadPoolExecutor(max_workers=max(1, min(READERS, len(wanted)))) as pool:
        read = pool.map(lambda block_id: _read(store, block_id), wanted)
        return {block_id: tuple(rows) for block_id, rows in zip(wanted, read, strict=True) if rows}


def _key(block_id: str) -> str:
    return f"{ATTEMPTS}{block_id[:2]}/{block_id}.json"


def _read(store: BlockStore, block_id: str) -> list[Attempt]:
    """Return what is kept; what is missing, damaged or of another version counts as nothing."""
    with suppress(LakeError, ValidationError):
        return _ROWS.validate_json(store.get(_key(block_id)))
    return []


def _write(store: BlockStore, block_id: str, rows: list[Attempt]) -> None:
    with suppress(LakeError):  # a note; the block's own bytes decide whether the lake works
        if rows:
            store.replace(_key(block_id), _ROWS.dump_json(rows) + b"\n")
        else:
            store.delete(_key(block_id))
