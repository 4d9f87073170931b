"""Every expression of every dashboard and rule, by a real Prometheus that scrapes a real sweep."""

import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import promql_parser
import pytest
import yaml
from pmx_command import long_form
from serve_cases import GOOD, listening, service
from waiting import until

from cluster import local
from cluster.observe import rules, scraping
from cluster.observe.panels import expressions
from pmx_ray.remote.meters import METERS
from serve_apps.tokens import Scope

pytestmark = pytest.mark.timeout(600)  # of which a busy machine takes most to start a cluster

PMX = Path(sys.executable).with_name("pmx")
TESTS = Path(__file__).parents[1]

NEEDS_A_CARD = {"ray_node_gpus_utilization"}
"""Metrics that no machine without a GPU has; their expressions are asked all the same."""

SETTINGS = {
    "name": "seen",
    "panel": {"source": "file", "path": "prices.csv"},
    "folds": {"input_size": 90, "step_size": 10, "steps": [1, 5]},
    "evaluation": {"n_resamples": 100},
    "plugins": ["odd_forecasters"],
    "accepted_failures": ["quarantined", "error"],
    "execution": {"workers": 2, "max_attempts": 2, "folds_per_block": 9, "tickers_per_block": 1},
}
BEFORE = {**SETTINGS, "forecasters": [{"name": "drift"}]}
AFTER = {
    **SETTINGS,
    "forecasters": [{"name": name} for name in ("drift", "busy", "deadly", "raising")],
}


def names_in(expr):
    """Return the metrics that an expression reads."""
    found = set()

    def visit(node):
        if isinstance(node, promql_parser.VectorSelector):
            found.add(node.name)

    promql_parser.walk(promql_parser.parse(expr), visit)
    return found


ASKED = {
    **{f"{where} {n}": expr for n, (where, expr) in enumerate(expressions())},
    **{f"alert: {rule.name}": rule.expr for rule in rules.RULES},
}
"""Every expression, by where it stands."""


def test_expressions_when_read_then_each_parses_and_names_metrics():
    assert len(ASKED) == len(list(expressions())) + len(rules.RULES)
    for where, expr in ASKED.items():
        assert names_in(expr), where


def test_dashboards_when_read_then_they_show_every_metric_of_a_sweep():
    shown = set().union(*(names_in(expr) for _, expr in expressions()))
    for meter in METERS.values():
        assert any(name.startswith(meter.shown) for name in shown), meter.name


@dataclass
class Watched:
    """A Prometheus that has seen a sweep and a service."""

    client: httpx.Client

    def get(self, path, **query):
        answer = self.client.get(f"/api/v1/{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def ready(self):
        try:
            return self.client.get("/-/ready").status_code == 200
        except httpx.HTTPError:
            return False

    def names(self):
        return set(self.get("label/__name__/values"))

    def targets(self):
        """Return the addresses that are asked."""
        return {found["labels"]["instance"] for found in self.get("targets")["activeTargets"]}

    def course(self, expr):
        """Return the series that an expression gives over the last ten minutes."""
        end = float(self.get("query", query="time()")["result"][1])
        span = {"start": end - 600, "end": end, "step": 1}
        return self.get("query_range", query=expr, **span)["result"]


def free_ports(n):
    """Return ports outside the range that Ray gives to workers."""
    found = []
    while len(found) < n:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if not 10002 <= port <= 19999 and port not in found:
            found.append(port)
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Return a folder with prices, and settings of two sweeps."""
    folder = tmp_path_factory.mktemp("observed")
    long_form("ABC", 260).to_csv(folder / "prices.csv", index=False)
    for name, values in {"before": BEFORE, "after": AFTER}.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(values))
    return folder


@pytest.fixture(scope="module")
def environment(home):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PMX_"))}
    return {
        **kept,
        "HOME": str(home),
        "PMX_HOME": str(home),
        "PYTHONPATH": str(TESTS),  # where workers find the plugin
        "RAY_metrics_report_interval_ms": "1000",  # ten seconds otherwise
    }


@pytest.fixture(scope="module")
def pmx(home, environment):
    """Return what starts `pmx`, and what waits for its end; whatever still runs is ended."""
    started = []

    def start(*words):
        log = home / f"pmx-{len(started)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [PMX, *words], env=environment, cwd=home, stdout=out, stderr=out
            )
        started.append(process)

        def ended():
            code = process.wait(timeout=400)
            assert code in (0, 3), log.read_text()  # 3: some cells failed

        return ended

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def cluster(home, pmx):
    """Return a cluster of one node, and a lake that holds blocks of its first sweep."""
    ports = dict(zip(("gcs", "dashboard", "client", "metrics"), free_ports(4), strict=True))
    values = {"name": "seen", "head": {"cpus": 2, "slots": 2, "memory_gib": 2}, "ports": ports}
    (home / "cluster.yaml").write_text(yaml.safe_dump(values))
    before = pmx("sweep", "before.yaml", "--address", "in-process")
    try:
        pmx("cluster", "up", "cluster.yaml")()
        before()
        yield local.running(home, "seen")
    finally:
        left = local.running(home, "seen")
        if left is not None:
            local.down(left, home)


@contextmanager
def prometheus(folder, settings):
    """Hold a Prometheus on a free port; it is ended at the end."""
    (folder / "prometheus.yml").write_text(scraping.as_yaml(settings))
    (folder / scraping.RULES_FILE).write_text(rules.as_yaml())
    (port,) = free_ports(1)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus", f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30.0) as client:
            yield Watched(client)
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(scope="module")
def watched(pmx, cluster, tmp_path_factory):
    """Return a Prometheus that has seen a sweep with a poison block, and a service that answers."""
    if shutil.which("prometheus") is None:
        pytest.skip("no prometheus is installed (Debian: prometheus)")
    folder = tmp_path_factory.mktemp("prometheus")
    with service(tmp_path_factory.mktemp("service")) as made, listening(made.app) as (host, port):
        (folder / "token").write_text(made.tokens[Scope.READ])
        settings = scraping.prometheus_settings(
            discovery=Path(cluster.temp) / scraping.DISCOVERY,
            service=scraping.ServiceTarget(f"http://{host}:{port}", str(folder / "token")),
            interval_s=1.0,
            service_interval_s=1.0,
        )
        with prometheus(folder, settings) as watched:
            until(watched.ready, deadline_s=60.0)
            until(lambda: "ray_node_cpu_utilization" in watched.names(), deadline_s=60.0)
            for _ in range(20):
                made.ask("GET", f"/v1/signals/{GOOD}")
            made.change(time_series_pct=0)
            for _ in range(20):
                made.ask("GET", f"/v1/signals/{GOOD}")
            pmx("sweep", "after.yaml", "--address", cluster.address)()
            yield watched


@pytest.mark.drill
def test_targets_when_the_file_behind_rays_link_changes_then_others_are_asked(tmp_path):
    if shutil.which("prometheus") is None:
        pytest.skip("no prometheus is installed (Debian: prometheus)")
    session, link = tmp_path / "session", tmp_path / "ray" / scraping.DISCOVERY
    session.mkdir()
    link.parent.mkdir()
    link.symlink_to(session / scraping.DISCOVERY)  # as Ray does

    def renew(*targets):
        made = session / "made"
        made.write_text(json.dumps([{"targets": targets}]))
        made.replace(session / scraping.DISCOVERY)

    renew("127.0.0.1:1")
    with prometheus(tmp_path, scraping.prometheus_settings(discovery=link, interval_s=0.2)) as seen:
        until(seen.ready, deadline_s=60.0)
        until(lambda: seen.targets() == {"127.0.0.1:1"}, deadline_s=60.0)
        renew("127.0.0.1:1", "127.0.0.1:2")
        until(lambda: seen.targets() == {"127.0.0.1:1", "127.0.0.1:2"}, deadline_s=60.0)


@pytest.mark.drill
def test_metrics_when_a_sweep_ran_then_every_one_of_ours_was_scraped(watched):
    names = watched.names()
    for meter in METERS.values():
        ending = "_count" if meter.kind == "histogram" else ""
        assert f"{meter.shown}{ending}" in names, meter.name


@pytest.mark.drill
def test_expression_when_a_metric_is_misspelt_then_it_is_missed(watched):
    expr = "sum(rate(ray_pmx_cell_total[1m]))"
    assert names_in(expr) - watched.names() == {"ray_pmx_cell_total"}
    assert not watched.course(expr)


@pytest.mark.drill
@pytest.mark.parametrize("where", ASKED)
def test_expression_when_asked_then_prometheus_knows_every_metric_in_it(watched, where):
    missing = names_in(ASKED[where]) - watched.names() - NEEDS_A_CARD
    assert not missing
    course = watched.course(ASKED[where])
    assert course or where.startswith("alert") or names_in(ASKED[where]) & NEEDS_A_CARD


@pytest.mark.drill
def test_rules_when_prometheus_evaluates_them_then_none_has_an_error(watched):
    loaded = [rule for group in watched.get("rules")["groups"] for rule in group["rules"]]
    assert {rule["name"] for rule in loaded} == {rule.name for rule in rules.RULES}
    assert {rule["name"]: rule.get("lastError") for rule in loaded if rule.get("lastError")} == {}


@pytest.mark.drill
def test_alerts_when_cells_were_quarantined_then_prometheus_said_so(watched):
    (alert,) = watched.course('ALERTS{alertname="CellsQuarantined",alertstate="firing"}')
    assert alert["metric"]["forecaster"] == "deadly"
    assert alert["metric"]["severity"] == "warning"
