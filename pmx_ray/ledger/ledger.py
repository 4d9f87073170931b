"""The ledger: what was run and what came out, in SQLite or PostgreSQL."""

import math
from dataclasses import fields
from types import TracebackType
from typing import Self

from sqlalchemy import Connection, delete, select, update

from pmx_ray.ledger.engines import (
    BUSY_S,
    explained,
    for_writing,
    make_engine,
    parse_url,
    shown_url,
)
from pmx_ray.ledger.records import Metric, Run, RunRecord, RunStatus, Spec
from pmx_ray.ledger.schema import upgrade
from pmx_ray.ledger.tables import MetricRow, RunRow, SpecRow, insert_new


class Ledger:
    """Runs, specs and metrics in one database.

    Threads may share a ledger, and any number of processes may each open one on the same
    database: a writer waits for the others. Every call is one transaction; what it wrote is on
    disk when it returns. A ledger is not handed to another process: hand over its URL.

    Use ``open_ledger``, which also brings the schema up to date.

    Parameters
    ----------
    url : str
        ``sqlite:///path/ledger.db`` or ``postgresql+psycopg://user:password@host/database``; a
        password is better left to the environment (``PGPASSWORD``) or to ``~/.pgpass``.
    busy_s : float
        Seconds that a writer waits for another process's transaction on SQLite.

    Raises
    ------
    SettingsError
        If the URL is neither, or the driver is not installed.
    """

    def __init__(self, url: str, *, busy_s: float = BUSY_S) -> None:
        self.engine = make_engine(parse_url(url), busy_s=busy_s)

    @property
    def shown_url(self) -> str:
        """The URL without its password."""
        return shown_url(self.engine.url)

    def __repr__(self) -> str:
        return f"Ledger({self.shown_url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()

    def record_run(self, record: RunRecord) -> bool:
        """Write a run with its specs and metrics in one transaction; return True if it changed.

        A run that is there already with the same content is left alone. One with other content
        (cells that failed then and not now, a measure that is new) takes the new content and keeps
        the time it was first recorded.

        Raises
        ------
        LedgerError
            If the database cannot be written; then nothing of the run was.
        """
        with explained(self.engine, "written"), for_writing(self.engine).begin() as connection:
            if not _write_run(connection, record):
                return False
            _write_specs(connection, record.specs)
            _write_metrics(connection, record)
        return True

    def runs(self) -> tuple[Run, ...]:
        """Return every run, oldest first."""
        query = select(RunRow.__table__).order_by(RunRow.recorded_at, RunRow.sweep_id)
        with explained(self.engine, "read"), self.engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
        return tuple(Run(**{**row, "status": RunStatus(row["status"])}) for row in rows)

    def specs(self, sweep_id: str) -> tuple[Spec, ...]:
        """Return the specs that a run has metrics of, by name and id; none for an unknown run."""
        of_run = select(MetricRow.spec_id).where(MetricRow.sweep_id == sweep_id)
        query = (
            select(SpecRow.__table__)
            .where(SpecRow.spec_id.in_(of_run))
            .order_by(SpecRow.name, SpecRow.spec_id)
        )
        with explained(self.engine, "read"), self.engine.connect() as connection:
            return tuple(Spec(**row) for row in connection.execute(query).mappings())

    def metrics(self, sweep_id: str) -> tuple[Metric, ...]:
        """Return a run's metrics by spec, step and measure; none for an unknown run."""
        with explained(self.engine, "read"), self.engine.connect() as connection:
            rows = _metric_rows(connection, sweep_id)
        return tuple(
            Metric(spec_id, step, measure, math.nan if value is None else value)
            for spec_id, step, measure, value in rows
        )


def open_ledger(url: str, *, busy_s: float = BUSY_S) -> Ledger:
    """Return the ledger at ``url``, made if there is none, and at the newest schema.

    ``busy_s`` is as in ``Ledger``.

    Raises
    ------
    SettingsError
        If the URL is not one of a ledger, or the driver is not installed.
    LedgerError
        If the database cannot be used, or a newer version of the program wrote it.

    Examples
    --------
    >>> import tempfile
    >>> with open_ledger(f"sqlite:///{tempfile.mkdtemp()}/ledger.db") as ledger:
    ...     ledger.runs()
    ()
    """
    ledger = Ledger(url, busy_s=busy_s)
    try:
        upgrade(ledger.engine)
    except BaseException:
        ledger.close()
        raise
    return ledger


def _write_run(connection: Connection, record: RunRecord) -> bool:
    """Insert or update the row of a run; return False where all of the record stands already."""
    columns = {field.name: getattr(record.run, field.name) for field in fields(Run)}
    columns["status"] = record.run.status.value
    # The insert also makes a second writer of the same run wait for the first.
    if connection.execute(
        insert_new(connection, RunRow).returning(RunRow.sweep_id), columns
    ).first():
        return True
    here = RunRow.sweep_id == record.run.sweep_id
    standing = connection.execute(select(RunRow.__table__).where(here).with_for_update())
    del columns["recorded_at"]
    row = standing.mappings().one()
    same = all(row[name] == value for name, value in columns.items())
    if same and _metric_rows(connection, record.run.sweep_id) == _sorted_rows(record):
        return False
    connection.execute(update(RunRow).where(here).values(**columns))
    return True


def _write_specs(connection: Connection, specs: tuple[Spec, ...]) -> None:
    # In one order for every writer, so that two never wait for each other's rows.
    rows = [
        {"spec_id": spec.spec_id, "name": spec.name, "params": spec.params}
        for spec in sorted(specs, key=lambda spec: spec.spec_id)
    ]
    if rows:
        connection.execute(insert_new(connection, SpecRow), rows)


def _write_metrics(connection: Connection, record: RunRecord) -> None:
    sweep_id = record.run.sweep_id
    connection.execute(delete(MetricRow).where(MetricRow.sweep_id == sweep_id))
    names = ("sweep_id", "spec_id", "step", "measure", "value")
    rows = [dict(zip(names, (sweep_id, *row), strict=True)) for row in _sorted_rows(record)]
    if rows:
        connection.execute(insert_new(connection, MetricRow), rows)


def _metric_rows(connection: Connection, sweep_id: str) -> list[tuple[str, int, str, float | None]]:
    query = select(MetricRow.spec_id, MetricRow.step, MetricRow.measure, MetricRow.value)
    found = connection.execute(query.where(MetricRow.sweep_id == sweep_id))
    rows = [(spec_id, step, measure, value) for spec_id, step, measure, value in found]
    # Sorted here: the servers' orders of text differ from each other and from Python's.
    return sorted(rows, key=lambda row: row[:3])


def _sorted_rows(record: RunRecord) -> list[tuple[str, int, str, float | None]]:
    return sorted((metric.row() for metric in record.metrics), key=lambda row: row[:3])
