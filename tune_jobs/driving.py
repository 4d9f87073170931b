"""One driver a study: a lock that ends with the process that holds it, however it ends."""

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import text

from pmx_ray.errors import LedgerError
from pmx_ray.ledger.engines import explained
from pmx_ray.ledger.ledger import Ledger


@contextmanager
def driving(ledger: Ledger, study: str) -> Iterator[None]:
    """Hold the right to drive a study; nothing is written before it is held.

    On PostgreSQL an advisory lock of a connection that stays open, on SQLite a lock on a file
    beside the database. Both are let go by a process that is killed.

    Raises
    ------
    LedgerError
        If another process holds it.
    """
    held = _advisory if ledger.engine.dialect.name == "postgresql" else _file
    with held(ledger, study):
        yield


@contextmanager
def _advisory(ledger: Ledger, study: str) -> Iterator[None]:
    key = int.from_bytes(hashlib.sha256(study.encode()).digest()[:8], "big", signed=True)
    with explained(ledger.engine, "locked"), ledger.engine.connect() as connection:
        query = text("SELECT pg_try_advisory_lock(:key)")
        if not connection.execute(query, {"key": key}).scalar_one():
            raise _another(study)
        connection.commit()  # the lock is the session's, not the transaction's
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": key})
            connection.commit()


@contextmanager
def _file(ledger: Ledger, study: str) -> Iterator[None]:
    path = Path(f"{ledger.engine.url.database}.locks") / study
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as file:  # it stays: who removed it could let two others in
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _another(study) from None
        yield


def _another(study: str) -> LedgerError:
    return LedgerError(
        f"study {study} is driven by another process; wait for it to end, or stop it and start "
        "this one again"
    )
