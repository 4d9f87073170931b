"""The forecast frame: one row a cell (split, ticker, spec, cutoff, step), in one Arrow schema."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pmx_ray._typing import FloatArray, IntArray
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
    actual, realized_variance : ndarray of shape (M, F, H)
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
    return actual, variance


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
    shape = n_tickers, n_folds, n_steps  # the order of rows within a split
    order = _rows_by_split(plan.split, shape)
    actual, variance = realized(panel, plan)
    times = panel.sessions[plan.cutoff[:, None] + np.array(plan.steps)]  # (F, H)

    def rows(values: npt.NDArray[Any], axes: str) -> npt.NDArray[Any]:
        """Repeat values over the axes they lack, of (m) ticker, (f) fold and (h) step."""
        lacking = [n for n, axis in enumerate("mfh") if axis not in axes]
        whole = np.broadcast_to(np.expand_dims(values, lacking), shape).reshape(-1)
        return whole if order is None else whole[order]

    def text(words: Sequence[str | None], codes: IntArray, axes: str) -> pa.Array:
        if len(words) == 1:
            return pa.repeat(pa.scalar(words[0], pa.string()), batch.mean.size)
        return pa.array(words, pa.string()).take(pa.array(rows(codes, axes)))

    numbers: dict[str, tuple[npt.NDArray[Any], str]] = {
        "split": (plan.split, "f"),
        "cutoff": (panel.sessions[plan.cutoff], "f"),
        "step": (np.array(plan.steps), "h"),
        "time": (times, "fh"),
        "mean": (batch.mean.transpose(1, 0, 2), "mfh"),
        "variance": (batch.variance.transpose(1, 0, 2), "mfh"),
        **{
            name: (batch.quantiles[:, :, q].transpose(1, 0, 2), "mfh")
            for q, name in enumerate(QUANTILE_COLUMNS)
        },
        "actual": (actual, "mfh"),
        "realized_variance": (variance, "mfh"),
        "refit": (plan.refit, "f"),
    }
    columns = {
        "spec": text([spec_id], np.zeros(1, np.int64), ""),
        "ticker": text(panel.tickers, np.arange(n_tickers), "m"),
        "status": text(*_coded(batch.status.T), "mf"),
        "reason": text(*_reasons(batch), "mf"),
        **{
            name: pa.array(rows(*laid), FRAME_SCHEMA.field(name).type, from_pandas=True)
            for name, laid in numbers.items()
        },
    }
    return pa.table({name: columns[name] for name in FRAME_SCHEMA.names}, FRAME_SCHEMA)


def _rows_by_split(split: IntArray, shape: tuple[int, int, int]) -> IntArray | None:
    """Return the order that sorts rows laid as (ticker, fold, step) by split; None if they are."""
    if (split == split[0]).all():
        return None
    rows = np.broadcast_to(split[:, None], shape).reshape(-1)
    return np.argsort(rows, kind="stable")


def _coded(status: npt.NDArray[np.str_]) -> tuple[list[str], IntArray]:
    """Return the distinct statuses and, for each cell, which it has."""
    if (status == status.flat[0]).all():  # nearly every block: all ok
        return [str(status.flat[0])], np.zeros(status.shape, np.int64)
    texts, codes = np.unique(status, return_inverse=True)
    return texts.tolist(), codes.reshape(status.shape).astype(np.int64)


def _reasons(batch: ForecastBatch) -> tuple[list[str | None], IntArray]:
    """Return no reason and the distinct reasons, and which of them each (ticker, fold) has."""
    texts = [None, *dict.fromkeys(batch.reasons.values())]
    place = {text: n for n, text in enumerate(texts)}
    codes = np.zeros(batch.status.T.shape, np.int64)
    for (fold, ticker), reason in batch.reasons.items():
        codes[ticker, fold] = place[reason]
    return texts, codes


def canonical(table: pa.Table) -> pa.Table:
    """Return the rows in the order of ``KEY``, in one chunk a column."""
    order = pc.sort_indices(table, sort_keys=[(name, "ascending") for name in KEY])
    return table.take(order).combine_chunks()


class FrameDigest:
    """Hash of the frames of a sweep, fed with parts: a run of folds of one spec each.

    The parts of a spec come in the order of folds, and those of several specs in any order between
    them. The hash is over values, not over files: it depends neither on how blocks were cut nor on
    how long the runs are.
    """

    def __init__(self) -> None:
        self._of: dict[str, tuple[hashlib._Hash, hashlib._Hash]] = {}

    def update(self, part: pa.Table) -> None:
        """Add the next folds of one spec, all rows of each, in canonical order."""
        if not len(part):
            return
        spec = part["spec"][0].as_py()
        numbers, texts = self._of.setdefault(spec, (hashlib.sha256(), hashlib.sha256()))
        by_fold = np.argsort(fold_keys(part), kind="stable")  # then ticker, then step
        rows = part.take(pa.array(by_fold)).combine_chunks()
        numbers.update(_number_bytes(rows))
        texts.update(_text_bytes(rows))

    def hexdigest(self) -> str:
        """Return the hash of what was added so far; 64 hexadecimal digits."""
        whole = hashlib.sha256(FRAME_SCHEMA.to_string().encode())
        for spec, (numbers, texts) in sorted(self._of.items()):
            whole.update(spec.encode() + numbers.digest() + texts.digest())
        return whole.hexdigest()


def fold_keys(table: pa.Table) -> IntArray:
    """Return a number a row that is the same within a fold and increases with split and cutoff."""
    split = table["split"].to_numpy().astype(np.int64)
    days = table["cutoff"].cast(pa.int32()).to_numpy().astype(np.int64)
    keys: IntArray = (split << 32) + days
    return keys


def _number_bytes(rows: pa.Table) -> bytes:
    """Return every column but texts, row by row, a missing value as a flag and 0."""
    columns: dict[str, npt.NDArray[Any]] = {}
    for field in FRAME_SCHEMA:
        if pa.types.is_string(field.type):
            continue
        column = rows[field.name]
        if pa.types.is_date32(field.type):
            column = column.cast(pa.int32())
        if field.nullable:
            present = pc.is_valid(column).to_numpy(zero_copy_only=False)
            columns[f"{field.name} is there"] = present
            column = pc.fill_null(column, 0.0)
        columns[field.name] = column.to_numpy(zero_copy_only=False)
    records = np.empty(len(rows), [(name, values.dtype) for name, values in columns.items()])
    for name, values in columns.items():
        records[name] = values
    return records.tobytes()


def _text_bytes(rows: pa.Table) -> bytes:
    """Return the texts of each row, each with an end that no text holds."""
    reason = pc.if_else(
        pc.is_valid(rows["reason"]),
        pc.binary_join_element_wise("+", pc.fill_null(rows["reason"], ""), ""),
        "-",
    )
    joined = pc.binary_join_element_wise(rows["ticker"], rows["status"], reason, "\x00")
    ended = pc.binary_join_element_wise(joined, "", "\x00")
    return "".join(ended.to_pylist()).encode()


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
