"""The cells of a sweep as they stand: planned, under way or over, with what is known of each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pmx_ray.backtest.attempts import Attempt, load_attempts
from pmx_ray.backtest.blocks import WorkBlock
from pmx_ray.backtest.receipts import RECEIPTS
from pmx_ray.backtest.rerun import Rows, as_in_lake, failed_rows
from pmx_ray.backtest.sweep import Sweep, load_order, load_settled, outline
from pmx_ray.forecasters.protocol import Status
from pmx_ray.lake import BlockStore, Receipt
from pmx_ray.report.cells.states import CODES, FIRST_FAILED, STATES


@dataclass(frozen=True, slots=True)
class BlockFacts:
    """A block of a sweep and what is known of it.

    Attributes
    ----------
    block : WorkBlock
        What is computed at once.
    spec : int
        Position of its spec in the sweep.
    receipt : Receipt or None
        None where it is not there.
    given_up : str or None
        Why it was quarantined; None where it was not.
    attempts : tuple of Attempt
        What receipts do not tell.
    """

    block: WorkBlock
    spec: int
    receipt: Receipt | None
    given_up: str | None
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class FailedCell:
    """One failed cell: positions of spec, ticker and fold, its status and the reason."""

    spec: int
    ticker: int
    fold: int
    status: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class SweepCells:
    """Every cell of a sweep.

    Attributes
    ----------
    sweep : Sweep
        The sweep.
    blocks : tuple of BlockFacts
        Tile the cells of each spec.
    states : ndarray of uint8, shape (S, N, F)
        Codes of ``STATES``; the steps of a cell share its state.
    failed : tuple of FailedCell
        By spec, ticker and fold; those of quarantined blocks are left to their block.
    """

    sweep: Sweep
    blocks: tuple[BlockFacts, ...]
    states: npt.NDArray[np.uint8]
    failed: tuple[FailedCell, ...]

    def counts(self) -> dict[str, int]:
        """Return how many cells are in each state that occurs, in the order of ``STATES``."""
        found = np.bincount(self.states.ravel(), minlength=len(STATES))
        return {state.name: int(n) for state, n in zip(STATES, found, strict=True) if n}

    @property
    def n_failed(self) -> int:
        """Number of cells that failed, those of quarantined blocks among them."""
        return int((self.states >= FIRST_FAILED).sum())

    @property
    def n_open(self) -> int:
        """Number of cells that wait or run."""
        return int(np.isin(self.states, [CODES["waiting"], CODES["running"]]).sum())


@dataclass(slots=True)
class CellReader:
    """Reads the cells of a sweep, again and again; a block with failures is read once.

    Attributes
    ----------
    sweep : Sweep
        The sweep.
    store : BlockStore
        Its lake.
    """

    sweep: Sweep
    store: BlockStore
    _rows: dict[str, Rows] = field(default_factory=dict)

    def read(self) -> SweepCells:
        """Return the cells as they stand now.

        Raises
        ------
        DataError
            If ``receipts.jsonl`` is damaged or of another sweep.
        LakeError
            If a block with failures is not there or is damaged.
        """
        sweep, ordered = self.sweep, load_order(self.sweep)
        blocks = _blocks(sweep, self.store)
        place = {ticker: n for n, ticker in enumerate(sweep.panel.tickers)}
        shape = len(sweep.specs), len(place), len(sweep.plan)
        states = np.full(shape, CODES["waiting"], np.uint8)  # (S, N, F)
        failed: list[FailedCell] = []
        for facts in blocks:
            block, tickers = facts.block, [place[ticker] for ticker in facts.block.tickers]
            states[facts.spec, tickers, block.first : block.stop] = CODES[_state(facts, ordered)]
            failed += self._failed(facts, place)
        for cell in failed:
            states[cell.spec, cell.ticker, cell.fold] = CODES[cell.status]
        failed.sort(key=lambda cell: (cell.spec, cell.ticker, cell.fold))
        return SweepCells(sweep, blocks, states, tuple(failed))

    def _failed(self, facts: BlockFacts, place: Mapping[str, int]) -> Iterable[FailedCell]:
        receipt, block = facts.receipt, facts.block
        if receipt is None or receipt.failed == 0:
            return
        if receipt.sha256 not in self._rows:
            self._rows[receipt.sha256] = failed_rows(self.store, receipt)
        plan = self.sweep.plan[block.first : block.stop]
        days = self.sweep.panel.sessions[plan.cutoff].astype(np.int64)
        keys = ((plan.split << 32) + days).tolist()
        fold_of = {key: block.first + n for n, key in enumerate(keys)}
        for ticker, key, status, reason in self._rows[receipt.sha256]:
            yield FailedCell(facts.spec, place[ticker], fold_of[key], status, reason)


def _blocks(sweep: Sweep, store: BlockStore) -> tuple[BlockFacts, ...]:
    """Return the blocks that did the sweep, or those that are planned with what the lake holds."""
    given_up: dict[str, str] = {}
    if (sweep.folder / RECEIPTS).exists():
        settled = as_in_lake(load_settled(sweep), store)  # a block may be newer than the file
        blocks: Sequence[WorkBlock] = [row.block for row in settled]
        given_up = {row.block.id: row.reason or "" for row in settled if row.receipt is None}
        receipts = {row.block.id: row.receipt for row in settled if row.receipt is not None}
    else:
        plan, receipts = outline(sweep, store, verified=False)
        blocks = plan.blocks
    attempts = load_attempts(store, [block.id for block in blocks])
    return tuple(
        BlockFacts(
            block,
            sweep.specs.index(block.spec),
            receipts.get(block.id),
            None if block.id in receipts else given_up.get(block.id),
            _current(attempts.get(block.id, ()), receipts.get(block.id)),
        )
        for block in blocks
    )


def _current(attempts: tuple[Attempt, ...], receipt: Receipt | None) -> tuple[Attempt, ...]:
    """Return the attempts that led to the receipt, without those of a run that was before it."""
    if receipt is None:
        return attempts
    return tuple(
        row for row in attempts if row.attempt < receipt.attempt or row.ended == "failed_cells"
    )


def _state(facts: BlockFacts, ordered: frozenset[str]) -> str:
    if facts.receipt is not None:
        return "done" if facts.block.id in ordered else "cached"
    if facts.given_up is not None:
        return Status.QUARANTINED
    running = bool(facts.attempts) and facts.attempts[-1].ended == "running"
    return "running" if running else "waiting"
