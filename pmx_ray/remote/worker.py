"""The Ray actor that computes blocks."""

import platform
import sys

import ray

from pmx_ray import tracing
from pmx_ray.backtest.blocks import WorkBlock
from pmx_ray.backtest.executor import compute_block
from pmx_ray.data.panel import Panel
from pmx_ray.folds import FoldPlan
from pmx_ray.forecasters.registry import load_families
from pmx_ray.lake import Receipt, open_store


class BlockWorker:
    """Computes blocks one after the other; holds no state that a restart would lose.

    Parameters
    ----------
    lake_url : str
        Where blocks are written.
    plugins : tuple of str
        Modules that register forecasters.
    plugin_folders : tuple of str
        Where the driver found them.
    traceparent : str
        The driver's open span, which blocks' spans belong to; empty where none are made.
    name : str
        What Ray's dashboard and logs call it.
    """

    def __init__(
        self,
        lake_url: str,
        plugins: tuple[str, ...],
        plugin_folders: tuple[str, ...],
        traceparent: str = "",
        *,
        name: str,
    ) -> None:
        self._name, self._traceparent = name, traceparent
        sys.path.extend(plugin_folders)
        load_families(plugins)
        self._store = open_store(lake_url)

    def __repr__(self) -> str:
        return self._name

    @ray.method(max_task_retries=-1)
    def ready(self) -> str:
        """Return the node's name once the worker can work; survives a restart."""
        return platform.node()

    def compute(self, panel: Panel, plan: FoldPlan, block: WorkBlock, attempt: int) -> Receipt:
        """Compute a block into the lake and return its receipt."""
        node = ray.get_runtime_context().get_node_id()
        with tracing.continued(self._traceparent):
            return compute_block(panel, plan, block, store=self._store, node=node, attempt=attempt)

    def flush(self) -> None:
        """Send the spans that have not been sent; a worker is ended without a warning."""
        tracing.flush()
