"""What a replica answers with: a book under the flags, each ticker's bundle made when first asked.

A board never changes. When flags, book, champion or freshness change, a new one takes its place
at once, and requests that began on the old one end on it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pydantic import ValidationError

from pmx_ray.errors import DataError, LedgerError
from pmx_ray.signals.flag_source import FlagView
from pmx_ray.signals.router import route
from pmx_ray.signals.types import Candidate, SignalBook, SignalBundle, Source


@dataclass(frozen=True, slots=True)
class Served:
    """An answer as it goes out.

    Attributes
    ----------
    id : str
        Of the bundle.
    source, route : str
        Who made the signal, and by which route.
    fallback_used : bool
        As in the bundle.
    body : bytes
        The bundle as JSON.
    flags_version : int
        Of the flags that it was made under.
    """

    id: str
    source: str
    route: str
    fallback_used: bool
    body: bytes
    flags_version: int


@dataclass(frozen=True, slots=True)
class Board:
    """A book, the flags it is seen under, and the answers made so far.

    Attributes
    ----------
    book : SignalBook
        Candidates of every ticker.
    view : FlagView
        The flags.
    stale_reason : str
        Why the prices are too old to act on; empty where they are not.
    book_id : str
        Of the book; hashed once.
    """

    book: SignalBook
    view: FlagView
    stale_reason: str
    book_id: str
    _made: dict[str, Served] = field(default_factory=dict, compare=False, repr=False)

    def knows(self, ticker: str) -> bool:
        """Return whether the book holds a ticker."""
        return ticker in self.book.entries

    def answer(self, ticker: str) -> Served:
        """Return a ticker's bundle as it goes out; it is made when first asked for.

        Raises
        ------
        DataError
            If the book does not hold the ticker.
        NothingToServeError
            If no model has anything to say about it.
        """
        made = self._made.get(ticker)
        if made is None:
            if not self.knows(ticker):
                raise DataError(f"ticker {ticker} is not served; see GET /v1/tickers")
            bundle = self.bundle(ticker)
            made = self._made[ticker] = Served(
                bundle.id,
                bundle.signal.source.value,
                bundle.route,
                bundle.fallback_used,
                bundle.model_dump_json().encode(),
                self.view.version,
            )
        return made

    def bundle(self, ticker: str) -> SignalBundle:
        """Return a ticker's bundle; a pure function of the board."""
        return route(
            self.book,
            ticker,
            self.view.values,
            flags_version=self.view.version,
            flags_status=self.view.status,
            stale_reason=self.stale_reason,
            book_id=self.book_id,
        )


def read_book(document: str, *, book_id: str) -> SignalBook:
    """Return the book that a document of the ledger holds.

    Raises
    ------
    LedgerError
        If it holds none, or one of another version of the program.
    """
    try:
        return SignalBook.model_validate_json(document)
    except ValidationError as error:
        raise LedgerError(
            f"book {book_id[:12]} in the ledger is no book of signals: {error.error_count()} "
            f"errors, the first: {error.errors()[0]['msg']}"
        ) from None


def without_withdrawn(book: SignalBook, in_service: Mapping[Source, str]) -> SignalBook:
    """Return a book without the signals of models that are no longer in service.

    Parameters
    ----------
    book : SignalBook
        As it was computed.
    in_service : mapping of Source to str
        The model that each alias points to now.
    """
    gone = [
        source
        for source, model in book.models.items()
        if source is not Source.LLM and in_service.get(source) != model.model_id
    ]
    return less(book, gone) if gone else book


def less(book: SignalBook, sources: Collection[Source]) -> SignalBook:
    """Return a book without the signals of ``sources``, which says that they left service."""
    gone = {
        source: f"{model.label} (model {model.model_id[:12]}) was taken out of service"
        for source, model in book.models.items()
        if source in sources
    }
    entries = {
        ticker: entry.model_copy(
            update={
                "candidates": {
                    source: Candidate(failure=gone[source]) if source in gone else candidate
                    for source, candidate in entry.candidates.items()
                }
            }
        )
        for ticker, entry in book.entries.items()
    }
    return book.model_copy(
        update={
            "entries": entries,
            "models": {s: model for s, model in book.models.items() if s not in gone},
            "failures": {**book.failures, **gone},
        }
    )


def staleness(book: SignalBook, *, now: datetime, max_age: timedelta) -> str:
    """Return why a book's prices are not of today; empty where they are, or are replayed.

    The sentence does not say how old they are, so that a replay says the same later.
    """
    if book.closed_at is None or timedelta(0) <= now - book.closed_at <= max_age:
        return ""
    return stale_sentence(book, max_age=max_age)


def stale_sentence(book: SignalBook, *, max_age: timedelta) -> str:
    """Return what an answer on prices that are not of today says."""
    return (
        f"the newest price is of {book.cutoff}; it must have closed, and no more than "
        f"{max_age / timedelta(hours=1):.0f} hours ago"
    )
