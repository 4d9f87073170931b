"""Exact Gaussian maximum likelihood of ARMA(p, q), p and q at most 3, eight windows in lanes.

``y(t) - mu = sum phi(i) (y(t-i) - mu) + e(t) + sum theta(j) e(t-j)``, e of variance sigma2.

What came before the first value is a normal vector of three: the last values v of the
autoregression ``phi(B) v = e``, with covariance sigma2 C. They enter the recursion as
``s = M v`` in its first three sessions, so that ``e = e0 - X s``, where e0 is the recursion from
zeros and column i of X is the impulse response h of ``1 / theta(B)``, i sessions late. Given phi
and theta, v and mu minimise ``S = sum e**2 + v' C^-1 v`` and are found by linear algebra of three
rows, and

    -2 log L = n log(2 pi S / n) + n + log det(C^-1 + M X'X M) - log det C^-1.

No Kalman recursion is run. C^-1 is a polynomial of phi (Gohberg and Semencul), M the Bezout matrix
of the two polynomials. Since v and mu minimise S, derivatives of S are taken with both held fixed
(envelope theorem): those of e are lags of ``u = y / theta(B)`` and ``w = e / theta(B)``, the second
ones lags of ``u / theta(B)`` and ``w / theta(B)``.

Every order runs through one compiled loop of three lags; coefficients of an order that is smaller
stay at zero. Order, length and mean are each window's own.

References
----------
Box, Jenkins, Reinsel and Ljung (2016), Time Series Analysis, 5th edition, section 7.1 and
appendix A7.3 (likelihood by estimated starting values).
Hannan and Rissanen (1982), Biometrika 69, 81-94 (start).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pmx_ray._typing import BoolArray, FloatArray, IntArray
from pmx_ray.kernels.compiling import compiled
from pmx_ray.kernels.lanes import (
    WIDTH,
    absolute,
    any_lane,
    load,
    log,
    spread,
    store,
    where,
)

N_LAGS = 3
"""Highest p and q."""

N_COEFFICIENTS = 2 * N_LAGS

EDGE = 1e-6
"""How near a partial autocorrelation may come to 1 in absolute value."""

ROUNDS = ((4, False), (8, False), (6, True), (14, True))
"""Steps a round, and whether all second derivatives are taken or those of the residuals; windows
that are not done go on to the next."""

BEHIND = 3.0
"""In -2 log L, by how much a start may lie behind another one after a round and still go on."""

TOLERANCE = 1e-7
"""A window is done when the next step is to gain less than this in -2 log L."""

ENOUGH = 1e-2
"""A window that is out of steps has converged all the same if the next is to gain less."""

N_LONG = 12
"""Lags of the long autoregression that the start is read from."""

_BLOCK = 16  # sessions between two looks at whether an impulse response has died out
_DEAD = 1e-13  # where it has, beside a first value of 1

# Rows of the scratch of a group, each of one number a lane.
_AT, _TRIAL = 0, 6  # coefficients: phi 1 to 3, theta 1 to 3
_VALUE, _SUM, _MEAN = 12, 13, 14  # -2 log L less constants, S, mu
_V, _LAMBDA, _SHIFT, _START = 15, 18, 21, 22
_GM, _M, _W, _C = 25, 34, 40, 46  # X'X M by rows; symmetric ones 00 01 02 11 12 22; C 0 to 2
_COUNT, _CONSTANT, _FREE = 49, 50, 51
_SLOPE, _NEWTON, _GAUSS = 57, 63, 99  # derivatives where the trial stands
_KEPT = 135  # the same where the window stands
_STEP, _FACTOR, _LONG, _BENT = 213, 219, 256, 300
_ROWS = 336


@compiled
def _interleave(values, group, z, data):
    """Write eight rows side by side, and beside each value 1 up to the end of its window."""
    for lane in range(WIDTH):
        row, count = values[WIDTH * group + lane], z[_COUNT, lane]
        for t in range(len(data)):
            data[t, 0, lane] = row[t]
            data[t, 1, lane] = 1.0 if t < count else 0.0


@compiled
def _reflections(a, b, c):
    """Return partial autocorrelations 1 to 3 of the autoregression (a, b, c)."""
    left = 1.0 / (1.0 - c * c)
    k2 = (b + c * a) * left
    return (a + c * b) * left / (1.0 - k2), k2, c


@compiled
def _margin(z, at):
    """Return the least of 1 - abs(k) over the partial autocorrelations k of both polynomials."""
    k1, k2, k3 = _reflections(load(z, at), load(z, at + 1), load(z, at + 2))
    m1, m2, m3 = _reflections(-load(z, at + 3), -load(z, at + 4), -load(z, at + 5))
    most = absolute(k1)
    for k in (k2, k3, m1, m2, m3):
        most = where(absolute(k) <= most, most, absolute(k))
    # beyond the circle the later ones are not defined; the last alone may lie within it
    ordered = (absolute(k3) < 1.0) & (absolute(k2) < 1.0) & (absolute(m3) < 1.0)
    return where(ordered & (absolute(m2) < 1.0), 1.0 - most, -1.0)


@compiled
def _inside(z, at):
    """Return the lanes whose coefficients are stationary and invertible."""
    return _margin(z, at) > EDGE


@compiled
def _run(data, n_steps, z, at, e):
    """Write the recursion from zeros to ``e``; return its sum of squares and its sum."""
    f1, f2, f3 = load(z, at), load(z, at + 1), load(z, at + 2)
    t1, t2, t3 = load(z, at + 3), load(z, at + 4), load(z, at + 5)
    y1 = y2 = y3 = e1 = e2 = e3 = squares = total = spread(0.0)
    for t in range(n_steps):
        y0 = load(data, 2 * t)
        known = y0 - f1 * y1 - f2 * y2 - f3 * y3 - t2 * e2 - t3 * e3
        e0 = (known - t1 * e1) * load(data, 2 * t + 1)
        squares += e0 * e0
        total += e0
        store(e, t, e0)
        y3, y2, y1 = y2, y1, y0
        e3, e2, e1 = e2, e1, e0
    return squares, total


@compiled
def _evaluate(data, n_steps, z, at, e):
    """Write the likelihood at the coefficients of row ``at``, and what its derivatives need.

    Returns how many sessions the longest impulse response of the group lives.
    """
    squares, total = _run(data, n_steps, z, at, e)
    f1, f2, f3 = load(z, at), load(z, at + 1), load(z, at + 2)
    t1, t2, t3 = load(z, at + 3), load(z, at + 4), load(z, at + 5)

    # X'X, X'e0 and X'1; a response that has died out adds exact zeros from there on
    h0 = spread(1.0)
    h1 = h2 = g00 = g01 = g02 = g11 = g12 = g22 = spread(0.0)
    b0 = b1 = b2 = x0 = x1 = x2 = spread(0.0)
    head = 0
    while head < n_steps:
        alive = (absolute(h0) > _DEAD) | (absolute(h1) > _DEAD) | (absolute(h2) > _DEAD)
        if not any_lane(alive):
            break
        h0, h1, h2 = where(alive, h0, 0.0), where(alive, h1, 0.0), where(alive, h2, 0.0)
        stop = min(head + _BLOCK, n_steps)
        for t in range(head, stop):
            live, e0 = load(data, 2 * t + 1), load(e, t)
            l0, l1, l2 = h0 * live, h1 * live, h2 * live
            g00 += l0 * h0
            g01 += l0 * h1
            g02 += l0 * h2
            g11 += l1 * h1
            g12 += l1 * h2
            g22 += l2 * h2
            b0 += h0 * e0
            b1 += h1 * e0
            b2 += h2 * e0
            x0 += l0
            x1 += l1
            x2 += l2
            h0, h1, h2 = -(t1 * h0 + t2 * h1 + t3 * h2), h0, h1
        head = stop

    # M, M G M + C^-1 = L D L' and its inverse W
    d21, d31, d32 = f2 * t1 - t2 * f1, f3 * t1 - t3 * f1, f3 * t2 - t3 * f2
    m00, m01, m02 = f1 + t1, f2 + t2, f3 + t3
    m11, m12, m22 = m02 + d21, d31, d32
    r00, r01, r02 = (
        g00 * m00 + g01 * m01 + g02 * m02,
        g00 * m01 + g01 * m11 + g02 * m12,
        g00 * m02 + g01 * m12 + g02 * m22,
    )
    r10, r11, r12 = (
        g01 * m00 + g11 * m01 + g12 * m02,
        g01 * m01 + g11 * m11 + g12 * m12,
        g01 * m02 + g11 * m12 + g12 * m22,
    )
    r20, r21, r22 = (
        g02 * m00 + g12 * m01 + g22 * m02,
        g02 * m01 + g12 * m11 + g22 * m12,
        g02 * m02 + g12 * m12 + g22 * m22,
    )
    a00 = m00 * r00 + m01 * r10 + m02 * r20 + (1.0 - f3 * f3)
    a01 = m00 * r01 + m01 * r11 + m02 * r21 - (f1 + f2 * f3)
    a02 = m00 * r02 + m01 * r12 + m02 * r22 - (f2 + f1 * f3)
    a11 = m01 * r01 + m11 * r11 + m12 * r21 + (1.0 + f1 * f1 - f2 * f2 - f3 * f3)
    a12 = m01 * r02 + m11 * r12 + m12 * r22 - (f1 + f2 * f3)
    a22 = m02 * r02 + m12 * r12 + m22 * r22 + (1.0 - f3 * f3)
    i1 = 1.0 / a00
    l10, l20 = a01 * i1, a02 * i1
    p2 = a11 - l10 * a01
    c12 = a12 - l10 * a02
    i2 = 1.0 / p2
    l21 = c12 * i2
    p3 = a22 - l20 * a02 - l21 * c12
    i3 = 1.0 / p3
    k20 = l21 * l10 - l20
    w22, w12, w02 = i3, -l21 * i3, k20 * i3
    w11, w01 = i2 + l21 * l21 * i3, -l10 * i2 - k20 * l21 * i3
    w00 = i1 + l10 * l10 * i2 + k20 * k20 * i3

    # the mean's regressor is level * 1 + X a
    level = (1.0 - f1 - f2 - f3) / (1.0 + t1 + t2 + t3)
    q0 = 1.0 - level
    q1 = 1.0 - f1 - (1.0 + t1) * level
    q2 = 1.0 - f1 - f2 - (1.0 + t1 + t2) * level
    n = load(z, _COUNT)
    j0 = g00 * q0 + g01 * q1 + g02 * q2
    j1 = g01 * q0 + g11 * q1 + g12 * q2
    j2 = g02 * q0 + g12 * q1 + g22 * q2
    along = level * (level * n + 2.0 * (q0 * x0 + q1 * x1 + q2 * x2)) + q0 * j0 + q1 * j1 + q2 * j2
    moment = level * total + q0 * b0 + q1 * b1 + q2 * b2
    j0, j1, j2 = j0 + level * x0, j1 + level * x1, j2 + level * x2  # X'(regressor)
    mj0, mj1, mj2 = (
        m00 * j0 + m01 * j1 + m02 * j2,
        m01 * j0 + m11 * j1 + m12 * j2,
        m02 * j0 + m12 * j1 + m22 * j2,
    )
    mb0, mb1, mb2 = (
        m00 * b0 + m01 * b1 + m02 * b2,
        m01 * b0 + m11 * b1 + m12 * b2,
        m02 * b0 + m12 * b1 + m22 * b2,
    )
    o0, o1, o2 = (
        w00 * mj0 + w01 * mj1 + w02 * mj2,
        w01 * mj0 + w11 * mj1 + w12 * mj2,
        w02 * mj0 + w12 * mj1 + w22 * mj2,
    )
    v0, v1, v2 = (
        w00 * mb0 + w01 * mb1 + w02 * mb2,
        w01 * mb0 + w11 * mb1 + w12 * mb2,
        w02 * mb0 + w12 * mb1 + w22 * mb2,
    )
    moment -= mb0 * o0 + mb1 * o1 + mb2 * o2
    along -= mj0 * o0 + mj1 * o1 + mj2 * o2
    mu = where(load(z, _CONSTANT) > 0.5, moment / along, 0.0)
    least = squares - (mb0 * v0 + mb1 * v1 + mb2 * v2) - mu * moment
    v0, v1, v2 = v0 - mu * o0, v1 - mu * o1, v2 - mu * o2
    s0, s1, s2 = (
        m00 * v0 + m01 * v1 + m02 * v2,
        m01 * v0 + m11 * v1 + m12 * v2,
        m02 * v0 + m12 * v1 + m22 * v2,
    )

    k1, k2, k3 = _reflections(f1, f2, f3)
    d1, d2, d3 = 1.0 - k1 * k1, 1.0 - k2 * k2, 1.0 - k3 * k3
    precision = d1 * d2 * d2 * d3 * d3 * d3  # det C^-1
    c0 = 1.0 / (d1 * d2 * d3)
    store(z, _VALUE, n * log(least) + log(a00 * p2 * p3 / precision))
    store(z, _SUM, least)
    store(z, _MEAN, mu)
    store(z, _SHIFT, mu * level)
    store(z, _V, v0)
    store(z, _V + 1, v1)
    store(z, _V + 2, v2)
    store(z, _LAMBDA, b0 - mu * j0 - g00 * s0 - g01 * s1 - g02 * s2)
    store(z, _LAMBDA + 1, b1 - mu * j1 - g01 * s0 - g11 * s1 - g12 * s2)
    store(z, _LAMBDA + 2, b2 - mu * j2 - g02 * s0 - g12 * s1 - g22 * s2)
    store(z, _START, s0 + mu * q0)
    store(z, _START + 1, s1 + mu * q1)
    store(z, _START + 2, s2 + mu * q2)
    store(z, _GM, r00)
    store(z, _GM + 1, r01)
    store(z, _GM + 2, r02)
    store(z, _GM + 3, r10)
    store(z, _GM + 4, r11)
    store(z, _GM + 5, r12)
    store(z, _GM + 6, r20)
    store(z, _GM + 7, r21)
    store(z, _GM + 8, r22)
    store(z, _M, m00)
    store(z, _M + 1, m01)
    store(z, _M + 2, m02)
    store(z, _M + 3, m11)
    store(z, _M + 4, m12)
    store(z, _M + 5, m22)
    store(z, _W, w00)
    store(z, _W + 1, w01)
    store(z, _W + 2, w02)
    store(z, _W + 3, w11)
    store(z, _W + 4, w12)
    store(z, _W + 5, w22)
    store(z, _C, c0)
    store(z, _C + 1, k1 * c0)
    store(z, _C + 2, (k1 * k1 + k2 * d1) * c0)
    return head


@compiled
def _correct(data, n_steps, head, z, at, e):
    """Turn the recursion from zeros into residuals, but for the shift of the mean.

    Returns the derivative of log det with respect to theta through X'X alone.
    """
    t1, t2, t3 = load(z, at + 3), load(z, at + 4), load(z, at + 5)
    s0, s1, s2 = load(z, _START), load(z, _START + 1), load(z, _START + 2)
    m00, m01, m02 = load(z, _M), load(z, _M + 1), load(z, _M + 2)
    m11, m12, m22 = load(z, _M + 3), load(z, _M + 4), load(z, _M + 5)
    w00, w01, w02 = load(z, _W), load(z, _W + 1), load(z, _W + 2)
    w11, w12, w22 = load(z, _W + 3), load(z, _W + 4), load(z, _W + 5)
    a00, a01, a02 = (
        m00 * w00 + m01 * w01 + m02 * w02,
        m00 * w01 + m01 * w11 + m02 * w12,
        m00 * w02 + m01 * w12 + m02 * w22,
    )
    a10, a11, a12 = (
        m01 * w00 + m11 * w01 + m12 * w02,
        m01 * w01 + m11 * w11 + m12 * w12,
        m01 * w02 + m11 * w12 + m12 * w22,
    )
    a20, a21, a22 = (
        m02 * w00 + m12 * w01 + m22 * w02,
        m02 * w01 + m12 * w11 + m22 * w12,
        m02 * w02 + m12 * w12 + m22 * w22,
    )
    n00, n11 = a00 * m00 + a01 * m01 + a02 * m02, a10 * m01 + a11 * m11 + a12 * m12
    n01, n02 = a00 * m01 + a01 * m11 + a02 * m12, a00 * m02 + a01 * m12 + a02 * m22
    n12, n22 = a10 * m02 + a11 * m12 + a12 * m22, a20 * m02 + a21 * m12 + a22 * m22

    h0 = spread(1.0)
    h1 = h2 = g1 = g2 = g3 = g4 = g5 = slope1 = slope2 = slope3 = spread(0.0)
    for t in range(head):
        if t % _BLOCK == 0:
            alive = (absolute(h0) > _DEAD) | (absolute(h1) > _DEAD) | (absolute(h2) > _DEAD)
            h0, h1, h2 = where(alive, h0, 0.0), where(alive, h1, 0.0), where(alive, h2, 0.0)
            g1, g2, g3 = where(alive, g1, 0.0), where(alive, g2, 0.0), where(alive, g3, 0.0)
            g4, g5 = where(alive, g4, 0.0), where(alive, g5, 0.0)
        store(e, t, load(e, t) - h0 * s0 - h1 * s1 - h2 * s2)
        live = load(data, 2 * t + 1)
        x0 = (n00 * h0 + n01 * h1 + n02 * h2) * live
        x1 = (n01 * h0 + n11 * h1 + n12 * h2) * live
        x2 = (n02 * h0 + n12 * h1 + n22 * h2) * live
        slope1 -= x0 * g1 + x1 * g2 + x2 * g3
        slope2 -= x0 * g2 + x1 * g3 + x2 * g4
        slope3 -= x0 * g3 + x1 * g4 + x2 * g5
        g1, g2, g3, g4, g5 = h0 - t1 * g1 - t2 * g2 - t3 * g3, g1, g2, g3, g4
        h0, h1, h2 = -(t1 * h0 + t2 * h1 + t3 * h2), h0, h1
    return 2.0 * slope1, 2.0 * slope2, 2.0 * slope3


@compiled
def _first_order(data, n_steps, z, at, e, u, w):
    """Write the slopes of S/2 and the sums of products of its first derivatives.

    Sums leave out how lags differ at the ends of the window: they steer, the slopes decide.
    """
    t1, t2, t3 = load(z, at + 3), load(z, at + 4), load(z, at + 5)
    mu, shift = load(z, _MEAN), load(z, _SHIFT)
    u1 = u2 = u3 = w1 = w2 = w3 = spread(0.0)
    uu0 = uu1 = uu2 = ww0 = ww1 = ww2 = spread(0.0)
    lead2 = lead1 = same = lag1 = lag2 = spread(0.0)  # of u and w
    eu1 = eu2 = eu3 = ew1 = ew2 = ew3 = spread(0.0)
    for t in range(n_steps):
        live = load(data, 2 * t + 1)
        e0 = (load(e, t) - shift) * live
        eu1 -= e0 * u1
        eu2 -= e0 * u2
        eu3 -= e0 * u3
        ew1 -= e0 * w1
        ew2 -= e0 * w2
        ew3 -= e0 * w3
        u0 = (load(data, 2 * t) - mu - t2 * u2 - t3 * u3 - t1 * u1) * live
        w0 = (e0 - t2 * w2 - t3 * w3 - t1 * w1) * live
        store(e, t, e0)
        store(u, t, u0)
        store(w, t, w0)
        uu0 += u0 * u0
        uu1 += u0 * u1
        uu2 += u0 * u2
        ww0 += w0 * w0
        ww1 += w0 * w1
        ww2 += w0 * w2
        same += u0 * w0
        lag1 += u0 * w1
        lag2 += u0 * w2
        lead1 += u1 * w0
        lead2 += u2 * w0
        u3, u2, u1 = u2, u1, u0
        w3, w2, w1 = w2, w1, w0
    store(z, _SLOPE, eu1)
    store(z, _SLOPE + 1, eu2)
    store(z, _SLOPE + 2, eu3)
    store(z, _SLOPE + 3, ew1)
    store(z, _SLOPE + 4, ew2)
    store(z, _SLOPE + 5, ew3)
    # u(t-i) w(t-j) sums to u(t) w(t-(j-i)); row of j - i from -2 to 2
    store(z, _LONG, lead2)
    store(z, _LONG + 1, lead1)
    store(z, _LONG + 2, same)
    store(z, _LONG + 3, lag1)
    store(z, _LONG + 4, lag2)
    store(z, _LONG + 5, uu0)
    store(z, _LONG + 6, uu1)
    store(z, _LONG + 7, uu2)
    store(z, _LONG + 8, ww0)
    store(z, _LONG + 9, ww1)
    store(z, _LONG + 10, ww2)


@compiled
def _second_order(n_steps, z, at, e, u, w):
    """Write the sums of residuals times their second derivatives, by lag 2 to 6."""
    t1, t2, t3 = load(z, at + 3), load(z, at + 4), load(z, at + 5)
    a1 = a2 = a3 = a4 = a5 = a6 = b1 = b2 = b3 = b4 = b5 = b6 = spread(0.0)
    ea2 = ea3 = ea4 = ea5 = ea6 = eb2 = eb3 = eb4 = eb5 = eb6 = spread(0.0)
    for t in range(n_steps):
        e0 = load(e, t)
        ea2 += e0 * a2
        ea3 += e0 * a3
        ea4 += e0 * a4
        ea5 += e0 * a5
        ea6 += e0 * a6
        eb2 += e0 * b2
        eb3 += e0 * b3
        eb4 += e0 * b4
        eb5 += e0 * b5
        eb6 += e0 * b6
        a0 = load(u, t) - t2 * a2 - t3 * a3 - t1 * a1
        b0 = load(w, t) - t2 * b2 - t3 * b3 - t1 * b1
        a6, a5, a4, a3, a2, a1 = a5, a4, a3, a2, a1, a0
        b6, b5, b4, b3, b2, b1 = b5, b4, b3, b2, b1, b0
    store(z, _LONG + 11, ea2)
    store(z, _LONG + 12, ea3)
    store(z, _LONG + 13, ea4)
    store(z, _LONG + 14, ea5)
    store(z, _LONG + 15, ea6)
    store(z, _LONG + 16, eb2)
    store(z, _LONG + 17, eb3)
    store(z, _LONG + 18, eb4)
    store(z, _LONG + 19, eb5)
    store(z, _LONG + 20, eb6)


@compiled
def _differentiate(data, n_steps, head, z, at, e, u, w):
    """Write slope, Newton and Gauss-Newton matrix of the value at row ``at``."""
    free_slopes = _correct(data, n_steps, head, z, at, e)
    _first_order(data, n_steps, z, at, e, u, w)
    _second_order(n_steps, z, at, e, u, w)
    f1, f2, f3 = load(z, at), load(z, at + 1), load(z, at + 2)
    t1, t2, t3 = load(z, at + 3), load(z, at + 4), load(z, at + 5)
    weight = load(z, _COUNT) / load(z, _SUM)
    v0, v1, v2 = load(z, _V) * weight, load(z, _V + 1) * weight, load(z, _V + 2) * weight

    # through M: 2 (G M W)' - 2 n / S lambda v'
    w00, w01, w02 = load(z, _W), load(z, _W + 1), load(z, _W + 2)
    w11, w12, w22 = load(z, _W + 3), load(z, _W + 4), load(z, _W + 5)
    p0, p1, p2 = load(z, _LAMBDA), load(z, _LAMBDA + 1), load(z, _LAMBDA + 2)
    r0, r1, r2 = load(z, _GM), load(z, _GM + 1), load(z, _GM + 2)
    z00 = r0 * w00 + r1 * w01 + r2 * w02 - p0 * v0
    z10 = r0 * w01 + r1 * w11 + r2 * w12 - p1 * v0
    z20 = r0 * w02 + r1 * w12 + r2 * w22 - p2 * v0
    r0, r1, r2 = load(z, _GM + 3), load(z, _GM + 4), load(z, _GM + 5)
    z01 = r0 * w00 + r1 * w01 + r2 * w02 - p0 * v1
    z11 = r0 * w01 + r1 * w11 + r2 * w12 - p1 * v1
    z21 = r0 * w02 + r1 * w12 + r2 * w22 - p2 * v1
    r0, r1, r2 = load(z, _GM + 6), load(z, _GM + 7), load(z, _GM + 8)
    z02 = r0 * w00 + r1 * w01 + r2 * w02 - p0 * v2
    z12 = r0 * w01 + r1 * w11 + r2 * w12 - p1 * v2
    z22 = r0 * w02 + r1 * w12 + r2 * w22 - p2 * v2
    k1, k2, k3 = z00, z01 + z10, z02 + z20 + z11
    d21, d31, d32 = z11, z12 + z21, z22

    # through C^-1: n / S v v' + W - C
    c0, c1, c2 = load(z, _C), load(z, _C + 1), load(z, _C + 2)
    x0, x1, x2 = load(z, _V), load(z, _V + 1), load(z, _V + 2)
    q0 = v0 * x0 + v2 * x2 + w00 + w22 - 2.0 * c0
    q1 = 2.0 * (v0 * x1 + v1 * x2 + w01 + w12 - 2.0 * c1)
    q2 = 2.0 * (v0 * x2 + w02 - c2)
    q3 = v1 * x1 + w11 - c0

    twice = 2.0 * weight
    g0 = 2.0 * (k1 - t2 * d21 - t3 * d31) - q1 - f3 * q2 + 2.0 * f1 * q3
    g1 = 2.0 * (k2 + t1 * d21 - t3 * d32) - f3 * q1 - q2 - 2.0 * f2 * q3
    g2 = 2.0 * (k3 + t1 * d31 + t2 * d32) - 2.0 * f3 * (q0 + q3) - f2 * q1 - f1 * q2
    g3 = 2.0 * (k1 + f2 * d21 + f3 * d31) + free_slopes[0]
    g4 = 2.0 * (k2 - f1 * d21 + f3 * d32) + free_slopes[1]
    g5 = 2.0 * (k3 - f1 * d31 - f2 * d32) + free_slopes[2]
    store(z, _SLOPE, (twice * load(z, _SLOPE) + g0) * load(z, _FREE))
    store(z, _SLOPE + 1, (twice * load(z, _SLOPE + 1) + g1) * load(z, _FREE + 1))
    store(z, _SLOPE + 2, (twice * load(z, _SLOPE + 2) + g2) * load(z, _FREE + 2))
    store(z, _SLOPE + 3, (twice * load(z, _SLOPE + 3) + g3) * load(z, _FREE + 3))
    store(z, _SLOPE + 4, (twice * load(z, _SLOPE + 4) + g4) * load(z, _FREE + 4))
    store(z, _SLOPE + 5, (twice * load(z, _SLOPE + 5) + g5) * load(z, _FREE + 5))
    for i in range(3):
        for j in range(3):
            _set_pair(z, i, j, twice * load(z, _LONG + 5 + abs(i - j)), spread(0.0))
            square = twice * load(z, _LONG + 8 + abs(i - j))
            _set_pair(z, 3 + i, 3 + j, square, 2.0 * twice * load(z, _LONG + 16 + i + j))
            cross = twice * load(z, _LONG + 2 + j - i)
            bend = twice * load(z, _LONG + 11 + i + j)
            _set_pair(z, i, 3 + j, cross, bend)
            _set_pair(z, 3 + j, i, cross, bend)


@compiled
def _set_pair(z, i, j, product, bend):
    """Write one entry of both matrices, without the coefficients that stay at zero."""
    both = load(z, _FREE + i) * load(z, _FREE + j)
    fixed = (1.0 - both) * (1.0 if i == j else 0.0)
    store(z, _GAUSS + 6 * i + j, product * both + fixed)
    store(z, _NEWTON + 6 * i + j, (product + bend) * both + fixed)


@compiled
def _solve(z, matrix, diagonal, damping, right, out):
    """Write the solution of (A + damping diag(D)) x = -b; return the least pivot over diag(D)."""
    least = spread(1.0)
    for i in range(6):
        own = load(z, diagonal + 7 * i)
        for j in range(i + 1):
            entry = load(z, matrix + 6 * i + j)
            if i == j:
                entry += damping * own
            for k in range(j):
                entry -= (
                    load(z, _FACTOR + 6 * i + k)
                    * load(z, _FACTOR + 6 * j + k)
                    * load(z, _FACTOR + 7 * k)
                )
            if i == j:
                ratio = entry / own
                least = where(ratio < least, ratio, least)
                store(z, _FACTOR + 7 * i, entry)
            else:
                store(z, _FACTOR + 6 * i + j, entry / load(z, _FACTOR + 7 * j))
    for i in range(6):
        entry = -load(z, right + i)
        for k in range(i):
            entry -= load(z, _FACTOR + 6 * i + k) * load(z, out + k)
        store(z, out + i, entry)
    for i in range(6):
        store(z, out + i, load(z, out + i) / load(z, _FACTOR + 7 * i))
    for i in range(4, -1, -1):
        entry = load(z, out + i)
        for k in range(i + 1, 6):
            entry -= load(z, _FACTOR + 6 * k + i) * load(z, out + k)
        store(z, out + i, entry)
    return least


@compiled
def _shorten(z, at):
    """Write ``at + length * step`` to the trial; return the length, at most 1, that stays inside.

    A step that would leave ends just inside, 2 % of the way before the edge.
    """
    length = spread(1.0)
    _move(z, at, length)
    inside = _inside(z, _TRIAL)
    if any_lane(~inside):
        low, high = spread(0.0), spread(1.0)
        for _ in range(12):
            middle = 0.5 * (low + high)
            _move(z, at, middle)
            reached = _inside(z, _TRIAL)
            low, high = where(reached, middle, low), where(reached, high, middle)
        length = where(inside, 1.0, 0.98 * low)
        _move(z, at, length)
    return length


@compiled
def _move(z, at, length):
    for i in range(6):
        store(z, _TRIAL + i, load(z, at + i) + length * load(z, _STEP + i))


@compiled
def _accept(z, taken):
    """Keep the trial's coefficients and derivatives in the lanes of ``taken``."""
    for i in range(6):
        store(z, _AT + i, where(taken, load(z, _TRIAL + i), load(z, _AT + i)))
    for i in range(_KEPT - _SLOPE):
        store(z, _KEPT + i, where(taken, load(z, _SLOPE + i), load(z, _KEPT + i)))


@compiled
def _start(data, n_steps, z, y_at):
    """Write the start of Hannan and Rissanen, from autocovariances alone, to the step rows."""
    # autocovariances to lag N_LONG + 3
    auto, long, cross, noise = _LONG, _LONG + 20, _KEPT, _KEPT + 10
    for lag in range(0, 16, 4):
        s0 = s1 = s2 = s3 = spread(0.0)
        for t in range(lag + 3, n_steps):
            y0 = load(data, 2 * t)
            at = 2 * (t - lag)
            s0 += y0 * load(data, at)
            s1 += y0 * load(data, at - 2)
            s2 += y0 * load(data, at - 4)
            s3 += y0 * load(data, at - 6)
        for i in range(3):  # products that the loop of four leaves out
            t = lag + i
            if t < n_steps:
                y0 = load(data, 2 * t)
                s0 += y0 * load(data, 2 * i)
                if i > 0:
                    s1 += y0 * load(data, 2 * (i - 1))
                if i > 1:
                    s2 += y0 * load(data, 2 * (i - 2))
        store(z, auto + lag, s0)
        store(z, auto + lag + 1, s1)
        store(z, auto + lag + 2, s2)
        store(z, auto + lag + 3, s3)
    scale = 1.0 / load(z, auto)
    for lag in range(16):
        store(z, auto + lag, load(z, auto + lag) * scale)

    # Durbin-Levinson: -a(1..N_LONG), with a(0) = 1
    store(z, long, 1.0)
    error = spread(1.0)
    for m in range(1, N_LONG + 1):
        total = load(z, auto + m)
        for i in range(1, m):
            total += load(z, long + i) * load(z, auto + m - i)
        k = -total / error
        for i in range(1, m // 2 + 1):
            low, high = load(z, long + i), load(z, long + m - i)
            store(z, long + i, low + k * high)
            store(z, long + m - i, high + k * low)
        store(z, long + m, k)
        error *= 1.0 - k * k

    # cross(k) = y(t) e(t-k), k = -2..3 in rows k + 2, and noise(k) = e(t) e(t-k), k = 0..2
    for k in range(-2, 4):
        total = spread(0.0)
        for i in range(N_LONG + 1):
            total += load(z, long + i) * load(z, auto + abs(k + i))
        store(z, cross + k + 2, total)
    for k in range(3):
        total = spread(0.0)
        for i in range(N_LONG + 1):  # e(t) = sum a(i) y(t-i): y(t-i) e(t-k) at lag k - i
            inner = spread(0.0)
            for j in range(N_LONG + 1):
                inner += load(z, long + j) * load(z, auto + abs(k - i + j))
            total += load(z, long + i) * inner
        store(z, noise + k, total)
    for i in range(3):
        store(z, _SLOPE + i, -load(z, auto + i + 1) * load(z, _FREE + i))
        store(z, _SLOPE + 3 + i, -load(z, cross + i + 3) * load(z, _FREE + 3 + i))
        for j in range(3):
            _set_pair(z, i, j, load(z, auto + abs(i - j)), spread(0.0))
            _set_pair(z, 3 + i, 3 + j, load(z, noise + abs(i - j)), spread(0.0))
            _set_pair(z, i, 3 + j, load(z, cross + 2 + j - i), spread(0.0))
            _set_pair(z, 3 + j, i, load(z, cross + 2 + j - i), spread(0.0))
    _solve(z, _GAUSS, _GAUSS, spread(1e-4), _SLOPE, _STEP)
    store(z, y_at, scale)


@compiled
def _curvature(data, n_steps, z, e, u, w):
    """Write the whole matrix of second derivatives where the window stands, by differences.

    What ``_second_order`` leaves out matters near the unit circle alone.
    """
    margin = _margin(z, _AT)
    for i in range(6):
        for j in range(6):
            store(z, _TRIAL + j, load(z, _AT + j))
        at = load(z, _AT + i)
        away = where(at > 0.0, -1e-4, 1e-4) * margin
        store(z, _TRIAL + i, at + away * load(z, _FREE + i))
        if any_lane(load(z, _FREE + i) > 0.5):
            head = _evaluate(data, n_steps, z, _TRIAL, e)
            _differentiate(data, n_steps, head, z, _TRIAL, e, u, w)
        for j in range(6):
            slope = (load(z, _SLOPE + j) - load(z, _KEPT + j)) / away
            both = load(z, _FREE + i) * load(z, _FREE + j)
            fixed = (1.0 - both) * (1.0 if i == j else 0.0)
            store(z, _BENT + 6 * i + j, where(both > 0.5, slope, fixed))
    for i in range(6):
        for j in range(i + 1):
            entry = 0.5 * (load(z, _BENT + 6 * i + j) + load(z, _BENT + 6 * j + i))
            store(z, _KEPT + 6 + 6 * i + j, entry)
        own, gauss = load(z, _KEPT + 6 + 7 * i), load(z, _KEPT + 42 + 7 * i)
        store(z, _KEPT + 42 + 7 * i, where(own > gauss, own, gauss))


@compiled
def fit_groups(values, starts, given, most, exact, z, data, e, u, w, out):
    """Maximise the likelihood of every window of every group of lanes.

    Parameters
    ----------
    data : ndarray of shape (G, n, 2, 8)
        Value less its sample mean, and 1 where there is one; zeros after a window's end.
    starts : ndarray of shape (G, 6, 8)
        Coefficients to start from where ``given`` is 1.
    given : ndarray of shape (G, 8)
        1 where a start is given, else 0.
    most : int
        Steps tried.
    exact : bool
        Whether all second derivatives are taken, by differences: seven times the work.
    z : ndarray of shape (G, rows, 8)
        Scratch, whose rows of length, mean and free coefficients are set.
    e, u, w : ndarray of shape (n, 8)
        Scratch.
    out : ndarray of shape (G, 11, 8)
        Coefficients (6), value, S, mu, steps taken, and what the next step was to gain.
    """
    n_groups, n_steps = len(z), len(data)
    for group in range(n_groups):
        own = z[group]
        _interleave(values, group, own, data)
        _start(data, n_steps, own, _LONG + 40)
        for i in range(6):
            store(own, _AT + i, 0.0)
        _shorten(own, _AT)
        for i in range(6):
            store(own, _LONG + i, load(own, _TRIAL + i))
            store(own, _TRIAL + i, load(starts, 6 * group + i))
        known = (load(given, group) > 0.5) & _inside(own, _TRIAL)
        for i in range(6):
            store(own, _TRIAL + i, where(known, load(own, _TRIAL + i), load(own, _LONG + i)))
        head = _evaluate(data, n_steps, own, _TRIAL, e)
        _differentiate(data, n_steps, head, own, _TRIAL, e, u, w)
        value = load(own, _VALUE)
        least, mean = load(own, _SUM), load(own, _MEAN)
        active = value < np.inf
        _accept(own, active | ~active)
        damping, n_taken, left = spread(1e-4), spread(0.0), spread(np.inf)
        for _ in range(most):
            if exact:
                _curvature(data, n_steps, own, e, u, w)
            pivot = _solve(own, _KEPT + 42, _KEPT + 42, damping, _KEPT, _STEP)
            for i in range(6):
                store(own, _LONG + i, load(own, _STEP + i))
            pivot = _solve(own, _KEPT + 6, _KEPT + 42, damping, _KEPT, _STEP)
            convex = pivot > 1e-9
            gain = spread(0.0)
            for i in range(6):
                step = where(convex, load(own, _STEP + i), load(own, _LONG + i))
                store(own, _STEP + i, step)
                gain -= step * load(own, _KEPT + i)
            length = _shorten(own, _AT)
            left = where(active, gain * length, left)
            active = active & (left >= TOLERANCE)
            if not any_lane(active):
                break
            head = _evaluate(data, n_steps, own, _TRIAL, e)
            found = load(own, _VALUE)
            better = active & (found < value)
            value = where(better, found, value)
            least = where(better, load(own, _SUM), least)
            mean = where(better, load(own, _MEAN), mean)
            n_taken = where(active, n_taken + 1.0, n_taken)
            more = damping * 10.0
            damping = where(better, damping * 0.1, where(more < 1e-3, 1e-3, more))
            damping = where(damping < 1e-10, 1e-10, damping)
            if any_lane(better):
                _differentiate(data, n_steps, head, own, _TRIAL, e, u, w)
                _accept(own, better)
        for i in range(6):
            store(out, 11 * group + i, load(own, _AT + i))
        store(out, 11 * group + 6, value)
        store(out, 11 * group + 7, least)
        store(out, 11 * group + 8, mean)
        store(out, 11 * group + 9, n_taken)
        store(out, 11 * group + 10, left)


@compiled
def value_groups(values, given, z, data, e, u, w, out):
    """Evaluate given coefficients: value, S, mu, slopes (6), Newton matrix (36); and residuals.

    Parameters
    ----------
    data, z, u, w
        As in ``fit_groups``; one group of lanes after another.
    given : ndarray of shape (G, 6, 8)
    e : ndarray of shape (G, n, 8)
        Residuals of each window.
    out : ndarray of shape (G, 45, 8)
    """
    n_groups, n_steps = len(z), len(data)
    for group in range(n_groups):
        own = z[group]
        _interleave(values, group, own, data)
        for i in range(6):
            store(own, _TRIAL + i, load(given, 6 * group + i))
        head = _evaluate(data, n_steps, own, _TRIAL, e[group])
        _differentiate(data, n_steps, head, own, _TRIAL, e[group], u, w)
        for i in range(3):
            store(out, 45 * group + i, load(own, _VALUE + i))
        for i in range(42):
            store(out, 45 * group + 3 + i, load(own, _SLOPE + i))


@dataclass(frozen=True, slots=True, eq=False)
class ArmaFits:
    """Maximum-likelihood estimates of J jobs.

    Attributes
    ----------
    ar, ma : ndarray of shape (J, 3)
        phi and theta; zero beyond the order.
    mean : ndarray of shape (J,)
        mu; zero where none is estimated.
    variance : ndarray of shape (J,)
        sigma2 = S / n.
    loglik : ndarray of shape (J,)
        NaN where the values are constant.
    n_steps : ndarray of int, shape (J,)
        Evaluations after the first.
    converged : ndarray of bool, shape (J,)
        Whether the next step would gain less than ``ENOUGH``.
    """

    ar: FloatArray
    ma: FloatArray
    mean: FloatArray
    variance: FloatArray
    loglik: FloatArray
    n_steps: IntArray
    converged: BoolArray

    def as_rows(self) -> FloatArray:
        """Return all of it as one array, (J, 11)."""
        rest = (self.mean, self.variance, self.loglik, self.n_steps, self.converged)
        return np.column_stack([self.ar, self.ma, *rest])

    @classmethod
    def from_rows(cls, rows: FloatArray) -> "ArmaFits":
        """Return the fits that ``as_rows`` made an array of; NaN is a fit not made."""
        mean, variance, loglik, n_steps, converged = rows[:, 6:].T
        return cls(
            rows[:, :3],
            rows[:, 3:6],
            mean,
            variance,
            loglik,
            np.nan_to_num(n_steps).astype(np.int64),
            converged > 0.5,
        )


@compiled
def scan_groups(values, given, roots, z, data, e, out):
    """Find the pair of nearly cancelling roots whose addition promises the most.

    With residuals e of a smaller model, the model with ``(1 - a B)`` and ``(1 - b B)`` more has
    ``e + (b - a) v`` where ``v(t) = b v(t-1) + e(t-1)``: least squares in ``b - a``.

    Parameters
    ----------
    data, z
        As in ``fit_groups``.
    given : ndarray of shape (G, 6, 8)
        Coefficients of the smaller model.
    roots : ndarray of shape (4 K,)
        Roots b tried.
    e : ndarray of shape (n, 8)
        Scratch.
    out : ndarray of shape (G, 2, 8)
        a and b.
    """
    n_groups, n_steps = len(z), len(data)
    for group in range(n_groups):
        own = z[group]
        _interleave(values, group, own, data)
        for i in range(6):
            store(own, _TRIAL + i, load(given, 6 * group + i))
        head = _evaluate(data, n_steps, own, _TRIAL, e)
        _correct(data, n_steps, head, own, _TRIAL, e)
        shift, most, zero, pole = load(own, _SHIFT), spread(-1.0), spread(0.0), spread(0.0)
        for k in range(0, len(roots), 4):
            r0, r1, r2, r3 = roots[k], roots[k + 1], roots[k + 2], roots[k + 3]
            v0 = v1 = v2 = v3 = x0 = x1 = x2 = x3 = spread(0.0)
            s0 = s1 = s2 = s3 = spread(1e-300)
            for t in range(n_steps):
                live = load(data, 2 * t + 1)
                e0 = (load(e, t) - shift) * live
                x0 += e0 * v0
                x1 += e0 * v1
                x2 += e0 * v2
                x3 += e0 * v3
                s0 += v0 * v0
                s1 += v1 * v1
                s2 += v2 * v2
                s3 += v3 * v3
                v0, v1, v2, v3 = (
                    (r0 * v0 + e0) * live,
                    (r1 * v1 + e0) * live,
                    (r2 * v2 + e0) * live,
                    (r3 * v3 + e0) * live,
                )
            for root, x, square in ((r0, x0, s0), (r1, x1, s1), (r2, x2, s2), (r3, x3, s3)):
                found = x * x / square > most
                most = where(found, x * x / square, most)
                pole = where(found, root + x / square, pole)
                zero = where(found, root, zero)
        store(out, 2 * group, pole)
        store(out, 2 * group + 1, zero)


@compiled
def scan_waves(values, given, waves, z, data, e, out):
    """Find the pair of nearly cancelling quadratics whose addition promises the most.

    As ``scan_groups`` with ``1 - b1 B - b2 B**2`` for ``1 - b B``; two coefficients by least
    squares.

    Parameters
    ----------
    data, given, z, e
        As in ``scan_groups``.
    waves : ndarray of shape (2 K, 2)
        b1 and b2 tried.
    out : ndarray of shape (G, 4, 8)
        a1, a2, b1, b2.
    """
    n_groups, n_steps = len(z), len(data)
    for group in range(n_groups):
        own = z[group]
        _interleave(values, group, own, data)
        for i in range(6):
            store(own, _TRIAL + i, load(given, 6 * group + i))
        head = _evaluate(data, n_steps, own, _TRIAL, e)
        _correct(data, n_steps, head, own, _TRIAL, e)
        shift, most = load(own, _SHIFT), spread(-1.0)
        for k in range(0, len(waves), 2):
            b1, b2, c1, c2 = waves[k, 0], waves[k, 1], waves[k + 1, 0], waves[k + 1, 1]
            v1 = v2 = s1 = s2 = x1 = x2 = y1 = y2 = sx = sy = spread(0.0)
            xx = yy = spread(1e-300)
            for t in range(n_steps):
                live = load(data, 2 * t + 1)
                e0 = (load(e, t) - shift) * live
                x1 += e0 * v1
                x2 += e0 * v2
                y1 += e0 * s1
                y2 += e0 * s2
                xx += v1 * v1
                sx += v1 * v2
                yy += s1 * s1
                sy += s1 * s2
                v1, v2 = (e0 + b2 * v2 + b1 * v1) * live, v1
                s1, s2 = (e0 + c2 * s2 + c1 * s1) * live, s1
            _keep_wave(out, group, b1, b2, x1, x2, xx, sx, most)
            most = _promise(x1, x2, xx, sx, most)
            _keep_wave(out, group, c1, c2, y1, y2, yy, sy, most)
            most = _promise(y1, y2, yy, sy, most)


@compiled
def _promise(x1, x2, square, product, most):
    gain = (square * (x1 * x1 + x2 * x2) - 2.0 * product * x1 * x2) / (
        square * square - product * product
    )
    return where(gain > most, gain, most)


@compiled
def _keep_wave(out, group, b1, b2, x1, x2, square, product, most):
    better = _promise(x1, x2, square, product, most) > most
    left = 1.0 / (square * square - product * product)
    a1 = b1 + (square * x1 - product * x2) * left
    a2 = b2 + (square * x2 - product * x1) * left
    store(out, 4 * group, where(better, a1, load(out, 4 * group)))
    store(out, 4 * group + 1, where(better, a2, load(out, 4 * group + 1)))
    store(out, 4 * group + 2, where(better, b1, load(out, 4 * group + 2)))
    store(out, 4 * group + 3, where(better, b2, load(out, 4 * group + 3)))


@compiled
def filter_groups(values, given, z, data, e):
    """Write the residuals of every window, (G, n, 8), at given coefficients, (G, 6, 8)."""
    n_groups, n_steps = len(z), len(data)
    for group in range(n_groups):
        own = z[group]
        _interleave(values, group, own, data)
        for i in range(6):
            store(own, _TRIAL + i, load(given, 6 * group + i))
        head = _evaluate(data, n_steps, own, _TRIAL, e[group])
        _correct(data, n_steps, head, own, _TRIAL, e[group])


@dataclass(frozen=True, slots=True, eq=False)
class Jobs:
    """J models, each of a window.

    Attributes
    ----------
    window : ndarray of int, shape (J,)
        Position of the window.
    p, q : ndarray of int, shape (J,)
        Orders, 0 to 3.
    constant : ndarray of bool, shape (J,)
        Whether a mean is estimated.
    """

    window: IntArray
    p: IntArray
    q: IntArray
    constant: BoolArray

    def __len__(self) -> int:
        return len(self.window)

    def of(self, index: IntArray) -> "Jobs":
        """Return the jobs at ``index``."""
        return Jobs(self.window[index], self.p[index], self.q[index], self.constant[index])


@dataclass(frozen=True, slots=True, eq=False)
class _Groups:
    """Jobs as the kernels take them, eight a group; lanes without a job hold one zero."""

    values: FloatArray  # (8 G, n)
    scratch: FloatArray  # (G, rows, 8)
    side_by_side: FloatArray  # (n, 2, 8), written group by group
    residuals: FloatArray  # (n, 8), likewise

    def lanes(self, values: FloatArray) -> FloatArray:
        """Return values of the jobs, (J, K), by group, (G, K, 8)."""
        padded = np.zeros((len(self.values), values.shape[1]))
        padded[: len(values)] = values
        return np.ascontiguousarray(padded.reshape(-1, WIDTH, values.shape[1]).transpose(0, 2, 1))


def _grouped(
    windows: Sequence[FloatArray],
    means: FloatArray,
    free: FloatArray,
    constant: BoolArray | None = None,
) -> _Groups:
    """Return the windows of J jobs less their means, and what each estimates, (J, 6)."""
    n_groups = -(-len(windows) // WIDTH)
    lengths = np.ones(n_groups * WIDTH)
    lengths[: len(windows)] = [len(one) for one in windows]
    n_steps = int(lengths.max())
    values = np.zeros((n_groups * WIDTH, n_steps))
    for row, one, mean in zip(values, windows, means.tolist(), strict=False):
        np.subtract(one, mean, out=row[: len(one)])
    groups = _Groups(
        values,
        np.zeros((n_groups, _ROWS, WIDTH)),
        np.empty((n_steps, 2, WIDTH)),
        np.empty((n_steps, WIDTH)),
    )
    groups.scratch[:, _COUNT] = lengths.reshape(n_groups, WIDTH)
    groups.scratch[:, _FREE : _FREE + 6] = groups.lanes(free)
    if constant is not None:
        groups.scratch[:, _CONSTANT] = groups.lanes(constant[:, None].astype(np.float64))[:, 0]
    return groups


def fit_arma(windows: Sequence[FloatArray], jobs: Jobs) -> ArmaFits:
    """Fit every job by exact maximum likelihood.

    The likelihood of a mixed model has a ridge of nearly cancelling roots with several tops. A
    model with both parts is therefore started from the better of two points: that of Hannan and
    Rissanen, and the fit with one lag less of each, to which the best of a scan of root pairs is
    added.

    The bits of a fit depend on its own window and order, not on what is fitted beside it.

    Parameters
    ----------
    windows : sequence of ndarray
        Stationary values of each window, at least one.
    jobs : Jobs
        What is fitted to which window.
    """
    mixed = np.flatnonzero((jobs.p > 0) & (jobs.q > 0))
    waved = np.flatnonzero((jobs.p > 1) & (jobs.q > 1))
    index = np.concatenate([np.arange(len(jobs)), mixed, waved])
    starts = np.full((len(index), N_COEFFICIENTS), np.nan)
    stop = len(jobs) + len(mixed)
    if mixed.size:
        starts[len(jobs) : stop] = _scan(windows, *_smaller(windows, jobs.of(mixed), 1))
    if waved.size:
        starts[stop:] = _scan_waves(windows, *_smaller(windows, jobs.of(waved), 2))
    return _best_of(windows, jobs, index, starts)


def _smaller(windows: Sequence[FloatArray], jobs: Jobs, by: int) -> tuple[Jobs, FloatArray]:
    smaller = Jobs(jobs.window, jobs.p - by, jobs.q - by, jobs.constant)
    base = np.zeros((len(smaller), N_COEFFICIENTS))
    larger = np.flatnonzero((smaller.p > 0) | (smaller.q > 0))
    if larger.size:
        found = fit_arma(windows, smaller.of(larger))
        base[larger] = np.hstack([found.ar, found.ma])
    return smaller, base


WAVES = np.array(
    [
        [2.0 * rho * np.cos(w * np.pi), -rho * rho]
        for rho in (0.8, 0.97)
        for w in (0.04, 0.1, 0.18, 0.26, 0.34, 0.42, 0.5, 0.58, 0.66, 0.74, 0.82, 0.9)
    ]
)


def _scan_waves(windows: Sequence[FloatArray], jobs: Jobs, base: FloatArray) -> FloatArray:
    out = np.empty((len(jobs), N_COEFFICIENTS))
    for first in range(0, len(jobs), _CHUNK):
        part = jobs.of(np.arange(first, min(first + _CHUNK, len(jobs))))
        groups = _grouped_jobs(windows, part, np.ones((len(part), 6)))
        pair = np.empty((len(groups.scratch), 4, WIDTH))
        given = base[first : first + _CHUNK]
        scan_waves(
            groups.values,
            groups.lanes(given),
            WAVES,
            groups.scratch,
            groups.side_by_side,
            groups.residuals,
            pair,
        )
        a1, a2, b1, b2 = pair.transpose(1, 0, 2).reshape(4, -1)[:, : len(part)]
        a2 = np.clip(a2, -0.998, 0.998)
        a1 = np.clip(a1, -(1 - a2) * 0.999, (1 - a2) * 0.999)
        out[first : first + _CHUNK, :3] = -_extended2(-given[:, :3], a1, a2)
        out[first : first + _CHUNK, 3:] = _extended2(given[:, 3:], b1, b2)
    return out


def _extended2(tail: FloatArray, one: FloatArray, two: FloatArray) -> FloatArray:
    longer = tail.copy()
    longer[:, 0] -= one
    longer[:, 1] -= two + one * tail[:, 0]
    longer[:, 2] -= one * tail[:, 1] + two * tail[:, 0]
    return longer


SCANNED = np.array(
    [0.3, -0.3, 0.6, -0.6, 0.8, -0.8, 0.9, -0.9, 0.95, -0.95, 0.98, -0.98, 0.99, -0.99, 0.995, 0.0]
)


def _scan(windows: Sequence[FloatArray], jobs: Jobs, base: FloatArray) -> FloatArray:
    out = np.empty((len(jobs), N_COEFFICIENTS))
    for first in range(0, len(jobs), _CHUNK):
        part = jobs.of(np.arange(first, min(first + _CHUNK, len(jobs))))
        groups = _grouped_jobs(windows, part, np.ones((len(part), 6)))
        pair = np.empty((len(groups.scratch), 2, WIDTH))
        given = base[first : first + _CHUNK]
        scan_groups(
            groups.values,
            groups.lanes(given),
            SCANNED,
            groups.scratch,
            groups.side_by_side,
            groups.residuals,
            pair,
        )
        pole, zero = pair.transpose(1, 0, 2).reshape(2, -1)[:, : len(part)]
        pole = np.clip(pole, -0.999, 0.999)
        out[first : first + _CHUNK, :3] = -_extended(-given[:, :3], pole)
        out[first : first + _CHUNK, 3:] = _extended(given[:, 3:], zero)
    return out


def _extended(tail: FloatArray, root: FloatArray) -> FloatArray:
    """Return the coefficients 1 to 3 of ``(1 + tail B + ...) (1 - root B)``, (J, 3)."""
    longer = tail.copy()
    longer[:, 0] -= root
    longer[:, 1:] -= root[:, None] * tail[:, :-1]
    return longer


def fit_from(windows: Sequence[FloatArray], jobs: Jobs, starts: FloatArray) -> ArmaFits:
    return _best_of(windows, jobs, np.arange(len(jobs)), starts)


def _best_of(
    windows: Sequence[FloatArray], jobs: Jobs, index: IntArray, starts: FloatArray
) -> ArmaFits:
    free = _free(jobs)
    lengths = np.array([len(one) for one in windows])[jobs.window]
    tried = np.full((len(index), 11), np.nan)
    running = np.arange(len(index))
    for most, exact in ROUNDS:
        tried[running] = _fit_all(windows, jobs.of(index[running]), starts, most=most, exact=exact)
        value = np.where(np.isnan(tried[:, 6]), np.inf, tried[:, 6])
        least = np.full(len(jobs), np.inf)
        np.minimum.at(least, index, value)
        behind = value > least[index] + (0.0 if exact else BEHIND)
        running = np.flatnonzero((tried[:, 10] >= TOLERANCE) & np.isfinite(value) & ~behind)
        if not running.size:
            break
        starts = tried[running, :6]
    found = tried[np.lexsort((value, index))]
    found = found[np.searchsorted(np.sort(index), np.arange(len(jobs)))]
    variance = found[:, 7] / lengths
    loglik = -0.5 * (found[:, 6] + lengths * (np.log(2.0 * np.pi / lengths) + 1.0))
    centres = _centres(windows, jobs)
    return ArmaFits(
        found[:, :3] * free[:, :3],
        found[:, 3:6] * free[:, 3:],
        found[:, 8] + centres,
        variance,
        np.where(np.isfinite(loglik), loglik, np.nan),
        found[:, 9].astype(np.int64),
        found[:, 10] < ENOUGH,
    )


_CHUNK = 32 * WIDTH


def _free(jobs: Jobs) -> FloatArray:
    lags = np.arange(N_LAGS)
    return np.hstack([lags < jobs.p[:, None], lags < jobs.q[:, None]]).astype(np.float64)


def _centres(windows: Sequence[FloatArray], jobs: Jobs) -> FloatArray:
    """Return the sample mean of each job's window, (J,); zero where no mean is estimated."""
    means = {int(one): float(windows[one].mean()) for one in np.unique(jobs.window[jobs.constant])}
    return np.array(
        [
            means[one] if constant else 0.0
            for one, constant in zip(jobs.window.tolist(), jobs.constant.tolist(), strict=True)
        ]
    )


def _grouped_jobs(windows: Sequence[FloatArray], jobs: Jobs, free: FloatArray) -> _Groups:
    """Return the jobs' windows less their sample means where a mean is estimated."""
    own = [windows[one] for one in jobs.window.tolist()]
    return _grouped(own, _centres(windows, jobs), free, jobs.constant)


def _fit_all(
    windows: Sequence[FloatArray], jobs: Jobs, starts: FloatArray, *, most: int, exact: bool
) -> FloatArray:
    """Return the kernel's rows of the jobs, (J, 11), from their starts, (J, 6)."""
    lengths = np.array([len(one) for one in windows])[jobs.window]
    alike = np.lexsort((jobs.window, jobs.q, jobs.p, lengths))
    found = np.empty((len(jobs), 11))
    for first in range(0, len(jobs), _CHUNK):
        chunk = alike[first : first + _CHUNK]
        found[chunk] = _fit_chunk(windows, jobs.of(chunk), starts[chunk], most=most, exact=exact)
    return found


def _fit_chunk(
    windows: Sequence[FloatArray], jobs: Jobs, starts: FloatArray, *, most: int, exact: bool
) -> FloatArray:
    free = _free(jobs)
    groups = _grouped_jobs(windows, jobs, free)
    known = ~np.isnan(starts[:, :1])
    start = groups.lanes(np.hstack([np.where(known, starts, 0.0), known]))
    out = np.empty((len(groups.scratch), 11, WIDTH))
    fit_groups(
        groups.values,
        np.ascontiguousarray(start[:, :6]),
        np.ascontiguousarray(start[:, 6]),
        most,
        exact,
        groups.scratch,
        groups.side_by_side,
        groups.residuals,
        np.empty_like(groups.residuals),
        np.empty_like(groups.residuals),
        out,
    )
    return out.transpose(0, 2, 1).reshape(-1, 11)[: len(jobs)]


def last_residuals(
    windows: Sequence[FloatArray], ar: FloatArray, ma: FloatArray, mean: FloatArray
) -> FloatArray:
    """Return the last three residuals of each window, oldest first, shape (W, 3).

    They are the expectations of ``e`` given the whole window: what a forecast continues from.

    Parameters
    ----------
    windows : sequence of ndarray
        W windows of at least three values.
    ar, ma : ndarray of shape (W, 3)
        Coefficients of each.
    mean : ndarray of shape (W,)
    """
    found = np.empty((len(windows), N_LAGS))
    for first in range(0, len(windows), _CHUNK):
        part = slice(first, first + _CHUNK)
        groups = _grouped(windows[part], mean[part], np.ones((len(windows[part]), 6)))
        residuals = np.empty((len(groups.scratch), *groups.residuals.shape))
        given = groups.lanes(np.hstack([ar[part], ma[part]]))
        filter_groups(groups.values, given, groups.scratch, groups.side_by_side, residuals)
        job = np.arange(len(windows[part]))[:, None]
        last = np.array([len(one) for one in windows[part]])[:, None] + np.arange(-N_LAGS, 0)
        found[part] = residuals[job // WIDTH, last, job % WIDTH]
    return found
