"""What is fitted of ARMA models, what comes of it, and what an engine computes on the way."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from pmx_ray._typing import BoolArray, FloatArray, IntArray
from pmx_ray.kernels.arma_likelihood import N_LAGS


@dataclass(frozen=True, slots=True, eq=False)
class Jobs:
    """J models, each of a window.

    Attributes
    ----------
    window : ndarray of int, shape (J,)
        Position of the window.
    p, q : ndarray of int, shape (J,)
        Orders, 0 to 3.
    constant : ndarray of bool, shape (J,)
        Whether a mean is estimated.
    """

    window: IntArray
    p: IntArray
    q: IntArray
    constant: BoolArray

    def __len__(self) -> int:
        return len(self.window)

    def of(self, index: IntArray) -> "Jobs":
        """Return the jobs at ``index``."""
        return Jobs(self.window[index], self.p[index], self.q[index], self.constant[index])

    def centred(self, n_windows: int) -> BoolArray:
        """Return of which windows a mean is estimated, (W,)."""
        centred = np.zeros(n_windows, np.bool_)
        centred[self.window[self.constant]] = True
        return centred

    def free(self) -> FloatArray:
        """Return 1 where a job estimates a coefficient, else 0, (J, 6)."""
        lags = np.arange(N_LAGS)
        return np.hstack([lags < self.p[:, None], lags < self.q[:, None]]).astype(np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class ArmaFits:
    """Maximum-likelihood estimates of J jobs.

    Attributes
    ----------
    ar, ma : ndarray of shape (J, 3)
        phi and theta; zero beyond the order.
    mean : ndarray of shape (J,)
        mu; zero where none is estimated.
    variance : ndarray of shape (J,)
        sigma2 = S / n.
    loglik : ndarray of shape (J,)
        NaN where the values are constant.
    n_steps : ndarray of int, shape (J,)
        Evaluations after the first.
    converged : ndarray of bool, shape (J,)
        Whether the next step would gain less than ``ENOUGH``.
    """

    ar: FloatArray
    ma: FloatArray
    mean: FloatArray
    variance: FloatArray
    loglik: FloatArray
    n_steps: IntArray
    converged: BoolArray

    N_COLUMNS: ClassVar[int] = 11

    def as_rows(self) -> FloatArray:
        """Return all of it as one array, (J, 11)."""
        rest = (self.mean, self.variance, self.loglik, self.n_steps, self.converged)
        return np.column_stack([self.ar, self.ma, *rest])

    @classmethod
    def from_rows(cls, rows: FloatArray) -> "ArmaFits":
        """Return the fits that ``as_rows`` made an array of; NaN is a fit not made."""
        mean, variance, loglik, n_steps, converged = rows[:, 6:].T
        return cls(
            rows[:, :3],
            rows[:, 3:6],
            mean,
            variance,
            loglik,
            np.nan_to_num(n_steps).astype(np.int64),
            converged > 0.5,
        )


class Engine(Protocol):
    """Where the passes over windows are computed. What it takes and returns is NumPy's."""

    @property
    def lengths(self) -> IntArray:
        """Values of each window, (W,)."""

    @property
    def centres(self) -> FloatArray:
        """What is taken off each window of which a mean is estimated, (W,): its sample mean."""

    def autocovariances(self, jobs: Jobs) -> FloatArray:
        """Return sums of products at lags 0 to 15 of windows less their means, (J, 16)."""

    def scan(
        self, jobs: Jobs, base: FloatArray, *, factors: Sequence[FloatArray], n_roots: int
    ) -> FloatArray:
        """Return the pair of factors that promises the most added to each job, (K, J, 4).

        Parameters
        ----------
        jobs : Jobs
            Smaller models.
        base : ndarray of shape (J, 6)
            Their coefficients.
        factors : sequence of ndarray
            K sets of b1 and b2; a1, a2, b1, b2 of the best of each are returned.
        n_roots : int
            1 leaves a2 at zero.
        """

    def climb(self, jobs: Jobs, starts: FloatArray, *, most: int, exact: bool) -> FloatArray:
        """Return where searches from starts (J, 6) end, (J, 11): see ``arma_climb.climb``.

        Parameters
        ----------
        jobs : Jobs
            One a search.
        starts : ndarray of shape (J, 6)
            Coefficients, stationary and invertible.
        most : int
            Steps tried.
        exact : bool
            Whether all second derivatives are taken.
        """
