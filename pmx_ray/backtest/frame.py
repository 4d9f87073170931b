"""The forecast frame: one row a cell (split, ticker, spec, cutoff, step), in one Arrow schema."""

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pmx_ray._typing import FloatArray
from pmx_ray.data.panel import Panel
from pmx_ray.folds import FoldPlan
from pmx_ray.forecasters.batch import ForecastBatch
from pmx_ray.forecasters.protocol import QUANTILE_LEVELS

QUANTILE_COLUMNS = tuple(f"q{round(100 * level):02d}" for level in QUANTILE_LEVELS)
"""Names of the quantile columns: q05, q25, q50, q75, q95."""

KEY = ("spec", "split", "ticker", "cutoff", "step")
"""Columns that together name a cell, in the order of the canonical sort."""

FRAME_SCHEMA = pa.schema(
    [
        pa.field("spec", pa.string(), nullable=False),
        pa.field("split", pa.int16(), nullable=False),
        pa.field("ticker", pa.string(), nullable=False),
        pa.field("cutoff", pa.date32(), nullable=False),
        pa.field("step", pa.int16(), nullable=False),
        pa.field("time", pa.date32(), nullable=False),
        pa.field("mean", pa.float64()),
        pa.field("variance", pa.float64()),
        *(pa.field(name, pa.float64()) for name in QUANTILE_COLUMNS),
        pa.field("actual", pa.float64()),
        pa.field("realized_variance", pa.float64()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("refit", pa.bool_(), nullable=False),
    ],
    metadata={"pmx_schema": "1"},
)
"""Columns of the frame. ``mean``, ``variance``, quantiles and ``actual`` are of the cumulative log
return from cutoff to time; ``realized_variance`` is the sum of its squared daily log returns.
Null where the status is not ``ok`` or, for the last two, where a price is missing."""


def realized(panel: Panel, plan: FoldPlan) -> tuple[FloatArray, FloatArray]:
    """Return what happened after each cutoff: cumulative log return and realized variance.

    Returns
    -------
    actual, realized_variance : ndarray of shape (F, M, H)
        Decimal and decimal squared; NaN where a price of the stretch is missing (``actual`` needs
        only its two ends).
    """
    log_close = np.log(panel.close)
    squared = np.diff(log_close, axis=1, prepend=np.nan) ** 2
    steps = np.array(plan.steps)
    ends = plan.cutoff[:, None] + steps  # (F, H)
    actual = log_close[:, ends] - log_close[:, plan.cutoff, None]  # (M, F, H)
    ahead = plan.cutoff[:, None] + np.arange(1, steps[-1] + 1)  # (F, h)
    variance = np.cumsum(squared[:, ahead], axis=2)[:, :, steps - 1]
    return actual.transpose(1, 0, 2), variance.transpose(1, 0, 2)


def build_frame(spec_id: str, panel: Panel, plan: FoldPlan, batch: ForecastBatch) -> pa.Table:
    """Return the cells of one spec for the tickers of ``panel``, in canonical order.

    Parameters
    ----------
    spec_id : str
        Id of the spec that made ``batch``.
    panel : Panel
        M tickers; must reach to the last scored session.
    plan : FoldPlan
        F folds over the panel's sessions.
    batch : ForecastBatch
        Outcomes, (F, M, H).
    """
    n_folds, n_tickers, n_steps = batch.mean.shape
    size = n_folds * n_tickers * n_steps
    actual, variance = realized(panel, plan)
    cutoffs = panel.sessions[plan.cutoff]
    times = panel.sessions[plan.cutoff[:, None] + np.array(plan.steps)]  # (F, H)
    reasons = np.full((n_folds, n_tickers), None, dtype=object)
    for position, reason in batch.reasons.items():
        reasons[position] = reason

    def cells(values: FloatArray) -> pa.Array:  # (F, M, H) to rows, NaN to null
        return pa.array(values.ravel(), from_pandas=True)

    def each(values: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:  # broadcast to rows
        shape = [n if axis in axes else 1 for axis, n in enumerate((n_folds, n_tickers, n_steps))]
        return np.broadcast_to(values.reshape(shape), (n_folds, n_tickers, n_steps)).ravel()

    columns: dict[str, pa.Array] = {
        "spec": pa.repeat(spec_id, size),
        "split": pa.array(each(plan.split, (0,)), pa.int16()),
        "ticker": pa.array(each(np.array(panel.tickers, dtype=object), (1,)), pa.string()),
        "cutoff": pa.array(each(cutoffs, (0,)), pa.date32()),
        "step": pa.array(each(np.array(plan.steps), (2,)), pa.int16()),
        "time": pa.array(each(times, (0, 2)), pa.date32()),
        "mean": cells(batch.mean),
        "variance": cells(batch.variance),
        **{
            name: cells(np.ascontiguousarray(batch.quantiles[:, :, q]))
            for q, name in enumerate(QUANTILE_COLUMNS)
        },
        "actual": cells(actual),
        "realized_variance": cells(variance),
        "status": pa.array(each(batch.status.astype(object), (0, 1)), pa.string()),
        "reason": pa.array(each(reasons, (0, 1)), pa.string()),
        "refit": pa.array(each(plan.refit, (0,)), pa.bool_()),
    }
    return canonical(pa.table(columns, schema=FRAME_SCHEMA))


def canonical(table: pa.Table) -> pa.Table:
    """Return the rows in the order of ``KEY``, in one chunk a column."""
    order = pc.sort_indices(table, sort_keys=[(name, "ascending") for name in KEY])
    return table.take(order).combine_chunks()


class FrameDigest:
    """Hash of a whole frame, fed with its canonical parts, spec by spec in the order of spec ids.

    The hash is over values, not over files: it does not depend on how blocks were cut.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256(FRAME_SCHEMA.to_string().encode())

    def update(self, part: pa.Table) -> None:
        """Add the next part."""
        for name in FRAME_SCHEMA.names:
            self._digest.update(_column_bytes(part.column(name)))

    def hexdigest(self) -> str:
        """Return the hash of what was added so far; 64 hexadecimal digits."""
        return self._digest.hexdigest()


def _column_bytes(column: pa.ChunkedArray) -> bytes:
    present: bytes = pc.is_valid(column).to_numpy(zero_copy_only=False).tobytes()
    if pa.types.is_string(column.type):
        text: list[str] = pc.fill_null(column, "").to_pylist()
        return present + "\x00".join(text).encode()
    if pa.types.is_date32(column.type):
        column = column.cast(pa.int32())
    zero: object = False if pa.types.is_boolean(column.type) else 0
    filled = pc.fill_null(column, pa.scalar(zero, column.type))
    values: bytes = filled.to_numpy(zero_copy_only=False).tobytes()
    return present + values


def to_nixtla(table: pa.Table, names: Sequence[tuple[str, str]], *, step: int) -> pd.DataFrame:
    """Return one step of a frame in the layout of Nixtla's cross-validation frames.

    Parameters
    ----------
    table : pyarrow.Table
        Rows of ``FRAME_SCHEMA``.
    names : sequence of (spec id, column name)
        The specs wanted, and what their columns are called.
    step : int
        The step wanted.

    Returns
    -------
    DataFrame
        ``unique_id, ds, cutoff, y`` (the cumulative log return) and one column a spec with its
        mean forecast; what ``utilsforecast.evaluation.evaluate`` takes.
    """
    wanted = table.filter(pc.equal(table["step"], step)).to_pandas()
    wanted = wanted.rename(columns={"ticker": "unique_id", "time": "ds", "actual": "y"})
    index = ["unique_id", "ds", "cutoff", "y"]
    wide: pd.DataFrame = wanted.pivot_table(index=index, columns="spec", values="mean").rename(
        columns=dict(names)
    )
    return wide.reset_index().rename_axis(columns=None)
