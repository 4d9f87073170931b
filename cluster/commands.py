"""A topology as commands: one `ray start` a node, on one host or on many."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from cluster.topology import Head, NodeGroup, Topology, system_config
from pmx_ray.hosts import is_loopback
from pmx_ray.remote.environment import ONE_THREAD, STEADY

OBJECTS_FRAC, WORKERS_FRAC = 0.3, 0.6
"""Shares of a node's memory for shared objects and for what workers ask for; the rest is Ray's."""

GIB = 2**30


@dataclass(frozen=True, slots=True)
class NodeCommand:
    """How one node is started.

    Attributes
    ----------
    node : str
        ``head``, or the group's name and a number.
    argv : tuple of str
        The command; no secret is in it.
    environment : mapping of str to str
        Beside the token, which every node has of its own.
    """

    node: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]

    @property
    def line(self) -> str:
        """The command as a shell takes it."""
        settings = " ".join(f"{name}={shlex.quote(v)}" for name, v in self.environment.items())
        return f"{settings} {shlex.join(self.argv)}"


def environment() -> dict[str, str]:
    """Return the environment of every node: the token is asked for, and libraries take a thread."""
    return {"RAY_AUTH_MODE": "token", **STEADY, **ONE_THREAD}


def head_command(topology: Topology, *, host: str) -> NodeCommand:
    """Return how the head is started.

    Parameters
    ----------
    topology : Topology
        Of the cluster.
    host : str
        Address of the head's machine, at which the others find it.
    """
    head, ports = topology.head, topology.ports
    argv = (
        "ray", "start", "--head", "--disable-usage-stats",
        f"--node-ip-address={host}",
        f"--port={ports.gcs}",
        f"--ray-client-server-port={ports.client}",
        f"--dashboard-host={head.dashboard_host}",
        f"--dashboard-port={ports.dashboard}",
        f"--metrics-export-port={ports.metrics}",
        f"--num-cpus={head.slots}",
        *_memory(head),
        "--labels=pmx-group=head",
        f"--system-config={json.dumps(system_config(topology))}",
    )  # fmt: skip
    return NodeCommand("head", argv, environment())


def group_command(topology: Topology, group: NodeGroup, *, n: int, head: str) -> NodeCommand:
    """Return how the ``n``-th node of a group is started, counted from 1.

    It shows its metrics at the topology's port, unless ``head`` is a loopback address: all nodes
    share that one, and each takes a port that is free.

    Parameters
    ----------
    topology : Topology
        Of the cluster.
    group : NodeGroup
        The node's.
    n : int
        Its number.
    head : str
        Address of the head's machine.
    """
    labels = ",".join(f"{name}={value}" for name, value in group.all_labels.items())
    accelerator = {f"accelerator_type:{group.accelerator}": 1} if group.accelerator else {}
    argv = (
        "ray", "start", "--disable-usage-stats",
        f"--address={head}:{topology.ports.gcs}",
        f"--num-cpus={group.cpus}",
        f"--num-gpus={group.gpus}",
        *((f"--resources={json.dumps(accelerator)}",) if accelerator else ()),
        *(() if is_loopback(head) else (f"--metrics-export-port={topology.ports.metrics}",)),
        *_memory(group),
        f"--labels={labels}",
    )  # fmt: skip
    return NodeCommand(f"{group.name}-{n}", argv, environment())


def commands(topology: Topology, *, host: str) -> tuple[NodeCommand, ...]:
    """Return every node's command, the head's first; each is run on the machine it is meant for.

    Parameters
    ----------
    topology : Topology
        Of the cluster.
    host : str
        Address of the head's machine.
    """
    groups = [
        group_command(topology, group, n=n, head=host)
        for group in topology.groups
        for n in range(1, group.nodes + 1)
    ]
    return (head_command(topology, host=host), *groups)


def script(topology: Topology, *, host: str) -> str:
    """Return the commands for people, with what must be there before them."""
    lines = [
        f"# Cluster {topology.name}. On every machine first, with the same token:",
        "#   mkdir -p -m 700 ~/.ray; (umask 077; cat > ~/.ray/auth_token)",
    ]
    for command in commands(topology, host=host):
        lines += [f"# {command.node}", command.line]
    return "\n".join(lines) + "\n"


def _memory(node: Head | NodeGroup) -> tuple[str, str]:
    size = node.memory_gib * GIB
    return (
        f"--object-store-memory={int(size * OBJECTS_FRAC)}",
        f"--memory={int(size * WORKERS_FRAC)}",
    )
