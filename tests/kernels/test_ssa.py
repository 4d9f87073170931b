"""The Page matrix, its spectrum, the rank rules and the recurrence, against the paper's forms."""

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmx_ray.errors import DataError
from pmx_ray.kernels.ssa import (
    choose_rank,
    decompose,
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


def test_pages_when_two_series_then_columns_do_not_overlap_and_end_on_the_last_value():
    series = np.array([np.arange(7.0), 10 + np.arange(7.0)])
    pages = decompose(series, 3)
    expected = np.array([[1, 4, 11, 14], [2, 5, 12, 15], [3, 6, 13, 16]], float)
    assert np.array_equal(pages.matrix, expected)


def test_pages_when_value_missing_then_its_column_alone_is_left_out():
    series = np.array([np.arange(6.0), 10 + np.arange(6.0)])
    series[0, 4] = np.nan
    pages = decompose(series, 3)
    assert np.array_equal(pages.complete, [[True, False], [True, True]])
    assert np.array_equal(pages.matrix[0], [0.0, 10.0, 13.0])


def test_pages_when_every_stretch_has_a_hole_then_refused():
    series = np.arange(6.0)[None].copy()
    series[0, [1, 4]] = np.nan
    with pytest.raises(DataError, match="no stretch of 3 values"):
        decompose(series, 3)


@pytest.mark.parametrize("shape", [(6, 20), (6, 6), (9, 5)])
def test_spectrum_when_random_matrix_then_as_direct_svd(shape):
    matrix = np.random.default_rng(0).normal(size=shape)
    basis, singular_values = left_spectrum(matrix)
    u, s, _ = np.linalg.svd(matrix, full_matrices=False)
    # The Gram matrix squares the condition number, here below 100.
    np.testing.assert_allclose(singular_values, s, rtol=1e-10)
    np.testing.assert_allclose(np.abs(np.sum(basis * u, axis=0)), 1.0, rtol=1e-8)


def test_spectrum_when_array_api_strict_then_as_numpy():
    matrix = np.random.default_rng(0).normal(size=(6, 20))
    basis, singular_values = left_spectrum(matrix, xp=array_api_strict)
    plain_basis, plain_values = left_spectrum(matrix)
    np.testing.assert_allclose(singular_values, plain_values, rtol=1e-12)
    np.testing.assert_allclose(np.abs(basis), np.abs(plain_basis), rtol=1e-9, atol=1e-12)


def test_spectrum_when_signal_has_rank_six_then_other_values_are_zero(noiseless):
    pages = decompose(noiseless, 20)
    assert np.sum(pages.singular_values > 0.0) == 6


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


@pytest.mark.parametrize("rank", [1, 3, 6, 11])
def test_recurrence_when_noisy_then_as_regression_on_truncated_svd(rank, noiseless):
    noise = np.random.default_rng(1).normal(size=noiseless.shape)
    pages = decompose(noiseless + 0.5 * noise, 12)
    # Both are exact formulas; the regression loses digits to the condition of the low-rank rows.
    np.testing.assert_allclose(
        recurrence(pages, rank), recurrence_by_lstsq(pages.matrix, rank), rtol=1e-6, atol=1e-9
    )


def test_recurrence_when_sinusoids_and_trend_then_satisfied(noiseless):
    beta = recurrence(decompose(noiseless, 20), 6)
    for t in range(20, 240):
        expected = noiseless[:, t - 19 : t] @ beta[::-1]
        np.testing.assert_allclose(noiseless[:, t], expected, atol=1e-8)


def test_recurrence_when_last_unit_vector_is_in_the_span_then_zero():
    series = np.array([[0.0, 0.0, 1.0, 0.0, 0.0, 2.0]])
    assert np.array_equal(recurrence(decompose(series, 3), 1), [0.0, 0.0])


def test_recurrence_when_rank_is_zero_then_zero(noiseless):
    assert np.array_equal(recurrence(decompose(noiseless, 5), 0), np.zeros(4))


def test_residuals_when_rank_two_then_series_minus_truncated_svd(noiseless):
    series = noiseless[:, :60].copy()
    series[1, 3] = np.nan
    left = residuals(decompose(series, 12), 2)
    matrix = decompose(series, 12).matrix
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    expected = matrix - (u[:, :2] * s[:2]) @ vt[:2]
    assert np.isnan(left[1, :12]).all()
    np.testing.assert_allclose(left[0], expected[:, :5].T.ravel(), atol=1e-9)
    np.testing.assert_allclose(left[1, 12:], expected[:, 5:9].T.ravel(), atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(1e-6, 1e6), seed=st.integers(0, 1000))
def test_recurrence_when_series_scaled_then_unchanged(scale, seed):
    series = np.random.default_rng(seed).normal(size=(3, 60))
    plain, scaled = decompose(series, 10), decompose(scale * series, 10)
    np.testing.assert_allclose(recurrence(scaled, 3), recurrence(plain, 3), atol=1e-9)
