"""Hits on coins: what a statement about coming returns scores where nobody can know them."""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from pmx_ray._typing import FloatArray, IntArray

FORESIGHT_LIMIT = 6.0
"""Largest score of a stage without foresight; beyond it lies a chance of at most 6e-8."""


@dataclass(frozen=True, slots=True)
class Toss:
    """How a statement fared on coins.

    Attributes
    ----------
    to_zero, to_mean : float
        Hits less misses, with the statement read against zero and against its earlier mean.
    n : int
        Outcomes.
    """

    to_zero: float
    to_mean: float
    n: int

    def __add__(self, other: "Toss") -> "Toss":
        return Toss(self.to_zero + other.to_zero, self.to_mean + other.to_mean, self.n + other.n)

    @property
    def furthest(self) -> float:
        """The larger of the two, whatever its sign."""
        return max(abs(self.to_zero), abs(self.to_mean))

    @property
    def score(self) -> float:
        """``furthest`` over the square root of the outcomes; 0 without one."""
        return self.furthest / sqrt(max(self.n, 1))


def tossed(statement: FloatArray, outcome: FloatArray) -> Toss:
    """Return how ``statement`` fared against ``outcome``.

    A statement is counted as up or down twice: against zero, and against the mean of the ticker's
    earlier statements, which is known when it is made.

    Parameters
    ----------
    statement, outcome : ndarray of shape (F, N)
        NaN where there is none; an outcome of 0 is not counted, and none is without a statement.
    """
    present = ~np.isnan(statement)
    if not present.any():
        return Toss(0.0, 0.0, 0)
    values = np.where(present, statement, 0.0)
    earlier = np.cumsum(present, axis=0) - present
    mean = (np.cumsum(values, axis=0) - values) / np.maximum(earlier, 1)
    truth = np.nan_to_num(np.sign(outcome))
    to_zero = float((np.sign(values) * truth).sum())
    to_mean = float((np.where(present, np.sign(values - mean), 0.0) * truth).sum())
    return Toss(to_zero, to_mean, int(np.abs(truth).sum()))


def disjoint(cutoff: IntArray, step: int) -> IntArray:
    """Return the folds, from the first on, whose ``step`` sessions do not overlap, shape (D,)."""
    kept: list[int] = []
    for fold, position in enumerate(cutoff.tolist()):
        if not kept or position >= cutoff[kept[-1]] + step:
            kept.append(fold)
    return np.array(kept, np.int64)
