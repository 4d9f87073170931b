"""A topology as a cluster file for `ray up` on AWS: on-demand and spot machines, scaled by Ray.

The access token is not in the file. `ray up` copies the user's own ``~/.ray/auth_token`` to every
node, and Ray reads it there. The image must hold boto3, extra ``s3``, for Ray's autoscaler.
"""

import json
import math
import re
import shlex
from typing import Any

import yaml

from cluster.commands import GIB, OBJECTS_FRAC, WORKERS_FRAC, environment
from cluster.manifest_models import NodeLabels
from cluster.topology import GROUP_LABEL, Head, NodeGroup, Topology, system_config
from pmx_ray.config import parse
from pmx_ray.errors import SettingsError

TOKEN_FILE = "~/.ray/auth_token"  # noqa: S105 - a place, not a token

HEAD_MACHINES = {
    "m7i.large": (2, 8),
    "m7i.xlarge": (4, 16),
    "m7i.2xlarge": (8, 32),
    "m7i.4xlarge": (16, 64),
    "m7i.8xlarge": (32, 128),
    "m7i.12xlarge": (48, 192),
    "m7i.16xlarge": (64, 256),
    "m7i.24xlarge": (96, 384),
    "m7i.48xlarge": (192, 768),
}
"""Machines for a head, CPUs and GiB of each, smallest first; the first that holds it is taken."""

_REGION = re.compile(r"^[a-z]{2,4}(-[a-z]+)+-[0-9]+$")


def ray_up(topology: Topology, *, region: str) -> dict[str, Any]:
    """Return the mapping of a cluster file for ``ray up`` on AWS.

    Nodes have no public address: run ``ray up`` from inside the network, or through a proxy.

    Parameters
    ----------
    topology : Topology
        Each group must name its machine; the head's is taken from ``HEAD_MACHINES``.
    region : str
        Of AWS, e.g. ``eu-central-1``.

    Raises
    ------
    SettingsError
        If a group has no machine, the head fits none, a label is not one of Ray's, or the region
        is not written as one.
    """
    if not _REGION.fullmatch(region):
        raise SettingsError(f"region was {region!r}; write it as AWS does, e.g. eu-central-1")
    return {
        "cluster_name": topology.name,
        "max_workers": sum(group.most for group in topology.groups),
        "idle_timeout_minutes": topology.idle_minutes,
        "provider": {
            "type": "aws",
            "region": region,
            "use_internal_ips": True,
            "cache_stopped_nodes": False,
        },
        "auth": {"ssh_user": "ubuntu"},
        "docker": _docker(topology),
        "file_mounts": {TOKEN_FILE: TOKEN_FILE},
        "available_node_types": {
            "head": _head_type(topology.head, topology.profile),
            **{group.name: _group_type(group, topology.profile) for group in topology.groups},
        },
        "head_node_type": "head",
        # Ray's own setup commands would install another Ray over the image's.
        "setup_commands": [f"chmod 600 {TOKEN_FILE} && test -s {TOKEN_FILE}"],
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "head_start_ray_commands": ["ray stop", _started(_head_arguments(topology))],
        "worker_start_ray_commands": ["ray stop", _started(_worker_arguments(topology))],
    }


def as_yaml(document: dict[str, Any]) -> str:
    """Return a cluster file's text, with what must be there before it is used."""
    header = (
        f"# Cluster {document['cluster_name']}: ray up --no-config-cache <this file>\n"
        f"# Every node gets your {TOKEN_FILE}; make it first, readable by you alone:\n"
        f"#   (umask 077; mkdir -p ~/.ray; openssl rand -hex 32 > {TOKEN_FILE})\n"
    )
    if not any("IamInstanceProfile" in each["node_config"] for each in _node_types(document)):
        header += (
            "# No profile is named: Ray makes one for the head alone, and workers have no\n"
            "# right to a lake in a bucket. Name one in the topology, e.g. profile: pmx-nodes;\n"
            "# it must be allowed the bucket, and for the head EC2 and iam:PassRole of itself.\n"
        )
    return header + yaml.safe_dump(document, sort_keys=False, width=1000)


def shared_memory_mib(memory_gib: float) -> int:
    """Return how large a container's ``/dev/shm`` must be: its shared objects and a tenth more."""
    return math.ceil(memory_gib * 1024 * OBJECTS_FRAC * 1.1)


def _node_types(document: dict[str, Any]) -> list[dict[str, Any]]:
    return list(document["available_node_types"].values())


def _docker(topology: Topology) -> dict[str, Any]:
    return {
        "image": topology.image,
        "container_name": f"{topology.name}-ray",
        "pull_before_run": True,
        # Also what `ray exec` and `ray submit` run in the container asks for the token.
        "run_options": ["--env=RAY_AUTH_MODE=token", "--ulimit=nofile=65536:65536"],
        "head_run_options": [_shm_option(topology.head.memory_gib)],
    }


def _shm_option(memory_gib: float) -> str:
    return f"--shm-size={shared_memory_mib(memory_gib)}m"


def _head_type(head: Head, profile: str | None) -> dict[str, Any]:
    return {
        "min_workers": 0,
        "max_workers": 0,
        "resources": {"CPU": head.slots, "memory": _memory_bytes(head)},
        "labels": {GROUP_LABEL: "head"},
        "node_config": _node_config(_head_machine(head), profile),
    }


def _group_type(group: NodeGroup, profile: str | None) -> dict[str, Any]:
    if group.machine is None:
        raise SettingsError(
            f"group {group.name} names no machine; `ray up` needs one, e.g. machine: m7i.4xlarge"
        )
    parse(NodeLabels, {"labels": group.all_labels}, where=f"group {group.name}")
    resources = {"CPU": group.cpus, "memory": _memory_bytes(group)}
    if group.gpus:
        resources["GPU"] = group.gpus
    if group.accelerator is not None:
        resources[f"accelerator_type:{group.accelerator}"] = 1
    node_config = _node_config(group.machine, profile)
    if group.spot:
        node_config["InstanceMarketOptions"] = {"MarketType": "spot"}
    return {
        "min_workers": group.nodes,
        "max_workers": group.most,
        "resources": resources,
        "labels": group.all_labels,
        "docker": {"worker_run_options": [_shm_option(group.memory_gib)]},
        "node_config": node_config,
    }


def _node_config(machine: str, profile: str | None) -> dict[str, Any]:
    # Without HttpTokens a program that can be made to fetch a URL could read the node's rights.
    plain = {"InstanceType": machine, "MetadataOptions": {"HttpTokens": "required"}}
    if profile is None:
        return plain
    named = "Arn" if profile.startswith("arn:") else "Name"
    return {**plain, "IamInstanceProfile": {named: profile}}


def _head_machine(head: Head) -> str:
    for machine, (cpus, memory_gib) in HEAD_MACHINES.items():
        if head.cpus <= cpus and head.memory_gib <= memory_gib:
            return machine
    cpus, memory_gib = max(HEAD_MACHINES.values())
    raise SettingsError(
        f"head has {head.cpus} cpus and {head.memory_gib:g} GiB; the largest machine for a head "
        f"has {cpus} and {memory_gib}; give the work to groups"
    )


def _memory_bytes(node: Head | NodeGroup) -> int:
    return int(node.memory_gib * GIB * WORKERS_FRAC)


def _head_arguments(topology: Topology) -> list[str]:
    ports = topology.ports
    return [
        "--head",
        f"--port={ports.gcs}",
        f"--ray-client-server-port={ports.client}",
        f"--dashboard-host={shlex.quote(topology.head.dashboard_host)}",
        f"--dashboard-port={ports.dashboard}",
        f"--metrics-export-port={ports.metrics}",
        f"--labels={GROUP_LABEL}=head",
        f"--system-config={shlex.quote(json.dumps(system_config(topology)))}",
        "--autoscaling-config=~/ray_bootstrap_config.yaml",
    ]


def _worker_arguments(topology: Topology) -> list[str]:
    # Labels and resources of a worker come from its node type: Ray hands them to the node.
    return [
        f"--address=$RAY_HEAD_IP:{topology.ports.gcs}",
        f"--metrics-export-port={topology.ports.metrics}",
    ]


def _started(arguments: list[str]) -> str:
    settings = [f"{name}={shlex.quote(value)}" for name, value in environment().items()]
    words = [*settings, "ray", "start", "--disable-usage-stats", *arguments]
    return "ulimit -n 65536; " + " ".join(words)
