"""A sound cluster as a client sees it, and one fault at a time."""

import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cluster_cases import GIB, MACHINE, ROOMY, TOKEN_FILE

from cluster.found import Disk, JobsApi
from cluster.outside import OutsideFacts, SeenNode, outside_facts
from cluster.preflight import preflight, refuse
from pmx_ray.errors import ClusterError

HEAD = SeenNode("10.0.0.1", True, {"pmx-group": "head"}, ROOMY, 1000.0)
WORKER = SeenNode("10.0.0.2", False, {"pmx-group": "workers"}, ROOMY, 997.0)
SOUND = OutsideFacts(JobsApi("http://127.0.0.1:8265", 401, 403, 200), "2.60.0", (HEAD, WORKER))


def api(**changes):
    return {"cluster": replace(SOUND, api=replace(SOUND.api, **changes))}


def cluster(**changes):
    return {"cluster": replace(SOUND, **changes)}


def machine(**changes):
    return {"machine": replace(MACHINE, **changes)}


def red(machine=MACHINE, cluster=SOUND, labels=({"pmx-group": "workers"}, {})):
    return {check.name for check in preflight(machine, cluster, labels=labels) if not check.passed}


def test_cluster_when_sound_then_nothing_is_refused():
    assert red() == set()
    refuse(preflight(MACHINE, SOUND, labels=()))


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (machine(token_file=replace(TOKEN_FILE, mode=0o644)), "token_private"),
        (machine(token_length=0, token_file=None), "token_exists"),
        (api(without_token=200), "api_without_token"),
        (api(wrong_token=200), "api_wrong_token"),
        (api(own_token=403), "api_own_token"),
        (cluster(ray_version="2.59.0"), "ray_version"),
        (cluster(ray_version=None), "ray_version"),
        (cluster(nodes=()), "nodes_alive"),
        (cluster(nodes=(replace(HEAD, disk=Disk("/", GIB, 9 * GIB)), WORKER)), "head_disk"),
        (cluster(nodes=(HEAD, replace(WORKER, told_s=1060.0))), "clocks"),
        ({"labels": ({"rack": "a"},)}, "labels"),
    ],
)
def test_cluster_when_one_thing_is_wrong_then_that_check_alone_is_red(fault, name):
    assert red(**fault) == {name}


def test_ray_when_old_on_both_sides_then_refused():
    old = replace(MACHINE, ray_version="2.55.1")
    assert red(old, replace(SOUND, ray_version="2.55.1")) == {"ray_version"}


def test_submission_when_refused_then_the_error_names_check_and_remedy():
    open_api = api(without_token=200)["cluster"]
    with pytest.raises(ClusterError, match=r"api_without_token: .*RAY_AUTH_MODE=token"):
        refuse(preflight(MACHINE, open_api, labels=()))


def test_pod_when_it_does_not_tell_its_disk_then_not_judged():
    silent = replace(SOUND, nodes=(replace(HEAD, disk=None), WORKER))
    assert red(cluster=silent) == set()


TOLD = {
    "/api/version": {"version": "4", "ray_version": "2.60.0"},
    "/nodes?view=summary": {
        "result": True,
        "data": {
            "summary": [
                {
                    "ip": "10.0.0.1", "now": 1000.5,
                    "disk": {"/": {"total": 9, "free": 1}, "/tmp/ray": {"total": 90, "free": 10}},
                    "raylet": {"state": "ALIVE", "isHeadNode": True, "labels": {"a": "b"}},
                },
                {"ip": "10.0.0.2", "now": 1000.0, "disk": {"/": {"total": 1, "free": 0}},
                 "raylet": {"state": "ALIVE", "isHeadNode": False, "labels": {}}},
                {"ip": "10.0.0.3", "now": 10.0, "raylet": {"state": "DEAD"}},
            ]
        },
    },
    "/api/jobs/": [],
}  # fmt: skip


@pytest.fixture
def dashboard():
    """Serve what a dashboard of Ray 2.60 told, to whoever has the token."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            given = self.headers.get("Authorization")
            status = 401 if given is None else 200 if given == "Bearer right" else 403
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(TOLD[self.path] if status == 200 else {}).encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_facts_when_the_dashboard_tells_then_living_nodes_with_disk_and_clock(dashboard):
    facts = outside_facts(dashboard, token="right")
    assert facts.api == JobsApi(dashboard, 401, 403, 200)
    assert facts.ray_version == "2.60.0"
    assert facts.nodes == (
        SeenNode("10.0.0.1", True, {"a": "b"}, Disk("/tmp/ray", 10, 90), 1000.5),
        SeenNode("10.0.0.2", False, {}, None, 1000.0),
    )


def test_facts_when_nobody_answers_or_the_token_is_wrong_then_facts_too(dashboard):
    assert outside_facts(dashboard, token="wrong") == OutsideFacts(
        JobsApi(dashboard, 401, 403, 403), None, ()
    )
    assert outside_facts("http://127.0.0.1:9", token=None).api.without_token is None
