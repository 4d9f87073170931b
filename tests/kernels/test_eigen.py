"""Leading eigenpairs against LAPACK's full decomposition, and against matrices made by hand."""

import array_api_strict
import numpy as np
import pytest
from scipy.linalg import eigh_tridiagonal

from pmx_ray.kernels.eigen import MOST_STEPS, eigenpairs, lanczos, largest_of_tridiagonal

SIZES = pytest.mark.parametrize("size", [1, 2, 3, 8, 40, 141])


def gram(size: int, *, seed: int = 0) -> np.ndarray:
    matrix = np.random.default_rng(seed).normal(size=(size, size + 3))
    return matrix @ matrix.T


def same_up_to_sign(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(np.abs(np.sum(found * expected, axis=0)), 1.0, rtol=1e-10)


@SIZES
@pytest.mark.parametrize("n_vectors", [1, 2, 5])
def test_pairs_when_a_number_is_wanted_then_the_leading_ones(size, n_vectors):
    matrix = gram(size)
    values, vectors = np.linalg.eigh(matrix)
    n_vectors = min(n_vectors, size)
    found, basis = eigenpairs(matrix[None], n_vectors)
    np.testing.assert_allclose(found[0], values[::-1][:n_vectors], rtol=1e-12)
    same_up_to_sign(basis[0], vectors[:, ::-1][:, :n_vectors])


@SIZES
@pytest.mark.parametrize("n_vectors", [0, 1, 7])
def test_pairs_when_chosen_from_all_values_then_all_values_and_the_leading_vectors(size, n_vectors):
    matrix, seen = gram(size), []

    def choose(fold: int, values: np.ndarray) -> int:
        seen.append((fold, values.copy()))
        return min(n_vectors, size)

    values, vectors = np.linalg.eigh(matrix)
    found, basis = eigenpairs(np.stack([matrix]), choose)
    np.testing.assert_allclose(found[0], values[::-1], rtol=1e-10, atol=1e-10 * values[-1])
    assert np.array_equal(seen[0][1], found[0])
    assert basis.shape == (1, size, min(n_vectors, size))
    same_up_to_sign(basis[0], vectors[:, ::-1][:, :n_vectors])


def test_pairs_when_matrices_choose_differently_then_the_rest_is_zero():
    matrices = np.stack([gram(6), gram(6, seed=1)])
    _, basis = eigenpairs(matrices, lambda fold, values: 1 + 2 * fold)
    assert basis.shape == (2, 6, 3)
    assert not basis[0, :, 1:].any()
    same_up_to_sign(basis[1], np.linalg.eigh(matrices[1])[1][:, ::-1][:, :3])


@pytest.mark.parametrize("wanted", [1, 3, None, lambda fold, values: 2])
def test_pairs_when_on_array_api_strict_then_as_numpy(wanted):
    matrices = np.stack([gram(20), gram(20, seed=1)])
    values, basis = eigenpairs(matrices, wanted)
    strict = array_api_strict.asarray(matrices)
    found, other = eigenpairs(strict, wanted, xp=array_api_strict)
    np.testing.assert_allclose(found, values, rtol=1e-10)
    for one, two in zip(np.asarray(other), basis, strict=True):
        same_up_to_sign(one, two)


DEGENERATE = {
    "zero": np.zeros((5, 5)),
    "identity": np.eye(5),
    "rank one": np.outer(np.arange(5.0), np.arange(5.0)),
    "blocks": np.kron(np.diag([2.0, 3.0]), np.array([[1.0, 0.5], [0.5, 1.0]])),
    "one row empty": np.diag([1.0, 0.0, 2.0]),
}


@pytest.mark.parametrize("case", DEGENERATE)
@pytest.mark.parametrize("wanted", [1, 2, lambda fold, values: 2])
def test_pairs_when_degenerate_then_eigenvectors_all_the_same(case, wanted):
    matrix = DEGENERATE[case]
    values, basis = eigenpairs(matrix[None], wanted)
    n_vectors = basis.shape[2]
    expected = np.linalg.eigvalsh(matrix)[::-1]
    np.testing.assert_allclose(values[0], expected[: values.shape[1]], atol=1e-13)
    np.testing.assert_allclose(
        matrix @ basis[0], basis[0] * values[0, :n_vectors], atol=1e-12 * max(expected[0], 1.0)
    )
    np.testing.assert_allclose(basis[0].T @ basis[0], np.eye(n_vectors), atol=1e-12)


def test_lanczos_when_leading_values_lie_close_then_gives_up_and_lapack_finds_them():
    # The path's Laplacian: 0.006 apart at the top of [0, 4], too close for 80 steps.
    matrix = 2.0 * np.eye(200) - np.eye(200, k=1) - np.eye(200, k=-1)
    assert not lanczos(matrix, np.sin(np.arange(200.0) ** 2), MOST_STEPS)[2]
    values, basis = eigenpairs(matrix[None], 1)
    largest = 2.0 - 2.0 * np.cos(200 * np.pi / 201)
    assert values[0, 0] == pytest.approx(largest, abs=1e-13)
    np.testing.assert_allclose(matrix @ basis[0, :, 0], largest * basis[0, :, 0], atol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 3, 17, 60])
@pytest.mark.parametrize("seed", range(4))
def test_tridiagonal_when_random_then_as_lapack(size, seed):
    rng = np.random.default_rng(seed)
    diagonal, beside = rng.normal(size=size), rng.normal(size=size - 1)
    value, vector = largest_of_tridiagonal(diagonal, beside)
    values, vectors = eigh_tridiagonal(diagonal, beside)
    assert value == pytest.approx(values[-1], rel=1e-13, abs=1e-14)
    same_up_to_sign(vector[:, None], vectors[:, -1:])
