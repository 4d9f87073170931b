"""What the dashboards show: panels and their expressions, apart from Grafana's own format."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

Unit: TypeAlias = Literal["short", "s", "percentunit", "percent", "bytes", "reqps", "ops"]
"""Grafana's names of units."""


LINES_LOST = "sum(max_over_time(pmx_trail_lost[10m]) - min_over_time(pmx_trail_lost[10m]))"
"""Lines of the trail lost in ten minutes; a replica counts them from its start."""


@dataclass(frozen=True, slots=True)
class Query:
    """One expression and what its series are called; ``{{label}}`` stands for a label's value."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class PanelSpec:
    """One picture.

    Attributes
    ----------
    title : str
        Of it.
    told : str
        What a reader should know of it.
    unit : str
        Of its axis.
    queries : tuple of Query
        What it draws.
    form : {"lines", "number"}
        A course over time, or the newest value.
    """

    title: str
    told: str
    unit: Unit
    queries: tuple[Query, ...]
    form: Literal["lines", "number"] = "lines"


@dataclass(frozen=True, slots=True)
class DashboardSpec:
    """One dashboard.

    Attributes
    ----------
    uid : str
        Part of its address; stays the same from release to release.
    title : str
        Of it.
    told : str
        What it is for.
    panels : tuple of PanelSpec
        In reading order.
    """

    uid: str
    title: str
    told: str
    panels: tuple[PanelSpec, ...]


def _number(title: str, told: str, unit: Unit, expr: str) -> PanelSpec:
    return PanelSpec(title, told, unit, (Query(expr, title),), "number")


SWEEP = DashboardSpec(
    "pmx-sweep",
    "pmx: sweeps",
    "What sweeps compute, how fast, and what it costs them.",
    (
        _number(
            "Cells a second", "Of every sweep that runs; a cell is ticker by fold by step.",
            "ops", "sum(rate(ray_pmx_cells_total[1m]))",
        ),
        _number(
            "Blocks to go", "Not yet computed.", "short",
            "sum(ray_pmx_blocks_waiting) + sum(ray_pmx_blocks_in_flight)",
        ),
        _number("Workers", "Those that are ready.", "short", "sum(ray_pmx_workers)"),
        _number(
            "Cells given up", "Of sweeps that run; receipts.jsonl says why.", "short",
            "sum(ray_pmx_quarantined_cells_total) or vector(0)",
        ),
        PanelSpec(
            "Cells a second by forecaster", "", "ops",
            (Query("sum by (forecaster) (rate(ray_pmx_cells_total[1m]))", "{{forecaster}}"),),
        ),
        PanelSpec(
            "Blocks a second by forecaster", "", "ops",
            (Query("sum by (forecaster) (rate(ray_pmx_blocks_total[1m]))", "{{forecaster}}"),),
        ),
        PanelSpec(
            "Queue", "Blocks that wait, and blocks at a worker, by device.", "short",
            (
                Query("sum by (device) (ray_pmx_blocks_waiting)", "waiting, {{device}}"),
                Query("sum by (device) (ray_pmx_blocks_in_flight)", "in flight, {{device}}"),
            ),
        ),
        PanelSpec(
            "Workers and their deaths", "", "short",
            (
                Query("sum by (device) (ray_pmx_workers)", "ready, {{device}}"),
                Query("sum by (device) (ray_pmx_lost_workers_total)", "died, {{device}}"),
            ),
        ),
        PanelSpec(
            "Seconds of a block",
            "Without compiling. A block aims at one second: far less costs more than it does, far "
            "more keeps the cluster waiting at the end.",
            "s",
            tuple(
                Query(
                    f"histogram_quantile({q}, sum by (le, forecaster) "
                    "(rate(ray_pmx_block_seconds_bucket[5m])))",
                    f"{{{{forecaster}}}}, {100 * q:g} of 100",
                )
                for q in (0.5, 0.95)
            ),
        ),
        PanelSpec(
            "Share of workers that compute",
            "Seconds of blocks a second and worker; a block counts when it is over.",
            "percentunit",
            (
                Query(
                    "sum by (device) (rate(ray_pmx_block_seconds_sum[1m])) "
                    "/ sum by (device) (ray_pmx_workers)",
                    "{{device}}",
                ),
            ),
        ),
        PanelSpec(
            "Failed cells", "Share of the computed cells with a status other than ok.",
            "percentunit",
            (
                Query(
                    "sum by (forecaster) (ray_pmx_failed_cells_total) "
                    "/ sum by (forecaster) (ray_pmx_cells_total)",
                    "{{forecaster}}",
                ),
            ),
        ),
        PanelSpec(
            "Given up", "Blocks after their last attempt, and their cells.", "short",
            (
                Query("sum by (forecaster) (ray_pmx_quarantined_blocks_total)",
                      "blocks, {{forecaster}}"),
                Query("sum by (forecaster) (ray_pmx_quarantined_cells_total)",
                      "cells, {{forecaster}}"),
            ),
        ),
        PanelSpec(
            "Found in the lake", "Blocks of the running sweeps that were there already.", "short",
            (Query("sum by (forecaster) (ray_pmx_cached_blocks_total)", "{{forecaster}}"),),
        ),
        PanelSpec(
            "Time lost to retries", "Seconds of workers on blocks that raised, or died with them.",
            "s",
            (
                Query(
                    "sum by (forecaster, cause) (ray_pmx_lost_seconds_total)",
                    "{{forecaster}}, {{cause}}",
                ),
            ),
        ),
    ),
)  # fmt: skip
"""Sweeps."""

SERVICE = DashboardSpec(
    "pmx-service",
    "pmx: signal service",
    "What the service answers, by what model and flags, and how fast. A scrape reaches one "
    "replica: rates are of those that were reached.",
    (
        _number(
            "Answers a second", "", "reqps", "sum(rate(pmx_http_requests_total[1m]))"
        ),
        _number(
            "Errors of ours", "Share of answers 500 and above.", "percentunit",
            '(sum(rate(pmx_http_requests_total{status=~"5.."}[5m])) or vector(0)) '
            "/ sum(rate(pmx_http_requests_total[5m]))",
        ),
        _number(
            "From a fallback", "Share of signals that another model than the wanted one made.",
            "percentunit",
            '(sum(rate(pmx_signals_served_total{fallback="true"}[5m])) or vector(0)) '
            "/ sum(rate(pmx_signals_served_total[5m]))",
        ),
        _number(
            "Age of the book", "Since the newest signals were computed.", "s",
            "max(last_over_time(pmx_book_age_seconds[1m]))",
        ),
        PanelSpec(
            "Answers by status", "", "reqps",
            (Query("sum by (status) (rate(pmx_http_requests_total[1m]))", "{{status}}"),),
        ),
        PanelSpec(
            "Time inside the replica",
            "From request to answer, without the proxy; signals, and all that may take longer.",
            "s",
            tuple(
                Query(
                    f"histogram_quantile({q}, sum by (le, kind) "
                    "(rate(pmx_http_request_seconds_bucket[5m])))",
                    f"{{{{kind}}}}, {100 * q:g} of 100",
                )
                for q in (0.5, 0.9, 0.99)
            ),
        ),
        PanelSpec(
            "Signals by source and route", "", "ops",
            (
                Query(
                    "sum by (source, route, fallback) (rate(pmx_signals_served_total[1m]))",
                    "{{source}}, {{route}}, fallback {{fallback}}",
                ),
            ),
        ),
        PanelSpec(
            "Version of the flags", "By replica; they differ for a second at most.", "short",
            (Query("last_over_time(pmx_flags_version[1m])", "{{replica}}"),),
        ),
        PanelSpec(
            "Trouble", "1 is trouble: flags that cannot be read, prices too old, a lost trail.",
            "short",
            (
                Query("1 - min(last_over_time(pmx_flags_live[1m]))", "flags not live"),
                Query("max(last_over_time(pmx_prices_stale[1m]))", "prices stale"),
                Query(LINES_LOST, "lines lost in ten minutes"),
            ),
        ),
    ),
)  # fmt: skip
"""The signal service."""

CLUSTER = DashboardSpec(
    "pmx-cluster",
    "pmx: cluster",
    "The machines under it, by Ray's own metrics.",
    (
        _number("Targets that answer", "", "short", 'sum(up{job="ray"})'),
        _number(
            "CPUs promised to somebody", "Share of those that Ray hands out.", "percentunit",
            'sum(ray_resources{Name="CPU",State="USED"}) / sum(ray_resources{Name="CPU"})',
        ),
        _number("Actors alive", "", "short", 'sum(ray_actors{Source="gcs",State="ALIVE"})'),
        _number(
            "Least free disk", "Share, of the fullest node.", "percentunit",
            "min(ray_node_disk_free / (ray_node_disk_free + ray_node_disk_usage))",
        ),
        PanelSpec(
            "CPU", "", "percent", (Query("ray_node_cpu_utilization", "{{instance}}"),)
        ),
        PanelSpec(
            "Memory", "Ray kills workers from 0.95 on.", "percentunit",
            (Query("ray_node_mem_used / ray_node_mem_total", "{{instance}}"),),
        ),
        PanelSpec(
            "Free disk", "Ray makes no objects from 0.05 on.", "percentunit",
            (
                Query(
                    "ray_node_disk_free / (ray_node_disk_free + ray_node_disk_usage)",
                    "{{instance}}",
                ),
            ),
        ),
        PanelSpec(
            "Object store", "Used share; objects go to disk where it is full.", "percentunit",
            (
                Query(
                    "ray_object_store_used_memory "
                    "/ (ray_object_store_used_memory + ray_object_store_available_memory)",
                    "{{instance}}",
                ),
            ),
        ),
        PanelSpec(
            "GPUs", "Busy share by card, where there are cards.", "percent",
            (Query("ray_node_gpus_utilization", "{{instance}}, {{GpuIndex}}"),),
        ),
        PanelSpec(
            "Actors", "By state.", "short",
            (Query('sum by (State) (ray_actors{Source="gcs"})', "{{State}}"),),
        ),
        PanelSpec(
            "Network", "Bytes a second, in and out.", "bytes",
            (
                Query("ray_node_network_receive_speed", "{{instance}} in"),
                Query("ray_node_network_send_speed", "{{instance}} out"),
            ),
        ),
    ),
)  # fmt: skip
"""The machines."""

DASHBOARDS: tuple[DashboardSpec, ...] = (SWEEP, SERVICE, CLUSTER)
"""Every dashboard."""


def expressions() -> Iterator[tuple[str, str]]:
    """Give every expression of every dashboard, with where it stands."""
    for board in DASHBOARDS:
        for panel in board.panels:
            for query in panel.queries:
                yield f"{board.uid}: {panel.title}", query.expr
