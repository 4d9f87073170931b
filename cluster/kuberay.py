"""A topology as Kubernetes objects for KubeRay: a cluster, a job or a service, and their policy.

The access token is in none of them. Pods and KubeRay's operator read it from a Secret that is made
once with `kubectl`; the rendered file's first lines say how. ``authOptions.secretName`` asks for a
KubeRay that knows it.

Inside a pod the dashboard listens on every address, whatever the topology says: the Service that
leads to it could not reach loopback. The network policy takes loopback's place. It lets in the
cluster's own pods, pods of the namespace with the label ``pmx-access: "true"``, and KubeRay's
operator, which asks the dashboard how jobs and services fare.

Images stay read-only; programs write to ``/tmp``, ``/tmp/ray`` and ``/dev/shm``, which go with the
pod, and to ``PMX_HOME``: the topology's volume, or a folder that goes with the pod as well. Blocks
go to a bucket. A service asks for the volume: tokens and models are there.

Other secrets, such as the ledger's address, the key that signs models and a bucket's keys, are
variables in a second Secret; a cluster comes up without it.

In a service each node that has a replica answers requests. A worker's pod is ready, and called by
the Service that leads to them, as long as its own proxy is well. KubeRay's own question to workers
is put by ``wget``, which the image lacks.

A spot group runs on nodes with Karpenter's label ``karpenter.sh/capacity-type: spot``.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import PurePosixPath
from typing import Any

import yaml

from cluster.commands import GIB, OBJECTS_FRAC, WORKERS_FRAC, environment
from cluster.manifest_models import MODELS
from cluster.ray_up import shared_memory_mib
from cluster.topology import GROUP_LABEL, Head, NodeGroup, Ports, Topology, system_config
from pmx_ray.config import parse, suggestion
from pmx_ray.errors import SettingsError

CLUSTER_LABEL = "pmx-cluster"
"""Label of every pod of a topology; a job's cluster has a name of KubeRay's making."""

ACCESS_LABEL = {"pmx-access": "true"}
"""Label of pods that may call a cluster's ports."""

OPERATOR_LABEL = {"app.kubernetes.io/name": "kuberay-operator"}
"""Label of KubeRay's operator, as its own chart sets it."""

SPOT_LABEL = "karpenter.sh/capacity-type"
"""Label and taint of nodes that may be taken away."""

USER = 1000
"""Who runs the pods' programs; the image must let this user read the package."""

SCRATCH = "/tmp"  # noqa: S108 - a mount of its own in each pod
"""What a pod's programs may write to; their home as well."""

HOME = "/var/pmx"
"""What pods have as ``PMX_HOME``: the topology's volume, else a folder that goes with the pod."""

KEPT_S = 600
"""Seconds that a finished job's cluster is kept, for its logs."""


def ray_cluster(topology: Topology, *, namespace: str) -> dict[str, Any]:
    """Return the RayCluster of a topology.

    Parameters
    ----------
    topology : Topology
        Of the cluster.
    namespace : str
        Where it runs.

    Raises
    ------
    SettingsError
        If the lake is a folder, or a name or label is not one of Kubernetes'.
    """
    return _checked(
        {
            "apiVersion": "ray.io/v1",
            "kind": "RayCluster",
            "metadata": _metadata(topology, namespace),
            "spec": _cluster_spec(topology),
        }
    )


def ray_job(topology: Topology, *, namespace: str, entrypoint: str) -> dict[str, Any]:
    """Return a RayJob: the topology's cluster comes up, runs one command, and goes.

    Parameters
    ----------
    topology : Topology
        Of the cluster.
    namespace : str
        Where it runs.
    entrypoint : str
        Command that runs on the head.

    Raises
    ------
    SettingsError
        If the command is empty, or a name or label is not one of Kubernetes'.
    """
    if not entrypoint.strip():
        raise SettingsError("entrypoint is empty; write the job's command, e.g. pmx sweep ...")
    return _checked(
        {
            "apiVersion": "ray.io/v1",
            "kind": "RayJob",
            "metadata": _metadata(topology, namespace),
            "spec": {
                "entrypoint": entrypoint,
                "shutdownAfterJobFinishes": True,
                "ttlSecondsAfterFinished": KEPT_S,
                "submissionMode": "K8sJobMode",
                "submitterPodTemplate": _submitter(topology),
                "rayClusterSpec": _cluster_spec(topology),
            },
        }
    )


def ray_service(
    topology: Topology, *, namespace: str, serve_config: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a RayService: the topology's cluster with Ray Serve on it.

    Parameters
    ----------
    topology : Topology
        Of the cluster.
    namespace : str
        Where it runs.
    serve_config : mapping
        As ``serve deploy`` takes it; it goes in as it is.

    Raises
    ------
    SettingsError
        If Serve would listen where the Service cannot reach it, or not on every node, its root is
        on no volume, or a name or label is not one of Kubernetes'.
    """
    _check_reachable(serve_config, topology.ports)
    _check_proxies(serve_config)
    _check_root(serve_config, topology.volume)
    return _checked(
        {
            "apiVersion": "ray.io/v1",
            "kind": "RayService",
            "metadata": _metadata(topology, namespace),
            "spec": {
                "serveConfigV2": _yaml(dict(serve_config)),
                "rayClusterConfig": _cluster_spec(topology, serves=True),
            },
        }
    )


def serve_in_pods(serve_config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a Serve config that listens where the pods' Service reaches it, in every pod of it.

    Parameters
    ----------
    serve_config : mapping
        As ``serve deploy`` takes it on one machine, where it listens on loopback.
    """
    http = {**(serve_config.get("http_options") or {}), "host": "0.0.0.0"}  # noqa: S104 - guarded by the policy
    return {**serve_config, "proxy_location": "EveryNode", "http_options": http}


def network_policy(topology: Topology, *, namespace: str) -> dict[str, Any]:
    """Return who may call the cluster's pods; everyone else is turned away.

    What the pods call is not limited: blocks go to a bucket.

    Parameters
    ----------
    topology : Topology
        Of the cluster.
    namespace : str
        Where it runs.

    Raises
    ------
    SettingsError
        If the namespace is not one of Kubernetes'.
    """
    ports = topology.ports
    pods = {"matchLabels": _own_label(topology)}
    operator = {"namespaceSelector": {}, "podSelector": {"matchLabels": dict(OPERATOR_LABEL)}}
    return _checked(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": _metadata(topology, namespace),
            "spec": {
                "podSelector": pods,
                "policyTypes": ["Ingress"],
                "ingress": [
                    {"from": [{"podSelector": pods}]},
                    {
                        "from": [{"podSelector": {"matchLabels": dict(ACCESS_LABEL)}}],
                        "ports": _tcp(ports.dashboard, ports.client, ports.metrics, ports.serve),
                    },
                    {"from": [operator], "ports": _tcp(ports.dashboard, ports.serve)},
                ],
            },
        }
    )


def manifests(
    topology: Topology,
    *,
    namespace: str,
    entrypoint: str | None = None,
    serve_config: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Return all objects of a topology: the policy first, then what it guards.

    Parameters
    ----------
    topology : Topology
        Of the cluster.
    namespace : str
        Where it runs.
    entrypoint : str, optional
        Makes it a job.
    serve_config : mapping, optional
        Makes it a service. Without either, the cluster stays until it is deleted.

    Raises
    ------
    SettingsError
        If both are given, or as ``ray_cluster``, ``ray_job`` and ``ray_service`` say.
    """
    policy = network_policy(topology, namespace=namespace)
    if entrypoint is not None and serve_config is not None:
        raise SettingsError("entrypoint and serve_config are both given; a job serves nothing")
    if entrypoint is not None:
        return [policy, ray_job(topology, namespace=namespace, entrypoint=entrypoint)]
    if serve_config is not None:
        return [policy, ray_service(topology, namespace=namespace, serve_config=serve_config)]
    return [policy, ray_cluster(topology, namespace=namespace)]


def check_manifest(document: Mapping[str, Any]) -> None:
    """Refuse a manifest with a key or value that is never rendered.

    Raises
    ------
    SettingsError
        With the key, and the nearest known one.
    """
    kind = str(document.get("kind"))
    if kind not in MODELS:
        raise SettingsError(f"manifest: unknown kind '{kind}'{suggestion(kind, list(MODELS))}")
    parse(MODELS[kind], document, where=kind)


def as_yaml(documents: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of manifests, with the command that makes their Secret.

    Raises
    ------
    SettingsError
        If one of them is not as rendered here.
    """
    for document in documents:
        check_manifest(document)
    metadata = documents[0]["metadata"]
    name = metadata["labels"][CLUSTER_LABEL]
    header = (
        "# The access token is not in this file. Make its Secret once, from your own token:\n"
        f"#   tr -d '\\n' < ~/.ray/auth_token | kubectl --namespace {metadata['namespace']} "
        f"create secret generic {_secret(name)} --from-file=auth_token=/dev/stdin\n"
        f"# Other secrets are read from {_settings(name)}, if you make it: PMX_LEDGER_URL,\n"
        "# PMX_SIGNING_KEY, AWS_ACCESS_KEY_ID and the like, a line each of a file of your own:\n"
        f"#   kubectl --namespace {metadata['namespace']} create secret generic {_settings(name)} "
        "--from-env-file=FILE\n"
    )
    clusters = [document for document in documents if document["kind"] != "NetworkPolicy"]
    if clusters:
        header += _said_of_home(clusters[0])
    return header + "---\n".join(_yaml(dict(document)) for document in documents)


class _PlainDumper(yaml.SafeDumper):
    """Writes a value out each time: people read these files, and anchors hide what is where."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the base class's signature
        return True


def _yaml(document: dict[str, Any]) -> str:
    text: str = yaml.dump(document, Dumper=_PlainDumper, sort_keys=False, width=1000)
    return text


def _checked(document: dict[str, Any]) -> dict[str, Any]:
    check_manifest(document)
    return document


def _check_reachable(serve_config: Mapping[str, Any], ports: Ports) -> None:
    http = serve_config.get("http_options") or {}
    host, port = http.get("host", "0.0.0.0"), http.get("port", 8000)  # noqa: S104 - Serve's own
    if host != "0.0.0.0":  # noqa: S104 - guarded by the policy
        raise SettingsError(
            f"serve config: http_options.host is {host}; inside a pod write 0.0.0.0, or the "
            "Service cannot reach it. The network policy keeps others out"
        )
    if port != ports.serve:
        raise SettingsError(
            f"serve config: http_options.port is {port}, and the topology's ports.serve is "
            f"{ports.serve}; write the same in both"
        )


def _check_proxies(serve_config: Mapping[str, Any]) -> None:
    where = serve_config.get("proxy_location", "EveryNode")
    if where != "EveryNode":
        raise SettingsError(
            f"serve config: proxy_location is {where}; for pods write EveryNode, or those of "
            "workers never become ready: each is asked whether its own proxy is well"
        )


def _check_root(serve_config: Mapping[str, Any], volume: str | None) -> None:
    """Refuse a service whose tokens, models and sweeps would be in no pod."""
    if volume is None:
        raise SettingsError(
            "volume is not set; the service would find no tokens, models or sweeps in its pods. "
            "Name a PersistentVolumeClaim in the topology, e.g. volume: pmx-home"
        )
    for application in serve_config.get("applications") or []:
        root = (application.get("args") or {}).get("root")
        if root is not None and not PurePosixPath(str(root)).is_relative_to(HOME):
            raise SettingsError(
                f"serve config: root of {application.get('name')} is {root}, which pods do not "
                f"have; leave it out, or name a folder in {HOME}, where the volume is"
            )


def _secret(name: str) -> str:
    return f"{name}-token"


def _settings(name: str) -> str:
    return f"{name}-settings"


def _said_of_home(cluster: Mapping[str, Any]) -> str:
    """Return the lines that say whether what is written to ``PMX_HOME`` is kept."""
    spec = cluster["spec"]
    spec = spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec
    volumes = spec["headGroupSpec"]["template"]["spec"]["volumes"]
    [home] = [volume for volume in volumes if volume["name"] == "home"]
    if "persistentVolumeClaim" not in home:
        return (
            f"# No volume is named: $PMX_HOME, {HOME}, is each pod's own and goes with it,\n"
            "# with reports and leaderboards. To keep them, name a claim: volume: pmx-home\n"
        )
    return (
        f"# $PMX_HOME, {HOME}, is the PersistentVolumeClaim "
        f"{home['persistentVolumeClaim']['claimName']}. Make it first, with the access mode\n"
        "# ReadWriteMany where there are several machines. Then the ledger belongs in PostgreSQL,\n"
        "# PMX_LEDGER_URL: SQLite needs a disk of its own machine.\n"
    )


def _own_label(topology: Topology) -> dict[str, str]:
    return {CLUSTER_LABEL: topology.name}


def _metadata(topology: Topology, namespace: str) -> dict[str, Any]:
    return {"name": topology.name, "namespace": namespace, "labels": _own_label(topology)}


def _tcp(*ports: int) -> list[dict[str, Any]]:
    return [{"protocol": "TCP", "port": port} for port in ports]


def _check_lake(topology: Topology) -> None:
    if topology.lake is not None and "://" not in topology.lake:
        raise SettingsError(
            f"lake is {topology.lake}; pods share no folder and lose their own, so name a bucket, "
            "e.g. s3://your-bucket/pmx"
        )


def _cluster_spec(topology: Topology, *, serves: bool = False) -> dict[str, Any]:
    _check_lake(topology)
    scales = _scales(topology)
    return {
        "rayVersion": version("ray"),
        # KubeRay's operator shows this token too; without it, it could not ask the dashboard.
        "authOptions": {"mode": "token", "secretName": _secret(topology.name)},
        "enableInTreeAutoscaling": scales,
        **({"autoscalerOptions": _autoscaler(topology)} if scales else {}),
        "headGroupSpec": _head_group(topology),
        "workerGroupSpecs": [
            _worker_group(topology, group, serves=serves) for group in topology.groups
        ],
    }


def _scales(topology: Topology) -> bool:
    return any(group.most > group.nodes for group in topology.groups)


def _autoscaler(topology: Topology) -> dict[str, Any]:
    return {
        "version": "v2",
        "idleTimeoutSeconds": max(round(topology.idle_minutes * 60), 1),
        "resources": _resources("500m", "1Gi"),
        "securityContext": _container_security(),
    }


def _head_group(topology: Topology) -> dict[str, Any]:
    head, ports = topology.head, topology.ports
    health = {f"RAY_{name}": str(value) for name, value in system_config(topology).items()}
    container = {
        "name": "ray-head",
        "image": topology.image,
        "env": _environment(topology, health),
        "envFrom": _other_secrets(topology),
        "resources": _resources(str(head.cpus), _mebibytes(head.memory_gib)),
        "securityContext": _sealed(),
        "ports": _named_ports(
            {
                "gcs-server": ports.gcs,
                "dashboard": ports.dashboard,
                "client": ports.client,
                "metrics": ports.metrics,
                "serve": ports.serve,
            }
        ),
        "volumeMounts": _mounts(),
    }
    return {
        "rayStartParams": {
            "port": str(ports.gcs),
            "ray-client-server-port": str(ports.client),
            "dashboard-host": "0.0.0.0",  # noqa: S104 - guarded by the policy
            "dashboard-port": str(ports.dashboard),
            "num-cpus": str(head.slots),
            "memory": str(int(head.memory_gib * GIB * WORKERS_FRAC)),
            **_every_node(topology, head),
        },
        "labels": {GROUP_LABEL: "head"},
        "template": _pod(topology, container, head.memory_gib, account_token=_scales(topology)),
    }


def _worker_group(topology: Topology, group: NodeGroup, *, serves: bool) -> dict[str, Any]:
    _check_labels(group)
    ports = topology.ports
    container = {
        "name": "ray-worker",
        "image": topology.image,
        "env": _environment(topology, {}),
        "envFrom": _other_secrets(topology),
        "resources": _resources(str(group.cpus), _mebibytes(group.memory_gib), group.gpus),
        "securityContext": _sealed(),
        "ports": _named_ports({"metrics": ports.metrics, "serve": ports.serve}),
        "volumeMounts": _mounts(),
        **({"readinessProbe": _proxy_probe(ports)} if serves else {}),
    }
    template = _pod(topology, container, group.memory_gib, account_token=False)
    template["spec"].update(_placement(group))
    accelerator = {f"accelerator_type:{group.accelerator}": "1"} if group.accelerator else {}
    return {
        "groupName": group.name,
        "replicas": group.nodes,
        "minReplicas": group.nodes,
        "maxReplicas": group.most,
        "rayStartParams": _every_node(topology, group),
        "resources": {
            "CPU": str(group.cpus),
            "memory": str(int(group.memory_gib * GIB * WORKERS_FRAC)),
            **({"GPU": str(group.gpus)} if group.gpus else {}),
            **accelerator,
        },
        "labels": group.all_labels,
        "template": template,
    }


def _check_labels(group: NodeGroup) -> None:
    """Refuse labels that the policy reads: KubeRay puts a group's labels on its pods."""
    for label in (CLUSTER_LABEL, *ACCESS_LABEL):
        if label in group.labels:
            raise SettingsError(
                f"group {group.name} has the label {label}, by which the network policy tells "
                "pods apart; take another name"
            )


def _proxy_probe(ports: Ports) -> dict[str, Any]:
    """Return how a pod is asked whether it takes requests: of Serve's proxy, without a token."""
    return {
        "httpGet": {"path": "/-/healthz", "port": ports.serve},
        "initialDelaySeconds": 10,
        "periodSeconds": 5,
        "timeoutSeconds": 2,
        "failureThreshold": 1,
    }


def _every_node(topology: Topology, node: Head | NodeGroup) -> dict[str, str]:
    return {
        "metrics-export-port": str(topology.ports.metrics),
        "object-store-memory": str(int(node.memory_gib * GIB * OBJECTS_FRAC)),
        "disable-usage-stats": "true",
    }


def _placement(group: NodeGroup) -> dict[str, Any]:
    tolerations: list[dict[str, str]] = []
    placement: dict[str, Any] = {}
    if group.spot:
        placement["nodeSelector"] = {SPOT_LABEL: "spot"}
        spot = {"key": SPOT_LABEL, "operator": "Equal", "value": "spot", "effect": "NoSchedule"}
        tolerations.append(spot)
    if group.gpus:
        tolerations.append({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"})
    return {**placement, "tolerations": tolerations} if tolerations else placement


def _submitter(topology: Topology) -> dict[str, Any]:
    """Return the pod that hands the job in; KubeRay fills in its command."""
    container = {
        "name": "ray-job-submitter",
        "image": topology.image,
        "env": _token(topology),
        "resources": _resources("1", "1Gi"),
        "securityContext": _sealed(),
        "volumeMounts": [_scratch_mount()],
    }
    return {
        "metadata": {"labels": _own_label(topology)},
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": _pod_security(),
            "containers": [container],
            "volumes": [_scratch()],
            "restartPolicy": "Never",
        },
    }


def _pod(
    topology: Topology, container: dict[str, Any], memory_gib: float, *, account_token: bool
) -> dict[str, Any]:
    shared = {"medium": "Memory", "sizeLimit": f"{shared_memory_mib(memory_gib)}Mi"}
    return {
        "metadata": {"labels": _own_label(topology)},
        "spec": {
            "automountServiceAccountToken": account_token,
            "securityContext": _pod_security(),
            "containers": [container],
            # KubeRay gives its own sidecar the volume of this name, and both must see one folder.
            "volumes": [
                _scratch(),
                _home(topology),
                {"name": "shared-mem", "emptyDir": shared},
                {"name": "ray-logs", "emptyDir": {}},
            ],
        },
    }


def _scratch() -> dict[str, Any]:
    return {"name": "scratch", "emptyDir": {}}


def _scratch_mount() -> dict[str, str]:
    return {"name": "scratch", "mountPath": SCRATCH}


def _home(topology: Topology) -> dict[str, Any]:
    if topology.volume is None:
        return {"name": "home", "emptyDir": {}}
    return {"name": "home", "persistentVolumeClaim": {"claimName": topology.volume}}


def _mounts() -> list[dict[str, str]]:
    return [
        _scratch_mount(),
        {"name": "home", "mountPath": HOME},
        {"name": "shared-mem", "mountPath": "/dev/shm"},  # noqa: S108 - a mount of its own
        {"name": "ray-logs", "mountPath": "/tmp/ray"},  # noqa: S108 - a mount of its own
    ]


def _environment(topology: Topology, more: Mapping[str, str]) -> list[dict[str, Any]]:
    plain = {**environment(), "HOME": SCRATCH, "PMX_HOME": HOME, **more}
    plain.pop("RAY_AUTH_MODE")
    return [
        *_token(topology),
        *({"name": name, "value": value} for name, value in plain.items()),
    ]


def _other_secrets(topology: Topology) -> list[dict[str, Any]]:
    return [{"secretRef": {"name": _settings(topology.name), "optional": True}}]


def _token(topology: Topology) -> list[dict[str, Any]]:
    secret = {"name": _secret(topology.name), "key": "auth_token"}
    return [
        {"name": "RAY_AUTH_MODE", "value": "token"},
        {"name": "RAY_AUTH_TOKEN", "valueFrom": {"secretKeyRef": secret}},
    ]


def _named_ports(ports: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"name": name, "containerPort": port} for name, port in ports.items()]


def _resources(cpu: str, memory: str, gpus: int = 0) -> dict[str, Any]:
    amounts = {"cpu": cpu, "memory": memory, **({"nvidia.com/gpu": str(gpus)} if gpus else {})}
    return {"requests": amounts, "limits": dict(amounts)}


def _mebibytes(memory_gib: float) -> str:
    return f"{int(memory_gib * 1024)}Mi"


def _container_security() -> dict[str, Any]:
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
    }


def _sealed() -> dict[str, Any]:
    return {**_container_security(), "readOnlyRootFilesystem": True}


def _pod_security() -> dict[str, Any]:
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "fsGroup": USER,
        # Else each new pod would open the volume's tokens and keys to its group.
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
