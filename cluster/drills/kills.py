"""Drills that kill: a worker, a node, the driver, and a mix of them."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster import local
from cluster.drills import journal
from cluster.drills.ground import (
    N_PACED,
    SLOTS,
    Driver,
    Ground,
    finish,
    gone,
    outcome_of,
    wait_for,
)
from cluster.drills.outcome import Outcome, differences
from cluster.drills.result import Asked, Break, Found, Trial
from cluster.drills.strike import Strike, Target, draw, picked
from pmx_ray.errors import ClusterError

WORKER = "ray::BlockWorker"
"""How Ray names the process of a worker."""

NOTICED_S = 60.0
"""Seconds that Ray may take to say that a node is dead."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A kill that took place.

    Attributes
    ----------
    strike : Strike
        The one that was meant.
    at_s, at_wall_s : float
        When, by the monotonic clock and by the clock on the wall.
    what : str
        What was killed.
    proof : str
        How it is known; a node's is completed at the end of the run.
    node : str, optional
        The node that was killed.
    before : frozenset of int
        Processes that had noted something until then.
    """

    strike: Strike
    at_s: float
    at_wall_s: float
    what: str
    proof: str
    node: str | None
    before: frozenset[int]


def drill_kills(asked: Asked, targets: Sequence[Target], *, n_strikes: int) -> Iterator[Found]:
    """Yield the runs of a drill that kills, on one cluster that is mended between them.

    Parameters
    ----------
    asked : Asked
        The drill, and how often.
    targets : sequence of Target
        What may be killed.
    n_strikes : int
        Kills in a run.
    """
    with Ground(say=asked.say) as ground:
        expected = ground.expected()
        ground.up()
        for trial in asked.trials():
            strikes = draw(targets, trial.rng(), n_strikes=n_strikes, n_blocks=N_PACED)
            try:
                yield run_kills(ground, expected, strikes, trial)
            except ClusterError as error:
                ground.end_drivers()
                yield failed(trial, strikes, error)
            ground.mend()


def run_kills(ground: Ground, expected: Outcome, strikes: Sequence[Strike], trial: Trial) -> Found:
    """Run the sweep on the cluster, strike, and return what came of it.

    Parameters
    ----------
    ground : Ground
        With its cluster up.
    expected : Outcome
        What the sweep must come to.
    strikes : sequence of Strike
        In their order.
    trial : Trial
        The run.
    """
    ground.clear_journal()
    out = ground.home / f"run-{trial.run}"
    started = time.monotonic()
    driver = ground.start(out, address=ground.cluster.address)
    hits = []
    for strike in strikes:
        wait_for(
            lambda least=strike.after, now=driver: now.n_done >= least,  # type: ignore[misc]
            f"block {strike.after}",
            driver=driver,
        )
        hits.append(strike_at(ground, driver, strike))
        if strike.target == "driver":
            driver = ground.start(out, address=ground.cluster.address)
    finish(driver)
    took_s = time.monotonic() - started
    found, notes = outcome_of(driver), ground.notes()
    breaks = [_break(ground, hit, notes) for hit in hits]
    again, twice = journal.begun_again(notes), journal.ended_again(notes)
    faults = (*differences(expected, found), *excess(strikes, again=again, twice=twice))
    return trial.found(found, notes, breaks=breaks, took_s=took_s, faults=faults)


def failed(trial: Trial, strikes: Sequence[Strike], error: ClusterError) -> Found:
    """Return a run that did not come to its end.

    Parameters
    ----------
    trial : Trial
        The run.
    strikes : sequence of Strike
        What was meant.
    error : ClusterError
        Why it ended.
    """
    breaks = tuple(Break(strike.target, f"a {strike.target}", "") for strike in strikes)
    return Found(
        drill=trial.drill, seed=trial.seed, run=trial.run, breaks=breaks, n_blocks=0,
        n_begun_again=0, n_ended_again=0, took_s=0.0, forecasts="", faults=(str(error),),
    )  # fmt: skip


def excess(strikes: Sequence[Strike], *, again: int, twice: int) -> tuple[str, ...]:
    """Return in words where more was computed again than the kills account for.

    A worker has one fit under way, and so has a node with one slot; a driver takes its workers
    with it, each with the fit that it was at. A fit that had come to its end may be computed
    again where its receipt was not written yet: once a kill.

    Parameters
    ----------
    strikes : sequence of Strike
        Kills of the run.
    again : int
        Fits that were begun again.
    twice : int
        Fits that were computed to their end twice.
    """
    most = sum(SLOTS if strike.target == "driver" else 1 for strike in strikes)
    said = []
    if again > most:
        said.append(f"{again} fits were begun again; {len(strikes)} kills account for {most}")
    if twice > len(strikes):
        said.append(f"{twice} fits were computed twice; {len(strikes)} kills account for as many")
    return tuple(said)


def strike_at(ground: Ground, driver: Driver, strike: Strike) -> Hit:
    """Break what a strike is for, and return what was hit.

    Raises
    ------
    ClusterError
        If there is nothing to break, or what was to be killed had ended by itself.
    """
    before = frozenset(note.pid for note in ground.notes())
    match strike.target:
        case "worker":
            pid, on = _worker(ground, driver, strike.pick)
            at_s, at_wall_s = _now()
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: gone(pid), f"the end of worker {pid}")
            return Hit(strike, at_s, at_wall_s, f"worker {pid} on {on}",
                       f"process {pid} is gone", None, before)  # fmt: skip
        case "node":
            node = _node(ground, strike.pick)
            at_s, at_wall_s = _now()
            n = local.kill_node(ground.cluster, node)
            wait_for(
                lambda: node not in local.living(ground.cluster).values(), f"the end of {node}"
            )
            return Hit(strike, at_s, at_wall_s, f"node {node}",
                       f"{n} processes are gone", node, before)  # fmt: skip
        case "driver":
            at_s, at_wall_s = _now()
            driver.kill()
            code = driver.process.returncode
            if code != -signal.SIGKILL:
                raise ClusterError(
                    f"the driver had ended with {code} before it was killed: {driver.said[-1000:]}"
                )
            return Hit(strike, at_s, at_wall_s, f"driver {driver.process.pid}",
                       f"ended by signal {-code}", None, before)  # fmt: skip


def _now() -> tuple[float, float]:
    return time.monotonic(), time.time()


def _worker(ground: Ground, driver: Driver, pick: float) -> tuple[int, str]:
    """Return a worker that has a fit under way, if there is one, and its node."""
    workers: dict[int, str] = {}

    def there() -> bool:
        workers.update(_workers(ground))
        return bool(workers)

    wait_for(there, "a worker", driver=driver)
    at_work = journal.busy(ground.notes()) & workers.keys() or workers.keys()
    pid = int(picked([str(pid) for pid in at_work], pick))
    return pid, workers[pid]


def _node(ground: Ground, pick: float) -> str:
    """Return a node that lives and is not the head, one with a fit under way if there is one."""
    nodes = set(local.living(ground.cluster).values()) - {"head"}
    if not nodes:
        raise ClusterError("no node but the head lives; a run may kill as many as there are")
    workers, busy = _workers(ground), journal.busy(ground.notes())
    at_work = {workers[pid] for pid in busy & workers.keys()} & nodes
    return picked(list(at_work or nodes), pick)


def _break(ground: Ground, hit: Hit, notes: Sequence[journal.Note]) -> Break:
    """Return what a kill broke, with its proof complete and its time to recover."""
    proof = hit.proof
    if hit.node is not None:
        proof += f"; Ray noticed {_death(ground, hit.node, hit.at_wall_s):.1f} s later"
    new_only = hit.strike.target == "driver"
    back = [
        note.monotonic_s
        for note in notes
        if note.what == "end"
        and note.monotonic_s > hit.at_s
        and not (new_only and note.pid in hit.before)
    ]
    redone = journal.redone_at(notes, hit.at_s)
    moments = [*back[:1], *([] if redone is None else [redone])]
    recovered_s = max(moments) - hit.at_s if moments else None
    return Break(hit.strike.target, hit.what, proof, recovered_s)


def _death(ground: Ground, node: str, since_s: float) -> float:
    """Return seconds from a moment until Ray counted a node as dead; wait for it to do so."""
    group = node.rpartition("-")[0]
    deaths: list[float] = []

    def dead() -> bool:
        deaths.extend(
            float(one["end_time_ms"]) / 1000.0 - since_s
            for one in ground.nodes()
            if one["labels"].get("pmx-group") == group
            and one["state"] == "DEAD"
            and float(one["end_time_ms"]) / 1000.0 > since_s
        )
        return bool(deaths)

    wait_for(dead, f"Ray's word that {node} is dead", limit_s=NOTICED_S)
    return min(deaths)


def _workers(ground: Ground) -> dict[int, str]:
    """Return the processes of the cluster that compute blocks, with their nodes."""
    found = {}
    for pid, node in local.living(ground.cluster).items():
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if line.startswith(WORKER.encode()):
            found[pid] = node
    return found
