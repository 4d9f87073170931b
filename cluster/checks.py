"""Whether a cluster is fit to be used: facts in, verdicts out."""

from collections.abc import Callable, Iterator, Sequence

from cluster.check import Check, judged
from cluster.door_checks import door_checks
from cluster.found import ClusterFacts, MachineFacts, NodeAnswer, NodeFacts
from cluster.machine_checks import (
    MIN_FREE_BYTES,
    MIN_FREE_FRAC,
    RAY_FLOOR,
    disk_check,
    has_room,
    machine_checks,
    ray_is_safe,
)
from cluster.topology import GROUP_LABEL, Topology

MAX_SKEW_S = 1.0
"""Receipts and pulses of two nodes are compared by the second."""


def examine(
    machine: MachineFacts, cluster: ClusterFacts | None, *, topology: Topology | None
) -> tuple[Check, ...]:
    """Return every check that the facts allow, each judged whatever the others found.

    Parameters
    ----------
    machine : MachineFacts
        This machine.
    cluster : ClusterFacts, optional
        None where there is none yet; its checks are then left out. Those of its nodes are left
        out where it could not be joined, which has a check of its own.
    topology : Topology, optional
        What the cluster should be.
    """
    return tuple(_checks(machine, cluster, topology))


def _checks(
    machine: MachineFacts, cluster: ClusterFacts | None, topology: Topology | None
) -> Iterator[Check]:
    yield from machine_checks(machine)
    yield _floor(machine, cluster)
    if topology is not None:
        yield _lake(topology)
    if cluster is None:
        return
    yield from door_checks(cluster, topology)
    if cluster.refusal:
        return
    yield _alive(cluster.nodes)
    yield _answering(cluster.nodes)
    yield _same("ray_same", "Ray", machine.ray_version, cluster, lambda a: a.ray_version)
    yield _same(
        "python_same",
        "Python",
        _minor(machine.python_version),
        cluster,
        lambda a: _minor(a.python_version),
    )
    yield _same("pmx_same", "pmx-ray", machine.pmx_version, cluster, lambda a: a.pmx_version)
    yield _head_disk(cluster.nodes)
    yield _node_disks(cluster.nodes)
    yield _clocks(cluster.nodes)
    if topology is not None:
        yield _labels(cluster.nodes, topology)
        yield _groups(cluster.nodes, topology)


def _floor(machine: MachineFacts, cluster: ClusterFacts | None) -> Check:
    versions = {"this machine": machine.ray_version}
    if cluster is not None:
        versions |= {node.address: answer.ray_version for node, answer in answers(cluster.nodes)}
    low = {where: version for where, version in versions.items() if not ray_is_safe(version)}
    floor = ".".join(map(str, RAY_FLOOR))
    found = _places(low) if low else ", ".join(sorted(set(versions.values())))
    return judged(
        "ray_floor",
        not low,
        sentence=f"Ray is {found}; it must be at least {floor}, as strangers can run code below it",
        remedy=f"pip install 'ray[default,serve,tune]>={floor}' there, and start Ray again",
    )


def _lake(topology: Topology) -> Check:
    n_machines = 1 + sum(group.most for group in topology.groups)
    lake = topology.lake
    local = lake is None or "://" not in lake or lake.lower().startswith("file:")
    place = "the runs' folder of one machine" if lake is None else f"{_scheme(lake)}"
    return judged(
        "lake_shared",
        n_machines == 1 or not local,
        sentence=f"the lake is {place} and there may be {n_machines} machines; with more than one "
        "it must be a place that every node sees",
        remedy="set lake: s3://bucket/prefix in the topology; a folder is right only where every "
        "node mounts the same one, or all nodes are on one machine",
        warning=True,
    )


def _scheme(lake: str) -> str:
    """Return where a lake is without what may be a secret in its address."""
    return f"at {lake.partition('://')[0]}://" if "://" in lake else f"the folder {lake}"


def _alive(nodes: Sequence[NodeFacts]) -> Check:
    dead = [node.address for node in nodes if not node.alive]
    return judged(
        "nodes_alive",
        not dead and bool(nodes),
        sentence=f"{len(dead)} of {len(nodes)} nodes are dead{_named(dead)}; none may be",
        remedy="look at raylet.out in the session's logs of that node, then start it again: "
        "ray start --address=...; one that left on purpose fades from the list",
    )


def _answering(nodes: Sequence[NodeFacts]) -> Check:
    silent = [f"{node.address} ({node.silence})" for node in nodes if _is_silent(node)]
    n_alive = sum(node.alive for node in nodes)
    return judged(
        "nodes_answer",
        not silent,
        sentence=f"{n_alive - len(silent)} of {n_alive} living nodes answered a task"
        f"{_named(silent, 'silent')}; all must, or what follows is unknown for them",
        remedy="see whether the node can start a worker: ray logs raylet.out --node-ip=..., or "
        "stop what keeps it busy and look again",
    )


def _is_silent(node: NodeFacts) -> bool:
    return node.alive and node.answer is None


def answers(nodes: Sequence[NodeFacts]) -> Iterator[tuple[NodeFacts, NodeAnswer]]:
    """Yield the nodes that live and have answered, each with its answer."""
    for node in nodes:
        if node.alive and node.answer is not None:
            yield node, node.answer


def _same(
    name: str,
    what: str,
    here: str,
    cluster: ClusterFacts,
    version: Callable[[NodeAnswer], str | None],
) -> Check:
    known = list(answers(cluster.nodes))
    other = {
        node.address: version(answer) or "absent"
        for node, answer in known
        if version(answer) != here
    }
    found = f"{_places(other)} and {here} here" if other else f"{here} everywhere"
    return judged(
        name,
        not other,
        sentence=f"{what} is {found}; it must be the same on this machine and on all "
        f"{len(cluster.nodes)} nodes{_unknown(cluster.nodes)}",
        remedy=f"install {what} {here} on {', '.join(sorted(other))}, or use one image for all "
        "nodes, and start Ray again there",
    )


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _head_disk(nodes: Sequence[NodeFacts]) -> Check:
    for node, answer in answers(nodes):
        if node.is_head:
            return disk_check("head_disk", answer.disk, where=f"the head, {node.address}")
    return judged(
        "head_disk",
        False,
        sentence="free disk of the head is not known, as it did not answer; "
        f"at least {MIN_FREE_BYTES / 2**30:.0f} GiB and {MIN_FREE_FRAC:.0%} are needed",
        remedy="run df -h on the head, in Ray's temporary folder",
    )


def _node_disks(nodes: Sequence[NodeFacts]) -> Check:
    others = [(node, answer) for node, answer in answers(nodes) if not node.is_head]
    tight = [
        f"{node.address} ({answer.disk.free_bytes / 2**30:.1f} GiB, {answer.disk.free_frac:.0%})"
        for node, answer in others
        if not has_room(answer.disk)
    ]
    return judged(
        "node_disks",
        not tight,
        sentence=f"{len(tight)} of {len(others)} other nodes are short of disk{_named(tight)}; at "
        f"least {MIN_FREE_BYTES / 2**30:.0f} GiB and {MIN_FREE_FRAC:.0%} must be free"
        f"{_unknown(nodes)}",
        remedy="free space in Ray's temporary folder there: rm -r /tmp/ray/session_2* of clusters "
        "that have ended, or start the node with RAY_TMPDIR on a larger disk",
    )


def _clocks(nodes: Sequence[NodeFacts]) -> Check:
    known = list(answers(nodes))
    of_head = next((answer.skew_s for node, answer in known if node.is_head), 0.0)
    apart = {node.address: answer.skew_s - of_head for node, answer in known}
    apart["this machine"] = -of_head
    off = [f"{where} ({s:+.1f} s)" for where, s in apart.items() if abs(s) > MAX_SKEW_S]
    most = max(map(abs, apart.values()))
    return judged(
        "clocks",
        not off,
        sentence=f"clocks are up to {most:.1f} s from the head's{_named(off)}; at most "
        f"{MAX_SKEW_S:g} s is allowed{_unknown(nodes)}",
        remedy="timedatectl set-ntp true there, or chronyc makestep",
    )


def _labels(nodes: Sequence[NodeFacts], topology: Topology) -> Check:
    wanted = {pair for group in topology.groups if group.nodes for pair in group.all_labels.items()}
    carried = {pair for node in nodes if node.alive for pair in node.labels.items()}
    missing = [f"{key}={value}" for key, value in sorted(wanted - carried)]
    return judged(
        "labels",
        not missing,
        sentence=f"{len(wanted) - len(missing)} of {len(wanted)} labels of the topology are on "
        f"some node{_named(missing, 'missing')}; all must be, as a task that asks for another "
        "waits for ever",
        remedy=f"start such a node with ray start --labels={','.join(missing)}",
    )


def _groups(nodes: Sequence[NodeFacts], topology: Topology) -> Check:
    here = [node.labels.get(GROUP_LABEL) for node in nodes if node.alive]
    short = [
        f"{group.name} ({here.count(group.name)} of {group.nodes})"
        for group in topology.groups
        if here.count(group.name) < group.nodes
    ]
    n_asked = len(topology.groups)
    return judged(
        "groups",
        not short,
        sentence=f"{n_asked - len(short)} of {n_asked} groups have at least the nodes that the "
        f"topology says{_named(short, 'short')}; all must",
        remedy="start the missing nodes, with the label of their group: "
        f"ray start --address=... --labels={GROUP_LABEL}=NAME; or lower nodes in the topology",
    )


def _named(words: Sequence[str], what: str = "") -> str:
    """Return ``, silent a, b``, or nothing where there are no words."""
    return ", " + " ".join(filter(None, (what, ", ".join(words)))) if words else ""


def _places(versions: dict[str, str]) -> str:
    return ", ".join(f"{version} on {where}" for where, version in sorted(versions.items()))


def _unknown(nodes: Sequence[NodeFacts]) -> str:
    n = sum(_is_silent(node) for node in nodes)
    return f"; not known of {n} that did not answer" if n else ""
