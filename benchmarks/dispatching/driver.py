"""One driver on a real local cluster: blocks a second, where its time goes, and its memory.

Everything is what ``pmx run`` uses: the plan, ``run_on_ray`` with its shell and state machine, real
actors, real receipts. A prepared worker answers with a receipt that it makes up, so that what is
left is the driver's and Ray's; a real one computes and writes its block.
"""

import gc
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
from scipy import stats

from pmx_ray.backtest import sweep as folder_of
from pmx_ray.backtest.blocks import BlockPlan
from pmx_ray.backtest.dispatch import DispatchPolicy, Instruction, Submit
from pmx_ray.backtest.executor import Settled
from pmx_ray.backtest.settings import SweepSettings
from pmx_ray.backtest.sweep import Sweep
from pmx_ray.lake import Receipt, open_store
from pmx_ray.lake.blocks import block_key
from pmx_ray.remote.token import use_token

N_WORKERS, N_TICKERS, N_SPECS = 2, 100, 5
"""Actors, and what a sweep holds beside its folds; each spec, ticker and fold is a block."""

SAMPLE_EVERY = 250
"""Blocks between two looks at the clock and the memory."""

SEGMENTS = 10
"""Runs of blocks, end to end, whose growth of memory makes the interval."""

NOW = datetime(2100, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Case:
    """One run of the driver.

    Attributes
    ----------
    name : str
        What it shows.
    n_blocks : int
        Blocks to dispatch; a multiple of 500.
    in_flight : int
        Blocks queued at each of two workers: more stand for more workers.
    real : bool
        Compute and write each block; else make its receipt up.
    keep : bool
        Hold every settled block to the end, as ``pmx run`` does.
    """

    name: str
    n_blocks: int
    in_flight: int = 2
    real: bool = False
    keep: bool = False

    @property
    def pending(self) -> int:
        """References that the driver waits for while blocks are left."""
        return N_WORKERS * self.in_flight


@dataclass(frozen=True, slots=True)
class Reading:
    """What one run showed, while blocks were left to hand out.

    Attributes
    ----------
    blocks_per_s : float
        By the wall.
    driver_us, main_us : float
        Processor time of the driver a block: all threads, and the one that dispatches.
    receive_us, submit_us : float
        Of the latter: to take an answer, and to hand a block out.
    look_us : float
        Of the latter: a look at what has come.
    looks_per_block : float
        How many looks a block took.
    plan_s : float
        Processor seconds to lay the plan.
    plan_mb : float
        Private memory of the plan for 1,000 blocks.
    mb, mb_low, mb_high : float
        Growth of private memory for 1,000 blocks as they settle, with its 95 % interval; NaN
        where the run is too short.
    private_mb : float
        Private memory in the end.
    """

    blocks_per_s: float
    driver_us: float
    main_us: float
    receive_us: float
    submit_us: float
    look_us: float
    looks_per_block: float
    plan_s: float
    plan_mb: float
    mb: float
    mb_low: float
    mb_high: float
    private_mb: float


@dataclass(slots=True)
class Clocks:
    """Seconds of the dispatching thread so far, and how many there were."""

    take_s: float = 0.0
    submit_s: float = 0.0
    looks: int = 0
    submits: int = 0


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a run stood after so many blocks."""

    n: int
    wall_s: float
    driver_s: float
    main_s: float
    take_s: float
    submit_s: float
    looks: int
    submits: int
    private_mb: float


def alone(case: Case) -> Reading:
    """Return the reading of a case from a process of its own, whose memory is nobody else's."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(read, case).result()


def read(case: Case) -> Reading:
    """Run one case in this process, which becomes a driver."""
    use_token("local")
    with TemporaryDirectory() as root:
        planned(N_TICKERS * N_SPECS, Path(root))  # imports, outside of the measure
        gc.collect()
        before = private_mb()
        started = time.process_time()
        sweep, plan = planned(case.n_blocks, Path(root))
        plan_s = time.process_time() - started
        gc.collect()
        plan_mb = (private_mb() - before) / case.n_blocks * 1000
        marks = run(sweep, plan, case)
    first, last = window(marks, case)
    n = last.n - first.n
    n_submits = last.submits - first.submits
    looks = last.looks - first.looks
    main_s, take_s, submit_s = (
        getattr(last, name) - getattr(first, name) for name in ("main_s", "take_s", "submit_s")
    )
    held = [(mark.n, mark.private_mb) for mark in marks if first.n <= mark.n <= last.n]
    mb, low, high = slope(held)
    return Reading(
        blocks_per_s=n / (last.wall_s - first.wall_s),
        driver_us=(last.driver_s - first.driver_s) / n * 1e6,
        main_us=main_s / n * 1e6,
        receive_us=(take_s - submit_s) / n * 1e6,
        submit_us=submit_s / n_submits * 1e6,
        look_us=(main_s - take_s) / looks * 1e6,
        looks_per_block=looks / n,
        plan_s=plan_s,
        plan_mb=plan_mb,
        mb=mb,
        mb_low=low,
        mb_high=high,
        private_mb=marks[-1].private_mb,
    )


def planned(n_blocks: int, root: Path) -> tuple[Sweep, BlockPlan]:
    """Return a sweep whose every cell is a block, and its plan."""
    folds = n_blocks // (N_TICKERS * N_SPECS)
    settings = {
        "name": "dispatch",
        "panel": {
            "source": "simulated", "kind": "garch", "seed": 3, "n_tickers": N_TICKERS,
            "n_sessions": 60 + folds,
        },
        "folds": {"input_size": 60, "step_size": 1, "steps": [1]},
        "forecasters": [
            {"name": "sample_variance", "window": 30 + n} for n in range(N_SPECS - 1)
        ],
        "execution": {"folds_per_block": 1, "tickers_per_block": 1},
    }  # fmt: skip
    sweep = folder_of.prepare(SweepSettings.model_validate(settings), root=root, clock=lambda: NOW)
    plan, _ = folder_of.outline(sweep, open_store(sweep.lake_url))
    return sweep, plan


def run(sweep: Sweep, plan: BlockPlan, case: Case) -> list[Mark]:
    """Dispatch the plan and return a mark every so many blocks."""
    # Ray reads its token settings as it is imported.
    from pmx_ray.remote.cluster import WorkerPool, connected  # noqa: PLC0415
    from pmx_ray.remote.executor import run_on_ray  # noqa: PLC0415

    marks, kept = list[Mark](), list[Settled]()
    n = 0
    with connected("local", n_workers=N_WORKERS), timed(real=case.real) as clocks:
        results = run_on_ray(
            sweep.panel,
            sweep.plan,
            plan.todo,
            pools=[WorkerPool("cpu", N_WORKERS, 0.0, {})],
            policy=DispatchPolicy(in_flight=case.in_flight),
            lake_url=sweep.lake_url,
        )
        for n, settled in enumerate(results, start=1):
            if settled.receipt is None:
                raise SystemExit(f"a block was given up: {settled.reason}")
            if case.keep:
                kept.append(settled)
            if n % SAMPLE_EVERY == 0:
                marks.append(mark(n, clocks))
    if n != len(plan.todo):
        raise SystemExit(f"{n} of {len(plan.todo)} blocks came back")
    return marks


def mark(n: int, clocks: Clocks) -> Mark:
    """Return where the run stands now."""
    return Mark(
        n=n,
        wall_s=time.perf_counter(),
        driver_s=time.process_time(),
        main_s=time.thread_time(),
        take_s=clocks.take_s,
        submit_s=clocks.submit_s,
        looks=clocks.looks,
        submits=clocks.submits,
        private_mb=private_mb(),
    )


@contextmanager
def timed(*, real: bool) -> Iterator[Clocks]:
    """Time the shell's steps, and put prepared workers in the place of real ones."""
    from pmx_ray.remote import executor, pool_run  # noqa: PLC0415

    clocks, runs = Clocks(), pool_run.PoolRun
    take, carry_out, poll = runs.take, runs._carry_out, executor._poll
    worker = pool_run.BlockWorker if real else prepared_worker()

    def timed_take(self: Any, ref: Any) -> list[Settled]:
        started = time.thread_time()
        settled = take(self, ref)
        clocks.take_s += time.thread_time() - started
        return settled

    def timed_carry_out(self: Any, instruction: Instruction) -> list[Settled]:
        started = time.thread_time()
        settled = carry_out(self, instruction)
        if isinstance(instruction, Submit):
            clocks.submit_s += time.thread_time() - started
            clocks.submits += 1
        return settled

    def counted_poll(*arguments: Any) -> Iterator[Settled]:
        clocks.looks += 1
        return poll(*arguments)

    with (
        patch.object(runs, "take", timed_take),
        patch.object(runs, "_carry_out", timed_carry_out),
        patch.object(executor, "_poll", counted_poll),
        patch.object(pool_run, "BlockWorker", worker),
        # Once a node; a mock would keep every receipt.
        nullcontext() if real else patch.object(runs, "_check_visible", lambda *_: None),
    ):
        yield clocks


def prepared_worker() -> type:
    """Return a worker that makes receipts up; a class of a function travels to any process."""
    import ray  # noqa: PLC0415

    from pmx_ray.remote.worker import BlockWorker  # noqa: PLC0415

    class PreparedWorker(BlockWorker):
        """Answers at once, and writes nothing."""

        def compute(self, *given: Any) -> Receipt:
            *_, block, attempt = given
            node = ray.get_runtime_context().get_node_id()
            return Receipt(block.id, block_key(block.id), 1, 0, block.id, 0.0005, node, attempt)

    return PreparedWorker


def window(marks: list[Mark], case: Case) -> tuple[Mark, Mark]:
    """Return the marks between which workers were up and blocks were left to hand out."""
    first = case.n_blocks // 10
    last = max(case.n_blocks - case.pending, first + SEGMENTS * SAMPLE_EVERY)
    within = [mark for mark in marks if first <= mark.n <= last]
    return within[0], within[-1]


def slope(held: Sequence[tuple[int, float]]) -> tuple[float, float, float]:
    """Return the growth of memory for 1,000 blocks, and its 95 % interval.

    Memory grows in steps, and readings beside each other are not independent: what counts is the
    growth from one cut to the next, of ten runs of blocks that lie end to end.
    """
    if len(held) <= SEGMENTS:
        return math.nan, math.nan, math.nan
    cuts = np.linspace(0, len(held) - 1, SEGMENTS + 1).astype(int)
    n, mb = np.array([held[cut] for cut in cuts], np.float64).T
    whole = 1000.0 * float(mb[-1] - mb[0]) / float(n[-1] - n[0])
    grown = 1000.0 * np.diff(mb) / np.diff(n)
    half = float(stats.t.ppf(0.975, SEGMENTS - 1) * grown.std(ddof=1) / np.sqrt(SEGMENTS))
    return whole, whole - half, whole + half


def private_mb() -> float:
    """Return what this process alone holds in memory; the object store is shared and not in it."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (held,) = (line.split()[1] for line in lines if line.startswith("RssAnon"))
    return int(held) / 1024
