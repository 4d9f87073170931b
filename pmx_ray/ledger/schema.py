"""Bring a database to the schema of this version, also when many processes try at once."""

import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, text

from pmx_ray.errors import LedgerError
from pmx_ray.ledger.engines import explained, for_writing, shown_url

VERSION_TABLE = "ledger_version"
"""Where the revision is kept; a name of our own, as other programs may share the database."""

_MIGRATIONS = Path(__file__).parent / "migrations"
_ADVISORY_LOCK = int.from_bytes(b"pmxledgr", "big", signed=True)
_ALEMBIC = threading.Lock()  # Alembic keeps the migration under way in module globals


def head() -> str:
    """Return the revision that this version of the program works with."""
    revision = _scripts().get_current_head()
    if revision is None:
        raise AssertionError("the package holds no migration")
    return revision


def revision(engine: Engine) -> str | None:
    """Return the revision a database is at, or None where it holds no ledger.

    Raises
    ------
    LedgerError
        If the database cannot be read.
    """
    with explained(engine, "read"), engine.connect() as connection:
        return _revision(connection)


def upgrade(engine: Engine) -> None:
    """Bring the database to ``head()``, in one transaction that excludes every other upgrade.

    Raises
    ------
    LedgerError
        If the database is of a newer version of the program, or cannot be written.
    """
    if _is_current(engine, revision(engine)):
        return
    with _ALEMBIC, explained(engine, "upgraded"), for_writing(engine).begin() as connection:
        _exclude_others(connection)
        if not _is_current(engine, _revision(connection)):  # another process may have been first
            command.upgrade(_config(connection), "head")


def downgrade(engine: Engine, target: str) -> None:
    """Take the database back to an older revision; ``base`` drops every table.

    Raises
    ------
    LedgerError
        If there is no such revision, or the database cannot be written.
    """
    with _ALEMBIC, explained(engine, "downgraded"), for_writing(engine).begin() as connection:
        _exclude_others(connection)
        try:
            command.downgrade(_config(connection), target)
        except CommandError as error:
            raise LedgerError(f"ledger {shown_url(engine.url)}: {error}") from None


def _is_current(engine: Engine, found: str | None) -> bool:
    if found == head():
        return True
    if found is not None and found not in {s.revision for s in _scripts().walk_revisions()}:
        raise LedgerError(
            f"ledger {shown_url(engine.url)} is at revision {found}, which is newer than this "
            f"version of pmx-ray (revision {head()}); upgrade pmx-ray or name another ledger"
        )
    return False


def _revision(connection: Connection) -> str | None:
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()


def _exclude_others(connection: Connection) -> None:
    # SQLite: BEGIN IMMEDIATE already did.
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(_MIGRATIONS))


def _config(connection: Connection) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config
