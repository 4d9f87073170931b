"""Blocks of workers in the driver's trace."""

import os
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster
from ray_cases import PANEL, PLAN, PLUGINS, cut, pools
from trace_cases import collector, lines, named

from pmx_ray import tracing
from pmx_ray.backtest.dispatch import DispatchPolicy
from pmx_ray.remote.executor import run_on_ray


@pytest.mark.drill
def test_blocks_when_workers_compute_them_then_in_the_driver_s_trace(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks, folder = cut("drift"), tmp_path / "traces"
    tracing.end()
    with collector() as (url, received):
        monkeypatch.setenv(tracing.FOLDER, str(folder))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        with tracing.span("run"):
            settled = list(
                run_on_ray(
                    PANEL, PLAN, blocks,
                    pools=pools(2),
                    policy=DispatchPolicy(),
                    lake_url=str(tmp_path / "lake"),
                    plugins=PLUGINS,
                )
            )  # fmt: skip
        tracing.end()
    assert len(settled) == len(blocks)
    (run,), spans = named(lines(folder), "run"), named(lines(folder), "block")
    assert {span["attributes"]["pmx.block"] for span in spans} == {b.id[:16] for b in blocks}
    assert {(s["trace_id"], s["parent_id"]) for s in spans} == {(run["trace_id"], run["span_id"])}
    own = f"-{os.getpid()}.jsonl"
    (written,) = [path.read_text() for path in folder.glob("*.jsonl") if path.name.endswith(own)]
    assert '"block"' not in written  # each was made in a worker's process
    # Workers are killed when all is done, and had sent theirs before.
    sent = {span.span_id.hex() for span in received.spans if span.name == "block"}
    assert sent == {span["span_id"] for span in spans}
