"""The chain of hashes behind the audit log: what an entry is, and what a sound log looks like."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

from pmx_ray.errors import LedgerError
from pmx_ray.ledger.records import json_values
from pmx_ray.provenance import canonical_json

GENESIS = "0" * 64
"""What the first entry names as the hash before it."""

COLUMNS = ("seq", "at", "kind", "actor", "key", "payload", "previous")
"""The columns that an entry's hash covers."""

StoredRow: TypeAlias = Mapping[str, Any]
"""An entry as the database holds it: ``COLUMNS`` and ``hash``, in whatever types it now has."""


@dataclass(frozen=True, slots=True)
class NewEntry:
    """What is to be appended.

    Attributes
    ----------
    kind : str
        What happened, e.g. ``promote``.
    actor : str
        Who did it.
    payload : mapping
        What is to be known of it, as JSON values.
    at : datetime
        When, with a time zone; kept as UTC.
    key : str or None
        Idempotency key: of two entries with one key the second is not made.

    Raises
    ------
    LedgerError
        If kind, actor or key is empty or cannot be text, the time has no zone, or the payload is
        not JSON.
    """

    kind: str
    actor: str
    payload: Mapping[str, object]
    at: datetime
    key: str | None = None

    def __post_init__(self) -> None:
        for name in ("kind", "actor", "key"):
            value = getattr(self, name)
            if value is not None and not (value.strip() and value.isprintable()):
                raise LedgerError(f"{name} of an audit entry was {value!r}; write one line of text")
        if self.at.tzinfo is None:
            raise LedgerError(f"at was {self.at}, without a time zone; use clock.utc_now()")
        object.__setattr__(self, "at", self.at.astimezone(UTC))
        payload = json_values(self.payload, f"payload of a {self.kind} entry")
        object.__setattr__(self, "payload", payload)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One entry of the log.

    Attributes
    ----------
    seq : int
        Place in the log, from 1.
    at : datetime
        When it happened by the clock of whoever appended it, UTC.
    kind, actor, key, payload
        As in ``NewEntry``.
    previous, hash : str
        Of the entry before it, and of its own content; SHA-256 in hexadecimal.
    """

    seq: int
    at: datetime
    kind: str
    actor: str
    key: str | None
    payload: Mapping[str, Any]
    previous: str
    hash: str


@dataclass(frozen=True, slots=True)
class AuditHead:
    """Where a log ends; noted elsewhere, it shows later that nothing before it was rewritten.

    Attributes
    ----------
    n : int
        Number of entries.
    hash : str
        Of the last one; ``GENESIS`` where there is none.
    """

    n: int
    hash: str


def digest(row: StoredRow) -> str:
    """Return the hash of an entry: SHA-256 of the canonical JSON of its ``COLUMNS``, as they stand.

    Plain SHA-256 over text that any tool can write, so that an auditor needs none of this program.

    Raises
    ------
    TypeError, ValueError
        If a column holds what no entry does.
    """
    content = {name: row[name] for name in COLUMNS}
    return hashlib.sha256(canonical_json(content)).hexdigest()


def sealed(new: NewEntry, head: AuditHead) -> dict[str, Any]:
    """Return the row that follows ``head``.

    Examples
    --------
    >>> new = NewEntry("note", "ann", {"b": 1}, datetime(2026, 3, 1, tzinfo=UTC))
    >>> row = sealed(new, AuditHead(0, GENESIS))
    >>> row["seq"], row["at"], row["payload"], row["hash"][:8]
    (1, '2026-03-01T00:00:00.000000+00:00', '{"b":1}', '79326b92')
    """
    row: dict[str, Any] = {
        "seq": head.n + 1,
        "at": new.at.isoformat(timespec="microseconds"),
        "kind": new.kind,
        "actor": new.actor,
        "key": new.key,
        "payload": canonical_json(new.payload).decode(),
        "previous": head.hash,
    }
    return {**row, "hash": digest(row)}


def opened(row: StoredRow) -> AuditEntry:
    """Return the entry that a row holds.

    Raises
    ------
    LedgerError
        If time or payload cannot be read: the row was altered.
    """
    try:
        at, payload = datetime.fromisoformat(row["at"]), json.loads(row["payload"])
    except (TypeError, ValueError) as error:
        raise LedgerError(
            f"entry {row['seq']} of the audit log cannot be read ({error}): it was altered; "
            "see what else was with: pmx audit verify"
        ) from None
    return AuditEntry(**{**row, "at": at, "payload": payload})
