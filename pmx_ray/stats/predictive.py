"""Tests of equal predictive ability, for one pair of forecasts or for very many at once.

Those over all specs at once stand in ``superior``.

A difference is the loss of a forecast less that of the one it is compared with, in time order:
below 0 the first is better. NaN is no observation.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

from pmx_ray._typing import BoolArray, FloatArray, IntArray
from pmx_ray.errors import DataError, SettingsError

_ROUNDING = 1e-12
"""Share of the plain variance below which a HAC variance is rounding."""


@dataclass(frozen=True, slots=True)
class DieboldMariano:
    """The test of equal predictive ability of two forecasts.

    Attributes
    ----------
    statistic : float
        Mean over its HAC standard error, times the Harvey-Leybourne-Newbold factor.
    p_less : float
        One-sided p-value against a mean below 0, "the first is no better", from t(n - 1).
    p_two_sided : float
        Two-sided p-value, from t(n - 1).
    mean : float
        Mean difference; NaN without an observation.
    n : int
        Observations.
    lags : int
        Autocovariances that were asked for.
    no_lags : bool
        Whether none of them was used: the HAC variance was not positive, or ``n <= lags + 1``.
    """

    statistic: float
    p_less: float
    p_two_sided: float
    mean: float
    n: int
    lags: int
    no_lags: bool


@dataclass(frozen=True, slots=True, eq=False)
class DifferenceTests:
    """The tests of M series of differences; arrays are of shape (M,).

    ``mean``, ``statistic``, ``p_less``, ``p_two_sided``, ``n``, ``lags`` and ``no_lags`` are those
    of ``DieboldMariano``; ``paired_t`` and ``paired_p_less`` are the paired t statistic, which
    takes the differences for independent, and its one-sided p-value.
    """

    mean: FloatArray
    statistic: FloatArray
    p_less: FloatArray
    p_two_sided: FloatArray
    paired_t: FloatArray
    paired_p_less: FloatArray
    n: IntArray
    no_lags: BoolArray
    lags: int


class DifferenceMoments:
    """Sums from which M series of differences are tested, fed in parts that follow in time.

    However the series are cut, the figures are those of the whole, and the memory is that of
    ``lags`` rows and ``3 (lags + 1)`` sums a series. A pair of observations ``k`` rows apart counts
    where both are known. Each series is shifted by its first known value before it is summed,
    which keeps the digits where the mean is large beside the spread.

    Parameters
    ----------
    n_series : int
        M.
    lags : int
        Autocovariances to hold: the horizon in rows, less 1.

    Raises
    ------
    SettingsError
        If ``lags`` is below 0.

    Examples
    --------
    >>> moments = DifferenceMoments(1, lags=0)
    >>> moments.add(np.array([[-1.0], [-2.0]]))
    >>> moments.add(np.array([[np.nan], [-3.0]]))
    >>> round(float(moments.tests().p_less[0]), 4)  # t = -2 sqrt(3), 2 degrees of freedom
    0.0371
    """

    def __init__(self, n_series: int, *, lags: int) -> None:
        if lags < 0:
            raise SettingsError(f"lags was {lags}; it must be >= 0")
        self._lags = lags
        self._shift = np.full(n_series, np.nan)
        self._recent = np.empty((0, n_series))  # the last rows, at most `lags`
        # Row k is of the pairs k rows apart; row 0 pairs each observation with itself.
        self._products = np.zeros((lags + 1, n_series))
        self._pair_sums = np.zeros((lags + 1, n_series))
        self._n_pairs = np.zeros((lags + 1, n_series))

    def add(self, differences: FloatArray) -> None:
        """Take in the next rows.

        Parameters
        ----------
        differences : ndarray of shape (T_part, M)
            NaN where there is no observation.

        Raises
        ------
        DataError
            If the shape is another, or a value is infinite.
        """
        _check_part(differences, n_series=len(self._shift))
        self._shift = np.where(np.isnan(self._shift), _first_known(differences), self._shift)
        rows = np.concatenate([self._recent, differences])
        known = ~np.isnan(rows)
        values = np.where(known, rows - self._shift, 0.0)
        for k in range(self._lags + 1):
            start = max(len(self._recent), k)  # pairs that end before were counted already
            later, earlier = slice(start, None), slice(start - k, max(len(rows) - k, 0))
            both = known[later] & known[earlier]
            self._products[k] += (values[later] * values[earlier]).sum(axis=0)
            self._pair_sums[k] += ((values[later] + values[earlier]) * both).sum(axis=0)
            self._n_pairs[k] += both.sum(axis=0)
        self._recent = rows[max(len(rows) - self._lags, 0) :].copy()

    def tests(self) -> DifferenceTests:
        """Return the tests of what was added so far.

        The kernel is rectangular. All are NaN for fewer than two observations, and where all
        differences are the same but not 0: their spread says nothing. Where all are 0 the
        statistics are 0 and the p-values 1. Where the HAC variance is not positive, or there are
        no more than ``lags + 1`` observations, no lag is used, and the test is the paired t.

        References
        ----------
        Diebold, Mariano (1995), Journal of Business & Economic Statistics 13, 253-263.
        Harvey, Leybourne, Newbold (1997), International Journal of Forecasting 13, 281-291.
        """
        n = np.where(self._n_pairs[0] > 0, self._n_pairs[0], np.nan)
        centre = self._pair_sums[0] / 2.0 / n
        # Sum of (d_t - m)(d_{t-k} - m) over the known pairs; k = 0 is the variance.
        about_mean = self._products - centre * self._pair_sums + centre**2 * self._n_pairs
        gamma = about_mean / n  # (lags + 1, M)
        plain = np.maximum(gamma[0], 0.0)
        hac = plain + 2.0 * gamma[1:].sum(axis=0)
        lagged = (hac > _ROUNDING * plain) & (n > self._lags + 1)
        mean = self._shift + centre
        variance, horizon = np.where(lagged, hac, plain), np.where(lagged, self._lags + 1, 1)
        statistic, p_less, p_two_sided = _student(mean, variance, n=n, horizon=horizon)
        paired_t, paired_p_less, _ = _student(mean, plain, n=n, horizon=np.ones_like(horizon))
        return DifferenceTests(
            mean=mean,
            statistic=statistic,
            p_less=p_less,
            p_two_sided=p_two_sided,
            paired_t=paired_t,
            paired_p_less=paired_p_less,
            n=self._n_pairs[0].astype(np.int64),
            no_lags=(self._lags > 0) & (plain > 0.0) & ~lagged,
            lags=self._lags,
        )


def diebold_mariano(difference: FloatArray, *, lags: int) -> DieboldMariano:
    """Return the test that two forecasts lose alike; it is ``DifferenceMoments`` of one series.

    Parameters
    ----------
    difference : ndarray of shape (T,)
        Loss of the first forecast less that of the second; NaN is no observation.
    lags : int
        Horizon in rows, less 1: forecasts whose scored stretches overlap err together.

    Returns
    -------
    DieboldMariano
        Undefined cases as in ``DifferenceMoments.tests``.
    """
    moments = DifferenceMoments(1, lags=lags)
    moments.add(np.asarray(difference, dtype=np.float64)[:, None])
    tests = moments.tests()
    return DieboldMariano(
        statistic=float(tests.statistic[0]),
        p_less=float(tests.p_less[0]),
        p_two_sided=float(tests.p_two_sided[0]),
        mean=float(tests.mean[0]),
        n=int(tests.n[0]),
        lags=lags,
        no_lags=bool(tests.no_lags[0]),
    )


def effect_size(difference: FloatArray) -> float:
    """Return mean over standard deviation of a series of differences; below 0 the first is better.

    NaN observations are left out. NaN for fewer than two, and where all are the same but for
    rounding.
    """
    known = difference[~np.isnan(difference)]
    if len(known) < 2 or np.ptp(known) <= _ROUNDING * np.abs(known).max():
        return np.nan
    return float(known.mean() / known.std(ddof=1))


def _student(
    mean: FloatArray, variance: FloatArray, *, n: FloatArray, horizon: IntArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return statistic and p-values, of shape (M,); with horizon 1 those of the paired t."""
    defined = (n > 1) & (variance > 0.0)
    error = np.sqrt(np.where(defined, variance, np.nan) / n)
    factor = np.sqrt((n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n)
    statistic = mean / error * factor
    p_less, p_two_sided = special.stdtr(n - 1, [statistic, -np.abs(statistic)]) * [[1.0], [2.0]]
    equal = (n > 1) & (variance == 0.0) & (mean == 0.0)
    return (
        np.where(equal, 0.0, statistic),
        np.where(equal, 1.0, p_less),
        np.where(equal, 1.0, p_two_sided),
    )


def _first_known(differences: FloatArray) -> FloatArray:
    """Return the first known value of each column, NaN where there is none."""
    if len(differences) == 0:
        return np.full(differences.shape[1], np.nan)
    first = np.argmax(~np.isnan(differences), axis=0)
    values: FloatArray = np.take_along_axis(differences, first[None, :], axis=0)[0]
    return values


def _check_part(differences: FloatArray, *, n_series: int) -> None:
    if differences.ndim != 2 or differences.shape[1] != n_series:
        raise DataError(
            f"differences had shape {differences.shape}; give rows of {n_series} series"
        )
    if np.isinf(differences).any():
        raise DataError("differences held an infinite value; give NaN where a loss is not finite")
