import numpy as np
import pyarrow as pa
import pytest
from conftest import walk

from pmx_ray.backtest.frame import (
    FRAME_SCHEMA,
    FrameDigest,
    build_frame,
    canonical,
    fold_keys,
    realized,
    to_nixtla,
)
from pmx_ray.data.panel import Panel
from pmx_ray.folds import FoldPlan, FoldSettings, build_folds
from pmx_ray.forecasters.batch import gather
from pmx_ray.forecasters.protocol import Failure, Forecast, Status

DAYS = np.arange("2020-01-01", "2020-02-10", dtype="M8[D]")  # 40 days


@pytest.fixture
def small() -> tuple[Panel, FoldPlan]:
    close = np.array([np.exp(0.01 * np.arange(40)), np.exp(0.02 * np.arange(40))])
    close[1, 35] = np.nan
    gap = np.isnan(close)
    panel = Panel("24/7", ("A", "B"), DAYS, close, gap=gap)
    return panel, build_folds(DAYS, FoldSettings(input_size=30, step_size=3, steps=(1, 3)))


def frame(panel: Panel, plan: FoldPlan) -> pa.Table:
    good = Forecast(np.array([0.01, 0.03]), np.array([1e-4, 3e-4]))
    bad = Failure(Status.CONSTANT, "flat")
    outcomes = [(good, bad), (good, good), (good, good)]
    return build_frame("spec", panel, plan, gather(outcomes, plan.steps, 2))


def test_realized_when_prices_grow_evenly_then_the_sums_by_hand(
    small: tuple[Panel, FoldPlan],
) -> None:
    panel, plan = small
    actual, variance = realized(panel, plan)
    assert plan.cutoff.tolist() == [29, 32, 35]
    np.testing.assert_allclose(actual[0, 0], [0.01, 0.03], rtol=1e-12)  # 1 and 3 sessions of 1 %
    np.testing.assert_allclose(variance[0, 0], [1e-4, 3e-4], rtol=1e-9)
    assert np.isnan(actual[1, 1, 1])  # B has no price on session 35 = cutoff 32 + 3
    assert np.isfinite(actual[1, 1, 0])
    assert np.isnan(variance[1, 1, 1])


def test_frame_when_built_then_schema_key_order_and_times(small: tuple[Panel, FoldPlan]) -> None:
    table = frame(*small)
    assert table.schema.equals(FRAME_SCHEMA, check_metadata=True)
    rows = table.to_pylist()
    keys = [(r["spec"], r["split"], r["ticker"], r["cutoff"], r["step"]) for r in rows]
    assert keys == sorted(set(keys))
    assert len(rows) == 3 * 2 * 2
    first = rows[0]
    assert (first["ticker"], str(first["cutoff"]), str(first["time"])) == (
        "A",
        "2020-01-30",
        "2020-01-31",
    )
    assert first["q50"] == pytest.approx(0.01)
    assert first["q95"] == pytest.approx(0.01 + 1.6448536269514722 * 0.01)  # z(0.95)


def test_frame_when_splits_share_cutoffs_then_in_canonical_order() -> None:
    panel = walk("ABC", 240)
    settings = FoldSettings(kind="combinatorial", input_size=30, step_size=9, steps=(1, 5))
    plan = build_folds(panel.sessions, settings)
    assert plan.split.max() > 1
    rng = np.random.default_rng(0)
    outcomes = [
        tuple(
            Failure(Status.EXPLOSIVE, f"no {fold % 3}")
            if rng.random() < 0.2
            else Forecast(rng.normal(size=2), np.array([1.0, 2.0]))
            for _ in panel.tickers
        )
        for fold in range(len(plan))
    ]
    table = build_frame("spec", panel, plan, gather(outcomes, plan.steps, 3))
    assert table.equals(canonical(table))
    rows = {(r["split"], r["cutoff"], r["ticker"], r["step"]): r for r in table.to_pylist()}
    assert len(rows) == len(table)
    for fold, row in enumerate(outcomes):
        cutoff = panel.sessions[plan.cutoff[fold]].item()
        for ticker, outcome in zip(panel.tickers, row, strict=True):
            found = rows[int(plan.split[fold]), cutoff, ticker, 5]
            if isinstance(outcome, Forecast):
                assert (found["mean"], found["reason"]) == (outcome.mean[1], None)
            else:
                assert (found["status"], found["reason"]) == ("explosive", outcome.reason)


def test_frame_when_a_fit_failed_then_a_row_with_status_reason_and_nulls(
    small: tuple[Panel, FoldPlan],
) -> None:
    failed = [r for r in frame(*small).to_pylist() if r["status"] != "ok"]
    assert [(r["ticker"], r["step"]) for r in failed] == [("B", 1), ("B", 3)]
    assert {r["reason"] for r in failed} == {"flat"}
    assert all(r["mean"] is None and r["q05"] is None for r in failed)
    assert all(r["actual"] is not None for r in failed)


def test_digest_when_rows_come_in_another_order_then_the_same(
    small: tuple[Panel, FoldPlan],
) -> None:
    table = frame(*small)
    shuffled = table.take(pa.array(np.random.default_rng(1).permutation(table.num_rows)))
    assert digest(canonical(shuffled)) == digest(table)
    assert digest(shuffled) != digest(table)


@pytest.mark.parametrize("column", ["mean", "status", "reason", "cutoff", "refit"])
def test_digest_when_one_value_changes_then_another(
    small: tuple[Panel, FoldPlan], column: str
) -> None:
    table = frame(*small)
    values = table[column].to_pylist()
    values[0] = {
        "mean": 0.010000000000000002,  # the next float
        "status": "constant",
        "reason": "",  # empty is not null
        "cutoff": values[0] if column != "cutoff" else values[-1],
        "refit": not values[0],
    }[column]
    index = table.column_names.index(column)
    changed = table.set_column(
        index, table.field(column), pa.array(values, table.field(column).type)
    )
    assert digest(changed) != digest(table)


def test_digest_when_fed_in_runs_of_folds_then_the_same(small: tuple[Panel, FoldPlan]) -> None:
    table = frame(*small)
    keys = fold_keys(table)
    whole, runs = FrameDigest(), FrameDigest()
    whole.update(table)
    for part in (np.unique(keys)[:1], np.unique(keys)[1:]):
        runs.update(table.filter(pa.array(np.isin(keys, part))))
    assert runs.hexdigest() == whole.hexdigest()


def test_nixtla_when_exported_then_their_columns(small: tuple[Panel, FoldPlan]) -> None:
    wide = to_nixtla(frame(*small), [("spec", "model")], step=1)
    assert list(wide.columns) == ["unique_id", "ds", "cutoff", "y", "model"]
    assert len(wide) == 4  # six cells; one failed, and B has no price on its last cutoff


def digest(table: pa.Table) -> str:
    whole = FrameDigest()
    whole.update(table)
    return whole.hexdigest()
