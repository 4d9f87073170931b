"""Panels with a known answer: a future made of noise, and returns that nobody can foresee."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from pmx_ray._typing import BoolArray, FloatArray
from pmx_ray.data.panel import FIELDS, Panel

VOLATILITY, DEGREES = 0.01, 8.0
"""Of the canary's returns: their standard deviation, and the degrees of freedom of their shocks."""


@dataclass(frozen=True, slots=True, eq=False)
class Fair:
    """A panel on which the coming return is a fair coin, whatever is known of the past.

    Attributes
    ----------
    panel : Panel
        Prices.
    sizes : ndarray of shape (N, T), optional
        +1 where the return into a session is larger than its median given the past and -1 where
        it is smaller, a fair coin too; None where sizes are real ones and can be foreseen.
    """

    panel: Panel
    sizes: FloatArray | None


def overwrite_after(panel: Panel, cutoff: int, *, rng: np.random.Generator) -> Panel:
    """Return the panel with every number after position ``cutoff`` replaced by noise.

    What is missing stays missing: a ticker that left the exchange does not come back.
    """
    after = slice(cutoff + 1, None)

    def noisy(values: FloatArray) -> FloatArray:
        changed: FloatArray = values.copy()
        noise = np.exp(rng.normal(0.0, 3.0, changed[:, after].shape))
        changed[:, after] = np.where(np.isnan(changed[:, after]), np.nan, noise)
        return changed

    return replace(panel, close=noisy(panel.close), **_fields(panel, noisy))


def shuffle_target(panel: Panel, *, rng: np.random.Generator) -> Fair:
    """Return the panel with the sign of each log return drawn anew, ticker by ticker.

    Sizes, gaps and listings stay, so whatever a model says of volatility keeps its sense; given the
    past, a coming return is as likely up as down, so nothing that a model says of its direction
    can be right more often than a coin. Open, high and low keep their ratio to the close; volume
    stays.
    """
    returns = _with_first(panel.log_returns())
    close = _prices(rng.choice([-1.0, 1.0], returns.shape) * returns, panel)
    ratio = close / panel.close
    price = {"open", "high", "low"}
    kept = {name: values for name, values in _fields(panel, lambda v: v).items() if name in price}
    scaled = {name: values * ratio for name, values in kept.items()}
    return Fair(replace(panel, close=close, **scaled), None)


def plant_canary(panel: Panel, *, rng: np.random.Generator) -> Fair:
    """Return coin-tossed prices whose other fields shout each session's return.

    Direction and size of each shock are coins of their own; the volatility clusters and the shocks
    are heavy, so that models of either have something to fit. The session's open stands
    at its close already and its volume is a code of the return, so a stage that reads a single
    number of a later session knows the outcome; one that does not cannot.
    """
    shape = panel.close.shape
    shocks = rng.standard_t(DEGREES, shape)
    sizes = np.sign(np.abs(shocks) - stats.t.ppf(0.75, DEGREES))  # the median of |shock|
    returns = VOLATILITY * clustered(shocks * np.sqrt((DEGREES - 2.0) / DEGREES))
    close = _prices(returns, panel)
    before = close * np.exp(-returns)
    fields: dict[str, Any] = {
        "open": close,
        "high": np.fmax(close, before),
        "low": np.fmin(close, before),
        "volume": 1e6 * np.exp(50.0 * returns),
    }
    fields["volume"][np.isnan(close)] = np.nan
    return Fair(replace(panel, close=close, **fields), sizes)


def clustered(shocks: FloatArray) -> FloatArray:
    """Return shocks of variance 1, shape (N, T), scaled by a volatility that clusters."""
    returns, variance = np.empty_like(shocks), np.ones(len(shocks))
    for t in range(shocks.shape[1]):
        returns[:, t] = np.sqrt(variance) * shocks[:, t]
        variance = 0.1 + 0.15 * returns[:, t] ** 2 + 0.75 * variance
    return returns


def _fields(panel: Panel, change: Callable[[FloatArray], FloatArray]) -> dict[str, Any]:
    present = {name: getattr(panel, name) for name in FIELDS}
    return {name: change(values) for name, values in present.items() if values is not None}


def _with_first(returns: FloatArray) -> FloatArray:
    """Return log returns as (N, T), 0 on the first session and where a price is missing."""
    first = np.zeros((len(returns), 1))
    return np.hstack([first, np.nan_to_num(returns)])


def _prices(returns: FloatArray, panel: Panel) -> FloatArray:
    """Return 100 times the compounded ``returns``, missing where the panel's close is."""
    missing: BoolArray = np.isnan(panel.close)
    return np.where(missing, np.nan, 100.0 * np.exp(np.cumsum(returns, axis=1)))
