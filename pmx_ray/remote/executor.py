"""Blocks on a Ray cluster: one run of a dispatch for each pool of workers, polled together."""

import importlib.util
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import ray
import structlog

from pmx_ray import tracing
from pmx_ray.backtest.blocks import WorkBlock
from pmx_ray.backtest.dispatch import DispatchPolicy
from pmx_ray.backtest.executor import Settled
from pmx_ray.data.panel import Panel
from pmx_ray.errors import ClusterError
from pmx_ray.folds import FoldPlan
from pmx_ray.lake import open_store
from pmx_ray.remote.cluster import WorkerPool, alive_nodes, slots
from pmx_ray.remote.meters import Publisher
from pmx_ray.remote.pool_run import PoolRun

_log = structlog.get_logger()

POLL_S = 1.0
"""Longest wait for a result before the shell looks whether the run is stranded."""

STRANDED_S = 180.0
"""Seconds without any worker, after which the run gives up; what is done stays in the lake. On a
cluster that is shared it waits for as long as others hold all slots."""


def run_on_ray(
    panel: Panel,
    plan: FoldPlan,
    blocks: Sequence[WorkBlock],
    *,
    pools: Sequence[WorkerPool],
    policy: DispatchPolicy,
    lake_url: str,
    plugins: tuple[str, ...] = (),
    held: Sequence[WorkBlock] = (),
    priority: int | None = None,
    nodes_within_s: float = 0.0,
    monotonic: Callable[[], float] = time.monotonic,
) -> Generator[Settled, None, None]:
    """Compute ``blocks`` with Ray actors on the connected cluster, in whatever order they finish.

    Parameters
    ----------
    panel, plan
        The sweep's prices and folds; put into the object store once.
    blocks : sequence of WorkBlock
        Costliest first.
    pools : sequence of WorkerPool
        At least one for every device that the blocks need.
    policy : DispatchPolicy
        Bounds of the dispatch.
    lake_url : str
        Where every worker can write.
    plugins : tuple of str
        Modules that register forecasters.
    held : sequence of WorkBlock
        Those that the lake holds already; they are counted as such.
    priority : int, optional
        Which sweep goes first where several use the cluster, 1 before 2; None where it is this
        run's alone.
    nodes_within_s : float
        Seconds to wait for an autoscaler to start nodes, where none is there that could hold a
        worker; only on a cluster that is shared.
    monotonic : callable
        Seconds, for limits alone.

    Raises
    ------
    ClusterError
        If no node can hold a worker, or every worker is gone and none comes back.
    PmxError
        What a worker raised on purpose, e.g. a full disk under the lake.
    """
    store = open_store(lake_url)
    needed = {block.device for block in blocks}
    missing = needed - {pool.device for pool in pools}
    if missing:
        raise ClusterError(f"blocks need a {missing.pop()} worker; set execution.gpu_workers")
    pools = [pool for pool in pools if pool.device in needed]
    runs = [
        PoolRun(
            pool=pool,
            blocks={block.id: block for block in blocks if block.device == pool.device},
            policy=policy,
            store=store,
            n_steps=len(plan.steps),
            priority=priority,
        )
        for pool in pools
    ]
    meters = Publisher([run.tally for run in runs], held=held)
    shared = (ray.put(panel), ray.put(plan))
    worker_arguments = (lake_url, plugins, _folders(plugins), tracing.traceparent())
    try:
        room = _room(runs, pools, until=monotonic() + nodes_within_s, monotonic=monotonic)
        for run in runs:
            run.start(worker_arguments, shared, slots=room[run.pool.device])
        idle_since = monotonic()
        waits = False
        while not all(run.dispatch.finished for run in runs):
            meters.tick()
            _share(runs, pools)
            answered = False
            for settled in _poll(runs):
                answered = True
                yield settled
            parked = any(run.parked for run in runs)
            if answered or parked or not any(run.stranded for run in runs):
                idle_since, waits = monotonic(), False
            elif monotonic() - idle_since > STRANDED_S:
                if not _slots_are_others(runs, pools):
                    raise ClusterError(_stranded(runs))
                if not waits:
                    waits = True
                    _log.warning("no worker has a slot; waiting until others leave one")
    finally:
        meters.end()
        for run in runs:
            run.stop()


def _room(
    runs: Sequence[PoolRun],
    pools: Sequence[WorkerPool],
    *,
    until: float,
    monotonic: Callable[[], float],
) -> dict[str, int]:
    """Return the workers of each pool that the cluster can hold; ask for nodes if it holds none."""
    said = False
    while True:
        try:
            return slots(pools, alive_nodes())
        except ClusterError as error:
            if monotonic() >= until or any(run.share is None for run in runs):
                raise
            if not said:
                said = True
                _log.warning("an autoscaler is asked for nodes and waited for", why=str(error))
        for run in runs:
            if run.share is not None and run.share.due():
                run.share.again(slots=0, wanted=run.wanted)
        time.sleep(POLL_S)


def _poll(runs: Sequence[PoolRun]) -> Iterator[Settled]:
    """Wait for an answer, and take every one that is there: a look costs as much as its list."""
    waiting = [ref for run in runs for ref in run.pending]
    if not waiting and any(run.parked for run in runs):
        time.sleep(POLL_S)
        return
    if not waiting:
        raise ClusterError("every worker was retired; see the reasons above")
    ready, _ = ray.wait(waiting, num_returns=1, timeout=POLL_S)
    if ready:
        ready, _ = ray.wait(waiting, num_returns=len(waiting), timeout=0)
    for ref in ready:
        for run in runs:
            if ref in run.pending:  # one that died meanwhile takes all of its own along
                yield from run.take(ref)


def _share(runs: Sequence[PoolRun], pools: Sequence[WorkerPool]) -> None:
    """Have as many workers as the cluster's other sweeps leave, where it is time to ask."""
    due = [
        (run, run.share)
        for run in runs
        if run.share is not None and run.share.due() and not run.dispatch.finished
    ]
    if not due:
        return
    room: dict[str, int] = {}
    with suppress(ClusterError):  # nodes have gone; what is lost shows at their workers
        room = slots(pools, alive_nodes())
    for run, share in due:
        n_workers = share.again(slots=room.get(run.pool.device), wanted=run.wanted)
        if n_workers is not None:
            run.resize(n_workers)


def _slots_are_others(runs: Sequence[PoolRun], pools: Sequence[WorkerPool]) -> bool:
    """Return whether workers can only wait for slots, on a cluster that others use and that lives.

    What holds them may be no sweep and unknown to the broker, e.g. a replica of Serve.
    """
    if any(run.stranded and (run.share is None or run.retired) for run in runs):
        return False
    try:
        slots(pools, alive_nodes())
    except ClusterError:
        return False
    return True


def _stranded(runs: Sequence[PoolRun]) -> str:
    retired = [reason for run in runs for reason in run.retired]
    return (
        f"no worker answered for {STRANDED_S:.0f} s; check the cluster's nodes and run the same "
        "command again: finished blocks are kept"
        + (f"; of workers that were given up: {retired[-1]}" if retired else "")
    )


def _folders(plugins: tuple[str, ...]) -> tuple[str, ...]:
    """Return the folders from which this process imports ``plugins``, for the workers' path."""
    specs = [importlib.util.find_spec(name.partition(".")[0]) for name in plugins]
    origins = [Path(spec.origin) for spec in specs if spec is not None and spec.origin]
    tops = [path.parent.parent if path.name == "__init__.py" else path.parent for path in origins]
    return tuple(dict.fromkeys(str(top) for top in tops))
