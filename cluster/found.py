"""What was found on this machine and in a cluster; the checks judge nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system.

    Attributes
    ----------
    folder : str
        A folder on it.
    free_bytes : int
        What this user may still write.
    total_bytes : int
        Its size.
    """

    folder: str
    free_bytes: int
    total_bytes: int

    @property
    def free_frac(self) -> float:
        """Part that is free, 0 to 1."""
        return self.free_bytes / self.total_bytes if self.total_bytes else 0.0


@dataclass(frozen=True, slots=True)
class TokenFile:
    """The file that holds a token, without what it holds.

    Attributes
    ----------
    path : str
        Of the file.
    mode : int
        Its permission bits.
    owner : int
        User id.
    folder_mode : int
        Permission bits of the folder around it.
    folder_owner : int
        User id.
    """

    path: str
    mode: int
    owner: int
    folder_mode: int
    folder_owner: int


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What is true of this machine and this process.

    Attributes
    ----------
    user : int
        User id of this process.
    token_place : str
        Where Ray looks for the token: a variable's name or a path.
    token_length : int, optional
        Characters of the token, 0 where there is none; None where it cannot be read.
    token_file : TokenFile, optional
        None where the token is in a variable or there is none.
    auth_mode : str, optional
        ``RAY_AUTH_MODE`` of this process.
    temp : Disk
        Of Ray's temporary folder.
    runs : Disk
        Of the folder of results.
    shm_free_bytes : int
        Of ``/dev/shm``; 0 where there is none.
    memory_bytes : int
        Of the machine.
    open_files : int
        Soft limit of this process.
    ray_version, python_version, pmx_version : str
        Of this process.
    bytecode_frac : float
        Part of Ray's own modules that have compiled bytecode, 0 to 1.
    """

    user: int
    token_place: str
    token_length: int | None
    token_file: TokenFile | None
    auth_mode: str | None
    temp: Disk
    runs: Disk
    shm_free_bytes: int
    memory_bytes: int
    open_files: int
    ray_version: str
    python_version: str
    pmx_version: str
    bytecode_frac: float


@dataclass(frozen=True, slots=True)
class NodeAnswer:
    """What a node says of itself.

    Attributes
    ----------
    ray_version, python_version : str
        Of its workers.
    pmx_version : str, optional
        None where a worker cannot import the package.
    skew_s : float
        Its clock minus this machine's, seconds; the least that the measurement allows.
    disk : Disk
        Of Ray's temporary folder.
    """

    ray_version: str
    python_version: str
    pmx_version: str | None
    skew_s: float
    disk: Disk


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """A node as the head knows it, and its own answer.

    Attributes
    ----------
    node_id, address : str
        Ray's id and the node's host.
    alive : bool
        Whether the head can reach it.
    is_head : bool
        Whether it is the head.
    labels : mapping of str to str
        Ray's and ours.
    resources : mapping of str to float
        What it offers.
    answer : NodeAnswer, optional
        None where it is dead or did not answer.
    silence : str
        Why there is no answer; empty where there is one.
    """

    node_id: str
    address: str
    alive: bool
    is_head: bool
    labels: Mapping[str, str]
    resources: Mapping[str, float]
    answer: NodeAnswer | None
    silence: str = ""


@dataclass(frozen=True, slots=True)
class Listening:
    """Where one port of the head listens.

    Attributes
    ----------
    port : int
    addresses : tuple of str, optional
        Of the head's interfaces; none where nobody listens, None where the head did not say.
    """

    port: int
    addresses: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class JobsApi:
    """Who gets in at a Jobs API.

    Attributes
    ----------
    url : str
        Of the dashboard.
    without_token, wrong_token, own_token : int, optional
        HTTP status; None where it did not answer or was not asked.
    """

    url: str
    without_token: int | None
    wrong_token: int | None
    own_token: int | None


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """A cluster as seen from this machine.

    Attributes
    ----------
    address : str
        Where it was joined, ``host:port``.
    api : JobsApi
        Of its dashboard.
    refusal : str
        Why it could not be joined; empty where it could.
    dashboard, gcs, serve : Listening
        Of the head.
    nodes : tuple of NodeFacts
        Empty where it could not be joined.
    """

    address: str
    api: JobsApi
    refusal: str
    dashboard: Listening
    gcs: Listening
    serve: Listening
    nodes: tuple[NodeFacts, ...]
