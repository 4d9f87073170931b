"""Multivariate singular spectrum analysis on Page matrices: spectrum, rank, linear recurrence.

Every function takes a stack of folds, each a joint model of its own; folds of a stack never mix.

Shapes: F folds, N series, T times, L values of a page (the window), C = N K pages, K pages a
series, k the rank kept. A missing value costs the one page it lies in. Arrays are of the namespace
``xp`` where the docstring says so, and NumPy's everywhere else.

References
----------
Alomar, Dahleh, Mann, Shah (2023), SAMoSSA, NeurIPS, arXiv 2305.16491.
Gavish, Donoho (2014), The optimal hard threshold for singular values is 4/sqrt(3), IEEE
Transactions on Information Theory 60, 5040-5053.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from types import ModuleType
from typing import Literal, TypeAlias

import numpy as np

from pmx_ray._typing import BoolArray, FloatArray, IntArray
from pmx_ray.errors import DataError
from pmx_ray.kernels.eigen import Chosen, eigenpairs, on_host, transposed

RankRule: TypeAlias = Literal["donoho", "energy"] | int
"""How many singular values are kept: above Donoho's threshold, 90 % of the energy, or a number."""

ENERGY = 0.9
"""Share of the sum of squared singular values that the rule ``energy`` keeps."""

VERTICAL = 1e-10
"""Smallest ``1 - |u|^2`` (u: last row of the basis) at which a recurrence exists."""


@dataclass(frozen=True, slots=True, eq=False)
class Pages:
    """The stacked Page matrices of F folds, transposed: a page is a row.

    Attributes
    ----------
    rows : ndarray of xp, shape (F, C, L)
        Non-overlapping stretches of L values, series after series; zeros where a value is missing.
    complete : ndarray of bool of xp, shape (F, C), optional
        Which pages have no missing value; absent where all are complete.
    n_complete : ndarray of int, shape (F,)
        Pages without a missing value.
    n_series : int
        N.
    """

    rows: FloatArray
    complete: BoolArray | None
    n_complete: IntArray
    n_series: int

    @property
    def length(self) -> int:
        """Values of a page, L."""
        return int(self.rows.shape[2])


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """Leading left singular vectors of F Page matrices.

    Attributes
    ----------
    ranks : ndarray of int, shape (F, rules)
        What each rule keeps.
    basis : ndarray of xp, shape (F, L, k)
        k is at least the largest rank; signs are arbitrary and never matter.
    """

    ranks: IntArray
    basis: FloatArray

    def leading(self, ranks: IntArray, *, xp: ModuleType = np) -> FloatArray:
        """Return so many vectors of each fold, (F, L, largest of ``ranks`` (F,)).

        Where a fold keeps fewer than another, its columns beyond are zeros.
        """
        basis = self.basis[:, :, : int(ranks.max())]
        if (ranks == ranks[0]).all():
            return basis
        beyond = np.arange(basis.shape[2]) >= ranks[:, None, None]
        masked: FloatArray = xp.where(xp.asarray(beyond), xp.zeros_like(basis), basis)
        return masked


def window_length(n_series: int, n_times: int, *, shape_ratio: int) -> int:
    """Return L = sqrt(N T / ratio), so that the matrix has ``ratio`` times as many columns as rows.

    At least 2, and at most half of ``n_times``, so that each series gives two columns.

    Raises
    ------
    DataError
        If there are fewer than 4 times.
    """
    if n_times < 4:
        raise DataError(f"{n_times} times cannot be cut into pages; at least 4 are needed")
    return min(max(isqrt(n_series * n_times // shape_ratio), 2), n_times // 2)


def cut_pages(series: FloatArray, length: int, *, xp: ModuleType = np) -> Pages:
    """Cut each fold's series into pages of ``length`` values.

    The first ``T mod L`` values are left out, so that the last page ends on the last value.

    Parameters
    ----------
    series : ndarray of xp, shape (F, N, T)
        Standardised series; NaN where a value is missing.
    length : int
        Values of a page, L, 2 <= L <= T.
    xp : module
        Array namespace.

    Raises
    ------
    DataError
        If a fold has no page without a missing value.
    """
    n_folds, n_series, n_times = series.shape
    n_pages = n_times // length
    shape = (n_folds, n_series * n_pages, length)
    rows = xp.reshape(series[:, :, n_times - n_pages * length :], shape)
    missing = xp.isnan(rows)
    if not bool(xp.any(missing)):
        return Pages(rows, None, np.full(n_folds, shape[1], np.int64), n_series)
    complete = xp.logical_not(xp.any(missing, axis=2))
    n_complete = np.array([int(of_one.sum()) for of_one in on_host(complete)])
    if not n_complete.all():
        raise DataError(f"no stretch of {length} values is free of missing ones")
    rows = xp.where(complete[:, :, None], rows, xp.zeros_like(rows))
    return Pages(rows, complete, n_complete, n_series)


def left_spectrum(
    pages: Pages,
    rules: Sequence[RankRule],
    *,
    vectors: Literal["kept", "all", "none"] = "kept",
    xp: ModuleType = np,
) -> Spectrum:
    """Return what ``rules`` keep of the left singular vectors of each Page matrix.

    They come from the Gram matrix of the smaller side, (C, C) or (L, L), several times as fast as
    from a singular value decomposition. Pages that are left out are zeros there and add nothing.

    Parameters
    ----------
    pages : Pages
    rules : sequence of RankRule
        At least one.
    vectors : str
        Which left singular vectors to return: those that the rule with the largest rank keeps, all,
        or none.
    xp : module
        Array namespace of the pages: numpy, or cupy on a card.
    """
    rows, shapes = pages.rows, [(pages.length, int(n)) for n in pages.n_complete]
    columns = transposed(rows, xp)  # (F, L, C)
    tall = rows.shape[1] < pages.length
    gram = xp.matmul(rows, columns) if tall else xp.matmul(columns, rows)

    def ranks_of(fold: int, squares: FloatArray) -> list[int]:
        values = _singular_values(squares, shapes[fold])
        return [choose_rank(rule, values, shapes[fold]) for rule in rules]

    def n_kept(fold: int, squares: FloatArray) -> int:
        return 0 if vectors == "none" else max(ranks_of(fold, squares))

    fixed = [rule for rule in rules if isinstance(rule, int)]
    wanted: int | Chosen | None = n_kept
    if vectors == "all":
        wanted = None
    elif vectors == "kept" and len(fixed) == len(rules):
        wanted = max(fixed)
    squares, basis = eigenpairs(gram, wanted, xp=xp)
    ranks = np.array([ranks_of(fold, of_one) for fold, of_one in enumerate(squares)])
    if tall:
        # A left vector is the pages weighted by the right one; those beyond the rank are not used.
        sizes = np.sqrt(np.maximum(squares[:, None, : basis.shape[2]], np.finfo(np.float64).tiny))
        basis = xp.matmul(columns, basis) / xp.asarray(sizes)
    return Spectrum(ranks, basis)


def _singular_values(squares: FloatArray, shape: tuple[int, int]) -> FloatArray:
    """Return the singular values of an (L, C) matrix from eigenvalues of a Gram matrix, (R,).

    Those below ``sqrt(eps)`` of the largest are rounding of that square, and are 0.
    """
    squares = np.maximum(squares[: min(shape)], 0.0)
    floor = max(shape) * np.finfo(np.float64).eps * squares[0]
    values: FloatArray = np.sqrt(np.where(squares > floor, squares, 0.0))
    return values


def choose_rank(rule: RankRule, singular_values: FloatArray, shape: tuple[int, int]) -> int:
    """Return how many singular values of an (L, C) matrix to keep, 0 to L - 1.

    Parameters
    ----------
    rule : "donoho", "energy" or int
        ``donoho`` keeps those above omega(b) times their median, with b the ratio of the shorter
        to the longer side and omega(b) = 0.56 b^3 - 0.95 b^2 + 1.82 b + 1.43; ``energy`` the
        fewest that hold 90 % of the sum of squares; a number that many.
    singular_values : ndarray of shape (R,)
        Descending. A number needs the leading ones only, the other rules need all.
    shape : (int, int)
        Of the matrix.

    Examples
    --------
    >>> choose_rank("energy", np.array([3.0, 1.0, 0.5]), (3, 9))
    2
    """
    if rule == "donoho":
        ratio = min(shape) / max(shape)
        omega = 0.56 * ratio**3 - 0.95 * ratio**2 + 1.82 * ratio + 1.43
        wanted = int(np.sum(singular_values > omega * np.median(singular_values)))
    elif rule == "energy":
        energy = np.cumsum(singular_values**2)
        wanted = int(np.searchsorted(energy, ENERGY * energy[-1])) + 1
    else:
        wanted = rule
    return min(wanted, int(np.sum(singular_values > 0.0)), shape[0] - 1)


def recurrence(basis: FloatArray, *, xp: ModuleType = np) -> FloatArray:
    """Return the least-squares coefficients of the last row on the L - 1 rows above it.

    Of all solutions the shortest one. With U the basis, u its last row and V the rows above, it is
    ``V u / (1 - |u|^2)``, whatever the signs of U.

    Parameters
    ----------
    basis : ndarray of xp, shape (F, L, k)
        Left singular vectors that are kept; columns of zeros do nothing.
    xp : module
        Array namespace.

    Returns
    -------
    ndarray of xp, shape (F, L - 1)
        Lag 1 first: the next value is ``sum(beta[i] * y[t - i])``. Zeros where no recurrence
        exists (the last unit vector lies in the span of the basis).
    """
    last = basis[:, -1, :]
    free = 1.0 - xp.sum(last * last, axis=1, keepdims=True)  # (F, 1)
    above = xp.flip(xp.matmul(basis[:, :-1, :], last[:, :, None])[:, :, 0], axis=1)
    exists = free >= VERTICAL
    beta: FloatArray = xp.where(
        exists, above / xp.where(exists, free, xp.ones_like(free)), 0.0 * above
    )
    return beta


def residuals(pages: Pages, basis: FloatArray, *, xp: ModuleType = np) -> FloatArray:
    """Return series minus denoised series, the last K L times of each.

    The denoised matrix is the projection on the left singular vectors that are kept.

    Parameters
    ----------
    pages : Pages
    basis : ndarray of xp, shape (F, L, k)
    xp : module
        Array namespace.

    Returns
    -------
    ndarray of xp, shape (F, N, K L)
        NaN where a page had a missing value.
    """
    left = pages.rows - xp.matmul(xp.matmul(pages.rows, basis), transposed(basis, xp))
    if pages.complete is not None:
        left = xp.where(pages.complete[:, :, None], left, xp.full_like(left, np.nan))
    series: FloatArray = xp.reshape(left, (left.shape[0], pages.n_series, -1))
    return series
