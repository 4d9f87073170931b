"""Real Ray clusters. The token must be in the environment before anything imports ray."""

import os
import secrets

os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")

from collections.abc import Callable, Iterator
from threading import Event

import pytest
import ray
from ray.cluster_utils import Cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Return a cluster of two nodes on this machine, the driver connected; one a session."""
    nodes = Cluster(
        initialize_head=True,
        connect=True,
        head_node_args={"num_cpus": 2, "num_gpus": 0, "include_dashboard": False},
    )
    nodes.add_node(num_cpus=2, num_gpus=1, labels={"rack": "far"})
    nodes.wait_for_nodes()
    yield nodes
    ray.shutdown()  # a connected driver keeps the cluster from ending
    nodes.shutdown()


def until(condition: Callable[[], bool], *, deadline_s: float = 120.0) -> None:
    """Wait for a condition; fail if it does not come true in time."""
    pause = Event()
    for _ in range(int(deadline_s / 0.05)):
        if condition():
            return
        pause.wait(0.05)
    pytest.fail(f"the condition did not come true within {deadline_s:g} s")
