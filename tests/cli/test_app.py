"""The command as a person uses it, on files of their own."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from pmx_command import SETTINGS, Pmx, long_form

from pmx_ray.ledger import open_ledger

SWEEP = ("sweep", "sweep.yaml", "--address", "in-process")


def test_sweep_when_data_are_good_then_leaderboard_report_and_ledger(pmx: Pmx) -> None:
    out = pmx(*SWEEP)
    for text in ("Step 1", "Step 5", "random_walk", "samossa", "report.html", "predicted core s"):
        assert text in out
    board = pq.read_table(pmx.sweep / "leaderboard.parquet").to_pandas()
    assert len(board) == 4 * 2  # the random walk is there unasked
    assert (pmx.sweep / "report.html").read_text().startswith("<!doctype html>")
    with open_ledger(f"sqlite:///{pmx.folder / 'runs' / 'ledger.db'}") as ledger:  # proves C3
        (run,) = ledger.runs()
        recorded = {metric.measure for metric in ledger.metrics(run.sweep_id)}
        assert {"rmse", "smape", "tracking_error"} <= recorded


def test_sweep_when_repeated_then_no_fit_and_the_same_artefacts(pmx: Pmx) -> None:
    pmx(*SWEEP)
    before = {path.name: path.read_bytes() for path in pmx.sweep.iterdir()}
    assert "no fit" in pmx(*SWEEP)
    assert {path.name: path.read_bytes() for path in pmx.sweep.iterdir()} == before


def test_sweep_when_a_day_is_added_then_only_new_folds_are_computed(pmx: Pmx) -> None:
    daily = {**SETTINGS, "folds": {**SETTINGS["folds"], "step_size": 1}}  # type: ignore[dict-item]
    pmx.write(daily, long_form(n_sessions=200))
    pmx(*SWEEP, "--json")
    pmx.write(daily, long_form(n_sessions=201))
    lines = [json.loads(line) for line in pmx(*SWEEP, "--json").splitlines()]
    (last,) = [line for line in lines if line["event"] == "progress"][-1:]
    assert last["rows"] == 4 * 3 * 2  # specs x tickers x steps of one fold


def test_sweep_when_a_stored_block_is_damaged_then_it_is_computed_again(pmx: Pmx) -> None:
    pmx(*SWEEP)
    block = next((pmx.folder / "runs" / "lake").rglob("*.parquet"))
    whole = block.read_bytes()
    block.write_bytes(whole[: len(whole) // 2])
    assert "run: block 1 of 1" in pmx(*SWEEP)
    assert block.read_bytes() == whole


def test_verbs_when_taken_one_by_one_then_the_sweep_s_artefacts(pmx: Pmx) -> None:
    pmx(*SWEEP)
    whole = {path.name: path.read_bytes() for path in pmx.sweep.iterdir()}
    pmx("plan", "sweep.yaml", "--out", "other")
    (folder,) = (pmx.folder / "other").glob("mine-*")
    pmx("run", str(folder), "--address", "in-process")
    pmx("evaluate", str(folder))
    pmx("compare", str(folder))
    pmx("report", str(folder))
    parts = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(parts) == set(whole)
    for name in set(whole) - {"receipts.jsonl"}:  # receipts hold seconds
        assert parts[name] == whole[name], name


def test_verbs_when_a_step_is_missing_then_the_error_names_it(pmx: Pmx) -> None:
    pmx("plan", "sweep.yaml")
    pmx("evaluate", str(pmx.sweep), code=2)
    assert f"has not been run; run it with: pmx run {pmx.sweep}" in pmx.err
    pmx("report", str(pmx.folder), code=2)
    assert "is not a sweep folder" in pmx.err


def poisoned() -> pd.DataFrame:
    """Return A good, B constant, C listed too late, D delisted before the end."""
    rows = long_form("ABCD")
    days = rows["date"].unique()
    rows.loc[rows["ticker"] == "B", "close"] = 10.0
    late = (rows["ticker"] == "C") & (rows["date"] < days[-12])
    gone = (rows["ticker"] == "D") & (rows["date"] > days[-40])
    return rows[~late & ~gone]


def test_sweep_when_tickers_are_poisoned_then_only_their_cells_fail_and_exit_3(pmx: Pmx) -> None:
    healthy = long_form("ABCD")
    pmx.write(SETTINGS, healthy[healthy["ticker"] == "A"])
    pmx(*SWEEP)
    alone = good_cells(pmx, "drift")
    relaxed = {**SETTINGS, "data_quality_threshold": 0.5}
    pmx.write(relaxed, poisoned())
    pmx("sweep", "sweep.yaml", "--address", "in-process", "--out", "bad", code=3)
    (folder,) = (pmx.folder / "bad").glob("mine-*")
    failed = pq.read_table(folder / "failures.parquet").to_pandas()
    by_ticker = failed.groupby("ticker")["status"].agg(set).to_dict()
    assert set(by_ticker) == {"B", "C", "D"}
    assert by_ticker["B"] == {"constant"}
    assert by_ticker["C"] <= {"too_short", "no_price"}
    assert by_ticker["D"] == {"no_price"}
    assert failed[["ticker", "label", "cutoff", "reason"]].notna().all().all()
    assert alone  # the good ticker's forecasts are those it has alone
    assert good_cells(pmx, "drift", folder=folder) == alone
    page = (folder / "report.html").read_text()
    assert "all 89 log returns equal 0" in page


def good_cells(pmx: Pmx, label: str, *, folder: Path | None = None) -> list[tuple[object, ...]]:
    rows = pq.read_table((folder or pmx.sweep) / "tickers.parquet").to_pylist()
    return [
        (row["step"], row["ticker"], row["n_scored"])
        for row in rows
        if row["label"] == label and row["ticker"] == "A"
    ]


def test_sweep_when_failures_are_accepted_then_exit_0(pmx: Pmx) -> None:
    rows = long_form("ABC")
    gone = (rows["ticker"] == "C") & (rows["date"] > rows["date"].unique()[-40])
    settings = {**SETTINGS, "accepted_failures": ["no_price"]}
    pmx.write(settings, rows[~gone])
    assert "no_price" in pmx(*SWEEP)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fold": {}}, "sweep.yaml: unknown key 'fold'; did you mean 'folds'?"),
        ({"folds": {"stepsize": 1}}, "unknown key 'folds.stepsize'; did you mean 'step_size'?"),
        ({"folds": {"step_size": "x"}}, "folds.step_size: "),
        ({"folds": {"input_size": 5000}}, "200 sessions leave no fold with input_size 5000"),
        ({"forecasters": [{"name": "gatch"}]}, "unknown forecaster 'gatch'; did you mean 'garch'?"),
        ({"forecasters": [{"name": "garch", "dst": 1}]}, "unknown key 'dst'"),
        ({"forecasters": [{"name": "drift"}, {"name": "drift"}]}, "drift is given twice"),
        ({"panel": {"source": "file", "path": "price.csv"}}, "price.csv"),
        ({"panel": {"source": "fil", "path": "x"}}, "panel: "),
        ({"name": "../x"}, "name: "),
        ({"plugins": ["nowhere"]}, "module 'nowhere' cannot be imported"),
        ({"plugins": ["..x"]}, "module '..x' cannot be imported"),
        ({"plugins": [""]}, "module '' cannot be imported"),
        ({"folds": {"embargo": 1e20}}, "folds.embargo"),
        ({"evaluation": {"baseline": "drfit"}}, "no forecaster is labelled 'drfit'"),
        ({"lake": "ftp://x"}, "ftp"),
    ],
)
def test_sweep_when_settings_are_wrong_then_exit_2_one_line_nothing_written(
    pmx: Pmx, change: dict[str, object], message: str
) -> None:
    pmx.write({**SETTINGS, **change}, long_form())
    before = pmx.files()
    pmx(*SWEEP, code=2)
    assert message in pmx.err
    assert pmx.err.startswith("pmx: ")
    assert pmx.err.count("\n") == 1
    assert pmx.files() == before


def test_sweep_when_a_ticker_is_a_path_then_exit_2_with_its_row_nothing_written(pmx: Pmx) -> None:
    rows = long_form()
    rows.loc[5, "ticker"] = "../../x"
    pmx.write(SETTINGS, rows)
    before = pmx.files()
    pmx(*SWEEP, code=2)
    assert "../../x" in pmx.err
    assert "row 7" in pmx.err  # the header is row 1
    assert pmx.files() == before


def test_sweep_when_the_settings_file_is_missing_then_exit_2(pmx: Pmx) -> None:
    pmx("sweep", "swep.yaml", code=2)
    assert "no such settings file; did you mean 'sweep.yaml'?" in pmx.err


def test_sweep_when_an_option_is_set_then_it_counts(pmx: Pmx) -> None:
    out = pmx(*SWEEP, "--set", "folds.steps=[2]", "--set", "seed=9")
    assert "Step 2" in out
    assert "Step 5" not in out


def test_sweep_when_it_needs_a_gpu_worker_and_has_none_then_exit_2(pmx: Pmx) -> None:
    pmx.write(
        {**SETTINGS, "plugins": ["odd_forecasters"], "forecasters": [{"name": "on_gpu"}]},
        long_form(),
    )
    pmx(*SWEEP, code=2)
    assert "on_gpu needs a GPU worker and execution.gpu_workers is 0" in pmx.err


def test_audit_when_a_forecaster_peeks_then_exit_1_and_named(pmx: Pmx) -> None:
    settings = {
        **SETTINGS,
        "plugins": ["odd_forecasters"],
        "forecasters": [{"name": "drift"}, {"name": "peeking"}],
    }
    pmx.write(settings, long_form())
    out = pmx("audit-leaks", "sweep.yaml", code=1)
    assert "leak: forecaster peeking: the output of A at 2015-" in out
    assert "leak: forecaster drift" not in out


def test_forecasters_when_listed_then_each_with_its_parameters(pmx: Pmx) -> None:
    out = pmx("forecasters", "--plugin", "odd_forecasters")
    for name in ("random_walk", "garch", "sarimax", "samossa", "decay=0.94", "dice"):
        assert name in out
    assert "return_lag(lags=0-1-2-3)" in out
    assert "{" not in out
    assert "…" not in out  # nothing is cut off


def test_root_when_in_a_ray_working_dir_then_outside_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pmx_ray.place import default_root  # noqa: PLC0415

    copied = tmp_path / "working_dir_files" / "_ray_pkg_1"
    copied.mkdir(parents=True)
    monkeypatch.delenv("PMX_HOME", raising=False)
    monkeypatch.chdir(copied)
    assert default_root() == Path.home() / "pmx-runs"
    monkeypatch.chdir(tmp_path)
    assert default_root() == tmp_path / "runs"
    monkeypatch.setenv("PMX_HOME", str(tmp_path / "x"))
    assert default_root() == tmp_path / "x"


def test_run_when_cells_fail_then_exit_3_unless_accepted(pmx: Pmx) -> None:
    rows = long_form("ABC")
    gone = (rows["ticker"] == "C") & (rows["date"] > rows["date"].unique()[-40])
    for accepted, code in [([], 3), (["no_price"], 0)]:
        settings = {**SETTINGS, "accepted_failures": accepted}
        pmx.write(settings, rows[~gone])
        pmx("plan", "sweep.yaml")
        pmx("run", str(pmx.sweep), "--address", "in-process", code=code)


def test_sweep_when_the_ledger_url_is_wrong_then_exit_2_before_anything(
    pmx: Pmx, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PMX_LEDGER_URL", "mysql://me:geheim@host/db")
    before = pmx.files()
    pmx(*SWEEP, code=2)
    assert "mysql" in pmx.err
    assert "geheim" not in pmx.err
    assert pmx.files() == before


def test_sweep_when_the_root_cannot_be_made_then_exit_1_one_line(pmx: Pmx) -> None:
    (pmx.folder / "taken").write_text("a file where a folder should be")
    pmx(*SWEEP, "--out", "taken", code=1)
    assert pmx.err.startswith("pmx: ")
    assert pmx.err.count("\n") == 1


@pytest.mark.parametrize("columns", ["", "wide", "0", "70"])
def test_sweep_when_columns_is_odd_then_it_still_prints(
    pmx: Pmx, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert "random_walk" in pmx(*SWEEP)


def test_json_when_a_path_looks_like_an_emoji_then_it_is_left_alone(pmx: Pmx) -> None:
    lines = pmx(*SWEEP, "--json", "--out", ":warning:").splitlines()
    (report,) = [line for line in map(json.loads, lines) if line["event"] == "report"]
    assert ":warning:" in report["path"]


def test_sweep_when_a_plugin_is_no_python_then_exit_2(pmx: Pmx) -> None:
    (pmx.folder / "broken_plugin.py").write_text("def f(:\n")
    pmx.write({**SETTINGS, "plugins": ["broken_plugin"]}, long_form())
    pmx(*SWEEP, code=2)
    assert "module 'broken_plugin' cannot be imported: invalid syntax" in pmx.err


def test_run_when_a_plugin_lies_in_the_current_directory_then_it_is_found(
    pmx: Pmx, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pmx.folder / "plugin_beside.py").write_text("")
    pmx.write({**SETTINGS, "plugins": ["plugin_beside"]}, long_form())
    pmx("plan", "sweep.yaml")
    monkeypatch.setattr("sys.path", [place for place in sys.path if place != str(pmx.folder)])
    monkeypatch.delitem(sys.modules, "plugin_beside")
    pmx("run", str(pmx.sweep), "--address", "in-process")


def test_sweep_when_the_machine_fails_a_block_then_it_is_tried_again_next_time(pmx: Pmx) -> None:
    settings = {**SETTINGS, "plugins": ["odd_forecasters"], "forecasters": [{"name": "starved"}]}
    pmx.write(settings, long_form())
    (pmx.folder / "no_memory").touch()
    pmx(*SWEEP, code=3)
    (pmx.folder / "no_memory").unlink()
    assert "0 failed" in pmx(*SWEEP)


def documented_plugin() -> str:
    page = (Path(__file__).parents[2] / "docs" / "forecasters.md").read_text()
    return page.split("```python\n")[-1].split("```")[0]


def test_plugin_when_written_as_documented_then_it_runs_and_passes_the_audit(pmx: Pmx) -> None:
    (pmx.folder / "my_models.py").write_text(documented_plugin())
    settings = {**SETTINGS, "plugins": ["my_models"], "forecasters": [{"name": "reversal"}]}
    pmx.write(settings, long_form())
    assert "reversal" in pmx(*SWEEP)
    assert "audit: 0 leaks" in pmx("audit-leaks", "sweep.yaml")


def test_plugin_when_its_source_is_edited_then_it_is_computed_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In processes of their own: a module is imported once a process."""
    monkeypatch.chdir(tmp_path)
    module = tmp_path / "my_models.py"
    code = "from pmx_ray.forecasters.registry import *; load_families(['my_models']); "
    code += "print(ForecasterSpec.parse({'name': 'reversal'}).libraries['plugin'])"
    hashes = set()
    for text in (documented_plugin(), documented_plugin().replace("-self.share", "self.share")):
        module.write_text(text)
        found = subprocess.run(
            [sys.executable, "-B", "-c", code], capture_output=True, text=True, check=True
        )
        hashes.add(found.stdout)
    assert len(hashes) == 2


@pytest.mark.parametrize("address", ["nowhere", "host", "host:port", ":6379"])
def test_sweep_when_the_address_is_none_then_exit_2_nothing_written(pmx: Pmx, address: str) -> None:
    before = pmx.files()
    pmx("sweep", "sweep.yaml", "--address", address, code=2)
    assert f"--address was '{address}'; it must be in-process, local, auto or HOST:PORT" in pmx.err
    assert pmx.files() == before


def test_version_when_asked_then_printed(pmx: Pmx) -> None:
    assert pmx("--version").startswith("pmx 0.")


def test_json_when_run_twice_then_each_event_says_what_it_did(pmx: Pmx) -> None:
    for reused in (0, 4):
        lines = [json.loads(line) for line in pmx(*SWEEP, "--json").splitlines()]
        (run,) = [line for line in lines if line["event"] == "run"]
        assert run == {"event": "run", "blocks": 4 - reused, "reused": reused}


def test_sweep_when_it_is_small_then_in_this_process_and_it_says_so(pmx: Pmx) -> None:
    """No address is given; Ray would take longer to start than the work takes."""
    out = pmx("sweep", "sweep.yaml")
    assert "in this process; --address local or execution.workers starts Ray" in out
    # In process by name, and no block is left: nothing to say.
    assert '"event": "small"' not in pmx(*SWEEP, "--json")
