"""Drills on blocks that cannot be computed, and on memory that is not there."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from cluster.drills import journal
from cluster.drills.ground import Ground, finish, gone, outcome_of, three_nodes, wait_for
from cluster.drills.outcome import Block, Outcome, differences
from cluster.drills.planted import HARM, VICTIM
from cluster.drills.result import Asked, Break, Found, Trial
from cluster.drills.stores import TWO_WORKERS
from pmx_ray.errors import ClusterError

ATTEMPTS = 3
"""Tries of a block until it is given up; the default of the settings."""

EXIT_FAILED_CELLS = 3

MARGIN = 2 * 2**30
"""Bytes above what the machine uses now, at which Ray ends the process that takes them."""

KILLED = re.compile(r"^Selected to kill: .*?\bpid=(\d+)", re.MULTILINE)
"""What a raylet logs of each process that it ends for want of memory."""

STORE_GIB = 0.3
"""Memory of each node in the spill drill; 0.3 of it are the object store, 97 MB."""

BALLAST, BALLAST_BYTES = 12, 16_000_000
"""Objects of another driver, and the size of each: twice what the store holds."""

HOLD = """
import select, sys, numpy, ray
ray.init(address=sys.argv[1], log_to_driver=False, configure_logging=False)
kept = [ray.put(numpy.full(int(sys.argv[3]) // 8, n)) for n in range(int(sys.argv[2]))]
print("held", flush=True)
while not select.select([sys.stdin], [], [], 0.2)[0]:
    kept = [*kept[1:], ray.put(numpy.full(int(sys.argv[3]) // 8, 0.0))]
"""
"""A driver that fills the object store and puts ever more into it until its input ends."""


def drill_poison(asked: Asked) -> Iterator[Found]:
    """Yield runs in which a forecaster kills its process on one ticker."""
    yield from _harmed("poison", asked, {})


def drill_memory(asked: Asked) -> Iterator[Found]:
    """Yield runs in which a forecaster takes memory on one ticker until Ray ends it.

    Raises
    ------
    ClusterError
        If the machine has too little memory to let a process take some.
    """
    total, free = _machine_memory()
    if free < 2 * MARGIN:
        raise ClusterError(
            f"{free:,} bytes of memory are free; the drill memory needs {2 * MARGIN:,}; end "
            "something else first"
        )
    environment = {
        "RAY_memory_usage_threshold": f"{(total - free + MARGIN) / total:.4f}",
        "RAY_memory_monitor_refresh_ms": "50",
    }
    yield from _harmed("hungry", asked, environment)


def _harmed(
    kind: Literal["poison", "hungry"], asked: Asked, environment: Mapping[str, str]
) -> Iterator[Found]:
    settings: dict[str, Any] = {
        "forecasters": [{"name": f"drill_{kind}"}, {"name": "drift"}],
        "execution": {"folds_per_block": 12, "tickers_per_block": 1, "max_attempts": ATTEMPTS},
    }
    with Ground(say=asked.say, environment={HARM: "1", **environment}, settings=settings) as ground:
        expected = ground.expected()
        for trial in asked.trials():
            ground.clear_journal()
            started = time.monotonic()
            driver = ground.start(
                ground.home / f"run-{trial.run}", address="local", assignments=TWO_WORKERS
            )
            finish(driver, code=EXIT_FAILED_CELLS)
            took_s = time.monotonic() - started
            yield _harmed_run(
                kind, trial, expected, outcome_of(driver), notes=ground.notes(), took_s=took_s,
                ended_for_memory=killed_for_memory(ground.home),
            )  # fmt: skip


def _harmed_run(
    kind: str,
    trial: Trial,
    expected: Outcome,
    found: Outcome,
    *,
    notes: Sequence[journal.Note],
    took_s: float,
    ended_for_memory: set[int],
) -> Found:
    doomed = victims(expected, f"drill_{kind}")
    said = list(differences(expected, found, may_be_given_up=[block.id for block in doomed]))
    ends = {note.pid for note in notes if VICTIM in note.fit and gone(note.pid)}
    if len(ends) < ATTEMPTS * len(doomed):
        said.append(f"{len(ends)} processes ended; {len(doomed)} blocks have {ATTEMPTS} tries each")
    others = [note for note in notes if VICTIM not in note.fit]
    innocent = journal.begun_again(others)
    if kind == "poison" and innocent:
        said.append(f"{innocent} fits of other tickers were begun again")
    reasons = [block.reason or "" for block in found.quarantined]
    proof = f"{len(ends)} processes are gone, {len(found.quarantined)} blocks given up"
    if kind == "hungry":
        proof += f"; Ray ended {len(ended_for_memory)} processes for want of memory"
        if ends - ended_for_memory:
            said.append(f"processes {sorted(ends - ended_for_memory)} were not ended for memory")
    broke = Break(trial.drill, f"{len(doomed)} blocks of {VICTIM}", proof)
    return trial.found(found, notes, breaks=(broke,), took_s=took_s, faults=said, remarks=reasons)


def killed_for_memory(home: Path) -> set[int]:
    """Return the processes that the raylets under a folder ended for want of memory, by their logs.

    Parameters
    ----------
    home : Path
        Folder in which Ray keeps its own.
    """
    found: set[int] = set()
    for log in home.glob("ray/session_2*/logs/raylet*.out"):
        text = log.read_text(encoding="utf-8", errors="replace")
        found |= {int(pid) for pid in KILLED.findall(text)}
    return found


def victims(expected: Outcome, forecaster: str) -> tuple[Block, ...]:
    """Return the blocks that the harm of a forecaster is for."""
    start = f"{forecaster} {VICTIM} "
    return tuple(block for block in expected.blocks if block.label.startswith(start))


def drill_spill(asked: Asked) -> Iterator[Found]:
    """Yield runs in an object store that another driver has filled to more than it holds."""
    settings: dict[str, Any] = {
        "panel": {
            "source": "simulated", "kind": "garch", "n_tickers": 200, "n_sessions": 6000, "seed": 1,
        },
        "folds": {"input_size": 250, "step_size": 500, "steps": [1]},
        "forecasters": [{"name": "drift"}],
        "execution": {"folds_per_block": 4, "tickers_per_block": 20},
    }  # fmt: skip
    with Ground(say=asked.say, settings=settings) as ground:
        expected = ground.expected()
        ground.up(three_nodes(memory_gib=STORE_GIB))
        for trial in asked.trials():
            with _full_store(ground):
                before = _spilled(Path(ground.cluster.temp))
                started = time.monotonic()
                driver = ground.start(
                    ground.home / f"run-{trial.run}", address=ground.cluster.address
                )
                finish(driver)
                took_s = time.monotonic() - started
                after = _spilled(Path(ground.cluster.temp))
            found = outcome_of(driver)
            said = list(differences(expected, found))
            new = sum(size for name, size in after.items() if name not in before)
            if not new:
                said.append("nothing was spilled while the sweep ran")
            broke = Break(
                trial.drill,
                f"a full object store, {BALLAST * BALLAST_BYTES:,} bytes of another's",
                f"{sum(after.values()):,} bytes in {len(after)} files on disk, "
                f"{new:,} of them since the sweep began",
            )
            yield trial.found(found, (), breaks=(broke,), took_s=took_s, faults=said)


@contextmanager
def _full_store(ground: Ground) -> Iterator[None]:
    log = ground.home / "ballast.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, ground.cluster.address, str(BALLAST), str(BALLAST_BYTES)],
            env=ground.environment, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip

    def held() -> bool:
        if process.poll() is not None:
            raise ClusterError(f"the object store was not filled: {log.read_text()[-1000:]}")
        return "held" in log.read_text(errors="replace")

    try:
        wait_for(held, "a full object store")
        yield
    finally:
        process.kill()
        process.communicate()


def _spilled(temp: Path) -> dict[str, int]:
    """Return the files that Ray has spilled objects to, with their bytes."""
    found = {}
    for path in temp.glob("session_2*/ray_spilled_objects*/*"):
        with suppress(FileNotFoundError):  # what nobody holds any more is removed
            found[path.name] = path.stat().st_size
    return found


def _machine_memory() -> tuple[int, int]:
    """Return bytes of memory of the machine, all and free to be taken."""
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    total, free = (int(lines[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))
    return total, free
