"""A cluster on paper: a head and groups of like nodes. Commands and manifests are made of it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from pmx_ray.config import Settings, parse, read_yaml
from pmx_ray.errors import SettingsError

Name = Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$")]
"""Of a cluster or a group: small letters, digits and hyphens, as Kubernetes asks for."""

GROUP_LABEL = "pmx-group"
"""Ray's label of a node that names its group; a sweep may ask for it."""

_WORD = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_KEY, _VALUE = re.compile(rf"({_WORD}/)?{_WORD}"), re.compile(_WORD)


Profile = Annotated[
    str,
    Field(
        pattern=r"^([A-Za-z0-9_+=,.@-]{1,128}"
        r"|arn:aws[a-z-]*:iam::[0-9]{12}:instance-profile/[!-~]{1,640})$"
    ),
]
"""An instance profile of AWS, by name or by ARN."""


class Ports(Settings):
    """Ports of the head; fixed, so that a firewall can name them.

    Attributes
    ----------
    gcs : int
        Where nodes join.
    dashboard : int
        Ray's dashboard and jobs API.
    client : int
        Of Ray's client server.
    metrics : int
        Where each node shows its metrics.
    serve : int
        The signal endpoint.
    """

    gcs: int = Field(default=6379, ge=1024, le=65535)
    dashboard: int = Field(default=8265, ge=1024, le=65535)
    client: int = Field(default=20001, ge=1024, le=65535)
    metrics: int = Field(default=20080, ge=1024, le=65535)
    serve: int = Field(default=8000, ge=1024, le=65535)

    @model_validator(mode="after")
    def _checked(self) -> Self:
        taken = list(self.model_dump().values())
        if len(set(taken)) < len(taken):
            raise ValueError(f"ports {sorted(taken)} are not all different")
        for name, port in self.model_dump().items():
            if 10002 <= port <= 19999:
                raise ValueError(f"{name} is {port}; Ray gives 10002 to 19999 to workers")
        return self


class Health(Settings):
    """How soon a dead node is noticed: after ``period_ms * failures``.

    Attributes
    ----------
    period_ms : int
        Between two looks; Ray's own is 3000.
    timeout_ms : int
        For an answer.
    failures : int
        Looks in vain until a node counts as dead.
    """

    period_ms: int = Field(default=1000, ge=100)
    timeout_ms: int = Field(default=1000, ge=100)
    failures: int = Field(default=3, ge=1)


class Head(Settings):
    """The node that keeps the cluster together; it runs drivers and no blocks unless told.

    Attributes
    ----------
    cpus : int
        Of the machine.
    memory_gib : float
        Of the machine.
    slots : int
        CPUs that it offers to blocks and jobs; jobs' drivers run here.
    dashboard_host : str
        Where the dashboard and the jobs API listen; loopback unless told.
    """

    cpus: int = Field(default=4, ge=1)
    memory_gib: float = Field(default=8.0, gt=0)
    slots: int = Field(default=1, ge=0)
    dashboard_host: str = "127.0.0.1"

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if self.slots > self.cpus:
            raise ValueError(f"slots is {self.slots}; the head has {self.cpus} cpus")
        return self


class NodeGroup(Settings):
    """Like nodes.

    Attributes
    ----------
    name : str
        Unique in the cluster.
    nodes : int
        How many at least; all of them where nothing scales.
    max_nodes : int, optional
        How many at most, where an autoscaler may add some; ``nodes`` unless given.
    cpus : int
        Of each.
    gpus : int
        Of each.
    accelerator : str, optional
        Ray's name of the GPU, e.g. ``H100``.
    memory_gib : float
        Of each.
    labels : mapping of str to str
        Beside ``pmx-group``, which every node has.
    spot : bool
        Whether a node may be taken away at any time; blocks bear it, a Serve replica should not.
    machine : str, optional
        The cloud's name of the machine, for ``ray up``.
    """

    name: Name
    nodes: int = Field(default=1, ge=0)
    max_nodes: int | None = Field(default=None, ge=0)
    cpus: int = Field(ge=1)
    gpus: int = Field(default=0, ge=0)
    accelerator: str | None = None
    memory_gib: float = Field(gt=0)
    labels: Mapping[str, str] = {}
    spot: bool = False
    machine: str | None = None

    @field_validator("labels")
    @classmethod
    def _label_words(cls, labels: Mapping[str, str]) -> Mapping[str, str]:
        for key, value in labels.items():
            if not _KEY.fullmatch(key) or not _VALUE.fullmatch(value):
                raise ValueError(f"label {key}={value} is not made of letters, digits and ._-")
        return labels

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if self.max_nodes is not None and self.max_nodes < self.nodes:
            raise ValueError(f"max_nodes is {self.max_nodes}, less than nodes, {self.nodes}")
        if self.accelerator is not None and not self.gpus:
            raise ValueError(f"accelerator is {self.accelerator} and gpus is 0; name how many")
        if GROUP_LABEL in self.labels:
            raise ValueError(f"label {GROUP_LABEL} is set by the group's name; leave it out")
        return self

    @property
    def most(self) -> int:
        """How many nodes there may be."""
        return self.nodes if self.max_nodes is None else self.max_nodes

    @property
    def all_labels(self) -> dict[str, str]:
        """Every label of a node, Ray's own word for spot machines among them."""
        market = {"ray.io/market-type": "spot" if self.spot else "on-demand"}
        return {GROUP_LABEL: self.name, **market, **self.labels}


class Topology(Settings):
    """One cluster.

    Attributes
    ----------
    name : str
        Of the cluster.
    head : Head
        One node.
    groups : tuple of NodeGroup
        The others; none where the head does everything.
    lake : str, optional
        Where blocks go: a folder or bucket that every node sees. On one machine the runs' folder.
    image : str
        Container image of every node.
    profile : str, optional
        Instance profile of every node that `ray up` starts, by name or ARN: what it may do on AWS.
        It needs the lake's bucket, and for the head what Ray needs to start and end nodes.
    volume : str, optional
        PersistentVolumeClaim, by name, of every pod: the folder of sweeps, models and tokens. All
        pods write to it at once. Without one that folder is each pod's own and goes with it.
    ports : Ports
        Of the head.
    health : Health
        How soon a dead node is noticed.
    idle_minutes : float
        After which an autoscaler takes an idle node away.
    """

    name: Name
    head: Head = Head()
    groups: tuple[NodeGroup, ...] = ()
    lake: str | None = None
    image: str = "pmx-ray:latest"
    profile: Profile | None = None
    volume: str | None = None
    ports: Ports = Ports()
    health: Health = Health()
    idle_minutes: float = Field(default=5.0, gt=0)

    @model_validator(mode="after")
    def _checked(self) -> Self:
        names = [group.name for group in self.groups]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two groups are called {twice}")
        if "head" in names:
            raise ValueError("a group is called head; the head has its own place")
        if not self.head.slots and not any(group.most for group in self.groups):
            raise ValueError("no node offers a CPU; give the head slots, or add a group")
        return self

    @property
    def n_nodes(self) -> int:
        """How many nodes there are at least, the head among them."""
        return 1 + sum(group.nodes for group in self.groups)

    @property
    def n_slots(self) -> int:
        """CPUs for blocks at least."""
        return self.head.slots + sum(group.nodes * group.cpus for group in self.groups)


def read_topology(path: Path) -> Topology:
    """Return the topology of a YAML file.

    Raises
    ------
    SettingsError
        If the file cannot be read, a key is unknown, or the parts do not fit together.
    """
    return parse(Topology, read_yaml(path), where=str(path))


def system_config(topology: Topology) -> dict[str, int]:
    """Return Ray's internal settings for the head: how soon a dead node is noticed."""
    health = topology.health
    return {
        "health_check_initial_delay_ms": 5000,
        "health_check_period_ms": health.period_ms,
        "health_check_timeout_ms": health.timeout_ms,
        "health_check_failure_threshold": health.failures,
    }


def group_of(topology: Topology, name: str) -> NodeGroup:
    """Return a group by name.

    Raises
    ------
    SettingsError
        If there is none.
    """
    for group in topology.groups:
        if group.name == name:
            return group
    known = ", ".join(group.name for group in topology.groups) or "none"
    raise SettingsError(f"cluster {topology.name} has no group {name}; it has: {known}")
