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
    CONSTANT,
    COUNT,
    FREE,
    N_COEFFICIENTS,
    N_LAGS,
    PADDING,
    ROWS,
    TRIAL,
    correct,
    evaluate,
    interleave,
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
from pmx_ray.kernels.compiling import compiled
from pmx_ray.kernels.lanes import WIDTH, load, store

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

_CHUNK = 32 * WIDTH  # jobs whose windows are gathered at once


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
class _Groups:
    """Jobs as the kernels take them, eight a group; lanes without a job hold one zero."""

    values: FloatArray  # (8 G, n)
    scratch: FloatArray  # (G, rows, 8)
    side_by_side: FloatArray  # (n, 2, 8), written group by group
    residuals: FloatArray  # (n, 8), likewise

    def jobs(self, rows: FloatArray) -> FloatArray:
        """Return rows by group, (G, K, 8), by lane, (8 G, K): the inverse of ``lanes``."""
        return rows.transpose(0, 2, 1).reshape(-1, rows.shape[1])

    def lanes(self, values: FloatArray) -> FloatArray:
        """Return values of the jobs, (J, K), by group, (G, K, 8)."""
        padded = np.zeros((len(self.values), values.shape[1]))
        padded[: len(values)] = values
        return np.ascontiguousarray(padded.reshape(-1, WIDTH, values.shape[1]).transpose(0, 2, 1))


def _grouped(
    windows: Sequence[FloatArray],
    means: FloatArray,
    free: FloatArray,
    constant: BoolArray | None = None,
) -> _Groups:
    """Return the windows of J jobs less their means, and what each estimates, (J, 6)."""
    n_groups = -(-len(windows) // WIDTH)
    lengths = np.ones(n_groups * WIDTH)
    lengths[: len(windows)] = [len(one) for one in windows]
    n_steps = PADDING * (int(lengths.max() - 1) // PADDING + 2)
    values = np.zeros((n_groups * WIDTH, n_steps))
    for row, one, mean in zip(values, windows, means.tolist(), strict=False):
        np.subtract(one, mean, out=row[: len(one)])
    groups = _Groups(
        values,
        np.zeros((n_groups, ROWS, WIDTH)),
        np.empty((n_steps, 2, WIDTH)),
        np.empty((n_steps, WIDTH)),
    )
    groups.scratch[:, COUNT] = lengths.reshape(n_groups, WIDTH)
    groups.scratch[:, FREE : FREE + 6] = groups.lanes(free)
    if constant is not None:
        groups.scratch[:, CONSTANT] = groups.lanes(constant[:, None].astype(np.float64))[:, 0]
    return groups


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
    mixed = np.flatnonzero((jobs.p > 0) & (jobs.q > 0))
    waved = np.flatnonzero((jobs.p > 1) & (jobs.q > 1))
    starts = [_plain_starts(windows, jobs)]
    for index, factors, by in ((mixed, RISING, 1), (mixed, FALLING, 1), (waved, WAVES, 2)):
        if index.size:
            part = jobs.of(index)
            smaller = Jobs(part.window, part.p - by, part.q - by, part.constant)
            starts.append(_factor_starts(windows, smaller, factors, by))
    index = np.concatenate([np.arange(len(jobs)), mixed, mixed, waved])
    return fit_from(windows, jobs, index, np.vstack(starts))


def fit_from(
    windows: Sequence[FloatArray], jobs: Jobs, index: IntArray, starts: FloatArray
) -> ArmaFits:
    """Fit every job from the starts given, and return the best end of each; see ``fit_arma``.

    Parameters
    ----------
    windows, jobs
        As in ``fit_arma``.
    index : ndarray of int, shape (S,)
        Job of each start; each job has one.
    starts : ndarray of shape (S, 6)
        phi then theta; drawn inside where they are not stationary and invertible.
    """
    lengths = np.array([len(one) for one in windows])[jobs.window]
    tried = np.full((len(index), N_OUT), np.nan)
    running, starts = np.arange(len(index)), _inside(starts)
    for most, exact in ROUNDS:
        part = jobs.of(index[running])
        tried[running] = _climb(windows, part, starts, most=most, exact=exact)
        rank = _rank(tried, lengths[index])
        least = np.full(len(jobs), np.inf)
        np.minimum.at(least, index, rank)
        behind = rank > least[index] + (0.0 if exact else BEHIND)
        open_ended = (tried[:, 10] >= TOLERANCE) & np.isfinite(tried[:, 6]) & ~behind
        running = np.flatnonzero(open_ended & roots_within(tried[:, :N_LAGS], LOST))
        if not running.size:
            break
        starts = tried[running, :N_COEFFICIENTS]
    ranked = np.lexsort((_rank(tried, lengths[index]), index))  # job by job, the best end first
    found = tried[ranked[np.searchsorted(index[ranked], np.arange(len(jobs)))]]
    loglik = -0.5 * (found[:, 6] + lengths * (np.log(2.0 * np.pi / lengths) + 1.0))
    free = _free(jobs)
    return ArmaFits(
        found[:, :N_LAGS] * free[:, :N_LAGS],
        found[:, N_LAGS:N_COEFFICIENTS] * free[:, N_LAGS:],
        found[:, 8] + _centres(windows, jobs),
        found[:, 7] / lengths,
        np.where(np.isfinite(loglik), loglik, np.nan),
        found[:, 9].astype(np.int64),
        found[:, 10] < ENOUGH,
    )


def _rank(tried: FloatArray, lengths: FloatArray) -> FloatArray:
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


def _centres(windows: Sequence[FloatArray], jobs: Jobs) -> FloatArray:
    """Return the sample mean of each job's window, (J,); zero where no mean is estimated."""
    means = {int(one): float(windows[one].mean()) for one in np.unique(jobs.window[jobs.constant])}
    return np.array(
        [
            means[one] if constant else 0.0
            for one, constant in zip(jobs.window.tolist(), jobs.constant.tolist(), strict=True)
        ]
    )


def _grouped_jobs(windows: Sequence[FloatArray], jobs: Jobs, free: FloatArray) -> _Groups:
    """Return the jobs' windows less their sample means where a mean is estimated."""
    own = [windows[one] for one in jobs.window.tolist()]
    return _grouped(own, _centres(windows, jobs), free, jobs.constant)


def _plain_starts(windows: Sequence[FloatArray], jobs: Jobs) -> FloatArray:
    """Return Hannan and Rissanen's start of each job, (J, 6), from each window read once."""
    key = 2 * jobs.window + jobs.constant
    keys, which = np.unique(key, return_inverse=True)
    nothing = np.zeros(len(keys), np.int64)
    once = Jobs(keys // 2, nothing, nothing, keys % 2 == 1)
    auto = np.empty((len(once), N_AUTO))
    for first in range(0, len(once), _CHUNK):
        part = once.of(np.arange(first, min(first + _CHUNK, len(once))))
        groups = _grouped_jobs(windows, part, np.zeros((len(part), N_COEFFICIENTS)))
        out = np.empty((len(groups.scratch), N_AUTO, WIDTH))
        autocovariances(groups.values, groups.scratch, groups.side_by_side, out)
        auto[first : first + _CHUNK] = groups.jobs(out)[: len(part)]
    return hannan_rissanen(auto[which], _free(jobs))


def _factor_starts(
    windows: Sequence[FloatArray], jobs: Jobs, factors: FloatArray, n_roots: int
) -> FloatArray:
    """Return each job's fit with the best of nearly cancelling factors added, (J, 6)."""
    base = np.zeros((len(jobs), N_COEFFICIENTS))
    larger = np.flatnonzero((jobs.p > 0) | (jobs.q > 0))
    if larger.size:
        found = fit_arma(windows, jobs.of(larger))
        base[larger] = np.hstack([found.ar, found.ma])
    pair = np.empty((len(jobs), 4))
    for first in range(0, len(jobs), _CHUNK):
        part = jobs.of(np.arange(first, min(first + _CHUNK, len(jobs))))
        groups = _grouped_jobs(windows, part, np.zeros((len(part), N_COEFFICIENTS)))
        out = np.zeros((len(groups.scratch), 4, WIDTH))
        scan(
            groups.values,
            groups.lanes(base[first : first + _CHUNK]),
            factors,
            n_roots,
            groups.scratch,
            groups.side_by_side,
            groups.residuals,
            out,
        )
        pair[first : first + _CHUNK] = groups.jobs(out)[: len(part)]
    a1, a2, b1, b2 = pair.T
    a2 = np.clip(a2, -0.998, 0.998)
    a1 = np.clip(a1, -0.999 * (1.0 - a2), 0.999 * (1.0 - a2))  # where stationary
    ar = -with_factor(-base[:, :N_LAGS], a1, a2)
    return np.hstack([ar, with_factor(base[:, N_LAGS:], b1, b2)])


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


def _climb(
    windows: Sequence[FloatArray], jobs: Jobs, starts: FloatArray, *, most: int, exact: bool
) -> FloatArray:
    """Return the kernel's rows of the jobs, (J, 11), from their starts, (J, 6)."""
    lengths = np.array([len(one) for one in windows])[jobs.window]
    alike = np.lexsort((jobs.window, jobs.q, jobs.p, lengths))
    found = np.empty((len(jobs), N_OUT))
    for first in range(0, len(jobs), _CHUNK):
        chunk = alike[first : first + _CHUNK]
        part = jobs.of(chunk)
        groups = _grouped_jobs(windows, part, _free(part))
        out = np.empty((len(groups.scratch), N_OUT, WIDTH))
        climb(
            groups.values,
            groups.lanes(starts[chunk]),
            most,
            exact,
            groups.scratch,
            groups.side_by_side,
            groups.residuals,
            np.empty_like(groups.residuals),
            np.empty_like(groups.residuals),
            out,
        )
        found[chunk] = groups.jobs(out)[: len(part)]
    return found


@compiled
def _filter(
    values: FloatArray, given: FloatArray, z: FloatArray, data: FloatArray, e: FloatArray
) -> None:
    """Write the residuals of every window, (G, n, 8), at given coefficients, (G, 6, 8)."""
    for group in range(len(z)):
        own = z[group]
        interleave(values, group, own, data)
        for i in range(6):
            store(own, TRIAL + i, load(given, 6 * group + i))
        head = evaluate(data, own, TRIAL, e[group])
        correct(data, head, own, TRIAL, e[group])


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
        groups = _grouped(windows[part], mean[part], np.ones((len(windows[part]), 6)))
        residuals = np.empty((len(groups.scratch), *groups.residuals.shape))
        given = groups.lanes(np.hstack([ar[part], ma[part]]))
        _filter(groups.values, given, groups.scratch, groups.side_by_side, residuals)
        job = np.arange(len(windows[part]))[:, None]
        last = np.array([len(one) for one in windows[part]])[:, None] + np.arange(-N_LAGS, 0)
        found[part] = residuals[job // WIDTH, last, job % WIDTH]
    return found
