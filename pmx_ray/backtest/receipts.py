"""``receipts.jsonl``: which blocks made a sweep, and the proof that they are all of it.

The first line names the sweep, ``{"sweep": <sweep_id>}``; each other line is one block.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from pmx_ray.backtest.blocks import WorkBlock
from pmx_ray.backtest.executor import Settled
from pmx_ray.errors import DataError, LakeError
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.lake import Receipt

RECEIPTS = "receipts.jsonl"
"""Name of the file in a sweep folder."""


def to_lines(
    settled: Iterable[Settled], *, sweep_id: str, specs: Sequence[ForecasterSpec]
) -> bytes:
    """Return the text of ``receipts.jsonl``, its blocks in the order of specs, tickers and folds.

    Parameters
    ----------
    settled : iterable of Settled
        The blocks of the sweep.
    sweep_id : str
        The sweep they belong to.
    specs : sequence of ForecasterSpec
        The sweep's specs.
    """
    order = {spec.id: n for n, spec in enumerate(specs)}
    rows = sorted(settled, key=lambda s: (order[s.block.spec.id], s.block.scopes, s.block.first))
    documents = [{"sweep": sweep_id}, *map(_as_json, rows)]
    return "".join(f"{json.dumps(document, sort_keys=True)}\n" for document in documents).encode()


def from_lines(
    text: bytes, *, sweep_id: str, specs: Sequence[ForecasterSpec]
) -> tuple[Settled, ...]:
    """Return the blocks that ``to_lines`` wrote.

    Raises
    ------
    DataError
        If the text is of another sweep or is not what ``to_lines`` writes; the message begins
        with a verb, for the file's name to stand before it.
    """
    by_id = {spec.id: spec for spec in specs}
    head, *rows = text.splitlines() or [b""]
    try:
        made_for = json.loads(head)["sweep"]
        if made_for != sweep_id:
            raise DataError(
                f"belongs to sweep {str(made_for)[:12]}; with the settings, prices and library "
                f"versions of now the sweep is {sweep_id[:12]}"
            )
        return tuple(_from_json(json.loads(row), by_id) for row in rows)
    except DataError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, LakeError) as error:
        detail = " ".join(str(error).split())
        raise DataError(f"is damaged ({type(error).__name__}: {detail[:120]})") from None


def check_tiling(
    settled: Sequence[Settled],
    *,
    specs: Sequence[ForecasterSpec],
    tickers: Sequence[str],
    n_folds: int,
) -> None:
    """Check that the blocks of every spec cover each fold of each ticker once.

    Raises
    ------
    DataError
        If one is covered by no block or by several, or a block lies outside; the message begins
        with a verb, for the file's name to stand before it.
    """
    column = {ticker: n for n, ticker in enumerate(tickers)}
    for spec in specs:
        covered = np.zeros((n_folds, len(tickers)), np.int64)  # (F, N) blocks a cell
        for block in (row.block for row in settled if row.block.spec.id == spec.id):
            if not (0 <= block.first < block.stop <= n_folds and column.keys() >= {*block.tickers}):
                raise DataError(
                    f"has a block of {spec.label} outside the sweep's {n_folds} folds and "
                    f"{len(tickers)} tickers"
                )
            columns = [column[ticker] for ticker in block.tickers]
            covered[block.first : block.stop] += np.bincount(columns, minlength=len(tickers))
        wrong = np.argwhere(covered != 1)
        if len(wrong):
            fold, n = wrong[0]
            raise DataError(
                f"has {covered[fold, n]} blocks of {spec.label} for fold {fold} of {tickers[n]}; "
                "it must have one"
            )


def lasting_reason(settled: Settled) -> str:
    """Return why a block was quarantined, without what differs from run to run.

    An error's text may hold process ids and addresses; it stays in ``receipts.jsonl``, while what
    this returns goes into the frame and its hash.

    Examples
    --------
    >>> block = WorkBlock("ab", None, (("A",),), 0, 1, 0, 1.0)
    >>> lasting_reason(Settled(block, None, "given up after 3 attempts: died, pid=71"))
    'given up after 3 attempts; receipts.jsonl holds the error'
    """
    summary, _, error = (settled.reason or "quarantined").partition(":")
    return f"{summary}; {RECEIPTS} holds the error" if error else summary


def _as_json(settled: Settled) -> dict[str, Any]:
    block = settled.block
    return {
        "block": block.id,
        "spec": block.spec.id,
        "scopes": block.scopes,
        "first": block.first,
        "stop": block.stop,
        "seed": block.seed,
        "receipt": None if settled.receipt is None else asdict(settled.receipt),
        "reason": settled.reason,
    }


def _from_json(row: dict[str, Any], specs: dict[str, ForecasterSpec]) -> Settled:
    written = row["receipt"]
    receipt = None if written is None else Receipt.from_json(json.dumps(written).encode())
    block = WorkBlock(
        row["block"],
        specs[row["spec"]],
        tuple(tuple(scope) for scope in row["scopes"]),
        int(row["first"]),
        int(row["stop"]),
        int(row["seed"]),
        0.0 if receipt is None else receipt.seconds,  # what was predicted does not matter any more
    )
    if receipt is None:
        return Settled(block, None, None if row["reason"] is None else str(row["reason"]))
    if receipt.block_id != block.id:
        raise ValueError(f"block {block.id} has the receipt of {receipt.block_id}")
    return Settled(block, receipt, row["reason"])
