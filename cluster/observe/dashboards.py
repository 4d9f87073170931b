"""The dashboards as Grafana reads them."""

import json
from typing import Any

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef

from cluster.observe.panels import DashboardSpec, PanelSpec

SOURCE = "datasource"
"""Variable of each dashboard: which Prometheus is asked."""

COLUMNS, TALL, FLAT = 24, 8, 4
"""Grafana's columns, and the rows of a course and of a number."""


def as_json(spec: DashboardSpec) -> str:
    """Return a dashboard as a file for Grafana's provisioning, or for its import."""
    built = _built(spec).build()
    values: dict[str, Any] = json.loads(JSONEncoder(sort_keys=True).encode(built))
    return json.dumps(values, indent=1, sort_keys=True) + "\n"


def _built(spec: DashboardSpec) -> dashboard.Dashboard:
    board = (
        dashboard.Dashboard(spec.title)
        .uid(spec.uid)
        .description(spec.told)
        .tags(["pmx"])
        .refresh("10s")
        .time("now-30m", "now")
        .timezone("browser")
        .with_variable(dashboard.DatasourceVariable(SOURCE).label("Prometheus").type("prometheus"))
    )
    for n, panel in enumerate(spec.panels, start=1):
        board = board.with_panel(_panel(panel).id(n))
    return board


def _panel(spec: PanelSpec) -> stat.Panel | timeseries.Panel:
    panel: stat.Panel | timeseries.Panel
    match spec.form:
        case "number":
            panel = stat.Panel().span(COLUMNS // 4).height(FLAT)
        case "lines":
            panel = timeseries.Panel().span(COLUMNS // 2).height(TALL).min(0)
    panel.title(spec.title).description(spec.told).unit(spec.unit)
    panel.datasource(DataSourceRef(type_val="prometheus", uid=f"${{{SOURCE}}}"))
    for n, query in enumerate(spec.queries):
        asked = prometheus.Dataquery().expr(query.expr).legend_format(query.legend)
        panel.with_target(asked.ref_id(chr(ord("A") + n)))
    return panel
