"""Drills on real processes: a cluster that is killed in parts, a full disk, an S3 that fails."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from waiting import until

from cluster.drills.ground import SWEEP, Ground, sweep_folder
from cluster.drills.kills import run_kills
from cluster.drills.outcome import differences, read_outcome
from cluster.drills.result import Trial
from cluster.drills.s3_server import S3Server
from cluster.drills.stores import fill, misbehave, small_disk
from cluster.drills.strike import Strike
from pmx_ray.errors import SettingsError
from pmx_ray.lake import open_store

pytestmark = pytest.mark.drill


@pytest.fixture(scope="module")
def ground():
    """Return a ground whose sweep has 18 blocks that take their time."""
    with Ground(say=print, settings={"panel": {**SWEEP["panel"], "n_tickers": 3}}) as made:
        yield made


@pytest.fixture(scope="module")
def expected(ground):
    return ground.expected()


def test_sweep_when_worker_node_and_driver_are_killed_then_the_same_bytes(ground, expected):
    strikes = (Strike("worker", 2, 0.5), Strike("node", 5, 0.2), Strike("driver", 9, 0.0))
    ground.up()
    try:
        found = run_kills(ground, expected, strikes, Trial("mixed", seed=0))
    finally:
        ground.down()
    assert found.faults == ()
    assert [one.target for one in found.breaks] == ["worker", "node", "driver"]
    assert "Ray noticed" in found.breaks[1].proof
    assert found.breaks[2].proof == "ended by signal 9"
    assert all(one.recovered_s > 0 for one in found.breaks)
    assert found.n_begun_again >= 1


def test_sweep_when_the_disk_is_full_then_refused_and_it_goes_on_after_room_is_made(
    ground, expected
):
    disk = ground.home / "disk"
    try:
        with small_disk(disk):
            trial = Trial("disk", seed=0)
            found = fill(ground, expected, disk, trial, room=150_000, address="in-process")
    except SettingsError as error:
        pytest.skip(str(error))
    assert found.faults == ()
    done = int(re.search(r"exit code 1 after (\d+) blocks", found.breaks[0].proof)[1])
    assert 0 < done < 18
    assert not os.path.ismount(disk)


def test_sweep_when_s3_fails_and_cuts_then_the_same_bytes(ground, expected):
    with S3Server(ground.home / "s3") as server:
        found = misbehave(ground, expected, server, Trial("s3", seed=0), address="in-process")
    assert found.faults == ()
    requests, errors, cuts = map(int, re.findall(r"\d+", found.breaks[0].proof)[:3])
    assert requests > 200
    assert 0.04 < errors / requests < 0.2
    assert cuts >= 1


def test_outcome_when_a_block_was_damaged_on_disk_then_the_drill_says_so(ground, expected):
    out = ground.home / "expected"
    path = next((out / "lake" / "blocks").rglob("*.parquet"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    try:
        found = read_outcome(sweep_folder(out), open_store(str(out / "lake")))
    finally:
        path.write_bytes(whole)
    (said,) = differences(expected, found)
    assert "does not match its receipt" in said


def carrying(folder):
    """Return the processes whose environment names a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and folder.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_drill_when_interrupted_then_its_processes_and_its_folder_are_gone():
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="d-") as folder:  # Ray's paths are short
        pmx = Path(sys.executable).with_name("pmx")
        with subprocess.Popen(
            [pmx, "drill", "worker"], env={**os.environ, "TMPDIR": folder},
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        ) as process:  # fmt: skip
            try:
                until(lambda: len(carrying(f"{folder}/pmx-drill-")) > 0)
                process.send_signal(signal.SIGINT)
                _, said = process.communicate(timeout=120)
            finally:
                process.kill()
        assert process.returncode == 1
        assert "stopped" in said
        assert carrying(folder) == []
        assert list(Path(folder).iterdir()) == []
