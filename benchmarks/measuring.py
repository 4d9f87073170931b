"""What every benchmark shares: one core, processor time, medians beside each other, promises.

A benchmark measures both sides of a ratio in one run, turn by turn, and judges the ratio; seconds
alone depend on the machine. ``taskset -c N`` before the command chooses the core.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Options:
    """What every benchmark is asked.

    Attributes
    ----------
    quick : bool
        Take under a minute.
    json : Path or None
        Where the figures go.
    check : bool
        End with 1 where a promise is missed.
    """

    quick: bool
    json: Path | None
    check: bool


def options(doc: str | None, arguments: Sequence[str] | None = None) -> Options:
    """Return the options of a command line; ``doc`` is the module's docstring."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="take under a minute")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--check", action="store_true", help="exit 1 where a promise is missed")
    return Options(**vars(parser.parse_args(arguments)))


@contextmanager
def one_core() -> Iterator[int]:
    """Hold this process and its numerical libraries to one core, whose number is given."""
    os.environ.update(dict.fromkeys(THREADS, "1"))
    before = os.sched_getaffinity(0)
    core = max(before)
    os.sched_setaffinity(0, {core})
    try:
        with threadpool_limits(1):
            yield core
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True, slots=True)
class Sample:
    """Repeated readings of one thing, in seconds.

    Attributes
    ----------
    seconds : tuple of float
        In the order taken.
    """

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Their median."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Largest less smallest, as a share of the median; 0 of a single reading."""
        return (max(self.seconds) - min(self.seconds)) / self.median if self.median else 0.0

    def per(self, n: float) -> float:
        """Return the median for one of ``n`` things done in each reading."""
        return self.median / n


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the processor seconds of one call of ``work`` in this process, all threads."""
    started = time.process_time()
    work()
    return time.process_time() - started


def side_by_side(*works: Callable[[], object], repeats: int) -> list[Sample]:
    """Return the processor seconds of each of ``works``, which take turns ``repeats`` times.

    Turns let a slow spell of the machine fall on every side alike. Call each once before, where
    a first call compiles or imports.
    """
    rounds = [[cpu_seconds(work) for work in works] for _ in range(repeats)]
    return [Sample(column) for column in zip(*rounds, strict=True)]


@dataclass(frozen=True, slots=True)
class Promise:
    """A measured ratio and its limit.

    Attributes
    ----------
    name : str
        What is promised, in words.
    value, limit : float
        What was found, and what must hold.
    must_be : {">=", "<="}
        On which side of the limit the value must lie.
    """

    name: str
    value: float
    limit: float
    must_be: Literal[">=", "<="]

    @property
    def kept(self) -> bool:
        """Whether it holds; not where the value is NaN."""
        return self.value >= self.limit if self.must_be == ">=" else self.value <= self.limit


def print_table(title: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Print rows of the same columns; numbers to four digits, right-aligned."""
    if not rows:
        return
    table = Table(title=title, title_justify="left")
    for name, value in rows[0].items():
        table.add_column(name, justify="left" if isinstance(value, str) else "right")
    for row in rows:
        table.add_row(*(_written(value) for value in row.values()))
    Console(width=120).print(table)


def conclude(
    asked: Options, figures: Mapping[str, object], promises: Sequence[Promise] = ()
) -> int:
    """Print the promises, write the JSON document where wanted, and return the exit code."""
    rows = [
        {
            "promise": p.name,
            "found": p.value,
            "must be": f"{p.must_be} {p.limit:g}",
            "verdict": "kept" if p.kept else "MISSED",
        }
        for p in promises
    ]
    print_table("promises", rows)
    if asked.json is not None:
        judged = [{**asdict(p), "kept": p.kept} for p in promises]
        document = {"machine": machine(), **figures, "promises": judged}
        asked.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return int(asked.check and not all(p.kept for p in promises))


def machine() -> dict[str, object]:
    """Return what seconds depend on: processor, cores, Python."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _written(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
