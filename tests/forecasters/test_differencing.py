"""Differences and their inverse against NumPy and arithmetic done by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmx_ray.forecasters.differencing import difference, difference_polynomial, integrate


@pytest.mark.parametrize(
    ("orders", "coefficients"),
    [
        ((0, 0, 1), [1]),
        ((1, 0, 1), [1, -1]),
        ((2, 0, 1), [1, -2, 1]),
        ((0, 1, 3), [1, 0, 0, -1]),
        ((1, 1, 3), [1, -1, 0, -1, 1]),  # (1 - L)(1 - L^3) multiplied out
    ],
)
def test_polynomial_when_orders_are_small_then_as_multiplied_by_hand(orders, coefficients):
    assert difference_polynomial(*orders).tolist() == coefficients


def test_difference_when_a_level_is_missing_then_only_its_changes_are():
    levels = np.array([1.0, 2.0, 4.0, np.nan, 16.0, 32.0])
    np.testing.assert_array_equal(
        difference(levels, np.array([1.0, -1.0])), [np.nan, 1.0, 2.0, np.nan, np.nan, 16.0]
    )


def test_difference_when_seasonal_then_sessions_between_may_be_missing():
    levels = np.array([1.0, np.nan, 4.0, 7.0])
    seasonal = difference_polynomial(0, 1, 2)
    np.testing.assert_array_equal(difference(levels, seasonal), [np.nan, np.nan, 3.0, np.nan])


@pytest.mark.parametrize("d", [1, 2])
def test_difference_when_compared_with_numpy_then_equal(d):
    levels = np.random.default_rng(0).normal(size=30).cumsum()
    found = difference(levels, difference_polynomial(d, 0, 1))
    np.testing.assert_allclose(found[d:], np.diff(levels, n=d), atol=1e-14)


@settings(max_examples=25, deadline=None)
@given(
    orders=st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(2, 5)),
    seed=st.integers(0, 1000),
)
def test_integrate_when_given_differences_then_the_levels_come_back(orders, seed):
    polynomial = difference_polynomial(*orders)
    n_lags = len(polynomial) - 1
    levels = np.random.default_rng(seed).normal(size=40)
    changes = difference(levels, polynomial)[n_lags:]
    # Sums of at most 40 terms grow quadratically under two differences.
    np.testing.assert_allclose(
        integrate(changes, polynomial, levels[:n_lags]), levels[n_lags:], atol=1e-9
    )
