"""Historical value at risk and expected shortfall of a series of net returns.

Of the published conventions this is Rockafellar's and Uryasev's (also skfolio's), because its two
figures belong together: the value at risk is an observed loss, never interpolated, and expected
shortfall is the mean of exactly the worst ``probability`` of the sample, so it is never the
smaller. Both are positive for a loss and lower is better; a NaN return is no observation.

References
----------
Rockafellar, Uryasev (2002), Journal of Banking & Finance 26, 1443-1471.
"""

import numpy as np

from pmx_ray._typing import FloatArray
from pmx_ray.errors import SettingsError


def value_at_risk(returns: FloatArray, *, probability: float) -> float:
    """Return the smallest loss that is exceeded with at most ``probability``; lower is better.

    Parameters
    ----------
    returns : ndarray of shape (T,)
        Simple net returns by period, decimal.
    probability : float
        Weight of the tail, in (0, 1), e.g. 0.05.

    Returns
    -------
    float
        A loss, decimal: negative where even the tail gains. NaN without an observation.

    Raises
    ------
    SettingsError
        If ``probability`` is not in (0, 1).

    Examples
    --------
    >>> value_at_risk(np.array([-0.03, -0.02, -0.01, 0.01]), probability=0.25)
    0.02
    """
    losses = _losses(returns, probability)
    return _quantile(losses, probability) if len(losses) else np.nan


def expected_shortfall(returns: FloatArray, *, probability: float) -> float:
    """Return the mean loss in the worst ``probability`` of the sample; lower is better.

    Where that is not a whole number of observations, the last one counts by its fraction. Never
    below ``value_at_risk``; arguments, NaN and errors are the same.

    Examples
    --------
    >>> expected_shortfall(np.array([-0.03, -0.02, -0.01, 0.01]), probability=0.25)
    0.03
    """
    losses = _losses(returns, probability)
    if len(losses) == 0:
        return np.nan
    threshold = _quantile(losses, probability)
    excess = np.maximum(losses - threshold, 0.0)
    return float(threshold + excess.sum() / (len(losses) * probability))


def _losses(returns: FloatArray, probability: float) -> FloatArray:
    if not 0.0 < probability < 1.0:
        raise SettingsError(f"probability was {probability}; it must lie between 0 and 1")
    losses = -np.ravel(returns)
    return losses[~np.isnan(losses)]


def _quantile(losses: FloatArray, probability: float) -> float:
    n = len(losses)
    rounding = 4.0 * np.finfo(np.float64).eps * n  # 0.29 x 100 is a whole 29
    n_worse = min(int(n * probability + rounding), n - 1)
    return float(np.partition(losses, n - 1 - n_worse)[n - 1 - n_worse])
