"""Real Ray clusters."""

from collections.abc import Iterator

import pytest
import ray
from ray.cluster_utils import Cluster


@pytest.fixture(scope="package")  # a connected driver writes on the output of others' tests
def cluster() -> Iterator[Cluster]:
    """Return a cluster of two nodes on this machine, the driver connected; one for these tests."""
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
