"""Exact Gaussian maximum likelihood of ARMA(p, q), p and q at most 3, for many windows at once.

``y(t) - mu = sum phi(i) (y(t-i) - mu) + e(t) + sum theta(j) e(t-j)``, e of variance sigma2. Eight
jobs run side by side; the bits of one depend on its own window and order alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pmx_ray._typing import BoolArray, FloatArray, IntArray
from pmx_ray.kernels.arma_climb import EDGE, N_OUT, TOLERANCE, climb
from pmx_ray.kernels.arma_likelihood import (
    N_COEFFICIENTS,
    N_GIVEN,
    N_LAGS,
    ROWS,
    padded_length,
)
from pmx_ray.kernels.arma_start import (
    FALLING,
    N_AUTO,
    RISING,
    WAVES,
    autocovariances,
    drawn_inside,
    hannan_rissanen,
    scan,
    with_factor,
)
from pmx_ray.kernels.lanes import WIDTH

ROUNDS = ((4, False), (8, False), (6, True), (14, True))
"""Steps a round, and whether all second derivatives are taken or those of the residuals; jobs that
are not done go on to the next."""

BEHIND = 3.0
"""In -2 log L, by how much a start may lie behind another one after a round and still go on."""

NEAR = 0.99
"""An inverse root beyond it is near the unit circle."""

ENOUGH = 1e-2
"""A job that is out of steps has converged all the same if the next is to gain less."""

LOST = 0.9999
"""Largest inverse autoregressive root of a job that goes on: beyond, the likelihood often rises all
the way to the unit circle, and no model is taken from there."""

SAME = 1e-3
"""Two starts of a job whose coefficients have come as near as this go on as one."""

_CHUNK = 32 * WIDTH  # jobs whose residuals are held at once
_N_FITTED = 11  # columns of ``ArmaFits.as_rows``
_MOST_STARTS = 4
_SMALLER = 5  # what a key of ``_keys`` falls by where p and q both fall by one


@dataclass(frozen=True, slots=True, eq=False)
class Jobs:
    """J models, each of a window.

    Attributes
    ----------
    window : ndarray of int, shape (J,)
        Position of the window.
    p, q : ndarray of int, shape (J,)
        Orders, 0 to 3.
    constant : ndarray of bool, shape (J,)
        Whether a mean is estimated.
    """

    window: IntArray
    p: IntArray
    q: IntArray
    constant: BoolArray

    def __len__(self) -> int:
        return len(self.window)

    def of(self, index: IntArray) -> "Jobs":
        """Return the jobs at ``index``."""
        return Jobs(self.window[index], self.p[index], self.q[index], self.constant[index])


@dataclass(frozen=True, slots=True, eq=False)
class ArmaFits:
    """Maximum-likelihood estimates of J jobs.

    Attributes
    ----------
    ar, ma : ndarray of shape (J, 3)
        phi and theta; zero beyond the order.
    mean : ndarray of shape (J,)
        mu; zero where none is estimated.
    variance : ndarray of shape (J,)
        sigma2 = S / n.
    loglik : ndarray of shape (J,)
        NaN where the values are constant.
    n_steps : ndarray of int, shape (J,)
        Evaluations after the first.
    converged : ndarray of bool, shape (J,)
        Whether the next step would gain less than ``ENOUGH``.
    """

    ar: FloatArray
    ma: FloatArray
    mean: FloatArray
    variance: FloatArray
    loglik: FloatArray
    n_steps: IntArray
    converged: BoolArray

    def as_rows(self) -> FloatArray:
        """Return all of it as one array, (J, 11)."""
        rest = (self.mean, self.variance, self.loglik, self.n_steps, self.converged)
        return np.column_stack([self.ar, self.ma, *rest])

    @classmethod
    def from_rows(cls, rows: FloatArray) -> "ArmaFits":
        """Return the fits that ``as_rows`` made an array of; NaN is a fit not made."""
        mean, variance, loglik, n_steps, converged = rows[:, 6:].T
        return cls(
            rows[:, :3],
            rows[:, 3:6],
            mean,
            variance,
            loglik,
            np.nan_to_num(n_steps).astype(np.int64),
            converged > 0.5,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """Windows as the kernels read them, padded once for all that is fitted to them."""

    values: FloatArray  # (W + 1, n), zeros after an end, and a window of zeros for idle lanes
    lengths: IntArray  # (W,)
    centres: FloatArray  # sample means where wanted, (W,)

    @classmethod
    def of(cls, windows: Sequence[FloatArray], centred: BoolArray) -> "_Table":
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

    def batch(self, jobs: Jobs, coefficients: FloatArray) -> "_Batch":
        """Return the jobs with coefficients, (J, 6), that they start from or are held at."""
        means = np.where(jobs.constant, self.centres[jobs.window], 0.0)
        rows = np.column_stack(
            [self.lengths[jobs.window], jobs.constant, _free(jobs), coefficients]
        )
        return _Batch.of(self.values, jobs.window, means, rows)


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


def fit_arma(windows: Sequence[FloatArray], jobs: Jobs) -> ArmaFits:
    """Fit every job by exact maximum likelihood.

    A model with both parts starts from several points, see ``arma_start``. Of where they end the
    largest likelihood counts; an end with an inverse root beyond ``NEAR`` only if it gains what two
    more coefficients would have to by the Bayesian information criterion, ``log(n)``.

    Parameters
    ----------
    windows : sequence of ndarray
        Stationary values of each window, at least one.
    jobs : Jobs
        What is fitted to which window.
    """
    used, window = np.unique(jobs.window, return_inverse=True)
    centred = np.zeros(len(used), np.bool_)
    centred[window[jobs.constant]] = True
    table = _Table.of([windows[one] for one in used.tolist()], centred)
    asked = _keys(Jobs(window, jobs.p, jobs.q, jobs.constant))
    # Starts are read off the smaller models, each of which is fitted once.
    fewer = np.where(jobs.p == jobs.q, np.maximum(jobs.p - 1, 0), np.minimum(jobs.p, jobs.q))
    smaller = [asked[fewer >= by] - _SMALLER * by for by in range(N_LAGS + 1)]
    keys = np.unique(np.concatenate(smaller))
    everything = _of_keys(keys)
    level = np.minimum(everything.p, everything.q)
    rows = np.zeros((len(keys), _N_FITTED))
    for by in range(N_LAGS + 1):
        index = np.flatnonzero(level == by)
        if index.size:
            part = everything.of(index)
            starts, of = _starts(table, part, keys, rows)
            rows[index] = _fit_from(table, part, of, starts)
    return ArmaFits.from_rows(rows[np.searchsorted(keys, asked)])


def _keys(jobs: Jobs) -> IntArray:
    """Return a number for each job, the same for the same job, (J,)."""
    keys: IntArray = ((2 * jobs.window + jobs.constant) * 4 + jobs.p) * 4 + jobs.q
    return keys


def _of_keys(keys: IntArray) -> Jobs:
    return Jobs(keys // 32, keys // 4 % 4, keys % 4, keys // 16 % 2 == 1)


def _starts(
    table: _Table, jobs: Jobs, keys: IntArray, rows: FloatArray
) -> tuple[FloatArray, IntArray]:
    """Return where the jobs start from, (S, 6), and the job of each start.

    ``rows`` holds the fits of smaller models by their sorted ``keys``.
    """
    starts, of = [_plain_starts(table, jobs)], [np.arange(len(jobs))]
    for by, scanned in ((1, (RISING, FALLING)), (2, (WAVES,))):
        index = np.flatnonzero((jobs.p >= by) & (jobs.q >= by))
        if index.size:
            part = jobs.of(index)
            smaller = Jobs(part.window, part.p - by, part.q - by, part.constant)
            place = np.searchsorted(keys, _keys(smaller))  # anywhere if it has no coefficient
            base = np.where(_free(smaller) > 0.0, rows[place, :N_COEFFICIENTS], 0.0)
            starts.append(_factor_starts(table, smaller, base, scanned, by))
            of += [index] * len(scanned)
    return np.vstack(starts), np.concatenate(of)


def _fit_from(table: _Table, jobs: Jobs, index: IntArray, starts: FloatArray) -> FloatArray:
    """Return the best end of each job from starts (S, 6), as ``ArmaFits.as_rows`` has it, (J, 11).

    ``index``, (S,), is the job of each start; each job has one. Starts are drawn inside where they
    are not stationary and invertible.
    """
    lengths = table.lengths[jobs.window]
    tried = np.full((len(index), N_OUT), np.nan)
    running, starts = np.arange(len(index)), _inside(starts)
    order = np.lexsort((jobs.q[index], jobs.p[index], lengths[index]))
    for most, exact in ROUNDS:
        running, starts = running[order], starts[order]
        batch = table.batch(jobs.of(index[running]), starts)
        tried[running] = batch.climbed(most, exact=exact)
        rank = _rank(tried, lengths[index])
        least = np.full(len(jobs), np.inf)
        np.minimum.at(least, index, rank)
        behind = rank > least[index] + (0.0 if exact else BEHIND)
        open_ended = (tried[:, 10] >= TOLERANCE) & np.isfinite(tried[:, 6]) & ~behind
        open_ended &= roots_within(tried[:, :N_LAGS], LOST) & ~_repeated(tried, index, rank)
        running = np.flatnonzero(open_ended)
        if not running.size:
            break
        starts = tried[running, :N_COEFFICIENTS]
        order = np.lexsort((tried[running, 10], lengths[index[running]]))  # who need as many steps
    ranked = np.lexsort((_rank(tried, lengths[index]), index))  # job by job, the best end first
    found = tried[ranked[np.searchsorted(index[ranked], np.arange(len(jobs)))]]
    loglik = -0.5 * (found[:, 6] + lengths * (np.log(2.0 * np.pi / lengths) + 1.0))
    return np.column_stack(
        [
            found[:, :N_COEFFICIENTS] * _free(jobs),
            found[:, 8] + np.where(jobs.constant, table.centres[jobs.window], 0.0),
            found[:, 7] / lengths,
            np.where(np.isfinite(loglik), loglik, np.nan),
            found[:, 9],
            found[:, 10] < ENOUGH,
        ]
    )


def _repeated(tried: FloatArray, index: IntArray, rank: FloatArray) -> BoolArray:
    """Return whether a better end of the same job is the same point but for ``SAME``, (S,)."""
    order = np.lexsort((rank, index))
    job, at = index[order], tried[order, :N_COEFFICIENTS]
    repeated = np.zeros(len(order), np.bool_)
    for before in range(1, _MOST_STARTS):
        near = np.abs(at[before:] - at[:-before]).max(axis=1) < SAME
        repeated[order[before:]] |= near & (job[before:] == job[:-before])
    return repeated


def _rank(tried: FloatArray, lengths: IntArray) -> FloatArray:
    """Return -2 log L less constants of every end, (S,), higher where it looks spurious.

    Near the unit circle a root that the other polynomial all but cancels fits a cycle or a drift of
    the very window: a maximum that forecasts worse. It has to gain what two more coefficients must.
    """
    inside = roots_within(tried[:, :N_LAGS], NEAR) & roots_within(-tried[:, N_LAGS:6], NEAR)
    rank: FloatArray = tried[:, 6] + np.where(inside, 0.0, 2.0 * np.log(lengths))
    return rank


def _free(jobs: Jobs) -> FloatArray:
    """Return 1 where a job estimates a coefficient, else 0, (J, 6)."""
    lags = np.arange(N_LAGS)
    return np.hstack([lags < jobs.p[:, None], lags < jobs.q[:, None]]).astype(np.float64)


def _plain_starts(table: _Table, jobs: Jobs) -> FloatArray:
    """Return Hannan and Rissanen's start of each job, (J, 6), from each window read once."""
    once, which = np.unique(_keys(jobs) // 16, return_inverse=True)
    alone = _of_keys(16 * once)
    auto = np.empty((len(once), N_AUTO))
    for first in range(0, len(once), _CHUNK):
        part = np.arange(first, min(first + _CHUNK, len(once)))
        batch = table.batch(alone.of(part), np.zeros((len(part), N_COEFFICIENTS)))
        out = batch.out(N_AUTO)
        autocovariances(batch.residuals(), out)  # without coefficients, the values less their mean
        auto[part] = batch.by_job(out)
    return hannan_rissanen(auto[which], _free(jobs))


def _factor_starts(
    table: _Table,
    jobs: Jobs,
    base: FloatArray,
    scanned: Sequence[FloatArray],
    n_roots: int,
) -> FloatArray:
    """Return each job's fit, (J, 6), with the best of nearly cancelling factors added.

    Once for each of K sets of factors, (K J, 6).
    """
    pairs = np.empty((len(scanned), len(jobs), 4))
    for first in range(0, len(jobs), _CHUNK):
        part = np.arange(first, min(first + _CHUNK, len(jobs)))
        batch = table.batch(jobs.of(part), base[part])
        residuals = batch.residuals()
        for pair, factors in zip(pairs, scanned, strict=True):
            out = batch.out(4)
            scan(residuals, batch.given, factors, n_roots, out)
            pair[part] = batch.by_job(out)
    grown = []
    for found1, found2, b1, b2 in pairs.transpose(0, 2, 1):
        a2 = np.clip(found2, -0.998, 0.998)
        a1 = np.clip(found1, -0.999 * (1.0 - a2), 0.999 * (1.0 - a2))  # where stationary
        ar = -with_factor(-base[:, :N_LAGS], a1, a2)
        grown.append(np.hstack([ar, with_factor(base[:, N_LAGS:], b1, b2)]))
    return np.vstack(grown)


def _inside(starts: FloatArray) -> FloatArray:
    """Return the starts, (S, 6), their roots drawn towards zero until all lie inside."""
    ar, ma = np.nan_to_num(starts[:, :N_LAGS]), np.nan_to_num(starts[:, N_LAGS:])
    for _ in range(60):
        within_ar, within_ma = roots_within(ar, 1.0 - EDGE), roots_within(-ma, 1.0 - EDGE)
        if within_ar.all() and within_ma.all():
            break
        ar, ma = drawn_inside(ar, within_ar, 0.9), drawn_inside(ma, within_ma, 0.9)
    return np.hstack([ar, ma])


def roots_within(coefficients: FloatArray, radius: float) -> BoolArray:
    """Return whether all inverse roots of ``1 - c(1) B - c(2) B**2 - c(3) B**3`` are smaller.

    Read off the partial autocorrelations of the polynomial stretched by the radius: all are below
    1 in absolute value where its inverse roots are.

    Parameters
    ----------
    coefficients : ndarray of shape (J, 3)
        c, such as the autoregressive coefficients; of the moving average, minus theta.
    radius : float
        In absolute value.
    """
    a, b, c = (coefficients / radius ** np.arange(1, N_LAGS + 1)).T
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        left = 1.0 - c * c
        second = (b + c * a) / left
        first = (a + c * b) / left / (1.0 - second)
        within: BoolArray = (np.abs(c) < 1.0) & (np.abs(second) < 1.0) & (np.abs(first) < 1.0)
    return within


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
        table = _Table.of(windows[part], np.zeros(n_jobs, np.bool_))
        rows = np.zeros((n_jobs, N_GIVEN))
        rows[:, 0], rows[:, -N_COEFFICIENTS:] = table.lengths, np.hstack([ar[part], ma[part]])
        job = np.arange(n_jobs)
        residuals = _Batch.of(table.values, job, mean[part], rows).residuals()
        last = table.lengths[:, None] + np.arange(-N_LAGS, 0)
        found[part] = residuals[job[:, None] // WIDTH, last, job[:, None] % WIDTH]
    return found
