"""How much of a Sharpe ratio is luck: of a short record, of the best of many, of a search.

Sharpe ratios are per period, without a risk-free rate. Kurtosis is 3 for a normal.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import special

from pmx_ray._typing import FloatArray, frozen
from pmx_ray.errors import DataError, SettingsError

MAX_BLOCKS = 20
"""Most blocks of a combinatorial cross-validation: 184,756 splits."""
_ROUNDING = 1e-12  # difference up to which two figures are the same
_CHUNK = 2**20  # figures computed at a time: memory does not grow with the number of splits


@dataclass(frozen=True, slots=True)
class Moments:
    """What the probabilistic Sharpe ratio needs of the ``n`` returns that are known.

    ``sharpe`` is mean over standard deviation, per period; ``skew`` and ``kurtosis`` are the
    standardised third and fourth moments (biased), 0 and 3 for a normal.
    """

    sharpe: float
    skew: float
    kurtosis: float
    n: int


@dataclass(frozen=True, slots=True, eq=False)
class Overfitting:
    """What choosing the best of S strategies in sample does out of sample.

    Attributes
    ----------
    pbo : float
        Share of splits in which the chosen one comes out at or below the median; NaN where it is
        not defined, and then every other figure is too.
    n_splits : int
        C; 0 where not defined.
    logits : ndarray of shape (C,)
        Log odds of the relative rank of the chosen one out of sample; above 0 it is in the better
        half.
    slope, intercept : float
        Line of the chosen one's Sharpe out of sample on that in sample, by least squares; NaN
        where the latter is the same in all splits. A slope below 0 says that skill in sample is
        paid for out of sample.
    probability_of_loss : float
        Share of splits in which the chosen one loses out of sample.
    """

    pbo: float
    n_splits: int
    logits: FloatArray
    slope: float
    intercept: float
    probability_of_loss: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "logits", frozen(self.logits, np.float64))


def moments(returns: FloatArray) -> Moments:
    """Return the moments of a series of net returns; NaN returns are left out.

    All but ``n`` are NaN for fewer than two returns, and where all are equal.
    """
    known = returns[~np.isnan(returns)]
    if len(known) < 2 or np.ptp(known) == 0.0:
        return Moments(np.nan, np.nan, np.nan, len(known))
    score = (known - known.mean()) / known.std()
    sharpe = float(known.mean() / known.std(ddof=1))
    return Moments(sharpe, float((score**3).mean()), float((score**4).mean()), len(known))


def probabilistic_sharpe(
    sharpe: float, *, benchmark: float, n: float, skew: float, kurtosis: float
) -> float:
    """Return the probability that the true Sharpe ratio is above a benchmark.

    Parameters
    ----------
    sharpe, benchmark : float
        Per period.
    n : float
        Returns behind ``sharpe``; of those that overlap as many as stand apart.
    skew, kurtosis : float
        Of the returns.

    Returns
    -------
    float
        NaN for fewer than two returns or an undefined moment.

    Examples
    --------
    >>> round(probabilistic_sharpe(0.458, benchmark=0.0, n=24, skew=-2.448, kurtosis=10.164), 3)
    0.913

    References
    ----------
    Bailey, Lopez de Prado (2012), Journal of Risk 15(2), 3-44.
    """
    scale = _scale(sharpe, skew=skew, kurtosis=kurtosis)
    if n < 2 or not scale > 0.0:
        return np.nan
    return float(special.ndtr((sharpe - benchmark) * math.sqrt((n - 1) / scale)))


def min_track_record_length(
    sharpe: float, *, benchmark: float, skew: float, kurtosis: float, level: float = 0.95
) -> float:
    """Return the number of returns at which the probabilistic Sharpe ratio reaches ``level``.

    Infinite where the Sharpe ratio is not above the benchmark; ``level`` is above one half. The
    paper is that of ``probabilistic_sharpe``.
    """
    if not 0.5 < level < 1.0:
        raise SettingsError(f"level was {level}; it must be above 0.5 and below 1")
    if sharpe <= benchmark:
        return np.inf
    scale = _scale(sharpe, skew=skew, kurtosis=kurtosis)
    return float(1.0 + scale * (special.ndtri(level) / (sharpe - benchmark)) ** 2)


def expected_max_sharpe(n_trials: int, *, variance: float) -> float:
    """Return the Sharpe ratio to be expected of the best of ``n_trials`` without skill.

    Parameters
    ----------
    n_trials : int
        Independent trials; the best of one is expected at 0.
    variance : float
        Of the trials' Sharpe ratios, in the unit of the result squared, >= 0.

    References
    ----------
    Bailey, Lopez de Prado (2014), Journal of Portfolio Management 40(5), 94-107.
    """
    if n_trials < 1:
        raise SettingsError(f"n_trials was {n_trials}; it must be >= 1")
    if variance < 0.0:
        raise SettingsError(f"variance was {variance}; it must be >= 0")
    if n_trials == 1:
        return 0.0
    tails = np.array([1.0 / n_trials, 1.0 / (n_trials * math.e)])
    high, higher = -special.ndtri(tails)
    return float(math.sqrt(variance) * ((1.0 - np.euler_gamma) * high + np.euler_gamma * higher))


def deflated_sharpe(
    sharpe: float, *, n_trials: int, variance: float, n: float, skew: float, kurtosis: float
) -> float:
    """Return the probability that the best of many trials has skill.

    The probabilistic Sharpe ratio, with the expected maximum of ``n_trials`` trials without skill
    as its benchmark; arguments are those of the two. Sharpe ratio and variance are per period.

    Examples
    --------
    >>> daily = {"variance": 0.5 / 250, "n": 1250, "skew": -3.0, "kurtosis": 10.0}
    >>> round(deflated_sharpe(2.5 / 250**0.5, n_trials=100, **daily), 4)
    0.9004

    References
    ----------
    Bailey, Lopez de Prado (2014), Journal of Portfolio Management 40(5), 94-107.
    """
    benchmark = expected_max_sharpe(n_trials, variance=variance)
    return probabilistic_sharpe(sharpe, benchmark=benchmark, n=n, skew=skew, kurtosis=kurtosis)


def probability_of_overfitting(
    returns: FloatArray, *, n_blocks: int = 16, purge: int = 0
) -> Overfitting:
    """Return how often the best in sample disappoints, by combinatorial cross-validation.

    Time is cut into blocks of equal length; every choice of half of them is in sample once, the
    rest out of sample. The strategy of the highest Sharpe ratio in sample is ranked out of sample,
    ties at their mean rank. A strategy whose returns do not vary has a Sharpe ratio of 0.

    Parameters
    ----------
    returns : ndarray of shape (T, S)
        Net returns of the strategies by period; a period in which one is NaN is left out for all.
        The oldest periods that fill no block are left out.
    n_blocks : int
        Even, 2 to ``MAX_BLOCKS``.
    purge : int
        Periods left out of the in-sample half at every border with the other half, so that
        returns that overlap do not link the two; the overlap of neighbours, in periods.

    Returns
    -------
    Overfitting
        Not defined (NaN) for fewer than two strategies, and where a block has fewer than two
        periods after both its ends are purged.

    References
    ----------
    Bailey, Borwein, Lopez de Prado, Zhu (2017), Journal of Computational Finance 20(4), 39-69.
    Lopez de Prado (2018), Advances in Financial Machine Learning, chapters 7, 11 and 12.
    """
    _check_split(returns, n_blocks=n_blocks, purge=purge)
    known = returns[~np.isnan(returns).any(axis=1)]
    length = len(known) // n_blocks
    if known.shape[1] < 2 or length - 2 * purge < 2:
        return Overfitting(np.nan, 0, np.empty(0), np.nan, np.nan, np.nan)
    blocks = known[len(known) - n_blocks * length :].reshape(n_blocks, length, -1)
    parts = [_chosen(*map(_sharpe, halves)) for halves in _halves(blocks, purge=purge)]
    before, after, rank = np.concatenate(parts, axis=1)  # (C,) each
    logits = np.log(rank / (known.shape[1] + 1 - rank))
    slope, intercept = _line(before, after)
    return Overfitting(
        pbo=float((logits <= 0.0).mean()),
        n_splits=len(logits),
        logits=logits,
        slope=slope,
        intercept=intercept,
        probability_of_loss=float((after < 0.0).mean()),
    )


def _halves(blocks: FloatArray, *, purge: int) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Yield the sums of both halves, in and out of sample, for some of the splits at a time.

    Sums are of shape (3, C_part, S), number of returns, their sum and sum of squares: matrix
    products of 0 and 1 with the sums of blocks and of their purged ends.
    """
    n_blocks, length, _ = blocks.shape
    whole, head, tail = (
        np.stack([np.ones_like(rows).sum(axis=1), rows.sum(axis=1), (rows**2).sum(axis=1)])
        for rows in (blocks, blocks[:, :purge], blocks[:, length - purge :])
    )  # (3, n_blocks, S) each
    splits = list(combinations(range(n_blocks), n_blocks // 2))
    size = max(1, _CHUNK // blocks.shape[2])
    for start in range(0, len(splits), size):
        chosen = np.array(splits[start : start + size])
        inside = np.zeros((len(chosen), n_blocks))
        np.put_along_axis(inside, chosen, 1.0, axis=1)
        # An end is purged where its block is inside and the block beyond that end is not; the
        # first and the last block have none beyond.
        beyond = np.pad(inside, ((0, 0), (1, 1)), constant_values=1.0)
        at_head, at_tail = inside * (1.0 - beyond[:, :-2]), inside * (1.0 - beyond[:, 2:])
        yield inside @ whole - at_head @ head - at_tail @ tail, (1.0 - inside) @ whole


def _sharpe(sums: FloatArray) -> FloatArray:
    """Return the Sharpe ratios, shape (C, S), of the sums that ``_halves`` yields."""
    n, total, squares = sums
    spread = squares - total**2 / n
    varies = spread > _ROUNDING * squares
    deviation = np.sqrt(np.where(varies, spread, 1.0) / (n - 1.0))
    ratio: FloatArray = np.where(varies, total / n / deviation, 0.0)
    return ratio


def _chosen(before: FloatArray, after: FloatArray) -> FloatArray:
    """Return Sharpe in sample, out of sample and rank of the best in sample, shape (3, C).

    Both arguments are of shape (C, S). The first of several that are equally good is chosen.
    """
    best = before.max(axis=1, keepdims=True)
    column = np.argmax(before >= best - _ROUNDING, axis=1)[:, None]
    own = np.take_along_axis(after, column, axis=1)
    n_below = (after < own - _ROUNDING).sum(axis=1)
    n_not_above = (after <= own + _ROUNDING).sum(axis=1)
    return np.stack([best[:, 0], own[:, 0], (n_below + n_not_above + 1) / 2.0])


def _line(x: FloatArray, y: FloatArray) -> tuple[float, float]:
    """Return slope and intercept of y on x by least squares; NaN where x does not vary."""
    slope, intercept = np.polyfit(x, y, 1) if np.ptp(x) > _ROUNDING else (np.nan, np.nan)
    return float(slope), float(intercept)


def _scale(sharpe: float, *, skew: float, kurtosis: float) -> float:
    """Return the variance of a Sharpe ratio times n - 1 (Mertens 2002)."""
    return 1.0 - skew * sharpe + (kurtosis - 1.0) / 4.0 * sharpe**2


def _check_split(returns: FloatArray, *, n_blocks: int, purge: int) -> None:
    if returns.ndim != 2 or np.isinf(returns).any():
        raise DataError(
            f"returns of shape {returns.shape} were not finite figures, periods by strategies; "
            "give NaN where there is no return"
        )
    if n_blocks % 2 or not 2 <= n_blocks <= MAX_BLOCKS:
        raise SettingsError(f"n_blocks was {n_blocks}; it must be even, 2 to {MAX_BLOCKS}")
    if purge < 0:
        raise SettingsError(f"purge was {purge}; it must be >= 0")
