"""Gather the facts: files and limits of this machine, and a cluster from outside and inside."""

import importlib.util
import os
import resource
import secrets
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from cluster.found import (
    ClusterFacts,
    Disk,
    JobsApi,
    Listening,
    MachineFacts,
    NodeFacts,
    TokenFile,
)
from pmx_ray import __version__
from pmx_ray.errors import SettingsError
from pmx_ray.place import default_root
from pmx_ray.provenance import library_version

HTTP_S = 5.0
"""For each answer of the Jobs API, and for the head's port to open."""

JOIN_S = 60.0
"""Joining takes 3 s on an idle machine; Ray by itself tries for minutes."""

ANSWER_S = 30.0
"""A node starts a worker to answer, 2 s on an idle machine."""

SERVE_PORT = 8000

SHM = Path("/dev/shm")  # noqa: S108 - Ray's object store, not a file of ours


class _Census(BaseModel):
    """As ``cluster.census`` writes it."""

    nodes: tuple[NodeFacts, ...]
    listening: dict[int, tuple[str, ...]] | None


def machine_facts(home: Path | None = None) -> MachineFacts:
    """Return the facts of this machine and this process; Ray is not imported.

    Parameters
    ----------
    home : Path, optional
        Folder of ``.ray/auth_token``; the user's home unless given.
    """
    place, length, file = _token(Path.home() if home is None else home)
    return MachineFacts(
        user=os.getuid(),
        token_place=place,
        token_length=length,
        token_file=file,
        auth_mode=os.environ.get("RAY_AUTH_MODE"),
        temp=_disk(_ray_temp_dir()),
        runs=_disk(default_root()),
        shm_free_bytes=shutil.disk_usage(SHM).free if SHM.is_dir() else 0,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        open_files=_open_files(),
        ray_version=library_version("ray"),
        python_version=sys.version.split()[0],
        pmx_version=__version__,
        bytecode_frac=_bytecode_frac(),
    )


def _token(home: Path) -> tuple[str, int | None, TokenFile | None]:
    """Return where Ray looks for the token, its length and its file, in Ray's order."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return "RAY_AUTH_TOKEN", len(os.environ["RAY_AUTH_TOKEN"].strip()), None
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = (Path(named).expanduser() if named else home / ".ray" / "auth_token").absolute()
    try:
        file, folder = path.stat(), path.parent.stat()
    except (FileNotFoundError, NotADirectoryError):
        return str(path), 0, None
    except PermissionError:
        return str(path), None, None
    found = TokenFile(
        path=str(path),
        mode=stat.S_IMODE(file.st_mode),
        owner=file.st_uid,
        folder_mode=stat.S_IMODE(folder.st_mode),
        folder_owner=folder.st_uid,
    )
    try:
        return str(path), len(path.read_bytes().strip()), found
    except OSError:
        return str(path), None, found


def _ray_temp_dir() -> Path:
    return Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp") / "ray"  # noqa: S108 - Ray's


def _disk(folder: Path) -> Disk:
    """Return the file system that a folder is on, or will be."""
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    usage = shutil.disk_usage(there)
    return Disk(str(folder), usage.free, usage.total)


def _open_files() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def _bytecode_frac() -> float:
    """Return which part of Ray's own modules is compiled for this interpreter."""
    spec = importlib.util.find_spec("ray")
    if spec is None or spec.origin is None:
        return 0.0
    sources = list((Path(spec.origin).parent / "_private").rglob("*.py"))
    compiled = [Path(importlib.util.cache_from_source(str(path))).exists() for path in sources]
    return sum(compiled) / len(compiled) if compiled else 0.0


def cluster_facts(
    address: str,
    *,
    dashboard_url: str,
    token: str | None,
    serve_port: int = SERVE_PORT,
    wait_s: float = ANSWER_S,
) -> ClusterFacts:
    """Return what a cluster shows from outside, and what its nodes say.

    Call it on a node of the cluster, best on the head: Ray joins from there only. What does not
    answer in time is a fact too; nothing is raised for it.

    Parameters
    ----------
    address : str
        ``host:port`` where nodes join.
    dashboard_url : str
        Of the Jobs API, e.g. ``http://127.0.0.1:8265``.
    token : str, optional
        Of the cluster.
    serve_port : int
        Where Serve would listen.
    wait_s : float
        For the nodes' answers.

    Raises
    ------
    SettingsError
        If an address is not written as it must be.
    """
    gcs_port, dashboard_port = _port(address, "//" + address), _port(dashboard_url, dashboard_url)
    census = _census(address, (dashboard_port, gcs_port, serve_port), token=token, wait_s=wait_s)
    refusal = census if isinstance(census, str) else ""
    listens = None if isinstance(census, str) else census.listening
    where = {port: Listening(port, None if listens is None else listens[port])
             for port in (dashboard_port, gcs_port, serve_port)}  # fmt: skip
    return ClusterFacts(
        address=address,
        api=jobs_api(dashboard_url, token=token),
        refusal=refusal,
        dashboard=where[dashboard_port],
        gcs=where[gcs_port],
        serve=where[serve_port],
        nodes=() if isinstance(census, str) else census.nodes,
    )


def _port(shown: str, url: str) -> int:
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        port = None
    if port is None or not parts.hostname:
        raise SettingsError(f"address '{shown}' has no host and port; write it as 127.0.0.1:6379")
    return port


def jobs_api(dashboard_url: str, *, token: str | None) -> JobsApi:
    """Return how a Jobs API treats callers without a token, with a wrong one and with ``token``."""
    return JobsApi(
        url=dashboard_url,
        without_token=_status(dashboard_url, None),
        wrong_token=_status(dashboard_url, secrets.token_hex(32)),
        own_token=_status(dashboard_url, token) if token else None,
    )


def _status(dashboard_url: str, token: str | None) -> int | None:
    """Return how the Jobs API answers, or None; a proxy of the environment is not asked."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        with httpx.Client(timeout=HTTP_S, trust_env=False) as client:
            return client.get(f"{dashboard_url.rstrip('/')}/api/jobs/", headers=headers).status_code
    except httpx.HTTPError:
        return None


def _census(
    address: str, ports: tuple[int, ...], *, token: str | None, wait_s: float
) -> _Census | str:
    """Return what the nodes say, or why nobody could be asked."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=HTTP_S).close()
    except OSError as error:
        return f"nobody listens there: {error}"
    limit_s = JOIN_S + wait_s
    command = [sys.executable, "-P", "-m", "cluster.census", address,
               ",".join(map(str, ports)), str(wait_s)]  # fmt: skip
    try:
        done = subprocess.run(
            command, env=_environment(token), cwd="/", capture_output=True, text=True,
            timeout=limit_s, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no answer within {limit_s:g} s"
    try:
        last = done.stdout.splitlines()[-1]
        return TypeAdapter(_Census).validate_json(last)
    except (IndexError, ValidationError):
        return _last_words(done.stderr, token)


def _environment(token: str | None) -> dict[str, str]:
    """Return the environment of the asking process: this one's, with the token if there is one."""
    environment = {**os.environ, "RAY_AUTH_MODE": "token"}
    if token is not None:
        environment["RAY_AUTH_TOKEN"] = token
    return environment


def _last_words(stderr: str, token: str | None) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    words = lines[-1] if lines else "the asking process ended without a word"
    return (words.replace(token, "(token)") if token else words)[:300]
