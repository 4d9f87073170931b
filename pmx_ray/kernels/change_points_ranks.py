"""Sums of sequential ranks (CUSUM) and the threshold that gives them a run length.

Blocks enter by their rank among calm ones alone, so that what is said of exchangeable blocks does
not depend on their distribution: the threshold is simulated once, whatever is watched.

References
----------
McDonald (1990), A cusum procedure based on sequential ranks, Naval Research Logistics 37, 627-646.
Siegmund (1985), Sequential Analysis, Springer.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import ndtri

from pmx_ray._typing import BoolArray, FloatArray, frozen
from pmx_ray.kernels.compiling import compiled

MOST_REFERENCE = 250
"""Calm blocks, the last ones, that a new block is ranked among."""

N_PATHS = 4000
"""Simulated run lengths behind a threshold: 1.6 % standard error of their mean."""


@lru_cache(maxsize=256)
def critical_value(n_reference: int, run_length: float, *, allowance: float = 0.5) -> float:
    """Return the threshold at which exchangeable blocks alarm after ``run_length`` on average.

    Simulated with a fixed seed; the blocks' distribution does not matter, because ranks are used.

    Parameters
    ----------
    n_reference : int
        Held-out blocks that the first new block is ranked among.
    run_length : float
        Mean number of blocks to an alarm.
    allowance : float
        See ``ChangeSettings``.
    """
    # Where a CUSUM of normal scores would stand (Siegmund 1985, section 2.6), and an e-fold more.
    guess = np.log1p(2.0 * allowance**2 * run_length) / (2.0 * allowance)
    heights = np.linspace(0.0, guess + 1.0, 400)
    horizon = int(20.0 * run_length)
    rng, total = np.random.default_rng(20_210), np.zeros(len(heights))
    scores = score_table(n_reference)
    batch = max(min(N_PATHS, 2_000_000 // horizon), 1)
    n_batches = -(-N_PATHS // batch)
    for _ in range(n_batches):
        draws = rng.random((batch, horizon + n_reference))
        add_run_lengths(draws, n_reference, scores, allowance, heights, total)
    return float(np.interp(run_length, total / (n_batches * batch), heights))


@lru_cache(maxsize=64)
def score_table(n_reference: int) -> FloatArray:
    """Return the normal score of rank j among m others in row m, column j; zeros where unused."""
    table = np.zeros((max(MOST_REFERENCE, n_reference) + 1,) * 2)
    for m in range(1, len(table)):
        table[m, : m + 1] = ndtri((np.arange(m + 1) + 0.5) / (m + 1))
    return frozen(table, np.float64)


@compiled
def add_run_lengths(
    draws: FloatArray,
    n_reference: int,
    scores: FloatArray,
    allowance: float,
    heights: FloatArray,
    total: FloatArray,
) -> None:
    """Add to ``total``, (G,), the blocks until each of ``heights`` is first reached, path by path.

    Parameters
    ----------
    draws : ndarray of shape (paths, n_reference + blocks)
        Exchangeable values: the held-out blocks, then the new ones.
    n_reference : int
    scores : ndarray
        See ``score_table``.
    allowance : float
    heights, total : ndarray of shape (G,)
        Ascending heights; a path that never reaches one counts as its length.
    """
    most = len(scores) - 1
    n_blocks = draws.shape[1] - n_reference
    calm, suspect = np.empty(most), np.empty(n_blocks)
    for path in range(len(draws)):
        calm[:n_reference] = draws[path, :n_reference]
        n_calm, n_suspect, level, reached = n_reference, 0, 0.0, 0
        for block in range(n_blocks):
            value = draws[path, n_reference + block]
            m = min(n_calm, most)
            below = 0
            for i in range(m):
                below += calm[i] < value
            level = max(0.0, level + scores[m, below] - allowance)
            while reached < len(heights) and level >= heights[reached] and level > 0.0:
                total[reached] += block + 1
                reached += 1
            if reached == len(heights):
                break
            suspect[n_suspect] = value
            n_suspect += 1
            if level == 0.0:
                for i in range(n_suspect):
                    calm[n_calm % most] = suspect[i]
                    n_calm += 1
                n_suspect = 0
        for height in range(reached, len(heights)):
            total[height] += n_blocks


@dataclass(slots=True)
class RankSum:
    """The CUSUM of normal scores: calm blocks, blocks under suspicion, and the level.

    A block joins the calm ones when the sum is back at 0: while a change is suspected, what it
    brings is not taken for normal. A calm block counts with the mean over as many series as the new
    one has, the same ones as far as it holds them: a mean over few spreads further than one over
    many, and the survivors of a panel, ranked among all of it, would soon look like a change.

    Attributes
    ----------
    calm : ndarray of shape (blocks, N)
        Energies, the oldest first; NaN where a series is not complete.
    suspect : list of ndarray of shape (N,)
    scores : ndarray
        See ``score_table``.
    allowance : float
    level : float
    """

    calm: FloatArray
    suspect: list[FloatArray]
    scores: FloatArray
    allowance: float
    level: float = 0.0

    def add(self, energies: FloatArray) -> float:
        """Add a block's energies, (N,), and return the level; a tie with calm blocks counts half.

        NaN where a series is not complete; at least one is.
        """
        new, calm = float(_mean(energies, ~np.isnan(energies))), self._alike(energies)
        below = int((calm < new).sum() + (calm <= new).sum())  # twice the mid-rank
        row = self.scores[len(calm)]
        score = 0.5 * (row[below // 2] + row[(below + 1) // 2])
        self.level = max(0.0, self.level + float(score) - self.allowance)
        self.suspect.append(energies)
        if self.level == 0.0:
            self.calm = np.vstack([self.calm, *self.suspect])[-self._most :]
            self.suspect = []
        return self.level

    @property
    def _most(self) -> int:
        return len(self.scores) - 1

    def _alike(self, energies: FloatArray) -> FloatArray:
        """Return means of the calm blocks over as many series as ``energies`` has, (blocks,)."""
        total: FloatArray = self.calm.sum(axis=1)
        whole = ~np.isnan(energies)
        if whole.all() and not np.isnan(total).any():  # the same numbers as below, sooner
            return np.divide(total, len(whole))
        known = ~np.isnan(self.calm)
        both, other = known & whole, known & ~whole
        first = np.cumsum(both, axis=1)
        place = np.where(both, first, first[:, -1:] + np.cumsum(other, axis=1))
        return _mean(self.calm, known & (place <= whole.sum()))


def _mean(energies: FloatArray, chosen: BoolArray) -> FloatArray:
    mean: FloatArray = np.where(chosen, energies, 0.0).sum(axis=-1) / chosen.sum(axis=-1)
    return mean
