"""What the script of the page draws and tells, as JSON: each text once, blocks by column."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from pmx_ray.report.cells.reading import BlockFacts, FailedCell, SweepCells
from pmx_ray.report.cells.states import STATES

MAX_REASONS = 20_000
"""Failed cells whose reason the page holds; the state of every cell is drawn."""

MAX_TRACEBACKS = 200
"""Different tracebacks that the page holds."""

_Key = TypeVar("_Key", bound=Hashable)

ID_DIGITS = 16
"""Digits of a block's id on the page, as many as the log has."""


def document(cells: SweepCells, *, refresh_s: int) -> dict[str, object]:
    """Return the facts that ``cells.js`` reads.

    Parameters
    ----------
    cells : SweepCells
        What is shown.
    refresh_s : int
        Seconds after which the page loads itself again; 0 for never.
    """
    sweep = cells.sweep
    texts = _Texts({ticker: n for n, ticker in enumerate(sweep.panel.tickers)})
    blocks: list[list[BlockFacts]] = [[] for _ in sweep.specs]
    for facts in cells.blocks:
        blocks[facts.spec].append(facts)
    shown: list[list[FailedCell]] = [[] for _ in sweep.specs]
    for cell in cells.failed[:MAX_REASONS]:
        shown[cell.spec].append(cell)
    return {
        "folder": str(sweep.folder),
        "refresh": refresh_s,
        "tickers": sweep.panel.tickers,
        "cutoffs": [str(day) for day in sweep.panel.sessions[sweep.plan.cutoff]],
        "splits": sweep.plan.split.tolist() if sweep.plan.split.any() else None,
        "specs": [spec.label for spec in sweep.specs],
        "states": [[s.name, s.letter, s.meaning, s.failed] for s in STATES],
        "grids": [[run_lengths(row) for row in grid] for grid in cells.states],
        "why": [texts.reasons_of(own, len(sweep.plan)) for own in shown],
        "blocks": [texts.columns(own) for own in blocks],
        **texts.as_json(),
    }


def run_lengths(codes: npt.NDArray[np.uint8]) -> str:
    """Return a row of codes as letters, each followed by how often it stands there, if not once.

    Examples
    --------
    >>> run_lengths(np.array([0, 0, 0, 2], np.uint8))
    'd3w'
    """
    starts = np.flatnonzero(np.diff(codes, prepend=codes[0] + 1))
    lengths = np.diff(np.append(starts, len(codes)))
    runs = zip(codes[starts].tolist(), lengths.tolist(), strict=True)
    return "".join(f"{STATES[code].letter}{n if n > 1 else ''}" for code, n in runs)


class _Texts:
    """Texts, nodes and sets of tickers that occur many times: kept once, told by their position."""

    def __init__(self, row_of: Mapping[str, int]) -> None:
        self._row_of = row_of
        self._reasons: dict[str, int] = {}
        self._nodes: dict[str, int] = {}
        self._traces: dict[str, int] = {}
        self._sets: dict[tuple[str, ...], int] = {}

    def as_json(self) -> dict[str, object]:
        return {
            "reasons": list(self._reasons),
            "nodes": list(self._nodes),
            "traces": list(self._traces),
            "sets": [[self._row_of[ticker] for ticker in tickers] for tickers in self._sets],
        }

    def reasons_of(self, failed: Sequence[FailedCell], n_folds: int) -> dict[str, list[int]]:
        """Return the positions of one forecaster's failed cells, and the reason of each."""
        return {
            "at": [cell.ticker * n_folds + cell.fold for cell in failed],
            "reason": [_place(self._reasons, cell.reason) for cell in failed],
        }

    def columns(self, blocks: Iterable[BlockFacts]) -> dict[str, object]:
        """Return what is told of the blocks of one forecaster, by column."""
        ordered = sorted(blocks, key=lambda b: (self._row_of[b.block.tickers[0]], b.block.first))
        receipts = [facts.receipt for facts in ordered]
        return {
            "id": [facts.block.id[:ID_DIGITS] for facts in ordered],
            "set": [_place(self._sets, facts.block.tickers) for facts in ordered],
            "first": [facts.block.first for facts in ordered],
            "stop": [facts.block.stop for facts in ordered],
            "seconds": [None if r is None else r.seconds for r in receipts],
            "node": [None if r is None else _place(self._nodes, r.node) for r in receipts],
            "attempt": [None if r is None else r.attempt for r in receipts],
            "told": {
                n: self._told(facts)
                for n, facts in enumerate(ordered)
                if facts.given_up is not None or facts.attempts
            },
        }

    def _told(self, facts: BlockFacts) -> dict[str, object]:
        """Return why a block was given up, its attempts, and its tracebacks by reason."""
        traces = {
            _place(self._reasons, reason): _place(self._traces, text)
            for row in facts.attempts
            for reason, text in row.tracebacks.items()
            if text in self._traces or len(self._traces) < MAX_TRACEBACKS
        }
        why = facts.given_up
        return {
            "given_up": None if why is None else _place(self._reasons, why),
            "attempts": [
                [
                    row.attempt,
                    _place(self._nodes, row.node),
                    row.began,
                    row.ended,
                    row.seconds,
                    None if row.error is None else _place(self._reasons, row.error),
                ]
                for row in facts.attempts
            ],
            "traces": traces,
        }


def _place(places: dict[_Key, int], key: _Key) -> int:
    return places.setdefault(key, len(places))
