"""The sweep's folder and ids, below the command."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hand_frames import assert_same_figures

from pmx_ray.backtest import sweep as folder_of
from pmx_ray.backtest.executor import Settled, run_in_process
from pmx_ray.backtest.outcome import evaluate_sweep, evaluated
from pmx_ray.backtest.record import run_record
from pmx_ray.backtest.settings import SweepSettings
from pmx_ray.backtest.sweep import Sweep
from pmx_ray.data.snapshot import SNAPSHOT_KEY, save_panel
from pmx_ray.errors import DataError
from pmx_ray.lake import BlockStore, open_store

SETTINGS = SweepSettings.model_validate(
    {
        "name": "small",
        "panel": {
            "source": "simulated", "kind": "garch", "n_tickers": 3, "n_sessions": 200, "seed": 4,
        },
        "folds": {"input_size": 90, "step_size": 10, "steps": [1, 5], "refit_every": 4},
        "forecasters": [{"name": "drift"}],
        "evaluation": {"n_resamples": 100},
    }
)  # fmt: skip


def clock() -> datetime:
    return datetime(2026, 1, 2, tzinfo=UTC)


def ready(root: Path, settings: SweepSettings = SETTINGS) -> Sweep:
    return folder_of.prepare(settings, root=root, clock=clock)


def run(sweep: Sweep, store: BlockStore) -> list[Settled]:
    plan, receipts = folder_of.outline(sweep, store)
    settled = [Settled(block, receipts[block.id]) for block in plan.done]
    settled += run_in_process(sweep.panel, sweep.plan, plan.todo, store=store)
    folder_of.save(sweep)
    folder_of.save_receipts(sweep, settled)
    return settled


def test_prepare_when_called_then_nothing_is_written(tmp_path: Path) -> None:
    sweep = ready(tmp_path / "runs")
    assert sweep.folder.name == f"small-{sweep.sweep_id[:12]}"
    assert not (tmp_path / "runs").exists()


def test_load_when_saved_then_the_same_sweep(tmp_path: Path) -> None:
    sweep = ready(tmp_path)
    folder_of.save(sweep)
    again = folder_of.load(sweep.folder)
    assert again.sweep_id == sweep.sweep_id
    assert again.panel.sha256 == sweep.panel.sha256
    assert again.plan.cutoff.tolist() == sweep.plan.cutoff.tolist()
    assert again.specs == sweep.specs


@pytest.mark.parametrize("damage", [b"", b"PAR1 not", None])
def test_save_when_the_panel_is_damaged_then_written_again(
    tmp_path: Path, damage: bytes | None
) -> None:
    sweep = ready(tmp_path)
    folder_of.save(sweep)
    path = sweep.folder / "panel.parquet"
    whole = path.read_bytes()
    if damage is None:  # whole, but of another sweep
        save_panel(ready(tmp_path, changed(panel={"seed": 5})).panel, path)
    else:
        path.write_bytes(damage)
        with pytest.raises(DataError, match=r"panel\.parquet: .*pmx plan SETTINGS"):
            folder_of.load(sweep.folder)
    folder_of.save(sweep)
    assert path.read_bytes() == whole


def test_load_when_the_panel_s_head_is_damaged_then_named(tmp_path: Path) -> None:
    sweep = ready(tmp_path)
    folder_of.save(sweep)
    path = sweep.folder / "panel.parquet"
    table = pq.read_table(path)
    for head in (b"{", b"[]", b'{"version": 1}'):
        pq.write_table(table.replace_schema_metadata({SNAPSHOT_KEY: head}), path)
        with pytest.raises(DataError, match=r"panel\.parquet: is damaged .*pmx plan SETTINGS"):
            folder_of.load(sweep.folder)


@pytest.mark.parametrize("name", ["settings.yaml", "quality.json"])
@pytest.mark.parametrize("damage", ["directory", "not text", "not a mapping", "torn", "deleted"])
def test_load_when_a_document_is_damaged_then_one_line_says_what_to_run(
    tmp_path: Path, name: str, damage: str
) -> None:
    sweep = ready(tmp_path)
    folder_of.save(sweep)
    path = sweep.folder / name
    path.unlink()
    texts = {"not text": b"\xff\xfe", "not a mapping": b"[1]", "torn": b'{"a": "'}
    if damage == "directory":
        path.mkdir()
    elif damage != "deleted":
        path.write_bytes(texts[damage])
    with pytest.raises(DataError, match="pmx plan") as caught:
        folder_of.load(sweep.folder)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_load_when_the_folder_is_a_file_then_no_sweep_folder(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(DataError, match="is not a sweep folder"):
        folder_of.load(tmp_path / "x")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("lake", "{base}/lake"),
        ("../lake", "{parent}/lake"),
        ("/data/lake", "/data/lake"),
        ("s3://bucket/pmx", "s3://bucket/pmx"),
        ("file:///data/lake", "file:///data/lake"),
        (None, None),
    ],
)
def test_prepare_when_the_lake_is_relative_then_absolute_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str | None, expected: str | None
) -> None:
    base = tmp_path / "settings"
    settings = SETTINGS.model_copy(update={"lake": written})
    sweep = folder_of.prepare(settings, root=tmp_path / "runs", clock=clock, base_dir=base)
    folder_of.save(sweep)
    monkeypatch.chdir(tmp_path)
    again = folder_of.load(sweep.folder)
    if expected is not None:
        expected = expected.format(base=base.resolve(), parent=tmp_path.resolve())
    assert again.settings.lake == sweep.settings.lake == expected
    assert again.lake_url == (expected or str(sweep.folder.parent / "lake"))
    assert again.sweep_id == ready(tmp_path).sweep_id


def changed(**sections: dict[str, object]) -> SweepSettings:
    document = SETTINGS.model_dump(mode="json")
    for section, values in sections.items():
        document[section] = {**document[section], **values}
    return SweepSettings.model_validate(document)


def test_id_when_only_the_execution_changes_then_the_same(tmp_path: Path) -> None:
    other = changed(execution={"workers": 7, "folds_per_block": 1, "max_attempts": 9})
    other = other.model_copy(update={"lake": "s3://elsewhere/pmx", "name": "small"})
    assert ready(tmp_path, other).sweep_id == ready(tmp_path).sweep_id


@pytest.mark.parametrize(
    "section",
    [
        {"panel": {"seed": 5}},
        {"folds": {"refit_every": 5}},
        {"evaluation": {"n_resamples": 200}},
        {"evaluation": {"costs": {"fee_bps": 11}}},
    ],
)
def test_id_when_a_result_can_change_then_another(
    tmp_path: Path, section: dict[str, dict[str, object]]
) -> None:
    assert ready(tmp_path, changed(**section)).sweep_id != ready(tmp_path).sweep_id


def test_folds_when_a_tuning_end_is_set_then_only_the_evaluation_partition(tmp_path: Path) -> None:
    whole = ready(tmp_path)
    middle = whole.panel.sessions[150]
    later = ready(tmp_path, changed(folds={"tuning_end": str(middle)}))
    assert (later.panel.sessions[later.plan.cutoff] >= middle).all()
    assert 0 < len(later.plan) < len(whole.plan)


@pytest.mark.parametrize("kind", ["expanding", "combinatorial"])
def test_sweep_when_the_plan_is_of_another_kind_then_evaluated_without_failures(
    tmp_path: Path, kind: str
) -> None:
    sweep = ready(tmp_path, changed(folds={"kind": kind, "refit_every": 1}))
    store = open_store(str(tmp_path / "lake"))
    run(sweep, store)
    outcome = evaluate_sweep(sweep, store)
    assert outcome.provenance["n_failed"] == 0
    assert outcome.report.leaderboard.num_rows == 2 * 2


def test_evaluate_when_a_block_was_lost_since_then_it_is_known_again(tmp_path: Path) -> None:
    sweep, store = ready(tmp_path), open_store(str(tmp_path / "lake"))
    first = run(sweep, store)
    evaluate_sweep(sweep, store)
    lost = replace(first[0], receipt=None, reason="given up after 3 attempts: killed")
    folder_of.save_receipts(sweep, [lost, *first[1:]])
    outcome = evaluate_sweep(sweep, store)
    assert not outcome.reused
    assert outcome.provenance["n_quarantined_blocks"] == 1
    assert set(outcome.report.failures["status"].to_pylist()) == {"quarantined"}
    assert not (sweep.folder / "report.html").exists()


@pytest.mark.parametrize("longest", [1, 4, 7])
def test_evaluate_when_a_part_holds_few_folds_then_the_same_forecasts_and_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, longest: int
) -> None:
    """A block may be longer than a part, and parts of several specs end where blocks do."""
    sweep = ready(tmp_path)
    store = open_store(sweep.lake_url)
    run(sweep, store)
    whole = evaluate_sweep(sweep, store)
    (sweep.folder / "provenance.json").unlink()  # else nothing would be read anew
    monkeypatch.setattr(folder_of, "MAX_FOLDS", longest)
    monkeypatch.setattr(folder_of, "PART_CELLS", 1)
    settled = folder_of.load_settled(sweep)
    runs = [list(found) for found in folder_of.frame_parts(sweep, settled, store)]
    assert len(runs) > 1
    assert sum(len(table) for found in runs for _, table in found) == sweep.n_cells
    parted = evaluate_sweep(sweep, store)
    assert parted.provenance == whole.provenance
    board, expected = parted.report.leaderboard, whole.report.leaderboard
    for one, other in zip(board.to_pylist(), expected.to_pylist(), strict=True):
        assert_same_figures(one, other)


def test_evaluated_when_nothing_was_then_says_what_to_do(tmp_path: Path) -> None:
    sweep = ready(tmp_path)
    folder_of.save(sweep)
    with pytest.raises(DataError, match="has not been evaluated; do so with: pmx evaluate"):
        evaluated(sweep)


def test_record_when_made_then_every_figure_of_every_spec_and_step(tmp_path: Path) -> None:
    sweep, store = ready(tmp_path), open_store(str(tmp_path / "lake"))
    run(sweep, store)
    evaluate_sweep(sweep, store)
    record = run_record(sweep, *evaluated(sweep), recorded_at=clock())
    rmse = {m.spec_id: m.value for m in record.metrics if (m.measure, m.step) == ("rmse", 5)}
    assert set(rmse) == {spec.id for spec in sweep.specs}
    assert record.run.n_cells == sweep.n_cells == len(sweep.plan) * 2 * 3 * 2
    assert record.run.status == "done"
