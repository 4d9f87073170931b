"""The flags in the ledger: each version an entry of the audit log, set by compare-and-set."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import Connection, select

from pmx_ray.clock import Clock, utc_now
from pmx_ray.errors import LedgerError, NoRecordError, StaleVersionError, TakenKeyError
from pmx_ray.ledger.audit import extend, hold_head
from pmx_ray.ledger.chain import AuditEntry, NewEntry, opened
from pmx_ray.ledger.engines import explained, for_writing
from pmx_ray.ledger.ledger import Ledger
from pmx_ray.ledger.tables import AuditRow, FlagVersionRow, insert

KIND = "flags"
"""Kind of the audit entries that set flags."""

Values: TypeAlias = Mapping[str, object]
"""Every flag with its value."""

Update: TypeAlias = Callable[[Values], Values]
"""From the flags as they stand (none at version 0) to all of them as they are to be; pure."""


@dataclass(frozen=True, slots=True)
class FlagRecord:
    """The flags at one version.

    Attributes
    ----------
    version : int
        From 1; each change adds 1.
    values : mapping
        Every flag, as JSON values.
    at : datetime
        When they were set, UTC.
    actor, reason : str
        Who set them, and why.
    """

    version: int
    values: Values
    at: datetime
    actor: str
    reason: str


class FlagLog:
    """The flags of a ledger, with every version they ever had.

    A version is its entry in the audit log, so that what an answer was routed by cannot be altered
    unnoticed. Threads and processes may change flags at once: they do so one after the other.

    Parameters
    ----------
    ledger : Ledger
        An open ledger; it stays the caller's to close.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._engine = ledger.engine

    def current(self) -> FlagRecord | None:
        """Return the newest version, or None where no flag was ever set.

        Raises
        ------
        LedgerError
            If the database cannot be read.
        """
        return next(iter(self.history(1)), None)

    def at(self, version: int) -> FlagRecord:
        """Return one version.

        Raises
        ------
        NoRecordError
            If there is none.
        LedgerError
            If the database cannot be read.
        """
        with explained(self._engine, "read"), self._engine.connect() as connection:
            found = _versions(connection, FlagVersionRow.version == version, limit=1)
        if not found:
            raise NoRecordError(f"flags have no version {version}; see: pmx flags history")
        return found[0]

    def history(self, limit: int) -> tuple[FlagRecord, ...]:
        """Return at most ``limit`` versions, newest first.

        Raises
        ------
        LedgerError
            If the database cannot be read.
        """
        with explained(self._engine, "read"), self._engine.connect() as connection:
            return _versions(connection, FlagVersionRow.version >= 1, limit=limit)

    def change(
        self,
        update: Update,
        *,
        actor: str,
        reason: str,
        expected_version: int | None = None,
        key: str | None = None,
        clock: Clock = utc_now,
    ) -> FlagRecord:
        """Set the flags to what ``update`` makes of them, in one transaction with its audit entry.

        Parameters
        ----------
        update : callable
            Called while no one else can change the flags; where it raises, nothing is written.
        actor, reason : str
            Who, and why; neither may be empty.
        expected_version : int, optional
            The version that the caller saw, 0 for none; without it the newest is changed.
        key : str, optional
            Idempotency key: asked again under it, the first answer is returned.
        clock : Clock
            Dates the entry.

        Raises
        ------
        StaleVersionError
            If the flags are no longer at ``expected_version``; then nothing was written.
        TakenKeyError
            If the key belongs to something else.
        LedgerError
            If a text is empty, or the database cannot be written.
        """
        if not reason.strip():
            raise LedgerError("reason of a change of flags was empty; say why in one line")
        with explained(self._engine, "written"), for_writing(self._engine).begin() as connection:
            head = hold_head(connection)
            asked = _Asked(update, actor=actor, reason=reason)
            standing = _standing(connection, key)
            if standing is not None:
                return asked.matched(connection, standing)
            before = next(iter(_versions(connection, FlagVersionRow.version >= 1, limit=1)), None)
            version = 0 if before is None else before.version
            if expected_version not in (None, version):
                raise StaleVersionError(
                    f"flags were to change from version {expected_version} and are at version "
                    f"{version}: they changed meanwhile; look at them and decide again"
                )
            values = {} if before is None else before.values
            payload = {"version": version + 1, "reason": reason, "values": dict(update(values))}
            entry = extend(connection, NewEntry(KIND, actor, payload, clock(), key), head)
            row = {"version": version + 1, "seq": entry.seq, "at": entry.at}
            connection.execute(insert(connection, FlagVersionRow), row)
            return _record(entry)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A change as it was asked for, to be compared with one made under the same key."""

    update: Update
    actor: str
    reason: str

    def matched(self, connection: Connection, standing: AuditEntry) -> FlagRecord:
        """Return what ``standing`` set if the same change would set it again, on the same flags."""
        if standing.kind == KIND:
            made = _record(standing)
            earlier = _versions(connection, FlagVersionRow.version == made.version - 1, limit=1)
            values = earlier[0].values if earlier else {}
            same_words = (made.actor, made.reason) == (self.actor, self.reason)
            if same_words and dict(self.update(values)) == dict(made.values):
                return made
        raise TakenKeyError(
            f"key '{standing.key}' belongs to entry {standing.seq} ({standing.kind}), which is "
            "another change; give this one a key of its own"
        )


def _standing(connection: Connection, key: str | None) -> AuditEntry | None:
    if key is None:
        return None
    query = select(AuditRow.__table__).where(AuditRow.key == key)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else opened(dict(row))


def _versions(connection: Connection, which: Any, *, limit: int) -> tuple[FlagRecord, ...]:
    versions, audit = FlagVersionRow.__table__, AuditRow.__table__
    query = select(audit, versions.c.version).join(versions, versions.c.seq == audit.c.seq)
    query = query.where(which).order_by(versions.c.version.desc()).limit(limit)
    found = []
    for row in connection.execute(query).mappings():
        columns = dict(row)
        version = columns.pop("version")
        record = _record(opened(columns))
        if record.version != version:
            raise LedgerError(
                f"version {version} of the flags points to entry {columns['seq']}, which sets "
                f"version {record.version}; see: pmx audit verify"
            )
        found.append(record)
    return tuple(found)


def _record(entry: AuditEntry) -> FlagRecord:
    if entry.kind != KIND:
        raise LedgerError(
            f"entry {entry.seq} of the audit log sets no flags: it is of kind {entry.kind}; "
            "see: pmx audit verify"
        )
    version, reason = entry.payload["version"], entry.payload["reason"]
    return FlagRecord(version, entry.payload["values"], entry.at, entry.actor, reason)
