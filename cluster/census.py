"""Join a cluster and ask every node; run as a process of its own, which can be stopped.

Ray takes minutes to give up an address that does not answer, and reads its token only once: so
this is not done in the caller's process. ``python -m cluster.census ADDRESS PORTS WAIT_S`` writes
one line of JSON.
"""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster import probe
from cluster.found import Disk, NodeAnswer, NodeFacts

HEAD = "node:__internal_head__"
"""Ray's resource that only the head has."""

N_CLOCK_READINGS = 3
"""The first starts a worker, seconds; the shortest of the others tells the clocks best."""


@dataclass(frozen=True, slots=True)
class Census:
    """What the nodes said.

    Attributes
    ----------
    nodes : tuple of NodeFacts
    listening : mapping of int to tuple of str, optional
        Addresses by port, on the head; None where it did not answer.
    """

    nodes: tuple[NodeFacts, ...]
    listening: Mapping[int, tuple[str, ...]] | None


@dataclass(frozen=True, slots=True)
class _Reading:
    report: Mapping[str, Any]
    sent_s: float
    received_s: float


def take(ports: tuple[int, ...], *, wait_s: float) -> Census:
    """Return what the nodes of the connected cluster say within ``wait_s`` seconds."""
    cloudpickle.register_pickle_by_value(probe)  # type: ignore[no-untyped-call]  # a node may lack the package
    rows: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    asked = {row["NodeID"]: _ask(row, ports) for row in rows if row["Alive"]}
    deadline = time.monotonic() + wait_s
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=wait_s)
    nodes, listening = [], None
    for row in rows:
        outcome = _outcome(row, asked.get(row["NodeID"]), ports, wait_s, deadline)
        nodes.append(_node(row, outcome))
        if isinstance(outcome, _Reading) and HEAD in row["Resources"]:
            listening = outcome.report["listening"]
    return Census(tuple(nodes), listening)


def _ask(row: Mapping[str, Any], ports: tuple[int, ...]) -> Any:
    task = ray.remote(num_cpus=0, max_retries=0)(probe.report)
    here = NodeAffinitySchedulingStrategy(row["NodeID"], soft=False)
    return task.options(name="pmx-census", scheduling_strategy=here).remote(_temp_dir(row), ports)


def _temp_dir(row: Mapping[str, Any]) -> str:
    """Return Ray's temporary folder, in which ``session_x/sockets/raylet`` lies."""
    return str(Path(row["RayletSocketName"]).parents[2])


def _outcome(
    row: Mapping[str, Any], task: Any, ports: tuple[int, ...], wait_s: float, deadline: float
) -> _Reading | str:
    """Return the reading with the shortest way, or why there is none."""
    if task is None:
        return "dead"
    try:
        first = ray.get(task, timeout=0.1)
    except ray.exceptions.GetTimeoutError:
        ray.cancel(task)
        return f"no answer within {wait_s:g} s"
    except ray.exceptions.RayError as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    best = _Reading(first, 0.0, float("inf"))
    for _ in range(N_CLOCK_READINGS):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        sent = time.time()
        try:
            report = ray.get(_ask(row, ports), timeout=left)
        except ray.exceptions.RayError:  # it has answered once; only the clock is told less well
            break
        received = time.time()
        if received - sent < best.received_s - best.sent_s:
            best = _Reading(report, sent, received)
    return best


def _node(row: Mapping[str, Any], outcome: _Reading | str) -> NodeFacts:
    return NodeFacts(
        node_id=row["NodeID"],
        address=row["NodeManagerAddress"],
        alive=row["Alive"],
        is_head=HEAD in row["Resources"],
        labels=row.get("Labels", {}),
        resources=row["Resources"],
        answer=None if isinstance(outcome, str) else _answer(row, outcome),
        silence=outcome if isinstance(outcome, str) else "",
    )


def _answer(row: Mapping[str, Any], reading: _Reading) -> NodeAnswer:
    said = reading.report
    return NodeAnswer(
        ray_version=said["ray_version"],
        python_version=said["python_version"],
        pmx_version=said["pmx_version"],
        skew_s=probe.least_skew(reading.sent_s, said["clock_s"], reading.received_s),
        disk=Disk(_temp_dir(row), said["free_bytes"], said["total_bytes"]),
    )


def main(address: str, ports: str, wait_s: str) -> None:
    """Join the cluster at ``address`` and write the census as a line of JSON."""
    ray.init(address=address, log_to_driver=False, configure_logging=False)
    census = take(tuple(map(int, ports.split(","))), wait_s=float(wait_s))
    sys.stdout.write(json.dumps(asdict(census)) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
