"""The processor as the engine of ARMA fits: windows side by side in lanes, chunk by chunk."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pmx_ray._typing import BoolArray, FloatArray, IntArray
from pmx_ray.kernels.arma_climb import N_OUT, climb
from pmx_ray.kernels.arma_fits import Jobs
from pmx_ray.kernels.arma_likelihood import N_COEFFICIENTS, N_GIVEN, N_LAGS, ROWS, padded_length
from pmx_ray.kernels.arma_start import N_AUTO, autocovariances, scan
from pmx_ray.kernels.lanes import WIDTH

_CHUNK = 32 * WIDTH  # jobs whose residuals are held at once


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Windows as the kernels read them, padded once for all that is fitted to them.

    Attributes
    ----------
    values : ndarray of shape (W + 1, n)
        Zeros after an end, and a window of zeros for idle lanes.
    lengths : ndarray of int, shape (W,)
    centres : ndarray of shape (W,)
        Sample means where wanted, else zero.
    """

    values: FloatArray
    lengths: IntArray
    centres: FloatArray

    @classmethod
    def of(cls, windows: Sequence[FloatArray], centred: BoolArray) -> "Table":
        """Return the windows, W, with the means of those that are ``centred``, (W,)."""
        lengths = np.array([len(one) for one in windows])
        longest = int(lengths.max())
        values = np.zeros((len(windows) + 1, padded_length(longest)))
        if (lengths == longest).all():
            values[:-1, :longest] = windows
        else:
            for row, one in zip(values, windows, strict=False):
                row[: len(one)] = one
        sums = [
            np.add.reduce(one) if mean else 0.0 for one, mean in zip(windows, centred, strict=True)
        ]
        return cls(values, lengths, np.array(sums) / lengths)

    def means(self, jobs: Jobs) -> FloatArray:
        """Return what is taken off the window of each job, (J,)."""
        return np.where(jobs.constant, self.centres[jobs.window], 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """Jobs as the kernels take them, eight a group; see ``climb``."""

    table: FloatArray
    which: IntArray
    means: FloatArray
    given: FloatArray
    n_jobs: int

    @classmethod
    def of(
        cls, table: FloatArray, window: IntArray, means: FloatArray, rows: FloatArray
    ) -> "_Batch":
        """Return J jobs of windows less ``means``, what is given of them in ``rows``, (J, 14)."""
        n_jobs = len(window)
        full = WIDTH * -(-n_jobs // WIDTH)
        which = np.full(full, len(table) - 1)
        which[:n_jobs] = window
        shifts, padded = np.zeros(full), np.zeros((full, rows.shape[1]))
        shifts[:n_jobs], padded[:n_jobs] = means, rows
        padded[n_jobs:, 0] = 1.0  # an idle lane holds one zero
        by_lane = padded.reshape(-1, WIDTH, rows.shape[1]).transpose(0, 2, 1)
        return cls(table, which, shifts, np.ascontiguousarray(by_lane), n_jobs)

    def out(self, n_rows: int) -> FloatArray:
        return np.zeros((len(self.given), n_rows, WIDTH))

    def by_job(self, out: FloatArray) -> FloatArray:
        """Return what a kernel wrote, (G, K, 8), by job, (J, K)."""
        return out.transpose(0, 2, 1).reshape(-1, out.shape[1])[: self.n_jobs]

    def climbed(self, most: int, *, exact: bool) -> FloatArray:
        """Return the rows of ``climb``, (J, 11)."""
        out = self.out(N_OUT)
        self._climb(most, exact, np.empty((1, self.table.shape[1], WIDTH)), out)
        return self.by_job(out)

    def residuals(self) -> FloatArray:
        """Return residuals at the coefficients given, (G, n, 8)."""
        found = np.zeros((len(self.given), self.table.shape[1], WIDTH))
        self._climb(-1, False, found, self.out(N_OUT))
        return found

    def _climb(self, most: int, exact: bool, residuals: FloatArray, out: FloatArray) -> None:
        n = self.table.shape[1]
        scratch = np.zeros((ROWS, WIDTH)), np.empty((n, 2, WIDTH))
        lags = np.empty((n, WIDTH)), np.empty((n, WIDTH))
        climb(
            self.table, self.which, self.means, self.given,
            most, exact, *scratch, residuals, *lags, out,
        )  # fmt: skip


class Host:
    """The processor as an ``Engine``: eight jobs in its lanes.

    Parameters
    ----------
    table : Table
        The windows.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    @property
    def lengths(self) -> IntArray:
        """Values of each window, (W,)."""
        return self._table.lengths

    @property
    def centres(self) -> FloatArray:
        """What is taken off each window, (W,)."""
        return self._table.centres

    def autocovariances(self, jobs: Jobs) -> FloatArray:
        """Return sums of products at lags 0 to 15 of windows less their means, (J, 16)."""
        auto = np.empty((len(jobs), N_AUTO))
        for part in _chunks(len(jobs)):
            batch = self._batch(jobs.of(part), np.zeros((len(part), N_COEFFICIENTS)))
            out = batch.out(N_AUTO)
            autocovariances(
                batch.residuals(), out
            )  # without coefficients, the values less the mean
            auto[part] = batch.by_job(out)
        return auto

    def scan(
        self, jobs: Jobs, base: FloatArray, *, factors: Sequence[FloatArray], n_roots: int
    ) -> FloatArray:
        """Return the pair of factors that promises the most added to each job, (K, J, 4)."""
        pairs = np.empty((len(factors), len(jobs), 4))
        for part in _chunks(len(jobs)):
            batch = self._batch(jobs.of(part), base[part])
            residuals = batch.residuals()
            for pair, tried in zip(pairs, factors, strict=True):
                out = batch.out(4)
                scan(residuals, batch.given, tried, n_roots, out)
                pair[part] = batch.by_job(out)
        return pairs

    def climb(self, jobs: Jobs, starts: FloatArray, *, most: int, exact: bool) -> FloatArray:
        """Return where searches from starts (J, 6) end, (J, 11)."""
        return self._batch(jobs, starts).climbed(most, exact=exact)

    def _batch(self, jobs: Jobs, coefficients: FloatArray) -> _Batch:
        """Return the jobs with coefficients, (J, 6), that they start from or are held at."""
        lengths = self.lengths[jobs.window]
        rows = np.column_stack([lengths, jobs.constant, jobs.free(), coefficients])
        return _Batch.of(self._table.values, jobs.window, self._table.means(jobs), rows)


def _chunks(n_jobs: int) -> Iterator[IntArray]:
    for first in range(0, n_jobs, _CHUNK):
        yield np.arange(first, min(first + _CHUNK, n_jobs))


def last_residuals(
    windows: Sequence[FloatArray], ar: FloatArray, ma: FloatArray, mean: FloatArray
) -> FloatArray:
    """Return the last three residuals of each window, oldest first, shape (W, 3).

    They are the expectations of ``e`` given the whole window: what a forecast continues from.

    Parameters
    ----------
    windows : sequence of ndarray
        W windows of at least three values.
    ar, ma : ndarray of shape (W, 3)
        Coefficients of each.
    mean : ndarray of shape (W,)
    """
    found = np.empty((len(windows), N_LAGS))
    for first in range(0, len(windows), _CHUNK):
        part = slice(first, first + _CHUNK)
        n_jobs = len(windows[part])
        table = Table.of(windows[part], np.zeros(n_jobs, np.bool_))
        rows = np.zeros((n_jobs, N_GIVEN))
        rows[:, 0], rows[:, -N_COEFFICIENTS:] = table.lengths, np.hstack([ar[part], ma[part]])
        job = np.arange(n_jobs)
        residuals = _Batch.of(table.values, job, mean[part], rows).residuals()
        last = table.lengths[:, None] + np.arange(-N_LAGS, 0)
        found[part] = residuals[job[:, None] // WIDTH, last, job[:, None] % WIDTH]
    return found
