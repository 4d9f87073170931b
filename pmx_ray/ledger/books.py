"""Signal books: everything that was known about every ticker at a cutoff, kept as it was served."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import select

from pmx_ray.errors import LedgerError, NoRecordError
from pmx_ray.ledger.engines import explained, for_writing
from pmx_ray.ledger.ledger import Ledger
from pmx_ray.ledger.tables import BookRow, insert_new

PREFIX_LENGTH = 12
"""Digits of an id that name a book."""

_ID = re.compile(rf"[0-9a-f]{{{PREFIX_LENGTH},64}}")


@dataclass(frozen=True, slots=True)
class ShelvedBook:
    """One book on the shelf.

    Attributes
    ----------
    seq : int
        Order in which books were put; rises, with gaps.
    book_id : str
        Hash of its content, 64 hexadecimal digits.
    cutoff : date
        Last session that any model saw.
    computed_at : datetime
        When, UTC.
    document : str
        The book as JSON.
    """

    seq: int
    book_id: str
    cutoff: date
    computed_at: datetime
    document: str


class Bookshelf:
    """The books of a ledger; a book is put once and never changed.

    Parameters
    ----------
    ledger : Ledger
        An open ledger; it stays the caller's to close.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._engine = ledger.engine

    def put(self, book_id: str, *, cutoff: date, computed_at: datetime, document: str) -> int:
        """Keep a book and return its ``seq``; one that is there already keeps the one it has.

        Raises
        ------
        LedgerError
            If the id is not 64 hexadecimal digits, the time has no zone, or the database cannot
            be written.
        """
        if len(book_id) != 64 or not _ID.fullmatch(book_id):
            raise LedgerError(f"id of a book was {book_id!r}; it must be 64 hexadecimal digits")
        if computed_at.tzinfo is None:
            raise LedgerError(f"computed_at was {computed_at}, without a time zone; add one")
        row = {
            "book_id": book_id,
            "cutoff": cutoff,
            "computed_at": computed_at,
            "document": document,
        }
        with explained(self._engine, "written"), for_writing(self._engine).begin() as connection:
            connection.execute(insert_new(connection, BookRow), row)
            here = select(BookRow.seq).where(BookRow.book_id == book_id)
            return connection.execute(here).scalar_one()

    def get(self, book_id_or_prefix: str) -> str:
        """Return the document of the book whose id starts so.

        Parameters
        ----------
        book_id_or_prefix : str
            At least 12 hexadecimal digits.

        Raises
        ------
        NoRecordError
            If no book, or more than one, has such an id.
        LedgerError
            If it is no id, or the database cannot be read.
        """
        if not _ID.fullmatch(book_id_or_prefix):
            raise LedgerError(
                f"id of a book was {book_id_or_prefix!r}; it must be {PREFIX_LENGTH} to 64 "
                "hexadecimal digits"
            )
        query = select(BookRow.document).where(BookRow.book_id.startswith(book_id_or_prefix))
        with explained(self._engine, "read"), self._engine.connect() as connection:
            found = connection.execute(query.limit(2)).scalars().all()
        if len(found) != 1:
            n = "no book" if not found else "more than one book"
            raise NoRecordError(
                f"{n} of this ledger has an id that starts with {book_id_or_prefix}"
            )
        return found[0]

    def latest(self) -> ShelvedBook | None:
        """Return the book that was put last, or None where there is none.

        Raises
        ------
        LedgerError
            If the database cannot be read.
        """
        query = select(BookRow.__table__).order_by(BookRow.seq.desc()).limit(1)
        with explained(self._engine, "read"), self._engine.connect() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else ShelvedBook(**row)

    def at_cutoff(self, cutoff: date, *, limit: int = 20) -> tuple[ShelvedBook, ...]:
        """Return at most ``limit`` books of a cutoff, the last one first.

        Raises
        ------
        LedgerError
            If the database cannot be read.
        """
        query = select(BookRow.__table__).where(BookRow.cutoff == cutoff)
        query = query.order_by(BookRow.seq.desc()).limit(limit)
        with explained(self._engine, "read"), self._engine.connect() as connection:
            return tuple(ShelvedBook(**row) for row in connection.execute(query).mappings())

    def cutoffs(self, since: date) -> Mapping[date, str]:
        """Return the cutoffs from ``since`` on, oldest first, each with its last book's id.

        Raises
        ------
        LedgerError
            If the database cannot be read.
        """
        query = select(BookRow.cutoff, BookRow.book_id).where(BookRow.cutoff >= since)
        query = query.order_by(BookRow.cutoff, BookRow.seq)
        with explained(self._engine, "read"), self._engine.connect() as connection:
            return {row.cutoff: row.book_id for row in connection.execute(query)}
