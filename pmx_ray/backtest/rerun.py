"""Failed blocks once more: which blocks hold failed cells, and what became of them.

A failed cell is a row like any other, so its block is in the lake and no run computes it again. A
re-run does, after the cause is mended: a block whose result is the same keeps its bytes and its
receipt, another one is replaced, and every block without a failed cell is left alone.

Blocks are replaced one by one and ``receipts.jsonl`` is written last. So a re-run that is stopped
leaves blocks that the file does not know yet; the lake's own receipts name them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pmx_ray._typing import BoolArray
from pmx_ray.backtest.attempts import forget_attempts
from pmx_ray.backtest.blocks import BlockPlan, registered_s
from pmx_ray.backtest.executor import Settled
from pmx_ray.backtest.frame import FRAME_SCHEMA, QUANTILE_COLUMNS, fold_keys
from pmx_ray.backtest.sweep import Sweep, block_table, load_settled
from pmx_ray.errors import CorruptBlockError, MissingValueError, SettingsError
from pmx_ray.forecasters.protocol import Status
from pmx_ray.lake import BlockStore, Receipt, load_receipts, read_block, verify
from pmx_ray.lake.blocks import from_parquet

FAILED = tuple(status.value for status in Status if status is not Status.OK)
"""Statuses of cells without a forecast."""

Rows = list[tuple[str, int, str, str]]
"""Ticker, fold key, status and reason of failed cells."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which failed cells are meant.

    Attributes
    ----------
    tickers, specs, statuses : frozenset of str
        Tickers, ids of specs, and statuses.
    """

    tickers: frozenset[str]
    specs: frozenset[str]
    statuses: frozenset[str]

    @classmethod
    def of(
        cls,
        sweep: Sweep,
        *,
        tickers: Collection[str] = (),
        labels: Collection[str] = (),
        statuses: Collection[str] = (),
    ) -> "Wanted":
        """Return what is meant by names as a person gives them; none given means all.

        Of the statuses, all means those that the sweep does not accept: what it accepts is a
        finding, and computing it again finds the same.

        Raises
        ------
        SettingsError
            If the sweep has no such ticker or forecaster, or no status has that name.
        """
        ids = {spec.label: spec.id for spec in sweep.specs}
        _check("ticker", tickers, sweep.panel.tickers)
        _check("spec", labels, ids)
        _check("status", statuses, FAILED)
        accepted = sweep.settings.accepted_failures
        return cls(
            frozenset(tickers or sweep.panel.tickers),
            frozenset(ids[label] for label in labels or ids),
            frozenset(statuses or set(FAILED) - set(accepted)),
        )

    def holds(self, row: Settled, store: BlockStore) -> bool:
        """Return whether a block has a cell that is meant."""
        block = row.block
        if block.spec.id not in self.specs or self.tickers.isdisjoint(block.tickers):
            return False
        if row.receipt is None:
            return Status.QUARANTINED in self.statuses
        if row.receipt.failed == 0:
            return False
        return any(
            ticker in self.tickers and status in self.statuses
            for ticker, _, status, _ in failed_rows(store, row.receipt)
        )


@dataclass(frozen=True, slots=True)
class Change:
    """What a re-run changed, in cells: a spec, a ticker and a fold, whatever its steps.

    Attributes
    ----------
    blocks, replaced : int
        Blocks computed, and those of them that say something else now.
    failed_before : int
        Failed cells that these blocks held.
    mended, otherwise, same : int
        Those that have a forecast now, fail with another status or reason, fail as before.
    moved : int
        Cells that had a forecast and have another one, or none, now.
    """

    blocks: int
    replaced: int
    failed_before: int
    mended: int
    otherwise: int
    same: int
    moved: int

    def as_json(self) -> dict[str, int]:
        """Return the figures by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Rerun:
    """Blocks to compute again, and the rest of the sweep, which stays.

    Attributes
    ----------
    sweep : Sweep
        The sweep.
    blocks : tuple of Settled
        What failed, as it stood before.
    rest : tuple of Settled
        Every other block.
    before : mapping of str to bytes
        Parquet of the blocks that were there, by block id.
    n_found : int
        Blocks whose result in the lake is later than ``receipts.jsonl``, as a re-run that was
        stopped leaves them.
    """

    sweep: Sweep
    blocks: tuple[Settled, ...]
    rest: tuple[Settled, ...]
    before: Mapping[str, bytes]
    n_found: int

    @property
    def given_up(self) -> tuple[Settled, ...]:
        """Blocks of the rest that are in quarantine and stay there."""
        return tuple(row for row in self.rest if row.receipt is None)

    def outline(self) -> tuple[BlockPlan, dict[str, Receipt]]:
        """Return the plan of the re-run, costliest first, and the receipts of what is there."""
        todo = [replace(row.block, predicted_s=self._predicted_s(row)) for row in self.blocks]
        todo.sort(key=lambda block: (-block.predicted_s, block.id))
        receipts = {row.block.id: row.receipt for row in self.rest if row.receipt is not None}
        done = tuple(row.block for row in self.rest if row.receipt is not None)
        return BlockPlan(tuple(todo), done), receipts

    def forget(self, store: BlockStore) -> None:
        """Drop what the lake keeps of earlier attempts at these blocks."""
        forget_attempts(store, [row.block.id for row in self.blocks])

    def outcome(
        self, computed: Sequence[Settled], store: BlockStore
    ) -> tuple[tuple[Settled, ...], tuple[Settled, ...]]:
        """Return all blocks as they are from now on, and those that could not be computed again.

        Where a machine failed, with no memory or a worker lost, the block that was there is still
        in the lake, with its good cells: it stays, and counts as before.

        Parameters
        ----------
        computed : sequence of Settled
            All blocks of the sweep, as the run left them.
        store : BlockStore
            The lake.
        """
        before = {row.block.id: _sha256(row) for row in self.blocks if row.receipt is not None}
        settled = as_in_lake(computed, store)
        failed = tuple(
            old
            for old, now in zip(computed, settled, strict=True)
            if old.receipt is None and now.receipt and before.get(old.block.id) == _sha256(now)
        )
        return settled, failed

    def change(self, settled: Sequence[Settled], store: BlockStore) -> Change:
        """Return what became of the cells, from all blocks of the sweep after the re-run."""
        now = {row.block.id: row for row in settled}
        replaced, totals = 0, np.zeros(5, np.int64)
        for old in self.blocks:
            new = now[old.block.id]
            replaced += _sha256(old) != _sha256(new)
            totals += _compared(
                self._table_before(old, store),
                block_table(self.sweep, new, store),
                n_steps=len(self.sweep.plan.steps),
            )
        return Change(len(self.blocks), replaced, *totals.tolist())

    def _predicted_s(self, row: Settled) -> float:
        """Return what the block took, or what its forecaster is registered to take."""
        if row.receipt is not None:
            return max(row.receipt.seconds, 1e-6)
        return registered_s(row.block, self.sweep.plan)

    def _table_before(self, row: Settled, store: BlockStore) -> pa.Table:
        if row.receipt is None:
            return block_table(self.sweep, row, store)
        return from_parquet(self.before[row.block.id])


def failed_blocks(sweep: Sweep, store: BlockStore, wanted: Wanted) -> Rerun:
    """Return the blocks of a sweep that was run which hold a failed cell that is meant.

    What a re-run that was stopped has finished counts as it is now. A block with failures that is
    damaged or gone is among those that are meant, as nobody can tell what it held.

    Raises
    ------
    DataError
        If the sweep has not been run as it is now.
    LakeError
        If the lake cannot be read.
    """
    noted = load_settled(sweep)
    settled = as_in_lake(noted, store)
    n_found = sum(_sha256(old) != _sha256(new) for old, new in zip(noted, settled, strict=True))
    blocks, rest = list[Settled](), list[Settled]()
    for row in settled:
        try:
            (blocks if wanted.holds(row, store) else rest).append(row)
        except (CorruptBlockError, MissingValueError):
            blocks.append(Settled(row.block, None, "the block in the lake cannot be read"))
    before = {row.block.id: store.get(row.receipt.path) for row in blocks if row.receipt}
    return Rerun(sweep, tuple(blocks), tuple(rest), before, n_found)


def as_in_lake(settled: Sequence[Settled], store: BlockStore) -> tuple[Settled, ...]:
    """Return blocks with the lake's own receipt, where they had failed and have a later result.

    Of the others nothing is read. A receipt in the lake counts only if its block matches it.

    Raises
    ------
    LakeError
        If the lake cannot be read.
    """
    failed = [row.block.id for row in settled if row.receipt is None or row.receipt.failed]
    held = load_receipts(store, failed)

    def now(row: Settled) -> Settled:
        receipt = held.get(row.block.id)
        if receipt is None or receipt.sha256 == _sha256(row) or not verify(store, receipt):
            return row
        return Settled(row.block, receipt)

    return tuple(map(now, settled))


def failed_rows(store: BlockStore, receipt: Receipt) -> Rows:
    """Return the failed cells of a block, each once whatever its steps.

    Raises
    ------
    LakeError
        If the block is not there or is damaged.
    """
    table = read_block(store, receipt, FRAME_SCHEMA)
    failed = pc.not_equal(table["status"], Status.OK.value)
    once = pc.equal(table["step"], pc.min(table["step"]))
    table = table.filter(pc.and_(failed, once))
    keys = fold_keys(table).tolist()
    tickers, statuses, reasons = (
        table[name].to_pylist() for name in ("ticker", "status", "reason")
    )
    return [
        (ticker, key, status, reason or "")
        for ticker, key, status, reason in zip(tickers, keys, statuses, reasons, strict=True)
    ]


def _compared(old: pa.Table, new: pa.Table, *, n_steps: int) -> tuple[int, ...]:
    """Return failed cells before, mended, failed otherwise, as before; and moved forecasts.

    Rows of both are in canonical order, so that the steps of a cell follow each other.
    """

    def texts(table: pa.Table, name: str) -> BoolArray:
        return np.array(table[name].to_pylist()[::n_steps], object)

    ok = Status.OK.value
    failed = texts(old, "status") != ok
    mended = failed & (texts(new, "status") == ok)
    alike = (texts(old, "status") == texts(new, "status")) & (
        texts(old, "reason") == texts(new, "reason")
    )
    same = failed & alike
    moved = np.zeros(len(old), bool)
    for name in ("mean", "variance", *QUANTILE_COLUMNS):
        a, b = (table[name].to_numpy() for table in (old, new))
        moved |= ~((a == b) | (np.isnan(a) & np.isnan(b)))
    moved = moved.reshape(-1, n_steps).any(axis=1) & ~failed
    n_failed, n_mended, n_same = (int(mask.sum()) for mask in (failed, mended, same))
    return n_failed, n_mended, n_failed - n_mended - n_same, n_same, int(moved.sum())


def _sha256(row: Settled) -> str | None:
    return None if row.receipt is None else row.receipt.sha256


def _check(what: str, given: Collection[str], known: Collection[str]) -> None:
    for name in given:
        if name not in known:
            some = ", ".join(sorted(known)[:20])
            more = f" and {len(known) - 20} more" if len(known) > 20 else ""
            raise SettingsError(f"--{what} was '{name}'; it must be one of {some}{more}")
