"""The feature store: columns in the lake, named by what they were computed from.

The columns of one ``FeatureSpec`` are one block; its id is a hash of the panel's own, of the spec
and of the versions that can change a number. What is there and verifies is read; what is missing,
torn or of other bytes than its receipt says is computed again and replaced. Any number of
processes may ask at once: they would write the same bytes.
"""

import json
import platform
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict

import numpy as np
import pyarrow as pa

from pmx_ray._typing import FloatArray
from pmx_ray.data.panel import Panel
from pmx_ray.errors import CorruptBlockError, MissingValueError
from pmx_ray.features.column import Column
from pmx_ray.features.exogenous import features_of
from pmx_ray.features.matrix import FeatureMatrix, feature_matrix
from pmx_ray.features.spec import FeatureSpec
from pmx_ray.lake import BlockStore, Receipt, load_receipts, read_block, write_block
from pmx_ray.provenance import (
    ENGINE_VERSION,
    FEATURES_VERSION,
    canonical_json,
    library_versions,
    sha256_hex,
)

COLUMNS_KEY = b"pmx_features"
"""Metadata of a block: its columns with their publication lags and warm-ups, the spec, the panel.

Whoever reads the Parquet file by other means finds there when each value was out.
"""

LIBRARIES = ("exchange-calendars", "numpy", "pandas")


def stored_features(store: BlockStore, panel: Panel, specs: Sequence[FeatureSpec]) -> FeatureMatrix:
    """Return the features of a panel, from the store where it has them.

    Parameters
    ----------
    store : BlockStore
        A lake; see ``lake.open_store``.
    panel : Panel
        N tickers, T sessions: the slice that the features may see. A longer slice is another
        panel, with blocks of its own.
    specs : sequence of FeatureSpec
        Names and kinds of features, K columns together.

    Returns
    -------
    FeatureMatrix
        The bits of ``feature_matrix(specs, panel)``.

    Raises
    ------
    LakeError
        If the store cannot be read or written.
    SettingsError, DataError
        As ``feature_matrix``.

    Examples
    --------
    ``stored_features(open_store("lake"), panel, (Volatility(window=20), "monday"))``
    """
    features_of(specs)  # names that clash are refused before anything is written
    panel_sha256 = panel.sha256
    receipts = load_receipts(store, [features_id(panel_sha256, spec) for spec in specs])
    parts = [_part(store, panel, panel_sha256, spec, receipts) for spec in specs]
    return _beside(parts, panel)


def features_id(panel_sha256: str, spec: FeatureSpec) -> str:
    """Return the id of the block that holds a spec's columns: 64 hexadecimal digits."""
    facts = {
        "features": FEATURES_VERSION,
        "engine": ENGINE_VERSION,
        "panel": panel_sha256,
        "spec": _document(spec),
        "libraries": library_versions(LIBRARIES),
    }
    return sha256_hex(canonical_json(facts))


def _part(
    store: BlockStore,
    panel: Panel,
    panel_sha256: str,
    spec: FeatureSpec,
    receipts: Mapping[str, Receipt],
) -> FeatureMatrix:
    """Return a spec's columns: read, or computed and written."""
    block_id, schema = features_id(panel_sha256, spec), _schema(panel_sha256, spec)
    if block_id in receipts:
        # Missing, torn, or not what the receipt says: computed again below.
        with suppress(CorruptBlockError, MissingValueError):
            return _matrix(read_block(store, receipts[block_id], schema), panel)
    started = time.perf_counter()
    matrix = feature_matrix((spec,), panel)
    write_block(
        store,
        block_id,
        _table(matrix, schema),
        failed=0,
        seconds=round(time.perf_counter() - started, 4),
        node=platform.node(),
        attempt=1,
    )
    return matrix


def _document(spec: FeatureSpec) -> object:
    return spec if isinstance(spec, str) else spec.model_dump(mode="json")


def _schema(panel_sha256: str, spec: FeatureSpec) -> pa.Schema:
    columns = [known.column for known in features_of((spec,))]
    head = {
        "version": FEATURES_VERSION,
        "panel": panel_sha256,
        "spec": _document(spec),
        "columns": [asdict(column) for column in columns],
    }
    fields = [
        pa.field("ticker", pa.string(), nullable=False),
        pa.field("session", pa.date32(), nullable=False),
        *(pa.field(column.name, pa.float64(), nullable=False) for column in columns),
    ]
    return pa.schema(fields, metadata={COLUMNS_KEY: canonical_json(head)})


def _table(matrix: FeatureMatrix, schema: pa.Schema) -> pa.Table:
    """Return the matrix as one row a ticker and session, ticker by ticker; NaN stays NaN."""
    n_tickers, n_sessions, n_columns = matrix.values.shape
    tickers = np.repeat(np.array(matrix.tickers), n_sessions)
    rows = matrix.values.reshape(-1, n_columns)
    arrays = [
        pa.array(tickers.tolist(), pa.string()),
        pa.array(np.tile(matrix.sessions, n_tickers), pa.date32()),
        *(pa.array(column) for column in rows.T),
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _matrix(table: pa.Table, panel: Panel) -> FeatureMatrix:
    head = json.loads(table.schema.metadata[COLUMNS_KEY])
    columns = tuple(Column(**column) for column in head["columns"])
    shape = (panel.n_tickers, panel.n_sessions)
    values = [table[column.name].to_numpy().reshape(shape) for column in columns]
    return FeatureMatrix(panel.tickers, panel.sessions, columns, np.stack(values, axis=2))


def _beside(parts: Sequence[FeatureMatrix], panel: Panel) -> FeatureMatrix:
    columns = tuple(column for part in parts for column in part.columns)
    empty: FloatArray = np.empty((panel.n_tickers, panel.n_sessions, 0))
    values = np.concatenate([empty, *(part.values for part in parts)], axis=2)
    return FeatureMatrix(panel.tickers, panel.sessions, columns, values)
