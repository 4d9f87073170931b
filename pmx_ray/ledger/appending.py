"""Rows that are written once and never changed."""

from collections.abc import Iterable
from dataclasses import fields
from operator import attrgetter
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from pmx_ray.ledger.engines import explained, for_writing
from pmx_ray.ledger.tables import Base, insert_new

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def append_new(
    engine: Engine,
    table: type[Base],
    records: Iterable["DataclassInstance"],
    *,
    order: tuple[str, ...],
) -> None:
    """Write records in one transaction; one whose key is taken leaves the row that is there.

    Parameters
    ----------
    engine : Engine
        Of the ledger.
    table : type of Base
        Where they go.
    records : iterable of dataclass
        All of one type; a field is a column.
    order : tuple of str
        Columns to sort by. Every writer goes in one order, so that two never wait for each
        other's rows.

    Raises
    ------
    LedgerError
        If the database cannot be written; then no row was.
    """
    ordered = sorted(records, key=attrgetter(*order))
    if not ordered:
        return
    names = [field.name for field in fields(ordered[0])]
    # Not asdict, which copies every value: four fifths of a write, while requests wait.
    rows = [{name: getattr(record, name) for name in names} for record in ordered]
    with explained(engine, "written"), for_writing(engine).begin() as connection:
        connection.execute(insert_new(connection, table), rows)
