"""A cluster of several nodes on this machine: real processes, real tokens.

Every node is a session of its own, and its processes stay in it, whatever they call themselves: so
a cluster, or one node of it, is found again and ended without touching another's. Nodes share
loopback, or have addresses of their own on a bridge. Ray keeps its files where nobody else may go.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeAlias

from cluster import namespaces, private_folder, sessions
from cluster.commands import NodeCommand, commands
from cluster.namespaces import Network
from cluster.topology import Topology
from pmx_ray.errors import ClusterError, SettingsError

Say: TypeAlias = Callable[[str], object]
Joined: TypeAlias = Callable[[str, int], object]

_started: list[subprocess.Popen[bytes]] = []
"""What this process started. Nodes outlive it; they are held so that those that end are reaped."""

HOST = "127.0.0.1"
MARK = "PMX_CLUSTER"
"""In the environment of the first process of each node: the cluster's name."""

HEAD_S = 120.0
"""Seconds that the head may take to listen."""

TRIES = 3
"""Times that a node is started until it has joined."""

STATE = "cluster.json"


@dataclass(frozen=True, slots=True)
class Running:
    """A cluster on this machine, as it was started.

    Attributes
    ----------
    name : str
        Of the topology.
    address : str
        Where drivers connect.
    dashboard : str
        URL of the dashboard and the jobs API.
    temp : str
        Ray's folder for it, in one that nobody else may enter.
    boot : str
        Which start of the machine it belongs to; ids of processes mean nothing after another.
    sessions : mapping of str to int
        Each node that was started, the head first, with its session.
    network : Network, optional
        The nodes' own addresses; None where all share loopback.
    """

    name: str
    address: str
    dashboard: str
    temp: str
    boot: str
    sessions: Mapping[str, int]
    network: Network | None = None


def clusters_folder(home: Path) -> Path:
    """Return where clusters of this machine are noted, one folder each."""
    return home / "clusters"


def running(home: Path, name: str) -> Running | None:
    """Return a cluster that was started here, whether or not its processes live; None if none was.

    Raises
    ------
    ClusterError
        If its note cannot be read.
    """
    path = clusters_folder(home) / name / STATE
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
        network = noted.pop("network", None)
        return Running(**noted, network=Network(**network) if network else None)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ClusterError(f"{path} cannot be read: {error}; remove it") from None


def names(home: Path) -> tuple[str, ...]:
    """Return the names of the clusters that were started here, sorted."""
    return tuple(sorted(path.parent.name for path in clusters_folder(home).glob(f"*/{STATE}")))


def up(
    topology: Topology, home: Path, *, joined: Joined, say: Say, span: str | None = None
) -> Running:
    """Start every node and return the cluster; where one does not start, none is left.

    Nodes start one after the other: two that start at once on one machine take each other's
    socket.

    Parameters
    ----------
    topology : Topology
        What to start; sizes are promises to Ray and not checked against this machine.
    home : Path
        Folder in which the cluster is noted.
    joined : callable
        Waits until so many nodes have joined the cluster at an address; raises ``ClusterError``
        where they do not.
    say : callable
        Takes lines for people.
    span : str, optional
        Private addresses of which each node gets one of its own, which only root can give; None
        where all share loopback.

    Raises
    ------
    SettingsError
        If a port is taken, or addresses of their own cannot be had.
    ClusterError
        If it is up already, or a node does not start, or others could reach Ray's folder.
    """
    before = running(home, topology.name)
    if before is not None and living(before):
        raise ClusterError(
            f"cluster {topology.name} is up already; end it with: pmx cluster down {topology.name}"
        )
    if before is not None and before.network is not None:
        namespaces.lift(before.network.number)
    for name, port in topology.ports.model_dump(exclude={"serve"}).items():
        _check_free(name, port)
    logs = clusters_folder(home) / topology.name / "logs"
    logs.mkdir(parents=True, exist_ok=True, mode=0o700)
    temp = private_folder.named(logs.parent)
    network = None if span is None else _network(topology, logs.parent, span)
    host = HOST if network is None else network.host
    started = _commands(topology, temp, network)
    made = Running(
        name=topology.name,
        address=f"{host}:{topology.ports.gcs}",
        dashboard=f"http://{HOST}:{topology.ports.dashboard}",
        temp=str(temp),
        boot=sessions.boot(),
        sessions={},
        network=network,
    )
    private_folder.make(temp)
    try:
        if network is not None:
            _note(logs.parent / STATE, made)  # so that what is laid can be lifted, come what may
            namespaces.lay(network)
        for n, command in enumerate(started):
            made = _joined(made, command, n + 1, logs=logs, joined=joined)
            _note(logs.parent / STATE, made)
            say(f"cluster: {n + 1} of {len(started)} nodes")
    except BaseException:
        down(running(home, topology.name) or made, home)
        raise
    say(f"cluster: head at {made.address}, dashboard {made.dashboard}")
    return made


def _joined(
    cluster: Running,
    command: NodeCommand,
    n: int,
    *,
    logs: Path,
    joined: Joined,
) -> Running:
    """Return the cluster with one more node in it; a raylet can die as it starts on a busy host."""
    log = logs / f"{command.node}.log"
    why = ""
    for _ in range(TRIES):
        process = _start(command, cluster, log)
        found = replace(cluster, sessions={**cluster.sessions, command.node: process.pid})
        _note(logs.parent / STATE, found)
        try:
            if n == 1:
                _await_head(process, cluster, log)
            joined(cluster.address, n)
        except ClusterError as error:
            why = str(error)
            sessions.end(pid for pid, node in living(found).items() if node == command.node)
            _reap()
        else:
            return found
    raise ClusterError(f"{why}, in {TRIES} tries; {command.node} says: {_last_line(log)}")


def start_again(
    cluster: Running, topology: Topology, node: str, home: Path, *, joined: Joined
) -> Running:
    """Start a node whose processes are gone, and return the cluster with it in its place.

    Parameters
    ----------
    cluster : Running
        As it was before.
    topology : Topology
        Of the cluster.
    node : str
        Its name.
    home : Path
        Folder in which the cluster is noted.
    joined : callable
        As for ``up``; waits for it beside the nodes that live.

    Raises
    ------
    ClusterError
        If it does not start, or others could reach Ray's folder.
    """
    private_folder.make(Path(cluster.temp))
    logs = clusters_folder(home) / cluster.name / "logs"
    (command,) = [
        c for c in _commands(topology, Path(cluster.temp), cluster.network) if c.node == node
    ]
    n = len(set(living(cluster).values()) | {node})
    made = _joined(cluster, command, n, logs=logs, joined=joined)
    _note(logs.parent / STATE, made)
    return made


def down(cluster: Running, home: Path) -> int:
    """End every process of a cluster and forget all but its logs; return how many there were."""
    found = living(cluster)
    sessions.end(sorted(found, key=lambda pid: found[pid] == "head"))  # the head last
    _reap()
    if cluster.network is not None:
        namespaces.lift(cluster.network.number)
    private_folder.remove(Path(cluster.temp))
    (clusters_folder(home) / cluster.name / STATE).unlink(missing_ok=True)
    return len(found)


def kill_node(cluster: Running, node: str) -> int:
    """Kill every process of one node at once, as a power cut would; return how many there were."""
    found = [pid for pid, of in living(cluster).items() if of == node]
    for pid in found:
        sessions.send(pid, signal.SIGKILL)
    return len(found)


def living(cluster: Running) -> Mapping[int, str]:
    """Return the processes of a cluster on this machine: process id to node."""
    if cluster.boot != sessions.boot():
        return {}
    there = sessions.members(cluster.sessions.values())
    mark, folder = f"{MARK}={cluster.name}", Path(cluster.temp)
    return {
        pid: node
        for node, session in cluster.sessions.items()
        if sessions.is_ours(session, there[session], mark=mark, folder=folder)
        for pid in there[session]
    }


def _network(topology: Topology, folder: Path, span: str) -> Network:
    """Return addresses for the nodes of the cluster that is noted in ``folder``."""
    namespaces.check_allowed()
    number = namespaces.number_of(folder)
    nodes = [command.node for command in commands(topology, host=HOST)]
    return namespaces.addressed(number, nodes, span=span, taken=namespaces.taken_here())


def _commands(topology: Topology, temp: Path, network: Network | None) -> list[NodeCommand]:
    """Return the commands for one machine: nodes may share its address, so that ports differ."""
    nodes = commands(topology, host=HOST if network is None else network.host)
    taken = set(topology.ports.model_dump().values())
    made = []
    for n, command in enumerate(nodes):
        agent = _free_port(taken)
        address = HOST if network is None else network.addresses[command.node]
        more = [
            "--block",
            f"--dashboard-agent-listen-port={agent}",
            "--min-worker-port=0",
            "--max-worker-port=0",
            # The others take the head's folder from the cluster, and refuse to be told.
            *([f"--temp-dir={temp}"] if n == 0 else [f"--node-ip-address={address}"]),
        ]
        made.append(NodeCommand(command.node, (*command.argv, *more), command.environment))
    return made


def _start(command: NodeCommand, cluster: Running, log: Path) -> subprocess.Popen[bytes]:
    program = Path(sys.executable).with_name(command.argv[0])
    inside = () if cluster.network is None else cluster.network.inside(command.node)
    environment = {
        **{key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"},
        **command.environment,
        MARK: cluster.name,
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*inside, str(program), *command.argv[1:]],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _started.append(process)
    return process


def _await_head(process: subprocess.Popen[bytes], cluster: Running, log: Path) -> None:
    """Wait until the head and its dashboard listen."""
    doors = [cluster.address, cluster.dashboard.removeprefix("http://")]
    until = time.monotonic() + HEAD_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise ClusterError(
                f"the head of {cluster.name} ended with {process.returncode}: {_last_line(log)}"
            )
        if all(_listens(door) for door in doors):
            return
        time.sleep(0.1)
    raise ClusterError(f"the head of {cluster.name} did not listen within {HEAD_S:.0f} s")


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


def _listens(door: str) -> bool:
    host, _, port = door.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1.0).close()
    except OSError:
        return False
    return True


def _check_free(name: str, port: int) -> None:
    if _listens(f"{HOST}:{port}"):
        raise SettingsError(f"port {port} is taken; name another with --set ports.{name}=PORT")


def _free_port(taken: set[int]) -> int:
    while True:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port: int = probe.getsockname()[1]
        if port not in taken:
            taken.add(port)
            return port


def _note(path: Path, cluster: Running) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(asdict(cluster), indent=1), encoding="utf-8")
    part.replace(path)


def _reap() -> None:
    _started[:] = [process for process in _started if process.poll() is None]
