"""The drill on the clock: the sweep's process sees the time of day step, forward and back.

The machine's own clock is left alone. A small library, compiled here and loaded before any other,
adds what a file holds to the time of day that the C library gives. It reaches the sweep in one
process: our code, Python and the libraries. It is not put under Ray's processes: they wait until
moments of the time of day inside the kernel, which keeps the true one, so that what they would do
there is not what they do when a clock steps.
"""

import mmap
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from cluster.drills import journal, planted
from cluster.drills.ground import N_PACED, Ground, finish, outcome_of, wait_for
from cluster.drills.outcome import differences
from cluster.drills.result import Asked, Break, Found
from cluster.drills.strike import draw
from pmx_ray.errors import ClusterError, SettingsError

OFFSET = "PMX_DRILL_CLOCK"
"""Environment variable that names the file with the seconds to add."""

DAY_S = 86_400

LIBRARY = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static volatile int64_t *offset;
static int (*of_clock)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("PMX_DRILL_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file >= 0) {
        void *page = mmap(0, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
        if (page != MAP_FAILED) offset = page;
    }
}

int clock_gettime(clockid_t id, struct timespec *at) {
    if (!of_clock)
        of_clock = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = of_clock(id, at);
    if (!failed && offset && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        at->tv_sec += *offset;
    return failed;
}

int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""


class SteppedClock:
    """A clock for child processes that can be stepped while they run; a context manager.

    Parameters
    ----------
    folder : Path
        Where the library and its file are made.

    Raises
    ------
    SettingsError
        If there is no C compiler.
    """

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            raise SettingsError("the drill clock compiles a library and finds no cc; install gcc")
        source, self._library = folder / "clock.c", folder / "clock.so"
        source.write_text(LIBRARY, encoding="ascii")
        done = subprocess.run(
            [compiler, "-shared", "-fPIC", "-O2", "-o", str(self._library), str(source), "-ldl"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise ClusterError(f"the library of the drill clock was not made: {done.stderr[:300]}")
        self._file = folder / "clock.offset"
        self._file.write_bytes(struct.pack("<q", 0))

    def __enter__(self) -> Self:
        with self._file.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), 8)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._page.close()

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to see this clock."""
        return {"LD_PRELOAD": str(self._library), OFFSET: str(self._file)}

    def step_to(self, offset_s: int) -> None:
        """Let the clock differ from the machine's by so many seconds from now on."""
        self._page[:8] = struct.pack("<q", offset_s)


def steps_seen(notes: list[journal.Note], *, least_s: float) -> list[float]:
    """Return the steps of the time of day that a process's notes show, in their order.

    Parameters
    ----------
    notes : list of Note
        Of one process, by the monotonic clock.
    least_s : float
        Smallest difference between the two clocks, from one note to the next, that is a step.
    """
    apart = np.array([note.wall_s - note.monotonic_s for note in notes])
    jumps = np.diff(apart)
    return [float(jump) for jump in jumps[np.abs(jumps) >= least_s]]


def drill_clock(asked: Asked) -> Iterator[Found]:
    """Yield runs in which the time of day steps a day forward, then two days back."""
    with Ground(say=asked.say) as ground:
        expected = ground.expected()
        for trial in asked.trials():
            ground.clear_journal()
            strikes = draw(("driver",), trial.rng(), n_strikes=2, n_blocks=N_PACED)
            meant = (DAY_S, -2 * DAY_S)
            with SteppedClock(ground.home) as clock:
                started = time.monotonic()
                driver = ground.start(
                    ground.home / f"run-{trial.run}",
                    address="in-process",
                    environment={**clock.environment, planted.PACE: "0.1"},
                )
                for strike, offset in zip(strikes, (DAY_S, -DAY_S), strict=True):
                    wait_for(
                        lambda now=driver, n=strike.after: now.n_done >= n,  # type: ignore[misc]
                        f"block {strike.after}",
                        driver=driver,
                    )
                    clock.step_to(offset)
                finish(driver)
                took_s = time.monotonic() - started
            found, notes = outcome_of(driver), ground.notes()
            seen = steps_seen(notes, least_s=60.0)
            said = list(differences(expected, found))
            if [round(step, -1) for step in seen] != list(meant):
                said.append(f"the process saw steps of {seen} s; {list(meant)} were made")
            if journal.begun_again(notes):
                said.append(f"{journal.begun_again(notes)} fits were begun again")
            breaks = [
                Break(trial.drill, f"the time of day, by {step:+,} s", f"a fit saw {jump:+,.1f} s")
                for step, jump in zip(meant, seen, strict=False)
            ]
            yield trial.found(found, notes, breaks=breaks, took_s=took_s, faults=said)
