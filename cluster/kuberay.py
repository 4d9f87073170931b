"""A topology as Kubernetes objects for KubeRay: a cluster, a job or a service, and their policy.

The access token is in none of them. Pods and KubeRay's operator read it from a Secret that is made
once with `kubectl`; the rendered file's first lines say how. ``authOptions.secretName`` asks for a
KubeRay that knows it.

Inside a pod the dashboard listens on every address, whatever the topology says: the Service that
leads to it could not reach loopback. The network policy takes loopback's place. It lets in the
cluster's own pods, pods of the namespace with the label ``pmx-access: "true"``, and KubeRay's
operator, which asks the dashboard how jobs and services fare.

Blocks go to a bucket, and a service asks for a volume: tokens and models are there. What the pods
themselves are made of stands in ``cluster.pods``.

In a service each node that has a replica answers requests. A worker's pod is ready, and called by
the Service that leads to them, as long as its own proxy is well. KubeRay's own question to workers
is put by ``wget``, which the image lacks.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import PurePosixPath
from typing import Any

import yaml

from cluster.commands import GIB, OBJECTS_FRAC, WORKERS_FRAC
from cluster.manifest_models import MODELS
from cluster.pods import (
    CLUSTER_LABEL,
    HOME,
    head_pod,
    own_label,
    resources,
    settings_secret,
    submitter_pod,
    token_secret,
    unprivileged,
    worker_pod,
)
from cluster.topology import GROUP_LABEL, Head, NodeGroup, Ports, Topology
from pmx_ray.config import parse, suggestion
from pmx_ray.errors import SettingsError

ACCESS_LABEL = {"pmx-access": "true"}
"""Label of pods that may call a cluster's ports."""

OPERATOR_LABEL = {"app.kubernetes.io/name": "kuberay-operator"}
"""Label of KubeRay's operator, as its own chart sets it."""

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
                "submitterPodTemplate": submitter_pod(topology),
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
    pods = {"matchLabels": own_label(topology)}
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
        f"create secret generic {token_secret(name)} --from-file=auth_token=/dev/stdin\n"
        f"# Other secrets are read from {settings_secret(name)}, if you make it: PMX_LEDGER_URL,\n"
        "# PMX_SIGNING_KEY, AWS_ACCESS_KEY_ID and the like, a line each of a file of your own:\n"
        f"#   kubectl --namespace {metadata['namespace']} "
        f"create secret generic {settings_secret(name)} --from-env-file=FILE\n"
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


def _metadata(topology: Topology, namespace: str) -> dict[str, Any]:
    return {"name": topology.name, "namespace": namespace, "labels": own_label(topology)}


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
        "authOptions": {"mode": "token", "secretName": token_secret(topology.name)},
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
        "resources": resources("500m", "1Gi"),
        "securityContext": unprivileged(),
    }


def _head_group(topology: Topology) -> dict[str, Any]:
    head, ports = topology.head, topology.ports
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
        "template": head_pod(topology, account_token=_scales(topology)),
    }


def _worker_group(topology: Topology, group: NodeGroup, *, serves: bool) -> dict[str, Any]:
    _check_labels(group)
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
        "template": worker_pod(topology, group, serves=serves),
    }


def _check_labels(group: NodeGroup) -> None:
    """Refuse labels that the policy reads: KubeRay puts a group's labels on its pods."""
    for label in (CLUSTER_LABEL, *ACCESS_LABEL):
        if label in group.labels:
            raise SettingsError(
                f"group {group.name} has the label {label}, by which the network policy tells "
                "pods apart; take another name"
            )


def _every_node(topology: Topology, node: Head | NodeGroup) -> dict[str, str]:
    return {
        "metrics-export-port": str(topology.ports.metrics),
        "object-store-memory": str(int(node.memory_gib * GIB * OBJECTS_FRAC)),
        "disable-usage-stats": "true",
    }
