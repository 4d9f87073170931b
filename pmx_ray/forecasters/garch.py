"""GARCH and GJR-GARCH of percent log returns; `arch` estimates, the recursion here forecasts.

With e(t) = 100 r(t) - mu, the variance of the next session is

    s2(t) = omega + sum alpha(i) e2(t-i) + sum gamma(i) e2(t-i) [e(t-i) < 0] + sum beta(j) s2(t-j)

and the variance over h sessions is the sum of the recursion's h steps, where a coming e2 is
replaced by its expectation s2 and half of it is expected to fall below zero.
"""

import warnings
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from scipy import special

from pmx_ray._typing import FloatArray
from pmx_ray.config import Settings
from pmx_ray.data.panel import Panel, observed_returns
from pmx_ray.forecasters.protocol import (
    QUANTILE_LEVELS,
    FailedFit,
    Failure,
    FittedForecaster,
    Forecast,
    Outcome,
    Scope,
    Status,
    missing_price,
    unusable,
)
from pmx_ray.forecasters.registry import register

MIN_RETURNS = 200
"""Fewest log returns fitted or filtered; with fewer the persistence is badly biased downwards
(Hwang and Valls Pereira 2006, European Journal of Finance 12, 473-494)."""

MAX_PERSISTENCE = 0.9999
"""At or above it the variance has no level to return to, and the fit is refused."""

ON_BOUND = 1e-6
"""A coefficient this near to its bound stands on it."""

NU_BOUNDS = (2.05, 500.0)
"""Between these `arch` searches for the degrees of freedom."""

MAX_ITERATIONS = 200
"""Steps the optimiser may take."""

BACKCAST_LENGTH, BACKCAST_DECAY = 75, 0.94
"""The variance before the first return is that of the first 75, weighted by 0.94 a session."""


class GarchSettings(Settings):
    """Settings of the GARCH family.

    Attributes
    ----------
    p : int
        Lags of the squared return.
    o : int
        Lags of the squared negative return: 0 is GARCH, 1 is GJR-GARCH.
    q : int
        Lags of the variance.
    dist : str
        Distribution of the standardised return, ``normal`` or Student's ``t``.
    mean : str
        Mean of a log return, ``zero`` or an estimated ``constant``.
    """

    p: int = Field(default=1, ge=1, le=3)
    o: int = Field(default=0, ge=0, le=1)
    q: int = Field(default=1, ge=1, le=3)
    dist: Literal["normal", "t"] = "normal"
    mean: Literal["zero", "constant"] = "zero"


@dataclass(frozen=True, slots=True)
class GarchParameters:
    """Estimated coefficients, for returns in percent.

    Attributes
    ----------
    mu : float
        Mean of a return.
    omega : float
        Constant of the recursion, > 0.
    alpha, gamma, beta : tuple of float
        Coefficients of lag 1, 2, ...; ``gamma`` is empty without asymmetry.
    nu : float or None
        Degrees of freedom of Student's t; None where returns are normal.
    """

    mu: float
    omega: float
    alpha: tuple[float, ...]
    gamma: tuple[float, ...]
    beta: tuple[float, ...]
    nu: float | None = None

    @property
    def persistence(self) -> float:
        """Share of a variance shock that is left one session later; a symmetric density."""
        return sum(self.alpha) + sum(self.gamma) / 2 + sum(self.beta)


def step_variances(parameters: GarchParameters, returns: FloatArray, *, n_steps: int) -> FloatArray:
    """Return the variance of each of the ``n_steps`` sessions after the last return.

    Parameters
    ----------
    parameters : GarchParameters
        Coefficients.
    returns : ndarray of shape (R,)
        Percent log returns, oldest first, R >= 1.
    n_steps : int
        Sessions ahead.

    Returns
    -------
    ndarray of shape (n_steps,)
        Percent squared.
    """
    residuals = returns - parameters.mu
    squares = residuals**2
    start = _backcast(squares)
    alpha, gamma, beta = parameters.alpha, parameters.gamma, parameters.beta
    # Lists run from the oldest to the newest value, so that [-1 - i] is lag i + 1.
    e2 = [start] * len(alpha) + squares.tolist()
    bad = [start / 2] * len(gamma) + np.where(residuals < 0, squares, 0.0).tolist()
    s2 = [start] * len(beta)
    n_returns = len(returns)
    for t in range(n_returns + n_steps):
        value = parameters.omega
        for i, coefficient in enumerate(alpha):
            value += coefficient * e2[t + len(alpha) - 1 - i]
        for i, coefficient in enumerate(gamma):
            value += coefficient * bad[t + len(gamma) - 1 - i]
        for j, coefficient in enumerate(beta):
            value += coefficient * s2[t + len(beta) - 1 - j]
        s2.append(value)
        if t >= n_returns:
            e2.append(value)
            bad.append(value / 2)
    return np.array(s2[-n_steps:])


def _backcast(squares: FloatArray) -> float:
    head = squares[:BACKCAST_LENGTH]
    weights = BACKCAST_DECAY ** np.arange(len(head), dtype=np.float64)
    return float(weights @ head / weights.sum())


def student_t_quantiles(
    mean: FloatArray, variance: FloatArray, steps: FloatArray, nu: float
) -> FloatArray:
    """Return quantiles at ``QUANTILE_LEVELS`` of cumulative returns with Student-t sessions.

    One step is exact. Over h steps it is an approximation: a t distribution with the forecast's
    mean and variance and ``nu_h = 4 + h (nu - 4)`` degrees of freedom, which gives it the kurtosis
    ``3 + 6 / (h (nu - 4))`` of a sum of h independent draws; for nu <= 4, where the kurtosis does
    not exist, nu_h = nu. Volatility clustering makes the true tails of the sum heavier.

    Parameters
    ----------
    mean, variance, steps : ndarray of shape (H,)
        Moments of the cumulative log return, and sessions ahead.
    nu : float
        Degrees of freedom of one session, > 2.

    Returns
    -------
    ndarray of shape (Q, H)
    """
    nu_h = 4.0 + steps * (nu - 4.0) if nu > 4.0 else np.full_like(steps, nu)
    unit: FloatArray = special.stdtrit(nu_h, np.array(QUANTILE_LEVELS)[:, None])
    return mean + np.sqrt(variance * (nu_h - 2.0) / nu_h) * unit


def estimate(returns: FloatArray, settings: GarchSettings) -> GarchParameters | Failure:
    """Estimate the coefficients by maximum likelihood with `arch`.

    Parameters
    ----------
    returns : ndarray of shape (R,)
        Percent log returns.
    settings : GarchSettings
        Orders, distribution and mean.

    Returns
    -------
    GarchParameters or Failure
        NOT_CONVERGED where the optimiser gave up or a coefficient stands on its bound, EXPLOSIVE
        where the persistence reaches ``MAX_PERSISTENCE``.
    """
    # Imported here: a second of start-up that only a fit should cost.
    from arch import arch_model  # noqa: PLC0415

    model = arch_model(
        returns,
        mean="Zero" if settings.mean == "zero" else "Constant",
        p=settings.p,
        o=settings.o,
        q=settings.q,
        dist=settings.dist,
        rescale=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # convergence and scale; the flag below is what counts
        try:
            result = model.fit(disp="off", show_warning=False, options={"maxiter": MAX_ITERATIONS})
        except (ValueError, np.linalg.LinAlgError) as error:
            return Failure(Status.NOT_CONVERGED, f"arch: {' '.join(str(error).split())[:150]}")
    if result.convergence_flag != 0:
        return Failure(
            Status.NOT_CONVERGED, f"the optimiser stopped with flag {result.convergence_flag}"
        )
    parameters = _named({str(k): float(v) for k, v in result.params.items()}, settings)
    return _guard(parameters, float(np.mean(returns**2))) or parameters


def _named(values: dict[str, float], settings: GarchSettings) -> GarchParameters:
    def lags(name: str, n: int) -> tuple[float, ...]:
        return tuple(values[f"{name}[{i}]"] for i in range(1, n + 1))

    return GarchParameters(
        mu=values.get("mu", 0.0),
        omega=values["omega"],
        alpha=lags("alpha", settings.p),
        gamma=lags("gamma", settings.o),
        beta=lags("beta", settings.q),
        nu=values.get("nu"),
    )


def _guard(parameters: GarchParameters, mean_square: float) -> Failure | None:
    """Return why the estimate cannot be used, or None.

    A coefficient of zero means that a smaller model was found than the one asked for. Alone the
    response to good news (``alpha`` of a lag that has a ``gamma``) may be zero.
    """
    if not parameters.persistence < MAX_PERSISTENCE:
        return Failure(
            Status.EXPLOSIVE,
            f"the persistence is {parameters.persistence:.6f}; it must be < {MAX_PERSISTENCE}",
        )
    gamma = parameters.gamma + (0.0,) * (len(parameters.alpha) - len(parameters.gamma))
    bad_news = [a + g for a, g in zip(parameters.alpha, gamma, strict=True)]
    low, high = NU_BOUNDS
    on_bound = {
        "omega": parameters.omega <= ON_BOUND * mean_square,
        "alpha": min(bad_news) <= ON_BOUND,
        "beta": min(parameters.beta) <= ON_BOUND,
        "nu": parameters.nu is not None and not 1.001 * low < parameters.nu < 0.99 * high,
    }
    names = [name for name, on in on_bound.items() if on]
    if names:
        return Failure(Status.NOT_CONVERGED, f"on its bound: {', '.join(names)}")
    return None


@dataclass(frozen=True, slots=True)
class FittedGarch:
    """Estimated coefficients, conditioned on the returns of a history."""

    parameters: GarchParameters
    history: Panel

    def extend(self, history: Panel) -> FittedForecaster:
        """Return the same coefficients, filtered over ``history`` instead."""
        return replace(self, history=history)

    def forecast(self, steps: tuple[int, ...]) -> tuple[Outcome, ...]:
        """Return the forecast of the one ticker; what the family's page says of quantiles holds."""
        failure = missing_price(self.history) or unusable(self.history, n_returns=MIN_RETURNS)
        if failure is not None:
            return (failure,)
        returns = 100.0 * observed_returns(self.history)
        h = np.array(steps, np.float64)
        ahead = step_variances(self.parameters, returns, n_steps=steps[-1])
        variance = np.cumsum(ahead)[np.array(steps) - 1] / 1e4
        mean = self.parameters.mu / 100.0 * h
        if self.parameters.nu is None:
            return (Forecast(mean, variance),)
        return (
            Forecast(mean, variance, student_t_quantiles(mean, variance, h, self.parameters.nu)),
        )


@register(
    "garch",
    settings=GarchSettings,
    version="1",
    summary="GARCH and GJR-GARCH of log returns, normal or Student-t, estimated by arch",
    libraries=("arch", "numpy", "scipy"),
    fit_s=0.013,
    extend_s=0.0006,
)
class Garch:
    """Mean zero (or a constant) and the variance of a GARCH recursion.

    Returns across a gap are left out and the rest is set side by side.

    References
    ----------
    Bollerslev (1986), Journal of Econometrics 31, 307-327.
    Bollerslev (1987), Review of Economics and Statistics 69, 542-547 (Student-t).
    Glosten, Jagannathan and Runkle (1993), Journal of Finance 48, 1779-1801 (GJR).
    """

    scope: ClassVar[Scope] = "ticker"

    def __init__(self, settings: GarchSettings) -> None:
        self.settings = settings

    def fit(self, history: Panel, *, rng: np.random.Generator) -> FittedForecaster:  # noqa: ARG002
        """Estimate on the log returns of ``history``; the starting values are a fixed grid."""
        failure = unusable(history, n_returns=MIN_RETURNS)
        if failure is not None:
            return FailedFit(failure)
        parameters = estimate(100.0 * observed_returns(history), self.settings)
        if isinstance(parameters, Failure):
            return FailedFit(parameters)
        return FittedGarch(parameters, history)
