import json
from dataclasses import asdict
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hand_frames import DRIFT, RANDOM_WALK, assert_same_figures, averaging, hand_frame

from pmx_ray.backtest.cells import PAIRED_LOSSES, collect
from pmx_ray.backtest.compare import compare, compare_parts
from pmx_ray.backtest.comparison import Comparison
from pmx_ray.backtest.evaluate import EvaluationSettings, evaluate
from pmx_ray.backtest.frame import fold_keys
from pmx_ray.errors import DataError

SETTINGS = EvaluationSettings()


def returns(n_folds, seed=0):
    return np.random.default_rng(seed).normal(0.0, 0.02, (n_folds, 2, 1))


def frames(mean, actual, **values):
    return [
        (RANDOM_WALK, hand_frame(RANDOM_WALK, 0.0, actual)),
        (DRIFT, hand_frame(DRIFT, mean, actual, **values)),
    ]


def compared(pairs, seed=3):
    return compare(pairs, 5, SETTINGS, baseline=RANDOM_WALK.id, seed=seed)


def by_loss(comparison):
    return {row.loss: row for row in comparison.differences}


def test_compare_when_two_cells_then_differences_by_hand():
    actual = np.array([[[0.02], [-0.01]]])
    found = by_loss(compared(frames(np.full((1, 2, 1), 0.01), actual)))
    # errors .01, -.02 against .02, -.01
    assert found["squared_error"].mean == pytest.approx((1e-4 + 4e-4 - 4e-4 - 1e-4) / 2)
    assert found["absolute_error"].mean == pytest.approx(0.0, abs=1e-18)
    assert found["qlike"].mean == 0.0
    assert (found["squared_error"].n_cells, found["squared_error"].n_cutoffs) == (2, 1)
    assert found["squared_error"].low is None


def test_compare_when_the_forecast_is_perfect_then_the_interval_is_below_zero():
    actual = returns(40)
    found = by_loss(compared(frames(actual, actual)))
    assert tuple(found) == PAIRED_LOSSES
    difference = found["squared_error"]
    assert difference.mean == pytest.approx(-np.mean(actual**2))
    assert difference.low < difference.mean < difference.high < 0
    assert (difference.n_cells, difference.n_cutoffs, difference.block_length) == (80, 40, 4)


def test_compare_when_the_forecasts_are_the_same_then_no_difference():
    for difference in compared(frames(0.0, returns(20))).differences:
        assert (difference.mean, difference.low, difference.high) == (0.0, 0.0, 0.0)


def test_compare_when_cells_fail_then_the_cells_of_the_leaderboard_are_paired():
    actual, other = returns(20), averaging(20)
    failed = {(4, 0): ("error", "no")}
    pairs = [*frames(returns(20, 1), actual, failed=failed),
             (other, hand_frame(other, 0.01, actual))]  # fmt: skip
    found = compared(pairs)
    report = evaluate(pairs, 5, SETTINGS, baseline=RANDOM_WALK.id, seed=3)
    assert {row.n_cells for row in found.differences} == {39}
    assert set(report.leaderboard["n_common"].to_pylist()) == {39}
    shown = {row["spec"]: row["rmse"] ** 2 for row in report.leaderboard.to_pylist()}
    for row in found.differences:
        if row.loss == "squared_error":
            assert row.mean == pytest.approx(shown[row.spec] - shown[RANDOM_WALK.id])


def test_compare_when_saved_then_loaded_the_same(tmp_path):
    comparison = compared(frames(returns(20, 1), returns(20)))
    comparison.save(tmp_path)
    assert Comparison.load(tmp_path) == comparison
    assert json.loads((tmp_path / "comparison.json").read_text())["schema_version"] == "1"


def test_compare_when_the_file_is_missing_then_says_what_to_run(tmp_path):
    with pytest.raises(DataError, match="run `pmx compare` first"):
        Comparison.load(tmp_path)


@pytest.mark.parametrize("bounds", [(0, 1, 20), (0, 7, 8, 20)])
def test_compare_when_the_cells_come_in_parts_then_the_same_differences(bounds):
    pairs = frames(returns(20, 1), returns(20), failed={(4, 0): ("error", "no")})
    parts = [
        collect((spec, table.filter(pa.array(within(table, first, stop)))) for spec, table in pairs)
        for first, stop in pairwise(bounds)
    ]
    both = {RANDOM_WALK.id, DRIFT.id}
    found = compare_parts(parts, both, 5, SETTINGS, baseline=RANDOM_WALK.id, seed=3)
    for one, other in zip(found.differences, compared(pairs).differences, strict=True):
        assert_same_figures(asdict(one), asdict(other))


def within(table, first, stop):
    """Return which rows lie in the folds ``[first, stop)``."""
    keys = fold_keys(table)
    return np.isin(keys, np.unique(keys)[first:stop])
