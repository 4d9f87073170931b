"""Diagnostics of each spec's forecast errors, ticker by ticker."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import special

from pmx_ray._typing import BoolArray, FloatArray
from pmx_ray.backtest.cells import Axes, Cells, SpecCells, SpecName
from pmx_ray.backtest.comparison import DIAGNOSTICS_SCHEMA
from pmx_ray.backtest.scoring import Row, none_if_nan
from pmx_ray.backtest.strategy import Sleeves
from pmx_ray.stats import diagnostics

LAGS = 10
"""Autocorrelations that the Ljung-Box test takes together."""

BREACH = 0.05
"""Share of outcomes that should fall below the lowest quantile."""


SingleArray: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Errors:
    """What diagnostics read of one spec at one step: grids (F, N), single precision.

    Attributes
    ----------
    actual, mean : ndarray of float32, shape (F, N)
        Outcome and forecast; NaN outside of the common cells.
    standardised : ndarray of float32, shape (F, N)
        Error over the forecast's standard deviation.
    breach : ndarray of bool, shape (F, N)
        Whether the outcome fell below the 5 % quantile.
    """

    actual: SingleArray
    mean: SingleArray
    standardised: SingleArray
    breach: BoolArray

    @classmethod
    def of(cls, cells: Cells, spec: SpecCells, h: int, used: BoolArray) -> "Errors":
        """Return the errors of ``spec`` on the ``used`` cells of one step."""
        actual = np.where(used, cells.actual[..., h], np.nan)
        mean = np.where(used, spec.mean[..., h], np.nan)
        standardised = (actual - mean) / np.sqrt(spec.variance[..., h])
        breach = ~spec.inside_90[..., h] & (actual < mean)
        return cls(_single(actual), _single(mean), _single(standardised), breach)

    @classmethod
    def joined(cls, parts: Sequence["Errors"]) -> "Errors":
        """Return the errors of rows that came in parts."""
        return cls(
            np.concatenate([part.actual for part in parts]),
            np.concatenate([part.mean for part in parts]),
            np.concatenate([part.standardised for part in parts]),
            np.concatenate([part.breach for part in parts]),
        )


def _single(grid: FloatArray) -> SingleArray:
    return grid.astype(np.float32)


def diagnostics_table(spec: SpecName, errors: Errors, axes: Axes, *, sleeves: Sleeves) -> pa.Table:
    """Return the rows of ``DIAGNOSTICS_SCHEMA`` of one spec and step, by ticker.

    Errors of steps that reach over several cutoffs are related by construction: of those, every
    ``n_sleeves``-th is taken. None for a combinatorial plan, whose rows have no order.
    """
    rows = list(_rows(spec, errors, axes, sleeves)) if axes.is_path else []
    return pa.Table.from_pylist(rows, schema=DIAGNOSTICS_SCHEMA)


def _rows(spec: SpecName, errors: Errors, axes: Axes, sleeves: Sleeves) -> Iterator[Row]:
    apart = slice(None, None, sleeves.n_sleeves)
    for n, ticker in enumerate(axes.tickers):
        actual, mean, z = (
            grid[apart, n].astype(np.float64)
            for grid in (errors.actual, errors.mean, errors.standardised)
        )
        known = ~np.isnan(z)
        breach = errors.breach[apart, n][known]
        intercept, slope, p = diagnostics.mincer_zarnowitz(actual[known], mean[known], lags=0)
        row: Row = {
            "spec": spec.id,
            "label": spec.label,
            "ticker": ticker,
            "step": sleeves.step,
            "n": int(known.sum()),
            "n_breaches": int(breach.sum()),
            "ljung_box_p": diagnostics.ljung_box_p(z[known], lags=LAGS),
            "durbin_watson": diagnostics.durbin_watson(z[known]),
            "jarque_bera_p": diagnostics.jarque_bera_p(z[known]),
            "mz_intercept": intercept,
            "mz_slope": slope,
            "mz_p": p,
            "pit_p": diagnostics.pit_p(special.ndtr(z[known])),
            "kupiec_p": diagnostics.kupiec_p(int(breach.sum()), len(breach), probability=BREACH),
            "christoffersen_p": diagnostics.christoffersen_p(breach),
        }
        yield {name: none_if_nan(value) for name, value in row.items()}
