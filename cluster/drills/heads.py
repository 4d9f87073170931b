"""Drills on the head, without which a cluster forgets who belongs to it."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cluster import local
from cluster.drills import journal
from cluster.drills.ground import N_PACED, Ground, finish, outcome_of, wait_for
from cluster.drills.kills import excess
from cluster.drills.outcome import differences
from cluster.drills.result import Asked, Break, Found
from cluster.drills.strike import draw
from pmx_ray.errors import ClusterError


def drill_head(asked: Asked) -> Iterator[Found]:
    """Yield runs in which the head dies for good; a new cluster takes the same command."""
    with Ground(say=asked.say) as ground:
        expected = ground.expected()
        for trial in asked.trials():
            ground.up()
            ground.clear_journal()
            # The driver goes with the head, and so do all workers: the account is a driver's.
            (strike,) = draw(("driver",), trial.rng(), n_strikes=1, n_blocks=N_PACED)
            out = ground.home / f"run-{trial.run}"
            started = time.monotonic()
            driver = ground.start(out, address=ground.cluster.address)
            wait_for(
                lambda now=driver: now.n_done >= strike.after,  # type: ignore[misc]  # noqa: B023
                f"block {strike.after}",
                driver=driver,
            )
            before = {note.pid for note in ground.notes()}
            at_s = time.monotonic()
            n = local.kill_node(ground.cluster, "head")
            wait_for(lambda: not _listens(ground.topology.ports.gcs), "the end of the head")
            wait_for(lambda now=driver: now.over, "the end of the driver")  # type: ignore[misc]
            ended_s = time.monotonic() - at_s
            code = driver.process.returncode
            ground.down()
            ground.up()
            driver = ground.start(out, address=ground.cluster.address)
            finish(driver)
            took_s = time.monotonic() - started
            found, notes = outcome_of(driver), ground.notes()
            ground.down()
            back = [
                note.monotonic_s for note in notes
                if note.what == "end" and note.monotonic_s > at_s and note.pid not in before
            ]  # fmt: skip
            again, twice = journal.begun_again(notes), journal.ended_again(notes)
            broke = Break(
                trial.drill,
                "the head",
                f"{n} processes are gone, nothing listens; the driver ended with {code} "
                f"{ended_s:.1f} s later",
                back[0] - at_s if back else None,
            )
            faults = [*differences(expected, found), *excess((strike,), again=again, twice=twice)]
            if not code:
                faults.append("the driver ended with 0 though its sweep did not")
            yield trial.found(found, notes, breaks=(broke,), took_s=took_s, faults=faults)


OUTAGE_S = 3.0
"""Seconds without a GCS in its drill."""


@dataclass(frozen=True, slots=True)
class Gcs:
    """The process that keeps the cluster's records, and how it was started.

    Attributes
    ----------
    pid : int
        Of the process.
    argv : tuple of str
        Its command.
    environment : mapping of str to str
        Of the process.
    """

    pid: int
    argv: tuple[str, ...]
    environment: dict[str, str]

    def start_again(self) -> "subprocess.Popen[bytes]":
        """Start it once more, as a supervisor would."""
        return subprocess.Popen(
            self.argv,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


def gcs_of(ground: Ground) -> Gcs:
    """Return the GCS of the cluster.

    Raises
    ------
    ClusterError
        If there is none.
    """
    for pid, node in local.living(ground.cluster).items():
        if node != "head":
            continue
        folder = Path(f"/proc/{pid}")
        with suppress(OSError):
            argv = [word.decode() for word in (folder / "cmdline").read_bytes().split(b"\0")[:-1]]
            if argv and Path(argv[0]).name == "gcs_server":
                pairs = (folder / "environ").read_bytes().decode().split("\0")[:-1]
                return Gcs(pid, tuple(argv), dict(pair.split("=", 1) for pair in pairs))
    raise ClusterError("the head has no process gcs_server")


def drill_gcs(asked: Asked) -> Iterator[Found]:
    """Yield runs in which the GCS dies and comes back with the records that it kept on disk."""
    with Ground(say=asked.say) as ground:
        expected = ground.expected()
        for trial in asked.trials():
            records = ground.home / f"gcs-{trial.run}"
            ground.environment |= {
                "RAY_gcs_storage": "rocksdb",
                "RAY_gcs_storage_path": str(records),
            }
            ground.up()
            ground.clear_journal()
            (strike,) = draw(("worker",), trial.rng(), n_strikes=1, n_blocks=N_PACED)
            started = time.monotonic()
            out = ground.home / f"run-{trial.run}"
            driver = ground.start(out, address=ground.cluster.address)
            wait_for(
                lambda now=driver: now.n_done >= strike.after,  # type: ignore[misc]  # noqa: B023
                f"block {strike.after}",
                driver=driver,
            )
            port, gcs = ground.topology.ports.gcs, gcs_of(ground)
            watch = ground.cluster.sessions["head"]
            # `ray start --block` ends the whole head when a process of it dies: it is held still.
            os.kill(watch, signal.SIGSTOP)
            at_s = time.monotonic()
            os.kill(gcs.pid, signal.SIGKILL)
            wait_for(lambda: not _listens(port), "the end of the GCS")  # noqa: B023
            n_before = driver.n_done
            time.sleep(OUTAGE_S)
            n_meanwhile = driver.n_done - n_before
            again = gcs.start_again()
            try:
                wait_for(lambda: _listens(port), "the GCS")  # noqa: B023
                back_s = time.monotonic() - at_s
                finish(driver)
                took_s = time.monotonic() - started
                alive = [node for node in ground.nodes() if node["state"] == "ALIVE"]
            finally:
                again.kill()
                again.wait()
                os.kill(watch, signal.SIGCONT)
                ground.down()
            found, notes = outcome_of(driver), ground.notes()
            repeats = journal.begun_again(notes)
            said = list(differences(expected, found))
            if len(alive) != ground.topology.n_nodes:
                said.append(f"{len(alive)} of {ground.topology.n_nodes} nodes live with the GCS")
            if not n_meanwhile:
                said.append(f"no block was finished in {OUTAGE_S:.0f} s without a GCS")
            if repeats:
                said.append(f"{repeats} fits were begun again; no process that computes was killed")
            broke = Break(
                trial.drill,
                f"gcs_server {gcs.pid}",
                f"nothing listened at its port; {n_meanwhile} blocks in {OUTAGE_S:.0f} s "
                f"without it; {len(alive)} nodes live with the next",
                back_s,
            )
            yield trial.found(found, notes, breaks=(broke,), took_s=took_s, faults=said)


def _listens(port: int) -> bool:
    try:
        socket.create_connection((local.HOST, port), timeout=1.0).close()
    except OSError:
        return False
    return True
