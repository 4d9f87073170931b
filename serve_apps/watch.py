"""What keeps a replica's board up to date: a look at the ledger several times a second.

The ledger alone is asked, so that a flag or a reversion reaches every replica without Serve's
controller, the dashboard or a call between replicas.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

import structlog

from pmx_ray.clock import Clock
from pmx_ray.errors import PmxError
from pmx_ray.ledger import Ledger
from pmx_ray.ledger.books import Bookshelf
from pmx_ray.ledger.flags import FlagLog, FlagRecord
from pmx_ray.ledger.patience import PatientReader
from pmx_ray.ledger.pulse import read_pulse
from pmx_ray.signals.flag_source import FlagObservation, FlagView, observe
from pmx_ray.signals.types import FlagStatus, SignalBook, Source
from serve_apps.board import Board, read_book, staleness, without_withdrawn
from serve_apps.in_service import models_in_service

Arrived: TypeAlias = Callable[[FlagView, datetime], None]
"""Told when a version of the flags has arrived at this replica."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Bound:
    """A book with its id, which takes long to hash."""

    book: SignalBook
    book_id: str


class Watch:
    """Holds the newest board of a replica; one thread looks, any thread reads.

    Parameters
    ----------
    ledger : Ledger
        Where flags, books and aliases are kept; it stays the caller's to close.
    clock : callable
        The time.
    every_s : float
        Seconds between looks.
    safe_after_s : float
        Seconds without an answer after which the safe route serves.
    max_price_age : timedelta
        Age of the newest price from which no signal trades.
    arrived : callable, optional
        Told of each version of the flags as it takes effect here, where those before it were
        known: what a replica finds as it starts, or after an outage, did not arrive then.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        clock: Clock,
        every_s: float,
        safe_after_s: float,
        max_price_age: timedelta,
        arrived: Arrived | None = None,
    ) -> None:
        self._ledger, self._clock = ledger, clock
        self._reader = PatientReader(self._read_all, of=ledger.shown_url)
        self._every_s, self._max_price_age = every_s, max_price_age
        self._safe_after = timedelta(seconds=safe_after_s)
        self._arrived = arrived
        self._flags: FlagRecord | None = None
        self._in_service: Mapping[Source, str] | None = None
        self._newest: _Bound | None = None
        self._bound: _Bound | None = None
        self._read: dict[str, object] = {}  # what of the pulse each part was read at
        self._observation = FlagObservation()
        self._board: Board | None = None
        self._view: FlagView | None = None
        self._trouble = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    @property
    def board(self) -> Board | None:
        """The newest board; None until there is a book."""
        return self._board

    @property
    def view(self) -> FlagView | None:
        """The flags as this replica knows them; None before the first look."""
        return self._view

    @property
    def trouble(self) -> str:
        """Why the last look failed; empty where it did not."""
        return self._trouble

    @property
    def alive(self) -> bool:
        """Whether the thread that looks is running."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Look once, then go on looking in a thread."""
        self.look()
        self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    def look(self) -> None:
        """Look at the ledger once, and put up a new board if something changed.

        Flags, aliases and book are read each for itself, so that a book that cannot be read keeps
        no kill switch and no reversion from taking effect.
        """
        try:
            of_flags, of_rest = self._reader.read()
        except PmxError as error:
            of_flags, of_rest = str(error), ""
        now = self._clock()
        self._observation = observe(
            self._observation, of_flags or self._flags, now=now, safe_after=self._safe_after
        )
        self._trouble = of_flags or of_rest
        self._show(self._observation.view, now)

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - the thread must live; the trouble is shown
                self._trouble = f"the look at the ledger failed: {error!r}"
                _log.error("watch failed", error=repr(error), exc_info=True)

    def _read_all(self) -> tuple[str, str]:
        """Read what has moved; return why the flags, and why something else, could not be read."""
        try:
            pulse = read_pulse(self._ledger)
        except PmxError as error:
            return str(error), ""
        of_flags = self._read_if_moved("flags", pulse.flags_version, self._read_flags)
        of_models = self._read_if_moved("aliases", pulse.aliases, self._read_models)
        of_book = self._read_if_moved("book", pulse.book_seq, self._read_newest)
        return of_flags, of_models or of_book

    def _read_if_moved(self, part: str, at: object, read: Callable[[], None]) -> str:
        """Read a part of the ledger unless it was read at this pulse; return why it failed."""
        if part in self._read and self._read[part] == at:
            return ""
        try:
            read()
        except PmxError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - what cannot be read is not known, whatever it is
            _log.error("ledger misread", part=part, error=repr(error), exc_info=True)
            return f"the {part} in the ledger cannot be read: {error!r}"
        self._read[part] = at
        return ""

    def _read_flags(self) -> None:
        self._flags = FlagLog(self._ledger).current()

    def _read_models(self) -> None:
        self._in_service = models_in_service(self._ledger)
        self._rebind()

    def _read_newest(self) -> None:
        self._newest = _newest_book(self._ledger)
        self._rebind()

    def _rebind(self) -> None:
        """Take models that left service out of the book; the keeper shelves it so, too."""
        if self._newest is not None and self._in_service is not None:
            newest = self._newest
            book = without_withdrawn(newest.book, self._in_service)
            self._bound = newest if book is newest.book else _Bound(book, book.id)

    def _show(self, view: FlagView, now: datetime) -> None:
        newer = (
            self._view is not None
            and self._view.status is not FlagStatus.SAFE  # else nothing says since when it was late
            and view.version != self._view.version
        )
        self._view = view
        bound = self._bound  # once: a read that came back late may put up another meanwhile
        if bound is not None:
            stale = staleness(bound.book, now=now, max_age=self._max_price_age)
            board = Board(bound.book, view, stale, bound.book_id)
            if self._board is None or _differs(board, self._board):
                self._board = board
        if newer and self._arrived is not None:
            self._arrived(view, now)


def _differs(board: Board, before: Board) -> bool:
    """Return whether a caller could see a difference between two boards."""
    return (
        board.book_id != before.book_id
        or (board.view.version, board.view.status) != (before.view.version, before.view.status)
        or bool(board.stale_reason) != bool(before.stale_reason)
    )


def _newest_book(ledger: Ledger) -> _Bound | None:
    newest = Bookshelf(ledger).latest()
    if newest is None:
        return None
    return _Bound(read_book(newest.document, book_id=newest.book_id), newest.book_id)
