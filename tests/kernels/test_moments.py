"""Moments of many windows at once, against the plain twin and against pandas."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmx_ray.kernels.moments import ewma_variance, plain_moments, window_moments

FIRST, STOP = np.array([0, 10, 90, 17]), np.array([300, 60, 91, 259])


def returns_with_gaps() -> np.ndarray:
    returns = np.random.default_rng(0).normal(0.001, 0.02, (3, 300))
    returns[1, 30:33] = np.nan
    returns[2, 20:80:2] = np.nan
    return returns


def as_arrays(moments) -> np.ndarray:
    """Return the fields in their order, (8, M, F)."""
    return np.stack([getattr(moments, name) for name in moments.__slots__])


@pytest.mark.parametrize("n_last", [None, 1, 23, 250])
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("decay", [None, 0.94])
def test_moments_when_many_windows_then_as_the_plain_twin(n_last, centred, decay):
    returns = returns_with_gaps()
    found = as_arrays(
        window_moments(returns, FIRST, STOP, n_last=n_last, centred=centred, decay=decay)
    )
    for m in range(3):
        for f, (first, stop) in enumerate(zip(FIRST, STOP, strict=True)):
            window = returns[m, first:stop]
            plain = plain_moments(window, n_last=n_last or 300, centred=centred, decay=decay)
            # Sums of at most 300 terms of one size, in two orders.
            np.testing.assert_allclose(found[:, m, f], plain, rtol=1e-12, atol=1e-17)


def test_moments_when_two_returns_by_hand_then_mean_and_squares():
    found = window_moments(
        np.array([[0.03, np.nan, -0.01]]), np.array([0]), np.array([3]), centred=True
    )
    # Mean 1 %, deviations of 2 %.
    expected = [2, 0.03, 0.04, 2, 0.03, 0.04, 0.01, 8e-4]
    np.testing.assert_allclose(as_arrays(found)[:, 0, 0], expected, rtol=1e-14)


def test_moments_when_a_window_is_empty_or_missing_then_no_count():
    returns = np.full((1, 5), np.nan)
    found = window_moments(returns, np.array([0, 2]), np.array([5, 2]), centred=True, decay=0.9)
    assert found.count.tolist() == [[0.0, 0.0]]
    assert np.isnan(found.spread).all()


@pytest.mark.parametrize("decay", [None, 0.97])
def test_moments_when_windows_stand_beside_others_then_the_same_bits(decay):
    returns = returns_with_gaps()
    whole = as_arrays(window_moments(returns, FIRST, STOP, n_last=40, centred=True, decay=decay))
    for f, (first, stop) in enumerate(zip(FIRST, STOP, strict=True)):
        cut = np.ascontiguousarray(returns[1:2, first:stop])
        length = np.array([stop - first])
        alone = window_moments(cut, np.array([0]), length, n_last=40, centred=True, decay=decay)
        assert np.array_equal(as_arrays(alone)[:, 0, 0], whole[:, 1, f])


def test_ewma_variance_when_three_deviations_then_the_sum_done_by_hand():
    # Weights .25, .5, 1 of 4, 1, 9: (1 + .5 + 9) / 1.75 = 6.
    assert ewma_variance(np.array([2.0, -1.0, 3.0]), 0.5) == pytest.approx(6.0, rel=1e-15)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(-0.2, 0.2), min_size=2, max_size=60),
    st.sampled_from([0.5, 0.9, 0.94, 0.99]),
)
def test_weighted_square_when_compared_with_pandas_then_equal(returns, decay):
    ewm = pd.Series(np.square(returns)).ewm(alpha=1 - decay, adjust=True).mean().iloc[-1]
    found = window_moments(
        np.array([returns]), np.array([0]), np.array([len(returns)]), centred=False, decay=decay
    )
    # Two orders of summation of at most 60 positive terms.
    assert found.square[0, 0] == pytest.approx(ewm, rel=1e-12, abs=1e-300)
    assert ewma_variance(np.array(returns), decay) == pytest.approx(ewm, rel=1e-12, abs=1e-300)
