"""Drills on where blocks are kept: an S3 server that misbehaves, a disk that is full."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.drills import journal
from cluster.drills.ground import SWEEP, Driver, Ground, as_environment, finish, outcome_of
from cluster.drills.hostile_s3 import CUTS, ERRORS, HostileProxy, Hostility
from cluster.drills.outcome import Outcome, differences
from cluster.drills.result import Asked, Break, Found, Trial
from cluster.drills.s3_server import BUCKET, S3Server
from pmx_ray.errors import ClusterError, SettingsError

WORKERS = 2

DISK = 8 * 2**20
"""Bytes of the small disk."""

ROOM = (150_000, 500_000)
"""Bytes between which the room lies that is left on it; the sweep needs some 2 million."""

TWO_WORKERS = (f"execution.workers={WORKERS}",)


def drill_s3(asked: Asked) -> Iterator[Found]:
    """Yield runs whose lake lies behind a proxy that fails requests and cuts bodies."""
    panel = {**SWEEP["panel"], "n_tickers": 3}
    with (
        Ground(say=asked.say, settings={"panel": panel}) as ground,
        S3Server(ground.home / "s3") as server,
    ):
        expected = ground.expected()
        for trial in asked.trials():
            yield misbehave(ground, expected, server, trial)


def misbehave(
    ground: Ground,
    expected: Outcome,
    server: S3Server,
    trial: Trial,
    *,
    address: str = "local",
) -> Found:
    """Run a sweep whose lake lies behind the hostile proxy.

    Parameters
    ----------
    ground : Ground
        Where it takes place.
    expected : Outcome
        What the sweep must come to.
    server : S3Server
        The real server behind the proxy.
    trial : Trial
        The run, which the proxy draws from.
    address : str
        Where blocks run.
    """
    ground.clear_journal()
    lake, started = f"s3://{BUCKET}/run-{trial.run}", time.monotonic()
    with HostileProxy(server.url, Hostility(seed=trial.seed * 1_000_003 + trial.run)) as proxy:
        driver = ground.start(
            ground.home / f"s3-run-{trial.run}",
            address=address,
            assignments=(*TWO_WORKERS, f"lake={lake}"),
            environment=server.environment(proxy.url),
        )
        finish(driver)
        counts = proxy.counts
    took_s = time.monotonic() - started
    with as_environment({**os.environ, **server.environment()}):
        found = outcome_of(driver, lake=lake)
    errors = sum(counts.get(fault, 0) for fault in ERRORS)
    cuts = sum(counts.get(fault, 0) for fault in CUTS)
    proof = (
        f"of {counts['requests']} requests {errors} got an error, {cuts} a cut body, "
        f"{counts.get('slow', 0)} waited"
    )
    said = list(differences(expected, found))
    if not (errors and cuts):
        said.append(f"the proxy broke nothing to speak of: {proof}")
    broke = Break("s3", "requests to S3", proof)
    return trial.found(found, ground.notes(), breaks=(broke,), took_s=took_s, faults=said)


def drill_disk(asked: Asked) -> Iterator[Found]:
    """Yield runs in which the lake's disk is full in the middle, and room is made."""
    with Ground(say=asked.say) as ground:
        disk = ground.home / "disk"
        with small_disk(disk):
            expected = ground.expected()
            for trial in asked.trials():
                room = int(trial.rng().integers(*ROOM))
                yield fill(ground, expected, disk, trial, room=room)


def fill(
    ground: Ground,
    expected: Outcome,
    disk: Path,
    trial: Trial,
    *,
    room: int,
    address: str = "local",
) -> Found:
    """Run a sweep on a disk with little room until it is refused, make room, and go on.

    Parameters
    ----------
    ground : Ground
        Where it takes place.
    expected : Outcome
        What the sweep must come to.
    disk : Path
        The small disk.
    trial : Trial
        The run.
    room : int
        Bytes that the disk has at first.
    address : str
        Where blocks run.
    """
    ground.clear_journal()
    filler, lake = disk / "filler", disk / f"lake-{trial.run}"
    out = ground.home / f"disk-run-{trial.run}"
    _fill(filler, leave=room)
    started = time.monotonic()

    def start() -> Driver:
        return ground.start(out, address=address, assignments=(*TWO_WORKERS, f"lake={lake}"))

    driver = start()
    finish(driver, code=1)
    refusal = driver.said.strip().splitlines()[-1]
    said = list(wanting(refusal, lake))
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    done = sum(1 for _ in lake.glob("blocks/*/*.json"))
    filler.unlink()
    at_s = time.monotonic()
    driver = start()
    finish(driver)
    took_s = time.monotonic() - started
    found, notes = outcome_of(driver, lake=str(lake)), ground.notes()
    said += differences(expected, found)
    again, twice = journal.begun_again(notes), journal.ended_again(notes)
    if max(again, twice) > WORKERS:
        said.append(f"{again} fits were begun again; {WORKERS} workers account for as many")
    strays = [path.name for path in lake.rglob("*.tmp")]
    if strays:
        said.append(f"half-written files are left: {', '.join(strays)}")
    back = [note.monotonic_s for note in notes if note.what == "end" and note.monotonic_s > at_s]
    broke = Break(
        "disk",
        f"a disk with room for {room:,} bytes",
        f"exit code 1 after {done} blocks, {free:,} bytes free",
        back[0] - at_s if back else None,
    )
    return trial.found(
        found, notes, breaks=(broke,), took_s=took_s, faults=said, remarks=(refusal,)
    )


def wanting(refusal: str, lake: Path) -> tuple[str, ...]:
    """Return in words what a refusal for want of room does not say.

    Parameters
    ----------
    refusal : str
        The line that the command ended with.
    lake : Path
        Folder in which there was no room.
    """
    parts = {
        "the path": f"{lake.as_uri()}/",
        "the cause": "No space left on device",
        "the bytes needed": " bytes, and ",
        "the bytes free": " are free on the disk of ",
        "what to do": "make room",
    }
    return tuple(f"the refusal lacks {what}" for what, part in parts.items() if part not in refusal)


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Hold a small file system in memory at a folder.

    Raises
    ------
    SettingsError
        If this account may not mount one.
    """
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0700", "pmx-drill", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise SettingsError(
            f"the drill disk mounts a file system of {DISK:,} bytes, and this account may not "
            f"({done.stderr.strip()}); run it as root, in a container for instance"
        )
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)


def _fill(filler: Path, *, leave: int) -> None:
    disk = os.statvfs(filler.parent)
    size = disk.f_bavail * disk.f_frsize - leave
    if size < 0:
        raise ClusterError(f"{filler.parent} has {size + leave:,} bytes; {leave:,} were to be left")
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
