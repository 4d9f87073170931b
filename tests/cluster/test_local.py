"""A cluster of three nodes on this machine: up, used, hurt, down."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import yaml
from waiting import until

from cluster import local, private_folder, sessions
from cluster.topology import read_topology
from pmx_ray.errors import ClusterError, SettingsError

ROOT = Path(__file__).parents[2]
PMX, RAY = (Path(sys.executable).with_name(name) for name in ("pmx", "ray"))
TOPOLOGY = ROOT / "configs" / "cluster" / "three_nodes.yaml"
NAME = "three-nodes"

SWEEP = {
    "name": "three",
    "panel": {
        "source": "simulated", "kind": "garch", "n_tickers": 4, "n_sessions": 330, "seed": 1,
    },
    "folds": {"input_size": 90, "step_size": 20, "steps": [1, 5]},
    "forecasters": [{"name": "drift"}, {"name": "samossa"}],
    "evaluation": {"n_resamples": 100},
}  # fmt: skip


def free_ports(n):
    """Return ports outside the range that Ray gives to workers."""
    found = []
    while len(found) < n:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if not 10002 <= port <= 19999 and port not in found:
            found.append(port)
    return found


class Machine:
    """A home with a token and clusters of its own."""

    def __init__(self, home):
        self.home = home
        names = ("gcs", "dashboard", "client", "metrics")
        self.ports = dict(zip(names, free_ports(4), strict=True))
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PMX_"))}
        path = f"{PMX.parent}:{os.environ['PATH']}"  # where a job finds `pmx`
        homes = {"HOME": str(home), "PMX_HOME": str(home)}
        self.environment = {**kept, **homes, "PATH": path, "COLUMNS": "200"}

    @property
    def token(self):
        return (self.home / ".ray" / "auth_token").read_text()

    def pmx(self, *words, code=0):
        done = subprocess.run(
            [PMX, *words], env=self.environment, cwd=self.home, capture_output=True, text=True,
            timeout=580, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def up(self, *, code=0):
        sets = [word for k, v in self.ports.items() for word in ("--set", f"ports.{k}={v}")]
        return self.pmx("cluster", "up", str(TOPOLOGY), *sets, code=code)

    def status(self):
        return json.loads(self.pmx("cluster", "status", "--json"))

    def cluster(self):
        return local.running(self.home, NAME)


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    made = Machine(tmp_path_factory.mktemp("machine"))
    try:
        made.up()
        yield made
    finally:
        left = made.cluster()
        if left is not None:
            local.down(left, made.home)


@pytest.fixture
def session():
    """Return what starts a process in a session of its own; all are ended after the test."""
    started = []

    def start(*words, mark=None):
        marked = {} if mark is None else {local.MARK: mark}
        started.append(
            subprocess.Popen(words, env={**os.environ, **marked}, start_new_session=True)
        )
        return started[-1].pid

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def noted(home, **sessions):
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return local.Running("mine", "127.0.0.1:1", "http://127.0.0.1:2", str(home), boot, sessions)


def test_processes_when_their_session_carries_the_mark_then_the_nodes(session, tmp_path):
    first, second = (session("sleep", "600", mark="mine") for _ in range(2))
    cluster, expected = noted(tmp_path, head=first, w=second), {first: "head", second: "w"}
    until(lambda: local.living(cluster) == expected, deadline_s=30.0)  # both show what they carry


def test_processes_when_the_first_of_the_session_has_ended_then_the_others_are_found(
    session, tmp_path
):
    leader = session("sh", "-c", "sleep 600 & exit", mark="mine")
    cluster = noted(tmp_path, head=leader)
    until(lambda: not sessions.lives(leader), deadline_s=30.0)
    assert set(local.living(cluster).values()) == {"head"}
    assert local.down(cluster, tmp_path) == 1
    assert local.living(cluster) == {}


@pytest.mark.parametrize("mark", [None, "other"])
def test_processes_when_a_session_is_a_strangers_then_left_alone(session, tmp_path, mark):
    stranger = session("sleep", "600", mark=mark)
    cluster = noted(tmp_path, head=stranger)
    assert local.down(cluster, tmp_path) == 0
    assert sessions.lives(stranger)


@pytest.mark.parametrize(
    "words",
    [
        "sleep 600",
        "tail -f {folder}/raylet.out",
        "sleep 600 9<{folder}/raylet.out",
        "sleep 600 9>{folder}/python-core-driver-01_7.log 8>{folder}/event_CORE_WORKER_7.log",
    ],
    ids=["any", "names a log", "reads a log", "driver"],
)
@pytest.mark.parametrize("mark", [None, "other"])
def test_processes_when_a_strangers_session_has_lost_its_first_then_left_alone(
    session, tmp_path, mark, words
):
    folder = tmp_path / "ray"
    folder.mkdir()
    (folder / "raylet.out").touch()
    leader = session("sh", "-c", f"{words.format(folder=folder)} & exit", mark=mark)
    until(lambda: not sessions.lives(leader), deadline_s=30.0)
    (stranger,) = sessions.members([leader])[leader]
    until(lambda: b"600" in command(stranger) or b"tail" in command(stranger), deadline_s=30.0)
    cluster = noted(folder, head=leader)
    assert local.living(cluster) == {}
    assert local.down(cluster, tmp_path) == 0
    assert sessions.lives(stranger)


def command(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")


@pytest.mark.parametrize("stream", [1, 2, 9])
def test_processes_when_all_that_is_left_has_no_mark_then_found_by_where_it_writes(
    session, tmp_path, stream
):
    log = tmp_path / "ray" / "dashboard_agent.out"
    log.parent.mkdir()
    leader = session("sh", "-c", f"exec {stream}>{log}; sleep 600 & exit")
    until(lambda: not sessions.lives(leader), deadline_s=30.0)
    cluster = noted(log.parent, head=leader)
    assert list(local.living(cluster).values()) == ["head"]
    assert local.down(cluster, tmp_path) == 1
    assert sessions.members([leader]) == {leader: []}


def test_processes_when_a_living_first_lacks_the_mark_then_others_do_not_make_up_for_it(
    session, tmp_path
):
    leader = session("sh", "-c", f"{local.MARK}=mine sleep 600 & wait")
    until(lambda: len(sessions.members([leader])[leader]) == 2, deadline_s=30.0)
    assert local.living(noted(tmp_path, head=leader)) == {}


def test_processes_when_the_machine_was_started_anew_then_none_are_the_clusters(session, tmp_path):
    pid = session("sleep", "600", mark="mine")
    assert local.living(replace(noted(tmp_path, head=pid), boot="another")) == {}


def test_note_when_it_cannot_be_read_then_error_names_it(tmp_path):
    folder = local.clusters_folder(tmp_path) / "mine"
    folder.mkdir(parents=True)
    (folder / local.STATE).write_text("{}")
    with pytest.raises(ClusterError, match=r"mine/cluster\.json cannot be read"):
        local.running(tmp_path, "mine")


def test_folder_when_made_then_nobody_else_may_enter_whatever_ray_makes_in_it(tmp_path):
    ray = tmp_path / "pmx-0" / "ray"
    private_folder.make(ray)
    ray.mkdir(mode=0o777)
    assert ray.parent.stat().st_mode & 0o7777 == 0o700
    private_folder.make(ray)  # as it was left is as good


def open_to_others(private):
    private.mkdir()
    private.chmod(0o777)


def enterable(private):
    private.mkdir(mode=0o711)


def linked(private):
    private.with_name("elsewhere").mkdir(mode=0o700)
    private.symlink_to("elsewhere")


def dangling(private):
    private.symlink_to("nowhere")


def open_above(private):
    private.mkdir(mode=0o700)
    private.parent.chmod(0o777)


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (open_to_others, "mode 0777, .*remove it: rm -r"),
        (enterable, "mode 0711"),
        (linked, "is a link or a file, .*remove it"),
        (dangling, "is a link or a file"),
        (Path.touch, "is a link or a file"),
        (open_above, r"anyone may put another folder .*chmod \+t"),
    ],
)
def test_cluster_when_others_could_reach_its_folder_then_refused_and_nothing_starts(
    tmp_path, monkeypatch, there, said
):
    monkeypatch.setattr(private_folder.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(private_folder, "SOCKET_BYTES", 1000)
    home = tmp_path / "home"
    folder = local.clusters_folder(home) / NAME
    there(private_folder.named(folder).parent)
    gcs, dashboard, client, metrics = free_ports(4)
    topology = read_topology(TOPOLOGY)
    ports = {"gcs": gcs, "dashboard": dashboard, "client": client, "metrics": metrics}
    topology = topology.model_copy(update={"ports": topology.ports.model_copy(update=ports)})
    with pytest.raises(ClusterError, match=said):
        local.up(topology, home, joined=pytest.fail, say=print)
    assert local.running(home, NAME) is None
    assert list((folder / "logs").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
def test_folder_when_anothers_then_refused_and_left_as_it_is(tmp_path):
    private = tmp_path / "pmx-0"
    private.mkdir(mode=0o700)
    os.chown(private, 65534, -1)
    with pytest.raises(ClusterError, match=r"belongs to user 65534, .*set TMPDIR"):
        private_folder.make(private / "ray")
    assert private.stat().st_uid == 65534


def test_folder_when_removed_then_its_private_one_too_and_never_one_of_another_name(tmp_path):
    for private in (tmp_path / "pmx-0", tmp_path / "tmp"):
        (private / "ray" / "session").mkdir(parents=True)
        private_folder.remove(private / "ray")
    assert [path.name for path in tmp_path.iterdir()] == ["tmp"]


def test_folder_when_tmpdir_is_too_long_for_sockets_then_refused_with_the_bytes(monkeypatch):
    def ray_in(temp):
        monkeypatch.setattr(private_folder.tempfile, "tempdir", temp)
        return private_folder.named(Path("clusters") / ("long" * 10))

    room = 107 - len(f"{ray_in('/tmp')}/{private_folder.LONGEST}")
    with socket.socket(socket.AF_UNIX) as probe, pytest.raises(FileNotFoundError):
        probe.connect(str(ray_in("/tmp" + "x" * room) / private_folder.LONGEST))
    with pytest.raises(SettingsError, match=r"108 bytes; 107 is the most, set TMPDIR .*1 bytes"):
        ray_in("/tmp" + "x" * (room + 1))


def hash_of(said):
    return re.search(r"forecasts ([0-9a-f]{16})", said)[1]


@pytest.mark.drill
def test_cluster_when_up_then_three_nodes_of_their_groups_and_a_private_token(machine):
    nodes = machine.status()["nodes"]
    assert sorted(node["group"] for node in nodes) == ["head", "workers", "workers"]
    assert all(node["alive"] for node in nodes)
    assert (machine.home / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600
    assert machine.token not in (machine.home / "clusters" / NAME / "cluster.json").read_text()


@pytest.mark.drill
def test_folder_when_ray_has_it_then_all_of_it_lies_where_nobody_else_may_enter(machine):
    ray = Path(machine.cluster().temp)
    assert ray.parent.stat().st_mode & 0o777 == 0o700
    sockets = [path for path in ray.glob("session_2*/sockets/*") if path.is_socket()]
    longest = max(len(str(path.relative_to(ray))) for path in sockets)
    assert len(sockets) > 3
    assert longest <= len(private_folder.LONGEST)


@pytest.mark.drill
def test_cluster_when_it_is_up_already_then_a_second_is_refused_and_the_first_lives(machine):
    assert "is up already" in machine.up(code=1)
    assert all(node["alive"] for node in machine.status()["nodes"])


@pytest.mark.drill
def test_jobs_when_the_token_is_missing_or_wrong_then_401_or_403(machine):
    url = f"http://127.0.0.1:{machine.ports['dashboard']}/api/jobs/"
    assert httpx.get(url).status_code == 401
    assert httpx.get(url, headers={"Authorization": f"Bearer {'0' * 64}"}).status_code == 403
    right = {"Authorization": f"Bearer {machine.token}"}
    assert httpx.get(url, headers=right).status_code == 200


@pytest.mark.drill
def test_node_when_its_token_is_wrong_then_it_does_not_join(machine):
    wrong = {
        **machine.environment,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "0" * 64,
        "RAY_raylet_start_wait_time_s": "10",
    }
    address = machine.cluster().address
    done = subprocess.run(
        [RAY, "start", f"--address={address}", "--num-cpus=1"], env=wrong, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert len(machine.status()["nodes"]) == 3


@pytest.mark.drill
def test_sweep_when_run_there_then_the_hash_is_that_of_one_process(machine):
    (machine.home / "sweep.yaml").write_text(yaml.safe_dump(SWEEP))
    address = machine.cluster().address
    there = machine.pmx("sweep", "sweep.yaml", "--address", address, "--out", "there")
    here = machine.pmx("sweep", "sweep.yaml", "--address", "in-process", "--out", "here")
    assert hash_of(there) == hash_of(here)


FIFTEEN = """
import sys, tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from pmx_ray.backtest.parcel import job_name, pack
from pmx_ray.backtest.settings import load_settings
from pmx_ray.remote.token import use_token

settings, dashboard, out = load_settings(Path("sweep.yaml")), *sys.argv[1:]
use_token(dashboard)
from pmx_ray.remote.jobs import Jobs

def submit(_):
    with tempfile.TemporaryDirectory() as folder:
        pack(settings, Path(folder), base_dir=Path.cwd())
        words = f"pmx sweep sweep.yaml --out {out}"
        return Jobs(dashboard).submit(job_name(settings, Path(folder)), words, folder=Path(folder))

with ThreadPoolExecutor(15) as threads:
    print(sum(threads.map(submit, range(15))))
"""
"""Submits a sweep by fifteen clients at once, and prints how many submitted it."""


@pytest.mark.drill
def test_sweep_when_submitted_by_fifteen_at_once_then_it_runs_once_and_has_that_hash(machine):
    (machine.home / "sweep.yaml").write_text(yaml.safe_dump(SWEEP))
    where, out = machine.cluster().dashboard, str(machine.home / "of-jobs")
    done = subprocess.run(
        [sys.executable, "-c", FIFTEEN, where, out], env=machine.environment, cwd=machine.home,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.stdout.split()[-1:] == ["1"], done.stdout + done.stderr
    words = ("submit", "sweep.yaml", "--dashboard", where, "--out", out)
    said = machine.pmx(*words)  # once more: it shows its own output and not the first one's
    assert len(re.findall("forecasts [0-9a-f]{16}", said)) == 1, said
    here = machine.pmx("sweep", "sweep.yaml", "--address", "in-process", "--out", "here")
    assert hash_of(said) == hash_of(here)
    (job,) = json.loads(machine.pmx("jobs", "--json", "--dashboard", where))
    assert (job["status"], job["exit_code"]) == ("SUCCEEDED", 0)
    (receipts,) = (machine.home / "of-jobs").glob("three-*/receipts.jsonl")
    assert '"attempt":2' not in receipts.read_text()


@pytest.mark.drill
def test_submission_when_nobody_has_the_label_then_refused_before_a_job_is_there(machine):
    (machine.home / "sweep.yaml").write_text(yaml.safe_dump({**SWEEP, "name": "unlucky"}))
    where = machine.cluster().dashboard
    words = ("submit", "sweep.yaml", "--dashboard", where, "--set", "execution.labels={rack: z9}")
    assert "none has rack=z9" in machine.pmx(*words, code=1)
    assert "unlucky" not in machine.pmx("jobs", "--dashboard", where)


@pytest.mark.drill
def test_job_when_its_sweep_fails_then_submit_ends_as_it_did(machine):
    bad = {**SWEEP, "name": "bad", "panel": {"source": "file", "path": "prices.csv"}}
    (machine.home / "bad.yaml").write_text(yaml.safe_dump(bad))
    (machine.home / "prices.csv").write_text("date,ticker,close\n")
    said = machine.pmx("submit", "bad.yaml", "--dashboard", machine.cluster().dashboard, code=2)
    assert "failed" in said


@pytest.mark.drill
def test_doctor_when_the_cluster_is_sound_then_green_and_red_once_the_token_is_public(machine):
    def failed():
        environment = {**machine.environment, "RAY_AUTH_MODE": "token"}
        done = subprocess.run(
            [PMX, "cluster", "doctor", str(TOPOLOGY), "--json"], env=environment,
            cwd=machine.home, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert machine.token not in done.stdout + done.stderr
        checks = {check["name"]: check for check in json.loads(done.stdout)}
        assert {"api_without_token", "clocks", "groups"} <= checks.keys()
        red = {name for name, check in checks.items() if not check["passed"]}
        assert bool(red - {"lake_shared"}) == bool(done.returncode)
        return red

    of_the_host = {"open_files", "shared_memory", "temp_disk", "runs_disk", "bytecode"}
    assert failed() - of_the_host == {"lake_shared"}
    token = machine.home / ".ray" / "auth_token"
    token.chmod(0o644)
    try:
        assert "token_private" in failed()
    finally:
        token.chmod(0o600)


@pytest.mark.drill
def test_node_when_killed_then_the_others_notice_and_its_processes_alone_are_gone(machine):
    cluster = machine.cluster()
    others = {pid for pid, node in local.living(cluster).items() if node != "workers-2"}
    assert local.kill_node(cluster, "workers-2") > 0
    until(lambda: sum(node["alive"] for node in machine.status()["nodes"]) == 2, deadline_s=60.0)
    assert others <= set(local.living(cluster))


@pytest.mark.drill
def test_node_when_its_first_process_is_gone_and_agents_hang_then_they_are_found_and_killed(
    machine,
):
    cluster = machine.cluster()
    first = cluster.sessions["workers-1"]
    for pid in sessions.members([first])[first]:
        os.kill(pid, signal.SIGSTOP)
    os.kill(first, signal.SIGKILL)  # the kernel kills its children; what those started hangs
    until(lambda: len(sessions.members([first])[first]) == 2, deadline_s=30.0)
    assert local.kill_node(cluster, "workers-1") == 2
    until(lambda: not sessions.members([first])[first], deadline_s=30.0)
    assert set(local.living(cluster).values()) == {"head"}


@pytest.mark.drill
def test_cluster_when_down_then_nothing_of_it_is_left_and_a_stranger_lives(machine):
    cluster = machine.cluster()
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as stranger:
        try:
            assert "is down" in machine.pmx("cluster", "down")
            assert stranger.poll() is None
        finally:
            stranger.send_signal(signal.SIGKILL)
    assert local.living(cluster) == {}
    assert machine.cluster() is None
    assert not Path(cluster.temp).parent.exists()
    assert "clusters started here: none" in machine.pmx("cluster", "status", code=2)
