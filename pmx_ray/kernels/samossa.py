"""SAMoSSA on arrays: fit one model or a grid of them, and weigh its variance against its errors.

Shapes: N series, T times, L window, m = L - 1 + p lags, H steps. A missing value is NaN.

References
----------
Alomar, Dahleh, Mann, Shah (2023), SAMoSSA: Multivariate Singular Spectrum Analysis with Stochastic
Autoregressive Noise, NeurIPS, arXiv 2305.16491.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from types import ModuleType
from typing import Literal, TypeAlias

import numpy as np

from pmx_ray._typing import FloatArray, IntArray, frozen
from pmx_ray.kernels.recurrence import (
    combine,
    error_weights,
    fit_autoregression,
    one_step_errors,
    run_forward,
)
from pmx_ray.kernels.ssa import (
    Pages,
    RankRule,
    choose_rank,
    decompose,
    recurrence,
    residuals,
    window_length,
)

WHITENINGS = 2
"""Times that the noise is made white and the rank taken again."""

Rank: TypeAlias = RankRule | Literal["whitened"]
"""A rank rule of ``ssa.choose_rank``, or ``whitened``: Donoho's threshold assumes white noise, so
the series are first passed through the autoregression of their residuals."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a fit leaves open: the rank rule, columns over rows, and the autoregression's lags."""

    rank: Rank = "donoho"
    shape_ratio: int = 1
    ar_order: int = 1


PAPER_RANKS: tuple[Rank, ...] = ("donoho", "energy", 5)
"""The paper's three rank rules."""


def grid(ranks: Sequence[Rank] = PAPER_RANKS) -> tuple[Choice, ...]:
    """Return the paper's tuning grid: shape ratios 1, 3, 5, the ranks, and 0 to 3 lags."""
    return tuple(Choice(*entry) for entry in product(ranks, (1, 3, 5), (0, 1, 2, 3)))


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A recurrence shared by N series, and each one's autoregression, mean and scale.

    Attributes
    ----------
    choice : Choice
        What it was fitted with.
    rank : int
        Singular values kept.
    mean, scale : ndarray of shape (N,)
        Of the series fitted, in their unit.
    beta : ndarray of shape (L - 1,)
        Lag 1 first.
    alpha : ndarray of shape (N, p)
        Lag 1 first.
    """

    choice: Choice
    rank: int
    mean: FloatArray
    scale: FloatArray
    beta: FloatArray
    alpha: FloatArray
    coefficients: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        for name in ("mean", "scale", "beta", "alpha"):
            object.__setattr__(self, name, frozen(getattr(self, name), np.float64))
        combined = combine(self.beta, self.alpha)
        object.__setattr__(self, "coefficients", frozen(combined, np.float64))

    @property
    def n_lags(self) -> int:
        """Values that a forecast is conditioned on, m."""
        return int(self.coefficients.shape[1])

    def errors(self, series: FloatArray) -> FloatArray:
        """Return value minus one-step forecast, (N, T), in the unit of ``series``."""
        standard = (series - self.mean[:, None]) / self.scale[:, None]
        return one_step_errors(standard, self.beta, self.alpha) * self.scale[:, None]

    def path(self, last: FloatArray, n_steps: int) -> FloatArray:
        """Return the mean of the next ``n_steps`` values, (N, n_steps), after ``last`` (N, m)."""
        standard = (last - self.mean[:, None]) / self.scale[:, None]
        ahead = run_forward(self.coefficients, standard, n_steps)
        return ahead * self.scale[:, None] + self.mean[:, None]


def fit_models(
    series: FloatArray, choices: Sequence[Choice], *, xp: ModuleType = np
) -> tuple[Model, ...]:
    """Fit one model a choice; a spectrum is taken once for each shape ratio.

    Parameters
    ----------
    series : ndarray of shape (N, T)
        None of them constant.
    choices : sequence of Choice
    xp : module
        Array namespace that carries the matrix products: numpy, or cupy on a card.

    Raises
    ------
    DataError
        If no stretch of L values is free of missing ones.
    """
    mean = np.nanmean(series, axis=1)
    scale = np.nanstd(series, axis=1)
    scale = np.where(scale > 0.0, scale, 1.0)  # a stretch may be flat
    standard = (series - mean[:, None]) / scale[:, None]
    pages: dict[int, Pages] = {}
    ranks: dict[tuple[object, ...], int] = {}
    models = []
    for choice in choices:
        ratio = choice.shape_ratio
        if ratio not in pages:
            pages[ratio] = decompose(
                standard, window_length(*series.shape, shape_ratio=ratio), xp=xp
            )
        key = (ratio, choice.rank, choice.ar_order if choice.rank == "whitened" else None)
        if key not in ranks:
            ranks[key] = _rank(choice, standard, pages[ratio], xp)
        rank = ranks[key]
        beta = recurrence(pages[ratio], rank)
        alpha = fit_autoregression(residuals(pages[ratio], rank), choice.ar_order)
        models.append(Model(choice, rank, mean, scale, beta, alpha))
    return tuple(models)


def _rank(choice: Choice, series: FloatArray, pages: Pages, xp: ModuleType) -> int:
    if choice.rank == "whitened":
        return _whitened_rank(series, pages, max(choice.ar_order, 1), xp)
    return choose_rank(choice.rank, pages.singular_values, pages.matrix.shape)


def _whitened_rank(series: FloatArray, pages: Pages, order: int, xp: ModuleType) -> int:
    """Return Donoho's rank of series whose noise was made white and of one size.

    An autoregression is a linear filter: what follows a linear recurrence before it follows the
    same one after it, so signal rank is kept while coloured noise turns white.
    """
    shape = pages.matrix.shape
    rank = choose_rank("donoho", pages.singular_values, shape)
    nothing = np.zeros(0)
    for _ in range(WHITENINGS):
        noise = residuals(pages, rank)
        alpha = fit_autoregression(noise, order)
        size = np.nanstd(one_step_errors(noise, nothing, alpha), axis=1)
        if not (size > 0.0).all():
            return rank  # nothing but signal
        white = one_step_errors(series, nothing, alpha)[:, order:] / size[:, None]
        filtered = decompose(white, pages.length, xp=xp)
        rank = choose_rank("donoho", filtered.singular_values, filtered.matrix.shape)
    return rank


def mean_square(errors: FloatArray) -> FloatArray:
    """Return the mean square of each row's values that are not missing, (N,); NaN without one."""
    present = ~np.isnan(errors)
    total = np.sum(np.where(present, errors, 0.0) ** 2, axis=1)
    count = present.sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def unit_variances(coefficients: FloatArray, steps: IntArray, *, cumulative: bool) -> FloatArray:
    """Return the variance of each step's forecast for innovations of variance 1, (N, H)."""
    weights = error_weights(coefficients, int(steps.max()), cumulative=cumulative)
    variances: FloatArray = np.cumsum(weights**2, axis=1)[:, steps - 1]
    return variances


def held_out_errors(model: Model, series: FloatArray, n_held_out: int) -> FloatArray:
    """Return the one-step errors of ``model`` on the last ``n_held_out`` times, (N, V)."""
    start = max(series.shape[1] - n_held_out - model.n_lags, 0)
    return model.errors(series[:, start:])[:, -n_held_out:]


def held_out_squares(model: Model, series: FloatArray, n_held_out: int) -> FloatArray:
    """Return each series' mean squared one-step error on the last ``n_held_out`` times, (N,)."""
    return mean_square(held_out_errors(model, series, n_held_out))
