"""Intervals: Wilson's for a proportion, and the stationary bootstrap over cutoffs."""

import math
from typing import TypeAlias

import numpy as np
from scipy import special

from pmx_ray._typing import FloatArray, IntArray

MIN_CUTOFFS = 10
"""Fewest independent cutoffs from which a bootstrap interval is stated."""

Interval: TypeAlias = tuple[float, float]
"""Low and high end; NaN where no interval can be stated."""

NO_INTERVAL: Interval = (np.nan, np.nan)


def wilson(successes: float, n: float, *, level: float) -> Interval:
    """Return Wilson's score interval of a proportion; it assumes independent observations.

    Parameters
    ----------
    successes : float
        Number of successes, 0 to ``n``.
    n : float
        Number of observations; the interval is NaN for none.
    level : float
        Coverage, e.g. 0.95.

    Examples
    --------
    >>> low, high = wilson(12, 21, level=0.95)  # 30 days at 57 %
    >>> round(low, 2), round(high, 2)
    (0.37, 0.76)

    References
    ----------
    Wilson (1927), Journal of the American Statistical Association 22, 209-212.
    """
    if n <= 0:
        return NO_INTERVAL
    z = float(special.ndtri(0.5 + level / 2))
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(centre - half, 0.0), min(centre + half, 1.0)


def block_length(n_cutoffs: int, *, step: int, step_size: int) -> int:
    """Return the mean block length of a bootstrap over cutoffs, in cutoffs.

    At least ``ceil(step / step_size)``, the number of cutoffs whose scored stretches overlap, and
    at least the cube root of the number of cutoffs, the rate at which the best length grows
    (Politis, White 2004, Econometric Reviews 23, 53-70); at most the number of cutoffs.
    """
    overlap = -(-step // step_size)
    growing = math.ceil(round(math.cbrt(n_cutoffs), 9))
    return max(1, min(n_cutoffs, max(overlap, growing)))


def resample_counts(
    n_cutoffs: int, *, block: int, n_resamples: int, rng: np.random.Generator
) -> FloatArray:
    """Return how often each cutoff is drawn by each resample of the stationary bootstrap.

    A statistic of sums over cutoffs is then one matrix product: ``counts @ sums``.

    Parameters
    ----------
    n_cutoffs : int
        C, at least 1.
    block : int
        Mean block length.
    n_resamples : int
        B.
    rng : Generator
        Consumed.

    Returns
    -------
    ndarray of shape (B, C)
        Each row sums to C.

    References
    ----------
    Politis, Romano (1994), Journal of the American Statistical Association 89, 1303-1313.
    """
    from arch.bootstrap import StationaryBootstrap  # noqa: PLC0415 - seconds to import

    bootstrap = StationaryBootstrap(block, np.arange(n_cutoffs), seed=rng)
    counts = np.empty((n_resamples, n_cutoffs))
    for row, (drawn, _) in enumerate(bootstrap.bootstrap(n_resamples)):
        counts[row] = np.bincount(drawn[0], minlength=n_cutoffs)
    return counts


def percentile_interval(draws: FloatArray, *, level: float) -> Interval:
    """Return the central ``level`` of resampled statistics, shape (B,); infinities are in order.

    Undefined (NaN) draws are left out; NaN if they are more than half.
    """
    known = draws[~np.isnan(draws)]
    if 2 * len(known) < len(draws) or len(known) == 0:
        return NO_INTERVAL
    # inverted_cdf never interpolates, so that an infinite draw does not turn into NaN.
    tail = round((1.0 - level) / 2.0, 12)  # 0.025, not 0.02500000000000002
    low, high = np.quantile(known, [tail, 1.0 - tail], method="inverted_cdf")
    return float(low), float(high)


def overlap_of(cutoffs: IntArray, *, step: int) -> int:
    """Return how many of the cutoffs have outcomes that lie upon each other, 1 where none has.

    The most cutoffs in any ``step`` sessions on end: ``ceil(step / gap)`` where they are ``gap``
    sessions apart, and there are as many.

    Parameters
    ----------
    cutoffs : ndarray of int, shape (C,)
        Positions on the sessions; each counts once, however often it is named.
    step : int
        Sessions from a cutoff to its outcome, >= 1.

    Examples
    --------
    >>> overlap_of(np.arange(30), step=20)
    20
    >>> overlap_of(np.arange(0, 600, 20), step=20)
    1
    """
    own = np.unique(cutoffs)
    inside = np.searchsorted(own, own + step) - np.arange(len(own))
    return int(inside.max(initial=1))


def n_effective(cutoffs: IntArray, *, step: int) -> float:
    """Return how many independent observations cutoffs are worth: their number over the overlap.

    Outcomes that lie upon each other are largely the same outcome, and tickers of one cutoff move
    together: a cutoff is one observation, and so are as many as overlap.

    Parameters
    ----------
    cutoffs : ndarray of int, shape (C,)
        As ``overlap_of`` takes them.
    step : int
        Sessions from a cutoff to its outcome, >= 1.

    Returns
    -------
    float
        At least 1 where there is a cutoff, else 0.

    Examples
    --------
    >>> n_effective(np.arange(30), step=20)
    1.5
    """
    return len(np.unique(cutoffs)) / overlap_of(cutoffs, step=step)


def hit_rate_interval(
    hits: FloatArray, sides: FloatArray, counts: FloatArray, *, level: float, overlap: int = 1
) -> Interval:
    """Return the interval of a hit rate pooled over tickers.

    Tickers of one cutoff move together, so pooled forecasts are not independent: the interval is
    the hull of Wilson's over all forecasts and of the bootstrap's over cutoffs. With fewer than
    ``MIN_CUTOFFS`` cutoffs it is Wilson's with one observation a cutoff.

    Outcomes that overlap are not independent either, and the bootstrap of a dozen stretches misses
    the truth in one case of seven where one of twenty is meant. With ``overlap`` the cutoffs
    count that many times less, and the hull takes Wilson's over them instead of over forecasts.

    Parameters
    ----------
    hits, sides : ndarray of shape (C,)
        Hits, and forecasts that took a side, of each cutoff.
    counts : ndarray of shape (B, C)
        Of ``resample_counts``.
    level : float
        Coverage.
    overlap : int
        Of ``overlap_of``: how many cutoffs are worth one observation.
    """
    n_hits, n_sides = float(hits.sum()), float(sides.sum())
    n = int((sides > 0).sum()) / overlap
    if n == 0.0:
        return NO_INTERVAL
    by_count = wilson(n_hits / n_sides * n, n, level=level)
    if n < MIN_CUTOFFS:
        return by_count
    if overlap == 1:
        by_count = wilson(n_hits, n_sides, level=level)
    draws = ratio(counts @ hits, counts @ sides)
    by_draw = percentile_interval(draws, level=level)
    return float(np.fmin(by_count[0], by_draw[0])), float(np.fmax(by_count[1], by_draw[1]))


def ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Return ``numerator / denominator``; NaN where the denominator is 0."""
    quotient: FloatArray = numerator / np.where(denominator == 0.0, np.nan, denominator)
    return quotient
