"""One pool of workers on Ray: carries its dispatch's instructions out and reports what happened."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn, cast

import ray
from ray import ObjectRef
from ray.exceptions import RayError, RayTaskError

from pmx_ray import tracing
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
    Release,
    Retire,
    Submit,
    WorkerLeaves,
    WorkerLost,
    WorkerReady,
)
from pmx_ray.backtest.executor import Settled
from pmx_ray.errors import ClusterError, DataError, PmxError
from pmx_ray.lake import BlockStore, Receipt
from pmx_ray.remote.broker import Share
from pmx_ray.remote.cluster import WorkerPool
from pmx_ray.remote.environment import ONE_THREAD
from pmx_ray.remote.meters import Tally
from pmx_ray.remote.worker import BlockWorker

WORTH_S = 30.0
"""Seconds of work for which an autoscaler is asked to have one more worker."""


@dataclass(frozen=True, slots=True)
class _Pending:
    """What an object reference will bring: a block's receipt, or a worker's readiness."""

    worker: str
    block: str | None


class PoolRun:
    """Workers of one pool, their dispatch, and what is pending at them.

    Parameters
    ----------
    pool : WorkerPool
        As the sweep asks for it; no number of workers where it takes all that fit.
    blocks : mapping of str to WorkBlock
        To be computed, by id.
    policy : DispatchPolicy
        Bounds of the dispatch.
    store : BlockStore
        The driver's view of the lake.
    n_steps : int
        Steps that each fold is scored at.
    priority : int, optional
        Where other sweeps may use the cluster too: which goes first.
    """

    def __init__(
        self,
        *,
        pool: WorkerPool,
        blocks: Mapping[str, WorkBlock],
        policy: DispatchPolicy,
        store: BlockStore,
        n_steps: int,
        priority: int | None,
    ) -> None:
        self.pool = pool
        self.blocks = blocks
        self.dispatch = Dispatch.over(blocks, policy)
        self._asked = pool.n_workers or len(blocks)
        worthwhile = math.ceil(sum(block.predicted_s for block in blocks.values()) / WORTH_S)
        self.share = (
            None
            if priority is None
            else Share(pool, priority=priority, worthwhile=min(worthwhile, self._asked))
        )
        self.tally = Tally(blocks, device=pool.device, n_steps=n_steps)
        self.pending: dict[ObjectRef[Any], _Pending] = {}
        self._workers: dict[str, Any] = {}
        self._ready: set[str] = set()
        self._leaving: set[str] = set()
        self._n_hired = 0
        self._hire: Callable[..., Any] = _not_started
        self._store = store
        self._nodes: set[str] = set()
        self._shared: tuple[ObjectRef[Any], ...] = ()
        self.retired: list[str] = []

    @property
    def stranded(self) -> bool:
        """Whether blocks wait and no worker is ready for them."""
        return self.dispatch.stranded

    @property
    def wanted(self) -> int:
        """Workers that there is work for."""
        return min(self._asked, self.dispatch.n_left)

    @property
    def parked(self) -> bool:
        """Whether others have every slot for now."""
        return self.share is not None and not self.dispatch.finished and not self._workers

    def start(
        self, arguments: tuple[object, ...], shared: tuple[ObjectRef[Any], ...], *, slots: int
    ) -> None:
        """Create the workers; each reports when it is ready.

        Parameters
        ----------
        arguments : tuple
            Of every worker.
        shared : tuple of ObjectRef
            Panel and plan, handed to every call: a worker reads them from its node's memory.
        slots : int
            Workers of the pool that the cluster can hold.
        """
        self._shared = shared
        actor: Any = ray.remote(BlockWorker).options(
            **self.pool.actor_options(),
            runtime_env={"env_vars": ONE_THREAD | tracing.handed_on()},
        )
        self._hire = partial(actor.remote, *arguments)
        if self.share is None:
            self.resize(slots)
        else:
            self.resize(self.share.first(slots=slots, wanted=self.wanted))

    def resize(self, n_workers: int) -> None:
        """Have so many workers, but no more than there is work for; the latest leave first.

        One that was retired is not replaced, unless it was the last: its node may be bad.
        """
        staying = [name for name in self._workers if name not in self._leaving]
        n = min(n_workers, self.wanted)
        for name in staying[n:]:
            self._leaving.add(name)
            event = WorkerLeaves(name)
            answer = self.dispatch.handle(event)
            self.tally.saw(event, answer, ())
            for instruction in answer:
                self._carry_out(instruction)
        for _ in range(max(n - len(self.retired), min(n, 1)) - len(staying)):
            name = f"{self.pool.device}-{self._n_hired}"
            self._n_hired += 1
            self._workers[name] = self._hire(name=f"{BlockWorker.__name__} {name}")
            self._await(name)

    def stop(self) -> None:
        """End the workers, and leave their slots to others."""
        if self.share is not None:
            self.share.end()
        if tracing.on() and self.dispatch.finished:
            _flush(self._workers[name] for name in self._ready & self._workers.keys())
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
            self._ready.add(what.worker)
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
        self._ready.discard(worker)
        return WorkerLost(worker, _one_line(error))

    def _carry_out(self, instruction: Instruction) -> list[Settled]:
        match instruction:
            case Submit(worker, block, attempt):
                what = self.blocks[block]
                # Also the title of the process while it computes.
                title = f"{BlockWorker.__name__} {what.spec.name}"
                compute = self._workers[worker].compute.options(name=title)
                ref = compute.remote(*self._shared, what, attempt)
                self.pending[ref] = _Pending(worker, block)
            case AwaitWorker(worker):
                self._await(worker)
            case Retire(worker, reason):
                self.retired.append(f"{worker}: {reason}")
                ray.kill(self._workers.pop(worker))
                if not self._workers and not self.dispatch.finished:
                    raise ClusterError(f"every worker was lost; {self.retired[-1]}")
            case Release(worker):
                self._leaving.discard(worker)
                self.pending = {ref: p for ref, p in self.pending.items() if p.worker != worker}
                if tracing.on() and worker in self._ready:  # one that waits to start never answers
                    _flush([self._workers[worker]])
                ray.kill(self._workers.pop(worker))
            case Quarantine(block, attempts, reason):
                text = f"given up after {attempts} attempts: {reason}"
                return [Settled(self.blocks[block], None, text)]
        return []

    def _await(self, worker: str) -> None:
        self.pending[self._workers[worker].ready.remote()] = _Pending(worker, None)


def _flush(workers: Iterable[Any]) -> None:
    """Let workers that hold no block send their spans, for as long as a flush may take."""
    flushed = [worker.flush.remote() for worker in workers]
    if flushed:
        ray.wait(flushed, num_returns=len(flushed), timeout=tracing.FLUSH_MS / 1000)


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def _not_started(**_: object) -> NoReturn:
    raise AssertionError("start comes first")
