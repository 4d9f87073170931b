"""Which worker computes which block: events in, instructions out; no Ray, no clock, no sockets.

A thin shell carries the instructions out and reports what happened. The rules: each worker has a
bounded number of blocks queued; a worker works its queue in order, so when it dies the oldest of
its blocks is the suspect and the others go back untouched; a block suspected ``max_attempts`` times
is quarantined, so that one poison block costs only its own cells; a worker that dies again and
again without finishing anything is retired; one that is to leave is given nothing more, and is let
go once what it holds is back. An event costs the same with ten workers and with ten
thousand, but for the logarithm of a heap.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class DispatchPolicy:
    """Bounds of the dispatch.

    Attributes
    ----------
    in_flight : int
        Blocks handed to a worker and not yet back.
    max_attempts : int
        Times a block may take a worker down or raise before it is quarantined.
    max_deaths : int
        Deaths in a row, without a finished block, after which a worker is retired.
    """

    in_flight: int = 2
    max_attempts: int = 3
    max_deaths: int = 5


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """A worker started, or came back."""

    worker: str


@dataclass(frozen=True, slots=True)
class BlockDone:
    """A worker finished a block."""

    worker: str
    block: str


@dataclass(frozen=True, slots=True)
class BlockRaised:
    """A block raised in a worker that lives on."""

    worker: str
    block: str
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """A worker died; whatever it had in flight is lost."""

    worker: str
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerLeaves:
    """A worker's place is needed by others; what it has in flight may still be finished."""

    worker: str


Event: TypeAlias = WorkerReady | BlockDone | BlockRaised | WorkerLost | WorkerLeaves


@dataclass(frozen=True, slots=True)
class Submit:
    """Hand a block to a worker."""

    worker: str
    block: str
    attempt: int


@dataclass(frozen=True, slots=True)
class AwaitWorker:
    """Wait for a lost worker to come back, then report ``WorkerReady``."""

    worker: str


@dataclass(frozen=True, slots=True)
class Retire:
    """Give a worker up."""

    worker: str
    reason: str


@dataclass(frozen=True, slots=True)
class Release:
    """Let a worker go that was to leave; it holds nothing any more."""

    worker: str


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Give a block up; its cells become rows with the status ``quarantined``."""

    block: str
    attempts: int
    reason: str


Instruction: TypeAlias = Submit | AwaitWorker | Retire | Release | Quarantine


@dataclass(slots=True)
class Dispatch:
    """State of one run; feed it events, carry out what it answers.

    Attributes
    ----------
    queue : deque of str
        Block ids not yet handed out, in the order they are to start.
    policy : DispatchPolicy
        The bounds.
    """

    queue: deque[str]
    policy: DispatchPolicy = field(default_factory=DispatchPolicy)
    in_flight: dict[str, list[str]] = field(default_factory=dict)
    _attempts: dict[str, int] = field(default_factory=dict)
    _deaths: dict[str, int] = field(default_factory=dict)
    _leaving: set[str] = field(default_factory=set)
    _room: list[tuple[int, str]] = field(default_factory=list)  # a heap; see `_offer`
    _n_out: int = 0

    @classmethod
    def over(cls, blocks: Iterable[str], policy: DispatchPolicy) -> "Dispatch":
        """Return the state before any worker is ready."""
        return cls(deque(blocks), policy)

    @property
    def finished(self) -> bool:
        """Whether every block is done or quarantined."""
        return self.n_left == 0

    @property
    def n_left(self) -> int:
        """Blocks that are neither done nor quarantined."""
        return len(self.queue) + self._n_out

    @property
    def stranded(self) -> bool:
        """Whether blocks wait, none is in flight and no worker is ready to take one."""
        return bool(self.queue) and not self.in_flight

    def handle(self, event: Event) -> Sequence[Instruction]:
        """Take one event and return what is to be done about it, in order."""
        match event:
            case WorkerReady(worker):
                self.in_flight.setdefault(worker, [])
                self._offer(worker)
                return self._fill()
            case BlockDone(worker, block):
                self._deaths.pop(worker, None)
                self._forget(worker, block)
                return [*self._let_go(worker), *self._fill()]
            case BlockRaised(worker, block, reason):
                self._forget(worker, block)
                suspect = self._suspect(block, reason)
                return [*suspect, *self._let_go(worker), *self._fill()]
            case WorkerLost(worker, reason):
                return self._lose(worker, reason)
            case WorkerLeaves(worker):
                self._leaving.add(worker)
                return self._let_go(worker)

    def _lose(self, worker: str, reason: str) -> list[Instruction]:
        blocks = self.in_flight.pop(worker, [])
        self._n_out -= len(blocks)
        self.queue.extendleft(reversed(blocks[1:]))
        answer = self._suspect(blocks[0], reason) if blocks else []
        deaths = self._deaths[worker] = self._deaths.get(worker, 0) + 1
        if worker in self._leaving:
            answer += self._let_go(worker)
        elif deaths >= self.policy.max_deaths:
            answer.append(Retire(worker, f"died {deaths} times in a row: {reason}"))
        else:
            answer.append(AwaitWorker(worker))
        return [*answer, *self._fill()]

    def _let_go(self, worker: str) -> list[Instruction]:
        if worker not in self._leaving or self.in_flight.get(worker):
            return []
        self._leaving.remove(worker)
        self.in_flight.pop(worker, None)
        return [Release(worker)]

    def _suspect(self, block: str, reason: str) -> list[Instruction]:
        attempts = self._attempts[block] = self._attempts.get(block, 0) + 1
        if attempts >= self.policy.max_attempts:
            return [Quarantine(block, attempts, reason)]
        self.queue.appendleft(block)
        return []

    def _forget(self, worker: str, block: str) -> None:
        if block in self.in_flight.get(worker, []):
            self.in_flight[worker].remove(block)
            self._n_out -= 1
            self._offer(worker)

    def _fill(self) -> list[Instruction]:
        """Hand out blocks one by one to the worker with the shortest queue."""
        answer: list[Instruction] = []
        while self.queue and (worker := self._roomiest()) is not None:
            block = self.queue.popleft()
            self.in_flight[worker].append(block)
            self._n_out += 1
            self._offer(worker)
            answer.append(Submit(worker, block, self._attempts.get(block, 0) + 1))
        return answer

    def _offer(self, worker: str) -> None:
        """Note how long a worker's queue is now; what was noted of it before no longer counts."""
        n_held = len(self.in_flight[worker])
        if n_held < self.policy.in_flight and worker not in self._leaving:
            heappush(self._room, (n_held, worker))

    def _roomiest(self) -> str | None:
        """Return the worker with the shortest queue, the first by name of several; None if full."""
        while self._room:
            n_held, worker = heappop(self._room)
            held = self.in_flight.get(worker)
            current = held is not None and len(held) == n_held
            if current and worker not in self._leaving:
                return worker
        return None
