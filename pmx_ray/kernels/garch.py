"""GARCH by maximum likelihood, eight windows at a time: start grid, Newton steps, filter.

With e(t) = y(t) - mu, the variance of a return follows

    s(t) = omega + alpha_1 e(t-1)^2 [e(t-1) >= 0 or no asymmetry] + delta e(t-1)^2 [e(t-1) < 0]
           + alpha_2 e(t-2)^2 + beta_1 s(t-1) + beta_2 s(t-2)

where ``delta = alpha_1 + gamma_1`` is the response to bad news of GJR, so that every coefficient
is bounded by zero alone. Before the window, squares and variances are the backcast.

Fits are cold: the best points of a fixed grid start damped Newton searches inside the bounds, so
that the estimate of a window depends on its own data and on nothing else.

Shapes: W windows of n returns, K parameters in the order of ``Form.names``.

References
----------
Bollerslev (1986), Journal of Econometrics 31, 307-327.
Glosten, Jagannathan and Runkle (1993), Journal of Finance 48, 1779-1801.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pmx_ray._typing import BoolArray, FloatArray, IntArray
from pmx_ray.kernels.compiling import compiled_lanes
from pmx_ray.kernels.garch_likelihood import (
    FACTS,
    LAST_ROWS,
    MEAN,
    ROWS,
    SCALE,
    Form,
    gather,
    likelihood,
    run_on,
    standardise,
)
from pmx_ray.kernels.garch_search import MAX_STEPS, NU_BOUNDS, bank_for, room_for, search
from pmx_ray.kernels.lanes import WIDTH, load, store

__all__ = [
    "MAX_STEPS", "NU_BOUNDS", "Engine", "Fits", "Form", "Host", "estimate",
    "filter_variances", "fit", "loglikelihood",
]  # fmt: skip

RIVAL_GAP = 10.0
"""A likelihood has several maxima: the best point of each region of the grid that comes as near
to the best point of all starts a search too."""

_ARCH, _PERSISTENCES, _LONG = (0.01, 0.05, 0.1, 0.2), (0.5, 0.7, 0.9, 0.98), 0.8
_LEVELS = (0.3, 0.6, 1.0, 2.0)
_SHARES = {1: (1.0,), 2: (0.85, 0.15)}  # of the first lag


@dataclass(frozen=True, slots=True, eq=False)
class Fits:
    """Estimates of W windows.

    Attributes
    ----------
    parameters : ndarray of shape (W, K)
        In the order of ``Form.names``, for returns in their own unit.
    loglik : ndarray of shape (W,)
        Log-likelihood at the estimate.
    converged : ndarray of bool, shape (W,)
        Whether no step promised anything more; False where the search ran out of steps.
    steps : ndarray of int, shape (W,)
        Newton steps taken, over all searches of the window.
    """

    parameters: FloatArray
    loglik: FloatArray
    converged: BoolArray
    steps: IntArray


class Engine(Protocol):
    """Where the passes over W windows are computed. What it takes and returns is NumPy's."""

    def survey(self, grid: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the facts of every window, (W, FACTS), and its log-likelihoods on a grid, (W, C).

        A mean is the window's own there, whatever the points (C, K) say.
        """

    def search(
        self, which: IntArray, starts: FloatArray, known: FloatArray, beat: FloatArray
    ) -> tuple[FloatArray, FloatArray, IntArray]:
        """Return where S searches end, (S, K), the log-likelihood there and the steps taken, (S,).

        Parameters
        ----------
        which : ndarray of int, shape (S,)
            The window of each.
        starts, known : ndarray of shape (S, K)
            Where each begins, and a maximum that it is given up near; in units of the scale.
        beat : ndarray of shape (S,)
            A log-likelihood; what promises too little to reach it is given up.
        """


def fit(windows: FloatArray, form: Form) -> Fits:
    """Estimate every window by maximum likelihood.

    Parameters
    ----------
    windows : ndarray of shape (W, n)
        Returns, oldest first, finite and not constant; percent suits.
    form : Form
        What is estimated.
    """
    return estimate(Host(np.ascontiguousarray(windows), form), form, windows.shape[1])


def estimate(engine: Engine, form: Form, n: int) -> Fits:
    """Choose the starts of every window of ``n`` returns, search from them, and keep the best."""
    grid, regions = _grid(form)
    facts, values = engine.survey(grid)
    n_windows = len(facts)
    n_regions = int(regions.max()) + 1
    tops, entries = np.empty((n_windows, n_regions)), np.empty((n_windows, n_regions), np.int64)
    for region in range(n_regions):
        inside = np.flatnonzero(regions == region)
        entries[:, region] = inside[values[:, inside].argmax(axis=1)]
        tops[:, region] = values[:, inside].max(axis=1)
    first: IntArray = np.argmax(tops, axis=1)
    everyone = np.arange(n_windows, dtype=np.int64)
    found = _climb(engine, facts, form, everyone, grid[entries[everyone, first]], None)
    near = tops >= tops.max(axis=1, keepdims=True) - RIVAL_GAP
    if form.o or form.student:
        near[:, -1] = True  # tried whatever the grid says of it
    near[everyone, first] = False
    who, there = np.nonzero(near)
    rivals = _climb(engine, facts, form, who, grid[entries[who, there]], found)
    parameters, loglik, steps = found
    total = steps.copy()
    np.add.at(total, who, rivals[2])
    order = np.argsort(rivals[1], kind="stable")
    order = order[rivals[1][order] > loglik[who[order]]]
    # Of several rivals of one window, the best is written last.
    for kept, better in zip(found, rivals, strict=True):
        kept[who[order]] = better[order]
    scale = facts[:, SCALE]
    if form.mean:
        parameters[:, 0] *= scale
    parameters[:, form.mean] *= scale**2
    return Fits(parameters, loglik - n * np.log(scale), steps < MAX_STEPS, total)


def _climb(
    engine: Engine,
    facts: FloatArray,
    form: Form,
    which: IntArray,
    starts: FloatArray,
    found: tuple[FloatArray, FloatArray, IntArray] | None,
) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return where searches end, with its log-likelihood and the steps it took."""
    n_searches, k = starts.shape
    starts = starts.copy()
    if form.mean:
        starts[:, 0] = facts[which, MEAN]
    known, beat = np.full((n_searches, k), np.inf), np.full(n_searches, -np.inf)
    if found is not None:
        known, beat = found[0][which], found[1][which]
    if not n_searches:
        return starts, beat, np.zeros(0, np.int64)
    return engine.search(which, starts, known, beat)


class Host:
    """The processor as an ``Engine``: eight windows in its lanes.

    Parameters
    ----------
    windows : ndarray of shape (W, n)
        C-ordered; see ``fit``.
    form : Form
        What is estimated.
    """

    def __init__(self, windows: FloatArray, form: Form) -> None:
        self._windows, self._form = windows, form
        self._facts = np.empty((len(windows), FACTS))

    def survey(self, grid: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return facts (W, FACTS) and log-likelihoods (W, C) at points (C, K)."""
        values = np.empty((len(self._windows), len(grid)))
        _survey(self._windows, self._form, grid, self._facts, values)
        return self._facts, values

    def search(
        self, which: IntArray, starts: FloatArray, known: FloatArray, beat: FloatArray
    ) -> tuple[FloatArray, FloatArray, IntArray]:
        """Return where searches end, (S, K), the log-likelihood there and the steps, (S,)."""
        points, tops = np.empty_like(starts), np.empty(len(starts))
        steps = np.empty(len(starts), np.int64)
        search(
            self._windows,
            self._facts,
            self._form,
            np.ascontiguousarray(which),  # of another layout, it would be compiled for once more
            starts,
            known,
            beat,
            points,
            tops,
            steps,
            room_for(self._windows.shape[1]),
            bank_for(self._form),
        )
        return points, tops, steps


def filter_variances(
    windows: FloatArray, parameters: FloatArray, form: Form, *, n_steps: int
) -> FloatArray:
    """Return the expected variance of each of the ``n_steps`` sessions after each window.

    Parameters
    ----------
    windows : ndarray of shape (W, n)
        Returns, oldest first.
    parameters : ndarray of shape (W, K)
        As ``fit`` returns them.
    form : Form
        What they are.
    n_steps : int
        Sessions ahead, >= 1.

    Returns
    -------
    ndarray of shape (W, n_steps)
        In the squared unit of the returns. Ahead, a square is its expectation, and half of it is
        expected to fall below zero.
    """
    ahead = np.empty((len(windows), n_steps))
    _forecast(np.ascontiguousarray(windows), np.ascontiguousarray(parameters), form, ahead)
    return ahead


def loglikelihood(windows: FloatArray, parameters: FloatArray, form: Form) -> FloatArray:
    """Return the log-likelihood of each window at its parameters, shape (W,)."""
    found = np.empty(len(windows))
    _evaluate(np.ascontiguousarray(windows), np.ascontiguousarray(parameters), form, found)
    return found


def _grid(form: Form) -> tuple[FloatArray, IntArray]:
    """Return start points for a window of unit variance and mean zero, and the region of each.

    Arch coefficients and persistences are those that `arch` starts from; beside them stands a
    variance that drifts slowly from the backcast to another level. The regions are short and long
    memory, each with most of it at either lag, and slow drift; for GJR and Student-t, whose
    likelihood has more maxima, a point of short memory besides, which is a region of its own.

    Returns
    -------
    points : ndarray of shape (C, K)
    regions : ndarray of int, shape (C,)
    """
    cells = [
        (2 * int(shape[2] < 0.5) + int(persistence >= _LONG), arch, persistence, 1.0, *shape)
        for persistence in _PERSISTENCES
        for arch in _ARCH
        for shape in itertools.product((0.0, 0.7)[: 1 + form.o], _SHARES[form.p], _SHARES[form.q])
    ]
    plain = 0.0, _SHARES[form.p][0], _SHARES[form.q][0]
    cells += [(2 * form.q, 0.005, 0.995, level, *plain) for level in _LEVELS]
    if form.o or form.student:
        cells.append((2 * form.q + 1, 0.1, 0.5, 1.0, 0.7 * form.o, *plain[1:]))
    points = []
    for _, arch, persistence, level, tilt, alpha_share, beta_share in cells:
        rest = persistence - arch
        alphas = [alpha_share * arch, (1.0 - alpha_share) * arch][: form.p]
        betas = [beta_share * rest, (1.0 - beta_share) * rest][: form.q]
        deltas = [(1.0 + tilt) * alphas[0]] * form.o
        alphas[0] *= 1.0 - tilt
        constant = level * (1.0 - persistence)
        nu = [6.0] * form.student
        points.append([*[0.0] * form.mean, constant, *alphas, *deltas, *betas, *nu])
    return np.array(points), np.array([cell[0] for cell in cells])


@compiled_lanes
def _survey(
    windows: FloatArray, form: Form, grid: FloatArray, facts: FloatArray, values: FloatArray
) -> None:
    """Write the facts of every window, and its log-likelihood at each point of the grid."""
    n_windows, n = windows.shape
    y, beside = np.empty((n, WIDTH)), np.empty((FACTS, WIDTH))
    x, state = np.empty((ROWS, WIDTH)), np.empty((LAST_ROWS, WIDTH))
    value = np.empty((1, WIDTH))
    for first in range(0, n_windows, WIDTH):
        n_lanes = min(WIDTH, n_windows - first)
        gather(windows, first, form, y, beside)
        for lane in range(n_lanes):
            for i in range(FACTS):
                facts[first + lane, i] = beside[i, lane]
        for c in range(len(grid)):
            for i in range(grid.shape[1]):
                store(x, i, grid[c, i])
            if form.mean:
                store(x, 0, load(beside, MEAN))
            store(value, 0, likelihood(y, beside, form, x, state))
            for lane in range(n_lanes):
                values[first + lane, c] = value[0, lane]


@compiled_lanes
def _evaluate(windows: FloatArray, parameters: FloatArray, form: Form, loglik: FloatArray) -> None:
    n_windows, n = windows.shape
    y, facts = np.empty((n, WIDTH)), np.empty((FACTS, WIDTH))
    x, state = np.empty((ROWS, WIDTH)), np.empty((LAST_ROWS, WIDTH))
    values = np.empty((1, WIDTH))
    for first in range(0, n_windows, WIDTH):
        gather(windows, first, form, y, facts)
        standardise(parameters, first, form, facts, x)
        store(values, 0, likelihood(y, facts, form, x, state))
        for lane in range(min(WIDTH, n_windows - first)):
            loglik[first + lane] = values[0, lane] - n * math.log(facts[SCALE, lane])


@compiled_lanes
def _forecast(windows: FloatArray, parameters: FloatArray, form: Form, ahead: FloatArray) -> None:
    n_windows, n = windows.shape
    y, facts = np.empty((n, WIDTH)), np.empty((FACTS, WIDTH))
    x, state = np.empty((ROWS, WIDTH)), np.empty((LAST_ROWS, WIDTH))
    path = np.empty((ahead.shape[1], WIDTH))
    for first in range(0, n_windows, WIDTH):
        gather(windows, first, form, y, facts)
        standardise(parameters, first, form, facts, x)
        likelihood(y, facts, form, x, state)
        run_on(form, x, state, path)
        for lane in range(min(WIDTH, n_windows - first)):
            for h in range(ahead.shape[1]):
                ahead[first + lane, h] = path[h, lane] * facts[SCALE, lane] ** 2
