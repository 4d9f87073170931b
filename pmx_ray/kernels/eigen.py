"""Leading eigenpairs of stacks of symmetric matrices: LAPACK one by one, or a card's ``eigh``.

On the host one leading pair comes from a Lanczos iteration. More than one come from the
tridiagonal form, to which a matrix is brought once; the eigenvalues and the few eigenvectors that
are wanted cost a fraction of all. Matrices are walked one by one, so that the bits of one do not
depend on the others.

Shapes: F matrices of n rows, k eigenvectors.

References
----------
Parlett (1998), The Symmetric Eigenvalue Problem, SIAM, chapter 13.
"""

from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import TypeAlias

import numpy as np
from scipy.linalg import eigh, lapack

from pmx_ray._typing import FloatArray, frozen
from pmx_ray.kernels.compiling import compiled, inner

Chosen: TypeAlias = Callable[[int, FloatArray], int]
"""From the number of a matrix and its eigenvalues, (n,), descending, how many vectors to take."""

SPLIT = 1e-14
"""Off-diagonal of a tridiagonal form, relative to its largest entry, at which it falls apart."""

CONVERGED = 1e-14
"""Residual of a leading pair, relative to its eigenvalue, at which the iteration ends."""

MOST_STEPS = 80
"""Lanczos steps after which a matrix is left to LAPACK: its leading eigenvalues lie too close."""

CHECK_EVERY = 4
"""Lanczos steps between two looks at the residual."""


def eigenpairs(
    matrices: FloatArray, n_vectors: int | Chosen | None = None, *, xp: ModuleType = np
) -> tuple[FloatArray, FloatArray]:
    """Return eigenvalues and leading eigenvectors of positive semi-definite matrices.

    Parameters
    ----------
    matrices : ndarray of xp, shape (F, n, n)
    n_vectors : int or callable, optional
        A number k takes the k leading pairs and no further eigenvalue; a callable chooses k when
        it has seen all eigenvalues; unless given, all.
    xp : module
        Array namespace.

    Returns
    -------
    values : ndarray of shape (F, n), or (F, k) where k was given
        Descending.
    vectors : ndarray of xp, shape (F, n, k)
        Columns, k the largest number that is chosen; zeros beyond a matrix' own number.

    Raises
    ------
    numpy.linalg.LinAlgError
        If an eigenvalue is not found.
    """
    size = int(matrices.shape[1])
    if isinstance(n_vectors, int):
        n_vectors = min(n_vectors, size)
    if xp is np:
        pairs = [_of_one(matrix, n_vectors, fold) for fold, matrix in enumerate(matrices)]
        most = max(vectors.shape[1] for _, vectors in pairs)
        stacked = np.zeros((len(pairs), size, most))
        for fold, (_, vectors) in enumerate(pairs):
            stacked[fold, :, : vectors.shape[1]] = vectors
        return np.stack([values for values, _ in pairs]), stacked
    ascending, vectors = xp.linalg.eigh(matrices)
    values = on_host(ascending)[:, ::-1]
    if isinstance(n_vectors, int):
        values, most = values[:, :n_vectors], n_vectors
    elif n_vectors is None:
        most = size
    else:
        most = max(n_vectors(fold, of_one) for fold, of_one in enumerate(values))
    return values, xp.flip(vectors, axis=-1)[:, :, :most]


def _of_one(
    matrix: FloatArray, n_vectors: int | Chosen | None, fold: int
) -> tuple[FloatArray, FloatArray]:
    size = len(matrix)
    if n_vectors is None:
        values, vectors = np.linalg.eigh(matrix)
        return values[::-1], vectors[:, ::-1]
    if n_vectors == 1:
        start = _start(size).copy()  # a read-only array would be compiled for anew
        value, vector, found = lanczos(np.ascontiguousarray(matrix), start, MOST_STEPS)
        if found:
            return np.array([value]), vector[:, None]
    if isinstance(n_vectors, int):
        subset = (size - n_vectors, size - 1)
        values, vectors = eigh(matrix, subset_by_index=subset, check_finite=False)
        return values[::-1], vectors[:, ::-1]
    return _chosen(matrix, n_vectors, fold)


@cache
def _start(size: int) -> FloatArray:
    """Return the vector that the iteration starts from; any without a pattern serves."""
    return frozen(np.random.default_rng(size).normal(size=size), np.float64)


@compiled
def lanczos(matrix: FloatArray, start: FloatArray, n_steps: int) -> tuple[float, FloatArray, bool]:
    """Return the largest eigenvalue and its vector, and whether they were found.

    Parameters
    ----------
    matrix : ndarray of shape (n, n)
        Symmetric, positive semi-definite, C-ordered.
    start : ndarray of shape (n,)
        Not orthogonal to the vector sought.
    n_steps : int
        Most steps; every basis vector is made orthogonal to all before it, twice.
    """
    size = len(matrix)
    n_steps = min(n_steps, size)
    basis = np.empty((n_steps, size))
    diagonal, beside = np.empty(n_steps), np.empty(n_steps)
    step, overlap = np.empty(size), np.empty(n_steps)
    length = np.sqrt(dot(start, start))
    for k in range(size):
        basis[0, k] = start[k] / length
    for j in range(n_steps):
        weighted_sum(basis[j], matrix, size, step)
        diagonal[j] = dot(step, basis[j])
        for _ in range(2):
            for i in range(j + 1):
                overlap[i] = -dot(basis[i], step)
            add_weighted(overlap, basis, j + 1, step)
        beside[j] = np.sqrt(dot(step, step))
        ended = beside[j] <= CONVERGED * abs(diagonal[0]) or j == n_steps - 1
        if ended or j % CHECK_EVERY == CHECK_EVERY - 1:
            value, weights = largest_of_tridiagonal(diagonal[: j + 1], beside[:j])
            if beside[j] * abs(weights[j]) <= CONVERGED * value:
                weighted_sum(weights, basis, j + 1, step)
                return value, step, True
            if ended:
                break
        for k in range(size):
            basis[j + 1, k] = step[k] / beside[j]
    return 0.0, start.copy(), False


@inner
def dot(a: FloatArray, b: FloatArray) -> float:
    """Return ``sum(a * b)`` of two vectors of shape (n,), in four partial sums."""
    size = len(a)
    first, second, third, fourth = 0.0, 0.0, 0.0, 0.0
    whole = size - size % 4
    for k in range(0, whole, 4):
        first += a[k] * b[k]
        second += a[k + 1] * b[k + 1]
        third += a[k + 2] * b[k + 2]
        fourth += a[k + 3] * b[k + 3]
    for k in range(whole, size):
        first += a[k] * b[k]
    return (first + second) + (third + fourth)


@inner
def add_weighted(weights: FloatArray, rows: FloatArray, n_rows: int, total: FloatArray) -> None:
    """Add to ``total``, (n,), the first ``n_rows`` of rows (m, n), each times its weight."""
    for i in range(n_rows):
        weight = weights[i]
        for k in range(len(total)):
            total[k] += weight * rows[i, k]


@inner
def weighted_sum(weights: FloatArray, rows: FloatArray, n_rows: int, total: FloatArray) -> None:
    """Write what ``add_weighted`` adds over ``total``, (n,)."""
    for k in range(len(total)):
        total[k] = 0.0
    add_weighted(weights, rows, n_rows, total)


@compiled
def largest_of_tridiagonal(diagonal: FloatArray, beside: FloatArray) -> tuple[float, FloatArray]:
    """Return the largest eigenvalue and its unit vector of a symmetric tridiagonal matrix.

    The value comes from bisection on the signs of the pivots of ``T - x``, the vector from the
    factors from both ends, joined where they nearly cancel (Dhillon, Parlett 2004, Linear Algebra
    and its Applications 387, 1-28).

    Parameters
    ----------
    diagonal : ndarray of shape (n,)
    beside : ndarray of shape (n - 1,)
    """
    size = len(diagonal)
    high = low = diagonal[0]
    for i in range(size):
        low = max(low, diagonal[i])
        reach = diagonal[i]
        if i > 0:
            reach += abs(beside[i - 1])
        if i < size - 1:
            reach += abs(beside[i])
        high = max(high, reach)
    middle = 0.5 * (low + high)
    while low < middle < high:  # until no number lies between
        pivot = diagonal[0] - middle
        i = 1
        while pivot < 0.0 and i < size:
            pivot = diagonal[i] - middle - beside[i - 1] ** 2 / pivot
            i += 1
        if pivot < 0.0:
            high = middle
        else:
            low = middle
        middle = 0.5 * (low + high)
    down, up = np.empty(size), np.empty(size)
    tiny = 1e-300
    down[0] = diagonal[0] - high
    for i in range(1, size):
        down[i] = diagonal[i] - high - beside[i - 1] ** 2 / (down[i - 1] - tiny)
    up[size - 1] = diagonal[size - 1] - high
    for i in range(size - 2, -1, -1):
        up[i] = diagonal[i] - high - beside[i] ** 2 / (up[i + 1] - tiny)
    joint, least = 0, np.inf
    for i in range(size):
        pivot = abs(down[i] + up[i] - (diagonal[i] - high))
        if pivot < least:
            joint, least = i, pivot
    vector = np.empty(size)
    vector[joint] = 1.0
    for i in range(joint - 1, -1, -1):
        vector[i] = -beside[i] * vector[i + 1] / (down[i] - tiny)
    for i in range(joint + 1, size):
        vector[i] = -beside[i - 1] * vector[i - 1] / (up[i] - tiny)
    length = np.sqrt(dot(vector, vector))
    for i in range(size):
        vector[i] /= length
    return high, vector


def _chosen(matrix: FloatArray, choose: Chosen, fold: int) -> tuple[FloatArray, FloatArray]:
    """Return all eigenvalues and the chosen eigenvectors of one matrix."""
    size = len(matrix)
    n_work = int(lapack.dsytrd_lwork(size, lower=1)[0])
    reflectors, diagonal, beside, tau, _ = lapack.dsytrd(matrix, lower=1, lwork=n_work)
    largest = max(np.abs(diagonal).max(), np.abs(beside).max(initial=0.0))
    if size < 3 or np.abs(beside).min() <= SPLIT * largest:
        values, vectors = np.linalg.eigh(matrix)  # inverse iteration wants one block
        return values[::-1], vectors[:, ::-1][:, : choose(fold, values[::-1])]
    values, failed = lapack.dsterf(diagonal, beside)
    if failed:
        raise np.linalg.LinAlgError(f"{failed} eigenvalues of a {size} x {size} matrix not found")
    n_vectors = choose(fold, values[::-1])
    if n_vectors == 0:
        return values[::-1], np.zeros((size, 0))
    blocks, ends = np.ones(size, np.int32), np.full(size, size, np.int32)
    inner, failed = lapack.dstein(diagonal, beside, values[size - n_vectors :], blocks, ends)
    if failed:
        raise np.linalg.LinAlgError(f"{failed} eigenvectors of a {size} x {size} matrix not found")
    vectors = np.array(inner[:, :n_vectors], order="F")
    turned, _, _ = lapack.dormqr("L", "N", reflectors[1:, :-1], tau, vectors[1:], 64 * n_vectors)
    vectors[1:] = turned
    return values[::-1], vectors[:, ::-1]


def transposed(matrices: FloatArray, xp: ModuleType) -> FloatArray:
    """Return matrices (..., n, m) as (..., m, n); CuPy before 14 lacks the standard's name."""
    turn = getattr(xp, "matrix_transpose", None)
    found: FloatArray = xp.swapaxes(matrices, -1, -2) if turn is None else turn(matrices)
    return found


def joined(arrays: Sequence[FloatArray], axis: int, xp: ModuleType) -> FloatArray:
    """Return arrays put end to end; CuPy before 14 lacks the standard's name."""
    join = getattr(xp, "concat", None) or xp.concatenate
    found: FloatArray = join(arrays, axis=axis)
    return found


def on_host(array: object) -> FloatArray:
    """Return an array of any namespace as NumPy's; CuPy's has its own ``get``."""
    get = getattr(array, "get", None)
    host: FloatArray = np.asarray(array if get is None else get())
    return host
