"""`pmx cluster render` and the words of its neighbours."""

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from pmx_ray.cli.app import app
from pmx_ray.errors import SettingsError

CONFIGS = Path(__file__).parents[2] / "configs" / "cluster"
FLEET, THREE = str(CONFIGS / "fleet.yaml"), str(CONFIGS / "three_nodes.yaml")


@pytest.fixture(autouse=True)
def _home(monkeypatch, tmp_path):
    monkeypatch.setenv("PMX_HOME", str(tmp_path))


def said(*words, code=0):
    done = CliRunner().invoke(app, ["cluster", *words])
    assert done.exit_code == code, done.output
    return done.output


def test_render_when_for_ray_start_then_a_line_a_node():
    lines = said("render", THREE).splitlines()
    assert sum(" ray start " in line for line in lines) == 3


def test_render_when_a_setting_is_overridden_then_it_is_in_the_commands():
    assert "--port=7000" in said("render", THREE, "--set", "ports.gcs=7000")


def test_render_when_for_ray_up_then_yaml_with_every_group():
    document = yaml.safe_load(said("render", FLEET, "--for", "ray-up", "--region", "eu-west-1"))
    assert document["provider"]["region"] == "eu-west-1"
    assert {"head", "steady", "spot", "gpu"} <= document["available_node_types"].keys()


def test_render_when_for_kuberay_then_documents_of_the_namespace():
    documents = [
        document
        for document in yaml.safe_load_all(
            said("render", FLEET, "--for", "kuberay", "--namespace", "quants")
        )
        if document
    ]
    assert {"RayCluster", "NetworkPolicy"} <= {document["kind"] for document in documents}
    assert {document["metadata"]["namespace"] for document in documents} == {"quants"}


def documents(*words):
    text = said("render", FLEET, "--for", "kuberay", *words)
    return {document["kind"]: document for document in yaml.safe_load_all(text) if document}


def test_render_when_a_command_is_given_then_a_job_that_runs_it():
    job = documents("--job", "pmx sweep configs/sweep/full.yaml")["RayJob"]
    assert job["spec"]["entrypoint"] == "pmx sweep configs/sweep/full.yaml"
    assert job["spec"]["shutdownAfterJobFinishes"] is True


def test_render_when_a_serve_config_is_given_then_a_service_that_its_pods_can_reach():
    service = documents("--serve", str(CONFIGS.parent / "serve.yaml"), "--set", "volume=pmx-home")[
        "RayService"
    ]
    config = yaml.safe_load(service["spec"]["serveConfigV2"])
    assert config["http_options"]["host"] == "0.0.0.0"
    assert config["applications"][0]["import_path"] == "serve_apps.app:build"


def test_render_when_a_job_is_to_serve_then_refused():
    serve = str(CONFIGS.parent / "serve.yaml")
    words = ("render", FLEET, "--for", "kuberay", "--job", "pmx sweep", "--serve", serve)
    assert "a job serves nothing" in refusal(*words)


def refusal(*words):
    done = CliRunner().invoke(app, ["cluster", *words])
    assert isinstance(done.exception, SettingsError)
    return str(done.exception)


def test_render_when_the_form_is_unknown_then_the_known_are_named():
    assert "ray-start, ray-up, kuberay" in refusal("render", THREE, "--for", "helm")


def test_down_when_nothing_was_started_then_said_so():
    assert "clusters started here: none" in refusal("down")


def test_status_when_no_cluster_has_the_name_then_said_so():
    assert "no cluster mine was started here" in refusal("status", "mine")
