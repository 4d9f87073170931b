"""Losses of a forecast, element by element; lower is better, and NaN in gives NaN out.

Means and outcomes are log returns from the cutoff to the step, decimal. Arrays broadcast.
"""

import numpy as np
from scipy import special

from pmx_ray._typing import FloatArray


def squared_error(actual: FloatArray, mean: FloatArray) -> FloatArray:
    """Return ``(actual - mean)^2``, decimal squared."""
    error: FloatArray = actual - mean
    return error * error


def absolute_error(actual: FloatArray, mean: FloatArray) -> FloatArray:
    """Return ``|actual - mean|``, decimal."""
    error: FloatArray = np.abs(actual - mean)
    return error


def smape(actual: FloatArray, mean: FloatArray) -> FloatArray:
    """Return the symmetric percentage error of the forecast price, 0 to 200 as in M4.

    ``200 |A - F| / (A + F)`` with the prices ``A = P exp(actual)`` and ``F = P exp(mean)``, the
    median of a log-normal forecast. P cancels, which leaves ``200 tanh(|actual - mean| / 2)``.

    References
    ----------
    Makridakis, Spiliotis, Assimakopoulos (2020), International Journal of Forecasting 36, 54-74.
    """
    percent: FloatArray = 200.0 * np.tanh(np.abs(actual - mean) / 2.0)
    return percent


def qlike(realized: FloatArray, forecast: FloatArray) -> FloatArray:
    """Return the QLIKE loss of a variance forecast.

    Parameters
    ----------
    realized : ndarray
        Realized variance, decimal squared. A realized variance of 0 (the price did not move) has
        no finite loss; it gives NaN, so that it is left out for every forecast alike.
    forecast : ndarray
        Forecast variance of the same stretch, same unit, > 0; NaN where it is not.

    Returns
    -------
    ndarray
        ``x - log(x) - 1`` with ``x = realized / forecast``; 0 when equal.

    References
    ----------
    Patton (2011), Journal of Econometrics 160, 246-256.
    """
    defined = (np.asarray(realized) > 0) & (np.asarray(forecast) > 0)
    ratio: FloatArray = np.where(defined, realized, np.nan) / np.where(defined, forecast, np.nan)
    loss: FloatArray = ratio - np.log(ratio) - 1.0
    return loss


def crps_normal(actual: FloatArray, mean: FloatArray, variance: FloatArray) -> FloatArray:
    """Return the continuous ranked probability score of a normal forecast, decimal.

    Parameters
    ----------
    actual, mean : ndarray
        Outcome and forecast mean.
    variance : ndarray
        Forecast variance, > 0. A forecast that is not normal is scored as the normal with its
        mean and variance; its own quantiles are scored by ``pinball``.

    References
    ----------
    Gneiting, Raftery (2007), Journal of the American Statistical Association 102, 359-378.
    """
    sigma = np.sqrt(variance)
    z = (actual - mean) / sigma
    density = np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)
    score: FloatArray = sigma * (
        z * special.erf(z / np.sqrt(2.0)) + 2.0 * density - 1.0 / np.sqrt(np.pi)
    )
    return score


def pinball(actual: FloatArray, quantile: FloatArray, level: float | FloatArray) -> FloatArray:
    """Return the pinball loss of a quantile forecast, decimal.

    Parameters
    ----------
    actual, quantile : ndarray
        Outcome and forecast quantile.
    level : float or ndarray
        Level of the quantile, in (0, 1).

    References
    ----------
    Koenker, Bassett (1978), Econometrica 46, 33-50.
    """
    error = actual - quantile
    loss: FloatArray = np.maximum(level * error, (np.asarray(level) - 1.0) * error)
    return loss


def inside(actual: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """Return 1 where ``low <= actual <= high``, 0 where not; its mean is the coverage."""
    known = ~(np.isnan(actual) | np.isnan(low) | np.isnan(high))
    covered: FloatArray = np.where(known, (actual >= low) & (actual <= high), np.nan)
    return covered


def tracking_error(actual: FloatArray, mean: FloatArray) -> float:
    """Return the standard deviation of the forecast error, decimal; NaN pairs are left out.

    A constant bias does not show in it. NaN for fewer than two pairs.
    """
    error = np.ravel(actual - mean)
    error = error[~np.isnan(error)]
    return float(np.std(error, ddof=1)) if len(error) > 1 else np.nan
