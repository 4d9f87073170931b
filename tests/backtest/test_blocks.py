import hashlib
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from conftest import walk
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_forecasters import Peeking

from pmx_ray.backtest import blocks as blocks_module
from pmx_ray.backtest.blocks import BlockSize, WorkBlock, plan_blocks
from pmx_ray.backtest.frame import FRAME_SCHEMA, FrameDigest, canonical
from pmx_ray.backtest.runner import failed_block, n_failed, run_block
from pmx_ray.data.panel import Panel
from pmx_ray.errors import SettingsError
from pmx_ray.folds import FoldPlan, FoldSettings, build_folds, slice_document
from pmx_ray.forecasters.protocol import Status
from pmx_ray.forecasters.registry import ForecasterSpec, load_families
from pmx_ray.provenance import ENGINE_VERSION, canonical_json

load_families(["odd_forecasters"])
SPECS = tuple(
    ForecasterSpec.parse({"name": name}) for name in ("random_walk", "drift", "dice", "samossa")
)
AUTOMATIC = BlockSize()
FOLDS = FoldSettings(input_size=100, step_size=6, steps=(1, 5), refit_every=4)


def every_block(
    panel: Panel,
    plan: FoldPlan,
    *,
    specs: tuple[ForecasterSpec, ...] = SPECS,
    size: BlockSize = AUTOMATIC,
    known: frozenset[str] = frozenset(),
    seed: int = 1,
) -> tuple[WorkBlock, ...]:
    return plan_blocks(panel, plan, specs=specs, seed=seed, size=size, known=known).blocks


def whole_frame(panel: Panel, plan: FoldPlan, blocks: tuple[WorkBlock, ...]) -> str:
    digest = FrameDigest()
    for spec in sorted(SPECS, key=lambda spec: spec.id):
        parts = [run_block(panel, plan, block) for block in blocks if block.spec == spec]
        digest.update(canonical(pa.concat_tables(parts)))
    return digest.hexdigest()


def ids(blocks: tuple[WorkBlock, ...]) -> set[str]:
    return {block.id for block in blocks}


def test_frame_when_everything_is_fit_for_use_then_no_cell_fails(
    panel: Panel, plan: FoldPlan
) -> None:
    """Guards the tests below: equal bytes of failures would prove nothing."""
    assert all(n_failed(run_block(panel, plan, block)) == 0 for block in every_block(panel, plan))


def test_blocks_when_planned_then_cover_every_cell_once(panel: Panel, plan: FoldPlan) -> None:
    size = BlockSize(folds=5, tickers=2)
    for spec in SPECS:
        cells = [
            (ticker, fold)
            for block in every_block(panel, plan, size=size)
            if block.spec == spec
            for ticker in block.tickers
            for fold in range(block.first, block.stop)
        ]
        assert sorted(cells) == [(t, f) for t in panel.tickers for f in range(len(plan))]


def test_blocks_when_cut_then_start_on_a_refit(panel: Panel, plan: FoldPlan) -> None:
    for block in every_block(panel, plan, size=BlockSize(folds=5)):
        assert plan.refit[block.first]


def test_blocks_when_planned_then_never_cut_a_scope(panel: Panel, plan: FoldPlan) -> None:
    joint = [b for b in every_block(panel, plan, size=BlockSize(tickers=1)) if b.spec == SPECS[3]]
    assert {block.scopes for block in joint} == {(("A", "B", "C"),)}


def test_blocks_when_planned_then_costliest_first(panel: Panel, plan: FoldPlan) -> None:
    costs = [block.predicted_s for block in every_block(panel, plan)]
    assert costs == sorted(costs, reverse=True)


@pytest.mark.parametrize("size", [BlockSize(1, 1), BlockSize(5, 2), BlockSize(100, 100)])
def test_frame_when_blocks_are_cut_otherwise_then_the_same_bytes(
    panel: Panel, plan: FoldPlan, size: BlockSize
) -> None:
    expected = whole_frame(panel, plan, every_block(panel, plan))
    assert whole_frame(panel, plan, every_block(panel, plan, size=size)) == expected


def test_frame_when_cut_at_any_fold_then_the_same_bytes(panel: Panel, plan: FoldPlan) -> None:
    """The planner may cover a run with cached pieces that begin in the middle of a refit chain."""
    whole = every_block(panel, plan)
    halves = tuple(
        replace(block, first=first, stop=stop)
        for block in whole
        for middle in [block.first + (block.stop - block.first) // 3 + 1]
        for first, stop in [(block.first, middle), (middle, block.stop)]
        if first < stop
    )
    assert whole_frame(panel, plan, halves) == whole_frame(panel, plan, whole)


def test_ids_when_a_later_price_changes_then_only_blocks_that_see_it_change(
    panel: Panel, plan: FoldPlan
) -> None:
    close = panel.close.copy()
    last = int(plan.cutoff[-1]) + 5
    close[1, last] *= 1.01
    changed = replace(panel, close=close)
    size = BlockSize(folds=4, tickers=1)
    before, after = every_block(panel, plan, size=size), every_block(changed, plan, size=size)
    new = [block for block in after if block.id not in ids(before)]
    assert new
    assert all("B" in block.tickers and block.stop == len(plan) for block in new)


@pytest.mark.parametrize("what", ["seed", "spec", "engine", "library", "steps"])
def test_ids_when_anything_that_matters_changes_then_others(
    panel: Panel, plan: FoldPlan, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ids(every_block(panel, plan))
    specs, seed = SPECS, 1
    match what:
        case "seed":
            seed = 2
        case "spec":
            specs = tuple(
                ForecasterSpec.parse({"name": "historical_mean", "window": n}) for n in (30, 40)
            )
        case "engine":
            monkeypatch.setattr(blocks_module, "ENGINE_VERSION", "other")
        case "library":
            monkeypatch.setattr("pmx_ray.provenance.library_version", lambda name: f"{name} 0")
        case "steps":
            plan = replace(plan, steps=(1, 4))
    assert not before & ids(every_block(panel, plan, specs=specs, seed=seed))


def test_ids_when_the_sweep_has_more_tickers_then_the_same_for_the_old_ones() -> None:
    three, four = walk("ABC", 240), walk("ABC", 240)
    more = walk("ABCD", 240)
    four = replace(more, close=np.vstack([three.close, more.close[3:]]))
    plan = build_folds(three.sessions, FOLDS)
    size, specs = BlockSize(tickers=1), SPECS[:2]
    old = every_block(three, plan, specs=specs, size=size)
    assert ids(old) < ids(every_block(four, plan, specs=specs, size=size))


def test_plan_when_a_day_is_added_then_only_the_new_fold_is_left() -> None:
    settings_ = FoldSettings(input_size=90, step_size=1, steps=(1, 5), refit_every=7)
    whole = walk("ABC", 240)
    for n_sessions in (150, 151, 152):
        earlier, later = whole.window(0, n_sessions), whole.window(0, n_sessions + 1)
        known = ids(every_block(earlier, build_folds(earlier.sessions, settings_)))
        plan = build_folds(later.sessions, settings_)
        left = plan_blocks(later, plan, specs=SPECS, seed=1, size=BlockSize(), known=known).todo
        assert {(block.first, block.stop) for block in left} == {(len(plan) - 1, len(plan))}


def test_plan_when_a_chain_grew_day_by_day_then_all_pieces_are_reused() -> None:
    settings_ = FoldSettings(input_size=90, step_size=1, steps=(1, 5), refit_every=7)
    whole = walk("ABC", 150)
    known: set[str] = set()
    for n_sessions in range(115, 151):
        panel = whole.window(0, n_sessions)
        plan = build_folds(panel.sessions, settings_)
        cut = plan_blocks(panel, plan, specs=SPECS[:1], seed=1, size=BlockSize(), known=known)
        known |= ids(cut.todo)
        assert sum(block.stop - block.first for block in cut.blocks) == len(plan)
    assert whole_cut_frame(whole, plan, cut.blocks) == whole_cut_frame(
        whole, plan, every_block(whole, plan, specs=SPECS[:1])
    )


def whole_cut_frame(panel: Panel, plan: FoldPlan, blocks: tuple[WorkBlock, ...]) -> str:
    digest = FrameDigest()
    digest.update(canonical(pa.concat_tables([run_block(panel, plan, b) for b in blocks])))
    return digest.hexdigest()


def test_scopes_when_a_spec_works_by_group_without_groups_then_refused(
    panel: Panel, plan: FoldPlan
) -> None:
    spec = ForecasterSpec.parse({"name": "samossa", "scope": "group"})
    with pytest.raises(SettingsError, match="works by group and the panel has no groups"):
        every_block(panel, plan, specs=(spec,))


def test_scopes_when_by_group_then_one_each() -> None:
    grouped = replace(walk("ABC", 240), groups=("x", "y", "x"))
    plan = build_folds(grouped.sessions, FOLDS)
    spec = ForecasterSpec.parse({"name": "samossa", "scope": "group"})
    cut = every_block(grouped, plan, specs=(spec,))
    assert {scope for block in cut for scope in block.scopes} == {("A", "C"), ("B",)}


def test_run_when_one_ticker_raises_then_only_its_cells_fail(panel: Panel, plan: FoldPlan) -> None:
    spec = ForecasterSpec.parse({"name": "raising"})
    (block,) = every_block(panel, plan, specs=(spec,))
    table = run_block(panel, plan, block)
    failed = [row for row in table.to_pylist() if row["status"] != "ok"]
    assert {row["ticker"] for row in failed} == {"B"}
    assert {row["reason"] for row in failed} == {"fit raised ZeroDivisionError: planted in B"}
    assert len(failed) == n_failed(table) == len(plan) * 2


def rows_by_key(panel: Panel, plan: FoldPlan, spec: ForecasterSpec, size: BlockSize) -> pa.Table:
    blocks = every_block(panel, plan, specs=(spec,), size=size)
    return canonical(pa.concat_tables([run_block(panel, plan, block) for block in blocks]))


@pytest.mark.parametrize("size", [BlockSize(1, 1), BlockSize(5, 2), BlockSize(100, 100)])
def test_batched_when_blocks_are_cut_otherwise_then_the_same_bytes(
    panel: Panel, plan: FoldPlan, size: BlockSize
) -> None:
    """A kernel is handed many tickers at once; one that raises must not cost the others."""
    spec = ForecasterSpec.parse({"name": "batched"})
    table = rows_by_key(panel, plan, spec, size)
    assert table.equals(rows_by_key(panel, plan, spec, AUTOMATIC))
    status = {
        ticker: set(table.filter(pc.equal(table["ticker"], ticker))["status"].to_pylist())
        for ticker in panel.tickers
    }
    assert status == {"A": {"ok"}, "B": {"error"}, "C": {"ok"}}


def test_batched_when_a_ticker_sees_its_neighbours_then_cuts_show_it(
    panel: Panel, plan: FoldPlan
) -> None:
    """The test above can fail: this kernel takes a mean over all tickers that it is handed."""
    spec = ForecasterSpec.parse({"name": "peeking"})
    assert not rows_by_key(panel, plan, spec, BlockSize(tickers=1)).equals(
        rows_by_key(panel, plan, spec, BlockSize(tickers=3))
    )


def test_batched_when_a_block_has_many_tickers_then_called_once(
    panel: Panel, plan: FoldPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ForecasterSpec.parse({"name": "peeking"})
    handed: list[tuple[str, ...]] = []
    kernel = Peeking.forecast_folds
    monkeypatch.setattr(
        Peeking,
        "forecast_folds",
        lambda self, panel, *rest: handed.append(panel.tickers) or kernel(self, panel, *rest),
    )
    (block,) = every_block(panel, plan, specs=(spec,), size=BlockSize(100, 100))
    run_block(panel, plan, block)
    assert handed == [panel.tickers]


def test_frame_when_groups_interleave_then_each_ticker_keeps_its_forecast(plan: FoldPlan) -> None:
    panel = walk("ABCD", 240, groups=("x", "y", "x", "y"))
    spec = ForecasterSpec.parse({"name": "samossa", "scope": "group"})
    together = rows_by_key(panel, plan, spec, BlockSize(100, 100))
    assert together.equals(rows_by_key(panel, plan, spec, BlockSize(100, 2)))


def test_failed_block_when_quarantined_then_every_cell_has_the_reason(
    panel: Panel, plan: FoldPlan
) -> None:
    block = every_block(panel, plan)[0]
    table = failed_block(panel, plan, block, status=Status.QUARANTINED, reason="died")
    assert n_failed(table) == table.num_rows == (block.stop - block.first) * 3 * 2
    assert set(table["reason"].to_pylist()) == {"died"}
    assert run_block(panel, plan, block).select(["ticker", "cutoff", "step", "time"]) == (
        table.select(["ticker", "cutoff", "step", "time"])
    )


def test_draws_when_the_seed_changes_then_other_forecasts(panel: Panel, plan: FoldPlan) -> None:
    (one,) = every_block(panel, plan, specs=SPECS[2:3], seed=1)
    (two,) = every_block(panel, plan, specs=SPECS[2:3], seed=2)
    means = [run_block(panel, plan, block)["mean"].to_pylist() for block in (one, two)]
    assert means[0] != means[1]
    assert len(set(means[0])) == 3 * plan.n_fits * 2  # a draw a ticker and fit, scaled by step


@settings(max_examples=25, deadline=None)
@given(folds=st.integers(1, 30), tickers=st.integers(1, 4), keep=st.floats(0, 1))
def test_plan_whatever_is_known_then_todo_and_done_cover_all(
    folds: int, tickers: int, keep: float
) -> None:
    panel = walk("ABC", 240)
    plan = build_folds(panel.sessions, FOLDS)
    size = BlockSize(folds, tickers)
    blocks = every_block(panel, plan, specs=SPECS[:2], size=size)
    known = {block.id for n, block in enumerate(blocks) if n / len(blocks) < keep}
    cut = plan_blocks(panel, plan, specs=SPECS[:2], seed=1, size=size, known=known)
    assert ids(cut.done) == known
    assert ids(cut.blocks) == ids(blocks)


def full_walk() -> Panel:
    """Return three random walks with every optional column, a gap among them."""
    close = walk("ABC", 240).close.copy()
    gap = np.zeros(close.shape, bool)
    close[1, 120], gap[1, 120] = np.nan, True
    fields = {name: close * factor for name, factor in
              (("open", 1.0), ("high", 1.1), ("low", 0.9), ("volume", 7.0))}  # fmt: skip
    return replace(walk("ABC", 240), close=close, gap=gap, groups=("x", "y", "x"), **fields)


def plain_id(panel: Panel, plan: FoldPlan, block: WorkBlock) -> str:
    """Return a block's id the slow way: everything it depends on, hashed on the spot."""
    part = plan[block.first : block.stop]
    first, stop = part.first_seen, part.last_read + 1
    facts = {
        "engine": ENGINE_VERSION, "schema": FRAME_SCHEMA.metadata[b"pmx_schema"].decode(),
        "spec": block.spec.id, "libraries": block.spec.libraries, "scopes": block.scopes,
        "seed": block.seed,
    }  # fmt: skip
    tickers = [ticker for scope in block.scopes for ticker in scope]
    rows = [panel.tickers.index(ticker) for ticker in tickers]
    names = [n for n in ("close", "open", "high", "low", "volume", "gap")
             if getattr(panel, n) is not None]  # fmt: skip
    groups = None if panel.groups is None else [panel.groups[n] for n in rows]
    prices = hashlib.sha256(canonical_json([panel.calendar, tickers, groups, names]))
    for t in range(first, stop):
        values = b"".join(
            np.float64(getattr(panel, n)[row, t]).tobytes() for n in names for row in rows
        )
        prices.update(panel.sessions[t].tobytes())
        prices.update(values if len(values) <= 128 else hashlib.sha256(values).digest())
    *columns, steps = slice_document(part.shifted(first))
    texts = [canonical_json([column[k] for column in columns]) for k in range(len(part))]
    folds = hashlib.sha256(canonical_json(steps) + b"".join(texts)).digest()
    return hashlib.sha256(canonical_json(facts) + folds + prices.digest()).hexdigest()


@settings(max_examples=15, deadline=None)
@given(
    full=st.booleans(),
    kind=st.sampled_from(["rolling", "expanding", "combinatorial"]),
    size=st.builds(BlockSize, st.sampled_from([None, 1, 5]), st.sampled_from([None, 1, 2])),
    keep=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_ids_whatever_is_planned_then_as_the_plain_hash_of_each_block(
    full: bool, kind: str, size: BlockSize, keep: float
) -> None:
    panel = full_walk() if full else walk("ABC", 240)
    refit_every = 1 if kind == "combinatorial" else 4
    plan = build_folds(
        panel.sessions,
        FoldSettings(kind=kind, input_size=100, step_size=6, steps=(1, 5), refit_every=refit_every),
    )
    pieces = every_block(panel, plan, size=BlockSize(2, size.tickers))
    known = frozenset(block.id for n, block in enumerate(pieces) if n < keep * len(pieces))
    blocks = every_block(panel, plan, size=size, known=known)
    assert [block.id for block in blocks] == [plain_id(panel, plan, block) for block in blocks]


@pytest.mark.parametrize("name", ["close", "open", "high", "low", "volume", "gap"])
@pytest.mark.parametrize("ticker", [0, 2])
def test_ids_when_a_cell_changes_then_exactly_of_the_blocks_that_read_it(
    name: str, ticker: int
) -> None:
    panel = full_walk()
    plan = build_folds(panel.sessions, FOLDS)
    size = BlockSize(folds=4, tickers=1)
    before = every_block(panel, plan, specs=SPECS[:1], size=size)
    parts = [plan[block.first : block.stop] for block in before]
    ends = [end for part in parts for end in (first_read(part), last_read(part))]
    edges = {end + off for end in ends for off in (-1, 0, 1)}
    for session in sorted(edge for edge in edges if 0 <= edge < panel.n_sessions):
        values = getattr(panel, name).copy()
        values[ticker, session] = True if name == "gap" else values[ticker, session] * 1.01
        changed = replace(panel, **{name: values})
        new = ids(every_block(changed, plan, specs=SPECS[:1], size=size))
        for block, part in zip(before, parts, strict=True):
            reads = first_read(part) <= session <= last_read(part)
            touched = panel.tickers[ticker] in block.tickers and reads
            assert (block.id not in new) == touched


def first_read(plan: FoldPlan) -> int:
    return int(min(plan.train_start.min(), plan.context_start.min()))


def last_read(plan: FoldPlan) -> int:
    return int(plan.cutoff.max()) + plan.steps[-1]


@pytest.mark.parametrize("what", ["group", "session", "ticker", "column"])
def test_ids_when_the_panel_says_otherwise_then_others(what: str) -> None:
    panel = full_walk()
    plan = build_folds(panel.sessions, FOLDS)
    match what:
        case "group":
            changed = replace(panel, groups=("x", "z", "x"))
        case "session":
            changed = replace(panel, sessions=panel.sessions + np.timedelta64(1, "D"))
        case "ticker":
            changed = replace(panel, tickers=("A", "BB", "C"))
        case "column":
            changed = replace(panel, open=None)
    before = every_block(panel, plan, specs=SPECS[3:])
    assert not ids(before) & ids(every_block(changed, plan, specs=SPECS[3:]))


def test_ids_when_tickers_are_fitted_otherwise_then_others(panel: Panel, plan: FoldPlan) -> None:
    size = BlockSize(folds=100, tickers=100)
    whole = replace(panel, groups=("x", "x", "x"))
    specs = tuple(
        ForecasterSpec.parse({"name": "samossa", "scope": scope}) for scope in ("panel", "ticker")
    )
    both = every_block(whole, plan, specs=specs, size=size)
    assert len({block.tickers for block in both}) == 1
    assert len(ids(both)) == len(both) == 2


def test_plan_when_only_foreign_blocks_are_known_then_as_with_none(
    panel: Panel, plan: FoldPlan
) -> None:
    size = BlockSize(folds=5, tickers=2)
    foreign = frozenset(["0" * 64, "f" * 64])
    assert every_block(panel, plan, size=size, known=foreign) == every_block(panel, plan, size=size)
