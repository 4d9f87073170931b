"""What a run on Ray is measured by: counted as it happens, handed to Ray's metrics once a second.

Counting is arithmetic on this process's own numbers. Ray's metrics cost more a time, so that they
are touched off the path of a block. Ray shows a metric ``pmx_x`` as ``ray_pmx_x``, a counter as
``ray_pmx_x_total``, and adds up what drivers on one node say: so each names itself in the label
``driver``. The label ``forecaster`` is the family's name: specs of a search may be thousands,
families are few.
"""

import math
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeAlias

from pmx_ray.backtest.blocks import WorkBlock
from pmx_ray.backtest.dispatch import (
    BlockDone,
    BlockRaised,
    Event,
    Instruction,
    Quarantine,
    Release,
    Submit,
    WorkerLost,
    WorkerReady,
)
from pmx_ray.backtest.executor import Settled
from pmx_ray.forecasters.registry import Device
from pmx_ray.lake import Receipt

PUBLISH_S = 1.0
"""Seconds between two times that Ray's metrics are touched."""

BUCKETS_S = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0)
"""Upper bounds of the histogram of a block's seconds; a block aims at one second."""

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Meter:
    """One metric.

    Attributes
    ----------
    name : str
        As it is declared.
    kind : {"counter", "gauge", "histogram"}
        How Prometheus reads it.
    labels : tuple of str
        Beside ``driver``, and those that Ray adds.
    told : str
        What is measured, and in which unit.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    told: str

    @property
    def shown(self) -> str:
        """The name of it in Prometheus; of a histogram without its endings."""
        return f"ray_{self.name}_total" if self.kind == "counter" else f"ray_{self.name}"


_OF_FORECASTER, _OF_DEVICE = ("forecaster", "device"), ("device",)

METERS: Mapping[str, Meter] = {
    meter.name: meter
    for meter in (
        Meter("pmx_blocks", "counter", _OF_FORECASTER, "Blocks computed."),
        Meter(
            "pmx_cells", "counter", _OF_FORECASTER, "Cells of them: ticker by fold by step."
        ),
        Meter(
            "pmx_failed_cells", "counter", _OF_FORECASTER,
            "Cells among them with a status other than ok.",
        ),
        Meter(
            "pmx_cached_blocks", "counter", _OF_FORECASTER,
            "Blocks that the lake held already, so that nothing was computed.",
        ),
        Meter(
            "pmx_quarantined_blocks", "counter", _OF_FORECASTER,
            "Blocks given up after their last attempt.",
        ),
        Meter("pmx_quarantined_cells", "counter", _OF_FORECASTER, "Cells of them."),
        Meter(
            "pmx_lost_seconds", "counter", (*_OF_FORECASTER, "cause"),
            "Seconds of a worker spent on blocks that raised, or died with it.",
        ),
        Meter("pmx_lost_workers", "counter", _OF_DEVICE, "Times that a worker died."),
        Meter("pmx_workers", "gauge", _OF_DEVICE, "Workers that are ready."),
        Meter(
            "pmx_blocks_waiting", "gauge", _OF_DEVICE, "Blocks not yet handed to a worker."
        ),
        Meter(
            "pmx_blocks_in_flight", "gauge", _OF_DEVICE,
            "Blocks at a worker: one computed, the others next.",
        ),
        Meter(
            "pmx_block_seconds", "histogram", _OF_FORECASTER,
            "Seconds of a worker that a block took, without compiling.",
        ),
    )
}  # fmt: skip
"""Every metric of a run."""

Series: TypeAlias = tuple[str, tuple[str, ...]]
"""A metric's name and the values of its labels, in their order."""

Record: TypeAlias = Callable[[Series, float], None]
"""Takes what is added to a counter, a gauge's value, or one value of a histogram."""


class Tally:
    """What one pool's run adds up to; fed with what goes through its dispatch.

    Parameters
    ----------
    blocks : mapping of str to WorkBlock
        To be computed, by id.
    device : {"cpu", "gpu"}
        Of the pool.
    n_steps : int
        Steps that each fold is scored at.
    monotonic : callable
        Seconds, of a clock that never goes back.
    """

    def __init__(
        self,
        blocks: Mapping[str, WorkBlock],
        *,
        device: Device,
        n_steps: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._blocks = blocks
        self._device, self._n_steps, self._monotonic = device, n_steps, monotonic
        self._n_settled = 0
        self._queues: dict[str, deque[str]] = {}  # by worker that is ready, the oldest first
        self._began: dict[str, float] = {}  # when a worker took up the oldest of its blocks
        self._added: dict[Series, float] = defaultdict(float)
        self._seconds: list[tuple[str, float]] = []

    def saw(self, event: Event, answer: Sequence[Instruction], settled: Sequence[Settled]) -> None:
        """Count what happened.

        Parameters
        ----------
        event : Event
            What the dispatch was told.
        answer : sequence of Instruction
            What it answered.
        settled : sequence of Settled
            The blocks that a worker finished by it.
        """
        now = self._monotonic()
        match event:
            case WorkerReady(worker):
                self._queues.setdefault(worker, deque())
            case BlockDone(worker, block):
                self._off(worker, block, now)
            case BlockRaised(worker, block):
                self._lose(worker, block, now, "raised")
                self._off(worker, block, now)
            case WorkerLost(worker):
                self._added["pmx_lost_workers", (self._device,)] += 1
                queue = self._queues.pop(worker, None)
                if queue:
                    self._lose(worker, queue[0], now, "died")
        for instruction in answer:
            if isinstance(instruction, Submit):
                self._on(instruction.worker, instruction.block, now)
            elif isinstance(instruction, Quarantine):
                self._give_up(self._blocks[instruction.block])
            elif isinstance(instruction, Release):
                self._queues.pop(instruction.worker, None)
        for row in settled:
            if row.receipt is not None:
                self._done(row.block, row.receipt)

    def gauges(self) -> dict[Series, float]:
        """Return how many workers are ready, and where the blocks are."""
        in_flight = sum(len(queue) for queue in self._queues.values())
        waiting = len(self._blocks) - self._n_settled - in_flight
        return {
            ("pmx_workers", (self._device,)): len(self._queues),
            ("pmx_blocks_in_flight", (self._device,)): in_flight,
            ("pmx_blocks_waiting", (self._device,)): waiting,
        }

    def drain(self) -> list[tuple[Series, float]]:
        """Return what counters gain and blocks took since the last time, and the gauges."""
        added = [(series, value) for series, value in self._added.items() if value > 0]
        seconds = [(("pmx_block_seconds", (n, self._device)), s) for n, s in self._seconds]
        self._added, self._seconds = defaultdict(float), []
        return [*added, *seconds, *self.gauges().items()]

    def ended(self) -> None:
        """Forget workers and blocks: the run is over, however it ended."""
        self._queues.clear()
        self._n_settled = len(self._blocks)

    def _done(self, block: WorkBlock, receipt: Receipt) -> None:
        self._n_settled += 1
        self._add("pmx_blocks", block)
        self._add("pmx_cells", block, receipt.rows)
        self._add("pmx_failed_cells", block, receipt.failed)
        self._seconds.append((block.spec.name, receipt.seconds))

    def _give_up(self, block: WorkBlock) -> None:
        self._n_settled += 1
        n_cells = (block.stop - block.first) * len(block.tickers) * self._n_steps
        self._add("pmx_quarantined_blocks", block)
        self._add("pmx_quarantined_cells", block, n_cells)

    def _on(self, worker: str, block: str, now: float) -> None:
        queue = self._queues.setdefault(worker, deque())
        if not queue:
            self._began[worker] = now
        queue.append(block)

    def _off(self, worker: str, block: str, now: float) -> None:
        queue = self._queues.get(worker, deque())
        if block in queue:
            queue.remove(block)
            self._began[worker] = now  # a worker computes its blocks one after the other

    def _lose(self, worker: str, block: str, now: float, cause: str) -> None:
        lost_s = max(now - self._began.get(worker, now), 0.0)
        series = "pmx_lost_seconds", (self._blocks[block].spec.name, self._device, cause)
        self._added[series] += lost_s

    def _add(self, name: str, block: WorkBlock, n: int = 1) -> None:
        self._added[name, (block.spec.name, self._device)] += n


def record_in_ray(series: Series, value: float) -> None:
    """Add to a counter, set a gauge, or note one value of a histogram.

    Parameters
    ----------
    series : Series
        Its name is in ``METERS``.
    value : float
        Above 0 for a counter: Ray refuses to add nothing.
    """
    name, _ = series
    instrument, tags = _instrument(name), _tags(series, _driver())
    match METERS[name].kind:
        case "counter":
            instrument.inc(value, tags=tags)
        case "gauge":
            instrument.set(value, tags=tags)
        case "histogram":
            instrument.observe(value, tags=tags)


class Publisher:
    """Hands tallies to Ray's metrics, at most once in ``PUBLISH_S`` seconds.

    Parameters
    ----------
    tallies : sequence of Tally
        Of the pools of one run.
    held : sequence of WorkBlock
        Blocks of the run that the lake holds already.
    monotonic : callable
        Seconds, of a clock that never goes back.
    record : callable
        Takes a series and a value.
    """

    def __init__(
        self,
        tallies: Sequence[Tally],
        *,
        held: Sequence[WorkBlock] = (),
        monotonic: Callable[[], float] = time.monotonic,
        record: Record = record_in_ray,
    ) -> None:
        self._tallies, self._monotonic, self._record = tallies, monotonic, record
        self._held = Counter((block.spec.name, block.device) for block in held)
        self._next_s = -math.inf

    def tick(self) -> None:
        """Publish if it is time."""
        now = self._monotonic()
        if now >= self._next_s:
            self._next_s = now + PUBLISH_S
            self._publish()

    def end(self) -> None:
        """Publish the last, with no block and no worker left."""
        for tally in self._tallies:
            tally.ended()
        self._publish()

    def _publish(self) -> None:
        while self._held:
            labels, n = self._held.popitem()
            self._record(("pmx_cached_blocks", labels), n)
        for tally in self._tallies:
            for series, value in tally.drain():
                self._record(series, value)


@cache
def _instrument(name: str) -> Any:
    """Return Ray's metric; a process has each once."""
    from ray.util import metrics  # noqa: PLC0415 - the tally is used without Ray

    meter = METERS[name]
    labels = (*meter.labels, "driver")
    match meter.kind:
        case "counter":
            return metrics.Counter(name, meter.told, labels)
        case "gauge":
            return metrics.Gauge(name, meter.told, labels)
        case "histogram":
            return metrics.Histogram(name, meter.told, list(BUCKETS_S), labels)


def _driver() -> str:
    """Return Ray's id of this driver's job in its cluster."""
    import ray  # noqa: PLC0415 - the tally is used without Ray

    return str(ray.get_runtime_context().get_job_id())


@cache
def _tags(series: Series, driver: str) -> dict[str, str]:
    name, labels = series
    return {**dict(zip(METERS[name].labels, labels, strict=True)), "driver": driver}
