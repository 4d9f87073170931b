"""A batch of normal forecasts from arrays: what a family without quantiles of its own returns."""

from collections.abc import Mapping

import numpy as np

from pmx_ray._typing import FloatArray
from pmx_ray.forecasters.batch import ForecastBatch, assemble
from pmx_ray.forecasters.protocol import Failure, normal_quantiles


def normal_batch(
    mean: FloatArray, variance: FloatArray, failures: Mapping[tuple[int, int], Failure]
) -> ForecastBatch:
    """Return the batch of F folds and M tickers whose forecasts are normal.

    Its bits are those of a ``Forecast`` a cell.

    Parameters
    ----------
    mean, variance : ndarray of shape (F, M, H)
        Taken over, and set to NaN in the cells that failed.
    failures : mapping of (fold, ticker) positions to Failure
        Every cell without a forecast.
    """
    with np.errstate(all="ignore"):  # cells that failed may hold anything
        quantiles = normal_quantiles(mean, variance)
    return assemble(mean, variance, quantiles, failures)
