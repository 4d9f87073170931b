"""Diagnostics of forecasts: what a good forecast leaves behind is noise.

A p-value is the chance of a series at least as odd as this one if the forecast were right: small
speaks against the forecast. Series hold one value a forecast, in time order. A value that is not
finite is left out and its neighbours become adjacent. A figure that is not defined (too few
values, a series that does not vary) is NaN; data never raise.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import statsmodels.api as sm
from scipy import special, stats
from statsmodels.stats import diagnostic, stattools

from pmx_ray._typing import BoolArray, FloatArray, IntArray
from pmx_ray.errors import DataError, SettingsError

_ROUNDING = 1e-12
"""Spread, relative to size, up to which a series counts as constant."""


class MincerZarnowitz(NamedTuple):
    """Regression of outcomes on forecasts.

    Attributes
    ----------
    intercept : float
        0 for an unbiased forecast, in the unit of the outcome.
    slope : float
        1 where moves are as large as forecast; NaN where the forecast does not vary.
    p : float
        Of both together; of the intercept alone where the forecast does not vary.
    """

    intercept: float
    slope: float
    p: float


def ljung_box_p(z: FloatArray, *, lags: int) -> float:
    """Return the p-value of no autocorrelation up to ``lags``, from chi2(lags).

    Parameters
    ----------
    z : ndarray of shape (T,)
        Standardised forecast errors; NaN for at most ``lags`` of them.
    lags : int
        At least 1.

    References
    ----------
    Ljung, Box (1978), Biometrika 65, 297-303.
    """
    _check_lags(lags, least=1)
    known = _varying(z, at_least=lags + 1)
    if known is None:
        return np.nan
    return float(diagnostic.acorr_ljungbox(known, lags=[lags])["lb_pvalue"].iloc[0])


def durbin_watson(z: FloatArray) -> float:
    """Return the Durbin-Watson statistic: 2 without autocorrelation, 0 and 4 at its extremes.

    Parameters
    ----------
    z : ndarray of shape (T,)
        Standardised forecast errors, whose mean should be 0: a bias lowers the statistic too.

    References
    ----------
    Durbin, Watson (1950), Biometrika 37, 409-428.
    """
    known = _varying(z, at_least=2)
    return np.nan if known is None else float(stattools.durbin_watson(known))


def jarque_bera_p(z: FloatArray) -> float:
    """Return the p-value of a normal skew and kurtosis, from chi2(2), which needs many values.

    References
    ----------
    Jarque, Bera (1980), Economics Letters 6, 255-259.
    """
    known = _varying(z, at_least=2)
    return np.nan if known is None else float(stats.jarque_bera(known).pvalue)


def mincer_zarnowitz(actual: FloatArray, mean: FloatArray, *, lags: int) -> MincerZarnowitz:
    """Regress the outcome on the forecast and test intercept 0 and slope 1 together.

    A forecast that does not vary, as the random walk's 0, cannot tell slope from intercept. The
    slope is then held at 1: the intercept is the mean forecast error, and the test is of that.

    Parameters
    ----------
    actual, mean : ndarray of shape (T,)
        Outcome and forecast mean.
    lags : int
        Newey-West lags, >= 0: the cutoffs by which outcomes overlap.

    Returns
    -------
    MincerZarnowitz
        All NaN for fewer than ``lags + 4`` pairs. The p-value is from F(2, n - 2), or from
        t(n - 1) for the intercept alone, both with the covariance scaled for the sample size; NaN
        where the fit leaves no error to judge by.

    References
    ----------
    Mincer, Zarnowitz (1969), in Economic Forecasts and Expectations, NBER, 3-46.
    Newey, West (1987), Econometrica 55, 703-708.
    """
    _check_lags(lags, least=0)
    known = np.isfinite(actual) & np.isfinite(mean)
    if known.sum() < lags + 4:
        return MincerZarnowitz(np.nan, np.nan, np.nan)
    actual, mean = actual[known], mean[known]
    unit = float(max(np.abs(actual).max(), np.abs(mean).max())) or 1.0
    forecast = mean / unit
    error = actual / unit - forecast
    if np.ptp(forecast) <= _ROUNDING:
        (bias,), p = _fit(error, np.ones((len(error), 1)), lags)
        return MincerZarnowitz(bias * unit, np.nan, p)
    # "Error on standardised forecast is 0 and 0" is the same hypothesis, with the same statistic,
    # as "outcome on forecast is 0 and 1", but well conditioned however small the forecasts are.
    centre, scale = forecast.mean(), forecast.std()
    design = np.column_stack([np.ones_like(forecast), (forecast - centre) / scale])
    (level, tilt), p = _fit(error, design, lags)
    return MincerZarnowitz((level - tilt * centre / scale) * unit, 1.0 + tilt / scale, p)


def pit_p(pit: FloatArray) -> float:
    """Return the Kolmogorov-Smirnov p-value of uniform probability integral transforms.

    Parameters
    ----------
    pit : ndarray of shape (T,)
        Forecast distribution function at each outcome, in [0, 1]; NaN for none.

    References
    ----------
    Diebold, Gunther, Tay (1998), International Economic Review 39, 863-883.
    """
    known = pit[np.isfinite(pit)]
    return float(stats.kstest(known, "uniform").pvalue) if len(known) else np.nan


def pit_histogram(pit: FloatArray, bins: int) -> IntArray:
    """Return how many transforms lie in each of ``bins`` equal parts of [0, 1], shape (bins,).

    Level where the forecast is calibrated; high at both ends where its variance is too small.

    Raises
    ------
    SettingsError
        If ``bins`` is below 1.
    """
    if bins < 1:
        raise SettingsError(f"bins was {bins}; it must be >= 1")
    counts: IntArray = np.histogram(pit[np.isfinite(pit)], bins=bins, range=(0.0, 1.0))[0]
    return counts


def kupiec(n_breaches: npt.ArrayLike, n: npt.ArrayLike, *, probability: float) -> FloatArray:
    """Return p-values of as many breaches as ``probability`` promises, from chi2(1).

    Parameters
    ----------
    n_breaches, n : array_like of shape (M,)
        Outcomes below the quantile, and all outcomes. Without a breach, or with nothing else,
        ``0 log 0`` is 0; without an outcome the p-value is NaN.
    probability : float
        Level of the quantile, in (0, 1).

    Returns
    -------
    ndarray of shape (M,)

    Raises
    ------
    SettingsError
        If ``probability`` is not in (0, 1).
    DataError
        If there are more breaches than outcomes, or fewer than 0.

    References
    ----------
    Kupiec (1995), Journal of Derivatives 3(2), 73-84.
    """
    return _chi2_p(_coverage_ratio(n_breaches, n, probability), df=1)


def kupiec_p(n_breaches: int, n: int, *, probability: float) -> float:
    """Return ``kupiec`` of one series.

    Examples
    --------
    >>> [kupiec_p(breaches, 255, probability=0.01) < 0.05 for breaches in (6, 7)]
    [False, True]
    """
    return float(kupiec(n_breaches, n, probability=probability))


def christoffersen_p(breaches: BoolArray) -> float:
    """Return the p-value of breaches that do not depend on the one before, from chi2(1).

    Parameters
    ----------
    breaches : ndarray of bool, shape (T,)
        Where the outcome lay below the quantile, in time order. Series that are all alike count
        as independent, p = 1 (``0 log 0`` is 0); NaN for fewer than two.

    References
    ----------
    Christoffersen (1998), International Economic Review 39, 841-862.
    """
    return float(_chi2_p(_independence_ratio(breaches), df=1))


def conditional_coverage_p(breaches: BoolArray, *, probability: float) -> float:
    """Return the p-value of right coverage and independence together, from chi2(2).

    The likelihood ratios of ``kupiec_p`` and ``christoffersen_p`` are added; arguments, NaN and
    errors are theirs.
    """
    coverage = _coverage_ratio(breaches.sum(), len(breaches), probability)
    return float(_chi2_p(coverage + _independence_ratio(breaches), df=2))


def _coverage_ratio(n_breaches: npt.ArrayLike, n: npt.ArrayLike, probability: float) -> FloatArray:
    if not 0.0 < probability < 1.0:
        raise SettingsError(f"probability was {probability}; it must lie between 0 and 1")
    hit, total = np.asarray(n_breaches, np.float64), np.asarray(n, np.float64)
    if np.any(hit < 0) or np.any(hit > total):
        raise DataError(
            f"there were {n_breaches!r} breaches in {n!r} outcomes; give 0 to that many"
        )
    share = hit / np.where(total == 0.0, np.nan, total)
    return 2.0 * (_log_likelihood(hit, total, share) - _log_likelihood(hit, total, probability))


def _independence_ratio(breaches: BoolArray) -> FloatArray:
    before, after = breaches[:-1].astype(bool), breaches[1:].astype(bool)
    n_from = np.array([(~before).sum(), before.sum()], np.float64)  # from no breach, from a breach
    n_to_breach = np.array([(~before & after).sum(), (before & after).sum()], np.float64)
    pooled = n_to_breach.sum() / n_from.sum() if len(before) else np.nan
    own = n_to_breach / np.maximum(n_from, 1.0)  # a state that never occurs adds nothing
    free = _log_likelihood(n_to_breach, n_from, own)
    return np.asarray(2.0 * (free - _log_likelihood(n_to_breach, n_from, pooled)).sum())


def _log_likelihood(hit: FloatArray, total: FloatArray, share: FloatArray | float) -> FloatArray:
    value: FloatArray = special.xlogy(hit, share) + special.xlog1py(total - hit, -np.asarray(share))
    return value


def _chi2_p(likelihood_ratio: FloatArray, *, df: int) -> FloatArray:
    # rounding can leave a ratio of 0 just below it
    p: FloatArray = special.chdtrc(df, np.maximum(likelihood_ratio, 0.0))
    return p


def _varying(values: FloatArray, *, at_least: int) -> FloatArray | None:
    """Return the finite values in units of the largest; None where too few or constant."""
    known = values[np.isfinite(values)]
    if len(known) < at_least or not np.any(known):
        return None
    scaled: FloatArray = known / np.abs(known).max()  # every figure here is free of scale
    return scaled if np.ptp(scaled) > _ROUNDING else None


def _fit(error: FloatArray, design: FloatArray, lags: int) -> tuple[list[float], float]:
    """Return the coefficients, K of them, and the HAC p-value that all are 0."""
    fit = sm.OLS(error, design).fit(
        cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": True}
    )
    n_free = design.shape[1]
    judged = np.abs(fit.resid).max() > _ROUNDING and (
        np.linalg.matrix_rank(fit.cov_params(), hermitian=True) == n_free
    )
    p = float(fit.f_test(np.eye(n_free)).pvalue) if judged else np.nan
    return [float(value) for value in fit.params], p


def _check_lags(lags: int, *, least: int) -> None:
    if lags < least:
        raise SettingsError(f"lags was {lags}; it must be >= {least}")
