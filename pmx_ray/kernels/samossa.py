"""SAMoSSA on arrays: fit one model or a grid of them, and weigh its variance against its errors.

Shapes: F folds, N series, T times, L window, m = L - 1 + p lags, H steps. A missing value is NaN.

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
from pmx_ray.kernels.eigen import on_host
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
    Spectrum,
    cut_pages,
    left_spectrum,
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
        known = one_step_errors(standard[None], self.beta[None], self.alpha[None])[0]
        errors = np.full(series.shape, np.nan)
        errors[:, series.shape[1] - known.shape[1] :] = known
        return errors * self.scale[:, None]

    def path(self, last: FloatArray, n_steps: int) -> FloatArray:
        """Return the mean of the next ``n_steps`` values, (N, n_steps), after ``last`` (N, m)."""
        standard = (last - self.mean[:, None]) / self.scale[:, None]
        ahead = run_forward(self.coefficients, standard, n_steps)
        return ahead * self.scale[:, None] + self.mean[:, None]


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Models of F folds, and the errors of each.

    Attributes
    ----------
    models : tuple of Model, length F
    errors : ndarray of xp, shape (F, N, V)
        One-step errors on the last V times, in standard deviations ``scale`` of the series; NaN
        where a lag is missing.
    scale : ndarray of shape (F, N)
    """

    models: tuple[Model, ...]
    errors: FloatArray
    scale: FloatArray


def fit_stack(
    series: FloatArray,
    choice: Choice,
    *,
    n_held_out: int = 0,
    n_errors: int | None = None,
    xp: ModuleType = np,
) -> Stack:
    """Fit one model a fold with the same choice, and take its errors.

    Folds are best handed over one by one on the host, where one fits the processor's cache and its
    bits then cannot depend on its neighbours; a card wants many.

    Parameters
    ----------
    series : ndarray of shape (F, N, T)
        None of them constant.
    choice : Choice
    n_held_out : int
        Last times that the fit does not see.
    n_errors : int, optional
        V, the last times whose errors are taken; all that have m times before them unless given.
    xp : module
        Array namespace that carries the work: numpy, or cupy on a card.

    Raises
    ------
    DataError
        If a fold has no stretch of L values that is free of missing ones.
    """
    n_times = series.shape[2]
    values = xp.asarray(series)
    centre = _standardised(values[:, :, : n_times - n_held_out], xp)
    (fits,) = _fit_choices(centre.series, (choice,), xp)
    n_lags = fits.beta.shape[1] + choice.ar_order
    first = 0 if n_errors is None else max(n_times - n_errors - n_lags, 0)
    standard = centre.series
    if first > 0 or n_held_out > 0:
        standard = (values[:, :, first:] - centre.mean) / centre.scale
    errors = one_step_errors(standard, fits.beta, xp.asarray(fits.alpha), xp=xp)
    return Stack(_models(choice, centre, fits), errors, on_host(centre.scale)[:, :, 0])


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
        Array namespace that carries the work: numpy, or cupy on a card.

    Raises
    ------
    DataError
        If no stretch of L values is free of missing ones.
    """
    centre = _standardised(xp.asarray(series[None]), xp)
    fits = _fit_choices(centre.series, choices, xp)
    return tuple(_models(choice, centre, fit)[0] for choice, fit in zip(choices, fits, strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class _Standardised:
    """Standardised series (F, N, T), and the mean and scale that were taken out, (F, N, 1)."""

    series: FloatArray
    mean: FloatArray
    scale: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class _Fits:
    """Ranks (F,) and alpha (F, N, p) on the host, and beta (F, L - 1) where it was fitted."""

    ranks: IntArray
    beta: FloatArray
    alpha: FloatArray


def _standardised(series: FloatArray, xp: ModuleType) -> _Standardised:
    """Take mean and standard deviation out of series (F, N, T), missing values left out."""
    missing = xp.isnan(series)
    if not bool(xp.any(missing)):
        mean = xp.mean(series, axis=2, keepdims=True)
        centred = series - mean
        scale = xp.sqrt(xp.mean(centred * centred, axis=2, keepdims=True))
    else:
        zeros, ones = xp.zeros_like(series), xp.ones_like(series)
        count = xp.sum(xp.where(missing, zeros, ones), axis=2, keepdims=True)
        count = xp.where(count > 0.0, count, xp.ones_like(count))
        mean = xp.sum(xp.where(missing, zeros, series), axis=2, keepdims=True) / count
        centred = series - mean
        square = xp.sum(xp.where(missing, zeros, centred * centred), axis=2, keepdims=True)
        scale = xp.sqrt(square / count)
    scale = xp.where(scale > 0.0, scale, xp.ones_like(scale))  # a stretch may be flat
    return _Standardised(centred / scale, mean, scale)


def _models(choice: Choice, centre: _Standardised, fits: _Fits) -> tuple[Model, ...]:
    mean, scale, beta = (on_host(x) for x in (centre.mean, centre.scale, fits.beta))
    return tuple(
        Model(choice, int(rank), mean[f, :, 0], scale[f, :, 0], beta[f], fits.alpha[f])
        for f, rank in enumerate(fits.ranks)
    )


def _fit_choices(
    series: FloatArray, choices: Sequence[Choice], xp: ModuleType
) -> tuple[_Fits, ...]:
    found: dict[Choice, _Fits] = {}
    for ratio in dict.fromkeys(choice.shape_ratio for choice in choices):
        found |= _fit_pages(series, ratio, [c for c in choices if c.shape_ratio == ratio], xp)
    return tuple(found[choice] for choice in choices)


def _fit_pages(
    series: FloatArray, ratio: int, choices: Sequence[Choice], xp: ModuleType
) -> dict[Choice, _Fits]:
    """Fit choices of one shape ratio, which share pages, spectrum and, by rank, residuals."""
    _, n_series, n_times = series.shape
    pages = cut_pages(series, window_length(n_series, n_times, shape_ratio=ratio), xp=xp)
    rules = list(dict.fromkeys(_rule(choice) for choice in choices))
    whitened = any(choice.rank == "whitened" for choice in choices)
    spectrum = left_spectrum(pages, rules, vectors="all" if whitened else "kept", xp=xp)
    left: dict[tuple[int, ...], tuple[FloatArray, FloatArray]] = {}
    fits = {}
    for choice in choices:
        ranks = spectrum.ranks[:, rules.index(_rule(choice))]
        if choice.rank == "whitened":
            order = max(choice.ar_order, 1)
            ranks = _whitened_ranks(series, pages, spectrum, ranks=ranks, order=order, xp=xp)
        key = tuple(ranks.tolist())
        if key not in left:
            basis = spectrum.leading(ranks, xp=xp)
            left[key] = recurrence(basis, xp=xp), residuals(pages, basis, xp=xp)
        beta, noise = left[key]
        fits[choice] = _Fits(ranks, beta, fit_autoregression(noise, choice.ar_order, xp=xp))
    return fits


def _rule(choice: Choice) -> RankRule:
    return "donoho" if choice.rank == "whitened" else choice.rank


def _whitened_ranks(
    series: FloatArray,
    pages: Pages,
    spectrum: Spectrum,
    *,
    ranks: IntArray,
    order: int,
    xp: ModuleType,
) -> IntArray:
    """Return Donoho's ranks of series whose noise was made white and of one size.

    An autoregression is a linear filter: what follows a linear recurrence before it follows the
    same one after it, so signal rank is kept while coloured noise turns white.
    """
    nothing = xp.zeros_like(series[:, 0, :0])
    noisy = np.ones(len(ranks), np.bool_)
    for _ in range(WHITENINGS):
        noise = residuals(pages, spectrum.leading(ranks, xp=xp), xp=xp)
        alpha = xp.asarray(fit_autoregression(noise, order, xp=xp))
        size = np.nanstd(on_host(one_step_errors(noise, nothing, alpha, xp=xp)), axis=2)
        noisy &= (size > 0.0).all(axis=1)
        if not noisy.any():
            break  # nothing but signal
        size = xp.asarray(np.where(noisy[:, None], size, 1.0)[:, :, None])
        white = one_step_errors(series, nothing, alpha, xp=xp) / size
        filtered = left_spectrum(
            cut_pages(white, pages.length, xp=xp), ["donoho"], vectors="none", xp=xp
        )
        ranks = np.where(noisy, filtered.ranks[:, 0], ranks)
    return ranks


def mean_square(errors: FloatArray, *, xp: ModuleType = np) -> FloatArray:
    """Return the mean square over the last axis of what is not missing; NaN without a value.

    Parameters
    ----------
    errors : ndarray of xp, shape (..., T)
    xp : module
        Array namespace.

    Returns
    -------
    ndarray of shape (...)
    """
    n_errors = errors.shape[-1]
    total = on_host(xp.sum(errors * errors, axis=-1))
    if n_errors > 0 and not np.isnan(total).any():
        whole: FloatArray = total / n_errors
        return whole
    missing, zeros = xp.isnan(errors), xp.zeros_like(errors)
    total = on_host(xp.sum(xp.where(missing, zeros, errors * errors), axis=-1))
    count = on_host(xp.sum(xp.where(missing, zeros, xp.ones_like(errors)), axis=-1))
    return np.where(count > 0.0, total / np.maximum(count, 1.0), np.nan)


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
