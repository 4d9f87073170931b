"""A fleet in simulated time: the real dispatch, and machines that fail by the dice.

Nothing here sleeps or knows Ray. Events lie in a heap by their time; the driver is a server that
takes what has come, and every answer, every block that it hands out and every look at what it
waits for costs it what they were measured to cost. A run is a function of its settings.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import TypeAlias

import numpy as np
from pydantic import Field

from pmx_ray.backtest.dispatch import (
    AwaitWorker,
    BlockDone,
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
from pmx_ray.config import Settings
from pmx_ray.errors import ClusterError

HOUR_S = 3600.0

STEADY = 0.2, 0.8
"""Shares of the blocks between which a run counts as steady: all are up, and none runs dry."""

_COUNTED = (
    "n_done", "n_quarantined", "nodes_lost", "workers_lost", "recomputed", "retired",
    "longest_inbox",
)  # fmt: skip


class DriverCosts(Settings):
    """What a driver's core pays; as ``python -m benchmarks.dispatch`` found with 32,000 pending.

    Attributes
    ----------
    receive_us : float
        To take an answer.
    submit_us : float
        To hand a block out.
    other_us : float
        In other threads of the driver for each block, on the same core.
    look_us, look_ns : float
        To look at what has come, and more for each answer it waits for.
    """

    receive_us: float = Field(default=110.0, ge=0)
    submit_us: float = Field(default=225.0, ge=0)
    other_us: float = Field(default=380.0, ge=0)
    look_us: float = Field(default=125.0, ge=0)
    look_ns: float = Field(default=1020.0, ge=0)

    @property
    def block_s(self) -> float:
        """Seconds a block, but for looks."""
        return (self.receive_us + self.submit_us + self.other_us) * 1e-6


class Fleet(Settings):
    """A sweep on many machines, and what happens to them; rates are for each machine or worker.

    Attributes
    ----------
    nodes, slots : int
        Machines, and workers on each.
    block_s, spread : float
        Mean seconds of a block on a usual machine, and the standard deviation of their logarithm.
    n_blocks : int
        Blocks of the sweep.
    in_flight, max_attempts, max_deaths : int
        Bounds of the dispatch.
    node_failures_per_h, worker_deaths_per_h : float
        Of each machine, and of each worker by itself.
    spot_frac, reclaims_per_h : float
        Share of machines that may be reclaimed, and how often each is.
    slow_frac, slow_factor : float
        Share of machines that are slow, and how many times longer a block takes there.
    notice_node_s, notice_worker_s : float
        Until a death is known.
    node_back_s, worker_start_s : float
        Until a machine is replaced, and until a worker of a living machine is ready.
    round_trip_s : float
        Between driver and worker, there and back.
    driver : DriverCosts
        What the driver pays.
    seed : int
        Of every draw.
    """

    nodes: int = Field(default=1000, ge=1)
    slots: int = Field(default=16, ge=1)
    block_s: float = Field(default=1.0, gt=0)
    spread: float = Field(default=0.2, ge=0, le=2)
    n_blocks: int = Field(default=160_000, ge=10)
    in_flight: int = Field(default=2, ge=1)
    max_attempts: int = Field(default=3, ge=1)
    max_deaths: int = Field(default=5, ge=1)
    node_failures_per_h: float = Field(default=0.01, ge=0)
    worker_deaths_per_h: float = Field(default=0.01, ge=0)
    spot_frac: float = Field(default=0.5, ge=0, le=1)
    reclaims_per_h: float = Field(default=0.1, ge=0)
    slow_frac: float = Field(default=0.02, ge=0, le=1)
    slow_factor: float = Field(default=3.0, ge=1)
    notice_node_s: float = Field(default=3.0, ge=0)
    notice_worker_s: float = Field(default=0.5, ge=0)
    node_back_s: float = Field(default=180.0, ge=0)
    worker_start_s: float = Field(default=5.0, ge=0)
    round_trip_s: float = Field(default=0.001, ge=0)
    driver: DriverCosts = DriverCosts()
    seed: int = Field(default=0, ge=0)

    @property
    def n_workers(self) -> int:
        """All slots."""
        return self.nodes * self.slots


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one driver's part of a fleet did.

    Attributes
    ----------
    wall_s : float
        From the first worker's start to the last block's record.
    n_done, n_quarantined : int
        Blocks with a receipt, and blocks given up.
    useful_s, wasted_s : float
        Seconds of workers in blocks that came back, and in blocks that died with them.
    steady_s, steady_useful_s : float
        Wall time between the 20th and the 80th of each hundred blocks, and the former in it.
    driver_s : float
        Seconds that the driver was busy.
    nodes_lost, workers_lost, recomputed, retired : int
        Machines and workers that died, blocks under way as they did, and workers given up.
    longest_inbox : int
        Most answers that one look found.
    """

    wall_s: float
    n_done: int
    n_quarantined: int
    useful_s: float
    wasted_s: float
    steady_s: float
    steady_useful_s: float
    driver_s: float
    nodes_lost: int
    workers_lost: int
    recomputed: int
    retired: int
    longest_inbox: int


@dataclass(slots=True)
class _Worker:
    """One slot: what the driver waits for from it, what it works at, and when it will be back."""

    name: str
    slow: float
    up: bool = False
    back_s: float = 0.0
    notice_s: float = 0.0
    free_s: float = 0.0
    refs: dict[int, str | None] = field(default_factory=dict)
    """References that the driver holds: each a block, or None for the wait until it is ready."""
    sent: dict[int, tuple[float, float]] = field(default_factory=dict)
    """Start and end of each block that it was sent in this life."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a reference brings, and the seconds that went into it."""

    ref: int
    worker: _Worker
    event: Event
    seconds: float = 0.0


_Action: TypeAlias = Callable[[], None]


class Replay:
    """One driver and its machines, from the first worker's start to the last block.

    Parameters
    ----------
    fleet : Fleet
        The settings; its machines are all this driver's.
    shard : int
        Which of several drivers it is; each draws for itself.
    """

    def __init__(self, fleet: Fleet, *, shard: int = 0) -> None:
        self._fleet = fleet
        self._rng = np.random.default_rng([fleet.seed, shard])
        noise = self._rng.normal(-(fleet.spread**2) / 2, fleet.spread, fleet.n_blocks)
        self._seconds: Sequence[float] = (fleet.block_s * np.exp(noise)).tolist()
        policy = DispatchPolicy(fleet.in_flight, fleet.max_attempts, fleet.max_deaths)
        self._dispatch = Dispatch.over((str(n) for n in range(fleet.n_blocks)), policy)
        slow = np.where(self._rng.random(fleet.nodes) < fleet.slow_frac, fleet.slow_factor, 1.0)
        self._workers = [
            _Worker(f"cpu-{n}", float(slow[n // fleet.slots])) for n in range(fleet.n_workers)
        ]
        self._by_name = {worker.name: worker for worker in self._workers}
        self._heap: list[tuple[float, int, _Action]] = []
        self._order, self._refs = count(), count()
        self._now = 0.0
        self._inbox: list[_Answer] = []
        self._idle = False  # it makes the workers first
        self._pending = 0
        self._tally = dict.fromkeys(_COUNTED, 0)
        self._useful_s = self._wasted_s = self._driver_s = self._through_s = 0.0
        self._steady = [(0.0, 0.0)] * 2

    def run(self) -> Outcome:
        """Return what happened.

        Raises
        ------
        ClusterError
            If every worker was given up before the blocks were done.
        """
        self._start()
        while not self._dispatch.finished:
            if self._tally["retired"] == len(self._workers):
                raise ClusterError(
                    f"every worker was given up with {self._tally['n_done']} of "
                    f"{self._fleet.n_blocks} blocks done; let machines fail less often, or raise "
                    "max_deaths"
                )
            self._now, _, action = heappop(self._heap)
            action()
        (early_s, early), (late_s, late) = self._steady
        return Outcome(
            wall_s=max(self._now, self._through_s),
            useful_s=self._useful_s,
            wasted_s=self._wasted_s,
            steady_s=late_s - early_s,
            steady_useful_s=late - early,
            driver_s=self._driver_s,
            **self._tally,
        )

    def _start(self) -> None:
        """Make every worker, each a call and a wait for it, and let things begin to fail."""
        fleet, made_s = self._fleet, 0.0
        for worker in self._workers:
            made_s += 2 * fleet.driver.submit_us * 1e-6
            self._down_until(worker, made_s + fleet.worker_start_s)
            self._await(worker, made_s)
        self._driver_s = made_s
        self._at(made_s, self._look)
        n_spot = round(fleet.nodes * fleet.spot_frac)
        self._again(fleet.nodes * fleet.node_failures_per_h, partial(self._lose_node, fleet.nodes))
        self._again(n_spot * fleet.reclaims_per_h, partial(self._lose_node, n_spot))
        self._again(fleet.n_workers * fleet.worker_deaths_per_h, self._lose_worker)

    def _at(self, when_s: float, action: _Action) -> None:
        heappush(self._heap, (when_s, next(self._order), action))

    def _again(self, per_h: float, strike: _Action) -> None:
        """Let ``strike`` happen again and again, so often in the mean."""
        if per_h <= 0:
            return

        def once() -> None:
            strike()
            self._at(self._now + self._rng.exponential(HOUR_S / per_h), once)

        self._at(self._now + self._rng.exponential(HOUR_S / per_h), once)

    # The driver: the shell's part, with its costs.

    def _bring(self, answer: _Answer) -> None:
        """Put an answer into the driver's inbox; an idle driver looks at once."""
        self._inbox.append(answer)
        if self._idle:
            self._look()

    def _look(self) -> None:
        """Take all that has come, one after the other, and look again when through."""
        answers, self._inbox = self._inbox, []
        self._idle = not answers
        if self._idle:
            return
        costs = self._fleet.driver
        self._tally["longest_inbox"] = max(self._tally["longest_inbox"], len(answers))
        clock = self._now + costs.look_us * 1e-6 + costs.look_ns * 1e-9 * self._pending
        for answer in answers:
            if answer.ref not in answer.worker.refs:  # forgotten with its worker
                self._wasted_s += answer.seconds
                self._tally["recomputed"] += isinstance(answer.event, BlockDone)
                continue
            clock += costs.receive_us * 1e-6
            self._settle(answer)
            if isinstance(answer.event, BlockDone):
                clock += costs.other_us * 1e-6
                self._count(answer.seconds, clock)
            for instruction in self._dispatch.handle(answer.event):
                clock += costs.submit_us * 1e-6
                self._carry_out(instruction, clock)
        self._driver_s += clock - self._now
        self._through_s = clock
        self._at(clock, self._look)

    def _settle(self, answer: _Answer) -> None:
        """Forget the reference, and with a lost worker all that it was to answer."""
        refs = answer.worker.refs
        gone = len(refs) if isinstance(answer.event, WorkerLost) else 1
        self._pending -= gone
        if gone == 1:
            del refs[answer.ref]
        else:
            refs.clear()

    def _count(self, seconds: float, clock: float) -> None:
        self._useful_s += seconds
        self._tally["n_done"] += 1
        for n, share in enumerate(STEADY):
            if self._tally["n_done"] == int(share * self._fleet.n_blocks):
                self._steady[n] = (clock, self._useful_s)

    def _carry_out(self, instruction: Instruction, clock: float) -> None:
        match instruction:
            case Submit(worker, block, _):
                self._submit(self._by_name[worker], block, clock)
            case AwaitWorker(worker):
                self._await(self._by_name[worker], clock)
            case Quarantine():
                self._tally["n_quarantined"] += 1
            case Retire():
                self._tally["retired"] += 1

    def _hold(self, worker: _Worker, block: str | None) -> int:
        self._pending += 1
        ref = next(self._refs)
        worker.refs[ref] = block
        return ref

    def _submit(self, worker: _Worker, block: str, clock: float) -> None:
        ref, trip_s = self._hold(worker, block), self._fleet.round_trip_s
        if not worker.up:
            known_s = max(clock + trip_s, worker.notice_s)
            self._at(known_s, partial(self._tell_lost, worker, ref))
            return
        start_s = max(clock + trip_s / 2, worker.free_s)
        end_s = worker.free_s = start_s + worker.slow * self._seconds[int(block)]
        worker.sent[ref] = start_s, end_s
        self._at(end_s + trip_s / 2, partial(self._finish, worker, ref, block))

    def _await(self, worker: _Worker, clock: float) -> None:
        ref = self._hold(worker, None)
        self._at(clock + self._fleet.round_trip_s, partial(self._report_ready, worker, ref))

    # The machines.

    def _finish(self, worker: _Worker, ref: int, block: str) -> None:
        if ref in worker.sent:
            start_s, end_s = worker.sent.pop(ref)
            self._bring(_Answer(ref, worker, BlockDone(worker.name, block), end_s - start_s))

    def _report_ready(self, worker: _Worker, ref: int) -> None:
        if worker.up:
            self._bring(_Answer(ref, worker, WorkerReady(worker.name)))
        else:  # the call survives a restart
            again = partial(self._report_ready, worker, ref)
            self._at(worker.back_s + self._fleet.round_trip_s, again)

    def _tell_lost(self, worker: _Worker, ref: int) -> None:
        self._bring(_Answer(ref, worker, WorkerLost(worker.name, "gone")))

    def _down_until(self, worker: _Worker, back_s: float) -> None:
        worker.up, worker.back_s = False, max(worker.back_s, back_s)
        self._at(worker.back_s, partial(self._come_back, worker))

    def _come_back(self, worker: _Worker) -> None:
        if self._now >= worker.back_s:  # nothing put it off meanwhile
            worker.up, worker.free_s = True, self._now

    def _die(self, worker: _Worker, notice_s: float, away_s: float) -> None:
        """End a worker: what it had is lost, and known to be after the notice."""
        if worker.up:
            self._tally["workers_lost"] += 1
            worker.notice_s = self._now + notice_s
            for ref, (start_s, end_s) in list(worker.sent.items()):
                if end_s <= self._now:  # its answer is on the way
                    continue
                del worker.sent[ref]
                if start_s < self._now:
                    self._wasted_s += self._now - start_s
                    self._tally["recomputed"] += 1
                self._at(worker.notice_s, partial(self._tell_lost, worker, ref))
        self._down_until(worker, self._now + notice_s + away_s)

    def _lose_worker(self) -> None:
        worker = self._workers[int(self._rng.integers(len(self._workers)))]
        if worker.up:
            self._die(worker, self._fleet.notice_worker_s, self._fleet.worker_start_s)

    def _lose_node(self, among: int) -> None:
        fleet = self._fleet
        first = int(self._rng.integers(among)) * fleet.slots
        on_node = self._workers[first : first + fleet.slots]
        if any(worker.up for worker in on_node):
            self._tally["nodes_lost"] += 1
            for worker in on_node:
                self._die(worker, fleet.notice_node_s, fleet.node_back_s + fleet.worker_start_s)
