"""Which fits were begun and which ended, noted by the planted forecasters as they work.

Receipts show that a block is done; only what is noted as it happens shows that work was begun, cut
off and begun again.
"""

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FOLDER = "PMX_DRILL_JOURNAL"
"""Environment variable that names the journal's folder; nothing is noted without it."""


@dataclass(frozen=True, slots=True)
class Note:
    """One line of the journal.

    Attributes
    ----------
    what : str
        ``begin`` or ``end``.
    pid : int
        Process that wrote it.
    monotonic_s, wall_s : float
        When, by the machine's monotonic clock and by the clock on the wall, as the process saw it.
    fit : str
        Which fit: each is part of one block.
    """

    what: Literal["begin", "end"]
    pid: int
    monotonic_s: float
    wall_s: float
    fit: str


@contextmanager
def noted(fit: str) -> Iterator[None]:
    """Note the begin of a fit, and its end if it comes to that."""
    _write("begin", fit)
    yield
    _write("end", fit)


def _write(what: str, fit: str) -> None:
    folder = os.environ.get(FOLDER)
    if not folder:
        return
    line = f"{what}\t{os.getpid()}\t{time.monotonic():.6f}\t{time.time():.6f}\t{fit}\n"
    path = Path(folder) / f"{os.getpid()}.log"
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())  # one write: a kill leaves no half line
    finally:
        os.close(file)


def read(folder: Path) -> list[Note]:
    """Return every note of a journal in the order of its time."""
    notes = [
        _note(line)
        for path in sorted(folder.glob("*.log"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    return sorted(notes, key=lambda note: note.monotonic_s)


def _note(line: str) -> Note:
    what, pid, monotonic_s, wall_s, fit = line.split("\t")
    return Note(
        "begin" if what == "begin" else "end", int(pid), float(monotonic_s), float(wall_s), fit
    )


def busy(notes: Iterable[Note]) -> set[int]:
    """Return the processes whose latest note is a begin: a kill cuts a fit off."""
    latest = {note.pid: note.what for note in notes}
    return {pid for pid, what in latest.items() if what == "begin"}


def begun_again(notes: Iterable[Note]) -> int:
    """Return how often a fit was begun that had been begun before."""
    begun = Counter(note.fit for note in notes if note.what == "begin")
    return sum(n - 1 for n in begun.values())


def ended_again(notes: Iterable[Note]) -> int:
    """Return how often a fit was computed to its end that had been before."""
    ended = Counter(note.fit for note in notes if note.what == "end")
    return sum(n - 1 for n in ended.values())


def redone_at(notes: Iterable[Note], after_s: float) -> float | None:
    """Return when the last fit that was under way at a moment, and was cut off, came to its end.

    Parameters
    ----------
    notes : iterable of Note
        The journal.
    after_s : float
        The moment, by the monotonic clock.

    Returns
    -------
    float or None
        By the monotonic clock; None where nothing was cut off.
    """
    open_by: dict[int, str] = {}
    ends: dict[str, float] = {}
    ordered = list(notes)
    for note in ordered:
        if note.monotonic_s > after_s:
            break
        if note.what == "begin":
            open_by[note.pid] = note.fit
        else:
            open_by.pop(note.pid, None)
    later = [note for note in ordered if note.monotonic_s > after_s]
    again = {note.fit for note in later if note.what == "begin"} & set(open_by.values())
    for note in later:
        if note.what == "end" and note.fit in again:
            ends[note.fit] = note.monotonic_s
    return max(ends.values()) if ends else None
