"""Why an answer was what it was: its route replayed from the records that it names."""

from datetime import timedelta
from itertools import combinations
from typing import Any

from pmx_ray.errors import LedgerError, NoRecordError, NothingToServeError, SettingsError
from pmx_ray.ledger import Ledger
from pmx_ray.ledger.books import Bookshelf
from pmx_ray.ledger.flags import FlagLog
from pmx_ray.signals.flag_source import state_of
from pmx_ray.signals.flags import FlagState
from pmx_ray.signals.router import route
from pmx_ray.signals.signal_id import SignalId
from pmx_ray.signals.types import SignalBook, Source
from serve_apps.board import less, read_book, stale_sentence
from serve_apps.settings import ServiceSettings


class UnknownSignalError(SettingsError):
    """No record knows the signal."""


def explain(ledger: Ledger, signal_id: str, *, settings: ServiceSettings) -> dict[str, Any]:
    """Return the answer of that id, made again, and everything it was made from.

    Parameters
    ----------
    ledger : Ledger
        Holds the book and every version of the flags.
    signal_id : str
        ``id`` of a bundle.
    settings : ServiceSettings
        Of the service; says how old prices may be.

    Raises
    ------
    SettingsError
        If the id has another form.
    UnknownSignalError
        If book, flags or ticker are not in the ledger, or no answer came of them.
    """
    asked = SignalId.parse(signal_id)
    book, flags = _book(ledger, asked), _flags(ledger, asked.flags_version)
    max_age = timedelta(hours=settings.max_price_age_hours)
    if asked.ticker not in book.entries or book.cutoff != asked.cutoff:
        raise UnknownSignalError(f"book {asked.book} holds no {asked.ticker} at {asked.cutoff}")
    try:
        bundle = route(
            book,
            asked.ticker,
            flags.values,
            flags_version=flags.version,
            flags_status=asked.flags_status,
            stale_reason=stale_sentence(book, max_age=max_age) if asked.stale else "",
            book_id=asked.book,
        )
    except NothingToServeError as error:
        raise UnknownSignalError(f"no such answer was given: {error}") from None
    return {
        "id": signal_id,
        "bundle": bundle.model_dump(mode="json"),
        "flags": flags.model_dump(mode="json"),
        "book": book.model_dump(mode="json", exclude={"entries"}) | {"id": book.id},
        "entry": book.entries[asked.ticker].model_dump(mode="json"),
        "because": [
            f"The book was computed at {book.computed_at:%Y-%m-%d %H:%M:%S} UTC on prices up to "
            f"{book.cutoff}.",
            _flags_sentence(flags),
            bundle.reason,
            f"{bundle.model.label}: {bundle.model.standing}",
            bundle.signal.why,
            *(check.sentence for check in bundle.checks),
        ],
    }


def _book(ledger: Ledger, asked: SignalId) -> SignalBook:
    shelf = Bookshelf(ledger)
    try:
        document = shelf.get(asked.book)
    except NoRecordError as error:
        found = _lessened(shelf, asked)
        if found is None:
            raise UnknownSignalError(str(error)) from None
        return found
    return read_book(document, book_id=asked.book)


def _lessened(shelf: Bookshelf, asked: SignalId) -> SignalBook | None:
    """Return a shelved book less models that had left service, if that is what was asked for.

    A replica serves such a book from the moment the alias moves, whether or not the keeper comes
    to shelve it.
    """
    leaving = (Source.CHAMPION, Source.FALLBACK, Source.CHALLENGER)
    for kept in shelf.at_cutoff(asked.cutoff):
        try:
            book = read_book(kept.document, book_id=kept.book_id)
        except LedgerError:
            continue
        there = [source for source in leaving if source in book.models]
        for n in range(1, len(there) + 1):
            for gone in combinations(there, n):
                lessened = less(book, gone)
                if lessened.id.startswith(asked.book):
                    return lessened
    return None


def _flags(ledger: Ledger, version: int) -> FlagState:
    if version == 0:
        return FlagState()
    try:
        return state_of(FlagLog(ledger).at(version))
    except NoRecordError as error:
        raise UnknownSignalError(str(error)) from None


def _flags_sentence(flags: FlagState) -> str:
    if flags.changed_at is None:
        return "No flag had ever been set."
    return (
        f"The flags were at version {flags.version}, set by {flags.changed_by} at "
        f"{flags.changed_at:%Y-%m-%d %H:%M:%S} UTC: {flags.reason}"
    )
