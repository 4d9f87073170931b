"""What a run is measured by, without Ray: the dispatch is real, the clock is a list."""

from collections import Counter, defaultdict
from pathlib import Path

import pytest
from conftest import walk
from hypothesis import given, settings
from hypothesis import strategies as st

from pmx_ray.backtest.blocks import BlockSize, plan_blocks
from pmx_ray.backtest.dispatch import (
    BlockDone,
    BlockRaised,
    Dispatch,
    DispatchPolicy,
    Quarantine,
    Retire,
    WorkerLost,
    WorkerReady,
)
from pmx_ray.backtest.executor import Settled
from pmx_ray.folds import FoldSettings, build_folds
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.lake import Receipt
from pmx_ray.remote.meters import METERS, PUBLISH_S, Publisher, Tally

PANEL = walk("AB", 330)
PLAN = build_folds(PANEL.sessions, FoldSettings(input_size=90, step_size=10, steps=(1, 5)))
SPECS = [ForecasterSpec.parse({"name": name}) for name in ("drift", "random_walk")]
BLOCKS = plan_blocks(
    PANEL, PLAN, specs=SPECS, seed=1, size=BlockSize(folds=6, tickers=1), known=frozenset()
).blocks
DRIFT = [block for block in BLOCKS if block.spec.name == "drift"]


def receipt(block, *, rows=12, failed=0, seconds=0.5):
    path = f"blocks/{block.id[:2]}/{block.id}.parquet"
    return Receipt(block.id, path, rows, failed, "0" * 64, seconds, "node", 1)


class Run:
    """Blocks, the dispatch over them, their tally, and a clock that is set."""

    def __init__(self, blocks, *, attempts=3):
        self.now = 0.0
        self.blocks = {block.id: block for block in blocks}
        self.dispatch = Dispatch.over(self.blocks, DispatchPolicy(2, attempts))
        self.tally = Tally(self.blocks, device="cpu", n_steps=2, monotonic=lambda: self.now)
        self.said = defaultdict(float)
        self.answers = []

    def __call__(self, event, *, at=0.0, **fields):
        self.now = at
        answer = self.dispatch.handle(event)
        done = isinstance(event, BlockDone)
        block = self.blocks[event.block] if done else None
        settled = [Settled(block, receipt(block, **fields))] if done else []
        self.tally.saw(event, answer, settled)
        self.answers += answer
        return answer

    def total(self, name, *labels):
        for series, value in self.tally.drain():
            if METERS[series[0]].kind == "gauge":
                self.said[series] = value
            else:
                self.said[series] += value
        return self.said.get((name, labels), 0.0)

    def gauges(self):
        names = ("pmx_workers", "pmx_blocks_in_flight", "pmx_blocks_waiting")
        return [self.tally.gauges()[name, ("cpu",)] for name in names]


def test_blocks_when_done_then_counted_by_forecaster_with_their_cells():
    run = Run(BLOCKS)
    run(WorkerReady("w"))
    first, *_ = BLOCKS
    run(BlockDone("w", first.id), rows=12, failed=5, seconds=0.25)
    name = first.spec.name
    assert run.total("pmx_blocks", name, "cpu") == 1
    assert run.total("pmx_cells", name, "cpu") == 12
    assert run.total("pmx_failed_cells", name, "cpu") == 5
    assert run.total("pmx_block_seconds", name, "cpu") == 0.25


def test_drain_when_asked_twice_then_what_was_told_is_not_told_again():
    run = Run(BLOCKS)
    run(WorkerReady("w"))
    run(BlockDone("w", BLOCKS[0].id))
    assert "pmx_blocks" in {name for (name, _), _ in run.tally.drain()}
    assert {METERS[name].kind for (name, _), _ in run.tally.drain()} == {"gauge"}


def test_drain_when_no_cell_failed_then_no_counter_is_added_nothing_to():
    run = Run(BLOCKS)
    run(WorkerReady("w"))
    run(BlockDone("w", BLOCKS[0].id), failed=0)
    assert "pmx_failed_cells" not in {name for (name, _), _ in run.tally.drain()}


def test_worker_when_it_dies_then_the_oldest_blocks_time_since_it_began_is_lost():
    run = Run(DRIFT)
    run(WorkerReady("w"), at=10.0)
    run(BlockDone("w", DRIFT[0].id), at=13.0)  # the second began here, though handed out at 10
    run(WorkerLost("w", "killed"), at=17.5)
    assert run.total("pmx_lost_seconds", "drift", "cpu", "died") == 4.5
    assert run.total("pmx_lost_workers", "cpu") == 1


def test_worker_when_it_dies_with_nothing_to_do_then_no_time_is_lost():
    run = Run(DRIFT[:1])
    run(WorkerReady("w"))
    run(BlockDone("w", DRIFT[0].id), at=1.0)
    run(WorkerLost("w", "killed"), at=9.0)
    assert run.total("pmx_lost_seconds", "drift", "cpu", "died") == 0.0
    assert run.total("pmx_lost_workers", "cpu") == 1


def test_block_when_it_raises_then_its_time_is_lost_and_the_next_begins():
    run = Run(DRIFT)
    run(WorkerReady("w"))
    run(BlockRaised("w", DRIFT[0].id, "planted"), at=2.0)
    run(BlockRaised("w", DRIFT[1].id, "planted"), at=2.5)
    assert run.total("pmx_lost_seconds", "drift", "cpu", "raised") == 2.5


def test_block_when_quarantined_then_every_cell_of_it_is_counted():
    run = Run(DRIFT[:1], attempts=1)
    run(WorkerReady("w"))
    run(BlockRaised("w", DRIFT[0].id, "planted"))
    assert run.total("pmx_quarantined_blocks", "drift", "cpu") == 1
    assert run.total("pmx_quarantined_cells", "drift", "cpu") == 6 * 1 * 2  # folds, tickers, steps
    assert run.gauges() == [1, 0, 0]


def test_gauges_when_the_run_ended_early_then_nothing_waits_and_nobody_works():
    run = Run(BLOCKS)
    run(WorkerReady("w"))
    assert run.gauges() == [1, 2, len(BLOCKS) - 2]
    run.tally.ended()
    assert run.gauges() == [0, 0, 0]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_gauges_when_anything_happens_then_those_of_the_dispatch(data):
    run = Run(BLOCKS, attempts=2)
    workers, gone = {"v", "w", "x"}, set()
    for _ in range(data.draw(st.integers(0, 60))):
        worker = data.draw(st.sampled_from(sorted(workers - gone) or ["none"]))
        queue = run.dispatch.in_flight.get(worker)
        if worker == "none":
            break
        if queue is None:
            answer = run(WorkerReady(worker))
        elif queue:
            kind = data.draw(st.sampled_from(["done", "raised", "lost"]))
            event = {
                "done": BlockDone(worker, queue[0]),
                "raised": BlockRaised(worker, queue[0], "planted"),
                "lost": WorkerLost(worker, "killed"),
            }[kind]
            answer = run(event)
        else:
            answer = run(WorkerLost(worker, "killed"))
        gone |= {step.worker for step in answer if isinstance(step, Retire)}
        in_flight = sum(len(queue) for queue in run.dispatch.in_flight.values())
        assert run.gauges() == [len(run.dispatch.in_flight), in_flight, len(run.dispatch.queue)]
    given_up = sum(isinstance(step, Quarantine) for step in run.answers)
    names = ("drift", "random_walk")
    assert sum(run.total("pmx_quarantined_blocks", name, "cpu") for name in names) == given_up


class Recorded:
    def __init__(self):
        self.values, self.n = Counter(), 0

    def __call__(self, series, value):
        self.values[series] += value
        self.n += 1


def test_publisher_when_ticked_often_then_ray_is_touched_once_a_second():
    run, recorded, clock = Run(BLOCKS), Recorded(), [0.0]
    publisher = Publisher([run.tally], monotonic=lambda: clock[0], record=recorded)
    publisher.tick()
    n_gauges = recorded.n
    for n in range(9):
        clock[0] = n * PUBLISH_S / 10
        publisher.tick()
    assert recorded.n == n_gauges
    clock[0] = PUBLISH_S
    publisher.tick()
    assert recorded.n == 2 * n_gauges


def test_publisher_when_blocks_were_held_then_they_count_once_by_forecaster():
    recorded = Recorded()
    publisher = Publisher([Run(BLOCKS).tally], held=DRIFT[:3], record=recorded)
    publisher.tick()
    publisher.end()
    assert recorded.values["pmx_cached_blocks", ("drift", "cpu")] == 3


def test_publisher_when_the_run_ends_then_the_last_blocks_are_told():
    run, recorded = Run(BLOCKS), Recorded()
    publisher = Publisher([run.tally], monotonic=lambda: 0.0, record=recorded)
    publisher.tick()
    run(WorkerReady("w"))
    run(BlockDone("w", BLOCKS[0].id))
    publisher.end()
    assert recorded.values["pmx_blocks", (BLOCKS[0].spec.name, "cpu")] == 1


@pytest.mark.parametrize("name", sorted(METERS))
def test_docs_when_a_metric_is_there_then_they_tell_of_it(name):
    text = (Path(__file__).parents[2] / "docs" / "observe.md").read_text(encoding="utf-8")
    meter = METERS[name]
    labels = ", ".join(f"`{label}`" for label in meter.labels)
    assert f"| `{meter.shown}` | {meter.kind} | {labels} | {meter.told} |" in text
