"""Connect to a Ray cluster or start a local one, and check that it can hold the workers."""

import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import ray

from pmx_ray.errors import ClusterError
from pmx_ray.forecasters.registry import Device
from pmx_ray.remote.environment import STEADY
from pmx_ray.remote.stdout import ray_on_stderr

CONNECT_S, JOIN_S = 10.0, 60.0
"""Seconds that a cluster's address has to answer in, and that nodes may take to join."""


@dataclass(frozen=True, slots=True)
class WorkerPool:
    """Like workers: how many, on what device, on nodes with which labels."""

    device: Device
    n_workers: int
    gpus: float
    labels: Mapping[str, str]

    @property
    def kind(self) -> str:
        """Name of what a worker takes; pools with the same compete for the same slots."""
        carrying = ",".join(f"{key}={value}" for key, value in sorted(self.labels.items()))
        return f"{self.device}:{self.gpus:g}:{carrying}"

    def actor_options(self) -> dict[str, Any]:
        """Return the Ray options of one worker of this pool."""
        options: dict[str, Any] = {"num_cpus": 1, "max_restarts": -1, "max_task_retries": 0}
        if self.device == "gpu":
            options["num_gpus"] = self.gpus
        if self.labels:
            options["label_selector"] = dict(self.labels)
        return options


@contextmanager
def connected(address: str | None, *, n_workers: int, dashboard: bool = False) -> Iterator[None]:
    """Hold a connection to a cluster; ``None`` or ``local`` starts one on this machine.

    A local cluster listens on loopback and ends with the block. Call
    ``use_token`` before anything imports ray, or the cluster asks for a token that nobody has.

    Parameters
    ----------
    address : str, optional
        ``local``, ``auto``, or ``host:port`` of a running cluster.
    n_workers : int
        CPUs of a local cluster.
    dashboard : bool
        Whether a local cluster has a dashboard, on loopback; it takes 300 MB.

    Raises
    ------
    ClusterError
        If there is no cluster at the address, or it refuses the token.
    """
    if ray.is_initialized():  # a session that is already connected keeps its connection
        yield
        return
    for name, value in STEADY.items():
        os.environ.setdefault(name, value)
    with ray_on_stderr():
        _connect(address, n_workers=n_workers, dashboard=dashboard)
        try:
            yield
        finally:
            ray.shutdown()


def _connect(address: str | None, *, n_workers: int, dashboard: bool) -> None:
    try:
        if address in (None, "local"):
            _start_local(n_workers, dashboard=dashboard)
        else:
            _check_reachable(address)
            ray.init(address=address, log_to_driver=False, configure_logging=False)
    except Exception as error:  # Ray says with a plain one that its processes start too slowly
        detail = " ".join(str(error).split())[:300]
        raise ClusterError(
            f"no Ray cluster could be used at address '{address or 'local'}': {detail}"
        ) from error


def _start_local(n_workers: int, *, dashboard: bool) -> None:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Workers have an environment of their own: processes that Ray starts ahead of them idle.
    os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
    ray.init(
        address="local",
        num_cpus=n_workers,
        include_dashboard=dashboard,
        log_to_driver=False,
        configure_logging=False,
        _node_ip_address="127.0.0.1",
    )


def _check_reachable(address: str) -> None:
    """Fail at once where nobody listens: Ray by itself tries for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()


def alive_nodes() -> list[dict[str, Any]]:
    """Return the living nodes of the connected cluster, with their labels and resources."""
    return [node for node in all_nodes() if node["Alive"]]


def all_nodes() -> list[dict[str, Any]]:
    """Return the nodes of the connected cluster, those that left it among them."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return nodes


def await_nodes(n_nodes: int) -> None:
    """Wait until so many nodes of the connected cluster live, the head among them.

    Raises
    ------
    ClusterError
        If they do not come within ``JOIN_S`` seconds.
    """
    until = time.monotonic() + JOIN_S
    while len(alive_nodes()) < n_nodes:
        if time.monotonic() > until:
            raise ClusterError(
                f"{len(alive_nodes())} of {n_nodes} nodes joined within {JOIN_S:.0f} s"
            )
        time.sleep(0.1)


def fit_pools(pools: Sequence[WorkerPool], nodes: Sequence[Mapping[str, Any]]) -> list[WorkerPool]:
    """Return the pools with as many workers as the nodes can hold together, at least one each.

    GPU workers are placed first; what they take is not there for the others.

    Parameters
    ----------
    pools : sequence of WorkerPool
        What was asked for; ``n_workers`` 0 asks for all that fit.
    nodes : sequence of mapping
        As ``alive_nodes`` gives them.

    Raises
    ------
    ClusterError
        If no node has the labels and resources of even one worker of a pool. Ray itself would
        wait for such a node for ever without a word.
    """
    free = [dict(node.get("Resources", {})) for node in nodes]
    fitted: list[WorkerPool] = []
    for pool in sorted(pools, key=lambda pool: pool.device, reverse=True):  # gpu before cpu
        placed = 0
        for node, left in zip(nodes, free, strict=True):
            labels = node.get("Labels", {})
            if any(labels.get(key) != value for key, value in pool.labels.items()):
                continue
            slots = _slots(pool, left)
            here = min(slots, pool.n_workers - placed) if pool.n_workers else slots
            left["CPU"] = left.get("CPU", 0) - here
            left["GPU"] = left.get("GPU", 0) - here * pool.gpus
            placed += here
        if placed == 0:
            raise ClusterError(_nothing_fits(pool))
        fitted.append(WorkerPool(pool.device, placed, pool.gpus, pool.labels))
    return fitted


def slots(pools: Sequence[WorkerPool], nodes: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many workers of each pool the nodes can hold, by device.

    Those of one pool have all that the other pools, as they were asked for, leave.

    Parameters
    ----------
    pools : sequence of WorkerPool
        What was asked for, one a device.
    nodes : sequence of mapping
        As ``alive_nodes`` gives them.

    Raises
    ------
    ClusterError
        If no node can hold even one worker of a pool.
    """
    found: dict[str, int] = {}
    for pool in pools:
        before = [other for other in pools if other.device > pool.device]  # as they are placed
        fitted = fit_pools([*before, replace(pool, n_workers=0)], nodes)
        found[pool.device] = fitted[-1].n_workers
    return found


def _slots(pool: WorkerPool, left: Mapping[str, float]) -> int:
    slots = int(left.get("CPU", 0))
    if pool.device == "gpu":
        slots = min(slots, int(left.get("GPU", 0) / pool.gpus + 1e-9))
    return max(slots, 0)


def _nothing_fits(pool: WorkerPool) -> str:
    wanted = "1 CPU" if pool.device == "cpu" else f"1 CPU and {pool.gpus:g} GPU"
    carrying = f" with the labels {dict(pool.labels)}" if pool.labels else ""
    return (
        f"no node of the cluster{carrying} has {wanted} free for a {pool.device} worker; add such "
        "a node, or change execution.workers, labels or gpus_per_worker, or the forecasters"
    )
