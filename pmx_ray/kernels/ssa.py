"""Multivariate singular spectrum analysis on a Page matrix: spectrum, rank, linear recurrence.

Shapes: N series, T times, L rows of the Page matrix (the window), C its complete columns, K
columns a series, k the rank kept. A missing value is NaN and costs the one column it lies in.

References
----------
Alomar, Dahleh, Mann, Shah (2023), SAMoSSA, NeurIPS, arXiv 2305.16491.
Gavish, Donoho (2014), The optimal hard threshold for singular values is 4/sqrt(3), IEEE
Transactions on Information Theory 60, 5040-5053.
"""

from dataclasses import dataclass
from math import isqrt
from types import ModuleType
from typing import Literal, TypeAlias

import numpy as np

from pmx_ray._typing import BoolArray, FloatArray, frozen
from pmx_ray.errors import DataError

RankRule: TypeAlias = Literal["donoho", "energy"] | int
"""How many singular values are kept: above Donoho's threshold, 90 % of the energy, or a number."""

ENERGY = 0.9
"""Share of the sum of squared singular values that the rule ``energy`` keeps."""

VERTICAL = 1e-10
"""Smallest ``1 - |u|^2`` (u: last row of the basis) at which a recurrence exists."""


@dataclass(frozen=True, slots=True, eq=False)
class Pages:
    """The stacked Page matrix of N series, and its left singular vectors.

    Attributes
    ----------
    matrix : ndarray of shape (L, C)
        Non-overlapping stretches of L values as columns, series after series.
    complete : ndarray of bool, shape (N, K)
        Which stretches have no missing value and so became a column.
    basis : ndarray of shape (L, R)
        Left singular vectors, R = min(L, C); signs are arbitrary and never matter.
    singular_values : ndarray of shape (R,)
        Descending, >= 0.
    """

    matrix: FloatArray
    complete: BoolArray
    basis: FloatArray
    singular_values: FloatArray

    def __post_init__(self) -> None:
        for name in ("matrix", "basis", "singular_values"):
            object.__setattr__(self, name, frozen(getattr(self, name), np.float64))
        object.__setattr__(self, "complete", frozen(self.complete, np.bool_))

    @property
    def length(self) -> int:
        """Rows of the matrix, L."""
        return int(self.matrix.shape[0])


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


def decompose(series: FloatArray, length: int, *, xp: ModuleType = np) -> Pages:
    """Cut ``series`` into pages of ``length`` values and take the spectrum of their matrix.

    The first ``T mod L`` values are left out, so that the last page ends on the last value.

    Parameters
    ----------
    series : ndarray of shape (N, T)
        Standardised series; NaN where a value is missing.
    length : int
        Rows L of the matrix, 2 <= L <= T.
    xp : module
        Array namespace that carries the matrix products: numpy, or cupy on a card.

    Raises
    ------
    DataError
        If no stretch of ``length`` values is complete.
    """
    n_series, n_times = series.shape
    n_columns = n_times // length
    cut = series[:, n_times - n_columns * length :].reshape(n_series, n_columns, length)
    complete: BoolArray = np.logical_not(np.isnan(cut).any(axis=2))
    if not complete.any():
        raise DataError(f"no stretch of {length} values is free of missing ones")
    matrix = np.ascontiguousarray(cut[complete].T)
    basis, singular_values = left_spectrum(matrix, xp=xp)
    return Pages(matrix, complete, basis, singular_values)


def left_spectrum(matrix: FloatArray, *, xp: ModuleType = np) -> tuple[FloatArray, FloatArray]:
    """Return left singular vectors (L, R) and singular values (R,) of an (L, C) matrix.

    They come from the L x L Gram matrix, twice as fast as a full decomposition where C >= L.
    Singular values below ``sqrt(eps)`` of the largest are rounding of that square, and are 0.
    """
    on_device = xp.asarray(matrix)
    gram = xp.matmul(on_device, xp.asarray(np.ascontiguousarray(matrix.T)))
    values, vectors = xp.linalg.eigh(gram)
    squares = np.clip(_to_host(values)[::-1], 0.0, None)
    floor = max(matrix.shape) * np.finfo(np.float64).eps * squares[0]
    singular_values = np.sqrt(np.where(squares > floor, squares, 0.0))
    n_values = min(matrix.shape)
    return _to_host(vectors)[:, ::-1][:, :n_values], singular_values[:n_values]


def choose_rank(rule: RankRule, singular_values: FloatArray, shape: tuple[int, int]) -> int:
    """Return how many singular values of an (L, C) matrix to keep, 0 to L - 1.

    Parameters
    ----------
    rule : "donoho", "energy" or int
        ``donoho`` keeps those above omega(b) times their median, with b the ratio of the shorter
        to the longer side and omega(b) = 0.56 b^3 - 0.95 b^2 + 1.82 b + 1.43; ``energy`` the
        fewest that hold 90 % of the sum of squares; a number that many.
    singular_values : ndarray of shape (R,)
        Descending.
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


def recurrence(pages: Pages, rank: int) -> FloatArray:
    """Return the least-squares coefficients of the last row on the L - 1 rows above it.

    Of all solutions the shortest one. With U the first ``rank`` columns of the basis, u its last
    row and V the rows above, it is ``V u / (1 - |u|^2)``, whatever the signs of U.

    Returns
    -------
    ndarray of shape (L - 1,)
        Lag 1 first: the next value is ``sum(beta[i] * y[t - i])``. Zeros where rank is 0 or no
        recurrence exists (the last unit vector lies in the span of the basis).
    """
    above, last = pages.basis[:-1, :rank], pages.basis[-1, :rank]
    free = 1.0 - float(last @ last)
    if rank == 0 or free < VERTICAL:
        return np.zeros(pages.length - 1)
    beta: FloatArray = (above @ last)[::-1] / free
    return beta


def residuals(pages: Pages, rank: int) -> FloatArray:
    """Return series minus denoised series, (N, K L); NaN where a page had a missing value.

    The denoised matrix is the projection on the first ``rank`` left singular vectors.
    """
    n_series, n_columns = pages.complete.shape
    basis = pages.basis[:, :rank]
    left = pages.matrix - basis @ (basis.T @ pages.matrix)
    cut = np.full((n_series, n_columns, pages.length), np.nan)
    cut[pages.complete] = left.T
    return cut.reshape(n_series, n_columns * pages.length)


def _to_host(array: object) -> FloatArray:
    """Return an array of any namespace as a NumPy array; CuPy's has its own ``get``."""
    get = getattr(array, "get", None)
    host: FloatArray = np.asarray(array if get is None else get(), np.float64)
    return host
