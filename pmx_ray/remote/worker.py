"""The Ray actor that computes blocks."""

import platform

import ray

from pmx_ray.backtest.blocks import WorkBlock
from pmx_ray.backtest.executor import compute_block
from pmx_ray.data.panel import Panel
from pmx_ray.folds import FoldPlan
from pmx_ray.forecasters.registry import load_families
from pmx_ray.lake import Receipt, open_store


class BlockWorker:
    """Holds what every block of a sweep needs; can be killed and rebuilt at any time."""

    def __init__(
        self,
        shared: tuple[ray.ObjectRef[Panel], ray.ObjectRef[FoldPlan]],
        lake_url: str,
        plugins: tuple[str, ...],
    ) -> None:
        load_families(plugins)
        # References inside a tuple, so that a restarted worker fetches them anew from the driver.
        self._panel, self._plan = ray.get(shared[0]), ray.get(shared[1])
        self._store = open_store(lake_url)

    @ray.method(max_task_retries=-1)
    def ready(self) -> str:
        """Return the node's name once the worker can work; survives a restart."""
        return platform.node()

    def compute(self, block: WorkBlock, attempt: int) -> Receipt:
        """Compute a block into the lake and return its receipt."""
        node = ray.get_runtime_context().get_node_id()
        return compute_block(
            self._panel, self._plan, block, store=self._store, node=node, attempt=attempt
        )
