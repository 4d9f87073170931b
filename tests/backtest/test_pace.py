from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conftest import walk

from pmx_ray.backtest import sweep as folder_of
from pmx_ray.backtest.blocks import MAX_TICKERS, BlockSize, plan_blocks, registered_s
from pmx_ray.backtest.executor import Settled, run_in_process
from pmx_ray.backtest.pace import UNSEEN, Pace, load_paces, save_paces
from pmx_ray.backtest.settings import SweepSettings
from pmx_ray.folds import FoldSettings, build_folds
from pmx_ray.forecasters.registry import ForecasterSpec, load_families
from pmx_ray.lake import BlockStore, open_store

load_families(["odd_forecasters"])
BUSY = ForecasterSpec.parse({"name": "busy"})  # registered at 50 ms a fit
PANEL = walk("ABCDEFGHIJ", 240)
PLAN = build_folds(PANEL.sessions, FoldSettings(input_size=100, step_size=2, steps=(1, 5)))


@pytest.fixture
def store(tmp_path: Path) -> BlockStore:
    return open_store(str(tmp_path))


@pytest.mark.parametrize(
    ("seen", "factor"),
    [
        ((), 1.0),
        (((1.0, 2.005),), 2.0),
        (((1.0, 0.015), (1.0, 0.015), (1.0, 45.0)), 0.01),  # one block compiled
        (((1e-3, 0.1), (1e-3, 0.1), (1e-3, 0.1), (2.0, 4.005)), 2.0),  # small ones weigh little
        (((1.0, 0.0),), 1e-4),
    ],
)
def test_factor_when_blocks_were_seen_then_the_weighted_median(
    seen: tuple[tuple[float, float], ...], factor: float
) -> None:
    assert Pace(seen).factor == pytest.approx(factor)


def test_pace_when_many_blocks_were_seen_then_the_latest_are_kept() -> None:
    pace = Pace().after([(1.0, 1.0)] * 60).after([(1.0, 3.005)] * 60)
    assert len(pace.seen) == 64
    assert pace.factor == pytest.approx(3.0)


def test_paces_when_saved_then_loaded_the_same(store: BlockStore) -> None:
    paces = {"ab": Pace(((1.0, 2.0),), (4, 16), 64), "cd": UNSEEN}
    save_paces(store, paces)
    assert load_paces(store, paces) == paces


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b'{"seen": [[0, 1]], "widths": [], "longest": 1}', b"\xff"]
)
def test_paces_when_damaged_then_nothing_is_known(store: BlockStore, text: bytes) -> None:
    store.replace("paces/ab.json", text)
    assert load_paces(store, ["ab"]) == {"ab": UNSEEN}


def plan_with(pace: Pace, known: frozenset[str] = frozenset()) -> object:
    return plan_blocks(
        PANEL, PLAN, specs=[BUSY], seed=1, size=BlockSize(), known=known, paces={BUSY.id: pace}
    )


def test_plan_when_the_blocks_were_fast_then_they_are_cut_larger() -> None:
    usual, fast = plan_with(UNSEEN), plan_with(Pace(((1.0, 0.015),)))
    assert len(fast.blocks) < len(usual.blocks) / 4
    assert all(block.predicted_s <= 1.0 for block in fast.blocks)
    ratio = sum(b.predicted_s for b in fast.blocks) / sum(b.predicted_s for b in usual.blocks)
    assert ratio == pytest.approx(0.01)


def test_plan_when_costs_differ_a_little_then_the_same_cut() -> None:
    cuts = [plan_with(Pace(((1.0, 0.005 + factor),))) for factor in (0.8, 1.0, 1.4)]
    assert {len(block.tickers) for plan in cuts for block in plan.blocks} == {2}
    assert len({frozenset(block.scopes for block in plan.blocks) for plan in cuts}) == 1


@pytest.mark.parametrize("factor", [0.01, 1000.0])
def test_plan_when_the_pace_changed_then_known_blocks_are_found_whatever_their_size(
    factor: float,
) -> None:
    cut = plan_with(UNSEEN)
    known = frozenset(block.id for block in cut.blocks)
    pace = UNSEEN.cut(
        width=max(len(block.scopes) for block in cut.blocks),
        folds=max(block.stop - block.first for block in cut.blocks),
    ).after([(1.0, factor)])
    fresh = plan_with(pace)
    assert {block.id for block in fresh.blocks} != known  # else nothing is proven
    again = plan_with(pace, known)
    assert again.todo == ()
    assert {block.id for block in again.done} == known


def test_registered_when_a_pace_is_known_then_it_does_not_count() -> None:
    (block, *_) = plan_with(UNSEEN).blocks
    slow = replace(block, predicted_s=99.0)
    assert registered_s(slow, PLAN) == pytest.approx(block.predicted_s)


def test_sweep_when_run_then_the_lake_knows_its_pace_and_cut(tmp_path: Path) -> None:
    settings = SweepSettings.model_validate(
        {
            "name": "paced",
            "panel": {
                "source": "simulated", "kind": "garch", "n_tickers": 6, "n_sessions": 200,
            },
            "folds": {"input_size": 90, "step_size": 10, "steps": [1, 5]},
            "forecasters": [{"name": "drift"}],
            "evaluation": {"n_resamples": 100},
        }
    )  # fmt: skip
    sweep = folder_of.prepare(
        settings, root=tmp_path, clock=lambda: datetime(2026, 1, 2, tzinfo=UTC)
    )
    store = open_store(sweep.lake_url)
    plan, _ = folder_of.outline(sweep, store)
    folder_of.keep_cut(store, plan.blocks)
    settled: list[Settled] = list(run_in_process(sweep.panel, sweep.plan, plan.todo, store=store))
    folder_of.learn_pace(sweep, store, settled)
    paces = load_paces(store, [spec.id for spec in sweep.specs])
    for pace in paces.values():
        assert len(pace.seen) == len(settled) / 2
        assert pace.widths
        assert pace.widths[-1] <= MAX_TICKERS
    again, _ = folder_of.outline(sweep, store)
    assert again.todo == ()
