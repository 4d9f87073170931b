import copy
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from ray._private.label_utils import validate_node_label_syntax
from ray.autoscaler._private.kuberay.autoscaling_config import (
    _derive_autoscaling_config_from_ray_cr,
)

from cluster.kuberay import (
    as_yaml,
    check_manifest,
    manifests,
    network_policy,
    ray_cluster,
    ray_job,
    ray_service,
    serve_in_pods,
)
from cluster.topology import Head, NodeGroup, Ports, Topology, system_config
from pmx_ray.errors import SettingsError
from pmx_ray.remote.environment import ONE_THREAD

CRDS = Path(__file__).parents[3] / "shared" / "crds"
TOKEN = "0123456789abcdef" * 4
SERVE = {
    "http_options": {"host": "0.0.0.0", "port": 8000},
    "applications": [{"name": "signals", "import_path": "serve_apps.app:build"}],
}
needs_crds = pytest.mark.skipif(
    not CRDS.is_dir(), reason="KubeRay's schemas are not beside the checkout"
)


def strict(schema):
    """Return a schema that refuses unknown keys and takes a number or text where either may be."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(part) for key, part in schema.items()}
    if schema.get("x-kubernetes-int-or-string") is True:
        # Patterns of amounts are meant for text alone.
        return {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        closed.setdefault("additionalProperties", False)
    return closed


@pytest.fixture(scope="session")
def crd_faults():
    """Return the function that lists what KubeRay's own schema has against a manifest."""
    files = {"RayCluster": "rayclusters", "RayJob": "rayjobs", "RayService": "rayservices"}
    validators = {
        kind: Draft202012Validator(
            strict(json.loads((CRDS / f"{name}.v1.schema.json").read_text()))
        )
        for kind, name in files.items()
    }

    def faults(document):
        # Kubernetes itself, not the resource's schema, knows what every object starts with.
        inner = {key: document[key] for key in document if key != "metadata"}
        return [error.message for error in validators[document["kind"]].iter_errors(inner)]

    return faults


def every(topology):
    return [
        ray_cluster(topology, namespace="lab"),
        ray_job(topology, namespace="lab", entrypoint="pmx sweep"),
        ray_service(kept(topology), namespace="lab", serve_config=SERVE | served_at(topology)),
        network_policy(topology, namespace="lab"),
    ]


def kept(topology):
    return topology.model_copy(update={"volume": "pmx-home"})


def served_at(topology):
    return {"http_options": {"host": "0.0.0.0", "port": topology.ports.serve}}


def parts_of(node, key):
    """Return what stands under a key, anywhere in a document."""
    if isinstance(node, dict):
        here = [node[key]] if key in node else []
        return here + [found for part in node.values() for found in parts_of(part, key)]
    if isinstance(node, list):
        return [found for part in node for found in parts_of(part, key)]
    return []


def containers_of(document):
    return [container for found in parts_of(document, "containers") for container in found]


def spec_of(topology):
    return ray_cluster(topology, namespace="lab")["spec"]


def group_of(topology, name):
    found = [g for g in spec_of(topology)["workerGroupSpecs"] if g["groupName"] == name]
    return found[0]


def environment_of(container):
    return {row["name"]: row.get("value", row.get("valueFrom")) for row in container["env"]}


@needs_crds
@pytest.mark.parametrize("shipped", ["fleet", "three_nodes"])
def test_shipped_when_rendered_then_kuberays_own_schemas_accept(request, shipped, crd_faults):
    topology = request.getfixturevalue(shipped)
    for document in every(topology)[:3]:
        assert crd_faults(document) == []


MISSPELT = pytest.mark.parametrize(
    ("place", "key"),
    [
        (("spec",), "enableInTreeAutoscalling"),
        (("spec", "headGroupSpec"), "rayStartParam"),
        (("spec", "headGroupSpec", "template", "spec"), "automountServiceAccountTokens"),
        (("spec", "headGroupSpec", "template", "spec", "containers", 0), "resource"),
        (
            ("spec", "headGroupSpec", "template", "spec", "containers", 0, "securityContext"),
            "runAsNonroot",
        ),
        (("spec", "workerGroupSpecs", 0), "maxReplica"),
        (("spec", "authOptions"), "secret"),
    ],
)


def with_key(document, place, key):
    """Return a copy with one key more at a place."""
    altered = copy.deepcopy(document)
    node = altered
    for step in place:
        node = node[step]
    node[key] = "x"
    return altered


@MISSPELT
def test_key_when_misspelt_then_refused_by_name(fleet, place, key):
    document = with_key(ray_cluster(fleet, namespace="lab"), place, key)
    with pytest.raises(SettingsError, match=f"RayCluster: unknown key .*{key}"):
        check_manifest(document)


@needs_crds
@MISSPELT
def test_key_when_misspelt_then_kuberays_own_schema_has_none_either(fleet, crd_faults, place, key):
    faults = crd_faults(with_key(ray_cluster(fleet, namespace="lab"), place, key))
    assert len(faults) == 1
    assert f"'{key}' was unexpected" in faults[0]


def test_yaml_when_a_key_is_misspelt_then_not_written(fleet):
    documents = manifests(fleet, namespace="lab")
    documents[0]["spec"]["ingres"] = documents[0]["spec"].pop("ingress")
    with pytest.raises(SettingsError, match=r"unknown key 'spec.ingres'; did you mean 'ingress'"):
        as_yaml(documents)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("resources",), {"limits": {"cpu": "1", "memory": "1Gi"}}),
        (("resources", "limits"), {"cpu": "1"}),
        (("resources", "limits", "memory"), "9999Gi"),
        (("securityContext", "runAsNonRoot"), False),
        (("securityContext", "readOnlyRootFilesystem"), False),
        (("securityContext", "allowPrivilegeEscalation"), True),
        (("securityContext", "capabilities", "drop"), []),
        (("env", 1), {"name": "RAY_AUTH_TOKEN", "value": TOKEN}),
        (("envFrom",), [{"secretRef": {"name": "a", "optional": False}}]),
    ],
)
def test_manifest_when_a_guard_is_taken_away_then_refused(fleet, place, value):
    document = copy.deepcopy(ray_cluster(fleet, namespace="lab"))
    node = document["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    *parents, last = place
    for step in parents:
        node = node[step]
    node[last] = value
    with pytest.raises(SettingsError, match=r"RayCluster: spec\.headGroupSpec") as refused:
        check_manifest(document)
    assert TOKEN not in str(refused.value)


def test_manifest_when_its_kind_is_unknown_then_refused():
    with pytest.raises(SettingsError, match="unknown kind 'RayClutser'; did you mean 'RayCluster'"):
        check_manifest({"kind": "RayClutser"})


def test_yaml_when_a_token_is_at_hand_then_it_is_named_and_not_written(
    fleet, monkeypatch, tmp_path
):
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text(TOKEN)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    text = as_yaml(every(fleet))
    assert TOKEN not in text
    assert "kind: Secret" not in text
    assert "create secret generic fleet-token --from-file=auth_token=/dev/stdin" in text
    reference = {"secretKeyRef": {"name": "fleet-token", "key": "auth_token"}}
    for container in containers_of(every(fleet)):
        environment = environment_of(container)
        assert environment["RAY_AUTH_MODE"] == "token"
        assert environment["RAY_AUTH_TOKEN"] == reference
    for options in parts_of(every(fleet), "authOptions"):
        assert options == {"mode": "token", "secretName": "fleet-token"}


def test_containers_when_rendered_then_bounded_and_without_rights(fleet):
    found = containers_of(every(fleet))
    assert len(found) == 4 * 3 + 1  # the head and three groups, three times, and a submitter
    for container in found:
        assert container["resources"]["limits"] == container["resources"]["requests"]
        assert {"cpu", "memory"} <= container["resources"]["limits"].keys()
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "readOnlyRootFilesystem": True,
        }
        assert "/tmp" in [mount["mountPath"] for mount in container["volumeMounts"]]
    for template in parts_of(every(fleet), "template") + parts_of(
        every(fleet), "submitterPodTemplate"
    ):
        guard = template["spec"]["securityContext"]
        assert guard["runAsNonRoot"] is True
        assert guard["runAsUser"] > 0
        assert guard["seccompProfile"] == {"type": "RuntimeDefault"}


def test_head_when_rendered_then_offers_its_slots_and_the_topologys_ports(fleet):
    head = spec_of(fleet)["headGroupSpec"]
    parameters = head["rayStartParams"]
    assert parameters["num-cpus"] == "4"
    assert parameters["dashboard-host"] == "0.0.0.0"
    assert parameters["metrics-export-port"] == "20080"
    container = head["template"]["spec"]["containers"][0]
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {
        "gcs-server": 6379,
        "dashboard": 8265,
        "client": 20001,
        "metrics": 20080,
        "serve": 8000,
    }
    environment = environment_of(container)
    assert environment.items() >= ONE_THREAD.items()
    for name, value in system_config(fleet).items():
        assert environment[f"RAY_{name}"] == str(value)
    assert container["resources"]["limits"] == {"cpu": "8", "memory": "32768Mi"}


def test_head_when_groups_grow_then_only_it_may_ask_kubernetes(fleet, three_nodes):
    grows, stays = spec_of(fleet), spec_of(three_nodes)
    assert grows["enableInTreeAutoscaling"] is True
    assert grows["autoscalerOptions"]["idleTimeoutSeconds"] == 300
    assert stays["enableInTreeAutoscaling"] is False
    assert "autoscalerOptions" not in stays
    # in the order of the document: the head, then the groups
    assert parts_of(grows, "automountServiceAccountToken") == [True, False, False, False]
    assert parts_of(stays, "automountServiceAccountToken") == [False, False]


def test_volumes_when_rendered_then_shared_memory_holds_rays_objects(fleet):
    for group in [spec_of(fleet)["headGroupSpec"], *spec_of(fleet)["workerGroupSpecs"]]:
        pod = group["template"]["spec"]
        mounts = {row["mountPath"]: row["name"] for row in pod["containers"][0]["volumeMounts"]}
        assert mounts["/tmp/ray"] == "ray-logs"  # the name by which KubeRay's sidecar shares it
        volumes = {row["name"]: row["emptyDir"] for row in pod["volumes"]}  # none is named
        assert volumes.keys() == set(mounts.values())
        shared = volumes[mounts["/dev/shm"]]
        assert shared["medium"] == "Memory"
        objects = int(group["rayStartParams"]["object-store-memory"])
        assert objects < int(shared["sizeLimit"].removesuffix("Mi")) * 2**20


def test_gpu_group_when_rendered_then_gpus_are_limits_and_bear_their_taint(fleet):
    gpu, steady = group_of(fleet, "gpu"), group_of(fleet, "steady")
    pod = gpu["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert gpu["resources"]["accelerator_type:A10G"] == "1"
    assert [toleration["key"] for toleration in pod["tolerations"]] == ["nvidia.com/gpu"]
    assert (
        "nvidia.com/gpu" not in steady["template"]["spec"]["containers"][0]["resources"]["limits"]
    )
    assert "tolerations" not in steady["template"]["spec"]


def test_spot_group_when_rendered_then_only_it_goes_to_spot_nodes(fleet):
    pods = {g["groupName"]: g["template"]["spec"] for g in spec_of(fleet)["workerGroupSpecs"]}
    key = "karpenter.sh/capacity-type"
    assert pods["spot"]["nodeSelector"] == {key: "spot"}
    assert pods["spot"]["tolerations"] == [
        {"key": key, "operator": "Equal", "value": "spot", "effect": "NoSchedule"}
    ]
    assert not any("nodeSelector" in pods[name] for name in ("steady", "gpu"))


def test_labels_when_rendered_then_beside_the_start_parameters(fleet):
    # KubeRay's operator refuses `labels` among them, and resources in both places.
    gpu = group_of(fleet, "gpu")
    assert gpu["labels"] == {
        "pmx-group": "gpu",
        "ray.io/market-type": "on-demand",
        "pmx-device": "gpu",
    }
    for parameters in parts_of(spec_of(fleet)["workerGroupSpecs"], "rayStartParams"):
        assert not parameters.keys() & {"labels", "num-cpus", "num-gpus", "memory", "resources"}


def test_cluster_when_ray_reads_it_then_it_sees_the_same_nodes(fleet):
    kinds = _derive_autoscaling_config_from_ray_cr(ray_cluster(fleet, namespace="lab"))[
        "available_node_types"
    ]
    assert kinds["headgroup"]["resources"]["CPU"] == 4
    assert kinds["gpu"]["resources"] == {
        "CPU": 16,
        "GPU": 1,
        "memory": int(64 * 2**30 * 0.6),
        "accelerator_type:A10G": 1,
    }
    assert kinds["gpu"]["labels"]["pmx-device"] == "gpu"
    assert (kinds["spot"]["min_workers"], kinds["spot"]["max_workers"]) == (0, 40)


def test_policy_when_rendered_then_own_pods_guests_and_the_operator_alone(fleet):
    policy = network_policy(fleet, namespace="lab")["spec"]
    own = {"matchLabels": {"pmx-cluster": "fleet"}}
    assert policy["podSelector"] == own
    assert policy["policyTypes"] == ["Ingress"]
    inside, guests, operator = policy["ingress"]
    assert inside == {"from": [{"podSelector": own}]}
    assert guests["from"] == [{"podSelector": {"matchLabels": {"pmx-access": "true"}}}]
    assert [row["port"] for row in guests["ports"]] == [8265, 20001, 20080, 8000]
    assert operator["from"][0]["podSelector"]["matchLabels"] == {
        "app.kubernetes.io/name": "kuberay-operator"
    }
    assert [row["port"] for row in operator["ports"]] == [8265, 8000]


def test_policy_when_pods_are_made_then_it_holds_for_each(fleet):
    selected = network_policy(fleet, namespace="lab")["spec"]["podSelector"]["matchLabels"]
    job = ray_job(fleet, namespace="lab", entrypoint="pmx sweep")["spec"]
    templates = [*parts_of(job, "template"), job["submitterPodTemplate"]]
    assert len(templates) == 5
    assert all(template["metadata"]["labels"] == selected for template in templates)


def test_lake_when_a_folder_then_refused(fleet):
    with pytest.raises(SettingsError, match="lake is /data; pods share no folder"):
        ray_cluster(fleet.model_copy(update={"lake": "/data"}), namespace="lab")


@pytest.mark.parametrize("label", ["pmx-cluster", "pmx-access"])
def test_group_when_a_label_would_pass_the_policy_then_refused(label):
    group = NodeGroup(name="work", cpus=1, memory_gib=1, labels={label: "true"})
    with pytest.raises(SettingsError, match=f"group work has the label {label}"):
        ray_cluster(Topology(name="lab", groups=(group,)), namespace="lab")


@pytest.mark.parametrize(
    "namespace", ["", "Lab", "lab_1", "-lab", "lab-", "a.b", "1lab", "x" * 64, "lab\n"]
)
def test_namespace_when_not_a_dns_label_then_refused(fleet, namespace):
    for render in (ray_cluster, network_policy):
        with pytest.raises(SettingsError, match=r"metadata.namespace: must be at most 63"):
            render(fleet, namespace=namespace)


@pytest.mark.parametrize("name", ["Lab", "lab_1", "lab.a", "-lab", "1lab", "x" * 48, "lab\n"])
def test_name_when_not_a_dns_label_then_refused(fleet, name):
    unchecked = fleet.model_copy(update={"name": name})
    with pytest.raises(SettingsError, match=r"metadata.name: (must be at most|has 48 letters)"):
        ray_cluster(unchecked, namespace="lab")


def test_namespace_when_a_dns_label_then_taken(fleet):
    document = ray_cluster(fleet, namespace="a-1")
    assert document["metadata"]["namespace"] == "a-1"


def test_job_when_its_command_is_empty_then_refused(fleet):
    with pytest.raises(SettingsError, match="entrypoint is empty"):
        ray_job(fleet, namespace="lab", entrypoint="  ")


def test_job_when_rendered_then_its_cluster_goes_with_it(fleet):
    spec = ray_job(fleet, namespace="lab", entrypoint="pmx sweep --seed 1")["spec"]
    assert spec["entrypoint"] == "pmx sweep --seed 1"
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["rayClusterSpec"] == spec_of(fleet)


def test_service_when_rendered_then_the_serve_config_is_as_given(fleet):
    spec = ray_service(kept(fleet), namespace="lab", serve_config=SERVE)["spec"]
    assert yaml.safe_load(spec["serveConfigV2"]) == SERVE
    plain = copy.deepcopy(spec["rayClusterConfig"])
    for container in containers_of(plain):
        container.pop("readinessProbe", None)
    assert plain == spec_of(kept(fleet))


def test_service_when_rendered_then_workers_alone_are_asked_for_their_proxy():
    topology = Topology(
        name="lab",
        groups=(NodeGroup(name="work", cpus=1, memory_gib=4),),
        ports=Ports(serve=8080),
        volume="pmx-home",
    )
    served = ray_service(topology, namespace="lab", serve_config=SERVE | served_at(topology))
    head, worker = containers_of(served)
    assert "readinessProbe" not in head  # KubeRay's own asks a page, and sees to the proxy itself
    assert worker["readinessProbe"]["httpGet"] == {"path": "/-/healthz", "port": 8080}
    assert parts_of(spec_of(topology), "readinessProbe") == []
    del worker["readinessProbe"]
    with pytest.raises(SettingsError, match="work has no readinessProbe"):
        check_manifest(served)


@pytest.mark.parametrize("where", ["HeadOnly", "Disabled"])
def test_service_when_a_pod_would_have_no_proxy_then_refused(fleet, where):
    with pytest.raises(SettingsError, match=f"proxy_location is {where}; for pods write EveryNode"):
        ray_service(kept(fleet), namespace="lab", serve_config=SERVE | {"proxy_location": where})


def test_serve_config_when_meant_for_one_machine_then_pods_get_a_proxy_each(fleet):
    given = {**SERVE, "proxy_location": "HeadOnly", "http_options": {"host": "127.0.0.1"}}
    made = serve_in_pods(given)
    assert (made["proxy_location"], made["http_options"]) == ("EveryNode", {"host": "0.0.0.0"})
    assert ray_service(kept(fleet), namespace="lab", serve_config=made)


def service_with(args):
    application = {"name": "signals", "import_path": "serve_apps.app:build", "args": args}
    return SERVE | {"applications": [application]}


def test_service_when_no_volume_is_named_then_refused(fleet):
    with pytest.raises(SettingsError, match=r"volume is not set; .*volume: pmx-home"):
        ray_service(fleet, namespace="lab", serve_config=SERVE)


@pytest.mark.parametrize("root", ["/data", "runs", "/var/pmx-2"])
def test_service_when_its_root_is_on_no_volume_then_refused(fleet, root):
    with pytest.raises(SettingsError, match=f"root of signals is {root}.*folder in /var/pmx"):
        ray_service(kept(fleet), namespace="lab", serve_config=service_with({"root": root}))


@pytest.mark.parametrize("args", [None, {}, {"root": None}, {"root": "/var/pmx/team"}])
def test_service_when_its_root_is_on_the_volume_then_taken(fleet, args):
    assert ray_service(kept(fleet), namespace="lab", serve_config=service_with(args))


def homes_of(document):
    """Return of each pod of Ray: PMX_HOME, and the volume that is mounted there."""
    for template in parts_of(document, "template"):
        pod = template["spec"]
        [container] = pod["containers"]
        home = environment_of(container)["PMX_HOME"]
        [name] = [m["name"] for m in container["volumeMounts"] if m["mountPath"] == home]
        [volume] = [volume for volume in pod["volumes"] if volume["name"] == name]
        yield home, {key: volume[key] for key in volume if key != "name"}


def test_home_when_no_volume_is_named_then_each_pod_may_write_to_its_own(fleet):
    document = ray_job(fleet, namespace="lab", entrypoint="pmx sweep")
    assert list(homes_of(document)) == [("/var/pmx", {"emptyDir": {}})] * 4
    assert "goes with it,\n# with reports" in as_yaml([document])


def test_home_when_a_volume_is_named_then_every_pod_has_it_and_keeps_its_modes(fleet):
    document = ray_service(kept(fleet), namespace="lab", serve_config=SERVE)
    claimed = {"persistentVolumeClaim": {"claimName": "pmx-home"}}
    assert list(homes_of(document)) == [("/var/pmx", claimed)] * 4
    # a new pod would make files of mode 0600 readable to their group, and the service refuses those
    guards = [template["spec"]["securityContext"] for template in parts_of(document, "template")]
    assert [guard["fsGroupChangePolicy"] for guard in guards] == ["OnRootMismatch"] * 4
    assert "is the PersistentVolumeClaim pmx-home. Make it first" in as_yaml([document])


@pytest.mark.parametrize("volume", ["Pmx", "a/b", "", "a\n"])
def test_volume_when_not_a_claims_name_then_refused(fleet, volume):
    with pytest.raises(SettingsError, match=r"claimName: must be at most 63"):
        ray_cluster(fleet.model_copy(update={"volume": volume}), namespace="lab")


def test_secrets_when_there_are_more_then_read_by_reference_if_they_are_there(fleet):
    document = ray_cluster(fleet, namespace="lab")
    reference = [{"secretRef": {"name": "fleet-settings", "optional": True}}]
    assert parts_of(document, "envFrom") == [reference] * 4
    assert "secret generic fleet-settings --from-env-file=FILE" in as_yaml([document])


@pytest.mark.parametrize(
    ("http", "said"),
    [
        ({"host": "127.0.0.1"}, "host is 127.0.0.1; inside a pod write 0.0.0.0"),
        ({"host": "0.0.0.0", "port": 8001}, "port is 8001, .*ports.serve is 8000"),
    ],
)
def test_service_when_it_could_not_be_reached_then_refused(fleet, http, said):
    with pytest.raises(SettingsError, match=said):
        ray_service(kept(fleet), namespace="lab", serve_config=SERVE | {"http_options": http})


def test_service_when_serve_takes_its_own_port_then_the_topology_must_have_it_too():
    bare = {"applications": SERVE["applications"]}
    elsewhere = Topology(name="lab", ports=Ports(serve=8080))
    with pytest.raises(SettingsError, match=r"port is 8000, .*ports.serve is 8080"):
        ray_service(elsewhere, namespace="lab", serve_config=bare)
    assert ray_service(kept(Topology(name="lab")), namespace="lab", serve_config=bare)


def test_manifests_when_asked_for_then_the_policy_and_one_more(fleet):
    def kinds(**more):
        return [document["kind"] for document in manifests(kept(fleet), namespace="lab", **more)]

    assert kinds() == ["NetworkPolicy", "RayCluster"]
    assert kinds(entrypoint="pmx sweep") == ["NetworkPolicy", "RayJob"]
    assert kinds(serve_config=SERVE) == ["NetworkPolicy", "RayService"]
    with pytest.raises(SettingsError, match="both given"):
        kinds(entrypoint="pmx sweep", serve_config=SERVE)


def test_yaml_when_read_back_then_the_same_documents(fleet):
    documents = every(fleet)
    text = as_yaml(documents)
    assert list(yaml.safe_load_all(text)) == documents
    assert "&id" not in text


def test_head_alone_when_rendered_then_accepted():
    document = ray_cluster(Topology(name="lab", head=Head(slots=2)), namespace="lab")
    assert document["spec"]["workerGroupSpecs"] == []


BOUNDED = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@BOUNDED
@given(data=st.data())
def test_any_topology_when_rendered_then_ray_reads_the_same_nodes(topologies, data):
    topology = data.draw(topologies)
    documents = every(topology)  # each passes the strict models
    kinds = _derive_autoscaling_config_from_ray_cr(documents[0])["available_node_types"]
    assert len(kinds) == 1 + len(topology.groups)
    for group in topology.groups:
        kind = kinds[group.name]
        assert kind["resources"]["CPU"] == group.cpus
        assert kind["resources"].get("GPU", 0) == group.gpus
        assert (kind["min_workers"], kind["max_workers"]) == (group.nodes, group.most)
        validate_node_label_syntax(kind["labels"])


@needs_crds
@BOUNDED
@given(data=st.data())
def test_any_topology_when_rendered_then_kuberays_own_schema_accepts(topologies, crd_faults, data):
    assert crd_faults(ray_cluster(data.draw(topologies), namespace="lab")) == []
