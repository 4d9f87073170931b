"""The linear opinion pool of several forecasts: one mixture with its moments and quantiles.

The weighted mean of the members' distribution functions is itself a distribution, and its mean,
variance and quantiles are all of it. Averaging quantiles instead (Vincentization) gives a sharper
one whose spread knows nothing of how far the members' means lie apart; its variance would not be
that of the law of total variance. The pool of calibrated members is a little too wide (Ranjan and
Gneiting 2010), which is the safer side for a limit on losses.

A member states five quantiles. In between, and beyond the outer two, its distribution function is
normal in a piecewise linear scale: exact where the member is normal.

Shapes: S members, cells of any shape (...), Q levels, H steps.

References
----------
Stone (1961), Annals of Mathematical Statistics 32, 1339-1342.
Lichtendahl, Grushka-Cockayne, Winkler (2013), Management Science 59, 1594-1611.
Ranjan, Gneiting (2010), Journal of the Royal Statistical Society B 72, 71-91.
"""

from collections.abc import Sequence

import numpy as np
from scipy import special
from scipy.optimize import elementwise

from pmx_ray._typing import BoolArray, FloatArray, IntArray
from pmx_ray.forecasters.batch import ForecastBatch, assemble
from pmx_ray.forecasters.protocol import QUANTILE_LEVELS, Failure, Status

LEAST_GAP = 1e-9
"""Smallest distance of a member's neighbouring quantiles, in its standard deviations."""


def pool(
    batches: Sequence[ForecastBatch], weights: FloatArray, *, names: Sequence[str]
) -> ForecastBatch:
    """Return the linear pool of S batches of the same folds, tickers and steps.

    A member that failed in a cell is left out there and the other weights are scaled to sum to 1;
    where those are all 0 the others count equally. A cell fails where every member does.

    Parameters
    ----------
    batches : sequence of ForecastBatch, length S
    weights : ndarray of shape (F, M, S)
        At least 0.
    names : sequence of str, length S
        Of the members, for the reasons.
    """
    good = np.stack([batch.status == Status.OK for batch in batches], axis=-1)  # (F, M, S)
    shares = _renormalised(weights, good)
    mean = np.stack([batch.mean for batch in batches])
    variance = np.stack([batch.variance for batch in batches])
    quantiles = np.stack([batch.quantiles for batch in batches])
    centre, spread = pooled_moments(shares, mean, variance)
    bands = pooled_quantiles(shares, variance, quantiles)
    failures = {
        (fold, ticker): _joint_failure(batches, (fold, ticker), names)
        for fold, ticker in np.argwhere(~good.any(axis=-1)).tolist()
    }
    return assemble(centre, spread, bands, failures)


def pooled_moments(
    weights: FloatArray, mean: FloatArray, variance: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return mean and variance of a mixture, both (..., H), by the law of total variance.

    Parameters
    ----------
    weights : ndarray of shape (..., S)
        Sum to 1; what a member with the weight 0 states is not read.
    mean, variance : ndarray of shape (S, ..., H)
    """
    centre = _weighted(weights, mean)
    return centre, _weighted(weights, variance + (mean - centre) ** 2)


def pooled_quantiles(
    weights: FloatArray, variance: FloatArray, quantiles: FloatArray
) -> FloatArray:
    """Return the quantiles of a mixture at ``QUANTILE_LEVELS``, shape (..., Q, H).

    Each is the root of the mixture's distribution function, found between the least and the
    largest of the members' own. NaN where no member has a weight.

    Parameters
    ----------
    weights : ndarray of shape (..., S)
        Sum to 1; what a member with the weight 0 states is not read.
    variance : ndarray of shape (S, ..., H)
    quantiles : ndarray of shape (S, ..., Q, H)
        At ``QUANTILE_LEVELS``.
    """
    found = np.full(quantiles.shape[1:], np.nan)
    cells = weights.sum(axis=-1) > 0
    if not cells.any():
        return found
    share = weights[cells].T  # (S, C)
    knots = np.moveaxis(quantiles[:, cells], 2, 1)  # (S, Q, C, H)
    roots = _Mixture(share, variance[:, cells], knots).quantiles()
    found[cells] = np.maximum.accumulate(roots, axis=1)  # rounding must not make them cross
    return found


class _Mixture:
    """Distribution functions of C x H mixtures of S members, flattened."""

    def __init__(self, share: FloatArray, variance: FloatArray, knots: FloatArray) -> None:
        n_members, n_levels, self.n_cells, self.n_steps = knots.shape
        counts = np.repeat(share, self.n_steps, axis=1)  # (S, C H)
        used = counts > 0
        sd = np.where(used, np.sqrt(variance.reshape(n_members, -1)), 1.0)
        flat = np.where(used[:, None], knots.reshape(n_members, n_levels, -1), 0.0)
        z = special.ndtri(np.array(QUANTILE_LEVELS))
        gaps = np.maximum(np.diff(flat, axis=1), LEAST_GAP * sd[:, None])
        self.share, self.used, self.sd = counts, used, sd
        self.knots, self.z, self.slopes = flat, z, np.diff(z)[:, None] / gaps

    def quantiles(self) -> FloatArray:
        """Return the roots, shape (C, Q, H)."""
        n_levels, n_all = self.knots.shape[1:]
        low = np.where(self.used[:, None], self.knots, np.inf).min(axis=0)  # (Q, C H)
        high = np.where(self.used[:, None], self.knots, -np.inf).max(axis=0)
        margin = 1e-6 * self.sd.max(axis=0)
        which = np.tile(np.arange(n_all), n_levels)
        level = np.repeat(np.array(QUANTILE_LEVELS), n_all)
        bracket = ((low - margin).ravel(), (high + margin).ravel())
        found = elementwise.find_root(self._excess, bracket, args=(which, level))
        roots = found.x.reshape(n_levels, self.n_cells, self.n_steps)
        values: FloatArray = roots.transpose(1, 0, 2)
        return values

    def _excess(self, x: FloatArray, which: IntArray, level: FloatArray) -> FloatArray:
        """Return the probability of at most ``x``, less ``level``, in the mixtures ``which``."""
        total = -level
        for share, knots, slopes in zip(self.share, self.knots, self.slopes, strict=True):
            score = self.z[0] + (x - knots[0, which]) * slopes[0, which]
            for part in range(1, len(slopes)):
                knot = knots[part, which]
                further = self.z[part] + (x - knot) * slopes[part, which]
                score = np.where(x > knot, further, score)
            total = total + share[which] * special.ndtr(score)
        return total


def _weighted(weights: FloatArray, values: FloatArray) -> FloatArray:
    """Return the weighted sum over members, added one by one so that its bits never vary."""
    total = np.zeros(values.shape[1:])
    for member, value in enumerate(values):
        weight = weights[..., member, None]
        total = total + np.where(weight > 0, weight * value, 0.0)
    return total


def _renormalised(weights: FloatArray, good: BoolArray) -> FloatArray:
    left = np.where(good, weights, 0.0)
    left = np.where(left.sum(axis=-1, keepdims=True) > 0, left, good.astype(np.float64))
    total = left.sum(axis=-1, keepdims=True)
    shares: FloatArray = np.divide(left, total, out=np.zeros_like(left), where=total > 0)
    return shares


def _joint_failure(
    batches: Sequence[ForecastBatch], cell: tuple[int, int], names: Sequence[str]
) -> Failure:
    """Return the failure most members have, the first of those in a tie, with every reason."""
    statuses = [str(batch.status[cell]) for batch in batches]
    status = max(statuses, key=statuses.count)
    reasons: dict[str, list[str]] = {}
    for name, batch in zip(names, batches, strict=True):
        reasons.setdefault(batch.reasons.get(cell, ""), []).append(name)
    said = "; ".join(f"{', '.join(who)}: {why}" for why, who in reasons.items())
    return Failure(Status(status), f"every member failed: {said}")
