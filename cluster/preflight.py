"""What is looked at before a sweep is handed to a cluster, all of it from where the client stands.

The doctor joins the cluster and sees more; this takes a second, and refuses what would end badly.
"""

from collections.abc import Iterator, Mapping, Sequence

from cluster.check import Check, judged
from cluster.door_checks import WELCOME, api_checks
from cluster.found import MachineFacts
from cluster.machine_checks import RAY_FLOOR, disk_check, ray_is_safe, token_checks
from cluster.outside import OutsideFacts, SeenNode
from pmx_ray.errors import ClusterError

MAX_SKEW_S = 30.0
"""Nodes report at moments of their own; a clock that is wrong by less shows in the doctor."""


def preflight(
    machine: MachineFacts, cluster: OutsideFacts, *, labels: Sequence[Mapping[str, str]]
) -> tuple[Check, ...]:
    """Return every check that the facts allow.

    Parameters
    ----------
    machine : MachineFacts
        Of the client.
    cluster : OutsideFacts
        As its dashboard tells.
    labels : sequence of mapping of str to str
        That the nodes of the sweep's pools must carry, a pool each.
    """
    return tuple(_checks(machine, cluster, labels))


def refuse(checks: Sequence[Check]) -> None:
    """Raise for what failed, with the remedy of each.

    Raises
    ------
    ClusterError
        If a check failed that is more than a warning.
    """
    failed = [check for check in checks if not check.passed and not check.warning]
    if failed:
        lines = [f"{check.name}: {check.sentence}; {check.remedy}" for check in failed]
        raise ClusterError(
            "nothing was submitted: " + "\n".join(lines) + "\n--no-preflight submits all the same"
        )


def _checks(
    machine: MachineFacts, cluster: OutsideFacts, labels: Sequence[Mapping[str, str]]
) -> Iterator[Check]:
    yield from token_checks(machine)
    yield from api_checks(cluster.api)
    if cluster.api.own_token != WELCOME:
        return
    yield _version(machine, cluster)
    yield judged(
        "nodes_alive",
        bool(cluster.nodes),
        sentence=f"the dashboard tells of {len(cluster.nodes)} living nodes; there must be one",
        remedy="ray status on the head; then start the nodes again",
    )
    for node in cluster.nodes:
        if node.is_head and node.disk is not None:
            yield disk_check("head_disk", node.disk, where=f"the head, {node.address}")
    if cluster.nodes:
        yield _clocks(cluster.nodes)
        yield _labels(cluster.nodes, labels)


def _version(machine: MachineFacts, cluster: OutsideFacts) -> Check:
    version, here = cluster.ray_version or "not told", machine.ray_version
    floor = ".".join(map(str, RAY_FLOOR))
    return judged(
        "ray_version",
        version == here and ray_is_safe(version),
        sentence=f"Ray is {version} there and {here} here; it must be the same, and at least "
        f"{floor}, as strangers can run code below it",
        remedy=f"pip install 'ray[default,serve,tune]=={here}' on every node, or the cluster's "
        f"here, but none below {floor}",
    )


def _clocks(nodes: Sequence[SeenNode]) -> Check:
    of_head = next((node.told_s for node in nodes if node.is_head), nodes[0].told_s)
    apart = {node.address: node.told_s - of_head for node in nodes}
    off = [f"{where} ({s:+.0f} s)" for where, s in apart.items() if abs(s) > MAX_SKEW_S]
    return judged(
        "clocks",
        not off,
        sentence=f"clocks of {len(off)} of {len(nodes)} nodes are off the head's"
        f"{': ' + ', '.join(off) if off else ''}; at most {MAX_SKEW_S:g} s passes here",
        remedy="timedatectl set-ntp true there, or chronyc makestep",
    )


def _labels(nodes: Sequence[SeenNode], labels: Sequence[Mapping[str, str]]) -> Check:
    nowhere = [
        " and ".join(f"{key}={value}" for key, value in wanted.items())
        for wanted in labels
        if not any(wanted.items() <= node.labels.items() for node in nodes)
    ]
    return judged(
        "labels",
        not nowhere,
        sentence=f"{len(labels) - len(nowhere)} of {len(labels)} pools find nodes with their labels"
        f"{', none has ' + ', '.join(nowhere) if nowhere else ''}",
        remedy="start such a node with ray start --labels=..., or change execution.labels and "
        "execution.gpu_labels",
    )
