"""What stands around the dispatch: the state machine alone, records, the lake, the object store."""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.dispatching.driver import planned
from benchmarks.measuring import cpu_seconds
from pmx_ray.backtest import sweep as folder_of
from pmx_ray.backtest.dispatch import BlockDone, Dispatch, DispatchPolicy, WorkerReady
from pmx_ray.backtest.executor import Settled, run_in_process
from pmx_ray.backtest.receipts import RECEIPTS
from pmx_ray.data.panel import Panel
from pmx_ray.lake import Receipt, known_blocks, load_receipts, open_store, verify
from pmx_ray.lake.blocks import block_key, receipt_key
from pmx_ray.remote.token import use_token

WORKERS = (16, 256, 4096, 16_000)
"""Sizes of a fleet for which the state machine is timed."""

LARGE = (5000, 2500)
"""Tickers and sessions of the panel that is put into the object store: 100 MB."""


@dataclass(frozen=True, slots=True)
class Records:
    """A plan of so many blocks, before and after it is run; processor seconds, but for the last.

    Attributes
    ----------
    n_blocks : int
        Blocks.
    write_s, read_s : float
        To write ``receipts.jsonl`` with what blocks took, and to read and check it.
    file_mb : float
        Its size.
    list_s : float
        To list the lake.
    resume_ms : float
        Wall time a block to read its receipt and compare its bytes, of a thousand real blocks.
    """

    n_blocks: int
    write_s: float
    read_s: float
    file_mb: float
    list_s: float
    resume_ms: float


@dataclass(frozen=True, slots=True)
class Put:
    """A panel in the object store: its size, wall seconds to put it, and to read it once there."""

    mb: float
    put_s: float
    first_read_s: float
    read_s: float


def machine_us(n_workers: int, n_events: int) -> float:
    """Return the microseconds that the state machine takes for a block with so many workers."""
    dispatch = Dispatch.over((f"b{n}" for n in range(n_events + 2 * n_workers)), DispatchPolicy())
    for n in range(n_workers):
        dispatch.handle(WorkerReady(f"cpu-{n}"))
    busy = deque((worker, held[0]) for worker, held in dispatch.in_flight.items())

    def work() -> None:
        for _ in range(n_events):
            worker, block = busy.popleft()
            dispatch.handle(BlockDone(worker, block))
            busy.append((worker, dispatch.in_flight[worker][0]))

    return cpu_seconds(work) / n_events * 1e6


def records(n_blocks: int, n_real: int) -> Records:
    """Return what records of a run cost, with receipts made up but for ``n_real`` of them."""
    with TemporaryDirectory() as root:
        sweep, plan = planned(n_blocks, Path(root))
        store = open_store(sweep.lake_url)
        settled = [Settled(block, _receipt(block.id)) for block in plan.todo]
        folder_of.save(sweep)

        def write() -> None:
            folder_of.learn_pace(sweep, store, settled)
            folder_of.save_receipts(sweep, settled)

        write_s = cpu_seconds(write)
        read_s = cpu_seconds(lambda: folder_of.load_settled(sweep))
        ids = [row.block.id for row in settled]
        lake = Path(root) / "listed"
        _names(lake, ids)
        list_s = cpu_seconds(lambda: known_blocks(open_store(str(lake))))
        real = list(run_in_process(sweep.panel, sweep.plan, plan.todo[:n_real], store=store))
        started = time.perf_counter()
        found = load_receipts(store, [row.block.id for row in real])
        if not all(verify(store, receipt) for receipt in found.values()):
            raise SystemExit("a block does not match its receipt")
        resume_s = time.perf_counter() - started
        file_mb = (sweep.folder / RECEIPTS).stat().st_size / 2**20
    return Records(n_blocks, write_s, read_s, file_mb, list_s, resume_s / n_real * 1000)


def _receipt(block_id: str) -> Receipt:
    return Receipt(block_id, block_key(block_id), 1, 0, block_id, 0.001, "node", 1)


def _names(lake: Path, ids: Sequence[str]) -> None:
    """Make the files of a lake, with nothing in them."""
    for block_id in ids:
        for key in (block_key(block_id), receipt_key(block_id)):
            path = lake / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


def put() -> Put:
    """Put a large panel into the object store of a local cluster, and read it in a worker."""
    use_token("local")
    import ray  # noqa: PLC0415

    from pmx_ray.remote.cluster import connected  # noqa: PLC0415

    tickers, sessions = LARGE
    prices = np.random.default_rng(0).uniform(1.0, 2.0, (tickers, sessions))
    days = np.datetime64("2000-01-01") + np.arange(sessions)
    panel = Panel("XNYS", tuple(f"T{n:05d}" for n in range(tickers)), days, prices)

    def first_price(panel: Panel) -> float:
        return float(panel.close[0, 0])

    with connected("local", n_workers=1):
        task = ray.remote(first_price)
        ray.get(task.remote(replace(panel, tickers=("A",), close=prices[:1])))  # starts a process
        marks = [time.perf_counter()]
        ref = ray.put(panel)
        marks.append(time.perf_counter())
        for _ in range(2):
            ray.get(task.remote(ref))
            marks.append(time.perf_counter())
    put_s, first_s, read_s = np.diff(marks).tolist()
    return Put(panel.close.nbytes / 2**20, put_s, first_s, read_s)
