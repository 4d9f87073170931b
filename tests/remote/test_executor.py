"""The same bytes from any executor, any number of workers, and after any kill."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster
from ray_cases import PANEL, PLAN, PLUGINS, cut, digest, pools

from pmx_ray.backtest.blocks import BlockSize, WorkBlock
from pmx_ray.backtest.dispatch import DispatchPolicy
from pmx_ray.backtest.executor import Settled, run_in_process
from pmx_ray.backtest.runner import failed_block
from pmx_ray.errors import ClusterError, LakeError
from pmx_ray.forecasters.protocol import Status
from pmx_ray.lake import open_store
from pmx_ray.remote.cluster import WorkerPool
from pmx_ray.remote.executor import run_on_ray


def start(
    lake: Path, blocks: tuple[WorkBlock, ...], pools: list[WorkerPool], *, attempts: int = 3
) -> Iterator[Settled]:
    return run_on_ray(
        PANEL, PLAN, blocks,
        pools=pools,
        policy=DispatchPolicy(in_flight=2, max_attempts=attempts),
        lake_url=str(lake),
        plugins=PLUGINS,
    )  # fmt: skip


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    lake = tmp_path_factory.mktemp("lake")
    store = open_store(str(lake))
    return digest(lake, list(run_in_process(PANEL, PLAN, cut(size=BlockSize()), store=store)))


@pytest.mark.parametrize("n_workers", [1, 2])
def test_ray_when_workers_differ_then_the_same_bytes_as_in_process(
    cluster: Cluster, tmp_path: Path, expected: str, n_workers: int
) -> None:
    settled = list(start(tmp_path, cut(), pools(n_workers)))
    assert len(settled) == len(cut())
    assert all(row.receipt is not None and row.receipt.failed == 0 for row in settled)
    assert digest(tmp_path, settled) == expected


def test_ray_when_two_nodes_work_then_the_same_bytes(
    cluster: Cluster, tmp_path: Path, expected: str
) -> None:
    settled = list(start(tmp_path, cut(), pools(4)))
    assert len({row.receipt.node for row in settled if row.receipt}) == 2
    assert digest(tmp_path, settled) == expected


def test_ray_when_a_spec_needs_a_gpu_then_its_blocks_run_on_the_gpu_node_alone(
    cluster: Cluster, tmp_path: Path
) -> None:
    settled = list(start(tmp_path, cut("on_gpu", "drift"), pools(2, gpu=1)))
    (with_gpu,) = {n["NodeID"] for n in ray.nodes() if n["Alive"] and n["Resources"].get("GPU")}
    where = {row.receipt.node for row in settled if row.receipt and row.block.device == "gpu"}
    assert where == {with_gpu}


def test_ray_when_labels_are_asked_then_only_nodes_that_carry_them(
    cluster: Cluster, tmp_path: Path
) -> None:
    settled = list(start(tmp_path, cut("drift"), pools(4, labels={"rack": "far"})))
    (far,) = {n["NodeID"] for n in ray.nodes() if n["Alive"] and n["Labels"].get("rack") == "far"}
    assert {row.receipt.node for row in settled if row.receipt} == {far}


@pytest.mark.parametrize(
    ("names", "which", "message"),
    [
        (("drift",), pools(labels={"rack": "none"}), "no node of the cluster with the labels"),
        (("on_gpu",), [WorkerPool("gpu", 1, 4.0, {})], "1 CPU and 4 GPU"),
        (("on_gpu",), pools()[:1], "need a gpu worker"),
    ],
)
def test_ray_when_no_node_can_hold_a_worker_then_an_error_and_not_a_wait(
    cluster: Cluster, tmp_path: Path, names: tuple[str], which: list[WorkerPool], message: str
) -> None:
    with pytest.raises(ClusterError, match=message):
        list(start(tmp_path, cut(*names), which))


def test_ray_when_a_block_kills_its_worker_then_only_its_cells_are_lost(
    cluster: Cluster, tmp_path: Path
) -> None:
    blocks = cut("deadly", "drift")
    settled = list(start(tmp_path, blocks, pools(2), attempts=2))
    lost = [row for row in settled if row.receipt is None]
    assert {row.block.id for row in settled} == {block.id for block in blocks}
    assert {row.block.tickers for row in lost} == {("B",)}
    assert all("given up after 2 attempts" in (row.reason or "") for row in lost)
    table = failed_block(PANEL, PLAN, lost[0].block, status=Status.QUARANTINED, reason="x")
    assert set(table["status"].to_pylist()) == {"quarantined"}


def test_ray_when_the_lake_cannot_be_written_then_its_error_ends_the_run(
    cluster: Cluster, tmp_path: Path
) -> None:
    (tmp_path / "lake").write_text("a file where a folder should be")
    with pytest.raises((LakeError, ClusterError)):
        list(start(tmp_path / "lake", cut("drift"), pools(1)))


def kill_one_worker() -> None:
    workers = [
        process
        for process in psutil.process_iter(["cmdline"])
        if any("ray::BlockWorker" in part for part in process.info["cmdline"] or [])
    ]
    workers[0].send_signal(signal.SIGKILL)


@pytest.mark.drill
@pytest.mark.parametrize("after", [0, 7, 19])
def test_ray_when_a_worker_is_killed_then_the_same_bytes(
    cluster: Cluster, tmp_path: Path, expected: str, after: int
) -> None:
    settled = interrupted(start(tmp_path, cut(), pools(2)), after, kill_one_worker)
    assert digest(tmp_path, settled) == expected


@pytest.mark.drill
def test_ray_when_a_node_is_killed_then_the_same_bytes(
    cluster: Cluster, tmp_path: Path, expected: str
) -> None:
    doomed = cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()
    run = start(tmp_path, cut(), pools(6))
    settled = interrupted(run, 9, lambda: cluster.remove_node(doomed, allow_graceful=False))
    assert digest(tmp_path, settled) == expected


def interrupted(run: Iterator[Settled], after: int, strike: Callable[[], None]) -> list[Settled]:
    """Collect a run, striking once ``after`` blocks have settled."""
    settled = []
    for n, row in enumerate(run):
        settled.append(row)
        if n == after:
            strike()
    assert len(settled) == len({row.block.id for row in settled}) == len(cut())
    assert all(row.receipt is not None for row in settled)
    return settled
