"""The audit log: entries that are only ever added, each naming the hash of the one before it."""

from typing import Any

from sqlalchemy import Connection, select, update

from pmx_ray.errors import LedgerError, TakenKeyError
from pmx_ray.ledger.chain import (
    AuditEntry,
    AuditHead,
    NewEntry,
    opened,
    sealed,
)
from pmx_ray.ledger.engines import explained, for_writing
from pmx_ray.ledger.ledger import Ledger
from pmx_ray.ledger.tables import AuditHeadRow, AuditRow, insert
from pmx_ray.ledger.verdict import AuditVerdict, verify_chain

MOVES = "moves"
"""Name in a payload that ``Aliases`` alone writes."""


class AuditLog:
    """The audit log of a ledger.

    Threads and processes may append at once: whoever extends the chain holds its head until the
    transaction ends, and the others wait. Triggers in the database refuse to change or remove an
    entry; ``verify`` shows it if someone drops them and does.

    Parameters
    ----------
    ledger : Ledger
        An open ledger; it stays the caller's to close.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._engine = ledger.engine

    def append(self, entry: NewEntry) -> AuditEntry:
        """Append one entry in a transaction of its own, and return it as it stands.

        Where an entry with its key is there already, that one is returned and nothing changes.

        Raises
        ------
        LedgerError
            If the key is taken by an entry of another kind or payload, the payload names
            ``moves``, or the database cannot be written.
        """
        if MOVES in entry.payload:
            raise LedgerError(f"payload of a {entry.kind} entry names '{MOVES}'; move an alias")
        with explained(self._engine, "written"), for_writing(self._engine).begin() as connection:
            head = hold_head(connection)
            return replayed(connection, entry) or extend(connection, entry, head)

    def entries(self, *, after: int = 0) -> tuple[AuditEntry, ...]:
        """Return the entries after a place in the log, oldest first.

        Raises
        ------
        LedgerError
            If the database, or an altered entry, cannot be read.
        """
        with explained(self._engine, "read"), self._engine.connect() as connection:
            return read_entries(connection, after=after)

    def head(self) -> AuditHead:
        """Return where the log ends: worth noting elsewhere, for ``verify``.

        Raises
        ------
        LedgerError
            If the database cannot be read, or the head record is gone.
        """
        with explained(self._engine, "read"), self._engine.connect() as connection:
            return _known(_head(connection))

    def verify(self, *, expected: AuditHead | None = None) -> AuditVerdict:
        """Read the whole log and return every altered, removed or reordered entry.

        Parameters
        ----------
        expected : AuditHead, optional
            A head that was noted elsewhere.

        Raises
        ------
        LedgerError
            If the database cannot be read.
        """
        with explained(self._engine, "read"), self._engine.connect() as connection:
            if connection.dialect.name == "postgresql":  # SQLite reads one snapshot anyway
                connection.execution_options(isolation_level="REPEATABLE READ")
            head = _head(connection)
            rows = connection.execute(_by_seq(0)).mappings().all()
        return verify_chain([dict(row) for row in rows], head, expected=expected)


def hold_head(connection: Connection) -> AuditHead:
    """Return the end of the log, held until the transaction ends: no one else extends it.

    Raises
    ------
    LedgerError
        If the head record is gone.
    """
    return _known(_head(connection, hold=True))


def replayed(connection: Connection, entry: NewEntry) -> AuditEntry | None:
    """Return the entry that was made under the same key, or None; call ``hold_head`` first.

    Raises
    ------
    TakenKeyError
        If the key was used for something else.
    """
    if entry.key is None:
        return None
    query = select(AuditRow.__table__).where(AuditRow.key == entry.key)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        return None
    standing = opened(dict(row))
    asked = {name: value for name, value in standing.payload.items() if name != MOVES}
    if standing.kind == entry.kind and asked == entry.payload:
        return standing
    names = asked.keys() | entry.payload.keys()
    differing = sorted(name for name in names if asked.get(name) != entry.payload.get(name))
    raise TakenKeyError(
        f"key '{entry.key}' belongs to entry {standing.seq} ({standing.kind}), which differs in "
        f"{', '.join(differing) or 'kind'}; give this one a key of its own"
    )


def extend(connection: Connection, entry: NewEntry, head: AuditHead) -> AuditEntry:
    """Write the entry that follows ``head``, which ``hold_head`` gave, and move the head to it."""
    row = sealed(entry, head)
    connection.execute(insert(connection, AuditRow), row)
    moved = update(AuditHeadRow).where(AuditHeadRow.id == 1)
    connection.execute(moved.values(n=row["seq"], hash=row["hash"]))
    return opened(row)


def read_entries(connection: Connection, *, after: int = 0) -> tuple[AuditEntry, ...]:
    """Return the entries after a place in the log, oldest first."""
    return tuple(opened(dict(row)) for row in connection.execute(_by_seq(after)).mappings())


def _by_seq(after: int) -> Any:
    return select(AuditRow.__table__).where(AuditRow.seq > after).order_by(AuditRow.seq)


def _head(connection: Connection, *, hold: bool = False) -> AuditHead | None:
    query = select(AuditHeadRow.n, AuditHeadRow.hash).where(AuditHeadRow.id == 1)
    if hold:  # SQLite: BEGIN IMMEDIATE already does
        query = query.with_for_update()
    row = connection.execute(query).one_or_none()
    return None if row is None else AuditHead(row.n, row.hash)


def _known(head: AuditHead | None) -> AuditHead:
    if head is None:
        raise LedgerError(
            "the head record of the audit log is gone, so nothing can be appended; "
            "see what else was altered with: pmx audit verify"
        )
    return head
