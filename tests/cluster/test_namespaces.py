"""Nodes with addresses of their own: names, plans, refusals, and a cluster for real."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner
from waiting import until

from cluster import local, namespaces
from cluster.namespaces import Network
from pmx_ray.cli.app import app
from pmx_ray.errors import ClusterError, SettingsError

THREE = ["head", "workers-1", "workers-2"]
NUMBER = "c0ffee"

PMX = Path(sys.executable).with_name("pmx")
TOPOLOGY = Path(__file__).parents[2] / "configs" / "cluster" / "three_nodes.yaml"

SWEEP = {
    "name": "own",
    "panel": {
        "source": "simulated", "kind": "garch", "n_tickers": 4, "n_sessions": 330, "seed": 1,
    },
    "folds": {"input_size": 90, "step_size": 20, "steps": [1, 5]},
    "forecasters": [{"name": "drift"}, {"name": "samossa"}],
    "evaluation": {"n_resamples": 100},
    "execution": {"tickers_per_block": 1},
}  # fmt: skip

for_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and iproute2"
)


def free_ports():
    """Return settings of ports that nobody has, outside those that Ray gives to workers."""
    found = {}
    names = ["gcs", "dashboard", "client", "metrics"]
    while names:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if not 10002 <= port <= 19999 and port not in found.values():
            found[names.pop()] = port
    return [word for name, port in found.items() for word in ("--set", f"ports.{name}={port}")]


def up_with(home, addresses, monkeypatch):
    """Ask for a cluster in a home of its own, within this process."""
    monkeypatch.setenv("PMX_HOME", str(home))
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "token"))
    words = ["cluster", "up", str(TOPOLOGY), "--addresses", addresses, *free_ports()]
    CliRunner().invoke(app, words, catch_exceptions=False)


def test_addresses_when_planned_then_each_node_has_one_and_the_head_the_bridges():
    network = namespaces.addressed(NUMBER, THREE)
    assert network.addresses == {
        "head": "10.89.0.1", "workers-1": "10.89.0.2", "workers-2": "10.89.0.3",
    }  # fmt: skip
    assert network.host == "10.89.0.1"


@pytest.mark.parametrize(
    ("taken", "host"),
    [
        (["10.89.0.7/24"], "10.89.1.1"),
        (["10.89.0.200", "10.89.1.0/25"], "10.89.2.1"),
        (["10.89.0.0/17"], "10.89.128.1"),
        (["127.0.0.1/8", "192.168.0.0/16"], "10.89.0.1"),
    ],
)
def test_addresses_when_some_are_taken_then_the_first_that_are_free(taken, host):
    assert namespaces.addressed(NUMBER, THREE, taken=taken).host == host


@pytest.mark.parametrize(
    ("span", "message"),
    [
        ("10.0.0.0/8", "all of it is in use"),
        ("8.8.0.0/16", "must be private"),
        ("127.0.0.0/8", "must be private"),
        ("10.1.2.0/25", r"hold a /24"),
        ("10.1.2.3/16", "has host bits set"),
        ("here", "span was here"),
    ],
)
def test_addresses_when_the_span_does_not_do_then_refused(span, message):
    with pytest.raises(SettingsError, match=message):
        namespaces.addressed(NUMBER, THREE, span=span, taken=["10.0.0.0/8"])


def test_addresses_when_there_are_more_nodes_than_room_then_refused():
    nodes = ["head", *(f"w-{n}" for n in range(namespaces.MOST))]
    assert len(namespaces.addressed(NUMBER, nodes[:-1]).addresses) == namespaces.MOST
    with pytest.raises(SettingsError, match="254 nodes; one bridge holds 253"):
        namespaces.addressed(NUMBER, nodes)


def test_names_when_the_cluster_is_the_largest_then_the_kernel_takes_them():
    nodes = ["head", *(f"a-long-name-of-a-group-{n}" for n in range(namespaces.MOST - 1))]
    network = namespaces.addressed(NUMBER, nodes)
    names = [network.bridge, *(network.link(node) for node in nodes[1:])]
    assert len(set(names)) == len(nodes)
    assert max(map(len, names)) <= 15


def test_number_when_the_folder_is_another_then_another(tmp_path):
    first, second = (namespaces.number_of(tmp_path / name) for name in ("a", "b"))
    assert first != second
    assert first == namespaces.number_of(tmp_path / "b" / ".." / "a")
    assert re.fullmatch("[0-9a-f]{6}", first)


@pytest.mark.parametrize("node", ["head", "stranger"])
def test_link_when_the_node_has_none_then_error_names_those_that_have(node):
    with pytest.raises(SettingsError, match=f"{node} has no network .* workers-1, workers-2"):
        namespaces.addressed(NUMBER, THREE).link(node)


def test_laying_when_planned_then_no_route_leads_out_and_every_name_is_the_clusters():
    words = namespaces.laying(namespaces.addressed(NUMBER, THREE))
    assert not any("route" in line or "default" in line for line in words)
    made = [line[2] for line in words if line[:2] in {("link", "add"), ("netns", "add")}]
    assert set(made) == {f"pmx-{NUMBER}-br", f"pmx-{NUMBER}-1", f"pmx-{NUMBER}-2"}


def test_own_addresses_when_not_root_then_refused_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SettingsError, match="need root, and this is user 1000"):
        up_with(tmp_path, "own", monkeypatch)
    assert local.names(tmp_path) == ()


def test_own_addresses_when_the_command_is_missing_then_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    with pytest.raises(SettingsError, match="install iproute2"):
        up_with(tmp_path, "own", monkeypatch)
    assert local.names(tmp_path) == ()


def test_addresses_when_the_word_is_unknown_then_refused(tmp_path, monkeypatch):
    with pytest.raises(SettingsError, match="--addresses was two; it must be one of one, own"):
        up_with(tmp_path, "two", monkeypatch)


def test_note_when_the_network_is_in_it_then_it_is_read_as_it_was(tmp_path):
    network = namespaces.addressed(NUMBER, THREE)
    folder = local.clusters_folder(tmp_path) / "mine"
    folder.mkdir(parents=True)
    cluster = local.Running("mine", "10.89.0.1:1", "http://127.0.0.1:2", "t", "b", {}, network)
    local._note(folder / local.STATE, cluster)
    assert local.running(tmp_path, "mine") == cluster


@pytest.fixture
def network():
    """Return a laid network of its own number and unused addresses."""
    number = os.urandom(3).hex()
    made = namespaces.addressed(number, THREE, taken=namespaces.taken_here())
    try:
        namespaces.lay(made)
        yield made
    finally:
        namespaces.lift(number)


def reaches(network, node, address):
    """Return whether a process of a node gets through to a listener at an address."""
    with socket.socket() as listener:
        listener.bind((network.host, 0))
        listener.listen()
        port = listener.getsockname()[1] if address == network.host else 9
        words = f"import socket; socket.create_connection(('{address}', {port}), timeout=1.0)"
        done = subprocess.run(
            [*network.inside(node), sys.executable, "-S", "-c", words], capture_output=True,
            text=True, check=False,
        )  # fmt: skip
    return done.returncode == 0 or "ConnectionRefused" in done.stderr


@for_root
def test_network_when_laid_then_nodes_reach_each_other_and_nothing_beyond(network):
    assert reaches(network, "workers-1", network.host)
    assert reaches(network, "workers-1", network.addresses["workers-2"])
    routes = subprocess.run(
        [*network.inside("workers-1"), "ip", "route"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert len(routes) == 1
    assert "default" not in routes[0]


@for_root
def test_network_when_a_node_is_cut_then_it_alone_is_out_until_mended(network):
    namespaces.cut(network, "workers-2")
    assert not reaches(network, "workers-2", network.host)
    assert reaches(network, "workers-1", network.host)
    namespaces.mend(network, "workers-2")
    until(lambda: reaches(network, "workers-2", network.host), deadline_s=10.0)


@for_root
def test_network_when_lifted_then_nothing_of_it_is_left_and_anothers_stays(network):
    other = namespaces.addressed(os.urandom(3).hex(), THREE, taken=namespaces.taken_here())
    assert other.host != network.host
    try:
        namespaces.lay(other)
        namespaces.lift(network.number)
        assert namespaces.left(network.number) == ([], [])
        assert [len(names) for names in namespaces.left(other.number)] == [3, 2]
    finally:
        namespaces.lift(other.number)


@for_root
def test_network_when_an_unfinished_one_is_there_then_it_is_laid_anew(network):
    namespaces._ip("link", "delete", network.link("workers-2"))
    namespaces.lay(network)
    assert reaches(network, "workers-2", network.host)


@for_root
def test_cut_when_the_network_is_gone_then_error_says_so():
    with pytest.raises(ClusterError, match="Cannot find device"):
        namespaces.cut(Network("0dd0e5", {"head": "10.89.0.1", "w-1": "10.89.0.2"}), "w-1")


class Lab:
    """A home with a token, in which one cluster with addresses of its own comes up."""

    def __init__(self, home):
        self.home = home
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PMX_"))}
        homes = {"HOME": str(home), "PMX_HOME": str(home), "COLUMNS": "200"}
        self.environment = {**kept, **homes, "RAY_raylet_start_wait_time_s": "120"}

    def pmx(self, *words):
        done = subprocess.run(
            [PMX, *words], env=self.environment, cwd=self.home, capture_output=True, text=True,
            timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def nodes(self):
        return json.loads(self.pmx("cluster", "status", "--json"))["nodes"]

    def sweep(self, address):
        (self.home / "sweep.yaml").write_text(yaml.safe_dump(SWEEP))
        said = self.pmx("sweep", "sweep.yaml", "--address", address, "--out", address)
        (receipts,) = (self.home / address).glob("own-*/receipts.jsonl")
        lines = [json.loads(line) for line in receipts.read_text().splitlines()[1:]]
        return re.search(r"forecasts ([0-9a-f]{16})", said)[1], {
            line["receipt"]["node"] for line in lines
        }


@pytest.fixture
def lab(tmp_path):
    made = Lab(tmp_path)
    try:
        yield made
    finally:
        found = local.running(tmp_path, "three-nodes")
        if found is not None:
            local.down(found, tmp_path)


@for_root
@pytest.mark.drill
def test_cluster_when_nodes_have_own_addresses_then_same_hash_and_nothing_left_after(lab):
    lab.pmx("cluster", "up", str(TOPOLOGY), "--addresses", "own", *free_ports())
    cluster = local.running(lab.home, "three-nodes")
    own = set(cluster.network.addresses.values())
    assert len(own) == 3
    assert {node["address"] for node in lab.nodes()} == own

    there, workers = lab.sweep(cluster.address)
    here, _ = lab.sweep("in-process")
    assert there == here
    assert len(workers) > 1

    namespaces.cut(cluster.network, "workers-2")
    cut_off = cluster.network.addresses["workers-2"]
    until(
        lambda: [n["address"] for n in lab.nodes() if not n["alive"]] == [cut_off],
        deadline_s=30.0,
    )
    assert local.kill_node(cluster, "workers-2") > 0

    lab.pmx("cluster", "down")
    assert local.living(cluster) == {}
    assert namespaces.left(cluster.network.number) == ([], [])
