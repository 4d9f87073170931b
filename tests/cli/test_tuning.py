"""`pmx tune` as a person runs it: what it says, what it leaves, and that a kill costs nothing."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from tune_cases import WRITTEN

from pmx_ray.backtest.report_types import EvaluationReport
from pmx_ray.backtest.tuned import TUNED, read_tuned

PMX = Path(sys.executable).with_name("pmx")


def write(folder: Path, **changes: object) -> None:
    written = {**WRITTEN, "evaluation": {"n_resamples": 100}, **changes}
    (folder / "tune.yaml").write_text(yaml.safe_dump(written))


def lines(out: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def trials(folder: Path) -> list[dict[str, object]]:
    """Every trial without the seconds it took."""
    (path,) = (folder / "runs").glob("small-tune-*/trials.parquet")
    return pq.read_table(path).drop_columns(["fit_s"]).to_pylist()


def test_tune_when_done_then_choice_worth_and_sweep_agree(pmx):
    write(pmx.folder)
    out = pmx("tune", "tune.yaml", "--address", "in-process", "--json")
    events = {row["event"]: row for row in lines(out)}
    assert events["tune"]["n_done"] == 0
    assert sum(row["event"] == "trial" for row in lines(out)) == 12
    (folder,) = (pmx.folder / "runs").glob("small-tune-*")
    tuned, worth = read_tuned(folder / TUNED), json.loads((folder / "gain.json").read_text())
    gain = worth["gain"]
    assert gain["tuning"]["value"] == pytest.approx(tuned.tuning_loss, rel=1e-12)
    assert gain["tuning_default"]["value"] == tuned.default_tuning_loss
    assert events["tuned"]["improvement"] == gain["improvement"]
    assert gain["improvement"]["value"] == pytest.approx(
        gain["default"]["value"] - gain["tuned"]["value"]
    )
    # The relative loss, by hand from the sweep's leaderboard.
    (sweep,) = (path for path in (pmx.folder / "runs").glob("small-*") if "tune" not in path.name)
    rows = EvaluationReport.load(sweep).leaderboard.to_pylist()
    mse = {(row["label"], row["step"]): row["rmse"] ** 2 for row in rows}
    by_hand = sum(mse[worth["chosen"], s] / mse["random_walk", s] for s in (1, 5)) / 2
    assert gain["tuned"]["value"] == pytest.approx(by_hand, rel=1e-9)
    before = {p: p.read_bytes() for p in folder.iterdir()}
    again = pmx("tune", "tune.yaml", "--address", "in-process")
    assert "12 trials done" in again
    assert {p: p.read_bytes() for p in folder.iterdir()} == before


def test_tune_when_shown_to_people_then_default_choice_and_gap(pmx):
    write(pmx.folder, n_trials=3)
    out = pmx("tune", "tune.yaml", "--address", "in-process")
    for words in ("default", "improvement", "gap to the tuning folds", "chosen of 3 trials",
                  "specs.yaml; name it in a sweep"):  # fmt: skip
        assert words in out


def test_tune_when_the_choice_fails_on_later_folds_then_no_figure_and_exit_code_3(pmx):
    write(
        pmx.folder,
        plugins=["odd_forecasters"],
        forecaster={"name": "fickle"},
        search={"fails": {"choices": ["always", "late"]}},
        compared=2,
    )
    out = pmx("tune", "tune.yaml", "--address", "in-process", code=3)
    assert "no telling whether tuning helped" in out
    (folder,) = (pmx.folder / "runs").glob("small-tune-*")
    worth = json.loads((folder / "gain.json").read_text())
    assert worth["gain"]["tuned"]["value"] is None
    assert "fickle(fails=late) fails on too many of the later folds" in worth["gain"]["failed"]
    assert "no telling whether tuning helped" in (folder / "report.html").read_text().lower()
    lines_ = lines(pmx("tune", "tune.yaml", "--address", "in-process", "--json", code=3))
    assert any(row["event"] == "tuned" for row in lines_)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_trails": 3}, "did you mean 'n_trials'"),
        ({"search": {"rnk": {"low": 1, "high": 2}}}, "did you mean 'rank'"),
        ({"folds": {"input_size": 100}}, "tuning_end is missing"),
        ({"folds": {**WRITTEN["folds"], "tuning_end": "1999-01-01"}}, "tuning_end 1999-01-01"),
    ],
)
def test_tune_when_settings_are_wrong_then_said_and_nothing_written(pmx, changes, message):
    write(pmx.folder, **changes)
    pmx("tune", "tune.yaml", code=2)
    assert message in pmx.err
    assert not (pmx.folder / "runs").exists()


def finished_trials(folder: Path) -> int:
    path = folder / "runs" / "ledger.db"
    if not path.exists():
        return -1
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5) as connection:
            query = "SELECT count(*) FROM trials WHERE state IN ('COMPLETE', 'PRUNED')"
            return int(connection.execute(query).fetchone()[0])
    except sqlite3.OperationalError:  # the tables are not there yet
        return -1


@pytest.mark.drill
@pytest.mark.timeout(600)
def test_tune_when_driver_and_cluster_are_killed_five_times_then_one_study_and_the_same_choice(
    tmp_path, pmx
):
    write(pmx.folder, n_trials=18)
    pmx("tune", "tune.yaml", "--address", "in-process")
    folder = tmp_path / "killed"
    folder.mkdir()
    write(folder, n_trials=18)
    points = sorted(random.Random(4).sample(range(18), 5))
    for n_trials in points:
        process = command(folder)
        wait_for(process, lambda n=n_trials: finished_trials(folder) >= n)
        os.killpg(process.pid, signal.SIGKILL)  # the driver and the whole local cluster
        process.communicate(timeout=60)
    process = command(folder)
    out, err = process.communicate(timeout=280)
    assert process.returncode == 0, out + err
    assert trials(folder) == trials(pmx.folder)
    names = [
        sorted(path.name for path in (root / "runs").glob("small-*"))
        for root in (folder, pmx.folder)
    ]
    assert names[0] == names[1]  # the choice is evaluated by the same sweep
    with sqlite3.connect(folder / "runs" / "ledger.db") as connection:
        assert connection.execute("SELECT count(*) FROM studies").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM trials").fetchone() == (18,)
        counted = "SELECT count(DISTINCT config_id) FROM evaluated_trials WHERE source = 'tune'"
        assert connection.execute(counted).fetchone() == (36,)  # two steps each


def command(folder: Path) -> "subprocess.Popen[str]":
    left_out = {"RAY_ADDRESS", "PMX_HOME", "CI"}
    environment = {key: value for key, value in os.environ.items() if key not in left_out}
    return subprocess.Popen(
        [PMX, "tune", "tune.yaml", "--address", "local", "--set", "execution.workers=2"],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def wait_for(process: "subprocess.Popen[str]", condition: object) -> None:
    """Wait for a condition or the end of the process, whichever comes first."""
    for _ in range(12_000):
        if condition() or process.poll() is not None:  # type: ignore[operator]
            return
        try:
            process.wait(timeout=0.02)
        except subprocess.TimeoutExpired:
            continue
    pytest.fail("the search made no headway")
