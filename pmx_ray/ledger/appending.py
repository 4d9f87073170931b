"""Rows that are written once and never changed."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Engine

from pmx_ray.ledger.engines import explained, for_writing
from pmx_ray.ledger.tables import Base, insert_new


def append_new(
    engine: Engine, table: type[Base], rows: Iterable[Mapping[str, Any]], *, order: tuple[str, ...]
) -> None:
    """Write rows in one transaction; one whose key is taken leaves the row that is there.

    Parameters
    ----------
    engine : Engine
        Of the ledger.
    table : type of Base
        Where they go.
    rows : iterable of mapping
        By column.
    order : tuple of str
        Columns to sort by. Every writer goes in one order, so that two never wait for each
        other's rows.

    Raises
    ------
    LedgerError
        If the database cannot be written; then no row was.
    """
    ordered = sorted(rows, key=lambda row: tuple(row[name] for name in order))
    if not ordered:
        return
    with explained(engine, "written"), for_writing(engine).begin() as connection:
        connection.execute(insert_new(connection, table), ordered)
