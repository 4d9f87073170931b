"""Aliases: the names in service, each moved by compare-and-set together with its audit entry."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from sqlalchemy import Connection, select

from pmx_ray.errors import LedgerError, StaleVersionError
from pmx_ray.ledger.audit import MOVES, extend, hold_head, read_entries, replayed
from pmx_ray.ledger.chain import AuditEntry, NewEntry, opened
from pmx_ray.ledger.engines import explained, for_writing
from pmx_ray.ledger.ledger import Ledger
from pmx_ray.ledger.tables import AliasRow, AuditRow, insert


class Alias(StrEnum):
    """A name in service."""

    CHAMPION = "champion"
    """Serves."""
    CHALLENGER = "challenger"
    """Is compared with the champion."""
    FALLBACK = "fallback"
    """Takes over where the champion cannot serve and there is no last good one."""
    LAST_GOOD = "last_good"
    """The champion before this one."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Which model an alias points to, and why.

    Attributes
    ----------
    alias : Alias
        The name.
    model : str
        Id of the model version.
    version : int
        How often the alias has moved, from 1.
    entry : AuditEntry
        What put it there.
    """

    alias: Alias
    model: str
    version: int
    entry: AuditEntry


@dataclass(frozen=True, slots=True)
class Move:
    """One alias on its way.

    Attributes
    ----------
    alias : Alias
        The name.
    to : str
        Id of the model version it is to point to.
    """

    alias: Alias
    to: str


Placements: TypeAlias = Mapping[Alias, Placement]
"""The aliases that are set."""

Plan: TypeAlias = Callable[[Placements], Sequence[Move]]
"""From the aliases as they stand to what is to move; it raises where nothing may."""


class Aliases:
    """The aliases of a ledger. Every move is an entry of the audit log, in one transaction.

    Threads and processes may move aliases at once: they do so one after the other.

    Parameters
    ----------
    ledger : Ledger
        An open ledger; it stays the caller's to close.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._engine = ledger.engine

    def current(self) -> dict[Alias, Placement]:
        """Return where each alias points that is set.

        Raises
        ------
        LedgerError
            If the database cannot be read.
        """
        with explained(self._engine, "read"), self._engine.connect() as connection:
            return _current(connection)

    def move(self, alias: Alias, to: str, *, expected_version: int, entry: NewEntry) -> AuditEntry:
        """Point an alias to a model if it has not moved since ``expected_version`` was read.

        Parameters
        ----------
        alias : Alias
            The name.
        to : str
            Id of the model version.
        expected_version : int
            ``Placement.version`` as the caller saw it; 0 for an alias that is not set.
        entry : NewEntry
            What the audit log is to say; alias and target are added to its payload. Where an
            entry with its key is there already, that one is returned and nothing moves.

        Returns
        -------
        AuditEntry
            The entry, with the move and the model before it under ``moves`` in its payload.

        Raises
        ------
        StaleVersionError
            If the alias has moved meanwhile; then nothing was written.
        LedgerError
            If the key belongs to something else, or the database cannot be written.
        """
        alias = Alias(alias)

        def plan(standing: Placements) -> Sequence[Move]:
            check_version(standing, alias, expected_version)
            return (Move(alias, to),)

        payload = {**entry.payload, "alias": alias.value, "to": to}
        return self.move_together(plan, replace(entry, payload=payload))

    def move_together(self, plan: Plan, entry: NewEntry) -> AuditEntry:
        """Move several aliases with one entry: all of them or none.

        Parameters
        ----------
        plan : callable
            Called once, with the aliases as they stand while no one else can move them.
        entry : NewEntry
            As in ``move``.

        Raises
        ------
        LedgerError
            As in ``move``; and whatever ``plan`` raises. Nothing was written then.
        """
        if MOVES in entry.payload:
            raise LedgerError(f"payload of a {entry.kind} entry names '{MOVES}'; leave it out")
        with explained(self._engine, "written"), for_writing(self._engine).begin() as connection:
            head = hold_head(connection)
            before = replayed(connection, entry)
            if before is not None:
                return before
            standing = _current(connection)
            moves = _described(plan(standing), standing)
            whole = replace(entry, payload={**entry.payload, MOVES: moves})
            written = extend(connection, whole, head)
            for placement in _placed(written):
                _write(connection, placement)
            return written

    def as_of(self, time: datetime) -> dict[Alias, Placement]:
        """Return where each alias pointed at a time, by the audit log.

        Entries count by the time they carry, and in the log's order.

        Parameters
        ----------
        time : datetime
            With a time zone; an entry of this very time counts.

        Raises
        ------
        LedgerError
            If the time has no zone, or the log cannot be read.
        """
        if time.tzinfo is None:
            raise LedgerError(f"time was {time}, without a time zone; add one, e.g. +00:00")
        with explained(self._engine, "read"), self._engine.connect() as connection:
            entries = read_entries(connection)
        return placements(entry for entry in entries if entry.at <= time)

    def disagreements(self) -> tuple[str, ...]:
        """Return a sentence for each alias that is not where the audit log put it.

        Raises
        ------
        LedgerError
            If the database, or an altered entry, cannot be read.
        """
        with explained(self._engine, "read"), self._engine.connect() as connection:
            if connection.dialect.name == "postgresql":  # SQLite reads one snapshot anyway
                connection.execution_options(isolation_level="REPEATABLE READ")
            standing, logged = _current(connection), placements(read_entries(connection))
        return tuple(
            f"{alias} points to {_told(standing.get(alias))}, and the audit log put it at "
            f"{_told(logged.get(alias))}"
            for alias in Alias
            if standing.get(alias) != logged.get(alias)
        )


def check_version(standing: Placements, alias: Alias, expected: int) -> None:
    """Refuse a move on what is no longer so.

    Raises
    ------
    StaleVersionError
        If ``alias`` is not at version ``expected``.
    """
    found = standing.get(alias)
    if expected == (0 if found is None else found.version):
        return
    now = "is not set" if found is None else f"is at version {found.version}, {found.model[:12]}"
    raise StaleVersionError(
        f"{alias} was to move from version {expected} and {now}: it moved meanwhile; "
        "look at `pmx registry` and decide again"
    )


def placements(entries: Iterable[AuditEntry]) -> dict[Alias, Placement]:
    """Return where each alias points after ``entries``, oldest first."""
    return {placed.alias: placed for entry in entries for placed in _placed(entry)}


def _described(moves: Sequence[Move], standing: Placements) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for move in moves:
        before = standing.get(move.alias)
        rows.append(
            {
                "alias": move.alias.value,
                "from": None if before is None else before.model,
                "to": move.to,
                "version": 1 if before is None else before.version + 1,
            }
        )
    if not rows or len({row["alias"] for row in rows}) < len(rows) or not all(m.to for m in moves):
        raise LedgerError(f"moves were {rows}; name at least one alias, each once, and its model")
    return rows


def _placed(entry: AuditEntry) -> list[Placement]:
    return [
        Placement(Alias(row["alias"]), row["to"], row["version"], entry)
        for row in entry.payload.get(MOVES, ())
    ]


def _write(connection: Connection, placement: Placement) -> None:
    values = {
        "model": placement.model,
        "version": placement.version,
        "seq": placement.entry.seq,
    }
    new = insert(connection, AliasRow).values(alias=placement.alias.value, **values)
    connection.execute(new.on_conflict_do_update(index_elements=["alias"], set_=values))


def _current(connection: Connection) -> dict[Alias, Placement]:
    aliases, audit = AliasRow.__table__, AuditRow.__table__
    query = select(aliases.c.alias, aliases.c.model, aliases.c.version, audit).join(
        audit, audit.c.seq == aliases.c.seq
    )
    found = {}
    for row in connection.execute(query).mappings():
        columns = dict(row)
        alias, model, version = (columns.pop(name) for name in ("alias", "model", "version"))
        found[Alias(alias)] = Placement(Alias(alias), model, version, opened(columns))
    return found


def _told(placement: Placement | None) -> str:
    if placement is None:
        return "nothing"
    return f"{placement.model[:12]} (version {placement.version}, entry {placement.entry.seq})"
