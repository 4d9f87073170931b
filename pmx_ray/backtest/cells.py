"""The scored cells of a sweep as compact grids: what evaluation and comparison read.

Shapes: F rows (split, cutoff), N tickers, H steps. Frames come one spec at a time and are let go;
what stays of one is 26 bytes a cell. A long sweep comes in parts, a run of rows each.
"""

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pmx_ray._typing import BoolArray, DateArray, FloatArray, IntArray
from pmx_ray.backtest.frame import QUANTILE_COLUMNS
from pmx_ray.backtest.report_types import FAILURES_SCHEMA
from pmx_ray.errors import DataError
from pmx_ray.forecasters.protocol import QUANTILE_LEVELS, Status
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.stats import losses
from pmx_ray.stats.measures import hits

PAIRED_LOSSES = ("squared_error", "absolute_error", "qlike", "crps", "pinball")
"""Losses whose differences against the baseline are compared."""


@dataclass(frozen=True, slots=True, eq=False)
class Axes:
    """What the axes of every grid stand for.

    Attributes
    ----------
    split : ndarray of int, shape (F,)
    cutoff : ndarray of datetime64[D], shape (F,)
        Sorted by split, then cutoff.
    tickers : tuple of str, length N
        Sorted.
    steps : tuple of int, length H
        Sorted.
    """

    split: IntArray
    cutoff: DateArray
    tickers: tuple[str, ...]
    steps: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(F, N, H)."""
        return len(self.cutoff), len(self.tickers), len(self.steps)

    @property
    def is_path(self) -> bool:
        """Whether the rows are one walk through time, as they are not in a combinatorial plan."""
        return not self.split.any()

    def same_as(self, other: "Axes") -> bool:
        """Return whether both name the same cells."""
        return (
            self.tickers == other.tickers
            and self.steps == other.steps
            and np.array_equal(self.split, other.split)
            and np.array_equal(self.cutoff, other.cutoff)
        )


@dataclass(frozen=True, slots=True)
class SpecName:
    """Id, label and family of a spec."""

    id: str
    label: str
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class SpecCells:
    """Forecasts of one spec; NaN where it has none.

    Attributes
    ----------
    id, label, name : str
        Of the spec.
    mean, variance, pinball : ndarray of shape (F, N, H)
        Forecast moments, and the pinball loss averaged over the quantile levels.
    inside_50, inside_90 : ndarray of bool, shape (F, N, H)
        Whether the outcome fell into the central interval.
    """

    id: str
    label: str
    name: str
    mean: FloatArray
    variance: FloatArray
    pinball: FloatArray
    inside_50: BoolArray
    inside_90: BoolArray

    @property
    def named(self) -> SpecName:
        """The spec without its cells."""
        return SpecName(self.id, self.label, self.name)

    @property
    def failed(self) -> BoolArray:
        """Cells without a forecast, shape (F, N, H)."""
        return np.isnan(self.mean)


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """All specs on the same cells.

    Attributes
    ----------
    axes : Axes
        What the grids' axes stand for.
    actual, realized_variance : ndarray of shape (F, N, H)
        What happened; NaN where a price is missing.
    specs : tuple of SpecCells
        Sorted by label.
    failures : pyarrow.Table
        In ``FAILURES_SCHEMA``.
    """

    axes: Axes
    actual: FloatArray
    realized_variance: FloatArray
    specs: tuple[SpecCells, ...]
    failures: pa.Table

    def spec(self, spec_id: str) -> SpecCells:
        """Return the cells of the spec with this id.

        Raises
        ------
        DataError
            If it is not there.
        """
        for spec in self.specs:
            if spec.id == spec_id:
                return spec
        known = ", ".join(f"{spec.label} ({spec.id})" for spec in self.specs)
        raise DataError(f"the baseline {spec_id} is not among the evaluated specs: {known}")

    def scored(self, spec: SpecCells) -> BoolArray:
        """Return the cells where ``spec`` has a forecast and there is an outcome, (F, N, H)."""
        return ~(spec.failed | np.isnan(self.actual))

    def losses(self, spec: SpecCells, step: int, used: BoolArray) -> dict[str, FloatArray]:
        """Return every loss of ``spec`` on the ``used`` cells of one step.

        Parameters
        ----------
        spec : SpecCells
            One of ``specs``.
        step : int
            Position on the step axis.
        used : ndarray of bool, shape (F, N)
            Cells wanted; the others are NaN.

        Returns
        -------
        dict of str to ndarray of shape (F, N)
            ``PAIRED_LOSSES``, and ``smape``, ``inside_50``, ``inside_90``, ``hits``.
        """
        actual = np.where(used, self.actual[..., step], np.nan)
        mean, variance = spec.mean[..., step], spec.variance[..., step]
        return {
            "squared_error": losses.squared_error(actual, mean),
            "absolute_error": losses.absolute_error(actual, mean),
            "smape": losses.smape(actual, mean),
            "qlike": losses.qlike(
                np.where(used, self.realized_variance[..., step], np.nan), variance
            ),
            "crps": losses.crps_normal(actual, mean, variance),
            "pinball": np.where(used, spec.pinball[..., step], np.nan),
            "inside_50": np.where(used, spec.inside_50[..., step], np.nan),
            "inside_90": np.where(used, spec.inside_90[..., step], np.nan),
            "hits": hits(actual, mean),
        }

    def common(self, complete: Set[str]) -> BoolArray:
        """Return the cells with an outcome that every spec of ``complete`` scored, (F, N, H)."""
        common = ~np.isnan(self.actual)
        for spec in self.specs:
            if spec.id in complete:
                common &= ~spec.failed
        return common


def complete_specs(
    parts: Iterable[Cells], baseline: str, *, max_failed_frac: float
) -> frozenset[str]:
    """Return the specs that define the common cells: the baseline and all with few failures.

    A failure counts where the baseline has a forecast; where it has none, the price itself is
    missing or too short, which is no spec's fault.
    """
    n_served, failed = 0, dict[str, int]()
    for cells in parts:
        served = ~cells.spec(baseline).failed
        n_served += int(served.sum())
        for spec in cells.specs:
            failed[spec.id] = failed.get(spec.id, 0) + int((spec.failed & served).sum())
    return frozenset(
        name
        for name, n in failed.items()
        if name == baseline or n / max(n_served, 1) <= max_failed_frac
    )


def joined_axes(parts: Sequence[Axes]) -> Axes:
    """Return the axes of parts that follow one another.

    Raises
    ------
    DataError
        If there is no part, their tickers or steps differ, or their rows do not increase.
    """
    if not parts:
        raise DataError("there is no frame to evaluate; run the sweep first")
    split = np.concatenate([axes.split for axes in parts])
    cutoff = np.concatenate([axes.cutoff for axes in parts])
    alike = all((a.tickers, a.steps) == (parts[0].tickers, parts[0].steps) for a in parts)
    key = (split << 32) + cutoff.astype(np.int64)
    if not alike or (np.diff(key) <= 0).any():
        raise DataError("parts of a sweep must share tickers and steps, and come in order of folds")
    return Axes(split, cutoff, parts[0].tickers, parts[0].steps)


def collect(frames: Iterable[tuple[ForecasterSpec, pa.Table]]) -> Cells:
    """Return the cells of whole frames, one spec's at a time, in any order of specs and rows.

    Parameters
    ----------
    frames : iterable of (ForecasterSpec, pyarrow.Table)
        Each spec once, with all its rows in ``FRAME_SCHEMA``; read once.

    Raises
    ------
    DataError
        If there is no frame, a spec comes twice, a cell is missing or repeats, or two frames
        differ in their cells or outcomes.
    """
    collected: dict[str, SpecCells] = {}
    failures: list[pa.Table] = []
    first: tuple[Axes, FloatArray, FloatArray] | None = None
    for spec, table in frames:
        if spec.id in collected:
            raise DataError(f"the frame of {spec.label} came twice; each spec comes once")
        axes, place = _lay_out(table, spec.label)
        grids = _Grids(axes.shape, place, table)
        actual, realized = grids["actual"], grids["realized_variance"]
        if first is None:
            first = axes, actual, realized
        elif not first[0].same_as(axes):
            raise DataError(f"the frame of {spec.label} does not cover the cells of the others")
        elif not np.array_equal(first[1], actual, equal_nan=True):
            raise DataError(f"the frame of {spec.label} has other outcomes than the others")
        collected[spec.id] = _spec_cells(spec, grids, actual)
        failures.append(_failures(spec, table))
    if first is None:
        raise DataError("there is no frame to evaluate; run the sweep first")
    specs = sorted(collected.values(), key=lambda spec: (spec.label, spec.id))
    return Cells(*first, tuple(specs), sorted_failures(pa.concat_tables(failures)))


def sorted_failures(failures: pa.Table) -> pa.Table:
    """Return failed forecasts by label, split, ticker and cutoff, in one chunk."""
    keys = [(name, "ascending") for name in ("label", "split", "ticker", "cutoff")]
    return failures.sort_by(keys).combine_chunks()


@dataclass(frozen=True, slots=True, eq=False)
class _Grids:
    """Columns of one frame as (F, N, H) grids."""

    shape: tuple[int, int, int]
    place: IntArray
    table: pa.Table

    def __getitem__(self, column: str) -> FloatArray:
        grid = np.empty(self.shape)
        grid.ravel()[self.place] = self.table[column].to_numpy()
        return grid


def _lay_out(table: pa.Table, label: str) -> tuple[Axes, IntArray]:
    """Return the axes of a frame and the flat position of each row on its (F, N, H) grid."""
    days = _ints(table["cutoff"].cast(pa.int32()))
    rows, row = np.unique((_ints(table["split"]) << 32) + days + 2**31, return_inverse=True)
    steps, step = np.unique(_ints(table["step"]), return_inverse=True)
    coded = table["ticker"].combine_chunks().dictionary_encode()
    names = np.array(coded.dictionary.to_pylist(), dtype=object)
    order = np.argsort(names)
    ticker = np.argsort(order)[coded.indices.to_numpy()]
    axes = Axes(
        rows >> 32,
        ((rows & (2**32 - 1)) - 2**31).astype("datetime64[D]"),
        tuple(names[order]),
        tuple(int(h) for h in steps),
    )
    place = np.ravel_multi_index((row, ticker, step), axes.shape)
    there = np.zeros(axes.shape, np.bool_)
    there.ravel()[place] = True
    if len(place) != there.size or not there.all():
        raise DataError(
            f"the frame of {label} has {len(place)} rows for {np.prod(axes.shape)} cells; "
            "it must hold each cell once"
        )
    return axes, place


def _ints(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    values: npt.NDArray[np.int64] = column.to_numpy().astype(np.int64)
    return values


def _spec_cells(spec: ForecasterSpec, grids: _Grids, actual: FloatArray) -> SpecCells:
    mean, variance = grids["mean"], grids["variance"]
    ok = np.empty(grids.shape, np.bool_)
    ok.ravel()[grids.place] = pc.equal(grids.table["status"], Status.OK.value).to_numpy()
    if not np.array_equal(ok, np.isfinite(mean)):
        raise DataError(f"the frame of {spec.label} has a status that contradicts its forecast")
    bands = [grids[name] for name in QUANTILE_COLUMNS]
    low_90, low_50, _, high_50, high_90 = bands
    pinball = np.zeros(grids.shape)
    for level, quantile in zip(QUANTILE_LEVELS, bands, strict=True):
        pinball += losses.pinball(actual, quantile, level)
    return SpecCells(
        spec.id,
        spec.label,
        spec.name,
        mean,
        variance,
        pinball / len(bands),
        losses.inside(actual, low_50, high_50) == 1.0,
        losses.inside(actual, low_90, high_90) == 1.0,
    )


def _failures(spec: ForecasterSpec, table: pa.Table) -> pa.Table:
    """Return one row a failed forecast: its status is the same for all its steps."""
    first_step = pc.equal(table["step"], pc.min(table["step"]))
    rows = table.filter(pc.and_(first_step, pc.not_equal(table["status"], Status.OK.value)))
    columns = {name: rows[name] for name in FAILURES_SCHEMA.names if name != "label"}
    columns["label"] = pa.array([spec.label] * len(rows), pa.string())
    return pa.table({name: columns[name] for name in FAILURES_SCHEMA.names}, FAILURES_SCHEMA)
