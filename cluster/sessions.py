"""Sessions of this machine's processes: which of them are a node's, and how they end.

A process stays in the session that it was started in, whatever it calls itself and whoever of its
parents is gone. The kernel gives a session's number to nobody else while one of its processes
lives, and may do so afterwards: a number alone tells nothing.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

END_S = 15.0
"""Seconds that processes may take to end before they are killed."""

OF_A_DRIVER = "python-core-driver"
"""How the log of a driver is called that it keeps in Ray's folder; drivers are no node's."""


def boot() -> str:
    """Return which start of the machine this is; numbers mean nothing after another."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def members(sessions: Iterable[int]) -> Mapping[int, list[int]]:
    """Return the living processes of each session but this one; none where it is gone."""
    found: dict[int, list[int]] = {session: [] for session in sessions}
    for pid, session in _processes():
        if session in found:
            found[session].append(pid)
    return found


def is_ours(session: int, pids: Iterable[int], *, mark: str, folder: Path) -> bool:
    """Return whether a session is the one that was started with a mark, and no later one.

    Its first process, if it lives, must carry the mark. If it is gone, one of the others must, or
    write into Ray's folder: agents and the dashboard's parts lose their environment as they take
    names of their own. A driver writes there too, and whoever looks at a log reads it or names it
    in a command; they are strangers.

    Parameters
    ----------
    session : int
        Its number.
    pids : iterable of int
        The processes that live in it.
    mark : str
        ``NAME=value``, in the environment of the first process.
    folder : Path
        Ray's, of the cluster.
    """
    if _carries(session, mark):
        return True
    if lives(session):
        return False
    within = folder.resolve()
    return any(_carries(pid, mark) or _writes_to(pid, within) for pid in pids)


def lives(pid: int) -> bool:
    """Return whether a process is there; one that only waits to be reaped is not."""
    fields = _stat(pid)
    return bool(fields) and fields[0] != "Z"


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def end(pids: Iterable[int]) -> None:
    """Ask processes to end, in this order, and kill what is left in the end."""
    asked = list(pids)
    for pid in asked:
        send(pid, signal.SIGTERM)
    until = time.monotonic() + END_S
    while any(map(lives, asked)) and time.monotonic() < until:
        time.sleep(0.05)
    for pid in asked:
        send(pid, signal.SIGKILL)


def _processes() -> Iterator[tuple[int, int]]:
    """Give each living process but this one, with its session."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            fields = _stat(int(entry.name))
            if fields and fields[0] != "Z":
                yield int(entry.name), int(fields[3])


def _stat(pid: int) -> list[str]:
    """Return the fields of a process from its state on; none where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _carries(pid: int, mark: str) -> bool:
    try:
        return mark.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # another account's, or gone
        return False


def _writes_to(pid: int, folder: Path) -> bool:
    """Return whether a process writes files of Ray's folder, and none of a driver's among them."""
    written = []
    with contextlib.suppress(OSError):  # another account's, or gone
        written = [path for path in _open_to_write(pid) if path.is_relative_to(folder)]
    return bool(written) and not any(path.name.startswith(OF_A_DRIVER) for path in written)


def _open_to_write(pid: int) -> Iterator[Path]:
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            lines = Path(f"/proc/{pid}/fdinfo/{link.name}").read_text(encoding="ascii").split()
            if int(lines[lines.index("flags:") + 1], 8) & os.O_ACCMODE != os.O_RDONLY:
                yield link.readlink()
