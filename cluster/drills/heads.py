"""Drills on the head, without which a cluster forgets who belongs to it."""

import socket
import time
from collections.abc import Iterator

from cluster import local
from cluster.drills import journal
from cluster.drills.ground import N_PACED, Ground, finish, outcome_of, wait_for
from cluster.drills.kills import excess
from cluster.drills.outcome import differences
from cluster.drills.result import Break, Found
from cluster.drills.strike import draw


def drill_head(name: str, *, n_runs: int, seed: int, say: local.Say) -> Iterator[Found]:
    """Yield runs in which the head dies for good; a new cluster takes the same command.

    Parameters
    ----------
    name : str
        Of the drill.
    n_runs, seed : int
        How often, and what the moment is drawn from.
    say : callable
        Takes lines for people.
    """
    with Ground(say=say) as ground:
        expected = ground.expected()
        for run in range(n_runs):
            ground.up()
            ground.clear_journal()
            # The driver goes with the head, and so do all workers: the account is a driver's.
            (strike,) = draw(("driver",), n_strikes=1, n_blocks=N_PACED, seed=seed, run=run)
            out = ground.home / f"run-{run}"
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
            yield Found(
                drill=name,
                seed=seed,
                run=run,
                breaks=(
                    Break(
                        name,
                        "the head",
                        f"{n} processes are gone, nothing listens; the driver ended with {code} "
                        f"{ended_s:.1f} s later",
                        back[0] - at_s if back else None,
                    ),
                ),
                n_blocks=len(found.blocks),
                n_begun_again=again,
                n_ended_again=twice,
                took_s=took_s,
                forecasts=found.forecast_sha256,
                faults=(
                    *differences(expected, found),
                    *excess((strike,), again=again, twice=twice),
                    *(() if code else ("the driver ended with 0 though its sweep did not",)),
                ),
            )


def _listens(port: int) -> bool:
    try:
        socket.create_connection((local.HOST, port), timeout=1.0).close()
    except OSError:
        return False
    return True
