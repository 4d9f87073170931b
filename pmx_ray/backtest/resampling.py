"""Bootstrap resamples over cutoffs, drawn once a step and shared by every spec and statistic."""

from dataclasses import dataclass

import numpy as np

from pmx_ray._typing import FloatArray, IntArray
from pmx_ray.backtest.cells import Axes
from pmx_ray.stats.intervals import (
    MIN_CUTOFFS,
    NO_INTERVAL,
    Interval,
    block_length,
    percentile_interval,
    resample_counts,
)


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """Resamples of the C distinct cutoffs behind F rows.

    Tickers of a cutoff are drawn together, and so are the rows of a cutoff that several splits
    score: what happened after one cutoff is one observation.

    Attributes
    ----------
    cutoff : ndarray of int, shape (F,)
        Number of the distinct cutoff that each row belongs to.
    counts : ndarray of shape (B, C)
        How often each resample draws each distinct cutoff.
    block : int
        Mean block length, in cutoffs.
    """

    cutoff: IntArray
    counts: FloatArray
    block: int

    def per_cutoff(self, by_row: FloatArray) -> FloatArray:
        """Return sums by row, shape (F,), as sums by distinct cutoff, shape (C,)."""
        sums = np.bincount(self.cutoff, by_row, minlength=self.counts.shape[1])
        return sums.astype(np.float64)

    def resampled(self, by_row: FloatArray) -> FloatArray:
        """Return the sum in each resample, shape (B,), of sums by row, shape (F,)."""
        totals: FloatArray = self.counts @ self.per_cutoff(by_row)
        return totals

    def n_cutoffs(self, n_by_row: FloatArray) -> int:
        """Return how many distinct cutoffs have a cell, given how many each row has, (F,)."""
        return len(np.unique(self.cutoff[n_by_row > 0]))

    def interval(self, statistics: FloatArray, n_by_row: FloatArray, *, level: float) -> Interval:
        """Return the interval of a statistic over ``n_by_row`` cells from its B resampled values.

        NaN where fewer than ``MIN_CUTOFFS`` cutoffs have such a cell.
        """
        if self.n_cutoffs(n_by_row) < MIN_CUTOFFS:
            return NO_INTERVAL
        return percentile_interval(statistics, level=level)


def draw_cutoffs(axes: Axes, step: int, *, step_size: int, n_resamples: int, seed: int) -> Draws:
    """Return the resamples of one step: a function of seed, step and number of cutoffs alone."""
    distinct, cutoff = np.unique(axes.cutoff, return_inverse=True)
    block = block_length(len(distinct), step=step, step_size=step_size)
    rng = np.random.default_rng([seed, step])
    counts = resample_counts(len(distinct), block=block, n_resamples=n_resamples, rng=rng)
    return Draws(cutoff, counts, block)
