"""The pods of a topology: their containers, what they may write to, and secrets by reference.

Images stay read-only; programs write to ``/tmp``, ``/tmp/ray`` and ``/dev/shm``, which go with the
pod, and to ``PMX_HOME``: the topology's volume, or a folder that goes with the pod as well.

The access token is read from a Secret. Other secrets, such as the ledger's address, the key that
signs models and a bucket's keys, are variables in a second one; a pod comes up without it.

A spot group runs on nodes with Karpenter's label ``karpenter.sh/capacity-type: spot``.
"""

from collections.abc import Mapping
from typing import Any

from cluster.commands import environment
from cluster.ray_up import shared_memory_mib
from cluster.topology import NodeGroup, Ports, Topology, system_config

CLUSTER_LABEL = "pmx-cluster"
"""Label of every pod of a topology; a job's cluster has a name of KubeRay's making."""

SPOT_LABEL = "karpenter.sh/capacity-type"
"""Label and taint of nodes that may be taken away."""

USER = 1000
"""Who runs the pods' programs; the image must let this user read the package."""

SCRATCH = "/tmp"  # noqa: S108 - a mount of its own in each pod
"""What a pod's programs may write to; their home as well."""

HOME = "/var/pmx"
"""What pods have as ``PMX_HOME``: the topology's volume, else a folder that goes with the pod."""


def head_pod(topology: Topology, *, account_token: bool) -> dict[str, Any]:
    """Return the head's pod.

    Parameters
    ----------
    topology : Topology
        Of the cluster.
    account_token : bool
        Whether it may speak to Kubernetes, as an autoscaler must.
    """
    head, ports = topology.head, topology.ports
    health = {f"RAY_{name}": str(value) for name, value in system_config(topology).items()}
    container = {
        "name": "ray-head",
        "image": topology.image,
        "env": _environment(topology, health),
        "envFrom": _other_secrets(topology),
        "resources": resources(str(head.cpus), _mebibytes(head.memory_gib)),
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
    return _pod(topology, container, head.memory_gib, account_token=account_token)


def worker_pod(topology: Topology, group: NodeGroup, *, serves: bool) -> dict[str, Any]:
    """Return the pod of a group's nodes.

    Parameters
    ----------
    topology : Topology
        Of the cluster.
    group : NodeGroup
        The nodes'.
    serves : bool
        Whether it may have replicas of a service, and is asked whether it takes requests.
    """
    ports = topology.ports
    container = {
        "name": "ray-worker",
        "image": topology.image,
        "env": _environment(topology, {}),
        "envFrom": _other_secrets(topology),
        "resources": resources(str(group.cpus), _mebibytes(group.memory_gib), group.gpus),
        "securityContext": _sealed(),
        "ports": _named_ports({"metrics": ports.metrics, "serve": ports.serve}),
        "volumeMounts": _mounts(),
        **({"readinessProbe": _proxy_probe(ports)} if serves else {}),
    }
    template = _pod(topology, container, group.memory_gib, account_token=False)
    template["spec"].update(_placement(group))
    return template


def submitter_pod(topology: Topology) -> dict[str, Any]:
    """Return the pod that hands the job in; KubeRay fills in its command."""
    container = {
        "name": "ray-job-submitter",
        "image": topology.image,
        "env": _token(topology),
        "resources": resources("1", "1Gi"),
        "securityContext": _sealed(),
        "volumeMounts": [_scratch_mount()],
    }
    return {
        "metadata": {"labels": own_label(topology)},
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": _pod_security(),
            "containers": [container],
            "volumes": [_scratch()],
            "restartPolicy": "Never",
        },
    }


def token_secret(name: str) -> str:
    """Return the name of the Secret that holds the access token."""
    return f"{name}-token"


def settings_secret(name: str) -> str:
    """Return the name of the Secret that holds other secrets, as variables."""
    return f"{name}-settings"


def own_label(topology: Topology) -> dict[str, str]:
    """Return the label of every pod of a topology."""
    return {CLUSTER_LABEL: topology.name}


def resources(cpu: str, memory: str, gpus: int = 0) -> dict[str, Any]:
    """Return what a container asks for, which is also the most that it gets."""
    amounts = {"cpu": cpu, "memory": memory, **({"nvidia.com/gpu": str(gpus)} if gpus else {})}
    return {"requests": amounts, "limits": dict(amounts)}


def unprivileged() -> dict[str, Any]:
    """Return the rights of a container that needs none."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
    }


def _pod(
    topology: Topology, container: dict[str, Any], memory_gib: float, *, account_token: bool
) -> dict[str, Any]:
    shared = {"medium": "Memory", "sizeLimit": f"{shared_memory_mib(memory_gib)}Mi"}
    return {
        "metadata": {"labels": own_label(topology)},
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


def _proxy_probe(ports: Ports) -> dict[str, Any]:
    """Return how a pod is asked whether it takes requests: of Serve's proxy, without a token."""
    return {
        "httpGet": {"path": "/-/healthz", "port": ports.serve},
        "initialDelaySeconds": 10,
        "periodSeconds": 5,
        "timeoutSeconds": 2,
        "failureThreshold": 1,
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
    return [{"secretRef": {"name": settings_secret(topology.name), "optional": True}}]


def _token(topology: Topology) -> list[dict[str, Any]]:
    secret = {"name": token_secret(topology.name), "key": "auth_token"}
    return [
        {"name": "RAY_AUTH_MODE", "value": "token"},
        {"name": "RAY_AUTH_TOKEN", "valueFrom": {"secretKeyRef": secret}},
    ]


def _named_ports(ports: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"name": name, "containerPort": port} for name, port in ports.items()]


def _mebibytes(memory_gib: float) -> str:
    return f"{int(memory_gib * 1024)}Mi"


def _sealed() -> dict[str, Any]:
    return {**unprivileged(), "readOnlyRootFilesystem": True}


def _pod_security() -> dict[str, Any]:
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "fsGroup": USER,
        # Else each new pod would open the volume's tokens and keys to its group.
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
