"""What is kept of attempts beside receipts, and that results do not depend on it."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from odd_forecasters import Raising

from pmx_ray.backtest.attempts import attempted, forget_attempts, load_attempts
from pmx_ray.backtest.blocks import BlockSize, WorkBlock, plan_blocks
from pmx_ray.backtest.executor import compute_block, run_in_process
from pmx_ray.backtest.runner import run_block
from pmx_ray.errors import LakeError
from pmx_ray.forecasters.defects import (
    MAX_CHARACTERS,
    MAX_TRACEBACKS,
    note_traceback,
    traceback_text,
    tracebacks,
)
from pmx_ray.forecasters.registry import ForecasterSpec, load_families
from pmx_ray.lake import FolderStore, known_blocks

load_families(["odd_forecasters"])


@pytest.fixture
def store(tmp_path) -> FolderStore:
    return FolderStore(tmp_path / "lake")


def blocks_of(panel, plan, name: str, *, tickers: int = 3) -> tuple[WorkBlock, ...]:
    spec = ForecasterSpec.parse({"name": name})
    size = BlockSize(len(plan), tickers)
    return plan_blocks(panel, plan, specs=[spec], seed=0, size=size, known=set()).todo


def kept(store, block):
    return load_attempts(store, [block.id]).get(block.id, ())


def clock() -> datetime:
    return datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize("name", ["raising", "batched"])
def test_block_when_a_forecaster_raises_then_its_traceback_is_kept_by_reason(
    panel, plan, store, name
) -> None:
    (block,) = blocks_of(panel, plan, name)
    receipt = compute_block(panel, plan, block, store=store, node="here")
    (attempt,) = kept(store, block)
    assert (attempt.attempt, attempt.node, attempt.ended) == (1, "here", "failed_cells")
    ((reason, text),) = attempt.tracebacks.items()
    assert reason in set(run_block(panel, plan, block)["reason"].to_pylist())
    assert 'File "tests/odd_forecasters.py"' in text
    assert text.endswith("ZeroDivisionError: planted in B")
    assert receipt.failed > 0
    assert known_blocks(store) == {block.id}


def test_block_when_tracebacks_are_kept_then_its_bytes_are_those_without(
    panel, plan, store, tmp_path, monkeypatch
) -> None:
    (block,) = blocks_of(panel, plan, "raising")
    with_it = compute_block(panel, plan, block, store=store, node="here")
    monkeypatch.setattr(FolderStore, "_path", _refusing(FolderStore._path))
    other = FolderStore(tmp_path / "other")
    without = compute_block(panel, plan, block, store=other, node="there")
    assert without.sha256 == with_it.sha256
    assert not list(tmp_path.glob("other/attempts/*/*"))


def _refusing(path):
    def refuse(self, key):
        if key.startswith("attempts/") and "other" in str(self.root):
            raise LakeError("planted: no notes here")
        return path(self, key)

    return refuse


def test_block_when_all_is_well_then_nothing_is_kept(panel, plan, store) -> None:
    (block,) = blocks_of(panel, plan, "drift")
    for predicted_s in (0.01, 100.0):
        compute_block(
            panel, plan, replace(block, predicted_s=predicted_s), store=store, node="here"
        )
    assert list(store.keys("attempts/")) == []


def test_block_when_long_then_its_begin_is_noted_until_it_is_over(panel, plan, store) -> None:
    (block,) = blocks_of(panel, plan, "drift")
    with attempted(store, replace(block, predicted_s=1.0), node="n7", attempt=1, clock=clock):
        (row,) = kept(store, block)
        assert (row.ended, row.node, row.began) == ("running", "n7", "2020-01-02T03:04:05+00:00")
    assert kept(store, block) == ()
    with attempted(store, replace(block, predicted_s=0.5), node="n7", attempt=1):
        assert kept(store, block) == ()  # not worth a write


def test_block_when_stopped_then_it_is_not_said_to_run(panel, plan, store) -> None:
    (block,) = blocks_of(panel, plan, "drift")
    with (
        pytest.raises(KeyboardInterrupt),
        attempted(store, replace(block, predicted_s=9.0), node="n7", attempt=1),
    ):
        raise KeyboardInterrupt
    assert kept(store, block) == ()


def test_attempts_when_a_block_raises_twice_and_then_ends_then_both_are_told(
    panel, plan, store
) -> None:
    (block,) = blocks_of(panel, plan, "drift")
    for attempt in (1, 2):
        with (
            pytest.raises(MemoryError),
            attempted(store, block, node="here", attempt=attempt),
        ):
            raise MemoryError(f"planted {attempt}")
    with attempted(store, block, node="here", attempt=3):
        pass
    assert [(row.attempt, row.ended, row.error) for row in kept(store, block)] == [
        (1, "raised", "MemoryError: planted 1"),
        (2, "raised", "MemoryError: planted 2"),
    ]
    assert all(row.error in row.tracebacks for row in kept(store, block))
    with pytest.raises(TimeoutError), attempted(store, block, node="here", attempt=1):
        raise TimeoutError("a later run")
    assert [row.error for row in kept(store, block)] == ["TimeoutError: a later run"]
    forget_attempts(store, [block.id])
    assert kept(store, block) == ()


def test_quarantine_when_in_process_then_the_machine_s_error_has_a_traceback(
    panel, plan, store, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "no_memory").touch()
    blocks = blocks_of(panel, plan, "starved")
    (settled,) = run_in_process(panel, plan, blocks, store=store)
    assert settled.receipt is None
    (row,) = kept(store, settled.block)
    assert row.error == "MemoryError: planted"
    assert "in fit" in row.tracebacks[row.error]


@pytest.mark.parametrize("text", [b"", b"{", b'[{"attempt": 1}]', b'[{"ended": "well"}]', b"\xff"])
def test_attempts_when_damaged_then_they_count_as_none(panel, plan, store, text) -> None:
    (block,) = blocks_of(panel, plan, "drift")
    store.replace(f"attempts/{block.id[:2]}/{block.id}.json", text)
    assert kept(store, block) == ()


def test_tracebacks_when_many_or_long_then_bounded() -> None:
    with tracebacks() as found:
        for n in range(50):
            note_traceback(f"reason {n}", ValueError("x" * 50_000))
            note_traceback(f"reason {n}", ValueError("the first of a reason stays"))
    assert len(found) == MAX_TRACEBACKS
    assert all(len(text) < MAX_CHARACTERS + 100 for text in found.values())
    assert all("characters left out" in text for text in found.values())
    note_traceback("nobody collects", ValueError("x"))  # and nothing breaks


def test_traceback_when_chained_then_no_path_of_the_machine_in_any_part() -> None:
    try:
        try:
            Raising(None).fit(None, rng=None)
        except AttributeError as error:
            raise ValueError("on top") from error
    except ValueError as error:
        text = traceback_text(error)
    assert "direct cause" in text
    paths = [line.split('"')[1] for line in text.splitlines() if line.startswith("  File ")]
    assert paths
    assert not [path for path in paths if path.startswith("/")]
