"""The shell around the dispatch: carries its instructions out on Ray and reports what happened."""

import importlib.util
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import ray
from ray import ObjectRef
from ray.exceptions import RayError, RayTaskError

from pmx_ray.backtest.blocks import WorkBlock
from pmx_ray.backtest.dispatch import (
    AwaitWorker,
    BlockDone,
    BlockRaised,
    Dispatch,
    DispatchPolicy,
    Event,
    Instruction,
    Quarantine,
    Retire,
    Submit,
    WorkerLost,
    WorkerReady,
)
from pmx_ray.backtest.executor import Settled
from pmx_ray.data.panel import Panel
from pmx_ray.errors import ClusterError, DataError, PmxError
from pmx_ray.folds import FoldPlan
from pmx_ray.lake import BlockStore, Receipt, open_store
from pmx_ray.remote.cluster import WorkerPool, alive_nodes, fit_pools
from pmx_ray.remote.environment import ONE_THREAD
from pmx_ray.remote.meters import Publisher, Tally
from pmx_ray.remote.worker import BlockWorker

POLL_S = 1.0
"""Longest wait for a result before the shell looks whether the run is stranded."""

STRANDED_S = 180.0
"""Seconds without any worker, after which the run gives up; what is done stays in the lake."""


@dataclass(frozen=True, slots=True)
class _Pending:
    """What an object reference will bring: a block's receipt, or a worker's readiness."""

    worker: str
    block: str | None


def run_on_ray(
    panel: Panel,
    plan: FoldPlan,
    blocks: Sequence[WorkBlock],
    *,
    pools: Sequence[WorkerPool],
    policy: DispatchPolicy,
    lake_url: str,
    plugins: tuple[str, ...] = (),
    held: Sequence[WorkBlock] = (),
    monotonic: Callable[[], float] = time.monotonic,
) -> Generator[Settled, None, None]:
    """Compute ``blocks`` with Ray actors on the connected cluster, in whatever order they finish.

    Parameters
    ----------
    panel, plan
        The sweep's prices and folds; put into the object store once.
    blocks : sequence of WorkBlock
        Costliest first.
    pools : sequence of WorkerPool
        At least one for every device that the blocks need.
    policy : DispatchPolicy
        Bounds of the dispatch.
    lake_url : str
        Where every worker can write.
    plugins : tuple of str
        Modules that register forecasters.
    held : sequence of WorkBlock
        Those that the lake holds already; they are counted as such.
    monotonic : callable
        Seconds, for the stranded limit alone.

    Raises
    ------
    ClusterError
        If no node can hold a worker, or every worker is gone and none comes back.
    PmxError
        What a worker raised on purpose, e.g. a full disk under the lake.
    """
    store = open_store(lake_url)
    needed = {block.device for block in blocks}
    missing = needed - {pool.device for pool in pools}
    if missing:
        raise ClusterError(f"blocks need a {missing.pop()} worker; set execution.gpu_workers")
    runs = [
        _PoolRun(
            pool=pool,
            blocks={block.id: block for block in blocks if block.device == pool.device},
            policy=policy,
            store=store,
            n_steps=len(plan.steps),
        )
        for pool in fit_pools([pool for pool in pools if pool.device in needed], alive_nodes())
    ]
    meters = Publisher([run.tally for run in runs], held=held)
    shared = (ray.put(panel), ray.put(plan))
    worker_arguments = (lake_url, plugins, _folders(plugins))
    try:
        for run in runs:
            run.start(worker_arguments, shared)
        idle_since = monotonic()
        while not all(run.dispatch.finished for run in runs):
            meters.tick()
            answered = False
            for settled in _poll(runs):
                answered = True
                yield settled
            if answered or not any(run.stranded for run in runs):
                idle_since = monotonic()
            elif monotonic() - idle_since > STRANDED_S:
                raise ClusterError(
                    f"no worker answered for {STRANDED_S:.0f} s; check the cluster's nodes and run "
                    "the same command again: finished blocks are kept"
                )
    finally:
        meters.end()
        for run in runs:
            run.stop()


def _poll(runs: Sequence["_PoolRun"]) -> Iterator[Settled]:
    """Wait for an answer, and take every one that is there: a look costs as much as its list."""
    waiting = [ref for run in runs for ref in run.pending]
    if not waiting:
        raise ClusterError("every worker was retired; see the reasons above")
    ready, _ = ray.wait(waiting, num_returns=1, timeout=POLL_S)
    if ready:
        ready, _ = ray.wait(waiting, num_returns=len(waiting), timeout=0)
    for ref in ready:
        for run in runs:
            if ref in run.pending:  # one that died meanwhile takes all of its own along
                yield from run.take(ref)


class _PoolRun:
    """Workers of one pool, their dispatch, and what is pending at them."""

    def __init__(
        self,
        *,
        pool: WorkerPool,
        blocks: Mapping[str, WorkBlock],
        policy: DispatchPolicy,
        store: BlockStore,
        n_steps: int = 1,
    ) -> None:
        self.pool = pool
        self.blocks = blocks
        self.dispatch = Dispatch.over(blocks, policy)
        self.tally = Tally(blocks, device=pool.device, n_steps=n_steps)
        self.pending: dict[ObjectRef[Any], _Pending] = {}
        self._workers: dict[str, Any] = {}
        self._store = store
        self._nodes: set[str] = set()
        self._shared: tuple[ObjectRef[Any], ...] = ()
        self._retired: list[str] = []

    @property
    def stranded(self) -> bool:
        """Whether blocks wait and no worker is ready for them."""
        return self.dispatch.stranded

    def start(self, arguments: tuple[object, ...], shared: tuple[ObjectRef[Any], ...]) -> None:
        """Create the workers; each reports when it is ready.

        Parameters
        ----------
        arguments : tuple
            Of every worker.
        shared : tuple of ObjectRef
            Panel and plan, handed to every call: a worker reads them from its node's memory.
        """
        self._shared = shared
        actor: Any = ray.remote(BlockWorker).options(
            **self.pool.actor_options(), runtime_env={"env_vars": ONE_THREAD}
        )
        for n in range(min(self.pool.n_workers, len(self.blocks))):
            name = f"{self.pool.device}-{n}"
            self._workers[name] = actor.remote(*arguments)
            self._await(name)

    def stop(self) -> None:
        """End the workers."""
        for handle in self._workers.values():
            ray.kill(handle)
        self._workers.clear()
        self.pending.clear()

    def take(self, ref: ObjectRef[Any]) -> list[Settled]:
        """Turn one finished reference into an event, and carry out what the dispatch answers."""
        what = self.pending.pop(ref)
        settled: list[Settled] = []
        event = self._event(ref, what, settled)
        answer = self.dispatch.handle(event)
        self.tally.saw(event, answer, settled)
        for instruction in answer:
            settled += self._carry_out(instruction)
        if self.dispatch.finished:
            self.stop()  # others may need what its workers hold
        return settled

    def _event(self, ref: ObjectRef[Any], what: _Pending, settled: list[Settled]) -> Event:
        try:
            answer: object = ray.get(ref)
        except RayTaskError as error:
            if isinstance(error.cause, PmxError) and not isinstance(error.cause, DataError):
                raise error.cause from None
            if what.block is None:
                return self._lost(what.worker, error)
            return BlockRaised(what.worker, what.block, _one_line(error.cause or error))
        except RayError as error:
            return self._lost(what.worker, error)
        if what.block is None:
            return WorkerReady(what.worker)
        receipt = cast("Receipt", answer)
        self._check_visible(receipt)
        settled.append(Settled(self.blocks[what.block], receipt))
        return BlockDone(what.worker, what.block)

    def _check_visible(self, receipt: Receipt) -> None:
        """Look for the first block of each node: a folder on its disk is not the driver's lake."""
        if receipt.node in self._nodes:
            return
        self._nodes.add(receipt.node)
        if not self._store.exists(receipt.path):
            raise ClusterError(
                f"node {receipt.node} wrote block {receipt.path} and this process cannot see it in "
                f"{self._store.url}; give a lake that all nodes share, e.g. lake: s3://bucket/pmx"
            )

    def _lost(self, worker: str, error: Exception) -> WorkerLost:
        # The references of everything else queued there will fail too: forget them.
        self.pending = {ref: p for ref, p in self.pending.items() if p.worker != worker}
        return WorkerLost(worker, _one_line(error))

    def _carry_out(self, instruction: Instruction) -> list[Settled]:
        match instruction:
            case Submit(worker, block, attempt):
                ref = self._workers[worker].compute.remote(
                    *self._shared, self.blocks[block], attempt
                )
                self.pending[ref] = _Pending(worker, block)
            case AwaitWorker(worker):
                self._await(worker)
            case Retire(worker, reason):
                self._retired.append(f"{worker}: {reason}")
                ray.kill(self._workers.pop(worker))
                if not self._workers:
                    raise ClusterError(f"every worker was lost; {self._retired[-1]}")
            case Quarantine(block, attempts, reason):
                text = f"given up after {attempts} attempts: {reason}"
                return [Settled(self.blocks[block], None, text)]
        return []

    def _await(self, worker: str) -> None:
        self.pending[self._workers[worker].ready.remote()] = _Pending(worker, None)


def _folders(plugins: tuple[str, ...]) -> tuple[str, ...]:
    """Return the folders from which this process imports ``plugins``, for the workers' path."""
    specs = [importlib.util.find_spec(name.partition(".")[0]) for name in plugins]
    origins = [Path(spec.origin) for spec in specs if spec is not None and spec.origin]
    tops = [path.parent.parent if path.name == "__init__.py" else path.parent for path in origins]
    return tuple(dict.fromkeys(str(top) for top in tops))


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
