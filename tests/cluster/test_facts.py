"""Facts of real files, and of a real cluster with a token and a dashboard."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import until

from cluster import probe
from cluster.checks import examine
from cluster.facts import cluster_facts, machine_facts
from cluster.found import ClusterFacts
from cluster.probe import least_skew, listening
from cluster.topology import Topology
from pmx_ray.errors import SettingsError

ROOT = Path(__file__).parents[2]
RAY = Path(sys.executable).with_name("ray")
TOKEN = "7c" * 32
HEADING = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid"


@pytest.fixture(autouse=True)
def _no_token_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)


def home_with(tmp_path: Path, token: str, *, mode: int = 0o600, folder: int = 0o700) -> Path:
    path = tmp_path / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text(token + "\n")
    path.chmod(mode)
    path.parent.chmod(folder)
    return tmp_path


def failed(facts: object, cluster: ClusterFacts | None = None) -> set[str]:
    checks = examine(facts, cluster, topology=None)  # type: ignore[arg-type]
    return {check.name for check in checks if not check.passed}


def test_machine_when_the_token_is_in_order_then_its_file_is_described(tmp_path: Path) -> None:
    facts = machine_facts(home_with(tmp_path, TOKEN))
    assert facts.token_length == 64
    assert facts.token_file is not None
    assert (facts.token_file.mode, facts.token_file.folder_mode) == (0o600, 0o700)
    assert facts.token_file.owner == facts.token_file.folder_owner == facts.user == os.getuid()
    assert TOKEN not in repr(facts)
    assert TOKEN not in repr(examine(facts, None, topology=None))
    assert not {name for name in failed(facts) if name.startswith("token_")}


@pytest.mark.parametrize(
    ("token", "mode", "folder", "name"),
    [
        (TOKEN, 0o644, 0o700, "token_private"),
        (TOKEN, 0o600, 0o777, "token_folder"),
        ("short", 0o600, 0o700, "token_long"),
        ("", 0o600, 0o700, "token_exists"),
    ],
)
def test_machine_when_the_token_file_is_at_fault_then_that_check_fails(
    tmp_path: Path, token: str, mode: int, folder: int, name: str
) -> None:
    facts = machine_facts(home_with(tmp_path, token, mode=mode, folder=folder))
    assert {name for name in failed(facts) if name.startswith("token_")} == {name}


def test_machine_when_there_is_no_token_then_says_where_it_looked(tmp_path: Path) -> None:
    facts = machine_facts(tmp_path)
    assert facts.token_length == 0
    assert facts.token_place == str(tmp_path / ".ray" / "auth_token")


def test_machine_when_the_environment_names_a_token_then_it_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home_with(tmp_path, "short")
    other = tmp_path / "other"
    other.write_text("x" * 40)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(other))
    assert machine_facts(tmp_path).token_length == 40
    monkeypatch.setenv("RAY_AUTH_TOKEN", "y" * 50)
    facts = machine_facts(tmp_path)
    assert (facts.token_length, facts.token_place) == (50, "RAY_AUTH_TOKEN")
    assert facts.token_file is None


def test_machine_when_folders_do_not_exist_yet_then_the_disk_around_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "later"))
    monkeypatch.setenv("PMX_HOME", str(tmp_path / "a" / "b"))
    facts = machine_facts(tmp_path)
    assert facts.temp.folder == str(tmp_path / "later" / "ray")
    assert facts.runs.folder == str(tmp_path / "a" / "b")
    assert 0 < facts.runs.free_bytes < facts.runs.total_bytes
    assert facts.temp.total_bytes == facts.runs.total_bytes


def test_machine_when_bytecode_is_elsewhere_then_it_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path))
    assert machine_facts(tmp_path).bytecode_frac == 0.0


@pytest.mark.parametrize(
    ("line", "port", "expected"),
    [
        ("0: 0100007F:2049 00000000:0000 0A 0:0", 8265, ("127.0.0.1",)),
        ("0: 00000000:18EB 00000000:0000 0A 0:0", 6379, ("0.0.0.0",)),
        ("0: 0700000A:1F40 00000000:0000 0A 0:0", 8000, ("10.0.0.7",)),
        ("0: 0100007F:2049 0100007F:9999 01 0:0", 8265, ()),  # a connection, not a door
        ("0: 0100007F:2049 00000000:0000 0A 0:0", 8266, ()),
        (f"0: {'0' * 32}:18EB {'0' * 32}:0000 0A 0:0", 6379, ("::",)),
        (f"0: {'0' * 24}01000000:18EB {'0' * 32}:0000 0A 0:0", 6379, ("::1",)),
        (f"0: {'0' * 16}FFFF00000100007F:2049 {'0' * 32}:0 0A 0:0", 8265, ("127.0.0.1",)),
        (f"0: B80D0120000000000000000001000000:2049 {'0' * 32}:0 0A 0", 8265, ("2001:db8::1",)),
        ("", 8265, ()),
    ],
)
@pytest.mark.skipif(sys.byteorder == "big", reason="the lines are of a little-endian kernel")
def test_listening_when_a_line_is_read_then_the_address_of_an_open_door(
    line: str, port: int, expected: tuple[str, ...]
) -> None:
    assert listening([HEADING, line], port) == expected


def test_listening_when_two_interfaces_then_both_once() -> None:
    one, two = "0: 0100007F:2049 0:0 0A 0", "1: 0700000A:2049 0:0 0A 0"
    assert len(listening([one, two, one], 8265)) == 2


def test_listening_when_a_real_door_opens_then_the_kernel_shows_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        lines = Path("/proc/net/tcp").read_text().splitlines()
        assert listening(lines, port) == ("127.0.0.1",)


@pytest.mark.parametrize(
    ("answered", "expected"),
    [(10.2, 0.0), (10.0, 0.0), (10.5, 0.0), (13.5, 3.0), (7.0, -3.0)],
)
def test_least_skew_when_answered_between_two_moments_then_what_they_cannot_explain(
    answered: float, expected: float
) -> None:
    assert least_skew(10.0, answered, 10.5) == expected


@pytest.mark.parametrize("address", ["auto", "127.0.0.1", "127.0.0.1:many", ":6379"])
def test_cluster_when_the_address_has_no_host_and_port_then_refused(address: str) -> None:
    with pytest.raises(SettingsError, match="write it as"):
        cluster_facts(address, dashboard_url="http://127.0.0.1:8265", token=None)


def test_cluster_when_nobody_listens_then_facts_say_so() -> None:
    port = free_port()
    facts = cluster_facts(
        f"127.0.0.1:{port}", dashboard_url=f"http://127.0.0.1:{port}", token=TOKEN
    )
    assert facts.refusal.startswith("nobody listens there")
    assert facts.api.without_token is facts.api.own_token is None
    assert facts.nodes == ()
    assert {"joined", "api_without_token", "api_own_token"} <= failed(machine_facts(), facts)


def free_port() -> int:
    """Return a free port outside the range that Ray's workers take."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Start a head with dashboard and token, and a node; yield the head's two addresses."""
    home = home_with(tmp_path_factory.mktemp("home"), TOKEN)
    gcs, dashboard, agent, other = (free_port() for _ in range(4))
    temp = f"/tmp/pmx-{gcs}"  # a socket path is at most 107 characters
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "HOME": str(home),
        "RAY_AUTH_MODE": "token",
        "RAY_raylet_start_wait_time_s": "120",
        "RAY_TMPDIR": temp,
    }
    try:
        subprocess.run(
            [RAY, "start", "--head", "--num-cpus=1", f"--port={gcs}",
             f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}",
             "--node-ip-address=127.0.0.1", f"--temp-dir={temp}", "--disable-usage-stats",
             "--labels=rack=near"],
            env=environment, check=True, capture_output=True, timeout=240,
        )  # fmt: skip
        subprocess.run(
            [RAY, "start", f"--address=127.0.0.1:{gcs}", "--num-cpus=1",
             f"--dashboard-agent-listen-port={other}", "--disable-usage-stats",
             "--labels=pmx-group=workers,ray.io/market-type=on-demand"],
            env=environment, check=True, capture_output=True, timeout=240,
        )  # fmt: skip
        yield f"127.0.0.1:{gcs}", f"http://127.0.0.1:{dashboard}"
    finally:
        for process in processes(f"{temp}/", f":{gcs} "):
            os.kill(process, signal.SIGKILL)
        until(lambda: not processes(f"{temp}/", f":{gcs} "))


def processes(*marks: str) -> list[int]:
    """Return every process whose command line holds one of ``marks``: this head's, no other's."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:
            continue
        if any(mark in line for mark in marks):
            found.append(int(entry.name))
    return found


@pytest.mark.drill
def test_cluster_when_real_then_its_doors_and_nodes_are_in_order(
    head: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, url = head
    facts = cluster_facts(address, dashboard_url=url, token=TOKEN, serve_port=free_port())
    assert facts.refusal == ""
    assert (facts.api.without_token, facts.api.wrong_token) == (401, 403)
    assert facts.api.own_token == 200
    assert facts.dashboard.addresses == ("127.0.0.1",)
    assert facts.gcs.addresses  # it is open somewhere
    assert facts.serve.addresses == ()
    near, far = sorted(facts.nodes, key=lambda node: not node.is_head)
    assert (near.is_head, far.is_head) == (True, False)
    assert (near.labels["rack"], far.labels["pmx-group"]) == ("near", "workers")
    machine = machine_facts(home_with(tmp_path, TOKEN))
    for node in facts.nodes:
        assert node.alive
        assert node.answer is not None, node.silence
        assert node.answer.ray_version == machine.ray_version
        assert node.answer.pmx_version == machine.pmx_version
        assert node.answer.skew_s == 0.0  # one machine, one clock
        assert node.answer.disk.folder == f"/tmp/pmx-{facts.gcs.port}"
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    group = {"name": "workers", "nodes": 1, "cpus": 1, "memory_gib": 1}
    asked = {"name": "two", "lake": "s3://bucket/lake", "groups": [group]}
    checks = examine(machine, facts, topology=Topology.model_validate(asked))
    about_it = [check.name for check in checks].index("api_without_token")
    disks = {"head_disk", "node_disks"}  # of whoever runs the test
    assert [c for c in checks[about_it:] if not c.passed and c.name not in disks] == []
    assert not any(TOKEN in check.sentence + check.remedy for check in checks)
    assert TOKEN not in repr(facts)
    group["nodes"] = 2
    short = examine(machine, facts, topology=Topology.model_validate(asked))
    assert "groups" in {check.name for check in short if not check.passed}


ELSEWHERE = """
import pickle, sys
sys.path = [path for path in sys.path if path != {root!r}]
said = pickle.loads(sys.stdin.buffer.read())("/tmp", (1,))
print(said["pmx_version"], said["total_bytes"] > 0)
"""


@pytest.mark.drill
def test_probe_when_a_node_lacks_the_package_then_it_answers_all_the_same() -> None:
    from ray import cloudpickle  # noqa: PLC0415 - the other tests need no Ray in this process

    cloudpickle.register_pickle_by_value(probe)
    try:
        carried = cloudpickle.dumps(probe.report)
    finally:
        cloudpickle.unregister_pickle_by_value(probe)
    there = subprocess.run(
        [sys.executable, "-P", "-c", ELSEWHERE.format(root=str(ROOT))],
        input=carried, capture_output=True, timeout=120, check=False, cwd="/",
        env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert there.stdout.split() == [b"None", b"True"], there.stderr


@pytest.mark.drill
def test_cluster_when_our_token_is_wrong_then_not_joined_and_it_says_so(
    head: tuple[str, str],
) -> None:
    address, url = head
    wrong = "8d" * 32
    facts = cluster_facts(address, dashboard_url=url, token=wrong)
    assert facts.api.own_token == 403
    assert facts.refusal
    assert wrong not in facts.refusal
    assert {"joined", "api_own_token"} <= failed(machine_facts(), facts)


@pytest.mark.drill
def test_cluster_when_a_node_does_not_answer_in_time_then_unknown_and_nothing_hangs(
    head: tuple[str, str],
) -> None:
    address, url = head
    facts = cluster_facts(address, dashboard_url=url, token=TOKEN, wait_s=0.0)
    assert [node.silence for node in facts.nodes] == ["no answer within 0 s"] * 2
    assert not any(node.answer for node in facts.nodes)
    assert facts.dashboard.addresses is None
    red = failed(machine_facts(), facts)
    assert {"nodes_answer", "dashboard_bound", "serve_bound", "head_disk"} <= red


@pytest.mark.drill
def test_cluster_when_another_program_listens_then_given_up_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cluster.facts.JOIN_S", 2.0)
    monkeypatch.setattr("cluster.facts.HTTP_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes connections, says nothing
        place = f"127.0.0.1:{server.getsockname()[1]}"
        facts = cluster_facts(place, dashboard_url=f"http://{place}", token=TOKEN, wait_s=0.0)
    assert facts.refusal == "no answer within 2 s"
    assert facts.api.without_token is None
