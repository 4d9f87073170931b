"""A panel on disk: one Parquet file that gives back the same bits."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pmx_ray._typing import DateArray
from pmx_ray.data.panel import FIELDS, Panel
from pmx_ray.errors import DataError
from pmx_ray.lake import FolderStore
from pmx_ray.provenance import canonical_json

SNAPSHOT_KEY = b"pmx_panel"
"""Metadata of the file: what the rows alone do not say."""

SNAPSHOT_VERSION = 1

_AGAIN = "write it again with: pmx plan SETTINGS"


def save_panel(panel: Panel, path: Path) -> None:
    """Write ``panel`` to ``path``: whole, or not at all.

    The file holds one row a ticker and session, ticker by ticker, missing prices included as NaN,
    so that any Parquet reader can use it. The same panel gives the same bytes under one release
    of pyarrow.

    Raises
    ------
    LakeError
        If the folder cannot be written.
    """
    buffer = pa.BufferOutputStream()
    pq.write_table(
        _table(panel),
        buffer,
        compression="zstd",
        # A dictionary or a statistic could merge the bit patterns of NaN; the rest gains from it.
        use_dictionary=["ticker", "date", "group"],
        write_statistics=["ticker", "date"],
        store_schema=True,
    )
    FolderStore(path.parent).replace(path.name, buffer.getvalue().to_pybytes())


def load_saved_panel(path: Path) -> Panel:
    """Return the panel that ``save_panel`` wrote to ``path``; its ``sha256`` is checked.

    Raises
    ------
    DataError
        If the file is missing, is no saved panel, or holds other values than were saved.
    """
    try:
        table = pq.ParquetFile(path).read()
    except FileNotFoundError:
        raise DataError(f"{path}: no such panel; {_AGAIN}") from None
    except (pa.ArrowException, OSError) as error:
        detail = " ".join(str(error).split())
        raise DataError(
            f"{path}: is not a Parquet file that can be read: {detail}; {_AGAIN}"
        ) from None
    written = (table.schema.metadata or {}).get(SNAPSHOT_KEY)
    if written is None:
        raise DataError(
            f"{path}: is not a saved panel; read your own prices with panel: {{source: file}}"
        )
    try:
        head = json.loads(written)
        if head["version"] != SNAPSHOT_VERSION:
            raise DataError(
                f"{path}: saved in version {head['version']}; this release reads "
                f"{SNAPSHOT_VERSION}; {_AGAIN}"
            )
        panel, sha256 = _panel(table, head, path), head["sha256"]
    except DataError:
        raise
    except (ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise DataError(f"{path}: is damaged ({error!r}); {_AGAIN}") from None
    if panel.sha256 != sha256:
        raise DataError(f"{path}: its values are not those that were saved; {_AGAIN}")
    return panel


def _table(panel: Panel) -> pa.Table:
    n, t = panel.n_tickers, panel.n_sessions
    columns: dict[str, pa.Array] = {
        "date": pa.array(np.tile(panel.sessions, n), pa.date32()),
        "ticker": _repeated(panel.tickers, t),
        "close": pa.array(panel.close.ravel()),
    }
    for name in FIELDS:
        values = getattr(panel, name)
        if values is not None:
            columns[name] = pa.array(values.ravel())
    if panel.gap is not None:
        columns["gap"] = pa.array(panel.gap.ravel())
    if panel.groups is not None:
        columns["group"] = _repeated(panel.groups, t)
    head = {
        "version": SNAPSHOT_VERSION,
        "calendar": panel.calendar,
        "tickers": panel.tickers,
        "groups": panel.groups,
        "n_sessions": t,
        "sha256": panel.sha256,
    }
    return pa.table(columns).replace_schema_metadata({SNAPSHOT_KEY: canonical_json(head)})


def _repeated(names: tuple[str, ...], times: int) -> pa.Array:
    codes = np.repeat(np.arange(len(names), dtype=np.int32), times)
    return pa.DictionaryArray.from_arrays(codes, pa.array(names, pa.string())).cast(pa.string())


def _panel(table: pa.Table, head: dict[str, Any], path: Path) -> Panel:
    shape = (len(head["tickers"]), head["n_sessions"])
    if table.num_rows != shape[0] * shape[1]:
        raise DataError(f"{path}: has {table.num_rows} rows; {shape} were saved; {_AGAIN}")

    def matrix(name: str) -> np.ndarray | None:
        return table[name].to_numpy().reshape(shape) if name in table.column_names else None

    sessions: DateArray = table["date"][: shape[1]].to_numpy().astype("datetime64[D]")
    close = matrix("close")
    if close is None:
        raise DataError(f"{path}: has no column 'close'; {_AGAIN}")
    return Panel(
        calendar=head["calendar"],
        tickers=tuple(head["tickers"]),
        sessions=sessions,
        close=close,
        open=matrix("open"),
        high=matrix("high"),
        low=matrix("low"),
        volume=matrix("volume"),
        gap=matrix("gap"),
        groups=None if head["groups"] is None else tuple(head["groups"]),
    )
