"""Which worker computes which block: events in, instructions out; no Ray, no clock, no sockets.

A thin shell carries the instructions out and reports what happened. The rules: each worker has a
bounded number of blocks queued; a worker works its queue in order, so when it dies the oldest of
its blocks is the suspect and the others go back untouched. A suspect goes to a worker that has not
died of it, where there is one: so a bad node shows in its workers, and a poison block in itself. A
block suspected ``max_attempts`` times is quarantined, so that it costs only its own cells, and the
deaths that it caused are no worker's fault any more; a worker that dies again and again of nothing
that explains it is retired. One that is to leave is given nothing more, and is let go once what it
holds is back. An event costs the same with ten workers and with ten thousand, but for the logarithm
of a heap.
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
        Deaths in a row, without a finished block, after which a worker is retired; those of blocks
        that were quarantined do not count, and one block alone retires nobody.
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
    _deaths: dict[str, list[str | None]] = field(default_factory=dict)  # of which block, in a row
    _killed: dict[str, set[str]] = field(default_factory=dict)  # workers, by block
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
                self._killed.pop(block, None)
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
                return [*self._let_go(worker), *self._fill()]

    def _lose(self, worker: str, reason: str) -> list[Instruction]:
        blocks = self.in_flight.pop(worker, [])
        self._n_out -= len(blocks)
        self.queue.extendleft(reversed(blocks[1:]))
        deaths = self._deaths.setdefault(worker, [])
        deaths.append(blocks[0] if blocks else None)
        answer: list[Instruction] = []
        if blocks:
            self._killed.setdefault(blocks[0], set()).add(worker)
            answer += self._suspect(blocks[0], reason)
        if worker in self._leaving:
            answer += self._let_go(worker)
        elif len(deaths) >= self.policy.max_deaths and (None in deaths or len(set(deaths)) > 1):
            answer.append(Retire(worker, f"died {len(deaths)} times in a row: {reason}"))
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
            for worker in self._killed.pop(block, ()):
                deaths = self._deaths.get(worker, [])
                deaths[:] = [other for other in deaths if other != block]
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
        spared: dict[str, None] = {}
        while self.queue and (worker := self._roomiest()) is not None:
            block = self._next_for(worker)
            if block is None:
                spared[worker] = None
                continue
            self.in_flight[worker].append(block)
            self._n_out += 1
            self._offer(worker)
            answer.append(Submit(worker, block, self._attempts.get(block, 0) + 1))
        for worker in spared:
            self._offer(worker)
        return answer

    def _next_for(self, worker: str) -> str | None:
        """Take the next block for a worker out of the queue, None if all are better elsewhere."""
        for n, block in enumerate(self.queue):  # suspects are at the front, and few
            if not self._better_elsewhere(block, worker):
                del self.queue[n]
                return block
        return None

    def _better_elsewhere(self, block: str, worker: str) -> bool:
        """Return whether a worker died of a block that another one is there to try."""
        killed = self._killed.get(block, ())
        return worker in killed and any(
            other not in killed and other not in self._leaving for other in self.in_flight
        )

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
