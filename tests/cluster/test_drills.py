"""The pure parts of the drills: what is drawn, noted, compared and shown."""

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from typer.testing import CliRunner

from cluster.drills import journal
from cluster.drills.catalogue import DRILLS, drill
from cluster.drills.clock import steps_seen
from cluster.drills.ground import Driver
from cluster.drills.journal import Note
from cluster.drills.kills import excess, strike_at
from cluster.drills.memory import killed_for_memory
from cluster.drills.outcome import Block, Outcome, differences
from cluster.drills.result import Break, Found, Trial, document_of, recoveries, summary_of, table_of
from cluster.drills.stores import wanting
from cluster.drills.strike import SPAN, TARGETS, Strike, draw, picked
from pmx_ray.cli.app import app
from pmx_ray.errors import ClusterError, LakeError, SettingsError
from pmx_ray.lake import FolderStore


def drawn(seed, run, n_strikes=2):
    return draw(TARGETS, Trial("mixed", seed, run).rng(), n_strikes=n_strikes, n_blocks=60)


def test_draw_when_seed_and_run_are_the_same_then_the_same_strikes_and_else_others():
    assert drawn(0, 3) == drawn(0, 3)
    assert len({drawn(seed, run) for seed in range(3) for run in range(10)}) == 30


def test_draw_when_many_runs_then_every_target_falls_within_the_span_in_order():
    strikes = [drawn(0, run, 3) for run in range(100)]
    assert {strike.target for run in strikes for strike in run} == set(TARGETS)
    for run in strikes:
        counts = [strike.after for strike in run]
        assert counts == sorted(set(counts))
        assert SPAN[0] * 60 <= counts[0]
        assert counts[-1] <= SPAN[1] * 60


def test_picked_when_candidates_come_in_any_order_then_the_same_one():
    assert picked(["b", "c", "a"], 0.0) == "a"
    assert picked(["a", "b", "c"], 0.99) == "c"


def note(what, pid, at_s, fit):
    return Note(what, pid, at_s, at_s, fit)


CUT = [
    note("begin", 1, 0.0, "A"), note("begin", 2, 0.5, "B"), note("end", 1, 1.0, "A"),
    note("begin", 1, 1.1, "C"),
    # Process 1 is killed at 1.2, under way with C.
    note("end", 2, 1.5, "B"), note("begin", 2, 1.6, "D"), note("end", 2, 2.0, "D"),
    note("begin", 3, 2.5, "C"), note("end", 3, 3.0, "C"),
]  # fmt: skip


def test_journal_when_a_fit_is_cut_off_then_begun_again_once_and_done_when_its_repeat_is():
    assert journal.busy(CUT[:4]) == {1, 2}
    assert journal.busy(CUT) == {1}
    assert journal.begun_again(CUT) == 1
    assert journal.ended_again(CUT) == 0
    assert journal.redone_at(CUT, 1.2) == 3.0


def test_journal_when_nothing_was_cut_off_then_no_moment_of_repair():
    assert journal.redone_at(CUT, 1.05) is None  # B was under way and came to its end
    assert journal.begun_again(CUT[:3]) == 0


def test_journal_when_a_fit_ends_twice_then_counted():
    assert journal.ended_again([*CUT, note("begin", 3, 4.0, "A"), note("end", 3, 5.0, "A")]) == 1


def test_journal_when_written_then_read_in_the_order_of_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(journal.FOLDER, str(tmp_path))
    with pytest.raises(ZeroDivisionError), journal.noted("cut"):
        raise ZeroDivisionError
    with journal.noted("whole"):
        pass
    assert [(n.what, n.fit) for n in journal.read(tmp_path)] == [
        ("begin", "cut"), ("begin", "whole"), ("end", "whole"),
    ]  # fmt: skip


def test_journal_when_no_folder_is_named_then_nothing_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv(journal.FOLDER, raising=False)
    monkeypatch.chdir(tmp_path)
    with journal.noted("fit"):
        pass
    assert list(tmp_path.iterdir()) == []


NAMES = [f"{n:064x}" for n in range(4)]
WHOLE = Outcome(
    forecast_sha256="f" * 64,
    leaderboard_sha256="e" * 64,
    blocks=tuple(Block(name, f"drift T{n}", f"{n}" * 64, 1) for n, name in enumerate(NAMES)),
    stored={name: f"{n}" * 64 for n, name in enumerate(NAMES)},
)


def with_block(n, **changes):
    blocks = list(WHOLE.blocks)
    blocks[n] = replace(blocks[n], **changes)
    return replace(WHOLE, blocks=tuple(blocks))


def test_differences_when_a_repeat_wrote_the_same_then_none():
    assert differences(WHOLE, with_block(1, attempt=3)) == ()
    assert with_block(1, attempt=3).n_retries == 2


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (replace(WHOLE, blocks=WHOLE.blocks[1:]), "drift T0 is lost"),
        (replace(WHOLE, blocks=(*WHOLE.blocks, WHOLE.blocks[2])), "is there 2 times"),
        (with_block(3, id="9" * 64), "is not of this sweep"),
        (with_block(2, sha256="9" * 64), "drift T2 has other bytes"),
        (with_block(2, sha256=None, reason="given up"), "drift T2 was given up"),
        (
            replace(WHOLE, stored={**WHOLE.stored, NAMES[1]: "9" * 64}),
            "drift T1 in the lake does not match its receipt",
        ),
        (replace(WHOLE, stored={**WHOLE.stored, "8" * 64: "1"}), "the lake holds block 88888888"),
        (replace(WHOLE, forecast_sha256="9" * 64), "forecasts hash to 9999999999999999"),
        (replace(WHOLE, leaderboard_sha256="9" * 64), "leaderboard.parquet has other bytes"),
    ],
)  # fmt: skip
def test_differences_when_a_block_is_lost_doubled_or_changed_then_said(found, said):
    assert any(said in line for line in differences(WHOLE, found))


def test_differences_when_other_blocks_are_given_up_than_those_that_must_be_then_said():
    doomed = [NAMES[0]]
    given_up = with_block(0, sha256=None, reason="given up after 3 attempts")
    assert differences(WHOLE, given_up, may_be_given_up=doomed) == ()
    assert differences(WHOLE, WHOLE, may_be_given_up=doomed) == (
        "block drift T0 was not given up",
    )  # fmt: skip
    both = replace(given_up, blocks=(given_up.blocks[0], replace(WHOLE.blocks[1], sha256=None),
                                     *WHOLE.blocks[2:]))  # fmt: skip
    assert any("drift T1 was" in line for line in differences(WHOLE, both, may_be_given_up=doomed))


@pytest.mark.parametrize(
    ("targets", "again", "twice", "n_said"),
    [
        (("worker",), 1, 0, 0),
        (("worker",), 2, 0, 1),
        (("worker", "node"), 2, 2, 0),
        (("worker", "node"), 3, 3, 2),
        (("driver",), 3, 1, 0),
        (("driver",), 4, 2, 2),
    ],
)
def test_excess_when_more_is_computed_again_than_kills_account_for_then_said(
    targets, again, twice, n_said
):
    strikes = [Strike(target, 1, 0.0) for target in targets]
    assert len(excess(strikes, again=again, twice=twice)) == n_said


def found(run, *breaks, faults=()):
    return Found("mixed", 0, run, breaks, 180, 1, 0, 12.5, "f" * 64, faults)


RUNS = [
    found(0, Break("worker", "worker 7", "gone", 1.0), Break("node", "node left-1", "dead", 5.0)),
    found(1, Break("worker", "worker 8", "gone", 3.0), Break("s3", "requests", "counted")),
]


def test_recoveries_when_targets_repeat_then_count_median_and_worst_of_each():
    assert recoveries(RUNS) == {"node": (1, 5.0, 5.0), "worker": (2, 2.0, 3.0)}


def test_tables_when_a_run_failed_then_it_says_no():
    console = Console(width=160, record=True)
    console.print(table_of([*RUNS, found(2, faults=("block T0 is lost",))]))
    console.print(summary_of(RUNS))
    text = console.export_text()
    assert text.count("yes") == 2
    assert text.count(" no ") == 1
    assert "node left-1" in text


def test_document_when_written_then_holds_runs_machine_and_verdict():
    at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    document = json.loads(json.dumps(document_of(RUNS, at=at)))
    assert document["passed"]
    assert document["identical_tables"]
    assert document["recovered_s"]["worker"] == {"times": 2, "median": 2.0, "worst": 3.0}
    assert document["runs"][0]["breaks"][1]["what"] == "node left-1"
    assert document["machine"]["ray"]
    bad = document_of([*RUNS, replace(RUNS[0], faults=("x",), forecasts="0")], at=at)
    assert not bad["passed"]
    assert not bad["identical_tables"]
    assert not document_of([replace(RUNS[0], forecasts="")], at=at)["identical_tables"]


def test_strike_when_the_driver_had_ended_by_itself_then_it_does_not_count_as_killed(
    tmp_path: Path,
):
    (tmp_path / "log").write_text("ValueError: of its own")
    driver = Driver(subprocess.Popen([sys.executable, "-c", "exit(3)"]), tmp_path, tmp_path / "log")
    driver.process.wait()
    with pytest.raises(ClusterError, match=r"had ended with 3 before .* of its own"):
        strike_at(SimpleNamespace(notes=list), driver, Strike("driver", 1, 0.0))


def test_refusal_when_the_store_writes_it_then_nothing_is_wanting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    (tmp_path / "blocks" / "ab").mkdir(parents=True)
    with pytest.raises(LakeError) as caught:
        FolderStore(tmp_path).put_new("blocks/ab/abcdef01.json", b"x" * 4321)
    assert "it needs 4,321 bytes" in str(caught.value)
    assert wanting(str(caught.value), tmp_path) == ()
    assert wanting("pmx: No space left on device", tmp_path) == (
        "the refusal lacks the path", "the refusal lacks the bytes needed",
        "the refusal lacks the bytes free", "the refusal lacks what to do",
    )  # fmt: skip


def test_drill_when_there_is_none_of_the_name_then_the_nearest_is_named():
    with pytest.raises(SettingsError, match="did you mean 'poison'"):
        drill("poisn")
    with pytest.raises(SettingsError, match="pmx drill worker"):
        drill("actor")


def test_steps_when_the_time_of_day_jumps_then_seen_and_a_slow_fit_is_none():
    walls = [100.0, 101.0, 86_502.0, 86_509.0, -86_290.0]
    notes = [
        Note("end", 1, at, wall, "A") for at, wall in zip((0, 1, 2, 9, 10), walls, strict=True)
    ]
    assert steps_seen(notes, least_s=60.0) == [86_400.0, -172_800.0]


def test_command_when_asked_for_the_list_then_every_drill_is_in_it():
    said = CliRunner().invoke(app, ["drill", "list"]).output
    assert all(f" {name} " in said for name in DRILLS)


RAYLET = """[2026-11-23 13:57:11,738 W 11935 11935] (raylet) node_manager.cc:1: Killing workers
OOM kill reason: Memory usage 2804490240B exceeded threshold of 2790525696B (11.0% of 2B limit)
Object store memory usage: [- objects spillable: 0
(global lru) bytes evicted: 0]
Ray killed 2 worker(s) based on the killing policy
Considered workers: [
Selected to kill: (Actor(d96e): lease ID=01, task name=BlockWorker.__init__, pid=12047, used=0.15GB)
Selected to kill: (Actor(6a66): lease ID=00, task name=BlockWorker.__init__, pid=12046, used=1.31GB)
Not selected: (Actor(77aa): lease ID=02, task name=BlockWorker.__init__, pid=12050, used=0.01GB)
]
Top 10 memory users: PID	MEM(GB)	COMMAND
12046	1.31	ray::BlockWorker drill_hungry
[2026-11-23 13:57:11,754 I 11935 11935] (raylet) worker_pool.cc:1: Killing worker pid=99, idle
"""


def test_processes_ended_for_memory_when_a_raylet_logged_them_then_those_alone(tmp_path: Path):
    logs = tmp_path / "ray" / "session_2026" / "logs"
    logs.mkdir(parents=True)
    (logs / "raylet.out").write_text(RAYLET)
    assert killed_for_memory(tmp_path) == {12046, 12047}
    assert killed_for_memory(tmp_path / "other") == set()
