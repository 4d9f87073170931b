"""Eight lanes against NumPy, operation by operation."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import special as exact

from pmx_ray.kernels import special
from pmx_ray.kernels.compiling import compiled
from pmx_ray.kernels.lanes import (
    absolute,
    any_lane,
    exponent,
    load,
    log,
    mantissa,
    spread,
    sqrt,
    store,
    where,
)

X = np.array([0.3, -1.5, 2.0, 1e-300, 7e200, -0.0, 5.0, -3.0])
Y = np.array([2.0, 0.7, -4.0, 1e10, 3.0, 1.0, 5.0, -3.0])


@compiled
def arithmetic(x, y, out):
    a, b = load(x, 0), load(y, 0)
    store(out, 0, a + b)
    store(out, 1, a - b)
    store(out, 2, a * b)
    store(out, 3, a / b)
    store(out, 4, 2 * a + 1)
    store(out, 5, 1.0 / b)
    store(out, 6, -a)
    c = a
    c += b
    c *= 3
    c -= 1.0
    c /= 2.0
    store(out, 7, c)


@compiled
def choices(x, y, out):
    a, b = load(x, 0), load(y, 0)
    store(out, 0, where(a < b, 1.0, 0.0))
    store(out, 1, where(a <= b, 1.0, 0.0))
    store(out, 2, where(a > b, a, b))
    store(out, 3, where((a >= 0.0) & (b > 0.0), 1.0, 0.0))
    store(out, 4, where((a >= 0.0) | (b > 0.0), 1.0, 0.0))
    store(out, 5, where(~(a < b), 1.0, 0.0))
    store(out, 6, 1.0 if any_lane(a > 1e100) else 0.0)
    store(out, 7, 1.0 if any_lane(a > 1e300) else 0.0)


@compiled
def functions(x, out):
    a = load(x, 0)
    store(out, 0, sqrt(a))
    store(out, 1, log(a))
    store(out, 2, absolute(-a))
    store(out, 3, exponent(a))
    store(out, 4, mantissa(a))
    store(out, 5, spread(2.5))


@compiled
def gammas(x, out):
    a = load(x, 0)
    store(out, 0, special.log_gamma(a))
    store(out, 1, special.digamma(a))
    store(out, 2, special.trigamma(a))


def test_arithmetic_when_done_in_lanes_then_numpys():
    out = np.empty((8, 8))
    arithmetic(X, Y, out)
    wanted = [X + Y, X - Y, X * Y, X / Y, 2 * X + 1, 1 / Y, -X, ((X + Y) * 3 - 1) / 2]
    # Fused or reordered, an operation may differ by a rounding.
    np.testing.assert_allclose(out, wanted, rtol=4e-16)


def test_comparisons_when_done_in_lanes_then_numpys():
    out = np.empty((8, 8))
    choices(X, Y, out)
    wanted = [
        X < Y, X <= Y, np.maximum(X, Y), (X >= 0) & (Y > 0), (X >= 0) | (Y > 0), ~(X < Y),
        np.ones(8), np.zeros(8),
    ]  # fmt: skip
    assert_array_equal(out, np.array(wanted, np.float64))


def test_comparisons_when_a_lane_is_nan_then_false_and_its_opposite_true():
    out = np.empty((8, 8))
    choices(np.full(8, np.nan), Y, out)
    assert not out[[0, 1]].any()
    assert out[5].all()


def test_functions_when_done_in_lanes_then_numpys():
    x = np.array([0.3, 1.0, 2.0, 1e-300, 7e200, 1023.9, 1024.0, 0.5])
    out = np.empty((6, 8))
    functions(x, out)
    fraction, power = np.frexp(x)  # in [.5, 1)
    wanted = [np.sqrt(x), np.log(x), x, power - 1.0, 2.0 * fraction, np.full(8, 2.5)]
    np.testing.assert_allclose(out, wanted, rtol=2e-16)


@pytest.mark.parametrize("low", [1.02, 3.0, 40.0])
def test_gamma_functions_when_done_in_lanes_then_scipys(low):
    x = np.linspace(low, 6.0 * low, 8)
    out = np.empty((3, 8))
    gammas(x, out)
    wanted = [exact.gammaln(x), exact.digamma(x), exact.polygamma(1, x)]
    # log gamma passes through zero at 2, hence the absolute part.
    np.testing.assert_allclose(out, wanted, rtol=1e-11, atol=1e-13)
