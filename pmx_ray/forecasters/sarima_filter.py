"""The ARMA filter of a differenced series, and its forecast summed back to the level."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pmx_ray._typing import FloatArray, frozen
from pmx_ray.forecasters.differencing import difference, integrate
from pmx_ray.forecasters.order_search import SarimaOrder


@dataclass(frozen=True, slots=True, eq=False)
class SarimaxParameters:
    """An order and its coefficients, for percent log prices.

    Attributes
    ----------
    order : SarimaOrder
        Given or found.
    constant : bool
        Whether the differenced series has one.
    values : ndarray of shape (K,)
        In statsmodels' order: constant, exogenous, AR, MA, seasonal AR, seasonal MA, variance.
    """

    order: SarimaOrder
    constant: bool
    values: FloatArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", frozen(self.values, np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """What a model sees of a history.

    Attributes
    ----------
    levels : ndarray of shape (T,)
        Percent log price, NaN where missing.
    columns : ndarray of shape (T, K)
        Exogenous columns, NaN where not known.
    ahead : ndarray of shape (H, K)
        The same of the sessions after the history.
    """

    levels: FloatArray
    columns: FloatArray
    ahead: FloatArray


def observed_changes(order: SarimaOrder, seen: Observed) -> FloatArray:
    """Return the differenced levels, (T,), NaN where a level or a column they need is missing."""
    changes = difference(seen.levels, order.polynomial)
    changes[np.isnan(seen.columns).any(axis=1)] = np.nan
    return changes


def state_space(order: SarimaOrder, seen: Observed, *, constant: bool) -> Any:
    """Return the statsmodels model of the differenced series; it treats NaN as missing."""
    from statsmodels.tsa.statespace.sarimax import SARIMAX  # noqa: PLC0415 - a second of start-up

    return SARIMAX(
        observed_changes(order, seen),
        exog=np.nan_to_num(seen.columns) if seen.columns.shape[1] else None,
        order=order.arma,
        seasonal_order=order.seasonal_arma,
        trend="c" if constant else "n",
    )


def forecast_level(parameters: SarimaxParameters, seen: Observed) -> tuple[FloatArray, FloatArray]:
    """Return mean and variance of the level over the H sessions after a history.

    The differenced series is ``w(T+h) = Z A^(h-1) s(T+1) + shocks`` with state s; summed back to
    the level, its error is ``G(h) (s - E s) + sum_{j<h} (G(j) R) e(T+1+h-j)``, where G is
    ``Z A^(h-1)`` summed in the same way.

    Returns
    -------
    mean, variance : ndarray of shape (H,)
        Percent log price, and percent squared.
    """
    model = state_space(parameters.order, seen, constant=parameters.constant)
    filtered = model.filter(parameters.values, return_ssm=True)
    state, covariance = filtered.predicted_state[:, -1], filtered.predicted_state_cov[:, :, -1]
    transition, shock_variance = model.ssm["transition"], model.ssm["state_cov"][0, 0]
    loadings = np.empty((len(seen.ahead), len(state)))  # Z A^(h-1), (H, k)
    row = model.ssm["design"][0]
    for h in range(len(loadings)):
        loadings[h] = row
        row = row @ transition

    first = int(parameters.constant)
    beta = parameters.values[first : first + seen.ahead.shape[1]]
    changes = loadings @ state + seen.ahead @ beta
    if parameters.constant:  # enters the first state at every step
        changes[1:] += np.cumsum(loadings[:, 0] * parameters.values[0])[:-1]
    polynomial = parameters.order.polynomial
    n_lags = len(polynomial) - 1
    past = seen.levels[len(seen.levels) - n_lags :]
    mean = integrate(changes, polynomial, past)

    summed = integrate(loadings, polynomial, np.zeros((n_lags, len(state))))
    shocks = (summed @ model.ssm["selection"][:, 0]) ** 2 * shock_variance
    variance = np.einsum("hk,kl,hl->h", summed, covariance, summed)
    variance[1:] += np.cumsum(shocks)[:-1]
    return mean, variance
