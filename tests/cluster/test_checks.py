"""One healthy cluster, and one fault at a time: each turns its own check red and no other."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from cluster_cases import GIB, MACHINE, ROOMY, TOKEN_FILE

from cluster.check import Check
from cluster.checks import examine
from cluster.found import (
    ClusterFacts,
    Disk,
    JobsApi,
    Listening,
    MachineFacts,
    NodeAnswer,
    NodeFacts,
)
from cluster.machine_checks import ray_is_safe
from cluster.topology import Topology
from pmx_ray.hosts import is_loopback

TOPOLOGY = Topology.model_validate(
    {
        "name": "small",
        "lake": "s3://bucket/pmx",
        "groups": [
            {"name": "workers", "nodes": 2, "cpus": 4, "memory_gib": 8, "labels": {"rack": "a"}},
            {"name": "spot", "nodes": 0, "max_nodes": 9, "cpus": 4, "memory_gib": 8, "spot": True},
        ],
    }
)
ANSWER = NodeAnswer("2.60.0", "3.11.9", "0.1.0", 0.0, ROOMY)
LABELS = {"pmx-group": "workers", "ray.io/market-type": "on-demand", "rack": "a"}


def node(name: str, labels: Mapping[str, str], *, is_head: bool = False) -> NodeFacts:
    return NodeFacts(name, f"10.0.0.{name}", True, is_head, labels, {"CPU": 4.0}, ANSWER)


HEAD, ONE, TWO = node("1", {}, is_head=True), node("2", LABELS), node("3", LABELS)
CLUSTER = ClusterFacts(
    address="10.0.0.1:6379",
    api=JobsApi("http://127.0.0.1:8265", 401, 403, 200),
    refusal="",
    dashboard=Listening(8265, ("127.0.0.1", "::1")),
    gcs=Listening(6379, ("::",)),
    serve=Listening(8000, ("127.0.0.1",)),
    nodes=(HEAD, ONE, TWO),
)


def machine(**changes: Any) -> MachineFacts:
    return replace(MACHINE, **changes)


def token_file(**changes: Any) -> MachineFacts:
    return machine(token_file=replace(TOKEN_FILE, **changes))


def cluster(**changes: Any) -> ClusterFacts:
    return replace(CLUSTER, **changes)


def api(**changes: Any) -> JobsApi:
    return replace(CLUSTER.api, **changes)


def nodes(*, head: NodeFacts = HEAD, one: NodeFacts = ONE, two: NodeFacts = TWO) -> ClusterFacts:
    return cluster(nodes=(head, one, two))


def said(of: NodeFacts, **changes: Any) -> NodeFacts:
    return replace(of, answer=replace(ANSWER, **changes))


def topology(**changes: Any) -> Topology:
    return Topology.model_validate({**TOPOLOGY.model_dump(), **changes})


def red(checks: tuple[Check, ...]) -> set[str]:
    return {check.name for check in checks if not check.passed}


def test_cluster_when_healthy_then_every_check_is_green() -> None:
    checks = examine(MACHINE, CLUSTER, topology=TOPOLOGY)
    assert [check for check in checks if not check.passed] == []
    names = [check.name for check in checks]
    assert len(set(names)) == len(names)
    assert not any(check.remedy for check in checks)


FULL = Disk("/tmp/ray", 4 * GIB, 20 * GIB)  # a fifth is free, and still too little
NEARLY_FULL = Disk("/tmp/ray", 9 * GIB, 200 * GIB)  # 9 GiB are free, and Ray stops spilling
SILENT = replace(TWO, answer=None, silence="no answer within 30 s")

Fault = tuple[str, MachineFacts | ClusterFacts | Topology, set[str], str]
FAULTS: list[Fault] = [
    ("no token", machine(token_length=0, token_file=None), {"token_exists"}, "openssl rand"),
    ("token for the group", token_file(mode=0o640), {"token_private"}, "chmod 600 /home"),
    ("token for everybody", token_file(mode=0o604), {"token_private"}, "chmod 600 /home"),
    ("another's token", token_file(owner=7), {"token_private"}, "chown 1000"),
    ("folder open to others", token_file(folder_mode=0o757), {"token_folder"}, "chmod go-w /home"),
    ("folder of another", token_file(folder_owner=7), {"token_folder"}, "chown 1000 /home"),
    ("short token", machine(token_length=31), {"token_long"}, "openssl rand -hex 32"),
    ("unreadable token", machine(token_length=None), {"token_long"}, "chown 1000"),
    ("no mode", machine(auth_mode=None), {"auth_mode"}, "export RAY_AUTH_MODE=token"),
    ("mode off", machine(auth_mode="disabled"), {"auth_mode"}, "export RAY_AUTH_MODE=token"),
    ("no room for Ray", machine(temp=FULL), {"temp_disk"}, "RAY_TMPDIR"),
    ("no room for results", machine(runs=NEARLY_FULL), {"runs_disk"}, "PMX_HOME"),
    ("small /dev/shm", machine(shm_free_bytes=64 * 2**20), {"shared_memory"}, "--shm-size"),
    ("few files", machine(open_files=1024), {"open_files"}, "ulimit -n 65536"),
    ("no bytecode", machine(bytecode_frac=0.3), {"bytecode"}, "python -m compileall"),
    ("old Ray here", machine(ray_version="2.55.9"), {"ray_floor", "ray_same"}, "pip install 'ray"),
    ("API open", cluster(api=api(without_token=200)), {"api_without_token"}, "RAY_AUTH_MODE=token"),
    ("any token", cluster(api=api(wrong_token=200)), {"api_wrong_token"}, "RAY_AUTH_MODE=token"),
    ("other token", cluster(api=api(own_token=403)), {"api_own_token"}, "get-auth-token"),
    (
        "no dashboard",
        cluster(api=api(without_token=None, wrong_token=None, own_token=None)),
        {"api_without_token", "api_wrong_token", "api_own_token"},
        "--include-dashboard",
    ),
    ("not joined", cluster(refusal="timed out", nodes=()), {"joined"}, "ray status"),
    (
        "dashboard everywhere",
        cluster(dashboard=Listening(8265, ("127.0.0.1", "0.0.0.0"))),
        {"dashboard_bound"},
        "--dashboard-host=127.0.0.1",
    ),
    (
        "dashboard in the network",
        cluster(dashboard=Listening(8265, ("10.0.0.1",))),
        {"dashboard_bound"},
        "head.dashboard_host",
    ),
    ("Serve everywhere", cluster(serve=Listening(8000, ("::",))), {"serve_bound"}, "host: 127"),
    ("Serve not known", cluster(serve=Listening(8000, None)), {"serve_bound"}, "host: 127"),
    (
        "GCS out of reach",
        cluster(gcs=Listening(6379, ("127.0.0.1",))),
        {"gcs_reachable"},
        "--node-ip-address",
    ),
    ("a dead node", nodes(head=HEAD, one=ONE, two=replace(TWO, alive=False, answer=None)),
     {"nodes_alive", "groups"}, "ray start --address"),
    ("a label only on the dead",
     nodes(one=replace(ONE, alive=False), two=replace(TWO, labels={**LABELS, "rack": "b"})),
     {"nodes_alive", "groups", "labels"}, "--labels=rack=a"),
    ("a silent node", nodes(two=SILENT), {"nodes_answer"}, "ray logs raylet.out"),
    ("a silent head", nodes(head=replace(HEAD, answer=None)), {"nodes_answer", "head_disk"}, "df"),
    ("another Ray", nodes(two=said(TWO, ray_version="2.61.0")), {"ray_same"}, "install Ray 2.60.0"),
    ("another Python", nodes(one=said(ONE, python_version="3.12.1")), {"python_same"}, "3.11"),
    ("another pmx-ray", nodes(one=said(ONE, pmx_version="0.2.0")), {"pmx_same"}, "pmx-ray 0.1.0"),
    ("no pmx-ray", nodes(one=said(ONE, pmx_version=None)), {"pmx_same"}, "on 10.0.0.2"),
    ("a full head", nodes(head=said(HEAD, disk=NEARLY_FULL)), {"head_disk"}, "/tmp/ray"),
    ("a full node", nodes(two=said(TWO, disk=FULL)), {"node_disks"}, "session_2*"),
    ("a clock ahead", nodes(two=said(TWO, skew_s=1.1)), {"clocks"}, "set-ntp true"),
    ("a clock behind", nodes(two=said(TWO, skew_s=-1.1)), {"clocks"}, "set-ntp true"),
    ("our clock", nodes(head=said(HEAD, skew_s=5.0), one=said(ONE, skew_s=5.0),
                        two=said(TWO, skew_s=5.0)), {"clocks"}, "set-ntp true"),
    (
        "a label nobody has",
        nodes(one=replace(ONE, labels={**LABELS, "rack": "b"}),
              two=replace(TWO, labels={**LABELS, "rack": "b"})),
        {"labels"},
        "--labels=rack=a",
    ),
    ("a node short", cluster(nodes=(HEAD, ONE)), {"groups"}, "--labels=pmx-group=NAME"),
    ("no lake", topology(lake=None), {"lake_shared"}, "lake: s3://bucket/prefix"),
    ("a local lake", topology(lake="/srv/lake"), {"lake_shared"}, "lake: s3://bucket/prefix"),
    ("a file lake", topology(lake="file:///srv/lake"), {"lake_shared"}, "lake: s3://bucket"),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "facts", "names", "advice"), FAULTS, ids=[f[0] for f in FAULTS])
def test_cluster_when_one_fault_is_planted_then_exactly_its_checks_are_red(
    fault: str, facts: MachineFacts | ClusterFacts | Topology, names: set[str], advice: str
) -> None:
    checks = examine(
        facts if isinstance(facts, MachineFacts) else MACHINE,
        facts if isinstance(facts, ClusterFacts) else CLUSTER,
        topology=facts if isinstance(facts, Topology) else TOPOLOGY,
    )
    assert red(checks) == names
    remedies = [check.remedy for check in checks if not check.passed]
    assert all(remedies)
    assert any(advice in remedy for remedy in remedies)


def test_faults_when_taken_together_then_every_check_has_one() -> None:
    planted = set().union(*(names for _, _, names, _ in FAULTS))
    assert {check.name for check in examine(MACHINE, CLUSTER, topology=TOPOLOGY)} == planted


def test_old_ray_when_on_all_of_the_cluster_then_the_floor_alone_is_red() -> None:
    old = [said(one, ray_version="2.9.3") for one in CLUSTER.nodes]
    checks = examine(machine(ray_version="2.9.3"), cluster(nodes=tuple(old)), topology=TOPOLOGY)
    assert red(checks) == {"ray_floor"}


@pytest.mark.parametrize(
    "facts",
    [
        token_file(folder_owner=0),  # root's folder, as a mounted secret has
        token_file(mode=0o400),
        machine(token_length=32, token_file=None),
        machine(shm_free_bytes=GIB),  # far below 30 % of 16 GiB, and enough
        machine(open_files=65_536),
        machine(temp=Disk("/t", 5 * GIB, 100 * GIB)),
        cluster(serve=Listening(8000, ())),
        nodes(two=said(TWO, skew_s=1.0)),
        nodes(head=said(HEAD, skew_s=0.8), two=said(TWO, skew_s=1.5)),  # 0.7 s from the head
        nodes(two=said(TWO, python_version="3.11.2")),
    ],
)
def test_cluster_when_a_limit_is_just_held_then_green(facts: MachineFacts | ClusterFacts) -> None:
    checks = examine(
        facts if isinstance(facts, MachineFacts) else MACHINE,
        facts if isinstance(facts, ClusterFacts) else CLUSTER,
        topology=TOPOLOGY,
    )
    assert red(checks) == set()


def test_shared_memory_when_the_machine_is_small_then_a_part_of_its_memory_is_enough() -> None:
    small = machine(memory_bytes=2 * GIB, shm_free_bytes=int(0.61 * GIB))
    assert red(examine(small, None, topology=None)) == set()
    assert red(examine(replace(small, shm_free_bytes=GIB // 2), None, topology=None)) == {
        "shared_memory"
    }


@pytest.mark.parametrize(
    ("host", "addresses", "expected"),
    [
        ("10.0.0.1", ("10.0.0.1",), set()),
        ("10.0.0.1", ("10.0.0.2",), {"dashboard_bound"}),
        ("10.0.0.1", ("0.0.0.0",), {"dashboard_bound"}),
        ("0.0.0.0", ("::",), set()),
        ("127.0.0.1", ("10.0.0.1",), {"dashboard_bound"}),
    ],
)
def test_dashboard_when_the_topology_names_its_host_then_there_and_nowhere_else(
    host: str, addresses: tuple[str, ...], expected: set[str]
) -> None:
    facts = cluster(dashboard=Listening(8265, addresses))
    assert red(examine(MACHINE, facts, topology=topology(head={"dashboard_host": host}))) == (
        expected
    )


def test_one_machine_when_the_lake_is_local_and_the_gcs_on_loopback_then_green() -> None:
    alone = cluster(nodes=(HEAD,), gcs=Listening(6379, ("127.0.0.1",)))
    assert red(examine(MACHINE, alone, topology=Topology(name="one"))) == set()


def test_lake_when_local_and_shared_then_a_warning_that_keeps_its_address_short() -> None:
    secret = "https://key:word@store/lake"
    (check,) = [
        check
        for check in examine(MACHINE, None, topology=topology(lake=secret))
        if check.name == "lake_shared"
    ]
    assert "word" not in check.sentence
    failed = [c for c in examine(MACHINE, None, topology=topology(lake=None)) if not c.passed]
    assert [check.warning for check in failed] == [True]


def test_silent_node_when_others_agree_then_the_sentences_say_what_is_not_known() -> None:
    checks = {c.name: c for c in examine(MACHINE, nodes(two=SILENT), topology=TOPOLOGY)}
    assert "no answer within 30 s" in checks["nodes_answer"].sentence
    for name in ("ray_same", "python_same", "pmx_same", "node_disks", "clocks"):
        assert "not known of 1 that did not answer" in checks[name].sentence


def test_checks_when_there_is_no_cluster_then_of_this_machine_alone() -> None:
    names = {check.name for check in examine(MACHINE, None, topology=None)}
    assert "token_exists" in names
    assert not {"joined", "nodes_alive", "lake_shared", "labels"} & names


def test_sentence_when_a_limit_is_numeric_then_value_and_limit_are_in_it() -> None:
    facts = machine(open_files=1024, token_length=9, runs=FULL)
    said_of = {check.name: check.sentence for check in examine(facts, None, topology=None)}
    for name, words in {
        "open_files": ("1024", "65536"),
        "token_long": ("9", "32"),
        "runs_disk": ("4.0 GiB", "5 GiB", "20%", "5%"),
    }.items():
        assert all(word in said_of[name] for word in words), said_of[name]


@pytest.mark.parametrize(
    ("version", "safe"),
    [("2.56.0", True), ("2.55.1", False), ("2.9.3", False), ("3.0.0", True), ("absent", False)],
)
def test_ray_when_compared_with_the_floor_then_by_number(version: str, safe: bool) -> None:
    assert ray_is_safe(version) is safe


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.8.8.8", True), ("::1", True), ("localhost", True), ("::", False), ("10.0.0.1", False),
     ("head.example", False)],
)  # fmt: skip
def test_host_when_loopback_then_known_as_such(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(("passed", "remedy"), [(True, "do this"), (False, "")])
def test_check_when_remedy_and_verdict_disagree_then_refused(passed: bool, remedy: str) -> None:
    with pytest.raises(ValueError, match="a remedy stands where a check failed"):
        Check("x", passed, "found 1; at least 2", remedy)
