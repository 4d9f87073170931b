"""What a topology refuses, and what follows from one."""

from pathlib import Path

import pytest
import yaml
from cluster_cases import group, topology

from cluster.topology import group_of, read_topology, system_config
from pmx_ray.errors import SettingsError

CONFIGS = Path(__file__).parents[2] / "configs" / "cluster"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_configs_when_read_then_in_order(path):
    assert read_topology(path).n_nodes >= 1


def test_sizes_when_counted_then_those_made_by_hand():
    made = topology()
    assert made.n_nodes == 1 + 2 + 1
    assert made.n_slots == 2 + 2 * 8 + 1 * 4
    assert [found.most for found in made.groups] == [2, 3]


def test_labels_when_a_node_is_spot_then_ray_is_told_so():
    gpu = group_of(topology(), "gpu")
    assert gpu.all_labels == {"pmx-group": "gpu", "ray.io/market-type": "spot", "room": "b1"}
    assert group_of(topology(), "cpu").all_labels["ray.io/market-type"] == "on-demand"


def test_dead_node_when_health_is_that_of_the_defaults_then_noticed_after_three_seconds():
    found = system_config(topology())
    assert found["health_check_period_ms"] * found["health_check_failure_threshold"] == 3000


BAD = {
    "an unknown key": ({"nods": 3}, "nods"),
    "a name that Kubernetes refuses": ({"name": "Big_One"}, "name"),
    "no node that offers a CPU": ({"head": {"slots": 0}, "groups": []}, "no node offers a CPU"),
    "more slots than CPUs": ({"head": {"cpus": 2, "slots": 3}}, "slots is 3"),
    "two groups of a name": ({"groups": [group(), group()]}, "two groups are called cpu"),
    "a group called head": ({"groups": [group(name="head")]}, "a group is called head"),
    "fewer at most than at least": ({"groups": [group(max_nodes=0)]}, "max_nodes is 0"),
    "an accelerator without a GPU": ({"groups": [group(accelerator="H100")]}, "gpus is 0"),
    "a label of ours": ({"groups": [group(labels={"pmx-group": "x"})]}, "leave it out"),
    "a label that is a command": ({"groups": [group(labels={"a": "b,c=$(id)"})]}, "label a="),
    "a label value with a slash": ({"groups": [group(labels={"a": "b/c"})]}, "label a=b/c"),
    "a port that Ray gives to workers": ({"ports": {"gcs": 12000}}, "10002 to 19999"),
    "a port twice": ({"ports": {"gcs": 8265}}, "not all different"),
    "memory that is no number": ({"head": {"memory_gib": float("nan")}}, "memory_gib"),
}


@pytest.mark.parametrize("case", BAD)
def test_topology_when_it_has_a_fault_then_refused_with_its_place(case):
    changed, said = BAD[case]
    with pytest.raises(SettingsError, match=said):
        topology(**changed)


def test_group_when_there_is_none_of_the_name_then_error_names_those_there_are():
    with pytest.raises(SettingsError, match="it has: cpu, gpu"):
        group_of(topology(), "tpu")


def test_file_when_it_is_misspelt_then_error_says_where(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({"name": "x", "groups": [group(cpu=3)]}))
    with pytest.raises(SettingsError, match=r"c\.yaml.*groups\.0\.cpu"):
        read_topology(path)
