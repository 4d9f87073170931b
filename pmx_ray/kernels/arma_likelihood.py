"""The exact Gaussian likelihood of ARMA(p, q) and its derivatives, eight windows in lanes.

What came before the first value is a normal vector of three: the last values v of the
autoregression ``phi(B) v = e``, with covariance sigma2 C. They enter the recursion as
``s = M v`` in its first three sessions, so that ``e = e0 - X s``, where e0 is the recursion from
zeros and column i of X is the impulse response h of ``1 / theta(B)``, i sessions late. Given phi
and theta, v and the mean mu minimise ``S = sum e**2 + v' C^-1 v`` and are found by linear algebra
of three rows, and

    -2 log L = n log(2 pi S / n) + n + log det(C^-1 + M X'X M) - log det C^-1.

No Kalman recursion is run. C^-1 is a polynomial of phi (Gohberg and Semencul), M the Bezout matrix
of both polynomials. Since v and mu minimise S, derivatives of S are taken with both held fixed
(envelope theorem): those of e are lags of ``u = y / theta(B)`` and ``w = e / theta(B)``, the second
ones lags of ``u / theta(B)`` and ``w / theta(B)``.

Every order runs through one compiled loop of three lags; coefficients beyond it stay at zero.
Order, length and mean are each window's own.

Shapes: n sessions of the longest window of a group. ``data`` (n, 2, 8) holds a value, and 1 where
there is one, zeros after a window's end; ``e``, ``u``, ``w`` (n, 8) are scratch; ``z`` (ROWS, 8) is
scratch too, a number a lane in each row; ``at`` is the first of its six rows of coefficients.

References
----------
Box, Jenkins, Reinsel and Ljung (2016), Time Series Analysis, 5th edition, section 7.1 and
appendix A7.3 (likelihood by estimated starting values).
"""

from typing import Any, cast

import numpy as np

from pmx_ray._typing import FloatArray, IntArray
from pmx_ray.kernels.compiling import inner
from pmx_ray.kernels.lanes import (
    WIDTH,
    absolute,
    any_lane,
    fma,
    load,
    log,
    spread,
    store,
    where,
)

N_LAGS = 3
"""Highest p and q."""

N_COEFFICIENTS = 2 * N_LAGS


def row(number: int) -> int:
    """Return a row number as NumPy has it: of a literal, numba compiles each callee anew."""
    return cast("int", np.int64(number))


# Rows of ``z``. Matrices of three take nine, by rows.
AT, TRIAL = row(0), row(6)  # coefficients: phi 1 to 3, theta 1 to 3
VALUE, SUM, MEAN = row(12), row(13), row(14)  # -2 log L less constants, S, mu
SHIFT = row(15)  # what mu takes off e
G, M, GM, W = row(16), row(25), row(34), row(43)  # G = X'X; W = (C^-1 + M G M)^-1
MWM, PRODUCT, THROUGH = row(52), row(61), row(376)
C, V, LAMBDA, START = row(70), row(73), row(76), row(79)  # C by lag, v, X'e, s
SIDES, M_SIDES, W_SIDES = row(82), row(88), row(94)  # three of X'e0 and X'(regressor of the mean)
REGRESSOR, TOTALS = row(100), row(103)  # what X adds to the mean's regressor, and X'1
COUNT, CONSTANT, FREE = row(106), row(107), row(108)
SLOPE, NEWTON, GAUSS = row(114), row(120), row(156)  # derivatives where the trial stands
KEPT = row(192)  # the same where the window stands
STEP, GAUSS_STEP, FACTOR = row(270), row(276), row(282)
SUMS, BENT = row(318), row(340)
ROWS = 394

_ONE, _TWO, _THREE = row(1), row(2), row(3)
PADDING = 16
"""Sessions by which lengths are rounded up, and of zeros after every window: those that a longer
neighbour brings add nothing to any sum."""

N_GIVEN = 14
"""Rows given of every group: length, whether it has a mean, free coefficients, coefficients."""
_BESIDE = row(8)  # those before the coefficients

BLOCK = PADDING
"""Sessions between two looks at whether an impulse response has died out."""

DEAD = 1e-10
"""Where it has, beside a first value of 1: its square counts."""


def padded_length(length: int) -> int:
    """Return the sessions that a window takes with its padding."""
    return PADDING * ((length - 1) // PADDING + 2)


_padded = inner(padded_length)


@inner
def interleave(
    table: FloatArray,
    which: IntArray,
    means: FloatArray,
    given: FloatArray,
    group: int,
    z: FloatArray,
    data: FloatArray,
) -> int:
    """Write eight windows less their means side by side, and beside each value 1 up to its end.

    Returns the sessions of the longest, rounded up and padded. What is given of each job, in rows
    COUNT to FREE and TRIAL, goes to ``z``; shapes are those of ``climb``.
    """
    for i in range(_BESIDE):
        store(z, COUNT + i, load(given, N_GIVEN * group + i))
    for i in range(N_COEFFICIENTS):
        store(z, TRIAL + i, load(given, N_GIVEN * group + _BESIDE + i))
    longest = 1.0
    for lane in range(WIDTH):
        longest = z[COUNT, lane] if z[COUNT, lane] > longest else longest
    n_steps = _padded(int(longest))
    for lane in range(WIDTH):
        window, mean = which[WIDTH * group + lane], means[WIDTH * group + lane]
        for t in range(n_steps):
            data[t, 0, lane] = table[window, t] - mean
    count = load(z, COUNT)
    for t in range(n_steps):
        known = count > t
        store(data, 2 * t, where(known, load(data, 2 * t), 0.0))
        store(data, 2 * t + 1, where(known, 1.0, 0.0))
    return n_steps


@inner
def reflections(a: Any, b: Any, c: Any) -> Any:
    """Return partial autocorrelations 1 to 3 of the autoregression (a, b, c)."""
    left = 1.0 / (1.0 - c * c)
    k2 = (b + c * a) * left
    return (a + c * b) * left / (1.0 - k2), k2, c


@inner
def margin(z: FloatArray, at: int) -> Any:
    """Return the least of 1 - abs(k) over the partial autocorrelations k of both polynomials."""
    k1, k2, k3 = reflections(load(z, at), load(z, at + 1), load(z, at + 2))
    m1, m2, m3 = reflections(-load(z, at + 3), -load(z, at + 4), -load(z, at + 5))
    most = absolute(k1)
    for k in (k2, k3, m1, m2, m3):
        most = where(absolute(k) <= most, most, absolute(k))
    # beyond the circle the later ones are not defined; the last alone may lie within it
    ordered = (absolute(k3) < 1.0) & (absolute(k2) < 1.0) & (absolute(m3) < 1.0)
    return where(ordered & (absolute(m2) < 1.0), 1.0 - most, -1.0)


@inner
def _run(data: FloatArray, z: FloatArray, at: int, e: FloatArray) -> Any:
    """Write the recursion from zeros to ``e``; return its sum of squares and its sum."""
    n_steps = len(data)
    f1, f2, f3 = -load(z, at), -load(z, at + 1), -load(z, at + 2)
    t1, t2, t3 = -load(z, at + 3), -load(z, at + 4), -load(z, at + 5)
    y1 = y2 = y3 = e1 = e2 = e3 = squares = total = spread(0.0)
    for t in range(n_steps):
        y0 = load(data, 2 * t)
        known = fma(t2, e2, fma(t3, e3, fma(f1, y1, fma(f2, y2, fma(f3, y3, y0)))))
        e0 = fma(t1, e1, known)
        live = load(data, 2 * t + 1) * e0
        squares = fma(live, e0, squares)
        total += live
        store(e, t, e0)
        y3, y2, y1 = y2, y1, y0
        e3, e2, e1 = e2, e1, e0
    return squares, total


@inner
def _multiply(z: FloatArray, left: int, right: int, out: int, n: int) -> None:
    """Write the product of a matrix of three and one of three rows of n."""
    for i in range(3):
        for j in range(n):
            total = load(z, left + 3 * i) * load(z, right + j)
            total = fma(load(z, left + 3 * i + 1), load(z, right + n + j), total)
            total = fma(load(z, left + 3 * i + 2), load(z, right + 2 * n + j), total)
            store(z, out + n * i + j, total)


@inner
def _dot(z: FloatArray, left: int, right: int, stride: int) -> Any:
    """Return the sum of products of three rows, ``stride`` apart."""
    total = load(z, left) * load(z, right)
    total += load(z, left + stride) * load(z, right + stride)
    return total + load(z, left + 2 * stride) * load(z, right + 2 * stride)


@inner
def _set_symmetric(
    z: FloatArray, out: int, a00: Any, a01: Any, a02: Any, a11: Any, a12: Any, a22: Any
) -> None:
    store(z, out, a00)
    store(z, out + 1, a01)
    store(z, out + 2, a02)
    store(z, out + 3, a01)
    store(z, out + 4, a11)
    store(z, out + 5, a12)
    store(z, out + 6, a02)
    store(z, out + 7, a12)
    store(z, out + 8, a22)


@inner
def _respond(data: FloatArray, z: FloatArray, at: int, e: FloatArray) -> int:
    """Write X'X, X'e0 and X'1; return how many sessions the longest response of the group lives.

    A response that has died out is set to zero and adds exact zeros from there on.
    """
    n_steps = len(data)
    t1, t2, t3 = -load(z, at + 3), -load(z, at + 4), -load(z, at + 5)
    h0 = spread(1.0)
    h1 = h2 = g00 = g01 = g02 = g11 = g12 = g22 = spread(0.0)
    b0 = b1 = b2 = x0 = x1 = x2 = spread(0.0)
    head = 0
    while head < n_steps:
        alive = (absolute(h0) > DEAD) | (absolute(h1) > DEAD) | (absolute(h2) > DEAD)
        if not any_lane(alive):
            break
        h0, h1, h2 = where(alive, h0, 0.0), where(alive, h1, 0.0), where(alive, h2, 0.0)
        stop = head + BLOCK  # the sessions are whole blocks
        for t in range(head, stop):
            live, e0 = load(data, 2 * t + 1), load(e, t)
            l0, l1, l2 = h0 * live, h1 * live, h2 * live
            g00, g01, g02 = fma(l0, h0, g00), fma(l0, h1, g01), fma(l0, h2, g02)
            g11, g12, g22 = fma(l1, h1, g11), fma(l1, h2, g12), fma(l2, h2, g22)
            b0, b1, b2 = fma(l0, e0, b0), fma(l1, e0, b1), fma(l2, e0, b2)
            x0 += l0
            x1 += l1
            x2 += l2
            h0, h1, h2 = fma(t1, h0, fma(t2, h1, t3 * h2)), h0, h1
        head = stop
    _set_symmetric(z, G, g00, g01, g02, g11, g12, g22)
    store(z, SIDES, b0)
    store(z, SIDES + 2, b1)
    store(z, SIDES + 4, b2)
    store(z, TOTALS, x0)
    store(z, TOTALS + 1, x1)
    store(z, TOTALS + 2, x2)
    return head


@inner
def _invert(z: FloatArray, at: int) -> Any:
    """Write W, the inverse of C^-1 + M G M, from that of M G M in PRODUCT; return log det."""
    f1, f2, f3 = load(z, at), load(z, at + 1), load(z, at + 2)
    corner, beside = 1.0 - f3 * f3, f1 + f2 * f3
    a00, a01 = load(z, PRODUCT) + corner, load(z, PRODUCT + 1) - beside
    a02, a12 = load(z, PRODUCT + 2) - f2 - f1 * f3, load(z, PRODUCT + 5) - beside
    a11 = load(z, PRODUCT + 4) + (corner + f1 * f1 - f2 * f2)
    i1 = 1.0 / a00
    l10, l20 = a01 * i1, a02 * i1
    p2 = a11 - l10 * a01
    i2 = 1.0 / p2
    l21 = (a12 - l10 * a02) * i2
    p3 = load(z, PRODUCT + 8) + corner - l20 * a02 - l21 * l21 * p2
    i3 = 1.0 / p3
    k20 = l21 * l10 - l20
    _set_symmetric(
        z,
        W,
        i1 + l10 * l10 * i2 + k20 * k20 * i3,
        -l10 * i2 - k20 * l21 * i3,
        k20 * i3,
        i2 + l21 * l21 * i3,
        -l21 * i3,
        i3,
    )
    k1, k2, k3 = reflections(f1, f2, f3)
    d1, d2, d3 = 1.0 - k1 * k1, 1.0 - k2 * k2, 1.0 - k3 * k3
    c0 = 1.0 / (d1 * d2 * d3)
    store(z, C, c0)
    store(z, C + 1, k1 * c0)
    store(z, C + 2, (k1 * k1 + k2 * d1) * c0)
    return log(a00 * p2 * p3 / (d1 * d2 * d2 * d3 * d3 * d3))  # det C^-1 below the line


@inner
def evaluate(data: FloatArray, z: FloatArray, at: int, e: FloatArray) -> int:
    """Write the likelihood at the coefficients of row ``at``, and what its derivatives need.

    Returns how many sessions the longest impulse response of the group lives.
    """
    squares, total = _run(data, z, at, e)
    head = _respond(data, z, at, e)
    f1, f2, f3 = load(z, at), load(z, at + 1), load(z, at + 2)
    t1, t2, t3 = load(z, at + 3), load(z, at + 4), load(z, at + 5)
    d21, d31, d32 = f2 * t1 - t2 * f1, f3 * t1 - t3 * f1, f3 * t2 - t3 * f2
    _set_symmetric(z, M, f1 + t1, f2 + t2, f3 + t3, f3 + t3 + d21, d31, d32)
    _multiply(z, G, M, GM, _THREE)
    _multiply(z, M, GM, PRODUCT, _THREE)
    log_det = _invert(z, at)

    # the regressor of the mean is level * 1 + X a; its product with X'X goes to PRODUCT
    level = (1.0 - f1 - f2 - f3) / (1.0 + t1 + t2 + t3)
    store(z, REGRESSOR, 1.0 - level)
    store(z, REGRESSOR + 1, 1.0 - f1 - (1.0 + t1) * level)
    store(z, REGRESSOR + 2, 1.0 - f1 - f2 - (1.0 + t1 + t2) * level)
    _multiply(z, G, REGRESSOR, PRODUCT, _ONE)
    along = level * (level * load(z, COUNT) + 2.0 * _dot(z, REGRESSOR, TOTALS, _ONE))
    along += _dot(z, REGRESSOR, PRODUCT, _ONE)
    moment = level * total
    for i in range(3):
        moment += load(z, REGRESSOR + i) * load(z, SIDES + 2 * i)
        store(z, SIDES + 2 * i + 1, load(z, PRODUCT + i) + level * load(z, TOTALS + i))
    _multiply(z, M, SIDES, M_SIDES, _TWO)
    _multiply(z, W, M_SIDES, W_SIDES, _TWO)
    moment -= _dot(z, M_SIDES, W_SIDES + 1, _TWO)
    along -= _dot(z, M_SIDES + 1, W_SIDES + 1, _TWO)
    mu = where(load(z, CONSTANT) > 0.5, moment / along, 0.0)
    least = squares - _dot(z, M_SIDES, W_SIDES, _TWO) - mu * moment
    for i in range(3):
        store(z, V + i, load(z, W_SIDES + 2 * i) - mu * load(z, W_SIDES + 2 * i + 1))
    _multiply(z, M, V, START, _ONE)
    _multiply(z, G, START, PRODUCT, _ONE)
    for i in range(3):
        outside = load(z, SIDES + 2 * i) - mu * load(z, SIDES + 2 * i + 1)
        store(z, LAMBDA + i, outside - load(z, PRODUCT + i))
        store(z, START + i, load(z, START + i) + mu * load(z, REGRESSOR + i))
    store(z, VALUE, load(z, COUNT) * log(least) + log_det)
    store(z, SUM, least)
    store(z, MEAN, mu)
    store(z, SHIFT, mu * level)
    return head


@inner
def correct(data: FloatArray, head: int, z: FloatArray, at: int, e: FloatArray) -> Any:
    """Turn the recursion from zeros into residuals, but for the shift of the mean.

    Returns the derivative of log det with respect to theta through X'X alone.
    """
    t1, t2, t3 = -load(z, at + 3), -load(z, at + 4), -load(z, at + 5)
    s0, s1, s2 = -load(z, START), -load(z, START + 1), -load(z, START + 2)
    _multiply(z, M, W, PRODUCT, _THREE)
    _multiply(z, PRODUCT, M, MWM, _THREE)
    n00, n01, n02 = load(z, MWM), load(z, MWM + 1), load(z, MWM + 2)
    n11, n12, n22 = load(z, MWM + 4), load(z, MWM + 5), load(z, MWM + 8)
    h0 = spread(1.0)
    h1 = h2 = g1 = g2 = g3 = g4 = g5 = slope1 = slope2 = slope3 = spread(0.0)
    for first in range(0, head, BLOCK):
        alive = (absolute(h0) > DEAD) | (absolute(h1) > DEAD) | (absolute(h2) > DEAD)
        h0, h1, h2 = where(alive, h0, 0.0), where(alive, h1, 0.0), where(alive, h2, 0.0)
        g1, g2, g3 = where(alive, g1, 0.0), where(alive, g2, 0.0), where(alive, g3, 0.0)
        g4, g5 = where(alive, g4, 0.0), where(alive, g5, 0.0)
        for t in range(first, first + BLOCK):
            live = load(data, 2 * t + 1)
            store(e, t, fma(h0, s0, fma(h1, s1, fma(h2, s2, load(e, t)))))
            x0 = fma(n00, h0, fma(n01, h1, n02 * h2)) * live
            x1 = fma(n01, h0, fma(n11, h1, n12 * h2)) * live
            x2 = fma(n02, h0, fma(n12, h1, n22 * h2)) * live
            slope1 = fma(x0, g1, fma(x1, g2, fma(x2, g3, slope1)))
            slope2 = fma(x0, g2, fma(x1, g3, fma(x2, g4, slope2)))
            slope3 = fma(x0, g3, fma(x1, g4, fma(x2, g5, slope3)))
            g0 = fma(t1, g1, fma(t2, g2, fma(t3, g3, h0)))
            g5, g4, g3 = g4, g3, g2
            g2, g1 = g1, g0
            h0, h1, h2 = fma(t1, h0, fma(t2, h1, t3 * h2)), h0, h1
    return -2.0 * slope1, -2.0 * slope2, -2.0 * slope3


@inner
def _first_order(
    data: FloatArray, z: FloatArray, at: int, e: FloatArray, u: FloatArray, w: FloatArray
) -> None:
    """Write the slopes of S/2 and the sums of products of its first derivatives.

    Sums leave out how lags differ at the ends of the window: they steer, the slopes decide.
    """
    t1, t2, t3 = -load(z, at + 3), -load(z, at + 4), -load(z, at + 5)
    mu, shift = load(z, MEAN), load(z, SHIFT)
    u1 = u2 = u3 = w1 = w2 = w3 = spread(0.0)
    uu0 = uu1 = uu2 = ww0 = ww1 = ww2 = spread(0.0)
    lead2 = lead1 = same = lag1 = lag2 = spread(0.0)  # of u and w
    eu1 = eu2 = eu3 = ew1 = ew2 = ew3 = spread(0.0)
    for t in range(len(data)):
        live = load(data, 2 * t + 1)
        e0 = (load(e, t) - shift) * live
        eu1, eu2, eu3 = fma(e0, u1, eu1), fma(e0, u2, eu2), fma(e0, u3, eu3)
        ew1, ew2, ew3 = fma(e0, w1, ew1), fma(e0, w2, ew2), fma(e0, w3, ew3)
        u0 = fma(t1, u1, fma(t2, u2, fma(t3, u3, load(data, 2 * t) - mu)))
        w0 = fma(t1, w1, fma(t2, w2, fma(t3, w3, e0)))
        ul, wl = u0 * live, w0 * live  # u and w themselves go on after the end: a shorter chain
        store(e, t, e0)
        store(u, t, ul)
        store(w, t, wl)
        uu0, uu1, uu2 = fma(ul, u0, uu0), fma(ul, u1, uu1), fma(ul, u2, uu2)
        ww0, ww1, ww2 = fma(wl, w0, ww0), fma(wl, w1, ww1), fma(wl, w2, ww2)
        same, lag1, lag2 = fma(ul, w0, same), fma(ul, w1, lag1), fma(ul, w2, lag2)
        lead1, lead2 = fma(wl, u1, lead1), fma(wl, u2, lead2)
        u3, u2, u1 = u2, u1, u0
        w3, w2, w1 = w2, w1, w0
    store(z, SLOPE, -eu1)
    store(z, SLOPE + 1, -eu2)
    store(z, SLOPE + 2, -eu3)
    store(z, SLOPE + 3, -ew1)
    store(z, SLOPE + 4, -ew2)
    store(z, SLOPE + 5, -ew3)
    # u(t-i) w(t-j) sums to u(t) w(t-(j-i)); row of j - i from -2 to 2
    store(z, SUMS, lead2)
    store(z, SUMS + 1, lead1)
    store(z, SUMS + 2, same)
    store(z, SUMS + 3, lag1)
    store(z, SUMS + 4, lag2)
    store(z, SUMS + 5, uu0)
    store(z, SUMS + 6, uu1)
    store(z, SUMS + 7, uu2)
    store(z, SUMS + 8, ww0)
    store(z, SUMS + 9, ww1)
    store(z, SUMS + 10, ww2)


@inner
def _second_order(z: FloatArray, at: int, e: FloatArray, u: FloatArray, w: FloatArray) -> None:
    """Write the sums of residuals times their second derivatives, by lag 2 to 6."""
    t1, t2, t3 = -load(z, at + 3), -load(z, at + 4), -load(z, at + 5)
    a1 = a2 = a3 = a4 = a5 = a6 = b1 = b2 = b3 = b4 = b5 = b6 = spread(0.0)
    ea2 = ea3 = ea4 = ea5 = ea6 = eb2 = eb3 = eb4 = eb5 = eb6 = spread(0.0)
    for t in range(len(e)):
        e0 = load(e, t)
        ea2, ea3, ea4 = fma(e0, a2, ea2), fma(e0, a3, ea3), fma(e0, a4, ea4)
        ea5, ea6 = fma(e0, a5, ea5), fma(e0, a6, ea6)
        eb2, eb3, eb4 = fma(e0, b2, eb2), fma(e0, b3, eb3), fma(e0, b4, eb4)
        eb5, eb6 = fma(e0, b5, eb5), fma(e0, b6, eb6)
        a0 = fma(t1, a1, fma(t2, a2, fma(t3, a3, load(u, t))))
        b0 = fma(t1, b1, fma(t2, b2, fma(t3, b3, load(w, t))))
        a6, a5, a4 = a5, a4, a3
        a3, a2, a1 = a2, a1, a0
        b6, b5, b4 = b5, b4, b3
        b3, b2, b1 = b2, b1, b0
    store(z, SUMS + 11, ea2)
    store(z, SUMS + 12, ea3)
    store(z, SUMS + 13, ea4)
    store(z, SUMS + 14, ea5)
    store(z, SUMS + 15, ea6)
    store(z, SUMS + 16, eb2)
    store(z, SUMS + 17, eb3)
    store(z, SUMS + 18, eb4)
    store(z, SUMS + 19, eb5)
    store(z, SUMS + 20, eb6)


@inner
def _set_pair(z: FloatArray, i: int, j: int, product: Any, bend: Any) -> None:
    """Write one entry of both matrices, without the coefficients that stay at zero."""
    both = load(z, FREE + i) * load(z, FREE + j)
    fixed = (1.0 - both) * (1.0 if i == j else 0.0)
    store(z, GAUSS + 6 * i + j, product * both + fixed)
    store(z, NEWTON + 6 * i + j, (product + bend) * both + fixed)


@inner
def _through(z: FloatArray, weight: Any) -> None:
    """Write how -2 log L moves with M, entry and mirrored entry, and with C^-1."""
    for i in range(3):
        for j in range(3):
            fixed = load(z, LAMBDA + i) * load(z, V + j) + load(z, LAMBDA + j) * load(z, V + i)
            both = load(z, PRODUCT + 3 * i + j) + load(z, PRODUCT + 3 * j + i)
            store(z, THROUGH + 3 * i + j, both - weight * fixed)
            own = weight * load(z, V + i) * load(z, V + j)
            own += load(z, W + 3 * i + j) - load(z, C + abs(i - j))
            store(z, THROUGH + 9 + 3 * i + j, own)


@inner
def differentiate(
    data: FloatArray,
    head: int,
    z: FloatArray,
    at: int,
    e: FloatArray,
    u: FloatArray,
    w: FloatArray,
) -> None:
    """Write slope, Newton and Gauss-Newton matrix of the value at row ``at``."""
    x1, x2, x3 = correct(data, head, z, at, e)
    _first_order(data, z, at, e, u, w)
    _second_order(z, at, e, u, w)
    f1, f2, f3 = load(z, at), load(z, at + 1), load(z, at + 2)
    t1, t2, t3 = load(z, at + 3), load(z, at + 4), load(z, at + 5)
    weight = load(z, COUNT) / load(z, SUM)
    twice = 2.0 * weight

    _multiply(z, GM, W, PRODUCT, _THREE)
    _through(z, weight)
    k1, k2 = load(z, THROUGH), 2.0 * load(z, THROUGH + 1)
    d21, d31, d32 = load(z, THROUGH + 4), 2.0 * load(z, THROUGH + 5), load(z, THROUGH + 8)
    k3 = 2.0 * load(z, THROUGH + 2) + d21
    q0, q3 = load(z, THROUGH + 9) + load(z, THROUGH + 17), load(z, THROUGH + 13)
    q1 = 2.0 * (load(z, THROUGH + 10) + load(z, THROUGH + 14))
    q2 = 2.0 * load(z, THROUGH + 11)
    g0 = k1 - t2 * d21 - t3 * d31 - q1 - f3 * q2 + 2.0 * f1 * q3
    g1 = k2 + t1 * d21 - t3 * d32 - f3 * q1 - q2 - 2.0 * f2 * q3
    g2 = k3 + t1 * d31 + t2 * d32 - 2.0 * f3 * (q0 + q3) - f2 * q1 - f1 * q2
    store(z, SLOPE, twice * load(z, SLOPE) + g0)
    store(z, SLOPE + 1, twice * load(z, SLOPE + 1) + g1)
    store(z, SLOPE + 2, twice * load(z, SLOPE + 2) + g2)
    store(z, SLOPE + 3, twice * load(z, SLOPE + 3) + k1 + f2 * d21 + f3 * d31 + x1)
    store(z, SLOPE + 4, twice * load(z, SLOPE + 4) + k2 - f1 * d21 + f3 * d32 + x2)
    store(z, SLOPE + 5, twice * load(z, SLOPE + 5) + k3 - f1 * d31 - f2 * d32 + x3)
    for i in range(6):
        store(z, SLOPE + i, load(z, SLOPE + i) * load(z, FREE + i))
    for i in range(3):
        for j in range(3):
            apart = abs(i - j)
            square = twice * load(z, SUMS + 8 + apart)
            _set_pair(z, i, j, twice * load(z, SUMS + 5 + apart), spread(0.0))
            _set_pair(z, 3 + i, 3 + j, square, 2.0 * twice * load(z, SUMS + 16 + i + j))
            cross, bend = load(z, SUMS + 2 + j - i), load(z, SUMS + 11 + i + j)
            _set_pair(z, i, 3 + j, twice * cross, twice * bend)
            _set_pair(z, 3 + j, i, twice * cross, twice * bend)
