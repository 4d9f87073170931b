"""What a manifest may say: exactly the part of Kubernetes and KubeRay that is rendered.

Kubernetes drops a misspelt key in silence, and a limit or a policy with it. These models refuse it.
"""
# ruff: noqa: N815 - the names are Kubernetes' own

import re
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_DNS = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_PREFIX = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_QUANTITY = re.compile(r"([1-9][0-9]*)(m|Mi|Gi)?")

NAME_MOST = 47
"""Letters of a job's or service's name; KubeRay adds to it and Kubernetes bears no more."""


def _dns_label(word: str) -> str:
    if not _DNS.fullmatch(word):
        raise ValueError(
            "must be at most 63 small letters, digits and hyphens, a letter first and no hyphen "
            "last"
        )
    return word


def _short(word: str) -> str:
    if len(word) > NAME_MOST:
        raise ValueError(f"has {len(word)} letters; KubeRay bears {NAME_MOST}")
    return word


def _label_value(word: str) -> str:
    if not _LABEL.fullmatch(word):
        raise ValueError("must be at most 63 letters, digits and ._- as a label's value")
    return word


def _label_key(word: str) -> str:
    prefix, slash, name = word.rpartition("/")
    if not _LABEL.fullmatch(name) or (slash and not _PREFIX.fullmatch(prefix)):
        raise ValueError("must be letters, digits and ._- as a label's key, e.g. team or a.org/b")
    return word


def _quantity(word: str) -> str:
    if not _QUANTITY.fullmatch(word):
        raise ValueError("must be a whole amount above 0, e.g. 4 or 512Mi")
    return word


DnsLabel: TypeAlias = Annotated[str, AfterValidator(_dns_label)]
ClusterName: TypeAlias = Annotated[str, AfterValidator(_dns_label), AfterValidator(_short)]
Quantity: TypeAlias = Annotated[str, AfterValidator(_quantity)]
Labels: TypeAlias = dict[
    Annotated[str, AfterValidator(_label_key)], Annotated[str, AfterValidator(_label_value)]
]
Port: TypeAlias = Annotated[int, Field(ge=1, le=65535)]


class Part(BaseModel):
    """Base of every part: no unknown key, no value turned into another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class NodeLabels(Part):
    """Labels of a node, as Ray and Kubernetes both take them."""

    labels: Labels


class Metadata(Part):
    """Name and place of an object."""

    name: ClusterName
    namespace: DnsLabel
    labels: Labels


class PodMetadata(Part):
    """Of a pod that an object makes; Kubernetes gives it its name."""

    labels: Labels


class SecretKey(Part):
    """One key of a Secret."""

    name: DnsLabel
    key: str


class ValueFrom(Part):
    """Where an environment variable's value is read."""

    secretKeyRef: SecretKey


class EnvVar(Part):
    """One environment variable, by value or from a Secret."""

    name: str
    value: str | None = None
    valueFrom: ValueFrom | None = None

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if (self.value is None) == (self.valueFrom is None):
            raise ValueError(f"{self.name} needs a value or a valueFrom, and not both")
        if "TOKEN" in self.name and self.value is not None:
            raise ValueError(f"{self.name} holds a secret; name it by valueFrom.secretKeyRef")
        return self


class SecretName(Part):
    """A Secret that there may be."""

    name: DnsLabel
    optional: Literal[True]


class EnvFrom(Part):
    """A Secret whose every key is an environment variable."""

    secretRef: SecretName


class Resources(Part):
    """What a container may take; it is given all of it, so that no neighbour can take it away."""

    requests: dict[Literal["cpu", "memory", "nvidia.com/gpu"], Quantity]
    limits: dict[Literal["cpu", "memory", "nvidia.com/gpu"], Quantity]

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if self.requests != self.limits or not {"cpu", "memory"} <= set(self.limits):
            raise ValueError("requests and limits must be the same, with cpu and memory in them")
        return self


class Capabilities(Part):
    """Rights beyond a plain user's: none."""

    drop: list[Literal["ALL"]] = Field(min_length=1)


class ContainerSecurity(Part):
    """What a container's programs may not do."""

    allowPrivilegeEscalation: Literal[False]
    capabilities: Capabilities
    runAsNonRoot: Literal[True]


class SealedSecurity(ContainerSecurity):
    """As well, the image's own files stay as they are."""

    readOnlyRootFilesystem: Literal[True]


class Seccomp(Part):
    """Which calls of the kernel are open."""

    type: Literal["RuntimeDefault"]


class PodSecurity(Part):
    """As whom a pod runs."""

    runAsNonRoot: Literal[True]
    runAsUser: int = Field(ge=1)
    fsGroup: int = Field(ge=1)
    fsGroupChangePolicy: Literal["OnRootMismatch"]
    seccompProfile: Seccomp


class ContainerPort(Part):
    """A port that has a name."""

    name: str = Field(max_length=15)
    containerPort: Port


class VolumeMount(Part):
    """Where a volume is seen."""

    name: DnsLabel
    mountPath: str = Field(pattern="^/")


class EmptyDir(Part):
    """A folder that lives as long as its pod."""

    medium: Literal["Memory"] | None = None
    sizeLimit: Quantity | None = None


class Claim(Part):
    """A folder that outlives its pods."""

    claimName: DnsLabel


class Volume(Part):
    """A folder of a pod, its own or a claimed one."""

    name: DnsLabel
    emptyDir: EmptyDir | None = None
    persistentVolumeClaim: Claim | None = None

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if (self.emptyDir is None) == (self.persistentVolumeClaim is None):
            raise ValueError(f"{self.name} is an emptyDir or a persistentVolumeClaim, one of them")
        return self


class HttpGet(Part):
    """A page that answers 200 where all is well."""

    path: str = Field(pattern="^/")
    port: Port


class Probe(Part):
    """A question that a pod is asked time and again."""

    httpGet: HttpGet
    initialDelaySeconds: int = Field(ge=0)
    periodSeconds: int = Field(ge=1)
    timeoutSeconds: int = Field(ge=1)
    failureThreshold: int = Field(ge=1)


class Container(Part):
    """One container; limits and security are not left out."""

    name: DnsLabel
    image: str = Field(min_length=1)
    env: list[EnvVar]
    envFrom: list[EnvFrom] | None = None
    resources: Resources
    securityContext: SealedSecurity
    ports: list[ContainerPort] | None = None
    volumeMounts: list[VolumeMount] | None = None
    readinessProbe: Probe | None = None


class Toleration(Part):
    """A taint of a node that a pod bears."""

    key: str
    operator: Literal["Equal", "Exists"]
    value: str | None = None
    effect: Literal["NoSchedule"]


class PodSpec(Part):
    """One pod."""

    automountServiceAccountToken: bool
    securityContext: PodSecurity
    containers: list[Container] = Field(min_length=1, max_length=1)
    volumes: list[Volume] | None = None
    nodeSelector: Labels | None = None
    tolerations: list[Toleration] | None = None
    restartPolicy: Literal["Never"] | None = None


class PodTemplate(Part):
    """A pod to be made."""

    metadata: PodMetadata
    spec: PodSpec


HeadParameter: TypeAlias = Literal[
    "port",
    "ray-client-server-port",
    "dashboard-host",
    "dashboard-port",
    "metrics-export-port",
    "num-cpus",
    "memory",
    "object-store-memory",
    "disable-usage-stats",
]
WorkerParameter: TypeAlias = Literal[
    "metrics-export-port", "object-store-memory", "disable-usage-stats"
]


class HeadGroup(Part):
    """The head's pod."""

    rayStartParams: dict[HeadParameter, str]
    labels: Labels
    template: PodTemplate


class WorkerGroup(Part):
    """Like pods; KubeRay takes resources here or in ``rayStartParams``, never in both."""

    groupName: DnsLabel
    replicas: int = Field(ge=0)
    minReplicas: int = Field(ge=0)
    maxReplicas: int = Field(ge=0)
    rayStartParams: dict[WorkerParameter, str]
    resources: dict[str, Quantity]
    labels: Labels
    template: PodTemplate

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if not self.minReplicas <= self.replicas <= self.maxReplicas:
            raise ValueError(
                f"replicas is {self.replicas}; it must lie between minReplicas, "
                f"{self.minReplicas}, and maxReplicas, {self.maxReplicas}"
            )
        return self


class AutoscalerOptions(Part):
    """Of the container that adds and removes pods."""

    version: Literal["v2"]
    idleTimeoutSeconds: int = Field(ge=1)
    resources: Resources
    securityContext: ContainerSecurity


class AuthOptions(Part):
    """How requests prove themselves, to the cluster and to KubeRay's operator alike."""

    mode: Literal["token"]
    secretName: DnsLabel


class ClusterSpec(Part):
    """One Ray cluster."""

    rayVersion: str = Field(pattern=r"^\d+\.\d+\.\d+")
    authOptions: AuthOptions
    enableInTreeAutoscaling: bool
    autoscalerOptions: AutoscalerOptions | None = None
    headGroupSpec: HeadGroup
    workerGroupSpecs: list[WorkerGroup]

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if self.enableInTreeAutoscaling != (self.autoscalerOptions is not None):
            raise ValueError("autoscalerOptions stand with enableInTreeAutoscaling, and only then")
        if self.headGroupSpec.template.spec.automountServiceAccountToken != (
            self.enableInTreeAutoscaling
        ):
            raise ValueError("the head has a service account's token where it scales, only there")
        return self


class RayCluster(Part):
    """A cluster that stays."""

    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayCluster"]
    metadata: Metadata
    spec: ClusterSpec


class JobSpec(Part):
    """One job, on a cluster of its own."""

    entrypoint: str = Field(min_length=1)
    shutdownAfterJobFinishes: Literal[True]
    ttlSecondsAfterFinished: int = Field(ge=0)
    submissionMode: Literal["K8sJobMode"]
    submitterPodTemplate: PodTemplate
    rayClusterSpec: ClusterSpec


class RayJob(Part):
    """A job and the cluster that lives as long."""

    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayJob"]
    metadata: Metadata
    spec: JobSpec


class ServiceSpec(Part):
    """Ray Serve, on a cluster of its own."""

    serveConfigV2: str = Field(min_length=1)
    rayClusterConfig: ClusterSpec

    @model_validator(mode="after")
    def _checked(self) -> Self:
        for group in self.rayClusterConfig.workerGroupSpecs:
            if group.template.spec.containers[0].readinessProbe is None:
                raise ValueError(
                    f"{group.groupName} has no readinessProbe; KubeRay's own asks by wget, which "
                    "the image lacks"
                )
        return self


class RayService(Part):
    """An endpoint and its cluster."""

    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayService"]
    metadata: Metadata
    spec: ServiceSpec


class Selector(Part):
    """Pods or namespaces by label; all of them where no label is named."""

    matchLabels: Labels | None = None


class Peer(Part):
    """Who may call; without a namespace, pods of the same one."""

    namespaceSelector: Selector | None = None
    podSelector: Selector


class PolicyPort(Part):
    """A port that may be called."""

    protocol: Literal["TCP"]
    port: Port


class Ingress(Part):
    """Who may call which ports; every port where none is named."""

    callers: list[Peer] = Field(alias="from", min_length=1)
    ports: list[PolicyPort] | None = Field(default=None, min_length=1)


class PolicySpec(Part):
    """Which pods are guarded, and who may call them."""

    podSelector: Selector
    policyTypes: list[Literal["Ingress"]] = Field(min_length=1)
    ingress: list[Ingress]


class NetworkPolicy(Part):
    """Who may call the cluster's pods."""

    apiVersion: Literal["networking.k8s.io/v1"]
    kind: Literal["NetworkPolicy"]
    metadata: Metadata
    spec: PolicySpec


Manifest: TypeAlias = RayCluster | RayJob | RayService | NetworkPolicy
MODELS: dict[str, type[Manifest]] = {
    "RayCluster": RayCluster,
    "RayJob": RayJob,
    "RayService": RayService,
    "NetworkPolicy": NetworkPolicy,
}
"""By ``kind``."""
