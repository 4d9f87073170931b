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

from pmx_ray._typing import FloatArray
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
from pmx_ray.kernels.compiling import compiled
from pmx_ray.kernels.lanes import any_lane, load, spread, store, where

EDGE = 1e-6
"""How near a partial autocorrelation may come to 1 in absolute value."""

TOLERANCE = 1e-7
"""A window is done when the next step is to gain less than this in -2 log L."""

N_OUT = 11

_KEPT_NEWTON, _KEPT_GAUSS = row(KEPT + NEWTON - SLOPE), row(KEPT + GAUSS - SLOPE)


@compiled
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
                entry -= (
                    load(z, FACTOR + 6 * i + k)
                    * load(z, FACTOR + 6 * j + k)
                    * load(z, FACTOR + 7 * k)
                )
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


@compiled
def _move(z: FloatArray, length: Any) -> None:
    for i in range(6):
        store(z, TRIAL + i, load(z, AT + i) + length * load(z, STEP + i))


@compiled
def _shorten(z: FloatArray) -> Any:
    """Write the trial, a length of the step away; return the length, at most 1.

    A step that would leave ends just inside, 2 % of the way before the edge.
    """
    length = spread(1.0)
    _move(z, length)
    whole = margin(z, TRIAL) > EDGE
    if any_lane(~whole):
        low, high = spread(0.0), spread(1.0)
        for _ in range(12):
            middle = 0.5 * (low + high)
            _move(z, middle)
            reached = margin(z, TRIAL) > EDGE
            low, high = where(reached, middle, low), where(reached, high, middle)
        length = where(whole, 1.0, 0.98 * low)
        _move(z, length)
    return length


@compiled
def _accept(z: FloatArray, taken: Any) -> None:
    """Keep the trial's coefficients and derivatives in the lanes of ``taken``."""
    for i in range(6):
        store(z, AT + i, where(taken, load(z, TRIAL + i), load(z, AT + i)))
    for i in range(78):
        store(z, KEPT + i, where(taken, load(z, SLOPE + i), load(z, KEPT + i)))


@compiled
def _probe(z: FloatArray, i: int, away: Any) -> None:
    """Write the trial of a difference: coefficient i moved."""
    for j in range(6):
        store(z, TRIAL + j, load(z, AT + j))
    store(z, TRIAL + i, load(z, AT + i) + away * load(z, FREE + i))


@compiled
def _bend(z: FloatArray, i: int, away: Any) -> None:
    """Write row i of the second derivatives, from the slopes at the trial and at the window."""
    for j in range(6):
        both = load(z, FREE + i) * load(z, FREE + j)
        slope = (load(z, SLOPE + j) - load(z, KEPT + j)) / away
        store(z, BENT + 6 * i + j, where(both > 0.5, slope, 1.0 if i == j else 0.0))


@compiled
def _replace_newton(z: FloatArray) -> None:
    """Put all second derivatives in the place of those of the residuals."""
    for i in range(6):
        for j in range(i + 1):
            entry = 0.5 * (load(z, BENT + 6 * i + j) + load(z, BENT + 6 * j + i))
            store(z, _KEPT_NEWTON + 6 * i + j, entry)
        own, gauss = load(z, _KEPT_NEWTON + 7 * i), load(z, _KEPT_GAUSS + 7 * i)
        store(z, _KEPT_GAUSS + 7 * i, where(own > gauss, own, gauss))


@compiled
def _choose_step(z: FloatArray, damping: Any) -> Any:
    """Write the next step; return what a quadratic says that it gains, twice."""
    _solve(z, _KEPT_GAUSS, damping, GAUSS_STEP)
    convex = _solve(z, _KEPT_NEWTON, damping, STEP) > 1e-9
    gain = spread(0.0)
    for i in range(6):
        step = where(convex, load(z, STEP + i), load(z, GAUSS_STEP + i))
        store(z, STEP + i, step)
        gain -= step * load(z, KEPT + i)
    return gain


@compiled
def climb(
    values: FloatArray,
    starts: FloatArray,
    most: int,
    exact: bool,
    z: FloatArray,
    data: FloatArray,
    e: FloatArray,
    u: FloatArray,
    w: FloatArray,
    out: FloatArray,
) -> None:
    """Maximise the likelihood of every window of every group of lanes.

    Parameters
    ----------
    values : ndarray of shape (8 G, n)
        Values less their sample mean where a mean is estimated.
    starts : ndarray of shape (G, 6, 8)
        Coefficients to start from.
    most : int
        Steps tried.
    exact : bool
        Whether all second derivatives are taken: up to seven times the work.
    z : ndarray of shape (G, rows, 8)
        Scratch, whose rows of length, mean and free coefficients are set.
    data, e, u, w
        Scratch.
    out : ndarray of shape (G, 11, 8)
        Coefficients (6), value, S, mu, steps taken, and what the next step is to gain.
    """
    for group in range(len(z)):
        own = z[group]
        interleave(values, group, own, data)
        for i in range(6):
            store(own, TRIAL + i, load(starts, 6 * group + i))
        value, damping, left = spread(np.inf), spread(1e-4), spread(np.inf)
        least = mean = n_taken = spread(0.0)
        active = value > 0.0
        for step in range(most + 1):
            better = active
            away = spread(1.0)
            for probe in range(7 if exact else 1):
                if probe > 0:
                    if not any_lane(load(own, FREE + probe - 1) > 0.5):
                        _bend(own, probe - 1, away)
                        continue
                    at = load(own, AT + probe - 1)
                    away = where(at > 0.0, -1e-4, 1e-4) * margin(own, AT)
                    _probe(own, probe - 1, away)
                head = evaluate(data, own, TRIAL, e)
                if probe == 0:
                    found = load(own, VALUE)
                    better = active & (found < value)
                    if step > 0:
                        n_taken = where(active, n_taken + 1.0, n_taken)
                        more = where(damping < 1e-4, 1e-3, damping * 10.0)
                        damping = where(better, damping * 0.1, more)
                        damping = where(damping < 1e-10, 1e-10, damping)
                    else:
                        active = better
                    if not any_lane(better):
                        break
                differentiate(data, head, own, TRIAL, e, u, w)
                if probe == 0:
                    value = where(better, found, value)
                    least = where(better, load(own, SUM), least)
                    mean = where(better, load(own, MEAN), mean)
                    _accept(own, better)
                else:
                    _bend(own, probe - 1, away)
            if exact and any_lane(better):
                _replace_newton(own)
            gain = _choose_step(own, damping)
            length = _shorten(own)
            left = where(active, gain * length, left)
            active = active & (left >= TOLERANCE)
            if not any_lane(active):
                break
        for i in range(6):
            store(out, N_OUT * group + i, load(own, AT + i))
        store(out, N_OUT * group + 6, value)
        store(out, N_OUT * group + 7, least)
        store(out, N_OUT * group + 8, mean)
        store(out, N_OUT * group + 9, n_taken)
        store(out, N_OUT * group + 10, left)
