from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmx_ray.backtest.dispatch import (
    AwaitWorker,
    BlockDone,
    BlockRaised,
    Dispatch,
    DispatchPolicy,
    Quarantine,
    Release,
    Retire,
    Submit,
    WorkerLeaves,
    WorkerLost,
    WorkerReady,
)

POLICY = DispatchPolicy(in_flight=2, max_attempts=3, max_deaths=3)


def start(blocks: str, workers: str = "w") -> Dispatch:
    dispatch = Dispatch.over(blocks, POLICY)
    for worker in workers:
        dispatch.handle(WorkerReady(worker))
    return dispatch


def test_worker_when_ready_then_gets_blocks_up_to_the_bound() -> None:
    dispatch = Dispatch.over("abcd", POLICY)
    assert dispatch.handle(WorkerReady("w")) == [Submit("w", "a", 1), Submit("w", "b", 1)]


def test_blocks_when_two_workers_are_ready_then_the_shorter_queue_gets_the_next() -> None:
    dispatch = start("abcdef", "vw")
    assert dispatch.in_flight == {"v": ["a", "b"], "w": ["c", "d"]}
    assert dispatch.handle(BlockDone("w", "c")) == [Submit("w", "e", 1)]


def test_block_when_done_then_makes_room_and_the_run_ends() -> None:
    dispatch = start("ab")
    assert dispatch.handle(BlockDone("w", "a")) == []
    assert not dispatch.finished
    dispatch.handle(BlockDone("w", "b"))
    assert dispatch.finished


def test_worker_when_lost_then_only_its_oldest_block_is_suspected() -> None:
    dispatch = start("abc", "w")
    assert dispatch.handle(WorkerLost("w", "killed")) == [AwaitWorker("w")]
    again = dispatch.handle(WorkerReady("w"))
    assert again == [Submit("w", "a", 2), Submit("w", "b", 1)]


def test_block_when_it_kills_three_times_then_quarantined_and_the_rest_goes_on() -> None:
    dispatch = start("ab")
    for _ in range(2):
        dispatch.handle(WorkerLost("w", "killed"))
        dispatch.handle(WorkerReady("w"))
    answer = dispatch.handle(WorkerLost("w", "killed"))
    assert answer == [Quarantine("a", 3, "killed"), AwaitWorker("w")]
    assert dispatch.handle(WorkerReady("w")) == [Submit("w", "b", 1)]


def test_block_when_it_raises_three_times_then_quarantined_and_the_worker_lives() -> None:
    dispatch = start("ab")
    assert dispatch.handle(BlockRaised("w", "a", "boom")) == [Submit("w", "a", 2)]
    assert dispatch.handle(BlockRaised("w", "a", "boom")) == [Submit("w", "a", 3)]
    assert dispatch.handle(BlockRaised("w", "a", "boom")) == [Quarantine("a", 3, "boom")]


def test_worker_when_it_dies_in_a_row_then_retired() -> None:
    dispatch = Dispatch.over("a", POLICY)
    dispatch.handle(WorkerLost("w", "no plugin"))
    dispatch.handle(WorkerLost("w", "no plugin"))
    answer = dispatch.handle(WorkerLost("w", "no plugin"))
    assert answer == [Retire("w", "died 3 times in a row: no plugin")]
    assert dispatch.stranded


@pytest.mark.parametrize("policy", [POLICY, DispatchPolicy(2, max_attempts=6, max_deaths=5)])
def test_worker_when_many_poison_blocks_lie_together_then_they_are_given_up_and_it_is_not(
    policy: DispatchPolicy,
) -> None:
    poison, good = [f"p{n}" for n in range(10)], ["g0", "g1"]
    dispatch, given_up = Dispatch.over([*poison, *good], policy), []
    dispatch.handle(WorkerReady("w"))
    while not dispatch.finished:
        block = dispatch.in_flight["w"][0]
        if block in good:
            dispatch.handle(BlockDone("w", block))
            continue
        answer = dispatch.handle(WorkerLost("w", "killed"))
        given_up += [one.block for one in answer if isinstance(one, Quarantine)]
        assert AwaitWorker("w") in answer
        dispatch.handle(WorkerReady("w"))
    assert given_up == poison


def test_worker_when_its_node_is_bad_then_it_is_retired_and_its_blocks_are_done_elsewhere() -> None:
    dispatch = start("abcdefghijkl", "vw")
    retired = False
    for _ in range(POLICY.max_deaths):
        lost = dispatch.in_flight["v"][0]
        answer = dispatch.handle(WorkerLost("v", "no memory"))
        retired = any(isinstance(one, Retire) for one in answer)
        assert not any(isinstance(one, Quarantine) for one in answer)
        for _ in range(3):  # its own two, then the suspect
            if lost not in dispatch.in_flight["w"]:
                dispatch.handle(BlockDone("w", dispatch.in_flight["w"][0]))
        dispatch.handle(BlockDone("w", lost))
        if not retired:
            dispatch.handle(WorkerReady("v"))
    assert retired


def test_suspect_when_another_worker_is_there_then_it_goes_to_that_one() -> None:
    dispatch = start("abcdef", "vw")  # v has a and b, w has c and d
    dispatch.handle(WorkerLost("v", "killed"))
    answer = dispatch.handle(WorkerReady("v"))
    assert answer == [Submit("v", "b", 1), Submit("v", "e", 1)]
    assert dispatch.handle(BlockDone("w", "c")) == [Submit("w", "a", 2)]


def test_suspect_when_the_others_leave_then_it_goes_back_to_the_worker_that_died_of_it() -> None:
    dispatch = start("abcd", "vw")
    dispatch.handle(WorkerLost("v", "killed"))
    assert dispatch.handle(WorkerReady("v")) == [Submit("v", "b", 1)]
    assert dispatch.handle(WorkerLeaves("w")) == [Submit("v", "a", 2)]


def test_worker_when_lost_then_others_take_its_blocks() -> None:
    dispatch = start("abcdef", "vw")
    dispatch.handle(BlockDone("w", "c"))
    answer = dispatch.handle(WorkerLost("v", "node gone"))
    assert AwaitWorker("v") in answer
    dispatch.handle(BlockDone("w", "d"))
    assert dispatch.in_flight["w"] == ["e", "a"]


def test_worker_when_it_is_to_leave_then_it_finishes_what_it_holds_and_gets_no_more() -> None:
    dispatch = start("abcdef", "vw")
    assert dispatch.handle(WorkerLeaves("v")) == []
    assert dispatch.handle(BlockDone("v", "a")) == []
    assert dispatch.handle(BlockDone("v", "b")) == [Release("v")]
    assert dispatch.handle(BlockDone("w", "c")) == [Submit("w", "e", 1)]


def test_worker_when_it_dies_as_it_leaves_then_its_blocks_go_on_elsewhere() -> None:
    dispatch = start("abcd", "vw")
    dispatch.handle(WorkerLeaves("v"))
    assert dispatch.handle(WorkerLost("v", "gone")) == [Release("v")]
    assert dispatch.handle(BlockDone("w", "c")) == [Submit("w", "a", 2)]


def test_worker_when_it_leaves_before_it_is_ready_then_let_go_at_once() -> None:
    assert start("a", "").handle(WorkerLeaves("v")) == [Release("v")]


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_dispatch_whatever_happens_then_every_block_settles_once_within_bounds(
    data: st.DataObject,
) -> None:
    blocks = [f"b{n}" for n in range(data.draw(st.integers(1, 12)))]
    poison = set(data.draw(st.lists(st.sampled_from(blocks))))
    dispatch = Dispatch.over(blocks, DispatchPolicy())
    queues: dict[str, list[str]] = {"v": [], "w": []}
    coming = [WorkerReady("v"), WorkerReady("w")]
    settled: Counter[str] = Counter()
    attempts: Counter[str] = Counter()
    for _ in range(2000):
        if dispatch.finished:
            break
        busy = [worker for worker, queue in queues.items() if queue]
        if coming and (not busy or data.draw(st.booleans())):
            event = coming.pop(0)
        else:
            worker = data.draw(st.sampled_from(busy))
            block = queues[worker][0]  # a worker works in order
            event = BlockDone(worker, block)
            if block in poison:
                event = data.draw(
                    st.sampled_from([WorkerLost(worker, "x"), BlockRaised(worker, block, "x")])
                )
        match event:
            case WorkerLost(worker, _):
                queues[worker].clear()
            case BlockDone(worker, block) | BlockRaised(worker, block, _):
                queues[worker].remove(block)
                settled[block] += isinstance(event, BlockDone)
        for instruction in dispatch.handle(event):
            match instruction:
                case Submit(worker, block, attempt):
                    queues[worker].append(block)
                    attempts[block] = max(attempts[block], attempt)
                    assert len(queues[worker]) <= 2
                case AwaitWorker(worker):
                    coming.append(WorkerReady(worker))
                case Retire(worker):
                    queues.pop(worker)
                case Quarantine(block, _, _):
                    settled[block] += 1
                    assert block in poison
    assert queues
    assert dispatch.finished
    assert settled == Counter(blocks)
    assert max(attempts.values(), default=0) <= 3


def test_policy_when_defaults_then_as_documented() -> None:
    assert DispatchPolicy() == DispatchPolicy(in_flight=2, max_attempts=3, max_deaths=5)
    with pytest.raises(AttributeError):
        DispatchPolicy().in_flight = 3  # type: ignore[misc]
