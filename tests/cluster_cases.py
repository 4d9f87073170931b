"""A small cluster on paper."""

from cluster.topology import Topology
from pmx_ray.config import parse


def topology(**changed):
    values = {
        "name": "small",
        "head": {"cpus": 4, "memory_gib": 8, "slots": 2},
        "groups": [
            {"name": "cpu", "nodes": 2, "cpus": 8, "memory_gib": 16},
            {"name": "gpu", "nodes": 1, "max_nodes": 3, "cpus": 4, "gpus": 2, "memory_gib": 32,
             "accelerator": "H100", "spot": True, "labels": {"room": "b1"}},
        ],
    }  # fmt: skip
    return parse(Topology, {**values, **changed}, where="test")


def group(**changed):
    return {"name": "cpu", "nodes": 1, "cpus": 8, "memory_gib": 16, **changed}
