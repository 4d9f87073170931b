"""Reads tables of a SQLite file that another program wrote, whatever it put in them."""

import math
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

from pmx_ray.errors import DataError

OldRow: TypeAlias = Mapping[str, str | int | float | None]
"""A row by column, in JSON's types."""


def read_tables(path: Path, names: Sequence[str]) -> dict[str, list[OldRow]]:
    """Return the rows of those of the tables that the file has, as of one moment.

    Parameters
    ----------
    path : Path
        The file; it is opened for reading only.
    names : sequence of str
        The tables wanted, names of our own choice.

    Raises
    ------
    DataError
        If the file is missing, is no SQLite database, or has none of the tables.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; name the SQLite database to read")
    uri = f"{path.resolve().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
            connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
            connection.row_factory = sqlite3.Row
            connection.execute("BEGIN")
            listed = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            there = {str(row["name"]) for row in listed}
            found = {
                name: [_plain(row) for row in connection.execute(f"SELECT * FROM {name}")]  # noqa: S608
                for name in names
                if name in there
            }
    except sqlite3.Error as error:
        raise DataError(f"{path}: cannot be read as a SQLite database: {error}") from None
    if not found:
        raise DataError(
            f"{path}: has none of the tables {', '.join(names)}; "
            f"it has {', '.join(sorted(there)) or 'no table'}"
        )
    return found


def _plain(row: sqlite3.Row) -> OldRow:
    return {name.lower(): _json(row[name]) for name in row.keys()}  # noqa: SIM118 - of values


def _json(value: object) -> str | int | float | None:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, str | int | float):
        return value
    raise AssertionError(f"SQLite gave {type(value)}")
