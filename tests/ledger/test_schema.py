"""Migrations and models say the same, in both directions, also when many open at once."""

import multiprocessing
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import optuna
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, inspect, text

from pmx_ray.errors import LedgerError
from pmx_ray.ledger import open_ledger
from pmx_ray.ledger.engines import make_engine, parse_url
from pmx_ray.ledger.schema import VERSION_TABLE, downgrade, head, revision, upgrade
from pmx_ray.ledger.tables import Base
from pmx_ray.ledger.trials import Trial, Trials, TrialSource


def shape(engine: Engine) -> dict[str, object]:
    """Return everything the database knows about the ledger's tables."""
    inspector = inspect(engine)

    def listed(rows: list[object]) -> list[str]:
        return sorted(str(row) for row in rows)

    return {
        table: (
            [
                (c["name"], str(c["type"]), c["nullable"], c.get("default"))
                for c in inspector.get_columns(table)
            ],
            inspector.get_pk_constraint(table),
            listed(inspector.get_foreign_keys(table)),
            listed(inspector.get_unique_constraints(table)),
            listed(inspector.get_check_constraints(table)),
            listed(inspector.get_indexes(table)),
        )
        for table in sorted(inspector.get_table_names())
        if table != VERSION_TABLE
    }


def test_upgrade_when_done_then_alembic_sees_no_difference_from_models(url: str) -> None:
    with open_ledger(url) as ledger, ledger.engine.connect() as connection:
        options = {
            "version_table": VERSION_TABLE,
            "compare_type": True,
            "compare_server_default": True,
        }
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []


def test_upgrade_when_done_then_every_constraint_as_in_models(url: str) -> None:
    # Alembic's comparison leaves out check constraints and names; the database's own words do not.
    engine = make_engine(parse_url(url))
    Base.metadata.create_all(engine)
    from_models = shape(engine)
    Base.metadata.drop_all(engine)
    upgrade(engine)
    assert shape(engine) == from_models
    runs, trials = {"runs", "specs", "metrics"}, {"slices", "evaluated_trials"}
    service = {"flag_versions", "flag_arrivals", "signal_books", "signals"}
    service |= {"llm_assessments", "requests", "legacy_records"}
    governance = {"audit", "audit_head", "aliases"}
    assert set(from_models) == runs | trials | governance | service
    engine.dispose()


def test_downgrade_when_to_base_then_empty_and_up_again(url: str) -> None:
    with open_ledger(url) as ledger:
        before = shape(ledger.engine)
        downgrade(ledger.engine, "base")
        assert shape(ledger.engine) == {}
        assert revision(ledger.engine) is None
        upgrade(ledger.engine)
        assert shape(ledger.engine) == before
        assert revision(ledger.engine) == head()


def test_downgrade_when_revision_unknown_then_refused(url: str) -> None:
    with open_ledger(url) as ledger, pytest.raises(LedgerError, match="nonsense"):
        downgrade(ledger.engine, "nonsense")


def test_upgrade_when_repeated_then_nothing_changes(url: str) -> None:
    with open_ledger(url) as ledger:
        before = shape(ledger.engine)
        upgrade(ledger.engine)
        assert shape(ledger.engine) == before


def test_open_when_database_is_newer_then_refused_with_both_revisions(url: str) -> None:
    with open_ledger(url) as ledger, ledger.engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(
        LedgerError, match=rf"revision 9999.*\(revision {head()}\).*upgrade pmx-ray"
    ):
        open_ledger(url)


def test_upgrade_when_trials_have_their_first_name_then_moved(url: str) -> None:
    with open_ledger(url) as ledger:
        Trials(ledger).record([a_trial()])
        downgrade(ledger.engine, "0003")
        with ledger.engine.begin() as connection:  # as revision 0002 first made it
            connection.execute(text("ALTER TABLE evaluated_trials RENAME TO trials"))
            connection.execute(text("DROP INDEX ix_evaluated_trials_slice_id"))
            connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '0002'"))
            if connection.dialect.name == "postgresql":
                connection.execute(
                    text("ALTER TABLE trials RENAME CONSTRAINT pk_evaluated_trials TO pk_trials")
                )
    with open_ledger(url) as ledger:
        window = {"first": a_trial().cutoffs[0], "last": a_trial().cutoffs[-1]}
        assert Trials(ledger).n_trials(["A"], **window) == 1
        assert "trials" not in shape(ledger.engine)


def test_upgrade_when_optuna_was_there_first_then_both_live(url: str) -> None:
    storage = optuna.storages.RDBStorage(parse_url(url).render_as_string(hide_password=False))
    study = optuna.create_study(storage=storage, study_name="of another program")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    with open_ledger(url) as ledger:
        assert Trials(ledger).record([a_trial()]) == 1
    assert len(study.trials) == 1
    storage.remove_session()
    storage.engine.dispose()


def a_trial() -> Trial:
    cutoffs = np.datetime64("2020-01-01") + np.arange(3)
    return Trial("c", "s", "label", 1, TrialSource.SWEEP, ("A",), cutoffs, np.zeros(3))


def test_upgrade_when_it_fails_half_way_then_nothing_of_it(url: str) -> None:
    # A table of that name, of another program, makes the last step of the migration fail.
    engine = make_engine(parse_url(url))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE metrics (x INTEGER)"))
    with pytest.raises(LedgerError, match=r"cannot be upgraded.*metrics.*already exists"):
        open_ledger(url)
    assert set(inspect(engine).get_table_names()) == {"metrics"}
    engine.dispose()


def _open(url: str) -> str | None:
    with open_ledger(url) as ledger:
        return revision(ledger.engine)


def test_open_when_threads_make_databases_at_once_then_all_succeed(tmp_path: Path) -> None:
    # Alembic keeps the migration under way in module globals.
    fresh = [f"sqlite:///{tmp_path}/{n}.db" for n in range(24)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(_open, fresh)) == [head()] * len(fresh)


def test_open_when_processes_open_a_fresh_database_at_once_then_all_succeed(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    fresh = [f"sqlite:///{tmp_path}/{n}.db" for n in range(5)]
    fresh += [request.getfixturevalue("postgres_database")]
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        for url in fresh:
            assert pool.map(_open, [url] * 8, chunksize=1) == [head()] * 8


def test_open_when_another_process_holds_a_fresh_file_then_waits_for_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")  # the change to WAL is then refused at once
    holder.execute("CREATE TABLE other (n)")
    release = threading.Timer(0.3, lambda: holder.execute("COMMIT"))
    release.start()
    with open_ledger(f"sqlite:///{path}") as ledger:
        assert revision(ledger.engine) == head()
    release.join()
    holder.close()
