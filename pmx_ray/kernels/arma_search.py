"""Orders of ARMA models by AICc, for many windows at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from pmx_ray._typing import BoolArray, FloatArray, IntArray
from pmx_ray.kernels.arma import ArmaFits, Jobs, fit_arma, roots_within
from pmx_ray.kernels.arma_likelihood import N_LAGS

Search: TypeAlias = Literal["stepwise", "grid"]

Fit: TypeAlias = Callable[[Sequence[FloatArray], Jobs], ArmaFits]
"""What fits candidates: ``fit_arma`` of an engine."""

MAX_CANDIDATE_ROOT = 0.99
"""Largest inverse root, of either part, that a candidate may have."""

_NEIGHBOURS = ((-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))
"""Steps in p and q, in the order in which they are tried."""


def aicc(fits: ArmaFits, jobs: Jobs, lengths: IntArray) -> FloatArray:
    """Return the corrected information criterion of J fits of windows of given lengths, (J,).

    Infinite where the optimiser gave up, or a root lies within 1 % of the unit circle.

    References
    ----------
    Hurvich and Tsai (1989), Biometrika 76, 297-307.
    """
    n_parameters = jobs.p + jobs.q + jobs.constant + 1
    spare = lengths - n_parameters - 1
    value = (
        2.0 * n_parameters * (1.0 + (n_parameters + 1) / np.maximum(spare, 1)) - 2.0 * fits.loglik
    )
    within = roots_within(fits.ar, MAX_CANDIDATE_ROOT) & roots_within(-fits.ma, MAX_CANDIDATE_ROOT)
    fine = within & fits.converged & np.isfinite(value) & (spare > 0)
    return np.where(fine, value, np.inf)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The model of each of W windows that has the least AICc of those tried.

    Attributes
    ----------
    p, q : ndarray of int, shape (W,)
        Order; -1 where no candidate could be fitted.
    fits : ArmaFits
        Its estimates.
    """

    p: IntArray
    q: IntArray
    fits: ArmaFits


class _Board:
    """Candidates fitted so far: AICc of shape (W, 4, 4), NaN where not fitted, and estimates."""

    def __init__(self, windows: Sequence[FloatArray], constant: BoolArray, fit: Fit) -> None:
        self.windows, self.constant, self._fit = windows, constant, fit
        self.lengths = np.array([len(one) for one in windows])
        self.criterion = np.full((len(windows), N_LAGS + 1, N_LAGS + 1), np.nan)
        self.estimates = np.full((len(windows), N_LAGS + 1, N_LAGS + 1, 11), np.nan)

    def fit(self, wanted: BoolArray) -> None:
        """Fit the candidates of ``wanted``, (W, 4, 4), that are not fitted yet."""
        window, p, q = np.nonzero(wanted & np.isnan(self.criterion))
        if window.size == 0:
            return
        jobs = Jobs(window, p, q, self.constant[window])
        fits = self._fit(self.windows, jobs)
        self.criterion[window, p, q] = aicc(fits, jobs, self.lengths[window])
        self.estimates[window, p, q] = fits.as_rows()

    def result(self, p: IntArray, q: IntArray) -> Found:
        window = np.arange(len(p))
        viable = np.isfinite(self.criterion[window, p, q])
        fits = ArmaFits.from_rows(self.estimates[window, p, q])
        return Found(np.where(viable, p, -1), np.where(viable, q, -1), fits)


def search_orders(
    windows: Sequence[FloatArray],
    constant: BoolArray,
    *,
    max_p: int,
    max_q: int,
    search: Search,
    fit: Fit = fit_arma,
) -> Found:
    """Search p and q of every window for the smallest AICc.

    Parameters
    ----------
    windows : sequence of ndarray
        W windows of stationary values.
    constant : ndarray of bool, shape (W,)
        Whether a mean is estimated.
    max_p, max_q : int
        Highest orders, 0 to 3.
    search : str
        ``grid`` fits every order; ``stepwise`` walks from the best of (2, 2), (0, 0), (1, 0) and
        (0, 1) to the first better neighbour until there is none.
    fit : callable
        Fits the candidates; the search itself is the host's.

    References
    ----------
    Hyndman and Khandakar (2008), Journal of Statistical Software 27(3), section 3.2.
    """
    board = _Board(windows, constant, fit)
    if search == "grid":
        wanted = np.zeros(board.criterion.shape, np.bool_)
        wanted[:, : max_p + 1, : max_q + 1] = True
        board.fit(wanted)
        flat = np.where(wanted, board.criterion, np.inf).reshape(len(windows), -1)
        p, q = np.divmod(flat.argmin(1), N_LAGS + 1)
        return board.result(p, q)
    return _walk(board, max_p, max_q)


def _walk(board: _Board, max_p: int, max_q: int) -> Found:
    n_windows = len(board.windows)
    starts = [(min(2, max_p), min(2, max_q)), (0, 0), (min(1, max_p), 0), (0, min(1, max_q))]
    wanted = np.zeros(board.criterion.shape, np.bool_)
    for p, q in starts:
        wanted[:, p, q] = True
    board.fit(wanted)
    at = [_least(board.criterion[row], starts) for row in range(n_windows)]
    moving = list(range(n_windows))
    while moving:
        wanted[:] = False
        for row in moving:
            for p, q in _around(at[row], max_p, max_q):
                wanted[row, p, q] = True
        board.fit(wanted)
        still = []
        for row in moving:
            here = board.criterion[row][at[row]]
            for there in _around(at[row], max_p, max_q):
                if board.criterion[row][there] < here:
                    at[row] = there
                    still.append(row)
                    break
        moving = still
    p, q = np.array(at).T
    return board.result(p, q)


def _least(criterion: FloatArray, orders: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return min(orders, key=lambda order: criterion[order])


def _around(at: tuple[int, int], max_p: int, max_q: int) -> list[tuple[int, int]]:
    around = [(at[0] + dp, at[1] + dq) for dp, dq in _NEIGHBOURS]
    return [(p, q) for p, q in around if 0 <= p <= max_p and 0 <= q <= max_q]
