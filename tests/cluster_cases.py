"""A small cluster on paper, and a machine in order."""

from dataclasses import replace

from cluster.found import Disk, MachineFacts, TokenFile
from cluster.topology import Topology
from pmx_ray.config import parse

GIB = 2**30
ROOMY = Disk("/tmp/ray", 60 * GIB, 200 * GIB)
TOKEN_FILE = TokenFile("/home/quant/.ray/auth_token", 0o600, 1000, 0o700, 1000)
MACHINE = MachineFacts(
    user=1000,
    token_place=TOKEN_FILE.path,
    token_length=64,
    token_file=TOKEN_FILE,
    auth_mode="token",
    temp=ROOMY,
    runs=replace(ROOMY, folder="/srv/runs"),
    shm_free_bytes=8 * GIB,
    memory_bytes=16 * GIB,
    open_files=1_048_576,
    ray_version="2.60.0",
    python_version="3.11.9",
    pmx_version="0.1.0",
    bytecode_frac=1.0,
)


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
