"""Factors across the tickers of a panel: the market, what it leaves, and the first component."""

from collections.abc import Callable
from functools import partial
from typing import ClassVar, Literal, TypeAlias

import numpy as np
from pydantic import Field

from pmx_ray._typing import FloatArray
from pmx_ray.data.panel import Panel
from pmx_ray.features.column import Feature, ObservedKind
from pmx_ray.features.windows import covariance, session_returns, shifted, trailing_mean

Factor: TypeAlias = Literal["market_return", "abnormal_return", "first_component"]

FactorOf: TypeAlias = Callable[[FloatArray, int], FloatArray]
"""Log returns of shape (N, T) and the window to a factor of that shape."""

AT_ONCE = 2**21
"""Numbers of the windows that are taken together, 16 MB; bounds the memory to some ten times it."""


class CrossSection(ObservedKind):
    """Factors of the tickers that stand beside one another in a panel, decimal log returns.

    Attributes
    ----------
    factors : tuple of str
        ``market_return`` is the mean log return of the tickers. ``abnormal_return`` is what a
        ticker's return exceeds the market model by, whose coefficients are those of the ``window``
        sessions before. ``first_component`` is the return of the first principal component of the
        standardised returns of the ``window`` sessions before, as a portfolio of gross exposure
        one whose weights sum to a positive number. All need two tickers with a price.
    window : int
        Sessions before the session that make the coefficients; a ticker that lacks a price among
        them has no abnormal return and no part in the component.

    References
    ----------
    MacKinlay (1997), Journal of Economic Literature 35, 13-39: the market model. Avellaneda and
    Lee (2010), Quantitative Finance 10, 761-782: eigenportfolios.
    """

    needs_other_tickers: ClassVar[bool] = True

    kind: Literal["cross_section"] = "cross_section"
    factors: tuple[Factor, ...] = Field(default=("market_return",), min_length=1)
    window: int = Field(default=60, ge=10, le=2_000)

    def features(self) -> tuple[Feature, ...]:
        """Return one column a factor."""
        return tuple(self._factor(name) for name in self.factors)

    def _factor(self, name: Factor) -> Feature:
        words = name.replace("_", " ")
        if name == "market_return":
            return self._feature(name, "mean log return of the tickers", _market, warm_up=1)
        factor = {"abnormal_return": abnormal_return, "first_component": first_component}[name]
        observe = partial(_of_returns, factor, self.window)
        summary = f"{words} by the {self.window} sessions before"
        return self._feature(f"{name}_{self.window}", summary, observe, warm_up=self.window + 1)


def market_return(returns: FloatArray) -> FloatArray:
    """Return the mean of the tickers' log returns (N, T), shape (T,); NaN of fewer than two."""
    total, count = np.zeros(returns.shape[1]), np.zeros(returns.shape[1])
    for row in returns:  # in the tickers' order at every session, which a sum need not keep
        present = ~np.isnan(row)
        total += np.where(present, row, 0.0)
        count += present
    mean: FloatArray = np.where(count >= 2, total / np.maximum(count, 1.0), np.nan)
    return mean


def abnormal_return(returns: FloatArray, window: int) -> FloatArray:
    """Return ``r - a - b m`` with the market model of the ``window`` sessions before, (N, T)."""
    market = np.broadcast_to(market_return(returns), returns.shape)
    spread = covariance(market, market, window)
    slope = covariance(returns, market, window) / np.where(spread > 0.0, spread, np.nan)
    level = trailing_mean(returns, window) - slope * trailing_mean(market, window)
    abnormal: FloatArray = returns - shifted(level, 1) - shifted(slope, 1) * market
    return abnormal


def first_component(returns: FloatArray, window: int) -> FloatArray:
    """Return the first component by the ``window`` sessions before, alike for each row, (N, T)."""
    component = np.full(returns.shape[1], np.nan)
    n_at_once = max(1, AT_ONCE // (len(returns) * window))
    for start in range(window, returns.shape[1], n_at_once):
        stop = min(start + n_at_once, returns.shape[1])
        seen = np.lib.stride_tricks.sliding_window_view(
            returns[:, start - window : stop - 1], window, axis=1
        )
        before = np.ascontiguousarray(seen.transpose(1, 0, 2))  # (sessions, N, window)
        component[start:stop] = _component(before, np.ascontiguousarray(returns[:, start:stop].T))
    return np.broadcast_to(component, returns.shape)


def _component(before: FloatArray, now: FloatArray) -> FloatArray:
    """Return the component's return in S sessions, of the windows (S, N, W) and returns (S, N)."""
    mean = before.mean(axis=2, keepdims=True)
    deviation = before - mean
    spread = np.sqrt((deviation**2).mean(axis=2))
    counts = ~np.isnan(now) & (spread > 0.0)  # a NaN spread is not
    scale = np.where(counts, spread, 1.0)
    scores = np.where(counts[..., None], deviation / scale[..., None], 0.0)
    weights = np.where(counts, _first_left_vector(scores) / scale, 0.0)
    weights *= np.where(weights.sum(axis=1) < 0.0, -1.0, 1.0)[:, None]
    gross = np.abs(weights).sum(axis=1)
    factor = (weights * np.where(counts, now, 0.0)).sum(axis=1)
    found: FloatArray = np.where(
        counts.sum(axis=1) >= 2, factor / np.maximum(gross, 1e-300), np.nan
    )
    return found


def _first_left_vector(scores: FloatArray) -> FloatArray:
    """Return the first left singular vector of each matrix (S, N, W), of any length: (S, N).

    From the smaller of the two products with the transpose, since their non-zero eigenvalues agree.
    """
    across = scores.transpose(0, 2, 1)
    if scores.shape[1] <= scores.shape[2]:
        first: FloatArray = np.linalg.eigh(scores @ across)[1][:, :, -1]
        return first
    over_time = np.linalg.eigh(across @ scores)[1][:, :, -1:]
    of_tickers: FloatArray = (scores @ over_time)[:, :, 0]
    return of_tickers


def _market(panel: Panel) -> FloatArray:
    return np.broadcast_to(market_return(session_returns(panel)), panel.close.shape)


def _of_returns(factor: FactorOf, window: int, panel: Panel) -> FloatArray:
    return factor(session_returns(panel), window)
