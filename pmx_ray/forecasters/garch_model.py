"""What both engines of the GARCH family share: settings, coefficients, guards, quantiles."""

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator
from scipy import special

from pmx_ray._typing import FloatArray
from pmx_ray.config import Settings
from pmx_ray.forecasters.protocol import QUANTILE_LEVELS, Failure, Status
from pmx_ray.kernels.garch_likelihood import MAX_LAGS
from pmx_ray.kernels.garch_search import NU_BOUNDS

MIN_RETURNS = 200
"""Fewest log returns fitted or filtered; with fewer the persistence is badly biased downwards
(Hwang and Valls Pereira 2006, European Journal of Finance 12, 473-494)."""

MAX_PERSISTENCE = 0.9999
"""At or above it the variance has no level to return to, and the fit is refused."""

ON_BOUND = 1e-6
"""A coefficient this near to its bound stands on it."""


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
    engine : str
        ``fast`` is the batched kernel, for p and q up to 2, ``cuda`` the same on a card;
        ``reference`` is the library `arch`.
    """

    p: int = Field(default=1, ge=1, le=3)
    o: int = Field(default=0, ge=0, le=1)
    q: int = Field(default=1, ge=1, le=3)
    dist: Literal["normal", "t"] = "normal"
    mean: Literal["zero", "constant"] = "zero"
    engine: Literal["fast", "cuda", "reference"] = "fast"

    @model_validator(mode="after")
    def _engine_covers(self) -> Self:
        if self.engine != "reference" and max(self.p, self.q) > MAX_LAGS:
            raise ValueError(
                f"p was {self.p} and q {self.q}; engine {self.engine} covers up to {MAX_LAGS}: "
                "use engine reference"
            )
        return self


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


def guard(parameters: GarchParameters, mean_square: float) -> Failure | None:
    """Return why the estimate cannot be used, or None; ``mean_square`` is that of the returns.

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


def student_t_quantiles(
    mean: FloatArray, variance: FloatArray, steps: FloatArray, nu: FloatArray
) -> FloatArray:
    """Return quantiles at ``QUANTILE_LEVELS`` of cumulative returns with Student-t sessions.

    One step is exact. Over h steps it is an approximation: a t distribution with the forecast's
    mean and variance and ``nu_h = 4 + h (nu - 4)`` degrees of freedom, which gives it the kurtosis
    ``3 + 6 / (h (nu - 4))`` of a sum of h independent draws; for nu <= 4, where the kurtosis does
    not exist, nu_h = nu. Volatility clustering makes the true tails of the sum heavier.

    Parameters
    ----------
    mean, variance : ndarray of shape (W, H)
        Moments of the cumulative log return.
    steps : ndarray of shape (H,)
        Sessions ahead.
    nu : ndarray of shape (W,)
        Degrees of freedom of one session, > 2.

    Returns
    -------
    ndarray of shape (W, Q, H)
    """
    nu_h = np.where(nu[:, None] > 4.0, 4.0 + steps * (nu[:, None] - 4.0), nu[:, None])
    unit: FloatArray = special.stdtrit(nu_h[:, None, :], np.array(QUANTILE_LEVELS)[:, None])
    spread = np.sqrt(variance * (nu_h - 2.0) / nu_h)
    return mean[:, None, :] + spread[:, None, :] * unit
