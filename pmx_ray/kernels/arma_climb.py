"""Damped Newton search for the maximum of the ARMA likelihood, eight windows in lanes.

Second derivatives are those of the residuals, and all of them, by differences of the slopes, where
that was not enough: near the unit circle. Where they do not make a convex function the step is that
of Gauss and Newton. Steps end inside the stationary and invertible region.

Rows and shapes are those of ``arma_likelihood``.

References
----------
More (1978), The Levenberg-Marquardt algorithm, Lecture Notes in Mathematics 630, 105-116.
"""

from typing import Any

import numpy as np

from pmx_ray._typing import FloatArray, IntArray
from pmx_ray.kernels.arma_likelihood import (
    AT,
    BENT,
    FACTOR,
    FREE,
    GAUSS,
    GAUSS_STEP,
    KEPT,
    MEAN,
    NEWTON,
    SLOPE,
    STEP,
    SUM,
    TRIAL,
    VALUE,
    differentiate,
    evaluate,
    interleave,
    margin,
    row,
)
from pmx_ray.kernels.compiling import compiled_lanes, inner
from pmx_ray.kernels.lanes import any_lane, fma, load, spread, store, where

EDGE = 1e-6
"""How near a partial autocorrelation may come to 1 in absolute value."""

TOLERANCE = 1e-7
"""A window is done when the next step is to gain less than this in -2 log L."""

FIRST_DAMPING, LEAST_DAMPING, RAISED_DAMPING = 1e-4, 1e-10, 1e-3
"""Of a search's first step; what good steps bring it down to; what a bad one raises it to at least,
and to ten times what it was."""

CONVEX = 1e-9
"""Least pivot, over Gauss and Newton's, of second derivatives that make a convex function."""

HALVINGS, BEFORE_EDGE = 13, 0.98
"""Tries at how far a step may go, and how much of the way to the edge is gone then."""

PROBE = 1e-4
"""How far a coefficient is moved for a difference of slopes, of its distance from the edge."""

N_OUT = 11

_KEPT_NEWTON, _KEPT_GAUSS = row(KEPT + NEWTON - SLOPE), row(KEPT + GAUSS - SLOPE)
_N_KEPT = row(GAUSS + 36 - SLOPE)


@inner
def _solve(z: FloatArray, matrix: int, damping: Any, out: int) -> Any:
    """Write the damped step; return the least pivot of the matrix over Gauss and Newton's."""
    least = spread(1.0)
    for i in range(6):
        own = load(z, _KEPT_GAUSS + 7 * i)
        for j in range(i + 1):
            entry = load(z, matrix + 6 * i + j)
            if i == j:
                entry += damping * own
            for k in range(j):
                scaled = load(z, FACTOR + 6 * i + k) * load(z, FACTOR + 7 * k)
                entry -= scaled * load(z, FACTOR + 6 * j + k)
            if i == j:
                ratio = entry / own
                least = where(ratio < least, ratio, least)
                store(z, FACTOR + 7 * i, entry)
            else:
                store(z, FACTOR + 6 * i + j, entry / load(z, FACTOR + 7 * j))
    for i in range(6):
        entry = -load(z, KEPT + i)
        for k in range(i):
            entry -= load(z, FACTOR + 6 * i + k) * load(z, out + k)
        store(z, out + i, entry)
    for i in range(6):
        store(z, out + i, load(z, out + i) / load(z, FACTOR + 7 * i))
    for i in range(4, -1, -1):
        entry = load(z, out + i)
        for k in range(i + 1, 6):
            entry -= load(z, FACTOR + 6 * k + i) * load(z, out + k)
        store(z, out + i, entry)
    return least


@inner
def _move(z: FloatArray, length: Any) -> None:
    for i in range(6):
        store(z, TRIAL + i, fma(length, load(z, STEP + i), load(z, AT + i)))


@inner
def _shorten(z: FloatArray, active: Any) -> Any:
    """Write the trial, a length of the step away; return the length, at most 1.

    A step that would leave ends just inside, 2 % of the way before the edge.
    """
    low, high, length = spread(0.0), spread(1.0), spread(1.0)
    for _ in range(HALVINGS):
        _move(z, length)
        reached = margin(z, TRIAL) > EDGE
        low, high = where(reached, length, low), where(reached, high, length)
        if not any_lane(active & (low < 1.0)):
            break
        length = 0.5 * (low + high)
    length = where(low < 1.0, BEFORE_EDGE * low, 1.0)
    _move(z, length)
    return length


@inner
def _accept(z: FloatArray, taken: Any) -> None:
    """Keep the trial's coefficients and derivatives in the lanes of ``taken``."""
    for i in range(6):
        store(z, AT + i, where(taken, load(z, TRIAL + i), load(z, AT + i)))
    for i in range(_N_KEPT):
        store(z, KEPT + i, where(taken, load(z, SLOPE + i), load(z, KEPT + i)))


@inner
def _probe(z: FloatArray, i: int) -> Any:
    """Write the trial of a difference, coefficient i moved; return how far."""
    for j in range(6):
        store(z, TRIAL + j, load(z, AT + j))
    at = load(z, AT + i)
    away = where(at > 0.0, -PROBE, PROBE) * margin(z, AT)
    store(z, TRIAL + i, fma(away, load(z, FREE + i), at))
    return away


@inner
def _bend(z: FloatArray, i: int, away: Any) -> None:
    """Write row i of the second derivatives, from the slopes at the trial and at the window."""
    for j in range(6):
        both = load(z, FREE + i) * load(z, FREE + j)
        slope = (load(z, SLOPE + j) - load(z, KEPT + j)) / away
        store(z, BENT + 6 * i + j, where(both > 0.5, slope, 1.0 if i == j else 0.0))


@inner
def _replace_newton(z: FloatArray) -> None:
    """Put all second derivatives in the place of those of the residuals."""
    for i in range(6):
        for j in range(i + 1):
            entry = 0.5 * (load(z, BENT + 6 * i + j) + load(z, BENT + 6 * j + i))
            store(z, _KEPT_NEWTON + 6 * i + j, entry)
        own, gauss = load(z, _KEPT_NEWTON + 7 * i), load(z, _KEPT_GAUSS + 7 * i)
        store(z, _KEPT_GAUSS + 7 * i, where(own > gauss, own, gauss))


@inner
def _choose_step(z: FloatArray, damping: Any, active: Any) -> Any:
    """Write the next step; return what a quadratic says that it gains, twice."""
    convex = active
    for which in range(2):  # Newton's, and that of Gauss and Newton where a lane needs it
        least = _solve(z, _KEPT_NEWTON + 36 * which, damping, STEP + 6 * which)
        if which == 0:
            convex = least > CONVEX
            if not any_lane(active & ~convex):
                break
    gain = spread(0.0)
    for i in range(6):
        step = where(convex, load(z, STEP + i), load(z, GAUSS_STEP + i))
        store(z, STEP + i, step)
        gain -= step * load(z, KEPT + i)
    return gain


@compiled_lanes
def climb(
    table: FloatArray,
    which: IntArray,
    means: FloatArray,
    given: FloatArray,
    most: int,
    exact: bool,
    z: FloatArray,
    data: FloatArray,
    residuals: FloatArray,
    u: FloatArray,
    w: FloatArray,
    out: FloatArray,
) -> None:
    """Maximise the likelihood of the window of every job, eight jobs a group.

    Parameters
    ----------
    table : ndarray of shape (N, n)
        Windows, zeros after their end.
    which : ndarray of int, shape (8 G,)
        Row of each job's window.
    means : ndarray of shape (8 G,)
        Taken off each window: its sample mean where a mean is estimated.
    given : ndarray of shape (G, 14, 8)
        Length, 1 where a mean is estimated, 1 where a coefficient is (6), start (6).
    most : int
        Steps tried; below zero, residuals at the start are all that is written.
    exact : bool
        Whether all second derivatives are taken: up to seven times the work.
    z : ndarray of shape (rows, 8)
        Scratch.
    data, u, w
        Scratch: (n, 2, 8), (n, 8) and (n, 8).
    residuals : ndarray of shape (G, n, 8) or (1, n, 8)
        Written where they are wanted, scratch otherwise.
    out : ndarray of shape (G, 11, 8)
        Coefficients (6), value, S, mu, steps taken, and what the next step is to gain.
    """
    for group in range(len(given)):
        n_steps = interleave(table, which, means, given, group, z, data)
        own, e = data[:n_steps], residuals[group % len(residuals)][:n_steps]
        for i in range(6):
            store(z, AT + i, load(z, TRIAL + i))
            for j in range(6):
                store(z, BENT + 6 * i + j, 1.0 if i == j else 0.0)
        value, damping, left = spread(np.inf), spread(FIRST_DAMPING), spread(np.inf)
        least = mean = n_taken = spread(0.0)
        active = value > 0.0
        for step in range((most if most > 0 else 0) + 1):
            better = active
            away = spread(1.0)
            for probe in range(7 if exact else 1):
                if probe > 0:
                    if not any_lane(load(z, FREE + probe - 1) > 0.5):
                        continue
                    away = _probe(z, probe - 1)
                head = evaluate(own, z, TRIAL, e)
                if probe == 0:
                    found = load(z, VALUE)
                    better = active & (found < value)
                    if step > 0:
                        n_taken = where(active, n_taken + 1.0, n_taken)
                        more = where(damping < 0.1 * RAISED_DAMPING, RAISED_DAMPING, damping * 10.0)
                        damping = where(better, damping * 0.1, more)
                        damping = where(damping < LEAST_DAMPING, LEAST_DAMPING, damping)
                    else:
                        active = better
                    if not any_lane(better) and most >= 0:
                        break
                differentiate(own, head, z, TRIAL, e, u, w)
                if probe == 0:
                    value = where(better, found, value)
                    least = where(better, load(z, SUM), least)
                    mean = where(better, load(z, MEAN), mean)
                    _accept(z, better)
                else:
                    _bend(z, probe - 1, away)
            if most < 0:
                break
            if exact and any_lane(better):
                _replace_newton(z)
            gain = _choose_step(z, damping, active)
            length = _shorten(z, active)
            left = where(active, gain * length, left)
            active = active & (left >= TOLERANCE)
            if not any_lane(active):
                break
        for i in range(6):
            store(out, N_OUT * group + i, load(z, AT + i))
        store(out, N_OUT * group + 6, value)
        store(out, N_OUT * group + 7, least)
        store(out, N_OUT * group + 8, mean)
        store(out, N_OUT * group + 9, n_taken)
        store(out, N_OUT * group + 10, left)
