"""The Page matrix, its spectrum, the rank rules and the recurrence, against the paper's forms."""

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmx_ray.errors import DataError
from pmx_ray.kernels.ssa import (
    Pages,
    choose_rank,
    cut_pages,
    left_spectrum,
    recurrence,
    residuals,
    window_length,
)


def sinusoids_and_trend(n_times: int, weights: np.ndarray) -> np.ndarray:
    """Return mixtures of two sinusoids and a line: linear recurrent of rank 6."""
    t = np.arange(n_times)
    parts = np.stack([np.sin(0.31 * t + 0.4), np.cos(0.9 * t), 0.01 * t, np.ones(n_times)])
    return weights @ parts


@pytest.fixture
def noiseless() -> np.ndarray:
    return sinusoids_and_trend(240, np.random.default_rng(3).normal(size=(4, 4)))


def recurrence_by_lstsq(matrix: np.ndarray, rank: int) -> np.ndarray:
    """Return the paper's form: SVD, truncate, regress the last row on the others; lag 1 first."""
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    low = (u[:, :rank] * s[:rank]) @ vt[:rank]
    return np.linalg.lstsq(low[:-1].T, low[-1], rcond=1e-9)[0][::-1]


@pytest.mark.parametrize(
    ("n_series", "n_times", "ratio", "length"),
    [
        (25, 10_000, 1, 500),
        (25, 10_000, 3, 288),  # sqrt(250000 / 3) = 288.7
        (25, 10_000, 5, 223),
        (1, 100, 1, 10),
        (100, 64, 1, 32),  # sqrt(6400) = 80, capped at half of 64
        (1, 4, 5, 2),  # sqrt(4 / 5) = 0.9, at least 2
    ],
)
def test_window_length_when_shape_ratio_then_root_of_values(n_series, n_times, ratio, length):
    assert window_length(n_series, n_times, shape_ratio=ratio) == length


def test_window_length_when_three_times_then_refused():
    with pytest.raises(DataError, match="3 times"):
        window_length(5, 3, shape_ratio=1)


def test_pages_when_two_series_then_they_do_not_overlap_and_end_on_the_last_value():
    series = np.array([np.arange(7.0), 10 + np.arange(7.0)])
    pages = cut_pages(series[None], 3)
    expected = np.array([[1, 2, 3], [4, 5, 6], [11, 12, 13], [14, 15, 16]], float)
    assert np.array_equal(pages.rows, expected[None])
    assert pages.complete is None


def test_pages_when_value_missing_then_its_page_alone_is_left_out():
    series = np.array([np.arange(6.0), 10 + np.arange(6.0)])
    series[0, 4] = np.nan
    pages = cut_pages(series[None], 3)
    assert np.array_equal(pages.complete, [[True, False, True, True]])
    assert np.array_equal(pages.n_complete, [3])
    assert np.array_equal(pages.rows[0, :, 0], [0.0, 0.0, 10.0, 13.0])


def test_pages_when_every_stretch_has_a_hole_then_refused():
    series = np.arange(6.0)[None].copy()
    series[0, [1, 4]] = np.nan
    with pytest.raises(DataError, match="no stretch of 3 values"):
        cut_pages(series[None], 3)


def pages_of(*matrices: np.ndarray) -> Pages:
    """Return the pages of (L, C) matrices, one a fold."""
    rows = np.stack([matrix.T for matrix in matrices])
    return Pages(rows, None, np.full(len(rows), rows.shape[1]), 1)


SHAPES = pytest.mark.parametrize("shape", [(6, 20), (6, 6), (9, 5)])


@SHAPES
@pytest.mark.parametrize("rule", [1, 2, 4, "donoho", "energy"])
@pytest.mark.parametrize("vectors", ["kept", "all"])
def test_spectrum_when_random_matrix_then_as_direct_svd(shape, rule, vectors):
    matrix = np.random.default_rng(0).normal(size=shape)
    matrix[0] *= 6.0
    spectrum = left_spectrum(pages_of(matrix), [rule], vectors=vectors)
    u, s, _ = np.linalg.svd(matrix, full_matrices=False)
    rank = choose_rank(rule, s, shape)
    assert spectrum.ranks.tolist() == [[rank]]
    found = spectrum.leading(spectrum.ranks[:, 0])[0]
    assert found.shape == (shape[0], rank)
    # The Gram matrix squares the condition number, here below 100.
    np.testing.assert_allclose(np.abs(np.sum(found * u[:, :rank], axis=0)), 1.0, rtol=1e-10)


@SHAPES
@pytest.mark.parametrize("rules", [[1], [3], ["donoho"], ["energy", 2]])
def test_spectrum_when_folds_are_stacked_on_array_api_strict_then_as_each_on_numpy(shape, rules):
    rng = np.random.default_rng(4)
    matrices = [
        rng.normal(size=shape) * (1 + 9 * (np.arange(shape[0]) < k))[:, None] for k in (1, 3)
    ]
    together = pages_of(*matrices)
    strict = Pages(array_api_strict.asarray(together.rows), None, together.n_complete, 1)
    found = left_spectrum(strict, rules, xp=array_api_strict)
    for k in range(len(rules)):
        basis = found.leading(found.ranks[:, k], xp=array_api_strict)
        for fold, matrix in enumerate(matrices):
            alone = left_spectrum(pages_of(matrix), rules)
            assert found.ranks[fold, k] == alone.ranks[0, k]
            plain = np.zeros(basis.shape[1:])
            plain[:, : alone.ranks[0, k]] = alone.leading(alone.ranks[:, k])[0]
            # Two LAPACK drivers: rounding of matrices with condition numbers below 1000.
            np.testing.assert_allclose(
                np.abs(np.asarray(basis)[fold]), np.abs(plain), rtol=1e-9, atol=1e-12
            )


def test_spectrum_when_a_page_is_left_out_then_as_without_it():
    matrix = np.random.default_rng(0).normal(size=(6, 9))
    matrix[:, 4] = 0.0
    gapped = Pages(matrix.T[None], np.arange(9)[None] != 4, np.array([8]), 1)
    for rule in ("donoho", "energy", 2):
        found = left_spectrum(gapped, [rule])
        without = left_spectrum(pages_of(np.delete(matrix, 4, axis=1)), [rule])
        assert np.array_equal(found.ranks, without.ranks)
        np.testing.assert_allclose(np.abs(found.basis), np.abs(without.basis), atol=1e-12)


def test_spectrum_when_signal_has_rank_six_then_no_more_are_kept(noiseless):
    assert left_spectrum(cut_pages(noiseless[None], 20), [15]).ranks.tolist() == [[6]]


@pytest.mark.parametrize(
    ("rule", "singular_values", "shape", "rank"),
    [
        # b = 1: omega = 0.56 - 0.95 + 1.82 + 1.43 = 2.86; median 1: threshold 2.86
        ("donoho", [3.0, 2.9, 1.0, 0.9, 0.8], (5, 5), 2),
        ("donoho", [3.0, 2.8, 1.0, 0.9, 0.8], (5, 5), 1),
        # b = 0.2: omega = 0.00448 - 0.038 + 0.364 + 1.43 = 1.76048
        ("donoho", [3.0, 1.77, 1.0, 0.9, 0.8], (5, 25), 2),
        ("donoho", [3.0, 1.75, 1.0, 0.9, 0.8], (5, 25), 1),
        ("donoho", [1.2, 1.1, 1.0, 0.9, 0.8], (5, 5), 0),
        # squares 9, 1, 0.25 of 10.25: 88 % with one, 98 % with two
        ("energy", [3.0, 1.0, 0.5], (3, 9), 2),
        ("energy", [3.0, 0.9, 0.1], (3, 9), 1),  # 9 of 9.82 is 92 %
        (5, [3.0, 1.0, 0.5, 0.4, 0.3, 0.2, 0.1], (7, 9), 5),
        (5, [3.0, 1.0, 0.5], (3, 9), 2),  # at most L - 1
        (5, [3.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0], (7, 9), 2),  # at most what is there
        ("energy", [0.0, 0.0, 0.0], (3, 9), 0),
    ],
)
def test_rank_when_known_spectrum_then_by_hand(rule, singular_values, shape, rank):
    assert choose_rank(rule, np.array(singular_values), shape) == rank


def fitted(series: np.ndarray, length: int, rank: int) -> tuple[Pages, np.ndarray, np.ndarray]:
    """Return pages, basis and recurrence of one fold's series (N, T)."""
    pages = cut_pages(series[None], length)
    spectrum = left_spectrum(pages, [rank])
    basis = spectrum.leading(spectrum.ranks[:, 0])
    return pages, basis, recurrence(basis)[0]


@pytest.mark.parametrize("rank", [1, 3, 6, 11])
@pytest.mark.parametrize("length", [12, 30])  # more pages than rows, and fewer
def test_recurrence_when_noisy_then_as_regression_on_truncated_svd(rank, length, noiseless):
    noise = np.random.default_rng(1).normal(size=noiseless.shape)
    pages, _, beta = fitted(noiseless + 0.5 * noise, length, rank)
    # Both are exact formulas; the regression loses digits to the condition of the low-rank rows.
    np.testing.assert_allclose(
        beta, recurrence_by_lstsq(pages.rows[0].T, rank), rtol=1e-6, atol=1e-9
    )


def test_recurrence_when_sinusoids_and_trend_then_satisfied(noiseless):
    _, _, beta = fitted(noiseless, 20, 6)
    for t in range(20, 240):
        expected = noiseless[:, t - 19 : t] @ beta[::-1]
        np.testing.assert_allclose(noiseless[:, t], expected, atol=1e-8)


def test_recurrence_when_last_unit_vector_is_in_the_span_then_zero():
    series = np.array([[0.0, 0.0, 1.0, 0.0, 0.0, 2.0]])
    assert np.array_equal(fitted(series, 3, 1)[2], [0.0, 0.0])


def test_recurrence_when_nothing_is_kept_then_zero():
    assert np.array_equal(recurrence(np.zeros((2, 5, 0))), np.zeros((2, 4)))


def test_residuals_when_rank_two_then_series_minus_truncated_svd(noiseless):
    series = noiseless[:, :60].copy()
    series[1, 3] = np.nan
    pages, basis, _ = fitted(series, 12, 2)
    (left,) = residuals(pages, basis)
    matrix = pages.rows[0][pages.complete[0]].T
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    expected = matrix - (u[:, :2] * s[:2]) @ vt[:2]
    assert np.isnan(left[1, :12]).all()
    np.testing.assert_allclose(left[0], expected[:, :5].T.ravel(), atol=1e-9)
    np.testing.assert_allclose(left[1, 12:], expected[:, 5:9].T.ravel(), atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(1e-6, 1e6), seed=st.integers(0, 1000))
def test_recurrence_when_series_scaled_then_unchanged(scale, seed):
    series = np.random.default_rng(seed).normal(size=(3, 60))
    plain, scaled = fitted(series, 10, 3)[2], fitted(scale * series, 10, 3)[2]
    np.testing.assert_allclose(scaled, plain, atol=1e-9)
