"""Tracks every signal from the moment it is made: counted at once, written by the flush."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from threading import Lock
from typing import TypeAlias

from pmx_ray.errors import LedgerError
from pmx_ray.ledger.signal_log import (
    SignalCounts,
    SignalGroup,
    SignalLog,
    SignalRecord,
    SignalResult,
    tally,
)

Key: TypeAlias = tuple[str, str, str]


class SignalTracker:
    """Takes signals and what the validator found about them, and writes both in batches.

    What was flushed is on disk. What was not is kept until a flush succeeds, so that a database
    that does not answer for a while loses nothing; a process that ends before loses it. Threads
    may share a tracker; registering never waits for the database.

    Parameters
    ----------
    log : SignalLog
        Where signals are written.
    """

    def __init__(self, log: SignalLog) -> None:
        self._log = log
        self._records: dict[Key, SignalRecord] = {}
        self._results: dict[Key, SignalResult] = {}
        self._buffer = Lock()  # held for moments
        self._flushing = Lock()  # held while the database works

    def register(self, records: Iterable[SignalRecord]) -> None:
        """Take signals; one that is known already stays as it was."""
        with self._buffer:
            for record in records:
                self._records.setdefault(record.key, record)

    def record_validator_result(
        self, book_id: str, ticker: str, source: str, *, valid: bool, layers: Mapping[str, bool]
    ) -> None:
        """Take what the validator found about a signal; a later result replaces an earlier one.

        Parameters
        ----------
        book_id, ticker, source : str
            The signal's key.
        valid : bool
            Whether every layer passed it.
        layers : mapping of str to bool
            Each layer's verdict.

        Raises
        ------
        LedgerError
            If the signal was never registered, or that cannot be seen in the ledger.
        """
        key = (book_id, ticker, source)
        with self._buffer:
            known = key in self._records
        if not known and key not in self._written({key}):
            raise LedgerError(
                f"signal {book_id[:12]}/{ticker}/{source} was never registered; register it first"
            )
        with self._buffer:
            self._results[key] = (*key, valid, dict(layers))

    def flush(self) -> int:
        """Write everything taken so far, in one transaction; return how many signals were new.

        Raises
        ------
        LedgerError
            If the ledger cannot be written; then everything is kept for the next flush.
        """
        with self._flushing:
            records, results = self._taken()
            n_new = self._log.record_all(records.values(), results.values())
            with self._buffer:
                for key in records:
                    del self._records[key]
                for key, written in results.items():
                    if self._results[key] is written:  # else judged anew meanwhile
                        del self._results[key]
            return n_new

    @property
    def n_pending(self) -> int:
        """How many signals and results await a flush."""
        with self._buffer:
            return len(self._records) + len(self._results)

    def counts(self) -> SignalCounts:
        """Return how many signals there are by kind: those written and those that await it.

        Raises
        ------
        LedgerError
            If the ledger cannot be read.
        """
        with self._flushing:
            records, results = self._taken()
            written = self._written(records.keys() | results.keys())
            return tally([*self._log.groups(), *_difference(records, results, written)])

    def _taken(self) -> tuple[dict[Key, SignalRecord], dict[Key, SignalResult]]:
        with self._buffer:
            return dict(self._records), dict(self._results)

    def _written(self, keys: Iterable[Key]) -> dict[Key, SignalRecord]:
        books = {book_id for book_id, _, _ in keys}
        return {record.key: record for record in self._log.of_books(books)}


def _difference(
    records: Mapping[Key, SignalRecord],
    results: Mapping[Key, SignalResult],
    written: Mapping[Key, SignalRecord],
) -> list[SignalGroup]:
    """Return what the pending add to the counts, and what they take away."""
    groups = []
    for key in records.keys() | results.keys():
        before = written.get(key)
        standing = before or records[key]
        after = replace(standing, valid=results[key][3]) if key in results else standing
        groups += [_group(after, 1)] + ([] if before is None else [_group(before, -1)])
    return groups


def _group(record: SignalRecord, n: int) -> SignalGroup:
    return (record.source, record.action.value, record.risk_level.value, record.valid, n)
