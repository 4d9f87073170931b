"""Real databases for the ledger: a SQLite file, and a PostgreSQL server."""

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy.engine import make_url


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Address of a running PostgreSQL server, without its driver."""
    # A folder of its own: for root the server runs as another user, who must be able to reach it,
    # and pytest closes its own folders to others.
    folder = Path(tempfile.mkdtemp(prefix="pmx-postgres-"))
    with warnings.catch_warnings():
        # On import it asks for the user's runtime folder, which a bare machine does not have.
        warnings.simplefilter("ignore")
        import pgserver  # noqa: PLC0415

        server = pgserver.get_server(folder, cleanup_mode="stop")
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        # No test cuts the power, and flushing fifty databases to disk takes most of the time.
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder)


@pytest.fixture
def postgres_database(postgres_url: str) -> str:
    """URL of a fresh PostgreSQL database."""
    name = f"ledger_{uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    url = make_url(postgres_url).set(drivername="postgresql+psycopg", database=name)
    return url.render_as_string(hide_password=False)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a fresh database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    found: str = request.getfixturevalue("postgres_database")
    return found
