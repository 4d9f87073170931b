"""From a database URL to an engine that keeps what was committed, and errors without passwords."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import stamina
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from pmx_ray.errors import LedgerError, SettingsError

BUSY_S = 30.0
"""Seconds that a writer waits for another process's transaction on SQLite."""

CONNECT_S = 10
"""Seconds to wait for a PostgreSQL server's answer."""

_WRITE = "pmx_write"


def parse_url(url: str) -> URL:
    """Return a ledger's URL, with the driver that serves it.

    Raises
    ------
    SettingsError
        If it is neither a SQLite file nor PostgreSQL. The message never shows a password.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise SettingsError(
            "the ledger's URL cannot be read; write sqlite:///path/ledger.db or "
            "postgresql+psycopg://user@host/database"
        ) from None
    if parsed.drivername in {"sqlite", "sqlite+pysqlite"}:
        if not parsed.database or parsed.database == ":memory:" or parsed.query:
            raise SettingsError(
                f"ledger {shown_url(parsed)} is no file; write sqlite:///path/ledger.db"
            )
        return parsed
    if parsed.drivername in {"postgresql", "postgresql+psycopg"}:
        return parsed.set(drivername="postgresql+psycopg")
    raise SettingsError(
        f"ledger {parsed.drivername}://... is not known; write sqlite:///path/ledger.db or "
        "postgresql+psycopg://user@host/database"
    )


def shown_url(url: URL) -> str:
    """Return ``url`` for people and logs: no password, and no options, which may hold one.

    Examples
    --------
    >>> shown_url(make_url("postgresql+psycopg://me:secret@db/pmx?password=secret"))
    'postgresql+psycopg://me:***@db/pmx'
    """
    return url.set(query={}).render_as_string(hide_password=True)


def make_engine(url: URL, *, busy_s: float = BUSY_S) -> Engine:
    """Return an engine for a URL of ``parse_url``; nothing is connected yet.

    SQLite runs in WAL with ``synchronous=FULL``, so that a committed run survives a power cut; a
    writer waits ``busy_s`` seconds for another's transaction.

    Raises
    ------
    SettingsError
        If the driver is not installed.
    LedgerError
        If the folder of a SQLite file cannot be made.
    """
    if url.get_backend_name() == "sqlite":
        return _sqlite(url, busy_s)
    defaults = {"connect_timeout": CONNECT_S, "application_name": "pmx-ray"}
    chosen = {key: value for key, value in defaults.items() if key not in url.query}
    try:
        return create_engine(url, connect_args=chosen, pool_pre_ping=True)
    except ModuleNotFoundError:
        raise SettingsError(
            f"ledger {shown_url(url)} needs psycopg, which is not installed; "
            "pip install 'pmx-ray[postgres]'"
        ) from None


def for_writing(engine: Engine) -> Engine:
    """Return ``engine`` for transactions that write: SQLite takes its one write lock at once."""
    return engine.execution_options(**{_WRITE: True})


@contextmanager
def explained(engine: Engine, verb: str) -> Iterator[None]:
    """Turn what the database raises into a ``LedgerError`` without password or statement."""
    try:
        yield
    except DBAPIError as error:
        detail = " ".join(str(error.orig).split())
        raise LedgerError(_message(engine.url, verb, detail)) from None
    except SQLAlchemyError as error:
        detail = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise LedgerError(_message(engine.url, verb, detail)) from None


def _message(url: URL, verb: str, detail: str) -> str:
    secrets = [url.password, *(v for k, v in url.query.items() if "pass" in k.lower())]
    for secret in secrets:
        if isinstance(secret, str) and secret:
            detail = detail.replace(secret, "***")
    return f"ledger {shown_url(url)} cannot be {verb}: {detail}; check the URL and the database"


def _sqlite(url: URL, busy_s: float) -> Engine:
    folder = Path(url.database or "").parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LedgerError(f"folder {folder} cannot be made: {error.strerror}") from None
    engine = create_engine(url, connect_args={"timeout": busy_s})
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves; the driver's comes too late
    # The change to WAL needs the file alone and, unlike statements, does not wait for it: of
    # several processes that open a fresh database at once, one can be told it is locked.
    for attempt in stamina.retry_context(
        on=sqlite3.OperationalError, attempts=None, timeout=BUSY_S, wait_initial=0.01, wait_max=0.2
    ):
        with attempt:
            connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _begin(connection: Connection) -> None:
    # A transaction that reads first and writes later can fail where it should have waited.
    writes = connection.get_execution_options().get(_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
