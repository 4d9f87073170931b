"""What is written for Prometheus and Grafana."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from cluster import local, observe
from cluster.observe.dashboards import as_json
from cluster.observe.panels import DASHBOARDS, expressions
from cluster.observe.rules import RULES
from cluster.observe.scraping import DISCOVERY, ServiceTarget, as_yaml, prometheus_settings
from pmx_ray.cli.app import app
from pmx_ray.errors import SettingsError

SECRET = "pmx_0123456789abcdef"


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("PMX_HOME", str(tmp_path))
    return tmp_path


def written(home, *words):
    done = CliRunner().invoke(app, ["cluster", "observe", str(home / "out"), *words])
    assert done.exit_code == 0, done.output
    return {
        str(path.relative_to(home / "out")): path.read_text()
        for path in (home / "out").rglob("*")
        if path.is_file()
    }


def refusal(home, *words):
    done = CliRunner().invoke(app, ["cluster", "observe", str(home / "out"), *words])
    assert isinstance(done.exception, SettingsError), done.output
    return str(done.exception)


def test_observe_when_grafanas_package_is_missing_then_what_to_install(home, monkeypatch):
    monkeypatch.delitem(sys.modules, "cluster.observe.dashboards")
    monkeypatch.delattr(observe, "dashboards")
    monkeypatch.setitem(sys.modules, "grafana_foundation_sdk.builders", None)
    assert "pip install 'pmx-ray[observe]'" in refusal(home)


def job(settings, name):
    (found,) = [job for job in settings["scrape_configs"] if job["job_name"] == name]
    return found


def test_observe_when_asked_then_settings_rules_and_every_dashboard_are_written(home):
    files = written(home)
    boards = {f"grafana/{board.uid}.json" for board in DASHBOARDS}
    assert files.keys() == {"prometheus.yml", "alerts.yml", *boards}
    groups = yaml.safe_load(files["alerts.yml"])["groups"]
    assert sum(len(group["rules"]) for group in groups) == len(RULES)


def test_observe_when_the_service_is_named_then_its_token_is_named_by_its_file_alone(home):
    (home / "token").write_text(SECRET)
    files = written(
        home, "--service", "https://signals.local:8443", "--token-file", str(home / "token")
    )
    found = job(yaml.safe_load(files["prometheus.yml"]), "pmx-service")
    assert found["scheme"] == "https"
    assert found["static_configs"] == [{"targets": ["signals.local:8443"]}]
    assert found["authorization"] == {"credentials_file": str(home / "token")}
    assert all(SECRET not in text for text in files.values())


def note(home, name, temp):
    folder = local.clusters_folder(home) / name
    folder.mkdir(parents=True)
    made = {"name": name, "address": "", "dashboard": "", "temp": temp, "boot": "", "sessions": {}}
    (folder / local.STATE).write_text(json.dumps(made))


def discovery(files):
    found = job(yaml.safe_load(files["prometheus.yml"]), "ray")
    return Path(found["file_sd_configs"][0]["files"][0]).parent


def test_observe_when_a_cluster_was_started_here_then_its_folder_is_read(home):
    assert discovery(written(home)) == Path("/tmp/ray")
    note(home, "mine", "/tmp/pmx-1")
    assert discovery(written(home)) == Path("/tmp/pmx-1")
    assert discovery(written(home, "--ray-folder", "/mnt/ray")) == Path("/mnt/ray")
    note(home, "other", "/tmp/pmx-2")
    assert "2 clusters were started here" in refusal(home)


def test_observe_when_folders_are_relative_then_they_start_where_it_was_called(home, monkeypatch):
    called = home / "called"
    called.mkdir()
    monkeypatch.chdir(called)
    words = ("--service", "http://h:1", "--token-file", "token", "--ray-folder", "ray")
    settings = yaml.safe_load(written(home, *words)["prometheus.yml"])
    (found,) = job(settings, "ray")["file_sd_configs"]
    assert found["files"] == [str(called / "ray" / DISCOVERY)]
    token = job(settings, "pmx-service")["authorization"]["credentials_file"]
    assert token == str(called / "token")


def test_observe_when_written_then_prometheus_looks_for_nodes_as_often_as_it_asks(home):
    settings = yaml.safe_load(written(home)["prometheus.yml"])
    (found,) = job(settings, "ray")["file_sd_configs"]
    assert found["refresh_interval"] == settings["global"]["scrape_interval"] == "10000ms"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--service", "http://127.0.0.1:8000"), "given together"),
        (("--token-file", "token"), "given together"),
        (("--service", "127.0.0.1:8000", "--token-file", "t"), "must be http://HOST:PORT"),
        (("--service", "http://h:1/metrics", "--token-file", "t"), "must be http://HOST:PORT"),
        (("--service", "http://me:pw@h:1", "--token-file", "t"), "holds a password"),
    ],
)
def test_observe_when_the_service_cannot_be_scraped_so_then_refused(home, words, told):
    said = refusal(home, *words)
    assert told in said
    assert "pw" not in said.replace("password", "")


@pytest.mark.parametrize("service", [None, ServiceTarget("http://127.0.0.1:8000", "token")])
def test_settings_when_promtool_checks_them_then_well_formed(tmp_path, service):
    if shutil.which("promtool") is None:
        pytest.skip("no promtool is installed (Debian: prometheus)")
    for name in ("alerts.yml", "token", "found.json"):
        (tmp_path / name).write_text("[]" if name == "found.json" else "")
    settings = prometheus_settings(discovery=tmp_path / "found.json", service=service)
    (tmp_path / "prometheus.yml").write_text(as_yaml(settings))
    subprocess.run(["promtool", "check", "config", "prometheus.yml"], cwd=tmp_path, check=True)


def test_dashboards_when_rendered_then_each_panel_asks_its_expressions_of_the_chosen_source():
    rendered = []
    for board in DASHBOARDS:
        document = json.loads(as_json(board))
        assert document["uid"] == board.uid
        assert [variable["name"] for variable in document["templating"]["list"]] == ["datasource"]
        panels = document["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels) == len(board.panels)
        for panel in panels:
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
            rendered += [target["expr"] for target in panel["targets"]]
    assert rendered == [expr for _, expr in expressions()]


def test_dashboards_when_rendered_then_no_two_panels_share_a_place():
    for board in DASHBOARDS:
        taken = set()
        for panel in json.loads(as_json(board))["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken, panel["title"]
            assert place["x"] + place["w"] <= 24
            taken |= cells
