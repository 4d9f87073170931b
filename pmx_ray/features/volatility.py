"""Volatility of a session: from closes, and from the range of the day where it is known."""

from functools import partial
from typing import Literal, TypeAlias

import numpy as np
from pydantic import Field

from pmx_ray._typing import FloatArray
from pmx_ray.data.panel import Panel
from pmx_ray.errors import DataError
from pmx_ray.features.column import Feature, ObservedKind
from pmx_ray.features.windows import session_returns, trailing_mean

SLACK = 1e-6
"""What a log price may lie outside its range by the rounding of adjusted prices."""

Estimator: TypeAlias = Literal["realized", "parkinson", "garman_klass", "rogers_satchell"]


class Volatility(ObservedKind):
    """Square root of the mean variance of the last sessions, decimal a session.

    The range-based ones measure the session from open to close: what happens overnight is not in
    them. They expect open, high, low and close in one unit, as a source gives them that adjusts
    either all four or none.

    Attributes
    ----------
    window : int
        Sessions that count; none may lack a price.
    estimators : tuple of str
        ``realized`` is the squared log return from close to close, about zero. ``parkinson`` needs
        high and low, ``garman_klass`` and ``rogers_satchell`` open, high and low: on a panel
        without them they raise. Where one is missing, or open or close lies outside of low to
        high, they are NaN.

    References
    ----------
    Parkinson (1980), Journal of Business 53, 61-65. Garman and Klass (1980), Journal of Business
    53, 67-78. Rogers and Satchell (1991), Annals of Applied Probability 1, 504-512.
    """

    kind: Literal["volatility"] = "volatility"
    window: int = Field(default=20, ge=1, le=2_000)
    estimators: tuple[Estimator, ...] = Field(default=("realized",), min_length=1)

    def features(self) -> tuple[Feature, ...]:
        """Return one column an estimator."""
        return tuple(
            self._feature(
                f"{name}_volatility_{self.window}",
                f"{name.replace('_', '-')} volatility of the last {self.window} sessions",
                partial(volatility, window=self.window, estimator=name),
                warm_up=self.window - (name != "realized"),
            )
            for name in self.estimators
        )


def volatility(panel: Panel, *, window: int, estimator: Estimator) -> FloatArray:
    """Return the volatility over the last ``window`` sessions, shape (N, T).

    Raises
    ------
    DataError
        If the panel lacks a field that the estimator needs.
    """
    mean = trailing_mean(session_variance(panel, estimator), window)
    root: FloatArray = np.sqrt(np.where(mean >= 0.0, mean, np.nan))
    return root


def session_variance(panel: Panel, estimator: Estimator) -> FloatArray:
    """Return the variance of each session by itself, shape (N, T), decimal squared.

    Raises
    ------
    DataError
        If the panel lacks a field that the estimator needs.
    """
    if estimator == "realized":
        return session_returns(panel) ** 2
    high, low = _range(panel, estimator)
    if estimator == "parkinson":
        parkinson: FloatArray = (high - low) ** 2 / (4.0 * np.log(2.0))
        return parkinson
    opening, close = _log(panel, "open", estimator), np.log(panel.close)
    if estimator == "garman_klass":
        squares = 0.5 * (high - low) ** 2
        garman_klass: FloatArray = squares - (2.0 * np.log(2.0) - 1.0) * (close - opening) ** 2
        return garman_klass
    up, down = (high - close) * (high - opening), (low - close) * (low - opening)
    rogers_satchell: FloatArray = up + down
    return rogers_satchell


def _range(panel: Panel, estimator: Estimator) -> tuple[FloatArray, FloatArray]:
    """Return log high and low, NaN where they do not hold open and close, each where known."""
    high, low = _log(panel, "high", estimator), _log(panel, "low", estimator)
    wrong = low > high + SLACK
    for price in (panel.close, panel.open):
        if price is not None:
            inside = np.log(np.where(price > 0.0, price, np.nan))
            wrong |= (inside > high + SLACK) | (inside < low - SLACK)
    return np.where(wrong, np.nan, high), np.where(wrong, np.nan, low)


def _log(panel: Panel, name: Literal["open", "high", "low"], estimator: Estimator) -> FloatArray:
    values: FloatArray | None = getattr(panel, name)
    if values is None:
        raise DataError(
            f"the panel has no {name}, which the {estimator} volatility needs; use a source with "
            "open, high and low, or estimators: [realized]"
        )
    logs: FloatArray = np.log(np.where(values > 0.0, values, np.nan))
    return logs
