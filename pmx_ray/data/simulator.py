"""Prices with a known truth, for tests and benchmarks; never a stand-in for market data."""

from dataclasses import dataclass
from datetime import date
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from pmx_ray._typing import DateArray, FloatArray, IntArray, frozen
from pmx_ray.config import Settings
from pmx_ray.data.calendar import calendar_sessions
from pmx_ray.data.panel import Panel
from pmx_ray.errors import SettingsError

REGIMES = ("bear", "sideways", "bull")
"""Names of the regimes; a label is a position in this tuple."""

START_PRICE = 100.0

LOG_SCALE = 0.02
"""One standard unit of the seasonal signal in log price."""


class SimulatedSettings(Settings):
    """A panel drawn from a known process; the same settings give the same bytes.

    Attributes
    ----------
    kind : str
        ``garch``: GARCH(1, 1) log returns with normal shocks. ``regimes``: a market-wide Markov
        chain of bear, sideways and bull, normal log returns in each. ``seasonal``: log prices
        that are mixtures of a few shared waves with a trend, plus AR(1) noise.
    n_tickers, n_sessions, seed : int
        Size, and seed of the generator.
    calendar, start : str, date
        Sessions are those of ``calendar`` from ``start`` on.
    omega, alpha, beta : float
        ``garch``: ``h(t) = omega + alpha r(t-1)^2 + beta h(t-1)``, decimal squared;
        ``alpha + beta < 1``.
    mean : tuple of 3 float
        ``regimes``: mean log return a session in bear, sideways and bull.
    volatility : tuple of 3 float
        ``regimes``: its standard deviation.
    stay : float
        ``regimes``: chance to stay in the regime for another session.
    n_waves : int
        ``seasonal``: number of shared waves.
    ar : float
        ``seasonal``: coefficient of the AR(1) noise, whose shocks have the variance 1 before
        all is scaled by 0.02.
    """

    source: Literal["simulated"] = "simulated"
    kind: Literal["garch", "regimes", "seasonal"] = "garch"
    n_tickers: int = Field(default=10, ge=1, le=99_999)
    n_sessions: int = Field(default=1000, ge=2)
    seed: int = Field(default=0, ge=0)
    calendar: str = "XNYS"
    start: date = date(2000, 1, 3)
    omega: float = Field(default=4e-6, gt=0)
    alpha: float = Field(default=0.08, ge=0)
    beta: float = Field(default=0.90, ge=0)
    mean: tuple[float, float, float] = (-0.002, 0.0, 0.001)
    volatility: tuple[float, float, float] = (0.025, 0.008, 0.010)
    stay: float = Field(default=0.99, ge=0, lt=1)
    n_waves: int = Field(default=3, ge=1)
    ar: float = Field(default=-0.5, gt=-1, lt=1)

    @model_validator(mode="after")
    def _process_exists(self) -> Self:
        if self.alpha + self.beta >= 1:
            raise ValueError(
                f"alpha + beta was {self.alpha + self.beta:g}; it must be < 1, or the variance "
                "has no mean"
            )
        if min(self.volatility) <= 0:
            raise ValueError(f"volatility was {min(self.volatility)}; each must be > 0")
        return self


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What the simulator knows and a forecaster does not.

    Attributes
    ----------
    kind : str
        The process.
    mean : ndarray of shape (N, T)
        Conditional mean of the log return into each session given the one before; 0 on the first.
        For ``seasonal`` the change of the noiseless log price, whatever the noise was.
    variance : ndarray of shape (N, T)
        Variance of the log return into each session given the past (and the regime), decimal
        squared; on the first session the one it would have had.
    regime : ndarray of int, shape (T,), optional
        Position in ``REGIMES``.
    signal : ndarray of shape (N, T), optional
        Log price without the noise.
    """

    kind: str
    mean: FloatArray
    variance: FloatArray
    regime: IntArray | None = None
    signal: FloatArray | None = None

    def __post_init__(self) -> None:
        for name in ("mean", "variance", "signal"):
            values = getattr(self, name)
            if values is not None:
                object.__setattr__(self, name, frozen(values, np.float64))
        if self.regime is not None:
            object.__setattr__(self, "regime", frozen(self.regime, np.int64))


def simulate(settings: SimulatedSettings) -> tuple[Panel, Truth]:
    """Return a panel of tickers ``SIM00000, ...`` and the truth behind it.

    Raises
    ------
    SettingsError
        If the calendar ends before ``n_sessions``, or a price leaves the range of a float.

    Examples
    --------
    >>> panel, truth = simulate(SimulatedSettings(kind="garch", n_tickers=2, n_sessions=5))
    >>> panel.close.shape == truth.variance.shape
    True
    """
    sessions = _sessions(settings)
    rng = np.random.default_rng(settings.seed)
    match settings.kind:
        case "garch":
            log_close, truth = _garch(settings, rng)
        case "regimes":
            log_close, truth = _regimes(settings, rng)
        case "seasonal":
            log_close, truth = _seasonal(settings, rng)
    if np.abs(log_close).max() > 690.0:  # exp(709) is the largest float
        raise SettingsError(
            f"simulated {settings.kind}: a price left the range of a float; choose smaller "
            "means and volatilities or fewer sessions"
        )
    tickers = tuple(f"SIM{n:05d}" for n in range(settings.n_tickers))
    return Panel(settings.calendar, tickers, sessions, START_PRICE * np.exp(log_close)), truth


def _sessions(settings: SimulatedSettings) -> DateArray:
    days = calendar_sessions(settings.calendar)
    first = int(np.searchsorted(days, np.datetime64(settings.start, "D")))
    found = days[first : first + settings.n_sessions]
    if len(found) < settings.n_sessions:
        raise SettingsError(
            f"n_sessions was {settings.n_sessions}; calendar {settings.calendar} has only "
            f"{len(found)} from {settings.start} on"
        )
    return found


def _garch(settings: SimulatedSettings, rng: np.random.Generator) -> tuple[FloatArray, Truth]:
    shape = (settings.n_tickers, settings.n_sessions)
    shocks = rng.standard_normal(shape)
    variance = np.empty(shape)
    returns = np.zeros(shape)  # the first session has a price but no return
    variance[:, 0] = settings.omega / (1.0 - settings.alpha - settings.beta)
    squared = variance[:, 0]  # in place of the return before the first
    for t in range(1, settings.n_sessions):
        variance[:, t] = (
            settings.omega + settings.alpha * squared + settings.beta * variance[:, t - 1]
        )
        returns[:, t] = np.sqrt(variance[:, t]) * shocks[:, t]
        squared = returns[:, t] ** 2
    return np.cumsum(returns, axis=1), Truth("garch", np.zeros(shape), variance)


def _regimes(settings: SimulatedSettings, rng: np.random.Generator) -> tuple[FloatArray, Truth]:
    shape = (settings.n_tickers, settings.n_sessions)
    leaves = rng.random(settings.n_sessions) >= settings.stay
    turn = rng.integers(1, len(REGIMES), settings.n_sessions)  # to either of the other two
    regime = (1 + np.cumsum(np.where(leaves, turn, 0))) % len(REGIMES)
    mean = np.broadcast_to(np.array(settings.mean)[regime], shape).copy()
    mean[:, 0] = 0.0
    volatility = np.broadcast_to(np.array(settings.volatility)[regime], shape)
    returns = mean + volatility * rng.standard_normal(shape)
    returns[:, 0] = 0.0
    return np.cumsum(returns, axis=1), Truth("regimes", mean, volatility**2, regime=regime)


def _seasonal(settings: SimulatedSettings, rng: np.random.Generator) -> tuple[FloatArray, Truth]:
    """Return log prices in the setting of SAMoSSA's synthetic study (NeurIPS 2023)."""
    shape = (settings.n_tickers, settings.n_sessions)
    frequency = rng.uniform(2 * np.pi / 100, 2 * np.pi / 10, settings.n_waves)
    phase = rng.uniform(0, 2 * np.pi, settings.n_waves)
    trend = rng.uniform(-5e-4, 5e-4, settings.n_waves)
    t = np.arange(settings.n_sessions)
    waves = np.sin(frequency[:, None] * t + phase[:, None]) + trend[:, None] * t  # (waves, T)
    weights = rng.standard_normal((settings.n_tickers, settings.n_waves))
    signal = LOG_SCALE * (weights @ waves)
    shocks = rng.standard_normal(shape)
    noise = np.empty(shape)
    noise[:, 0] = shocks[:, 0] / np.sqrt(1.0 - settings.ar**2)  # drawn from the long run
    for k in range(1, settings.n_sessions):
        noise[:, k] = settings.ar * noise[:, k - 1] + shocks[:, k]
    mean = np.diff(signal, axis=1, prepend=signal[:, :1])
    variance = np.full(shape, LOG_SCALE**2)
    truth = Truth("seasonal", mean, variance, signal=signal)
    return signal + LOG_SCALE * noise, truth
