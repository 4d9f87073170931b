"""What a dashboard says to a client outside the cluster: version, nodes, disks, clocks."""

from collections.abc import Mapping
from dataclasses import dataclass

import httpx
from pydantic import BaseModel, Field, ValidationError

from cluster.facts import HTTP_S, jobs_api
from cluster.found import Disk, JobsApi


@dataclass(frozen=True, slots=True)
class SeenNode:
    """A node as the dashboard tells of it.

    Attributes
    ----------
    address : str
        Of the node.
    is_head : bool
        Whether it is the head.
    labels : mapping of str to str
        Ray's and ours.
    disk : Disk, optional
        Of Ray's temporary folder; None where the node does not tell, as in a pod.
    told_s : float
        Its clock when it last reported, seconds since 1970; reports come every few seconds.
    """

    address: str
    is_head: bool
    labels: Mapping[str, str]
    disk: Disk | None
    told_s: float


@dataclass(frozen=True, slots=True)
class OutsideFacts:
    """A cluster as a client sees it.

    Attributes
    ----------
    api : JobsApi
        Who gets in.
    ray_version : str, optional
        Of the head; None where it did not tell.
    nodes : tuple of SeenNode
        That live; empty where the dashboard did not tell.
    """

    api: JobsApi
    ray_version: str | None
    nodes: tuple[SeenNode, ...]


class _Usage(BaseModel):
    total: int
    free: int


class _Raylet(BaseModel):
    state: str = "DEAD"
    is_head: bool = Field(default=False, alias="isHeadNode")
    labels: dict[str, str] = {}


class _Node(BaseModel):
    ip: str = ""
    now: float = 0.0
    disk: dict[str, _Usage] = {}
    raylet: _Raylet = _Raylet()


class _Summary(BaseModel):
    summary: list[_Node]


class _Answer(BaseModel):
    data: _Summary


class _Version(BaseModel):
    ray_version: str


def outside_facts(dashboard_url: str, *, token: str | None) -> OutsideFacts:
    """Return what a dashboard says; what does not answer is a fact too, and nothing is raised.

    Parameters
    ----------
    dashboard_url : str
        E.g. ``http://127.0.0.1:8265``.
    token : str, optional
        Of the cluster.
    """
    api = jobs_api(dashboard_url, token=token)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    version: str | None = None
    nodes: tuple[SeenNode, ...] = ()
    try:
        with httpx.Client(
            base_url=dashboard_url, headers=headers, timeout=HTTP_S, trust_env=False
        ) as client:
            told = client.get("/api/version")
            if told.status_code == 200:
                version = _Version.model_validate_json(told.content).ray_version
            told = client.get("/nodes", params={"view": "summary"})
            if told.status_code == 200:
                nodes = _nodes(_Answer.model_validate_json(told.content))
    except (httpx.HTTPError, ValidationError):
        pass
    return OutsideFacts(api, version, nodes)


def _nodes(answer: _Answer) -> tuple[SeenNode, ...]:
    alive = [node for node in answer.data.summary if node.raylet.state == "ALIVE"]
    return tuple(
        SeenNode(
            address=node.ip,
            is_head=node.raylet.is_head,
            labels=node.raylet.labels,
            disk=_disk(node.disk),
            told_s=node.now,
        )
        for node in alive
        if node.now
    )


def _disk(told: Mapping[str, _Usage]) -> Disk | None:
    """Return the file system of Ray's folder, the last told of; a pod tells of one byte."""
    real = [(folder, usage) for folder, usage in told.items() if usage.total > 1]
    return Disk(real[-1][0], real[-1][1].free, real[-1][1].total) if real else None
