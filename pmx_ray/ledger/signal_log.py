"""Every signal that any model made, one row each, with what the validator found about it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date
from typing import Any, TypeAlias, TypedDict

from sqlalchemy import ColumnElement, Connection, bindparam, func, select, update

from pmx_ray.errors import LedgerError
from pmx_ray.ledger.engines import explained, for_writing
from pmx_ray.ledger.ledger import Ledger
from pmx_ray.ledger.tables import BookRow, SignalRow, insert_new
from pmx_ray.ledger.wording import one_line
from pmx_ray.taxonomy import Action, RiskLevel

MAX_WHY = 1000
"""Characters of a reason that are kept."""

SignalResult: TypeAlias = tuple[str, str, str, bool, Mapping[str, bool]]
"""Book id, ticker, source, whether the validator passed it, and each layer's verdict."""

SignalGroup: TypeAlias = tuple[str, str, str, bool | None, int]
"""Source, action, risk level, whether valid, and how many such signals there are."""


@dataclass(frozen=True, slots=True)
class SignalRecord:
    """One signal as the ledger keeps it.

    Attributes
    ----------
    book_id, ticker, source : str
        Together its key: the book it stands in, whom it is about, which place made it.
    action : Action
        What it advises.
    risk_level : RiskLevel
        How risky acting on it is.
    step : int
        Horizon, sessions after the cutoff, >= 1.
    expected_return, volatility : float
        Of the cumulative log return over the horizon, decimal.
    confidence : float
        0 to 1.
    position_frac : float
        Share of capital, signed.
    cutoff : date
        Last session the model saw.
    model_id, label : str
        Which model made it.
    close : float or None
        Price at the cutoff; None where it did not trade.
    valid : bool or None
        Whether the validator passed it; None until it has judged.
    why : str
        One sentence for people, cut to 1000 printable characters.

    Raises
    ------
    LedgerError
        If a figure is not finite or out of its range, or an id is empty.
    """

    book_id: str
    ticker: str
    source: str
    action: Action
    risk_level: RiskLevel
    step: int
    expected_return: float
    volatility: float
    confidence: float
    position_frac: float
    cutoff: date
    model_id: str
    label: str
    close: float | None
    valid: bool | None
    why: str

    def __post_init__(self) -> None:
        name = f"signal {self.book_id[:12]}/{self.ticker}/{self.source}"
        object.__setattr__(self, "action", Action(self.action))
        object.__setattr__(self, "risk_level", RiskLevel(self.risk_level))
        object.__setattr__(self, "why", one_line(self.why, limit=MAX_WHY))
        if not (self.book_id and self.ticker and self.source):
            raise LedgerError(f"{name} lacks a part of its key; name book, ticker and source")
        figures = {f.name: getattr(self, f.name) for f in fields(self)}
        for word, value in figures.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise LedgerError(f"{word} of {name} was {value}; it must be finite")
        if self.step < 1 or not 0 <= self.confidence <= 1:
            raise LedgerError(
                f"{name} has step {self.step} and confidence {self.confidence}; "
                "they must be >= 1 and within 0 to 1"
            )

    @property
    def key(self) -> tuple[str, str, str]:
        """Book id, ticker, source."""
        return self.book_id, self.ticker, self.source


class SignalCounts(TypedDict):
    """How many signals there are, and of which kind.

    Attributes
    ----------
    n : int
        All.
    by_source, by_action, by_risk_level : dict of str to int
        Each sums to ``n``.
    valid, invalid, not_judged : int
        By the validator; they sum to ``n``.
    """

    n: int
    by_source: dict[str, int]
    by_action: dict[str, int]
    by_risk_level: dict[str, int]
    valid: int
    invalid: int
    not_judged: int


class SignalLog:
    """The signals of a ledger.

    Parameters
    ----------
    ledger : Ledger
        An open ledger; it stays the caller's to close.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._engine = ledger.engine

    def record(self, records: Iterable[SignalRecord]) -> int:
        """Write signals in one transaction and return how many were new.

        One whose key is there already is left as it stands, with its validator's result.

        Raises
        ------
        LedgerError
            If the database cannot be written; then none was.
        """
        return self.record_all(records, ())

    def record_results(self, results: Iterable[SignalResult]) -> None:
        """Write what the validator found; a later result takes the place of an earlier one.

        Raises
        ------
        LedgerError
            If a signal is not in the ledger, or the database cannot be written; then none was.
        """
        self.record_all((), results)

    def record_all(self, records: Iterable[SignalRecord], results: Iterable[SignalResult]) -> int:
        """Write signals and then results, all or nothing; return how many signals were new.

        Raises
        ------
        LedgerError
            As the two methods above.
        """
        # In one order for every writer, so that two never wait for each other's rows.
        rows = [_columns(record) for record in sorted(records, key=lambda record: record.key)]
        judged = sorted(results, key=lambda result: result[:3])
        if not rows and not judged:
            return 0
        with explained(self._engine, "written"), for_writing(self._engine).begin() as connection:
            n_new = _insert(connection, rows)
            _judge(connection, judged)
        return n_new

    def counts(self) -> SignalCounts:
        """Return how many signals there are, by kind.

        Raises
        ------
        LedgerError
            If the database cannot be read.
        """
        return tally(self.groups())

    def groups(self) -> tuple[SignalGroup, ...]:
        """Return how many signals there are of each kind that there are any of.

        Raises
        ------
        LedgerError
            If the database cannot be read.
        """
        keys = (SignalRow.source, SignalRow.action, SignalRow.risk_level, SignalRow.valid)
        query = select(*keys, func.count()).group_by(*keys)
        with explained(self._engine, "read"), self._engine.connect() as connection:
            rows = connection.execute(query)
            return tuple(
                (source, action, risk, valid, n) for source, action, risk, valid, n in rows
            )

    def of_books(self, book_ids: Iterable[str]) -> tuple[SignalRecord, ...]:
        """Return the signals of some books, ordered as in ``since``.

        Raises
        ------
        LedgerError
            If the database cannot be read.
        """
        return self._where(SignalRow.book_id.in_(sorted(book_ids)))

    def since(
        self, cutoff: date, source: str | None = None, *, model_id: str | None = None
    ) -> tuple[SignalRecord, ...]:
        """Return the signals from ``cutoff`` on, by cutoff, ticker, source and book.

        Books stand in the order they were shelved in, those that never were before all others.

        Parameters
        ----------
        cutoff : date
            The first cutoff wanted.
        source : str, optional
            Only signals of this place.
        model_id : str, optional
            Only signals of this model.

        Raises
        ------
        LedgerError
            If the database cannot be read.
        """
        wanted = [SignalRow.cutoff >= cutoff]
        if source is not None:
            wanted.append(SignalRow.source == source)
        if model_id is not None:
            wanted.append(SignalRow.model_id == model_id)
        return self._where(*wanted)

    def _where(self, *wanted: ColumnElement[bool]) -> tuple[SignalRecord, ...]:
        columns = [SignalRow.__table__.c[field.name] for field in fields(SignalRecord)]
        query = select(*columns, func.coalesce(BookRow.seq, 0).label("seq"))
        query = query.outerjoin(BookRow, BookRow.book_id == SignalRow.book_id).where(*wanted)
        with explained(self._engine, "read"), self._engine.connect() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        # Sorted here: the servers' orders of text differ from each other and from Python's.
        rows.sort(key=lambda r: (r["cutoff"], r["ticker"], r["source"], r.pop("seq"), r["book_id"]))
        return tuple(SignalRecord(**row) for row in rows)


def latest_of_each(records: Iterable[SignalRecord]) -> tuple[SignalRecord, ...]:
    """Return the last signal of each source, ticker and cutoff: a book may be made again.

    Parameters
    ----------
    records : iterable of SignalRecord
        Ordered as ``SignalLog.since`` returns them.
    """
    return tuple({(one.source, one.ticker, one.cutoff): one for one in records}.values())


def tally(groups: Iterable[SignalGroup]) -> SignalCounts:
    """Return the counts of all groups together."""
    sources: dict[str, int] = {}
    actions: dict[str, int] = {}
    risk_levels: dict[str, int] = {}
    verdicts: dict[bool | None, int] = {True: 0, False: 0, None: 0}
    for source, action, risk_level, valid, n in groups:
        for counted, word in ((sources, source), (actions, action), (risk_levels, risk_level)):
            counted[str(word)] = counted.get(str(word), 0) + n
        verdicts[valid] += n
    return SignalCounts(
        n=sum(verdicts.values()),
        by_source=sources,
        by_action=actions,
        by_risk_level=risk_levels,
        valid=verdicts[True],
        invalid=verdicts[False],
        not_judged=verdicts[None],
    )


def _columns(record: SignalRecord) -> dict[str, Any]:
    columns = {field.name: getattr(record, field.name) for field in fields(record)}
    return {**columns, "action": record.action.value, "risk_level": record.risk_level.value}


def _insert(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
    if not rows:
        return 0
    new = insert_new(connection, SignalRow).returning(SignalRow.ticker)
    return len(connection.execute(new, rows).all())


def _judge(connection: Connection, results: Sequence[SignalResult]) -> None:
    """Write results; each must be of a signal that is there."""
    if not results:
        return
    keys = (SignalRow.book_id, SignalRow.ticker, SignalRow.source)
    books = sorted({book_id for book_id, *_ in results})
    there = {
        (book_id, ticker, source)
        for book_id, ticker, source in connection.execute(
            select(*keys).where(SignalRow.book_id.in_(books))
        )
    }
    for book_id, ticker, source, *_ in results:
        if (book_id, ticker, source) not in there:
            raise LedgerError(
                f"signal {book_id[:12]}/{ticker}/{source} is not in the ledger, so what the "
                "validator found about it has no place; record the signal first"
            )
    here = [column == bindparam(f"of_{column.key}") for column in keys]
    found = {
        name: bindparam(f"new_{name}", type_=SignalRow.__table__.c[name].type)
        for name in ("valid", "layers")
    }
    connection.execute(
        update(SignalRow).where(*here).values(found),
        [
            {
                "of_book_id": book_id, "of_ticker": ticker, "of_source": source,
                "new_valid": valid, "new_layers": dict(layers),
            }
            for book_id, ticker, source, valid, layers in results
        ],
    )  # fmt: skip
