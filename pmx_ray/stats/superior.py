"""Tests over all specs at once: whether any beats the baseline, and which may be the best.

Losses are of shape (T, S), cutoffs by specs; lower is better. A cutoff at which a spec has none
(NaN) is left out for every spec. The bootstrap is stationary, over cutoffs.
"""

from dataclasses import dataclass

import numpy as np
from arch.bootstrap import SPA

from pmx_ray._typing import BoolArray, FloatArray, IntArray, frozen
from pmx_ray.errors import DataError, SettingsError
from pmx_ray.stats.intervals import MIN_CUTOFFS, resample_counts

_ROUNDING = 1e-12
"""Relative difference between losses up to which they are the same."""


@dataclass(frozen=True, slots=True)
class SuperiorAbility:
    """Whether any spec is better than the baseline, and which.

    Attributes
    ----------
    p_lower, p_consistent, p_upper : float
        Hansen's p-values against "no spec is better than the baseline". NaN with fewer than
        ``MIN_CUTOFFS`` cutoffs, and without another spec.
    superior : tuple of int
        Columns that StepM finds better, in order, with ``size`` as its familywise error rate.
    n, block : int
        Cutoffs used, and mean block length.
    """

    p_lower: float
    p_consistent: float
    p_upper: float
    superior: tuple[int, ...]
    n: int
    block: int


@dataclass(frozen=True, slots=True, eq=False)
class ConfidenceSet:
    """The specs that may be the best.

    Attributes
    ----------
    p_values : ndarray of shape (S,)
        The smallest size at which the spec is put out; the best spec has 1. NaN with fewer than
        ``MIN_CUTOFFS`` cutoffs.
    included : ndarray of bool of shape (S,)
        Whether the p-value is above the size; False where it is NaN.
    n, block : int
        Cutoffs used, and mean block length.
    """

    p_values: FloatArray
    included: BoolArray
    n: int
    block: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "p_values", frozen(self.p_values, np.float64))
        object.__setattr__(self, "included", frozen(self.included, np.bool_))


def superior_ability(
    losses: FloatArray,
    *,
    baseline: int,
    block: int,
    n_resamples: int,
    seed: int,
    size: float = 0.05,
) -> SuperiorAbility:
    """Return Hansen's test of superior predictive ability, and the specs StepM finds better.

    Parameters
    ----------
    losses : ndarray of shape (T, S)
        NaN where a spec was not scored.
    baseline : int
        Its column.
    block : int
        Mean block length, in cutoffs.
    n_resamples : int
        B; both answers rest on the same resamples.
    seed : int
        Of the resamples.
    size : float
        Familywise error rate of StepM.

    Returns
    -------
    SuperiorAbility
        A spec that loses as much as the baseline at every cutoff, or more by the same amount, is
        not better and takes no part; p is 1 where no other is left.

    Raises
    ------
    DataError, SettingsError
        If the losses are not a table of finite values and NaN, or an argument is out of range.

    References
    ----------
    Hansen (2005), Journal of Business & Economic Statistics 23, 365-380.
    Romano, Wolf (2005), Econometrica 73, 1237-1282.
    """
    known = _complete(losses)
    _check_bootstrap(block=block, n_resamples=n_resamples, size=size)
    if not 0 <= baseline < losses.shape[1]:
        raise SettingsError(f"baseline was {baseline}; give a column, 0 to {losses.shape[1] - 1}")
    if len(known) < MIN_CUTOFFS or known.shape[1] < 2:
        return SuperiorAbility(np.nan, np.nan, np.nan, (), len(known), block)
    rivals = _rivals(known, baseline)
    if len(rivals) == 0:
        return SuperiorAbility(1.0, 1.0, 1.0, (), len(known), block)
    spa = SPA(
        known[:, baseline], known[:, rivals], block_size=block, reps=n_resamples, seed=seed
    )  # fmt: skip
    spa.compute()
    lower, consistent, upper = (float(p) for p in spa.pvalues)
    superior = rivals[_stepped_down(spa, len(rivals), size=size)]
    return SuperiorAbility(
        lower, consistent, upper, tuple(superior.tolist()), len(known), block
    )  # fmt: skip


def confidence_set(
    losses: FloatArray, *, block: int, n_resamples: int, seed: int, size: float = 0.05
) -> ConfidenceSet:
    """Return the model confidence set, by the statistic T_max.

    T_max holds each spec against the mean of the set, so that S = 500 specs are S figures a
    resample; the range statistic T_R would need S^2 (1 GB at 500 resamples).

    Parameters
    ----------
    losses : ndarray of shape (T, S)
        NaN where a spec was not scored.
    block : int
        Mean block length, in cutoffs.
    n_resamples : int
        B.
    seed : int
        Of the resamples.
    size : float
        Significance: specs with a p-value above it are in the set.

    Returns
    -------
    ConfidenceSet
        Specs that lose the same at every cutoff count as one, and share its p-value.

    Raises
    ------
    DataError, SettingsError
        As ``superior_ability``.

    References
    ----------
    Hansen, Lunde, Nason (2011), Econometrica 79, 453-497.
    """
    known = _complete(losses)
    _check_bootstrap(block=block, n_resamples=n_resamples, size=size)
    n, n_specs = known.shape
    p_values = np.full(n_specs, np.nan)
    if n >= MIN_CUTOFFS:
        distinct, group = _distinct(known)
        counts = resample_counts(
            n, block=block, n_resamples=n_resamples, rng=np.random.default_rng(seed)
        )
        p_values = _eliminated(distinct, counts)[group]
    return ConfidenceSet(p_values, p_values > size, n, block)


def _eliminated(losses: FloatArray, counts: FloatArray) -> FloatArray:
    """Return the p-value of each spec, shape (S,), from the draws of each cutoff, shape (B, T).

    Equal to ``arch.bootstrap.MCS`` with method ``max``, whose loop never ends where the specs that
    are left lose the same.
    """
    mean = losses.mean(axis=0)
    errors = counts @ (losses - mean) / len(losses)  # (B, S) resampled means about the mean
    rounding = _ROUNDING * np.abs(losses).mean(axis=0).max()
    p_values, p_so_far = np.ones(len(mean)), 0.0
    left = np.arange(len(mean))
    while len(left) > 1:
        excess = mean[left] - mean[left].mean()
        if np.abs(excess).max() <= rounding:
            break  # none is worse than the others
        relative = errors[:, left]
        relative -= relative.mean(axis=1, keepdims=True)
        spread = np.maximum(np.sqrt((relative * relative).mean(axis=0)), rounding)
        standardised = excess / spread
        worst = standardised.max()
        p_so_far = max(p_so_far, float((worst < (relative / spread).max(axis=1)).mean()))
        p_values[left[standardised == worst]] = p_so_far
        left = left[standardised != worst]
    return p_values


def _stepped_down(spa: SPA, n_rivals: int, *, size: float) -> IntArray:
    """Return the rivals that StepM finds; ``arch.bootstrap.StepM`` raises where it finds all."""
    left = np.ones(n_rivals, dtype=np.bool_)
    found = spa.better_models(size)
    while len(found):
        left[found] = False
        if not left.any():
            break
        spa.subset(left)
        spa.compute()
        found = spa.better_models(size)
    return np.flatnonzero(~left)


def _rivals(losses: FloatArray, baseline: int) -> IntArray:
    """Return the columns whose gain on the baseline varies, or is the same above 0."""
    gain = losses[:, [baseline]] - losses
    rounding = _ROUNDING * np.abs(losses).mean(axis=0).max()
    return np.flatnonzero((np.ptp(gain, axis=0) > rounding) | (gain.mean(axis=0) > rounding))


def _distinct(losses: FloatArray) -> tuple[FloatArray, IntArray]:
    """Return the different columns, and which of them each column is."""
    largest = np.abs(losses).max(axis=1, keepdims=True)
    keys = np.round(losses / np.where(largest > 0.0, largest, 1.0) / _ROUNDING)
    _, first, group = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    return losses[:, first], np.ravel(group)


def _complete(losses: FloatArray) -> FloatArray:
    """Return the rows in which every spec has a loss."""
    if losses.ndim != 2 or losses.shape[1] == 0:
        raise DataError(f"losses had shape {losses.shape}; give cutoffs by specs, at least one")
    if np.isinf(losses).any():
        raise DataError("losses held an infinite value; give NaN where a loss is not finite")
    return losses[~np.isnan(losses).any(axis=1)]


def _check_bootstrap(*, block: int, n_resamples: int, size: float) -> None:
    if block < 1:
        raise SettingsError(f"block was {block}; it must be >= 1")
    if n_resamples < 1:
        raise SettingsError(f"n_resamples was {n_resamples}; it must be >= 1")
    if not 0.0 < size < 1.0:
        raise SettingsError(f"size was {size}; it must be between 0 and 1")
