"""Exact Gaussian maximum likelihood of ARMA(p, q), p and q at most 3, for many windows at once.

``y(t) - mu = sum phi(i) (y(t-i) - mu) + e(t) + sum theta(j) e(t-j)``, e of variance sigma2.
Starts are chosen and ends ranked here; an ``Engine`` carries out the passes over windows. The bits
of a job depend on its own window and order alone.
"""

from collections.abc import Sequence

import numpy as np

from pmx_ray._typing import BoolArray, FloatArray, IntArray
from pmx_ray.kernels.arma_climb import EDGE, N_OUT, TOLERANCE
from pmx_ray.kernels.arma_fits import ArmaFits, Engine, Jobs
from pmx_ray.kernels.arma_host import Host, Table, last_residuals
from pmx_ray.kernels.arma_likelihood import N_COEFFICIENTS, N_LAGS
from pmx_ray.kernels.arma_start import (
    FALLING,
    RISING,
    WAVES,
    drawn_inside,
    hannan_rissanen,
    with_factor,
)

__all__ = [
    "ArmaFits", "Engine", "Host", "Jobs", "estimate", "fit_arma", "last_residuals", "roots_within",
]  # fmt: skip

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

_AT_ONCE = 1024  # jobs whose first starts are read off: what is held of them fits the cache
_MOST_STARTS = 4
_SMALLER = 5  # what a key of ``_keys`` falls by where p and q both fall by one


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
    within = Jobs(window, jobs.p, jobs.q, jobs.constant)
    table = Table.of([windows[one] for one in used.tolist()], within.centred(len(used)))
    return estimate(Host(table), within)


def estimate(engine: Engine, jobs: Jobs) -> ArmaFits:
    """Choose the starts of every job, climb from them, and keep the best end; see ``fit_arma``."""
    asked = _keys(jobs)
    # Starts are read off the smaller models, each of which is fitted once.
    fewer = np.where(jobs.p == jobs.q, np.maximum(jobs.p - 1, 0), np.minimum(jobs.p, jobs.q))
    smaller = [asked[fewer >= by] - _SMALLER * by for by in range(N_LAGS + 1)]
    keys = np.unique(np.concatenate(smaller))
    everything = _of_keys(keys)
    level = np.minimum(everything.p, everything.q)
    rows = np.zeros((len(keys), ArmaFits.N_COLUMNS))
    for by in range(N_LAGS + 1):
        index = np.flatnonzero(level == by)
        if index.size:
            part = everything.of(index)
            starts, of = _starts(engine, part, keys, rows)
            rows[index] = _fit_from(engine, part, of, starts)
    return ArmaFits.from_rows(rows[np.searchsorted(keys, asked)])


def _keys(jobs: Jobs) -> IntArray:
    """Return a number for each job, the same for the same job, (J,)."""
    keys: IntArray = ((2 * jobs.window + jobs.constant) * 4 + jobs.p) * 4 + jobs.q
    return keys


def _of_keys(keys: IntArray) -> Jobs:
    return Jobs(keys // 32, keys // 4 % 4, keys % 4, keys // 16 % 2 == 1)


def _starts(
    engine: Engine, jobs: Jobs, keys: IntArray, rows: FloatArray
) -> tuple[FloatArray, IntArray]:
    """Return where the jobs start from, (S, 6), and the job of each start.

    ``rows`` holds the fits of smaller models by their sorted ``keys``.
    """
    starts, of = [_plain_starts(engine, jobs)], [np.arange(len(jobs))]
    for by, scanned in ((1, (RISING, FALLING)), (2, (WAVES,))):
        index = np.flatnonzero((jobs.p >= by) & (jobs.q >= by))
        if index.size:
            part = jobs.of(index)
            smaller = Jobs(part.window, part.p - by, part.q - by, part.constant)
            place = np.searchsorted(keys, _keys(smaller))  # anywhere if it has no coefficient
            base = np.where(smaller.free() > 0.0, rows[place, :N_COEFFICIENTS], 0.0)
            starts.append(_factor_starts(engine, smaller, base, scanned, by))
            of += [index] * len(scanned)
    return np.vstack(starts), np.concatenate(of)


def _fit_from(engine: Engine, jobs: Jobs, index: IntArray, starts: FloatArray) -> FloatArray:
    """Return the best end of each job from starts (S, 6), as ``ArmaFits.as_rows`` has it, (J, 11).

    ``index``, (S,), is the job of each start; each job has one. Starts are drawn inside where they
    are not stationary and invertible.
    """
    lengths = engine.lengths[jobs.window]
    tried = np.full((len(index), N_OUT), np.nan)
    running, starts = np.arange(len(index)), _inside(starts)
    order = np.lexsort((jobs.q[index], jobs.p[index], lengths[index]))
    for most, exact in ROUNDS:
        running, starts = running[order], starts[order]
        tried[running] = engine.climb(jobs.of(index[running]), starts, most=most, exact=exact)
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
            found[:, :N_COEFFICIENTS] * jobs.free(),
            found[:, 8] + np.where(jobs.constant, engine.centres[jobs.window], 0.0),
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


def _plain_starts(engine: Engine, jobs: Jobs) -> FloatArray:
    """Return Hannan and Rissanen's start of each job, (J, 6), from each window read once."""
    once, which = np.unique(_keys(jobs) // 16, return_inverse=True)
    alone = _of_keys(16 * once)
    auto, free = engine.autocovariances(alone)[which], jobs.free()
    parts = (slice(first, first + _AT_ONCE) for first in range(0, len(jobs), _AT_ONCE))
    return np.vstack([hannan_rissanen(auto[part], free[part]) for part in parts])


def _factor_starts(
    engine: Engine,
    jobs: Jobs,
    base: FloatArray,
    scanned: Sequence[FloatArray],
    n_roots: int,
) -> FloatArray:
    """Return each job's fit, (J, 6), with the best of nearly cancelling factors added.

    Once for each of K sets of factors, (K J, 6).
    """
    pairs = engine.scan(jobs, base, factors=scanned, n_roots=n_roots)
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
