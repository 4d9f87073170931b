"""Drills on where blocks are kept: an S3 server that misbehaves, a disk that is full."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from cluster import local
from cluster.drills import journal
from cluster.drills.ground import SWEEP, Driver, Ground, as_environment, finish, outcome_of
from cluster.drills.hostile_s3 import CUTS, ERRORS, HostileProxy, Hostility
from cluster.drills.outcome import Outcome, differences
from cluster.drills.result import Break, Found
from cluster.drills.s3_server import BUCKET, S3Server
from pmx_ray.errors import ClusterError, SettingsError

WORKERS = 2

DISK = 8 * 2**20
"""Bytes of the small disk."""

ROOM = (150_000, 500_000)
"""Bytes between which the room lies that is left on it; the sweep needs some 2 million."""

TWO_WORKERS = (f"execution.workers={WORKERS}",)


def drill_s3(name: str, *, n_runs: int, seed: int, say: local.Say) -> Iterator[Found]:
    """Yield runs whose lake lies behind a proxy that fails requests and cuts bodies.

    Parameters
    ----------
    name : str
        Of the drill.
    n_runs, seed : int
        How often, and what is drawn from.
    say : callable
        Takes lines for people.
    """
    panel = {**SWEEP["panel"], "n_tickers": 3}
    with (
        Ground(say=say, settings={"panel": panel}) as ground,
        S3Server(ground.home / "s3") as server,
    ):
        expected = ground.expected()
        for run in range(n_runs):
            yield misbehave(ground, expected, server, name=name, seed=seed, run=run)


def misbehave(
    ground: Ground,
    expected: Outcome,
    server: S3Server,
    *,
    name: str,
    seed: int,
    run: int,
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
    name : str
        Of the drill.
    seed, run : int
        What the proxy draws from.
    address : str
        Where blocks run.
    """
    ground.clear_journal()
    lake, started = f"s3://{BUCKET}/run-{run}", time.monotonic()
    with HostileProxy(server.url, Hostility(seed=seed * 1_000_003 + run)) as proxy:
        driver = ground.start(
            ground.home / f"s3-run-{run}",
            address=address,
            assignments=(*TWO_WORKERS, f"lake={lake}"),
            environment=server.environment(proxy.url),
        )
        finish(driver)
        counts = proxy.counts
    took_s = time.monotonic() - started
    with as_environment({**os.environ, **server.environment()}):
        found = outcome_of(driver, lake=lake)
    notes = ground.notes()
    errors = sum(counts.get(fault, 0) for fault in ERRORS)
    cuts = sum(counts.get(fault, 0) for fault in CUTS)
    proof = (
        f"of {counts['requests']} requests {errors} got an error, {cuts} a cut body, "
        f"{counts.get('slow', 0)} waited"
    )
    said = list(differences(expected, found))
    if not (errors and cuts):
        said.append(f"the proxy broke nothing to speak of: {proof}")
    return Found(
        drill=name,
        seed=seed,
        run=run,
        breaks=(Break("s3", "requests to S3", proof),),
        n_blocks=len(found.blocks),
        n_begun_again=journal.begun_again(notes),
        n_ended_again=journal.ended_again(notes),
        took_s=took_s,
        forecasts=found.forecast_sha256,
        faults=tuple(said),
    )


def drill_disk(name: str, *, n_runs: int, seed: int, say: local.Say) -> Iterator[Found]:
    """Yield runs in which the lake's disk is full in the middle, and room is made.

    Parameters
    ----------
    name : str
        Of the drill.
    n_runs, seed : int
        How often, and what is drawn from.
    say : callable
        Takes lines for people.
    """
    with Ground(say=say) as ground:
        disk = ground.home / "disk"
        with small_disk(disk):
            expected = ground.expected()
            for run in range(n_runs):
                room = int(np.random.default_rng((seed, run)).integers(*ROOM))
                yield fill(ground, expected, disk, room=room, name=name, seed=seed, run=run)


def fill(
    ground: Ground,
    expected: Outcome,
    disk: Path,
    *,
    room: int,
    name: str,
    seed: int,
    run: int,
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
    room : int
        Bytes that it has at first.
    name : str
        Of the drill.
    seed, run : int
        What the room was drawn from.
    address : str
        Where blocks run.
    """
    ground.clear_journal()
    filler, lake, out = disk / "filler", disk / f"lake-{run}", ground.home / f"disk-run-{run}"
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
    return Found(
        drill=name,
        seed=seed,
        run=run,
        breaks=(
            Break(
                "disk",
                f"a disk with room for {room:,} bytes",
                f"exit code 1 after {done} blocks, {free:,} bytes free",
                back[0] - at_s if back else None,
            ),
        ),
        n_blocks=len(found.blocks),
        n_begun_again=again,
        n_ended_again=twice,
        took_s=took_s,
        forecasts=found.forecast_sha256,
        faults=tuple(said),
        notes=(refusal,),
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
