import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hand_frames import DRIFT, RANDOM_WALK, hand_frame

from pmx_ray.backtest.evaluate import EvaluationSettings, evaluate
from pmx_ray.backtest.report_types import LEADERBOARD_SCHEMA, SCHEMAS, EvaluationReport
from pmx_ray.errors import DataError
from pmx_ray.stats.catalogue import MEASURES


@pytest.fixture
def report():
    actual = np.random.default_rng(0).normal(0.0, 0.02, (12, 2, 1))
    return evaluate(
        [
            (RANDOM_WALK, hand_frame(RANDOM_WALK, 0.0, actual)),
            (DRIFT, hand_frame(DRIFT, 0.01, actual, failed={(3, 1): ("error", "no")})),
        ],
        5,
        EvaluationSettings(),
        baseline=RANDOM_WALK.id,
        seed=0,
    )


def test_report_when_saved_then_loaded_the_same(report, tmp_path):  # proves E4
    report.save(tmp_path)
    loaded = EvaluationReport.load(tmp_path)
    for name in SCHEMAS:
        assert getattr(loaded, name).equals(getattr(report, name), check_metadata=True), name
    for name in ("baseline", "step_size", "seed", "block_length", "settings"):
        assert getattr(loaded, name) == getattr(report, name), name
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["evaluation.json", *(f"{name}.parquet" for name in SCHEMAS)]
    )


def test_report_when_saved_twice_then_the_same_bytes(report, tmp_path):
    report.save(tmp_path / "a")
    report.save(tmp_path / "b")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.parametrize("name", ["evaluation.json", "tickers.parquet"])
def test_load_when_a_file_is_missing_then_says_what_to_run(report, tmp_path, name):
    report.save(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match=f"{name} is missing; run `pmx evaluate` first"):
        EvaluationReport.load(tmp_path)


def test_load_when_another_version_wrote_it_then_refused(report, tmp_path):
    report.save(tmp_path)
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": "0"}))
    with pytest.raises(DataError, match="schema version 0; this release reads 1"):
        EvaluationReport.load(tmp_path)


@pytest.mark.parametrize("name", ["evaluation.json", "leaderboard.parquet"])
def test_load_when_a_file_is_damaged_then_named(report, tmp_path, name):
    report.save(tmp_path)
    (tmp_path / name).write_bytes(b"not this")
    with pytest.raises(DataError, match=f"{name} is not"):
        EvaluationReport.load(tmp_path)


def test_report_when_a_column_is_missing_then_refused(report):
    with pytest.raises(DataError, match="'tickers' is not in schema version 1"):
        replace(report, tickers=report.tickers.drop_columns(["crps"]))


def test_measures_when_listed_then_each_is_a_column_and_each_figure_is_listed():
    figures = {
        field.name
        for field in LEADERBOARD_SCHEMA
        if pa.types.is_floating(field.type) and not field.name.endswith(("_low", "_high"))
    }
    assert set(MEASURES) == figures


def test_measures_when_the_direction_is_a_target_then_it_has_one():
    for measure in MEASURES.values():
        assert (measure.direction == "target") == (measure.target is not None), measure.name
        assert measure.explanation.endswith("."), measure.name
