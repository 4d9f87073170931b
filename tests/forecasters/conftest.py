"""Histories for the forecasters: prices of one's own on the NYSE calendar, and simulated ones."""

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from pmx_ray.data.calendar import calendar_sessions
from pmx_ray.data.panel import Panel

HistoryOf: TypeAlias = Callable[..., Panel]


def simulate_garch(
    rng: np.random.Generator,
    n: int,
    *,
    omega: float = 0.05,
    alpha: float = 0.08,
    gamma: float = 0.0,
    beta: float = 0.87,
    nu: float | None = None,
) -> np.ndarray:
    """Return n percent returns of a GARCH or GJR process, 500 sessions after its start."""
    variance, returns = omega / (1 - alpha - gamma / 2 - beta), []
    for _ in range(n + 500):
        z = rng.standard_normal() if nu is None else rng.standard_t(nu) * np.sqrt((nu - 2) / nu)
        e = z * np.sqrt(variance)
        returns.append(e)
        variance = omega + (alpha + gamma * (e < 0)) * e**2 + beta * variance
    return np.array(returns[500:])


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Compute as the runner does: two BLAS threads add in another order, and optimisers notice."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="session")
def garch_returns() -> Callable[..., np.ndarray]:
    return simulate_garch


@pytest.fixture(scope="session")
def history_of() -> HistoryOf:
    """Return a function from prices, (T,) or (N, T), to a panel; every interior NaN is a gap."""

    def build(close: np.ndarray, *, start: str = "2015-01-02") -> Panel:
        close = np.atleast_2d(close)
        days = calendar_sessions("XNYS")
        first = int(np.searchsorted(days, np.datetime64(start)))
        sessions = days[first : first + close.shape[1]]
        tickers = tuple("ABCDEFGH"[: len(close)])
        return Panel("XNYS", tickers, sessions, close, gap=np.isnan(close))

    return build
