"""Weights of an ensemble's members from losses that are out: pure functions of arrays.

None of them knows a session. Whoever calls passes the losses that may be used and no others.

Shapes: K validation folds, oldest first; N series (tickers times steps); S members.

References
----------
Bates, Granger (1969), Operational Research Quarterly 20, 451-468.
Stock, Watson (2004), Journal of Forecasting 23, 405-430.
Lo, MacKinlay (1988), Review of Financial Studies 1, 41-66.
"""

from dataclasses import dataclass

import numpy as np

from pmx_ray._typing import BoolArray, FloatArray

LEAST_LOSS = 1e-12
"""Smallest mean loss relative to the other members': a perfect member takes all but nothing."""

LEAST_KNOWN = 0.5
"""Share of the losses that any member has below which a member is left out, with weight 0.

Members are compared where all of them have a loss: one that hardly ever forecasts would leave
nothing to compare the others on.
"""


def equal_weights(n_members: int) -> FloatArray:
    """Return weights of 1 / S, shape (S,)."""
    return np.full(n_members, 1.0 / n_members)


def inverse_loss_weights(losses: FloatArray, *, min_losses: int) -> FloatArray:
    """Return weights in inverse proportion to the members' mean losses, shape (S,).

    Members are compared where all of them have a loss, but for those that have too few to take
    part (``LEAST_KNOWN``) and weigh 0. A series counts in units of its own mean loss, so that a
    ticker that moves more does not outvote the others.

    Parameters
    ----------
    losses : ndarray of shape (K, N, S)
        At least 0, lower is better; NaN where there is none.
    min_losses : int
        Fewest folds that weights are taken from; equal weights below.

    Examples
    --------
    >>> inverse_loss_weights(np.array([[[1.0, 3.0]], [[1.0, 3.0]]]), min_losses=2)
    array([0.75, 0.25])
    """
    relative = relative_losses(losses, np.ones(len(losses)), min_losses=min_losses)
    if relative is None:
        return equal_weights(losses.shape[2])
    inverse = 1.0 / np.maximum(relative.mean, LEAST_LOSS)
    weights: FloatArray = inverse / inverse.sum()
    return weights


@dataclass(frozen=True, slots=True, eq=False)
class RelativeLosses:
    """Mean loss of each member in units of the mean over members, (S,), of so many folds.

    Infinite of a member that is left out.
    """

    mean: FloatArray
    n_folds: float


def relative_losses(
    losses: FloatArray, relevance: FloatArray, *, min_losses: int
) -> RelativeLosses | None:
    """Return relative losses where members are compared, or None where folds are too few.

    Parameters
    ----------
    losses : ndarray of shape (K, N, S)
        As in ``inverse_loss_weights``.
    relevance : ndarray of shape (K,)
        How much of each fold counts, in [0, 1].
    min_losses : int
        Fewest folds, in Kish's effective number.
    """
    taking_part = _taking_part(losses)
    mean = np.full(losses.shape[2], np.inf)
    losses = losses[:, :, taking_part]
    common: BoolArray = np.logical_not(np.isnan(losses).any(axis=2))  # (K, N)
    counts = relevance * common.any(axis=1)
    if not taking_part.any() or _effective_number(counts) < min_losses:
        return None
    weight = common * relevance[:, None]
    by_series = np.einsum("kn,kns->ns", weight, np.where(common[..., None], losses, 0.0))
    scale = by_series.mean(axis=1)
    told = scale > 0
    if not told.any():
        mean[taking_part] = 1.0
        return RelativeLosses(mean, float(counts.sum()))
    heaviness = weight.sum(axis=0)[told]  # a series with few losses says little
    relative = by_series[told] / scale[told, None]
    mean[taking_part] = np.einsum("n,ns->s", heaviness, relative) / heaviness.sum()
    return RelativeLosses(mean, float(counts.sum()))


def _taking_part(losses: FloatArray) -> BoolArray:
    """Return which members have enough losses to be compared, (S,)."""
    known = np.logical_not(np.isnan(losses))
    n_losses = known.sum(axis=(0, 1))
    enough: BoolArray = (n_losses > 0) & (n_losses >= LEAST_KNOWN * known.any(axis=2).sum())
    return enough


def _effective_number(counts: FloatArray) -> float:
    """Return Kish's number of equally weighted folds that say as much as these."""
    total = float(counts.sum())
    return 0.0 if total <= 0 else total**2 / float((counts**2).sum())


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What adaptive weights rest on beside losses.

    Attributes
    ----------
    age : ndarray of shape (K,)
        Sessions since each fold's losses were out, >= 0.
    change_density : float
        Change points per session, >= 0: the chance that what held a session ago no longer does.
    shrinkage : float
        Share of the weights that goes to ``anchor``, in [0, 1]; see ``walk_shrinkage``.
    anchor : ndarray of shape (S,)
        Weights to shrink to; what members have of it that are left out is shared by the others.
    """

    age: FloatArray
    change_density: float
    shrinkage: float
    anchor: FloatArray


def adaptive_weights(losses: FloatArray, evidence: Evidence, *, min_losses: int) -> FloatArray:
    """Return weights that follow the losses, forget across changes and distrust noise, (S,).

    A member's weight falls with the exponential of its cumulative relative loss, as in prediction
    with expert advice: a lead of 2 % is nothing over five folds and much over fifty. A loss counts
    with the chance that no change came after it, ``exp(-density age)`` if changes arrive as a
    Poisson process, so that dense changes bring the weights back to equal. Where fewer than
    ``min_losses`` folds are left, weights are equal, whatever the anchor.

    Parameters
    ----------
    losses : ndarray of shape (K, N, S)
        As in ``inverse_loss_weights``.
    evidence : Evidence
    min_losses : int

    References
    ----------
    Cesa-Bianchi, Lugosi (2006), Prediction, Learning, and Games, chapter 2.
    """
    relevance = np.exp(-evidence.change_density * evidence.age)
    relative = relative_losses(losses, relevance, min_losses=min_losses)
    if relative is None:
        return equal_weights(losses.shape[2])
    lead = np.exp(-relative.n_folds * (relative.mean - relative.mean.min()))
    told: FloatArray = lead / lead.sum()
    anchor = np.where(np.isfinite(relative.mean), evidence.anchor, 0.0)
    if anchor.sum() <= 0.0:  # all of it was on members that are left out
        return told
    anchor = anchor / anchor.sum()
    mixed: FloatArray = (1.0 - evidence.shrinkage) * told + evidence.shrinkage * anchor
    return mixed


def walk_shrinkage(log_close: FloatArray, *, lags: int, level: float) -> float:
    """Return how far losses are to be distrusted because prices look like a random walk.

    Per ticker it is 0 where the variance ratio test rejects the random walk at ``level``, else the
    test's p-value; the mean over tickers. The test is the one that heteroskedasticity does not
    upset. A ticker with too few or too flat prices rejects nothing and counts 1.

    Parameters
    ----------
    log_close : ndarray of shape (N, T)
        Log prices; the returns on both sides of a gap are set side by side.
    lags : int
        Sessions of the long variance, at least 2.
    level : float
        Size of the test.

    References
    ----------
    Lo, MacKinlay (1988), Review of Financial Studies 1, 41-66.
    """
    return float(np.mean([_p_value(row, lags, level) for row in np.diff(log_close, axis=1)]))


def _p_value(returns: FloatArray, lags: int, level: float) -> float:
    from arch.unitroot import VarianceRatio  # noqa: PLC0415 - seconds to import

    known = returns[~np.isnan(returns)]
    if len(known) < 10 * lags or np.ptp(known) <= 1e-12:
        return 1.0
    path = np.concatenate([[0.0], np.cumsum(known)])
    p_value = float(VarianceRatio(path, lags=lags, trend="c", robust=True).pvalue)
    if np.isnan(p_value):
        return 1.0
    return 0.0 if p_value < level else p_value
