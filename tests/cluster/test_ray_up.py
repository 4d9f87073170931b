import copy
import shlex

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import ValidationError
from ray.autoscaler._private.aws.config import _configure_iam_role
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import start

from cluster.ray_up import TOKEN_FILE, as_yaml, ray_up
from cluster.topology import Head, NodeGroup, Topology, system_config
from pmx_ray.errors import SettingsError
from pmx_ray.remote.environment import ONE_THREAD

REGION = "eu-central-1"
TOKEN = "0123456789abcdef" * 4


def accepted(document):
    """Return the document as Ray completes it, once Ray's own schema has taken it."""
    prepared = prepare_config(copy.deepcopy(document))
    validate_config(prepared)
    return prepared


def started(line):
    """Return what Ray's own command line makes of a start command, and its environment."""
    words = shlex.split(line.partition("; ")[2])
    first = words.index("ray")
    context = start.make_context("start", words[first + 2 :])
    return context.params, dict(word.split("=", 1) for word in words[:first])


def of(*groups, **more):
    return Topology(name="lab", groups=groups, **more)


def group(**more):
    return NodeGroup(
        **{"name": "work", "cpus": 4, "memory_gib": 16, "machine": "m7i.xlarge"} | more
    )


def test_ray_up_when_rendered_then_ray_itself_accepts(fleet):
    prepared = accepted(yaml.safe_load(as_yaml(ray_up(fleet, region=REGION))))
    assert prepared["available_node_types"].keys() == {"head", "steady", "spot", "gpu"}
    # nothing of Ray's defaults, which install another Ray and show the dashboard to everyone
    commands = [word for key in prepared if key.endswith("_commands") for word in prepared[key]]
    assert not any("pip install" in word or "0.0.0.0" in word for word in commands)


def test_ray_up_when_a_key_is_misspelt_then_ray_refuses(fleet):
    document = ray_up(fleet, region=REGION)
    document["max_worker"] = document.pop("max_workers")
    with pytest.raises(ValidationError, match="max_worker"):
        accepted(document)


def test_ray_up_when_a_token_is_at_hand_then_it_is_not_in_the_file(fleet, monkeypatch, tmp_path):
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text(TOKEN)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    document = ray_up(fleet, region=REGION)
    text = as_yaml(document)
    assert TOKEN not in text
    assert str(tmp_path) not in text
    assert document["file_mounts"] == {TOKEN_FILE: TOKEN_FILE}


def test_head_when_started_then_ports_are_fixed_and_the_token_is_asked_for(fleet):
    params, environment = started(ray_up(fleet, region=REGION)["head_start_ray_commands"][-1])
    assert params["head"]
    assert params["dashboard_host"] == "127.0.0.1"
    given_ports = ("port", "dashboard_port", "ray_client_server_port", "metrics_export_port")
    assert [int(params[name]) for name in given_ports] == [6379, 8265, 20001, 20080]
    assert params["system_config"] == system_config(fleet)
    assert params["labels"] == "pmx-group=head"
    assert params["autoscaling_config"]
    assert environment.items() >= {"RAY_AUTH_MODE": "token", **ONE_THREAD}.items()


def test_worker_when_started_then_joins_the_head_with_the_token(fleet):
    params, environment = started(ray_up(fleet, region=REGION)["worker_start_ray_commands"][-1])
    assert params["address"] == "$RAY_HEAD_IP:6379"
    assert not params["head"]
    assert environment.items() >= {"RAY_AUTH_MODE": "token", **ONE_THREAD}.items()


def test_provider_when_rendered_then_no_public_address_and_nothing_kept(fleet):
    provider = ray_up(fleet, region=REGION)["provider"]
    assert provider == {
        "type": "aws",
        "region": REGION,
        "use_internal_ips": True,
        "cache_stopped_nodes": False,
    }


def test_group_when_it_has_gpus_then_they_and_their_kind_are_offered(fleet):
    kinds = ray_up(fleet, region=REGION)["available_node_types"]
    assert kinds["gpu"]["resources"] == {
        "CPU": 16,
        "memory": int(64 * 2**30 * 0.6),
        "GPU": 1,
        "accelerator_type:A10G": 1,
    }
    assert kinds["gpu"]["labels"]["pmx-device"] == "gpu"
    assert "GPU" not in kinds["steady"]["resources"]


def test_group_when_spot_then_only_it_is_bought_on_the_spot_market(fleet):
    kinds = ray_up(fleet, region=REGION)["available_node_types"]
    on_spot = [name for name in kinds if "InstanceMarketOptions" in kinds[name]["node_config"]]
    assert on_spot == ["spot"]
    assert kinds["spot"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert kinds["spot"]["labels"]["ray.io/market-type"] == "spot"


ARN = "arn:aws:iam::123456789012:instance-profile/lab/pmx-nodes"


@pytest.mark.parametrize(
    ("profile", "written"), [("pmx-nodes", {"Name": "pmx-nodes"}), (ARN, {"Arn": ARN})]
)
def test_profile_when_named_then_every_node_has_it_and_ray_makes_none(fleet, profile, written):
    text = as_yaml(ray_up(fleet.model_copy(update={"profile": profile}), region=REGION))
    # Ray's own step asks AWS for nothing where the head has a profile
    prepared = _configure_iam_role(accepted(yaml.safe_load(text)))
    kinds = prepared["available_node_types"]
    assert len(kinds) == 4
    for kind in kinds.values():
        assert kind["node_config"]["IamInstanceProfile"] == written
    assert "No profile" not in text


def test_profile_when_none_is_named_then_the_file_says_what_workers_lack(fleet):
    text = as_yaml(ray_up(fleet, region=REGION))
    assert "workers have no\n# right to a lake in a bucket" in text
    assert "IamInstanceProfile" not in text


@pytest.mark.parametrize("profile", ["", "a b", "arn:aws:iam::1:role/x", "pmx\n", "x" * 129])
def test_profile_when_not_one_of_aws_then_refused(profile):
    with pytest.raises(ValueError, match="profile"):
        of(group(), profile=profile)


def test_max_workers_when_groups_grow_then_their_sum(fleet):
    document = ray_up(fleet, region=REGION)
    kinds = document["available_node_types"]
    assert document["max_workers"] == 4 + 40 + 4
    assert [kinds[name]["min_workers"] for name in ("steady", "spot", "gpu")] == [4, 0, 0]
    assert [kinds[name]["max_workers"] for name in ("steady", "spot", "gpu")] == [4, 40, 4]
    assert kinds["head"]["max_workers"] == 0


@pytest.mark.parametrize(
    ("cpus", "memory_gib", "machine"),
    [
        (1, 1, "m7i.large"),
        (2, 8, "m7i.large"),
        (3, 8, "m7i.xlarge"),
        (2, 8.5, "m7i.xlarge"),
        (4, 64, "m7i.4xlarge"),
        (192, 768, "m7i.48xlarge"),
    ],
)
def test_head_machine_when_sized_then_the_smallest_that_holds_it(cpus, memory_gib, machine):
    topology = of(head=Head(cpus=cpus, memory_gib=memory_gib))
    head = ray_up(topology, region=REGION)["available_node_types"]["head"]
    assert head["node_config"]["InstanceType"] == machine


def test_head_machine_when_none_is_large_enough_then_refused():
    with pytest.raises(SettingsError, match=r"head has 193 cpus and 8 GiB.* has 192 and 768"):
        ray_up(of(head=Head(cpus=193)), region=REGION)


def test_group_when_it_names_no_machine_then_refused_by_name():
    with pytest.raises(SettingsError, match=r"group odd names no machine.*m7i"):
        ray_up(of(group(), group(name="odd", machine=None)), region=REGION)


@pytest.mark.parametrize("labels", [{"a": "b/c"}, {"a/b/c": "d"}, {"/a": "d"}])
def test_group_when_a_label_is_not_rays_then_refused(labels):
    # The topology's own rule may come first; either way no such node is rendered.
    with pytest.raises((SettingsError, ValueError), match="label"):
        ray_up(of(group(labels=labels)), region=REGION)


@pytest.mark.parametrize("region", ["", "Frankfurt", "eu-central", "eu-central-1; rm", "eu_west_1"])
def test_ray_up_when_the_region_is_not_one_then_refused(region):
    with pytest.raises(SettingsError, match="region was"):
        ray_up(of(group()), region=region)


def test_host_when_it_holds_shell_words_then_quoted():
    topology = of(head=Head(dashboard_host="127.0.0.1; curl x"))
    params, _ = started(ray_up(topology, region=REGION)["head_start_ray_commands"][-1])
    assert params["dashboard_host"] == "127.0.0.1; curl x"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_topology_when_rendered_then_ray_accepts_it(topologies, data):
    topology = data.draw(topologies)
    document = yaml.safe_load(as_yaml(ray_up(topology, region=REGION)))
    prepared = accepted(document)
    kinds = prepared["available_node_types"]
    assert len(kinds) == 1 + len(topology.groups)
    assert prepared["max_workers"] == sum(kind["max_workers"] for kind in kinds.values())
    params, _ = started(document["head_start_ray_commands"][-1])
    assert int(params["port"]) == topology.ports.gcs
