"""Alert rules: what is worth waking somebody for, why, and what to do about it.

Counters of a sweep live as long as its driver, and Ray shows them from its first report on, with
what they have by then. Prometheus' ``rate`` and ``increase`` never see that first part, which may
be all there is. So rules about them look at how much there is, or at ``_gained``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import yaml

from cluster.observe.panels import LINES_LOST

Severity: TypeAlias = Literal["critical", "warning"]
Part: TypeAlias = Literal["sweep", "cluster", "service"]

DRIVER = "SessionName, driver"
"""Labels that tell one driver, and so one sweep, from another: of which cluster, and Ray's job."""

FAILED_FRAC, MIN_CELLS = 0.2, 1000
"""Share of failed cells, among so many at least, from which a sweep is looked at."""

LOST_FRAC, LOST_S = 0.1, 60.0
"""Share of worker time lost to retries, and seconds of it, from which it is told."""

DEATHS = 5
"""Deaths of workers in ten minutes."""

DISK_FREE_FRAC, STORE_USED_FRAC, MEMORY_USED_FRAC = 0.1, 0.9, 0.9
"""Shares of a node; Ray kills workers from 0.95 of memory on, and spills objects to disk."""

FALLBACK_FRAC, ERROR_FRAC, P99_S, MIN_RATE = 0.05, 0.01, 0.25, 0.1
"""Of the service: shares of signals and answers, seconds, and requests a second to judge by."""

MIN_ERRORS = 5
"""Errors of the service in five minutes; a single one at night is nothing to get up for."""


@dataclass(frozen=True, slots=True)
class AlertRule:
    """One alert.

    Attributes
    ----------
    name : str
        Stays the same from release to release.
    part : {"sweep", "cluster", "service"}
        What it is about.
    severity : {"critical", "warning"}
        Whether somebody has to come at once.
    expr : str
        Fires where it gives a series.
    lasts : str
        How long it must give one, in Prometheus' words.
    summary : str
        What is the matter, for a person.
    remedy : str
        What to do.
    """

    name: str
    part: Part
    severity: Severity
    expr: str
    lasts: str
    summary: str
    remedy: str


def _gained(metric: str, window: str) -> str:
    """Return what a driver's counter gained, and all it has where it was not there before."""
    now = f"sum by ({DRIVER}) ({metric})"
    return f"({now} - (sum by ({DRIVER}) ({metric} offset {window}) or 0 * {now}))"


_CELLS = f"sum by ({DRIVER}) (ray_pmx_cells_total)"
_FAILED = f"sum by ({DRIVER}) (ray_pmx_failed_cells_total)"
_LOST = f"sum by ({DRIVER}) (ray_pmx_lost_seconds_total)"
_USED = f"sum by ({DRIVER}) (ray_pmx_block_seconds_sum)"
_SIGNALS = "sum(rate(pmx_signals_served_total[5m]))"
_ERRORS = 'pmx_http_requests_total{status=~"5.."}[5m]'
_SECONDS = 'pmx_http_request_seconds_{part}{{kind="signal"}}[5m]'
_ANSWERS = "sum(rate(pmx_http_requests_total[5m]))"

RULES: tuple[AlertRule, ...] = (
    AlertRule(
        "SweepHasNoWorkers", "sweep", "critical",
        f"sum by ({DRIVER}) (ray_pmx_blocks_waiting) > 0 "
        "unless on (SessionName) sum by (SessionName) (ray_pmx_workers) > 0",
        "2m",
        "{{ $value }} blocks wait and no worker is ready, of this sweep or another.",
        "Look at `pmx cluster status`: are nodes gone, or taken by others? The sweep gives up "
        "after three minutes; the same command goes on from what is done.",
    ),
    AlertRule(
        "SweepStalled", "sweep", "warning",
        f"sum by ({DRIVER}) (ray_pmx_blocks_in_flight) > 0 "
        f"unless {_gained('ray_pmx_blocks_total', '2m')} > 0",
        "15m",
        "{{ $value }} blocks are at workers and none has finished for 15 minutes.",
        "Look at the workers in the Ray dashboard (stack trace). A forecaster may hang, or a block "
        "may be too large: set execution.folds_per_block.",
    ),
    AlertRule(
        "CellsQuarantined", "sweep", "warning",
        f"sum by (forecaster, {DRIVER}) (ray_pmx_quarantined_cells_total) > 0",
        "0s",
        "{{ $value }} cells of {{ $labels.forecaster }} were given up.",
        "receipts.jsonl of the sweep says why. The same command tries those blocks again.",
    ),
    AlertRule(
        "CellsFailing", "sweep", "warning",
        f"{_FAILED} / {_CELLS} > {FAILED_FRAC} and {_CELLS} >= {MIN_CELLS}",
        "1m",
        "{{ $value | humanizePercentage }} of the cells failed.",
        "The report's table Failed cells has status and reason. Failures that are expected belong "
        "in accepted_failures.",
    ),
    AlertRule(
        "RetriesCostly", "sweep", "warning",
        f"{_LOST} / ({_LOST} + ({_USED} or 0 * {_LOST})) > {LOST_FRAC} and {_LOST} > {LOST_S:g}",
        "2m",
        "{{ $value | humanizePercentage }} of the workers' time went into blocks that were lost.",
        "Label cause says whether blocks raised or workers died. Where they die: memory (give a "
        "worker more, or blocks fewer tickers), or spot machines that are taken away.",
    ),
    AlertRule(
        "WorkersDying", "sweep", "warning",
        f"{_gained('ray_pmx_lost_workers_total', '10m')} > {DEATHS}",
        "0s",
        "Workers died {{ $value | humanize }} times in ten minutes.",
        "Ray's log of the node says why: out of memory, a crash of a library, or a lost machine.",
    ),
    AlertRule(
        "ClusterGone", "cluster", "critical",
        'absent(up{job="ray"} == 1)',  # who crashes leaves its addresses behind
        "2m",
        "No node of Ray answers Prometheus: no cluster, or its discovery file is elsewhere.",
        "Look at `pmx cluster status`. After a restart the discovery file may lie in another "
        "folder: run `pmx cluster observe` again.",
    ),
    AlertRule(
        "TargetDown", "cluster", "warning",
        'up{job="ray"} == 0',
        "1m",
        "{{ $labels.instance }} does not answer Prometheus.",
        "Is the node there (`pmx cluster status`), and does the network let Prometheus reach its "
        "metrics port?",
    ),
    AlertRule(
        "NodeGone", "cluster", "warning",
        'count(up{job="ray"}) < max_over_time(count(up{job="ray"})[15m:15s])',
        "0s",
        "{{ $value }} targets are left; there were more within 15 minutes.",
        "Nothing, where an autoscaler took an idle node. Else see `pmx cluster status` for the "
        "node that is missing; blocks that it held go to others.",
    ),
    AlertRule(
        "DiskAlmostFull", "cluster", "critical",
        f"ray_node_disk_free / (ray_node_disk_free + ray_node_disk_usage) < {DISK_FREE_FRAC}",
        "1m",
        "{{ $value | humanizePercentage }} of the disk of {{ $labels.instance }} is free.",
        "Ray makes no more objects at 5 %. Make room in Ray's folder (old sessions), or move the "
        "lake.",
    ),
    AlertRule(
        "ObjectStoreAlmostFull", "cluster", "warning",
        f"ray_object_store_used_memory / "
        f"(ray_object_store_used_memory + ray_object_store_available_memory) > {STORE_USED_FRAC}",
        "2m",
        "{{ $value | humanizePercentage }} of the object store of {{ $labels.instance }} is used.",
        "Objects are spilled to disk next. A sweep holds its panel there once: is it larger than "
        "the store, or does another job hold results?",
    ),
    AlertRule(
        "MemoryAlmostFull", "cluster", "warning",
        f"ray_node_mem_used / ray_node_mem_total > {MEMORY_USED_FRAC}",
        "2m",
        "{{ $value | humanizePercentage }} of the memory of {{ $labels.instance }} is used.",
        "Ray kills workers at 95 %. Fewer workers a node, or fewer tickers a block.",
    ),
    AlertRule(
        "ServiceDown", "service", "critical",
        'up{job="pmx-service"} == 0',
        "1m",
        "The service does not answer Prometheus at {{ $labels.instance }}.",
        "`GET /livez`; the scraper's token may be wrong (401) or withdrawn.",
    ),
    AlertRule(
        "ServiceFailing", "service", "critical",
        f"sum(rate({_ERRORS})) / {_ANSWERS} > {ERROR_FRAC} "
        f"and sum(increase({_ERRORS})) >= {MIN_ERRORS}",
        "2m",
        "{{ $value | humanizePercentage }} of the answers are errors of ours.",
        "The replicas' log has each with its path. 503 alone: `GET /readyz` says what is missing.",
    ),
    AlertRule(
        "ServiceSlow", "service", "warning",
        f"histogram_quantile(0.99, sum by (le) (rate({_SECONDS.format(part='bucket')}))) > {P99_S} "
        f"and sum(rate({_SECONDS.format(part='count')})) > {MIN_RATE}",
        "5m",
        "One request for signals in a hundred takes longer than {{ $value | humanizeDuration }}.",
        "More replicas, or a machine with less beside them; see docs/serve.md, Figures.",
    ),
    AlertRule(
        "FallbackServing", "service", "warning",
        f'sum(rate(pmx_signals_served_total{{fallback="true"}}[5m])) / {_SIGNALS} '
        f"> {FALLBACK_FRAC} and {_SIGNALS} > {MIN_RATE}",
        "5m",
        "{{ $value | humanizePercentage }} of the signals come from a fallback.",
        "`GET /v1/status` says which model is missing and why; a reversion is in the audit trail.",
    ),
    AlertRule(
        "FlagsDiffer", "service", "critical",
        "max(last_over_time(pmx_flags_version[1m])) - min(last_over_time(pmx_flags_version[1m])) "
        "> 0",
        "2m",
        "Replicas serve by versions of the flags that are {{ $value }} apart.",
        "A replica takes up a version within a second. One that does not has lost the ledger: see "
        "pmx_flags_live by replica, and end that replica.",
    ),
    AlertRule(
        "FlagsNotLive", "service", "critical",
        "last_over_time(pmx_flags_live[1m]) == 0",
        "1m",
        "Replica {{ $labels.replica }} cannot read the flags.",
        "Is the ledger's database there? Until it is, flags stay as they were and then turn safe.",
    ),
    AlertRule(
        "PricesStale", "service", "warning",
        "max(last_over_time(pmx_prices_stale[1m])) > 0",
        "5m",
        "Prices are too old to act on; no signal trades.",
        "The keeper's trouble in `GET /v1/status` says which source failed.",
    ),
    AlertRule(
        "TrailLost", "service", "warning",
        f"{LINES_LOST} > 0",
        "0s",
        "{{ $value }} lines of the request trail were dropped within ten minutes.",
        "The ledger takes fewer lines than come: see its disk, or move it to PostgreSQL.",
    ),
)  # fmt: skip
"""Every alert."""


def rule_groups(rules: Sequence[AlertRule] = RULES) -> dict[str, Any]:
    """Return rules as Prometheus reads them: a group for each part."""
    parts = {rule.part: [other for other in rules if other.part == rule.part] for rule in rules}
    return {
        "groups": [
            {"name": f"pmx-{part}", "rules": [_as_rule(rule) for rule in of_part]}
            for part, of_part in parts.items()
        ]
    }


def as_yaml(rules: Sequence[AlertRule] = RULES) -> str:
    """Return the text of a file of rules."""
    return yaml.safe_dump(rule_groups(rules), sort_keys=False, width=200)


def _as_rule(rule: AlertRule) -> dict[str, Any]:
    return {
        "alert": rule.name,
        "expr": rule.expr,
        "for": rule.lasts,
        "labels": {"severity": rule.severity, "part": rule.part},
        "annotations": {"summary": rule.summary, "remedy": rule.remedy},
    }
