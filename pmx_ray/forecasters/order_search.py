"""Orders of a seasonal ARIMA model: differences by unit-root tests, the rest by AICc."""

import warnings
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from pmx_ray._typing import FloatArray
from pmx_ray.forecasters.differencing import difference, difference_polynomial
from pmx_ray.forecasters.protocol import Failure, Status

UnitRootTest: TypeAlias = Literal["kpss", "adf"]

MAX_D = 2
"""Most ordinary differences the tests may ask for."""

MAX_SEASONAL = 1
"""Highest seasonal order searched, of each of P, D and Q."""

MAX_ITERATIONS = 50
"""Steps of the optimiser a candidate may take; one that needs more is judged where it stands."""


@dataclass(frozen=True, slots=True)
class SarimaOrder:
    """Orders (p, d, q)(P, D, Q) of period m; without a season P = D = Q = 0 and m = 1."""

    p: int
    d: int
    q: int
    seasonal_p: int = 0
    seasonal_d: int = 0
    seasonal_q: int = 0
    period: int = 1

    @property
    def polynomial(self) -> FloatArray:
        """Coefficients of the differences, lag 0 first."""
        return difference_polynomial(self.d, self.seasonal_d, self.period)

    @property
    def arma(self) -> tuple[int, int, int]:
        """Ordinary order of the differenced series."""
        return self.p, 0, self.q

    @property
    def seasonal_arma(self) -> tuple[int, int, int, int]:
        """Seasonal order of the differenced series, as statsmodels takes it."""
        if self.period == 1:
            return 0, 0, 0, 0
        return self.seasonal_p, 0, self.seasonal_q, self.period


def count_differences(
    levels: FloatArray, *, d: int | Literal["auto"], period: int, test: UnitRootTest
) -> tuple[int, int]:
    """Return how many ordinary and seasonal differences make ``levels`` stationary.

    Parameters
    ----------
    levels : ndarray of shape (T,)
        Without NaN.
    d : int or "auto"
        Ordinary differences, or leave them to the test at the 5 % level, at most ``MAX_D``.
    period : int
        Sessions of a season; 1 is none. Seasonal differences are judged by the OCSB test.
    test : str
        ``kpss`` (the null is stationarity) or ``adf`` (the null is a unit root).

    Raises
    ------
    ValueError, LinAlgError
        If a test cannot be computed.
    """
    from pmdarima.arima import ndiffs, nsdiffs  # noqa: PLC0415 - over a second of start-up

    seasonal_d = 0
    if period > 1:
        seasonal_d = int(nsdiffs(levels, m=period, max_D=MAX_SEASONAL, test="ocsb"))
    if d != "auto":
        return d, seasonal_d
    seasoned = difference(levels, difference_polynomial(0, seasonal_d, period))
    return int(ndiffs(seasoned[~np.isnan(seasoned)], test=test, max_d=MAX_D)), seasonal_d


def search_order(
    levels: FloatArray,
    columns: FloatArray,
    *,
    max_p: int,
    max_q: int,
    d: int | Literal["auto"],
    period: int,
    test: UnitRootTest,
    trend: Literal["auto", "n", "c"],
) -> SarimaOrder | Failure:
    """Search the order stepwise for the smallest AICc.

    Gaps are closed for the search alone: it sees the observed changes side by side. Candidates
    with a root within 1 % of the unit circle are refused, as are those that cannot be estimated.

    Parameters
    ----------
    levels : ndarray of shape (T,)
        Percent log price, NaN where missing.
    columns : ndarray of shape (T, K)
        Exogenous columns, NaN where not known; K may be 0.
    max_p, max_q : int
        Highest ordinary orders.
    d, period, test
        See ``count_differences``.
    trend : str
        Constant in the differenced series: ``n`` none, ``c`` one, ``auto`` one where nothing was
        differenced.

    Returns
    -------
    SarimaOrder or Failure
        NOT_CONVERGED where no candidate could be estimated.

    References
    ----------
    Hyndman and Khandakar (2008), Journal of Statistical Software 27(3), section 3.2.
    """
    from pmdarima import auto_arima  # noqa: PLC0415 - over a second of start-up

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # candidates that fail to converge; they lose by AICc
        try:
            n_diffs = count_differences(levels[~np.isnan(levels)], d=d, period=period, test=test)
            changes = difference(levels, difference_polynomial(*n_diffs, period))
            seen = ~np.isnan(changes) & ~np.isnan(columns).any(axis=1)
            found = auto_arima(
                changes[seen],
                X=columns[seen] if columns.shape[1] else None,
                d=0,
                D=0,
                start_p=min(2, max_p),
                start_q=min(2, max_q),
                max_p=max_p,
                max_q=max_q,
                seasonal=period > 1,
                m=period,
                max_P=MAX_SEASONAL,
                max_Q=MAX_SEASONAL,
                max_order=None,
                with_intercept=has_constant(trend, n_diffs),
                information_criterion="aicc",
                stepwise=True,
                maxiter=MAX_ITERATIONS,
                error_action="ignore",
                suppress_warnings=True,
            )
        except (ValueError, IndexError, ArithmeticError, np.linalg.LinAlgError) as error:
            detail = " ".join(str(error).split())[:150]
            return Failure(Status.NOT_CONVERGED, f"order search: {detail}")
    p, _, q = found.order
    seasonal_p, _, seasonal_q, _ = found.seasonal_order
    return SarimaOrder(p, n_diffs[0], q, seasonal_p, n_diffs[1], seasonal_q, period)


def has_constant(trend: Literal["auto", "n", "c"], n_diffs: tuple[int, int]) -> bool:
    """Return whether the differenced series has a constant."""
    return trend == "c" or (trend == "auto" and sum(n_diffs) == 0)
