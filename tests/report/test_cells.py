"""The cells of a sweep as the page has them: states, reasons, tracebacks, and no live text."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import walk

from pmx_ray.backtest.attempts import attempted
from pmx_ray.backtest.executor import Settled, run_in_process
from pmx_ray.backtest.settings import SweepSettings
from pmx_ray.backtest.sweep import Sweep, keep_order, outline, save_receipts
from pmx_ray.folds import folds_of
from pmx_ray.forecasters.protocol import Status
from pmx_ray.lake import FolderStore
from pmx_ray.report.cells import CellReader, render_cells
from pmx_ray.report.cells.document import MAX_REASONS, document, run_lengths
from pmx_ray.report.cells.reading import FailedCell
from pmx_ray.report.cells.states import CODES, FIRST_FAILED, STATES

EVIL = "</script><script>window.owned=1</script>"


@pytest.fixture
def sweep(tmp_path) -> Sweep:
    """Return three tickers by eleven folds for two forecasters; one raises on B."""
    panel = walk("ABC", 200)
    settings = SweepSettings.model_validate(
        {
            "name": "mine",
            "panel": {"source": "file", "path": "prices.csv"},
            "folds": {"input_size": 90, "step_size": 10, "steps": [1, 5], "refit_every": 4},
            "forecasters": [{"name": "random_walk"}, {"name": "raising"}],
            "execution": {"tickers_per_block": 1, "folds_per_block": 4},
            "plugins": ["odd_forecasters"],
        }
    )
    folder = tmp_path / "mine"
    folder.mkdir()
    plan = folds_of(panel, settings.folds)
    return Sweep(folder, settings, panel, {"quarantined": []}, plan, settings.specs())


@pytest.fixture
def store(sweep) -> FolderStore:
    return FolderStore(sweep.folder / "lake")


def compute(sweep, store, blocks) -> list[Settled]:
    return list(run_in_process(sweep.panel, sweep.plan, blocks, store=store))


def states_of(cells, label) -> np.ndarray:
    """Return the names of states of one forecaster, (N, F)."""
    spec = [spec.label for spec in cells.sweep.specs].index(label)
    return np.array([state.name for state in STATES])[cells.states[spec]]


def test_cells_when_planned_then_all_wait(sweep, store) -> None:
    cells = CellReader(sweep, store).read()
    assert cells.counts() == {"waiting": 2 * 3 * len(sweep.plan)}
    assert (cells.n_open, cells.n_failed) == (cells.states.size, 0)


def test_cells_when_a_run_is_under_way_then_done_running_and_waiting(sweep, store) -> None:
    plan, _ = outline(sweep, store)
    keep_order(sweep, plan.todo)
    first, second, third, *_ = (b for b in plan.todo if b.spec.label == "random_walk")
    compute(sweep, store, [first])
    long = replace(second, predicted_s=60.0)
    with attempted(store, long, node="far", attempt=1):
        cells = CellReader(sweep, store).read()
    for block, state in ((first, "done"), (second, "running"), (third, "waiting")):
        row = sweep.panel.tickers.index(block.tickers[0])
        own = states_of(cells, block.spec.label)[row, block.first : block.stop]
        assert set(own) == {state}, block
    assert cells.counts()["running"] == second.stop - second.first


def test_cells_when_the_lake_holds_blocks_then_cached_until_ordered(sweep, store) -> None:
    plan, _ = outline(sweep, store)
    walks = [block for block in plan.todo if block.spec.label == "random_walk"]
    compute(sweep, store, walks)
    cells = CellReader(sweep, store).read()
    assert set(states_of(cells, "random_walk").ravel()) == {"cached"}
    assert set(states_of(cells, "raising").ravel()) == {"waiting"}
    keep_order(sweep, walks[:1])
    assert CellReader(sweep, store).read().counts()["done"] == walks[0].stop - walks[0].first


def finished(sweep, store) -> list[Settled]:
    """Run the sweep, the blocks of C of one forecaster given up, and save its receipts."""
    plan, _ = outline(sweep, store)
    keep_order(sweep, plan.todo)
    settled = [
        Settled(block, None, f"given up after 3 attempts: died {EVIL}")
        if block.spec.label == "raising" and block.tickers == ("C",)
        else compute(sweep, store, [block])[0]
        for block in plan.todo
    ]
    save_receipts(sweep, settled)
    return settled


def test_cells_when_over_then_each_failure_has_its_reason_and_traceback(sweep, store) -> None:
    finished(sweep, store)
    cells = CellReader(sweep, store).read()
    states = states_of(cells, "raising")
    assert [set(row) for row in states] == [{"done"}, {"error"}, {"quarantined"}]
    assert set(states_of(cells, "random_walk").ravel()) == {"done"}
    n_folds = len(sweep.plan)
    assert (cells.n_failed, cells.n_open) == (2 * n_folds, 0)
    assert {cell.reason for cell in cells.failed} == {"fit raised ZeroDivisionError: planted in B"}
    assert [(cell.ticker, cell.fold) for cell in cells.failed] == [(1, f) for f in range(n_folds)]
    facts = document(cells, refresh_s=0)
    assert facts["grids"][1] == [f"d{n_folds}", f"e{n_folds}", f"q{n_folds}"]
    told = facts["blocks"][1]["told"].values()
    reasons = {
        facts["reasons"][r]: facts["traces"][t] for row in told for r, t in row["traces"].items()
    }
    assert "in fit" in reasons["fit raised ZeroDivisionError: planted in B"]
    assert any(
        "given up after 3 attempts" in facts["reasons"][r["given_up"]]
        for r in told
        if r["given_up"] is not None
    )


def test_cells_when_a_quarantined_block_was_computed_since_then_it_is_done(sweep, store) -> None:
    settled = finished(sweep, store)
    lost = [row.block for row in settled if row.receipt is None]
    compute(sweep, store, lost[:1])
    cells = CellReader(sweep, store).read()
    n = lost[0].stop - lost[0].first
    assert (states_of(cells, "raising")[2] == "done").sum() == n


def test_cells_when_split_by_a_combinatorial_plan_then_failures_find_their_fold(
    sweep, store
) -> None:
    folds = {
        "kind": "combinatorial",
        "input_size": 30,
        "n_groups": 4,
        "n_test_groups": 2,
        "step_size": 10,
        "steps": [1],
    }
    settings = SweepSettings.model_validate(
        {**sweep.settings.model_dump(exclude_unset=True), "folds": folds}
    )
    plan = folds_of(sweep.panel, settings.folds)
    sweep = replace(sweep, settings=settings, plan=plan)
    finished(sweep, store)
    cells = CellReader(sweep, store).read()
    assert len(set(plan.split.tolist())) > 1
    assert [set(row) for row in states_of(cells, "raising")] == [
        {"done"},
        {"error"},
        {"quarantined"},
    ]
    assert document(cells, refresh_s=0)["splits"] == plan.split.tolist()


def test_page_when_reasons_hold_markup_then_it_is_text(sweep, store) -> None:
    finished(sweep, store)
    page = render_cells(CellReader(sweep, store).read())
    assert EVIL not in page
    assert "&lt;script&gt;window.owned=1" in page  # in the table
    assert "\\u003c/script>\\u003cscript>window.owned=1" in page  # in the data
    data = json.loads(page.split('id="cells">')[1].split("</script>")[0])
    assert any(EVIL in reason for reason in data["reasons"])


def test_page_when_over_then_the_same_bytes_and_no_time(sweep, store) -> None:
    finished(sweep, store)
    pages = {
        render_cells(CellReader(sweep, store).read(), as_of=when, refresh_s=n)
        for when, n in (("", 0), ("10:00", 5), ("11:00", 9))
    }
    assert len(pages) == 1
    assert "Every cell is over; 22 cells failed." in pages.pop()


def test_page_when_not_over_then_it_says_when_and_how_to_keep_up(sweep, store) -> None:
    cells = CellReader(sweep, store).read()
    still = render_cells(cells, as_of="2020-01-02 10:00:00 UTC")
    assert "0 of 66 cells are over; none failed." in still
    assert "As of 2020-01-02 10:00:00 UTC." in still
    assert f"pmx cells {sweep.folder} --watch" in still
    assert '"refresh":0' in still
    watched = render_cells(cells, as_of="2020-01-02 10:00:00 UTC", refresh_s=5)
    assert "loads itself again every 5 s" in watched
    assert '"refresh":5' in watched


def test_page_when_reasons_are_many_then_bounded_and_states_are_not(sweep, store) -> None:
    cells = CellReader(sweep, store).read()
    failed = tuple(FailedCell(0, 0, 0, "error", f"reason {n}") for n in range(MAX_REASONS + 5))
    facts = document(replace(cells, failed=failed), refresh_s=0)
    assert len(facts["reasons"]) == MAX_REASONS
    assert [len(grid) for grid in facts["grids"]] == [3, 3]


@pytest.mark.parametrize(
    ("codes", "text"),
    [([0], "d"), ([0] * 12, "d12"), ([11, 10, 10, 2, 0], "qe2wd"), ([1, 1, 3], "c2r")],
)
def test_run_lengths_by_hand(codes, text) -> None:
    assert run_lengths(np.array(codes, np.uint8)) == text


def test_states_when_a_status_is_new_then_it_has_a_look() -> None:
    failing = {status.value for status in Status if status is not Status.OK}
    assert {state.name for state in STATES if state.failed} == failing
    assert all(state.failed == (n >= FIRST_FAILED) for n, state in enumerate(STATES))
    assert len({state.letter for state in STATES}) == len(STATES) == len(CODES)
