import socket
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray

from pmx_ray.backtest.dispatch import DispatchPolicy, Retire
from pmx_ray.errors import ClusterError
from pmx_ray.lake import Receipt, open_store
from pmx_ray.remote.cluster import WorkerPool, connected, fit_pools, slots
from pmx_ray.remote.meters import Tally
from pmx_ray.remote.pool_run import PoolRun


def node(labels: dict[str, str] | None = None, **resources: float) -> dict[str, object]:
    return {"Labels": labels or {}, "Resources": resources}


def test_pool_when_the_cluster_is_smaller_then_as_many_as_fit() -> None:
    pool = WorkerPool("cpu", 8, 0.0, {})
    assert fit_pools([pool], [node(CPU=2), node(CPU=3)])[0].n_workers == 5


def test_pool_when_no_number_is_asked_then_all_cpus() -> None:
    assert fit_pools([WorkerPool("cpu", 0, 0.0, {})], [node(CPU=2), node(CPU=3)])[0].n_workers == 5


def test_pool_when_gpus_are_shared_then_two_workers_a_card_within_cpus() -> None:
    pool = WorkerPool("gpu", 9, 0.5, {})
    assert fit_pools([pool], [node(CPU=8, GPU=2), node(CPU=8)])[0].n_workers == 4
    assert fit_pools([pool], [node(CPU=1, GPU=2)])[0].n_workers == 1


def test_pool_when_labels_are_asked_then_only_nodes_that_carry_them() -> None:
    pool = WorkerPool("cpu", 9, 0.0, {"zone": "a"})
    nodes = [node({"zone": "a"}, CPU=2), node({"zone": "b"}, CPU=4)]
    assert fit_pools([pool], nodes)[0].n_workers == 2


def test_pools_when_cpu_and_gpu_workers_share_nodes_then_the_gpu_workers_keep_their_cpu() -> None:
    pools = [WorkerPool("cpu", 0, 0.0, {}), WorkerPool("gpu", 1, 1.0, {})]
    gpu, cpu = fit_pools(pools, [node(CPU=2, GPU=1)])
    assert (gpu.device, gpu.n_workers, cpu.n_workers) == ("gpu", 1, 1)
    with pytest.raises(ClusterError, match="has 1 CPU free for a cpu worker"):
        fit_pools(pools, [node(CPU=1, GPU=1)])


@pytest.mark.parametrize(
    ("resources", "asked", "gpus", "cpu_slots", "gpu_slots"),
    [
        ({"CPU": 16, "GPU": 8}, 1, 1.0, 15, 8),
        ({"CPU": 8, "GPU": 8}, 1, 1.0, 7, 8),
        ({"CPU": 8, "GPU": 1}, 2, 0.1, 6, 8),
    ],
)
def test_slots_when_cards_could_take_every_cpu_then_what_was_asked_for_them_counts(
    resources: dict[str, float], asked: int, gpus: float, cpu_slots: int, gpu_slots: int
) -> None:
    pools = [WorkerPool("cpu", 2, 0.0, {}), WorkerPool("gpu", asked, gpus, {})]
    assert slots(pools, [node(**resources)]) == {"cpu": cpu_slots, "gpu": gpu_slots}


class Handle:
    """An actor's that answers nothing."""

    def __getattr__(self, name: str) -> "Handle":
        return self

    def remote(self, *_: object) -> object:
        return object()


def a_run(tmp_path: Path, *, priority: int | None = None, n_blocks: int = 0) -> PoolRun:
    return PoolRun(
        pool=WorkerPool("cpu", 0, 0.0, {}),
        blocks={f"b{n}": SimpleNamespace(predicted_s=1.0) for n in range(n_blocks)},
        policy=DispatchPolicy(),
        store=open_store(str(tmp_path)),
        n_steps=1,
        priority=priority,
    )


def test_pool_when_workers_were_retired_then_they_are_not_replaced_but_for_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "kill", lambda _: None)
    monkeypatch.setattr(Tally, "__init__", lambda *_, **__: None)
    monkeypatch.setattr(Tally, "saw", lambda *_: None)
    run, hired = a_run(tmp_path, priority=5, n_blocks=9), []
    run._hire = lambda name: hired.append(name) or Handle()
    run.resize(4)
    for worker in ("cpu-0", "cpu-1"):
        run._carry_out(Retire(worker, "died 5 times in a row: no memory"))
    run.resize(4)
    assert len(hired) == 4
    run.resize(5)
    assert len(hired) == 5
    run.resize(0)
    run.resize(1)
    assert len(hired) == 6


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        (WorkerPool("gpu", 1, 1.0, {}), "no node of the cluster has 1 CPU and 1 GPU"),
        (WorkerPool("cpu", 1, 0.0, {"zone": "c"}), r"with the labels {'zone': 'c'} has 1 CPU"),
    ],
)
def test_pool_when_nothing_fits_then_says_so_instead_of_waiting(
    pool: WorkerPool, message: str
) -> None:
    with pytest.raises(ClusterError, match=message):
        fit_pools([pool], [node(CPU=4), node({"zone": "a"}, CPU=4)])


TOKEN_PROBE = """
import os, sys
for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
    os.environ.pop(name, None)
os.environ["HOME"] = sys.argv[2]
from pmx_ray.remote.token import use_token
assert "ray" not in sys.modules
use_token(sys.argv[1] or None)
print(os.environ.get("RAY_AUTH_MODE"), len(os.environ.get("RAY_AUTH_TOKEN", "")))
"""


@pytest.mark.parametrize(
    ("address", "has_file", "expected"),
    [
        ("", False, "token 64"),
        ("local", True, "token 64"),
        ("10.0.0.1:6379", True, "token 0"),
        ("10.0.0.1:6379", False, "None 0"),
    ],
)
def test_token_when_an_address_is_used_then_as_documented(
    tmp_path, address: str, has_file: bool, expected: str
) -> None:
    if has_file:
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text("x" * 64)
        (tmp_path / ".ray" / "auth_token").chmod(stat.S_IRUSR)
    found = subprocess.run(
        [sys.executable, "-c", TOKEN_PROBE, address, str(tmp_path)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert found.stdout.strip() == expected


def test_pool_when_a_node_writes_elsewhere_then_the_run_ends_with_what_to_do(tmp_path) -> None:
    run = a_run(tmp_path)
    receipt = Receipt("ab" * 32, f"blocks/ab/{'ab' * 32}.parquet", 1, 0, "0" * 64, 0.1, "far", 1)
    with pytest.raises(ClusterError, match=r"node far wrote block .* give a lake that all nodes"):
        run._check_visible(receipt)


def test_cluster_when_nobody_listens_at_the_address_then_an_error_at_once(monkeypatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # other tests may be connected
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: a refusal, not a time-out
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with (
            pytest.raises(ClusterError, match=f"at address '{address}'.*refused"),
            connected(address, n_workers=1),
        ):
            pass


def test_cluster_when_its_processes_start_too_slowly_then_an_error_that_says_so(
    monkeypatch,
) -> None:
    def starts_late(**_: object) -> None:
        raise Exception("The current node timed out during startup")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", starts_late)
    with (
        pytest.raises(ClusterError, match="at address 'local': The current node timed out"),
        connected(None, n_workers=1),
    ):
        pass
