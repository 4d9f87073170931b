"""The reference engine of the GARCH family: `arch` estimates, a plain recursion forecasts."""

import warnings
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from pmx_ray._typing import FloatArray
from pmx_ray.data.panel import Panel, observed_returns
from pmx_ray.forecasters.garch_model import (
    MIN_RETURNS,
    GarchParameters,
    GarchSettings,
    guard,
    student_t_quantiles,
)
from pmx_ray.forecasters.protocol import (
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
from pmx_ray.kernels.garch_likelihood import BACKCAST_DECAY, BACKCAST_LENGTH

MAX_ITERATIONS = 200
"""Steps the optimiser may take."""


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
    return guard(parameters, float(np.mean(returns**2))) or parameters


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


@dataclass(frozen=True, slots=True)
class FittedReference:
    """Coefficients that `arch` estimated, conditioned on the returns of a history."""

    parameters: GarchParameters
    history: Panel

    def extend(self, history: Panel) -> FittedForecaster:
        """Return the same coefficients, filtered over ``history`` instead."""
        return replace(self, history=history)

    def forecast(self, steps: tuple[int, ...]) -> tuple[Outcome, ...]:
        """Return the forecast of the one ticker."""
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
        nu = np.array([self.parameters.nu])
        bands = student_t_quantiles(mean[None, :], variance[None, :], h, nu)[0]
        return (Forecast(mean, variance, bands),)


class ReferenceGarch:
    """The GARCH family as `arch` estimates it, one history at a time."""

    scope: ClassVar[Scope] = "ticker"

    def __init__(self, settings: GarchSettings) -> None:
        self.settings = settings

    def fit(self, history: Panel, *, rng: np.random.Generator) -> FittedForecaster:  # noqa: ARG002
        """Estimate on the log returns of ``history``; `arch` starts at a fixed grid."""
        failure = unusable(history, n_returns=MIN_RETURNS)
        if failure is not None:
            return FailedFit(failure)
        parameters = estimate(100.0 * observed_returns(history), self.settings)
        if isinstance(parameters, Failure):
            return FailedFit(parameters)
        return FittedReference(parameters, history)
