"""A topology as commands."""

import json
import shlex
import subprocess

import pytest
from cluster_cases import topology

from cluster.commands import commands, head_command, script
from cluster.topology import Topology
from pmx_ray.remote.environment import ONE_THREAD


def option(command, name):
    (found,) = [word.split("=", 1)[1] for word in command.argv if word.startswith(f"--{name}=")]
    return found


@pytest.fixture
def made():
    return commands(topology(), host="10.0.0.1")


def test_nodes_when_rendered_then_one_command_each_and_the_head_first(made):
    assert [command.node for command in made] == ["head", "cpu-1", "cpu-2", "gpu-1"]
    assert "--head" in made[0].argv
    assert all("--head" not in command.argv for command in made[1:])


def test_nodes_when_rendered_then_all_join_the_head(made):
    assert {option(command, "address") for command in made[1:]} == {"10.0.0.1:6379"}
    assert option(made[0], "port") == "6379"


def test_head_when_rendered_then_dashboard_on_loopback_and_death_noticed_soon(made):
    assert option(made[0], "dashboard-host") == "127.0.0.1"
    assert option(made[0], "num-cpus") == "2"
    assert json.loads(option(made[0], "system-config"))["health_check_period_ms"] == 1000


def test_metrics_when_rendered_then_at_one_port_unless_nodes_share_an_address(made):
    assert {option(command, "metrics-export-port") for command in made} == {"20080"}
    here = commands(topology(), host="127.0.0.1")
    assert [c.node for c in here if "metrics-export-port" in " ".join(c.argv)] == ["head"]


def test_gpu_node_when_rendered_then_it_offers_gpus_accelerator_and_labels(made):
    gpu = made[3]
    assert option(gpu, "num-gpus") == "2"
    assert json.loads(option(gpu, "resources")) == {"accelerator_type:H100": 1}
    labels = dict(pair.split("=") for pair in option(gpu, "labels").split(","))
    assert labels == {"pmx-group": "gpu", "ray.io/market-type": "spot", "room": "b1"}


def test_memory_when_rendered_then_a_node_does_not_promise_more_than_it_has(made):
    promised = sum(int(option(made[1], name)) for name in ("memory", "object-store-memory"))
    assert 0.85 * 16 * 2**30 < promised < 16 * 2**30


def test_every_node_when_rendered_then_token_asked_for_and_one_thread_a_library(made):
    for command in made:
        assert command.environment["RAY_AUTH_MODE"] == "token"
        assert ONE_THREAD.items() <= command.environment.items()


def test_script_when_read_by_a_shell_then_its_words_are_those_of_the_commands(made):
    lines = script(topology(), host="10.0.0.1").splitlines()
    assert [line for line in lines if not line.startswith("#")] == [c.line for c in made]
    for command in made:
        words = shlex.split(command.line)
        assert tuple(words[-len(command.argv) :]) == command.argv
    subprocess.run(["bash", "-n"], input="\n".join(lines), text=True, check=True)


def test_head_when_the_topology_says_where_the_dashboard_listens_then_there():
    public = Topology.model_validate({"name": "x", "head": {"dashboard_host": "10.0.0.1"}})
    assert option(head_command(public, host="10.0.0.1"), "dashboard-host") == "10.0.0.1"
