"""The dispatch beside its plain twin, which looks at every worker for every block."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

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


@dataclass
class PlainDispatch:
    """The rules as they read: no heap, no counter."""

    queue: deque[str]
    policy: DispatchPolicy
    in_flight: dict[str, list[str]] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    deaths: dict[str, list[str | None]] = field(default_factory=dict)
    killed: dict[str, set[str]] = field(default_factory=dict)
    leaving: set[str] = field(default_factory=set)

    @property
    def finished(self) -> bool:
        return not self.queue and not any(self.in_flight.values())

    @property
    def stranded(self) -> bool:
        return bool(self.queue) and not self.in_flight

    def handle(self, event: Event) -> Sequence[Instruction]:
        match event:
            case WorkerReady(worker):
                self.in_flight.setdefault(worker, [])
                return self.fill()
            case BlockDone(worker, block):
                self.deaths.pop(worker, None)
                self.killed.pop(block, None)
                self.forget(worker, block)
                return [*self.let_go(), *self.fill()]
            case BlockRaised(worker, block, reason):
                self.forget(worker, block)
                suspect = self.suspect(block, reason)
                return [*suspect, *self.let_go(), *self.fill()]
            case WorkerLost(worker, reason):
                return self.lose(worker, reason)
            case WorkerLeaves(worker):
                self.leaving.add(worker)
                return [*self.let_go(), *self.fill()]

    def lose(self, worker: str, reason: str) -> list[Instruction]:
        blocks = self.in_flight.pop(worker, [])
        self.queue.extendleft(reversed(blocks[1:]))
        self.deaths[worker] = [*self.deaths.get(worker, []), blocks[0] if blocks else None]
        answer = []
        if blocks:
            self.killed[blocks[0]] = {*self.killed.get(blocks[0], ()), worker}
            answer += self.suspect(blocks[0], reason)
        n_deaths, of = len(self.deaths[worker]), set(self.deaths[worker])
        if worker in self.leaving:
            answer += self.let_go()
        elif n_deaths >= self.policy.max_deaths and not any(of == {block} for block in of if block):
            answer.append(Retire(worker, f"died {n_deaths} times in a row: {reason}"))
        else:
            answer.append(AwaitWorker(worker))
        return [*answer, *self.fill()]

    def let_go(self) -> list[Instruction]:
        gone = [worker for worker in sorted(self.leaving) if not self.in_flight.get(worker)]
        for worker in gone:
            self.leaving.remove(worker)
            self.in_flight.pop(worker, None)
        return [Release(worker) for worker in gone]

    def suspect(self, block: str, reason: str) -> list[Instruction]:
        attempts = self.attempts[block] = self.attempts.get(block, 0) + 1
        if attempts >= self.policy.max_attempts:
            for worker in self.killed.pop(block, set()):
                self.deaths[worker] = [of for of in self.deaths.get(worker, []) if of != block]
            return [Quarantine(block, attempts, reason)]
        self.queue.appendleft(block)
        return []

    def forget(self, worker: str, block: str) -> None:
        if block in self.in_flight.get(worker, []):
            self.in_flight[worker].remove(block)

    def fill(self) -> list[Instruction]:
        answer: list[Instruction] = []
        while (match := self.match()) is not None:
            worker, block = match
            self.queue.remove(block)
            self.in_flight[worker].append(block)
            answer.append(Submit(worker, block, self.attempts.get(block, 0) + 1))
        return answer

    def match(self) -> tuple[str, str] | None:
        staying = self.in_flight.keys() - self.leaving
        for worker in sorted(staying, key=lambda name: (len(self.in_flight[name]), name)):
            if len(self.in_flight[worker]) >= self.policy.in_flight:
                break
            for block in self.queue:
                killed = self.killed.get(block, set())
                if worker not in killed or not staying - killed:
                    return worker, block
        return None


WORKERS = [f"w{n}" for n in range(5)]
policies = st.builds(DispatchPolicy, st.integers(0, 4), st.integers(1, 3), st.integers(1, 4))


def an_event(data: st.DataObject, held: dict[str, list[str]], blocks: list[str]) -> Event:
    """Draw what may happen: of blocks in flight mostly, and now and then what makes no sense."""
    worker = data.draw(st.sampled_from(WORKERS))
    at_hand = held.get(worker) if data.draw(st.integers(0, 9)) else blocks
    of_blocks = ["done", "done", "raised"] if at_hand else ["ready"]
    kinds = [*of_blocks, "lost", "ready", "leaves"]
    match data.draw(st.sampled_from(kinds)):
        case "done":
            return BlockDone(worker, data.draw(st.sampled_from(at_hand)))
        case "raised":
            return BlockRaised(worker, data.draw(st.sampled_from(at_hand)), "x")
        case "lost":
            return WorkerLost(worker, "y")
        case "leaves":
            return WorkerLeaves(worker)
        case _:
            return WorkerReady(worker)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), n_blocks=st.integers(0, 30), policy=policies)
def test_dispatch_whatever_is_reported_then_it_answers_as_its_plain_twin(
    data: st.DataObject, n_blocks: int, policy: DispatchPolicy
) -> None:
    blocks = [f"b{n}" for n in range(n_blocks)]
    fast, plain = Dispatch.over(blocks, policy), PlainDispatch(deque(blocks), policy)
    for _ in range(data.draw(st.integers(0, 80))):
        event = an_event(data, plain.in_flight, blocks)
        assert list(fast.handle(event)) == list(plain.handle(event))
        assert fast.in_flight == plain.in_flight
        assert (fast.finished, fast.stranded) == (plain.finished, plain.stranded)
    assert fast.queue == plain.queue


def test_dispatch_when_workers_are_many_then_a_block_is_not_compared_with_each() -> None:
    class Named(str):
        """A worker's name that counts how often it is compared."""

        __slots__ = ()
        compared = 0

        def __lt__(self, other: str) -> bool:
            Named.compared += 1
            return str.__lt__(self, other)

    n_workers, n_blocks = 1000, 4000
    dispatch = Dispatch.over([f"b{n}" for n in range(n_blocks)], DispatchPolicy())
    for n in range(n_workers):
        dispatch.handle(WorkerReady(Named(f"w{n:04d}")))
    done = 0
    while not dispatch.finished:
        for worker in list(dispatch.in_flight):
            if dispatch.in_flight[worker]:
                dispatch.handle(BlockDone(worker, dispatch.in_flight[worker][0]))
                done += 1
    assert done == n_blocks
    assert Named.compared < 20 * n_blocks  # one by one it would be n_workers * n_blocks
