"""Where a drill takes place: a folder, a token and processes of its own, ended with it."""

import contextlib
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import httpx
import yaml

from cluster import local
from cluster.drills import journal, planted
from cluster.drills.outcome import Outcome, read_outcome, sweep_folder
from cluster.topology import Head, NodeGroup, Ports, Topology
from pmx_ray.errors import ClusterError
from pmx_ray.lake import open_store

MARK = "PMX_DRILL"
"""In the environment of every process that a drill starts: which drill it belongs to."""

SLOTS = 3
"""Blocks that the cluster of a drill computes at once, one a node."""

PACE_S = 0.25
"""Seconds that a fit takes, so that a kill meets one under way."""

WAIT_S, LOOK_S = 300.0, 0.03
"""Seconds that anything may take, and between two looks whether it has come."""

JOIN_S = 150.0
"""Seconds that a node may take to join; its machine may be busy."""

SWEEP: dict[str, Any] = {
    "name": "drill",
    "panel": {
        "source": "simulated", "kind": "garch", "n_tickers": 10, "n_sessions": 330, "seed": 1,
    },
    "folds": {"input_size": 90, "step_size": 10, "steps": [1, 5], "refit_every": 4},
    "forecasters": [{"name": "drill_paced"}, {"name": "drift"}],
    "evaluation": {"n_resamples": 100},
    "execution": {"folds_per_block": 4, "tickers_per_block": 1},
    "plugins": ["cluster.drills.planted"],
}  # fmt: skip
"""60 blocks that take their time, and 120 that take none."""

N_PACED = 60


@dataclass(frozen=True, slots=True)
class Driver:
    """A `pmx sweep` that runs: its process, and what it writes where.

    Attributes
    ----------
    process : subprocess.Popen
        First of a session of its own.
    out : Path
        Folder of its sweep folder, and of its lake unless the settings name another.
    log : Path
        What it says.
    """

    process: "subprocess.Popen[bytes]"
    out: Path
    log: Path

    @property
    def n_done(self) -> int:
        """Blocks with a receipt in the lake beside its sweep folder."""
        return sum(1 for _ in (self.out / "lake" / "blocks").glob("*/*.json"))

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.process.poll() is not None

    @property
    def said(self) -> str:
        """The last lines that it said."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-2000:]

    def kill(self) -> None:
        """Kill it, if it lives, and every process that it started and that stayed in its group."""
        if self.process.poll() is None:  # the number of one that is gone may be a stranger's
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Ground:
    """A place for drills; use it as a context manager, which ends all that was started in it.

    Parameters
    ----------
    say : callable
        Takes lines for people.
    environment : mapping of str to str
        Of every process beside what this process has.
    settings : mapping
        What the sweep has otherwise than ``SWEEP``.
    """

    def __init__(
        self,
        *,
        say: local.Say,
        environment: Mapping[str, str] = {},
        settings: Mapping[str, Any] = {},
    ) -> None:
        self.say = say
        self.settings = {**SWEEP, **settings}
        self._more = dict(environment)
        self._drivers: list[Driver] = []
        self._cluster: local.Running | None = None
        self._mark = uuid4().hex
        self._n_started = 0

    def __enter__(self) -> Self:
        self.home = Path(tempfile.mkdtemp(prefix="pmx-drill-"))
        self.journal = self.home / "journal"
        self.journal.mkdir()
        token = self.home / "token"
        token.touch(mode=0o600)
        self._token = secrets.token_hex(32)
        token.write_text(self._token, encoding="ascii")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PMX_"))}
        self.environment = {
            **kept,
            "PATH": f"{Path(sys.executable).parent}:{kept.get('PATH', '')}",
            "PMX_HOME": str(self.home),
            "RAY_TMPDIR": str(self.home),
            "RAY_prestart_worker_first_driver": "0",  # workers have an environment of their own
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            journal.FOLDER: str(self.journal),
            planted.PACE: str(PACE_S),
            MARK: self._mark,
            **self._more,
        }
        (self.home / "sweep.yaml").write_text(yaml.safe_dump(self.settings), encoding="utf-8")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end_drivers()
        if self._cluster is not None:
            local.down(self._cluster, self.home)
        end_marked(self._mark)
        shutil.rmtree(self.home, ignore_errors=True)

    @property
    def cluster(self) -> local.Running:
        """The cluster; it is up."""
        if self._cluster is None:
            raise ClusterError("no cluster is up; start it first")
        return self._cluster

    def up(self, topology: Topology | None = None) -> None:
        """Start a cluster of a head and two workers, a slot each, unless told otherwise."""
        self.topology = topology or three_nodes()
        with as_environment(self.environment):
            self._cluster = local.up(self.topology, self.home, joined=self._joined, say=self.say)

    def down(self) -> None:
        """End the cluster."""
        if self._cluster is not None:
            local.down(self._cluster, self.home)
            self._cluster = None

    def mend(self) -> None:
        """Start every node of the cluster again that has no process left; else all of them."""
        try:
            self._mend()
        except ClusterError as error:
            self.say(f"drill: {error}; a new cluster takes its place")
            self.down()
            self.up()

    def _mend(self) -> None:
        there = set(local.living(self.cluster).values())
        for node in self.cluster.sessions:
            if node not in there:
                with as_environment(self.environment):
                    self._cluster = local.start_again(
                        self.cluster, self.topology, node, self.home, joined=self._joined
                    )

    def nodes(self) -> list[dict[str, Any]]:
        """Return every node that Ray knows of, dead ones among them, as its state API has them.

        Raises
        ------
        ClusterError
            If the dashboard does not answer.
        """
        try:
            answer = httpx.get(
                f"http://127.0.0.1:{self.topology.ports.dashboard}/api/v0/nodes?detail=true",
                headers={"Authorization": f"Bearer {self._token}"},
                timeout=10.0,
                trust_env=False,
            ).raise_for_status()
            found: list[dict[str, Any]] = answer.json()["data"]["result"]["result"]
        except (httpx.HTTPError, KeyError, TypeError, ValueError) as error:
            raise ClusterError(f"the dashboard does not say which nodes live: {error}") from None
        return found

    def _joined(self, address: str, n_nodes: int) -> None:
        def there() -> bool:
            try:
                alive = [node for node in self.nodes() if node["state"] == "ALIVE"]
            except ClusterError:  # the dashboard listens before it knows
                return False
            return len(alive) >= n_nodes

        wait_for(there, f"{n_nodes} nodes at {address}", limit_s=JOIN_S)

    def start(
        self,
        out: Path,
        *,
        address: str,
        assignments: Sequence[str] = (),
        environment: Mapping[str, str] = {},
    ) -> Driver:
        """Start `pmx sweep` and return it; what it says goes into a file.

        Parameters
        ----------
        out : Path
            Folder of the sweep folder.
        address : str
            Where blocks run.
        assignments : sequence of str
            Of settings, as ``--set`` takes them.
        environment : mapping of str to str
            Otherwise than of the ground.
        """
        self._n_started += 1
        out.mkdir(parents=True, exist_ok=True)
        log = self.home / f"driver-{self._n_started}.log"
        words = [word for one in assignments for word in ("--set", one)]
        pmx = Path(sys.executable).with_name("pmx")
        with log.open("wb") as file:
            process = subprocess.Popen(
                [str(pmx), "sweep", str(self.home / "sweep.yaml"), "--json",
                 "--address", address, "--out", str(out), *words],
                env={**self.environment, **environment},
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        driver = Driver(process, out, log)
        self._drivers.append(driver)
        return driver

    def expected(self) -> Outcome:
        """Return what the sweep comes to in one process, without harm and without waiting."""
        out = self.home / "expected"
        quiet = {journal.FOLDER: "", planted.PACE: "0", planted.HARM: ""}
        self.say("drill: the sweep in one process")
        driver = self.start(out, address="in-process", environment=quiet)
        finish(driver)
        return outcome_of(driver)

    def end_drivers(self) -> None:
        """Kill every sweep that was started here and still runs."""
        for driver in self._drivers:
            driver.kill()

    def clear_journal(self) -> None:
        """Forget what was noted before; the processes that noted it are gone."""
        for path in self.journal.glob("*.log"):
            path.unlink()

    def notes(self) -> list[journal.Note]:
        """Return the journal."""
        return journal.read(self.journal)


def three_nodes(*, memory_gib: float = 2.0) -> Topology:
    """Return a head and two workers, a slot each, at ports that are free now."""
    gcs, dashboard, client, metrics, serve = free_ports(5)
    return Topology(
        name="drill",
        head=Head(cpus=1, slots=1, memory_gib=memory_gib),
        groups=tuple(
            NodeGroup(name=name, nodes=1, cpus=1, memory_gib=memory_gib)
            for name in ("left", "right")
        ),
        ports=Ports(gcs=gcs, dashboard=dashboard, client=client, metrics=metrics, serve=serve),
    )


def free_ports(n: int) -> list[int]:
    """Return ports that are free now, outside those that Ray and the kernel give away."""
    found: list[int] = []
    for port in random.SystemRandom().sample(range(20_100, 32_000), 500):
        with socket.socket() as probe:
            try:
                probe.bind((local.HOST, port))
            except OSError:
                continue
        found.append(port)
        if len(found) == n:
            return found
    raise ClusterError(f"fewer than {n} ports are free between 20100 and 32000")


def wait_for(
    condition: Callable[[], bool],
    what: str,
    *,
    driver: Driver | None = None,
    limit_s: float = WAIT_S,
) -> None:
    """Wait for a condition.

    Parameters
    ----------
    condition : callable
        Asked again and again.
    what : str
        For the error.
    driver : Driver, optional
        One that must live meanwhile.
    limit_s : float
        Seconds.

    Raises
    ------
    ClusterError
        If it does not come true in time, or the driver ends before.
    """
    until = time.monotonic() + limit_s
    while not condition():
        if driver is not None and driver.over:
            raise ClusterError(f"the sweep ended before {what}; it said: {driver.said}")
        if time.monotonic() > until:
            said = "" if driver is None else f"; the sweep said: {driver.said}"
            raise ClusterError(f"{what} did not come within {limit_s:.0f} s{said}")
        time.sleep(LOOK_S)


def finish(driver: Driver, *, code: int = 0) -> None:
    """Wait for the end of a sweep.

    Raises
    ------
    ClusterError
        If it does not end in time, or with another exit code.
    """
    wait_for(lambda: driver.over, "the end of the sweep", limit_s=WAIT_S)
    if driver.process.returncode != code:
        raise ClusterError(
            f"the sweep ended with {driver.process.returncode} and not {code}; "
            f"it said: {driver.said}"
        )


def outcome_of(driver: Driver, *, lake: str | None = None) -> Outcome:
    """Return what a finished sweep came to."""
    store = open_store(lake or str(driver.out / "lake"))
    return read_outcome(sweep_folder(driver.out), store)


def gone(pid: int) -> bool:
    """Return whether a process is gone; one that only waits to be reaped is."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


def end_marked(mark: str) -> int:
    """Kill every process whose environment carries a drill's mark; return how many there were."""
    n = 0
    while found := [pid for pid in _all() if f"{MARK}={mark}".encode() in _environment(pid)]:
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        n += len(found)
        wait_for(lambda pids=found: all(map(gone, pids)), "the end of the drill's processes")  # type: ignore[misc]
    return n


def _all() -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid() and not gone(int(entry.name)):
            yield int(entry.name)


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


@contextlib.contextmanager
def as_environment(values: Mapping[str, str]) -> Iterator[None]:
    """Give this process the environment that nodes are to inherit, for as long as they start."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
