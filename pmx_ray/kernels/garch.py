"""GARCH by maximum likelihood, eight windows at a time: start grid, Newton steps, filter.

With e(t) = y(t) - mu, the variance of a return follows

    s(t) = omega + alpha_1 e(t-1)^2 [e(t-1) >= 0 or no asymmetry] + delta e(t-1)^2 [e(t-1) < 0]
           + alpha_2 e(t-2)^2 + beta_1 s(t-1) + beta_2 s(t-2)

where ``delta = alpha_1 + gamma_1`` is the response to bad news of GJR, so that every coefficient
is bounded by zero alone. Before the window, squares and variances are the backcast.

One pass over a window yields the log-likelihood, its gradient and its exact Hessian: each
derivative of s is an input filtered by ``1 / (1 - beta_1 B - beta_2 B^2)``, like s itself. Fits
are cold: the best point of a fixed grid starts a damped Newton search inside the bounds, so that
a window's estimate depends on its own data and on nothing else.

Shapes: W windows of n returns, K parameters in the order of ``Form.names``.

References
----------
Bollerslev (1986), Journal of Econometrics 31, 307-327.
Glosten, Jagannathan and Runkle (1993), Journal of Finance 48, 1779-1801.
Fiorentini, Calzolari and Panattoni (1996), Journal of Applied Econometrics 11, 399-417 (analytic
derivatives).
Levenberg (1944), Marquardt (1963) (damping); Bertsekas (1982), SIAM Journal on Control and
Optimization 20, 221-246 (bounds).
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pmx_ray._typing import FloatArray, IntArray
from pmx_ray.kernels.compiling import compiled
from pmx_ray.kernels.lanes import (
    WIDTH,
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

BACKCAST_LENGTH, BACKCAST_DECAY = 75, 0.94
"""The variance before the first return is that of the first 75, weighted by 0.94 a session."""

NU_BOUNDS = (2.05, 500.0)
"""Degrees of freedom searched."""

MIN_OMEGA = 1e-8
"""Smallest constant searched, as a share of the window's variance."""

MAX_PERSISTENCE = 1.0 - 1e-8
"""Largest persistence searched."""

MAX_STEPS = 100
"""Newton steps before a search is given up."""

TOLERANCE = 1e-6
"""A search ends where a Newton step promises less log-likelihood than this."""

MAX_LAGS = 2
"""Highest order of squares and of variances."""

RIVAL_GAP = 10.0
"""A likelihood has several maxima: the best point of each region of the grid that comes as near
to the best point of all starts a search too."""

_ARCH, _PERSISTENCES, _LEVELS = (0.01, 0.05, 0.1, 0.2), (0.5, 0.7, 0.9, 0.98), (0.3, 0.6, 1.0, 2.0)
_LOG_2, _LOG_2_PI = math.log(2.0), math.log(2.0 * math.pi)
_ROWS = 8  # most parameters: mu, omega, 2 alphas, delta, 2 betas, nu
_MEAN, _SCALE, _BACK, _FACTS = 0, 1, 2, 3  # rows of facts: mean and scale, backcast
_BEST, _PROMISED, _DAMPING, _STEPS, _MOVING, _BEAT, _CLIMB = 0, 1, 2, 3, 4, 5, 6  # of a climb
_ON_FACE = 1e-10  # slack of a persistence that is as large as can be
_BANKS = (0, 8, 16, 32, 48, 56, 64)
_BANK_ROWS = 72
_FIRST_DAMPING, _MOST_DAMPING, _FACTORISATIONS = 1e-3, 1e8, 12
_SAME, _HOPE = 0.02, 10.0
_NOWHERE = -1e300  # below any log-likelihood
_LOGLIK = _ROWS  # row of the gradient array that holds the log-likelihood


class Form(NamedTuple):
    """What is estimated, as numbers that compiled code reads.

    Attributes
    ----------
    mean : int
        1 with an estimated constant mean, 0 with mean zero.
    p : int
        Lags of the squared return, 1 or 2.
    o : int
        1 with a response of its own to bad news at lag 1 (GJR), else 0.
    q : int
        Lags of the variance, 1 or 2.
    student : int
        1 for Student-t returns, 0 for normal ones.
    """

    mean: int
    p: int
    o: int
    q: int
    student: int

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters in their order."""
        return (
            *("mu",) * self.mean,
            "omega",
            *(f"alpha_{i + 1}" for i in range(self.p)),
            *("delta",) * self.o,
            *(f"beta_{j + 1}" for j in range(self.q)),
            *("nu",) * self.student,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Fits:
    """Estimates of W windows.

    Attributes
    ----------
    parameters : ndarray of shape (W, K)
        In the order of ``Form.names``, for returns in their own unit.
    loglik : ndarray of shape (W,)
        Log-likelihood at the estimate.
    steps : ndarray of int, shape (W,)
        Newton steps taken; ``MAX_STEPS`` where the search was given up.
    """

    parameters: FloatArray
    loglik: FloatArray
    steps: IntArray


def fit(windows: FloatArray, form: Form) -> Fits:
    """Estimate every window by maximum likelihood.

    Parameters
    ----------
    windows : ndarray of shape (W, n)
        Returns, oldest first, finite and not constant; percent suits.
    form : Form
        What is estimated.
    """
    windows = np.ascontiguousarray(windows)
    n_windows, n = windows.shape
    grid = _grid(form)
    facts, values = np.empty((n_windows, _FACTS)), np.empty((n_windows, len(grid)))
    _survey(windows, form, grid, facts, values)
    regions = _regions(form)
    tops = np.stack([values[:, region].max(axis=1) for region in regions], axis=1)
    entries = np.stack([region[values[:, region].argmax(axis=1)] for region in regions], axis=1)
    first = tops.argmax(axis=1)
    everyone = np.arange(n_windows)
    found = _climb(windows, facts, form, everyone, grid[entries[everyone, first]], None)
    near = tops >= tops.max(axis=1, keepdims=True) - RIVAL_GAP
    near[everyone, first] = False
    who, region = np.nonzero(near)
    rivals = _climb(windows, facts, form, who, grid[entries[who, region]], found)
    parameters, loglik, steps = found
    for j in np.argsort(rivals[1], kind="stable"):  # the best rival is written last
        if rivals[1][j] > loglik[who[j]]:
            parameters[who[j]], loglik[who[j]] = rivals[0][j], rivals[1][j]
    np.add.at(steps, who, rivals[2])
    scale = facts[:, _SCALE]
    if form.mean:
        parameters[:, 0] *= scale
    parameters[:, form.mean] *= scale**2
    return Fits(parameters, loglik - n * np.log(scale), steps)


def _climb(
    windows: FloatArray,
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
        starts[:, 0] = facts[which, _MEAN]
    known, beat = np.full((n_searches, k), np.inf), np.full(n_searches, -np.inf)
    if found is not None:
        known, beat = found[0][which], found[1][which]
    points, tops = np.empty_like(starts), np.empty(n_searches)
    steps = np.empty(n_searches, np.int64)
    if n_searches:
        _search(windows, facts, form, which, starts, known, beat, points, tops, steps)
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


def _grid(form: Form) -> FloatArray:
    """Return the start grid, (C, K), for a window of unit variance and mean zero.

    Its arch coefficients and persistences are those `arch` starts from, and beside them stands a
    variance that drifts slowly from the backcast to another level.
    """
    tilts = (0.0, 0.7) if form.o else (0.0,)
    cells = [(a, b, 1.0, c) for b in _PERSISTENCES for a in _ARCH for c in tilts]
    cells += [(0.005, 0.995, level, 0.0) for level in _LEVELS]
    points = []
    for arch, persistence, level, tilt in cells:
        alphas = [arch] if form.p == 1 else [0.6 * arch, 0.4 * arch]
        deltas = [(1.0 + tilt) * alphas[0]] * form.o
        alphas[0] *= 1.0 - tilt
        rest = persistence - arch
        betas = [rest] if form.q == 1 else [0.6 * rest, 0.4 * rest]
        constant = level * (1.0 - persistence)
        nu = [6.0] * form.student
        points.append([*[0.0] * form.mean, constant, *alphas, *deltas, *betas, *nu])
    return np.array(points)


def _regions(form: Form) -> tuple[IntArray, IntArray, IntArray]:
    """Return the points of the grid by kind: short memory, long memory, slow drift."""
    a_persistence = len(_ARCH) * (2 if form.o else 1)
    half, end = 2 * a_persistence, 4 * a_persistence
    return np.arange(half), np.arange(half, end), np.arange(end, end + len(_LEVELS))


@compiled
def _survey(
    windows: FloatArray, form: Form, grid: FloatArray, facts: FloatArray, values: FloatArray
) -> None:
    """Write the facts of every window, and its log-likelihood at each point of the grid."""
    n_windows, n = windows.shape
    y, beside = np.empty((n, WIDTH)), np.empty((_FACTS, WIDTH))
    x, state = np.empty((_ROWS, WIDTH)), np.empty((3, WIDTH))
    value = np.empty((1, WIDTH))
    for first in range(0, n_windows, WIDTH):
        n_lanes = min(WIDTH, n_windows - first)
        _gather(windows, first, form, y, beside)
        for lane in range(n_lanes):
            for i in range(_FACTS):
                facts[first + lane, i] = beside[i, lane]
        for c in range(len(grid)):
            for i in range(grid.shape[1]):
                store(x, i, grid[c, i])
            if form.mean:
                store(x, 0, load(beside, _MEAN))
            store(value, 0, _likelihood(y, beside, form, x, state))
            for lane in range(n_lanes):
                values[first + lane, c] = value[0, lane]


@compiled
def _evaluate(windows: FloatArray, parameters: FloatArray, form: Form, loglik: FloatArray) -> None:
    n_windows, n = windows.shape
    y, facts = np.empty((n, WIDTH)), np.empty((_FACTS, WIDTH))
    x, state = np.empty((_ROWS, WIDTH)), np.empty((3, WIDTH))
    values = np.empty((1, WIDTH))
    for first in range(0, n_windows, WIDTH):
        _gather(windows, first, form, y, facts)
        _standardised(parameters, first, form, facts, x)
        store(values, 0, _likelihood(y, facts, form, x, state))
        for lane in range(min(WIDTH, n_windows - first)):
            loglik[first + lane] = values[0, lane] - n * math.log(facts[_SCALE, lane])


@compiled
def _forecast(windows: FloatArray, parameters: FloatArray, form: Form, ahead: FloatArray) -> None:
    n_windows, n = windows.shape
    y, facts = np.empty((n, WIDTH)), np.empty((_FACTS, WIDTH))
    x, state = np.empty((_ROWS, WIDTH)), np.empty((3, WIDTH))
    path = np.empty((ahead.shape[1], WIDTH))
    for first in range(0, n_windows, WIDTH):
        _gather(windows, first, form, y, facts)
        _standardised(parameters, first, form, facts, x)
        _likelihood(y, facts, form, x, state)
        _run_on(form, x, state, path)
        for lane in range(min(WIDTH, n_windows - first)):
            for h in range(ahead.shape[1]):
                ahead[first + lane, h] = path[h, lane] * facts[_SCALE, lane] ** 2


@compiled
def _gather(windows: FloatArray, first: int, form: Form, y: FloatArray, facts: FloatArray) -> None:
    """Put eight windows side by side in units of their scale; the last one fills spare lanes."""
    n_windows, n = windows.shape
    for lane in range(WIDTH):
        row = windows[min(first + lane, n_windows - 1)]
        for t in range(n):
            y[t, lane] = row[t]
    mean = spread(0.0)
    if form.mean:
        for t in range(n):
            mean = mean + load(y, t)
        mean = mean / n
    total = spread(0.0)
    for t in range(n):
        residual = load(y, t) - mean
        total = total + residual * residual
    scale = sqrt(total / n)
    back, weights, weight = spread(0.0), 0.0, 1.0
    for t in range(min(BACKCAST_LENGTH, n)):
        residual = (load(y, t) - mean) / scale
        back = back + weight * (residual * residual)
        weights += weight
        weight *= BACKCAST_DECAY
    for t in range(n):
        store(y, t, load(y, t) / scale)
    store(facts, _MEAN, mean / scale)
    store(facts, _SCALE, scale)
    store(facts, _BACK, back / weights)


@compiled
def _standardised(
    parameters: FloatArray, first: int, form: Form, facts: FloatArray, x: FloatArray
) -> None:
    for lane in range(WIDTH):
        row = parameters[min(first + lane, len(parameters) - 1)]
        for i in range(len(row)):
            x[i, lane] = row[i]
        if form.mean:
            x[0, lane] /= facts[_SCALE, lane]
        x[form.mean, lane] /= facts[_SCALE, lane] ** 2


@compiled
def _likelihood(
    y: FloatArray, facts: FloatArray, form: Form, x: FloatArray, state: FloatArray
) -> Any:
    """Return the log-likelihood; ``state`` gets the next variance, the last, and the last residual.

    The logarithm of a product is taken once: its exponent is set aside every 16 sessions.
    """
    at_alpha = form.mean + 1
    at_beta = at_alpha + form.p + form.o
    mu = load(x, 0) if form.mean else spread(0.0)
    omega, alpha, beta = load(x, form.mean), load(x, at_alpha), load(x, at_beta)
    delta = load(x, at_beta - 1) if form.o else alpha
    alpha_2 = load(x, at_alpha + 1) if form.p > 1 else spread(0.0)
    beta_2 = load(x, at_beta + 1) if form.q > 1 else spread(0.0)
    back = load(facts, _BACK)
    s = omega + (0.5 * (alpha + delta) + alpha_2 + beta + beta_2) * back
    s_before, e = back, spread(0.0)
    product, powers = spread(1.0), spread(0.0)
    tails, tail_powers, total = spread(1.0), spread(0.0), spread(0.0)
    width = spread(0.0)
    if form.student:
        width = 1.0 / (load(x, at_beta + form.q) - 2.0)
    square = back
    n = len(y)
    for t in range(n):
        square_before = square
        e = load(y, t) - mu
        square = e * e
        if form.student:
            product = product * s
            tails = tails * (s + square * width)
        elif t & 1:  # two fractions by one division, which is what costs
            both = s * s_before
            product = product * both
            total = total + (square * s_before + square_before * s) / both
        if t & 15 == 15:
            powers = powers + exponent(product)
            product = mantissa(product)
            if form.student:
                tail_powers = tail_powers + exponent(tails)
                tails = mantissa(tails)
        following = omega + where(e < 0.0, delta, alpha) * square + beta * s
        if form.p > 1:
            following = following + alpha_2 * square_before
        if form.q > 1:
            following = following + beta_2 * s_before
        s_before, s = s, following
    if n & 1 and not form.student:
        product = product * s_before
        total = total + square / s_before
    store(state, 0, s)
    store(state, 1, s_before)
    store(state, 2, e)
    log_product = powers * _LOG_2 + log(product)
    if form.student:
        nu = load(x, at_beta + form.q)
        log_tails = tail_powers * _LOG_2 + log(tails) - log_product
        return n * _student_constant(nu) - 0.5 * log_product - 0.5 * (nu + 1.0) * log_tails
    return -0.5 * (n * _LOG_2_PI + log_product + total)


@compiled
def _run_on(form: Form, x: FloatArray, state: FloatArray, path: FloatArray) -> None:
    """Write the expected variances after the window."""
    at_alpha = form.mean + 1
    at_beta = at_alpha + form.p + form.o
    alpha = load(x, at_alpha)
    delta = load(x, at_beta - 1) if form.o else alpha
    respond = 0.5 * (alpha + delta)
    alpha_2 = load(x, at_alpha + 1) if form.p > 1 else spread(0.0)
    beta = load(x, at_beta)
    beta_2 = load(x, at_beta + 1) if form.q > 1 else spread(0.0)
    s, s_before, last = load(state, 0), load(state, 1), load(state, 2)
    square_before = last * last
    for h in range(len(path)):
        store(path, h, s)
        # The square of a session ahead is its own variance, which s is.
        following = load(x, form.mean) + (respond + beta) * s
        following = following + alpha_2 * square_before + beta_2 * s_before
        square_before, s_before, s = s, s, following


@compiled
def _log_gamma(z: Any) -> Any:
    """Return log gamma of lanes > 0, by Stirling's series eight further on."""
    product = z
    for i in range(1, 8):
        product = product * (z + float(i))
    far = z + 8.0
    r = 1.0 / (far * far)
    series = 1.0 / 12.0 - r * (1.0 / 360.0 - r * (1.0 / 1260.0 - r * (1.0 / 1680.0 - r / 1188.0)))
    return (far - 0.5) * log(far) - far + 0.5 * _LOG_2_PI + series / far - log(product)


@compiled
def _digamma(z: Any) -> Any:
    below = spread(0.0)
    for i in range(8):
        below = below + 1.0 / (z + float(i))
    far = z + 8.0
    r = 1.0 / (far * far)
    series = r * (
        1.0 / 12.0 - r * (1.0 / 120.0 - r * (1.0 / 252.0 - r * (1.0 / 240.0 - r / 132.0)))
    )
    return log(far) - 0.5 / far - series - below


@compiled
def _trigamma(z: Any) -> Any:
    below = spread(0.0)
    for i in range(8):
        term = 1.0 / (z + float(i))
        below = below + term * term
    far = z + 8.0
    r = 1.0 / (far * far)
    series = 1.0 / 6.0 - r * (1.0 / 30.0 - r * (1.0 / 42.0 - r * (1.0 / 30.0 - r * 5.0 / 66.0)))
    return 1.0 / far + 0.5 * r + series * r / far + below


@compiled
def _student_constant(nu: Any) -> Any:
    """Return the part of a Student-t log density that depends on the degrees of freedom alone."""
    half = 0.5 * nu
    return _log_gamma(half + 0.5) - _log_gamma(half) - 0.5 * log(math.pi * (nu - 2.0))


@compiled
def _derivatives(
    y: FloatArray,
    facts: FloatArray,
    form: Form,
    x: FloatArray,
    gradient: FloatArray,
    hessian: FloatArray,
    bank: FloatArray,
) -> None:
    """Write gradient, lower Hessian and, after the gradient, the log-likelihood.

    ``bank`` holds the filters: the first derivatives of s by parameter, their lag, the second
    derivatives by parameter and beta, their lags, those by parameter and mean, their lag, and the
    coming inputs of the first.
    """
    at_alpha = form.mean + 1
    at_delta = at_alpha + form.p
    at_beta = at_delta + form.o
    k = at_beta + form.q  # of the variance; nu comes after
    first, lagged, second, second_lagged, meanwise, meanwise_lagged, inputs = _BANKS
    mu = load(x, 0) if form.mean else spread(0.0)
    omega, alpha, beta = load(x, form.mean), load(x, at_alpha), load(x, at_beta)
    delta = load(x, at_delta) if form.o else alpha
    alpha_2 = load(x, at_alpha + 1) if form.p > 1 else spread(0.0)
    beta_2 = load(x, at_beta + 1) if form.q > 1 else spread(0.0)
    nu = load(x, k) if form.student else spread(3.0)
    width = 1.0 / (nu - 2.0)
    power = 0.5 * (nu + 1.0)
    back = load(facts, _BACK)
    for row in range(len(bank)):
        store(bank, row, 0.0)
    for i in range(_ROWS):
        store(gradient, i, 0.0)
        for j in range(_ROWS):
            store(hessian, i * _ROWS + j, 0.0)
    # Before the window squares and variances are the backcast, and do not depend on parameters.
    store(bank, first + form.mean, 1.0)
    store(bank, first + at_alpha, (0.5 if form.o else 1.0) * back)
    if form.p > 1:
        store(bank, first + at_alpha + 1, back)
    if form.o:
        store(bank, first + at_delta, 0.5 * back)
    for j in range(form.q):
        store(bank, first + at_beta + j, back)
    s = omega + (0.5 * (alpha + delta) + alpha_2 + beta + beta_2) * back
    s_before, e_before, square_before = back, spread(0.0), back
    product, powers = spread(1.0), spread(0.0)
    tails, tail_powers, total = spread(1.0), spread(0.0), spread(0.0)
    by_nu, by_nu_twice = spread(0.0), spread(0.0)
    by_mean, by_mean_twice = spread(0.0), spread(0.0)
    s_mean_twice, s_mean_twice_before = spread(0.0), spread(0.0)
    n = len(y)
    for t in range(n):
        e = load(y, t) - mu
        square = e * e
        product = product * s
        # Derivatives of the log density by s, s twice, e, e twice, and both.
        if form.student:
            stretched = s + square * width
            tails = tails * stretched
            quotient = 1.0 / (s * stretched)
            inverse = quotient * stretched
            shrink = quotient * s * s
            share = square * width * quotient * s
            by_s = (power * share - 0.5) * inverse
            by_s_twice = (0.5 - power * share * (1.0 + shrink)) * inverse * inverse
            slope = 2.0 * power * width * inverse * shrink
            by_e = -slope * e
            by_e_twice = -slope * (shrink - share)
            by_both = slope * e * inverse * shrink
            nu_s = share * (0.5 - power * width * shrink) * inverse
            nu_e = (2.0 * power * width * shrink - 1.0) * e * inverse * width * shrink
            by_nu = by_nu + power * width * share
            by_nu_twice = by_nu_twice + share * width * (1.0 - power * width * (1.0 + shrink))
        else:
            inverse = 1.0 / s
            z = square * inverse
            total = total + z
            by_s = (0.5 * z - 0.5) * inverse
            by_s_twice = (0.5 - z) * inverse * inverse
            by_e = -e * inverse
            by_e_twice = -inverse
            by_both = e * inverse * inverse
            nu_s = nu_e = by_s
        if t & 15 == 15:
            powers = powers + exponent(product)
            product = mantissa(product)
            if form.student:
                tail_powers = tail_powers + exponent(tails)
                tails = mantissa(tails)
        for i in range(k):
            d = load(bank, first + i)
            store(gradient, i, load(gradient, i) + by_s * d)
            weighted = by_s_twice * d
            for j in range(i + 1):
                at = i * _ROWS + j
                store(hessian, at, load(hessian, at) + weighted * load(bank, first + j))
            if form.student:
                at = k * _ROWS + i
                store(hessian, at, load(hessian, at) + nu_s * d)
        for j in range(form.q):
            for i in range(at_beta + j + 1):
                at = (at_beta + j) * _ROWS + i
                curved = load(bank, second + j * _ROWS + i)
                store(hessian, at, load(hessian, at) + by_s * curved)
        bad = e < 0.0
        response = where(bad, delta, alpha)
        if form.mean:
            by_mean = by_mean - by_e
            twice = by_s * s_mean_twice - 2.0 * by_both * load(bank, first) + by_e_twice
            by_mean_twice = by_mean_twice + twice
            for i in range(1, k):
                at = i * _ROWS
                change = by_s * load(bank, meanwise + i) - by_both * load(bank, first + i)
                store(hessian, at, load(hessian, at) + change)
            if form.student:
                at = k * _ROWS
                store(hessian, at, load(hessian, at) - nu_e)
            coming = 2.0 * response + beta * s_mean_twice + beta_2 * s_mean_twice_before
            if t > 0:
                coming = coming + 2.0 * alpha_2
            s_mean_twice_before, s_mean_twice = s_mean_twice, coming
            for i in range(at_alpha, at_beta):
                if i == at_delta and form.o:
                    input_ = where(bad, -2.0 * e, 0.0)
                elif i == at_alpha:
                    input_ = where(bad, 0.0, -2.0 * e) if form.o else -2.0 * e
                else:
                    input_ = -2.0 * e_before
                _filter(bank, meanwise + i, meanwise_lagged + i, input_, beta, beta_2, form.q)
            store(bank, inputs, -2.0 * (response * e + alpha_2 * e_before))
        for j in range(form.q):
            for i in range(at_beta + j + 1):
                # d/d beta_j of d_i is d_i j lags ago, and of beta_i times s also d_j i lags ago.
                input_ = load(bank, (lagged if j else first) + i)
                if i >= at_beta:
                    lag = lagged if i > at_beta else first
                    input_ = input_ + load(bank, lag + at_beta + j)
                at = j * _ROWS + i
                _filter(bank, second + at, second_lagged + at, input_, beta, beta_2, form.q)
        store(bank, inputs + form.mean, 1.0)
        if form.o:
            store(bank, inputs + at_alpha, where(bad, 0.0, square))
            store(bank, inputs + at_delta, where(bad, square, 0.0))
        else:
            store(bank, inputs + at_alpha, square)
        if form.p > 1:
            store(bank, inputs + at_alpha + 1, square_before)
        store(bank, inputs + at_beta, s)
        if form.q > 1:
            store(bank, inputs + at_beta + 1, s_before)
        for i in range(k):
            input_ = load(bank, inputs + i)
            _filter(bank, first + i, lagged + i, input_, beta, beta_2, form.q)
        following = omega + response * square + alpha_2 * square_before
        following = following + beta * s + beta_2 * s_before
        e_before, square_before, s_before, s = e, square, s, following
    if form.mean:
        store(gradient, 0, load(gradient, 0) + by_mean)
        store(hessian, 0, load(hessian, 0) + by_mean_twice)
    log_product = powers * _LOG_2 + log(product)
    value = -0.5 * log_product
    if form.student:
        log_tails = tail_powers * _LOG_2 + log(tails) - log_product
        half = 0.5 * nu
        constant = 0.5 * (_digamma(half + 0.5) - _digamma(half) - width)
        curvature = 0.25 * (_trigamma(half + 0.5) - _trigamma(half)) + 0.5 * width * width
        store(gradient, k, by_nu - 0.5 * log_tails + n * constant)
        store(hessian, k * _ROWS + k, by_nu_twice + n * curvature)
        value = value - power * log_tails + n * _student_constant(nu)
    else:
        value = value - 0.5 * (n * _LOG_2_PI + total)
    store(gradient, _LOGLIK, value)


@compiled
def _derivatives_of_one_lag(
    y: FloatArray,
    facts: FloatArray,
    form: Form,
    x: FloatArray,
    gradient: FloatArray,
    hessian: FloatArray,
) -> None:
    """Do what ``_derivatives`` does for p = q = 1, with every filter in a register."""
    at_alpha = form.mean + 1
    at_beta = at_alpha + 1 + form.o
    mu = load(x, 0) if form.mean else spread(0.0)
    omega, alpha, beta = load(x, form.mean), load(x, at_alpha), load(x, at_beta)
    delta = load(x, at_beta - 1) if form.o else alpha
    nu = load(x, at_beta + 1) if form.student else spread(3.0)
    width = 1.0 / (nu - 2.0)
    power = 0.5 * (nu + 1.0)
    back = load(facts, _BACK)
    asymmetric = spread(float(form.o)) > 0.5
    zero = spread(0.0)
    # First derivatives of s by mu, omega, alpha, delta and beta; second ones with beta and mu.
    d_m, d_o, d_a = zero, spread(1.0), where(asymmetric, 0.5 * back, back)
    d_d, d_b = where(asymmetric, 0.5 * back, 0.0), back
    d_mb = d_ob = d_ab = d_db = d_bb = d_mm = d_ma = d_md = zero
    g_m = g_o = g_a = g_d = g_b = g_n = zero
    h_mm = h_mo = h_ma = h_md = h_mb = h_mn = h_oo = h_oa = h_od = h_ob = h_on = zero
    h_aa = h_ad = h_ab = h_an = h_dd = h_db = h_dn = h_bb = h_bn = h_nn = zero
    s = omega + (0.5 * (alpha + delta) + beta) * back
    product, powers = spread(1.0), zero
    tails, tail_powers, total = spread(1.0), zero, zero
    n = len(y)
    for t in range(n):
        e = load(y, t) - mu
        square = e * e
        product = product * s
        if form.student:
            stretched = s + square * width
            tails = tails * stretched
            quotient = 1.0 / (s * stretched)
            inverse = quotient * stretched
            shrink = quotient * s * s
            share = square * width * quotient * s
            by_s = (power * share - 0.5) * inverse
            by_s_twice = (0.5 - power * share * (1.0 + shrink)) * inverse * inverse
            slope = 2.0 * power * width * inverse * shrink
            by_e = -slope * e
            by_e_twice = -slope * (shrink - share)
            by_both = slope * e * inverse * shrink
            nu_s = share * (0.5 - power * width * shrink) * inverse
            nu_e = (2.0 * power * width * shrink - 1.0) * e * inverse * width * shrink
            g_n = g_n + power * width * share
            h_nn = h_nn + share * width * (1.0 - power * width * (1.0 + shrink))
            h_mn = h_mn + nu_s * d_m - nu_e
            h_on = h_on + nu_s * d_o
            h_an = h_an + nu_s * d_a
            h_dn = h_dn + nu_s * d_d
            h_bn = h_bn + nu_s * d_b
        else:
            inverse = 1.0 / s
            z = square * inverse
            total = total + z
            by_s = (0.5 * z - 0.5) * inverse
            by_s_twice = (0.5 - z) * inverse * inverse
            by_e = -e * inverse
            by_e_twice = -inverse
            by_both = e * inverse * inverse
        if t & 15 == 15:
            powers = powers + exponent(product)
            product = mantissa(product)
            if form.student:
                tail_powers = tail_powers + exponent(tails)
                tails = mantissa(tails)
        bad = (e < 0.0) & asymmetric
        response = where(bad, delta, alpha)
        g_o = g_o + by_s * d_o
        g_a = g_a + by_s * d_a
        g_b = g_b + by_s * d_b
        if form.o:
            g_d = g_d + by_s * d_d
            weighted = by_s_twice * d_d
            if form.mean:
                h_md = h_md + weighted * d_m - by_both * d_d + by_s * d_md
                d_md = where(bad, -2.0 * e, 0.0) + beta * d_md
            h_od = h_od + weighted * d_o
            h_ad = h_ad + weighted * d_a
            h_dd = h_dd + weighted * d_d
            h_db = h_db + weighted * d_b + by_s * d_db
            d_db = d_d + beta * d_db
            d_d = where(bad, square, 0.0) + beta * d_d
        if form.mean:
            g_m = g_m + by_s * d_m - by_e
            weighted = by_s_twice * d_m - by_both
            h_mm = h_mm + (weighted - by_both) * d_m + by_e_twice + by_s * d_mm
            h_mo = h_mo + weighted * d_o
            h_ma = h_ma + weighted * d_a + by_s * d_ma
            h_mb = h_mb + weighted * d_b + by_s * d_mb
            d_mm = 2.0 * response + beta * d_mm
            d_ma = where(bad, 0.0, -2.0 * e) + beta * d_ma
            d_mb = d_m + beta * d_mb
            d_m = beta * d_m - 2.0 * response * e
        weighted = by_s_twice * d_o
        h_oo = h_oo + weighted * d_o
        h_oa = h_oa + weighted * d_a
        h_ob = h_ob + weighted * d_b + by_s * d_ob
        weighted = by_s_twice * d_a
        h_aa = h_aa + weighted * d_a
        h_ab = h_ab + weighted * d_b + by_s * d_ab
        h_bb = h_bb + by_s_twice * d_b * d_b + by_s * d_bb
        d_ob = d_o + beta * d_ob
        d_ab = d_a + beta * d_ab
        d_bb = 2.0 * d_b + beta * d_bb
        d_o = 1.0 + beta * d_o
        d_a = where(bad, 0.0, square) + beta * d_a
        d_b = s + beta * d_b
        s = omega + response * square + beta * s
    log_product = powers * _LOG_2 + log(product)
    value = -0.5 * log_product
    if form.student:
        log_tails = tail_powers * _LOG_2 + log(tails) - log_product
        half = 0.5 * nu
        constant = 0.5 * (_digamma(half + 0.5) - _digamma(half) - width)
        curvature = 0.25 * (_trigamma(half + 0.5) - _trigamma(half)) + 0.5 * width * width
        g_n = g_n - 0.5 * log_tails + n * constant
        h_nn = h_nn + n * curvature
        value = value - power * log_tails + n * _student_constant(nu)
    else:
        value = value - 0.5 * (n * _LOG_2_PI + total)
    store(gradient, _LOGLIK, value)
    at_omega, at_nu = form.mean, at_beta + 1
    if form.mean:
        store(gradient, 0, g_m)
        store(hessian, 0, h_mm)
        store(hessian, at_omega * _ROWS, h_mo)
        store(hessian, at_alpha * _ROWS, h_ma)
        store(hessian, at_beta * _ROWS, h_mb)
    store(gradient, at_omega, g_o)
    store(gradient, at_alpha, g_a)
    store(gradient, at_beta, g_b)
    store(hessian, at_omega * _ROWS + at_omega, h_oo)
    store(hessian, at_alpha * _ROWS + at_omega, h_oa)
    store(hessian, at_alpha * _ROWS + at_alpha, h_aa)
    store(hessian, at_beta * _ROWS + at_omega, h_ob)
    store(hessian, at_beta * _ROWS + at_alpha, h_ab)
    store(hessian, at_beta * _ROWS + at_beta, h_bb)
    if form.o:
        at_delta = at_beta - 1
        store(gradient, at_delta, g_d)
        store(hessian, at_delta * _ROWS + at_omega, h_od)
        store(hessian, at_delta * _ROWS + at_alpha, h_ad)
        store(hessian, at_delta * _ROWS + at_delta, h_dd)
        store(hessian, at_beta * _ROWS + at_delta, h_db)
        if form.mean:
            store(hessian, at_delta * _ROWS, h_md)
        if form.student:
            store(hessian, at_nu * _ROWS + at_delta, h_dn)
    if form.student:
        store(gradient, at_nu, g_n)
        store(hessian, at_nu * _ROWS + at_omega, h_on)
        store(hessian, at_nu * _ROWS + at_alpha, h_an)
        store(hessian, at_nu * _ROWS + at_beta, h_bn)
        store(hessian, at_nu * _ROWS + at_nu, h_nn)
        if form.mean:
            store(hessian, at_nu * _ROWS, h_mn)


@compiled
def _filter(
    bank: FloatArray, at: int, at_lag: int, value: Any, beta: Any, beta_2: Any, q: int
) -> None:
    """Step one filter of the bank."""
    current = load(bank, at)
    value = value + beta * current
    if q > 1:
        value = value + beta_2 * load(bank, at_lag)
        store(bank, at_lag, current)
    store(bank, at, value)


@compiled
def _search(
    windows: FloatArray,
    facts: FloatArray,
    form: Form,
    which: IntArray,
    starts: FloatArray,
    known: FloatArray,
    beat: FloatArray,
    points: FloatArray,
    values: FloatArray,
    steps: IntArray,
) -> None:
    """Climb from each start to a maximum by damped Newton steps within the bounds.

    A search takes the next free lane; each lane accepts or refuses its own steps, and one that has
    arrived is handed the next search. It is given up where it nears the ``known`` maximum, or
    promises too little to ``beat`` its likelihood. All is in units of the window's scale.
    """
    n_searches, k = starts.shape
    n = windows.shape[1]
    y, beside = np.ones((n, WIDTH)), np.ones((_FACTS, WIDTH))
    x, trial, step = np.empty((_ROWS, WIDTH)), np.empty((_ROWS, WIDTH)), np.empty((_ROWS, WIDTH))
    gradient, hessian = np.zeros((_ROWS + 1, WIDTH)), np.zeros((_ROWS * _ROWS, WIDTH))
    gradient_here, hessian_here = np.zeros_like(gradient), np.zeros_like(hessian)
    bank, factor = np.empty((_BANK_ROWS, WIDTH)), np.empty_like(hessian)
    weights, face = np.empty((2 * _ROWS, WIDTH)), np.empty((_ROWS, WIDTH))
    rival = np.ones((_ROWS, WIDTH))
    climb = np.empty((_CLIMB, WIDTH))
    store(climb, _MOVING, 0.0)
    job = np.full(WIDTH, -1)
    for i in range(k):  # an idle lane computes something harmless
        store(trial, i, starts[0, i])
    n_begun = n_done = 0
    while n_done < n_searches:
        for lane in range(WIDTH):
            if climb[_MOVING, lane] > 0.0 or n_begun == n_searches:
                continue
            row, scale = windows[which[n_begun]], facts[which[n_begun], _SCALE]
            for t in range(n):
                y[t, lane] = row[t] / scale
            for i in range(_FACTS):
                beside[i, lane] = facts[which[n_begun], i]
            for i in range(k):
                trial[i, lane] = starts[n_begun, i]
                rival[i, lane] = known[n_begun, i]
            climb[_BEST, lane], climb[_PROMISED, lane] = -np.inf, np.inf
            climb[_DAMPING, lane], climb[_STEPS, lane] = _FIRST_DAMPING, 0.0
            climb[_MOVING, lane], climb[_BEAT, lane] = 1.0, beat[n_begun]
            job[lane] = n_begun
            n_begun += 1
        if form.p == 1 and form.q == 1:
            _derivatives_of_one_lag(y, beside, form, trial, gradient, hessian)
        else:
            _derivatives(y, beside, form, trial, gradient, hessian, bank)
        _judge(k, trial, gradient, hessian, x, gradient_here, hessian_here, climb)
        _newton_step(form, k, x, gradient_here, hessian_here, climb, step, factor, weights, face)
        _give_up(form, x, rival, climb)
        _bounded(form, k, x, step, trial)
        for lane in range(WIDTH):
            if job[lane] >= 0 and climb[_MOVING, lane] == 0.0:
                done = job[lane]
                for i in range(k):
                    points[done, i] = x[i, lane]
                values[done] = climb[_BEST, lane]
                steps[done] = int(climb[_STEPS, lane])
                job[lane] = -1
                n_done += 1


@compiled
def _judge(
    k: int,
    trial: FloatArray,
    gradient: FloatArray,
    hessian: FloatArray,
    x: FloatArray,
    gradient_here: FloatArray,
    hessian_here: FloatArray,
    climb: FloatArray,
) -> None:
    """Take the trial point where it is better than the best one, and set the damping by it."""
    value, best = load(gradient, _LOGLIK), load(climb, _BEST)
    better = value > best
    first = best < _NOWHERE
    damping = load(climb, _DAMPING)
    fair = value - best > 0.25 * load(climb, _PROMISED)
    relaxed = where(fair, 0.1 * damping, damping)
    raised = where(damping < 1e-5, 1e-4, 10.0 * damping)
    store(climb, _DAMPING, where(first, damping, where(better, relaxed, raised)))
    store(climb, _BEST, where(better, value, best))
    store(climb, _STEPS, load(climb, _STEPS) + 1.0)
    for i in range(k):
        store(x, i, where(better, load(trial, i), load(x, i)))
        store(gradient_here, i, where(better, load(gradient, i), load(gradient_here, i)))
        for j in range(i + 1):
            at = i * _ROWS + j
            store(hessian_here, at, where(better, load(hessian, at), load(hessian_here, at)))


@compiled
def _newton_step(
    form: Form,
    k: int,
    x: FloatArray,
    gradient: FloatArray,
    hessian: FloatArray,
    climb: FloatArray,
    step: FloatArray,
    factor: FloatArray,
    weights: FloatArray,
    face: FloatArray,
) -> None:
    """Write the step that maximises the damped quadratic model over what the bounds leave free.

    Coefficients that stand on their bound and are pushed outwards stay; where the step would pass
    the largest persistence, it is taken along that face instead. A lane stops moving where the
    step promises nothing any more.
    """
    at_alpha = form.mean + 1
    at_beta = at_alpha + form.p + form.o
    free, normal = 0, _ROWS  # rows of weights
    persistence = spread(0.0)
    for i in range(k):
        weight = 0.0
        if at_alpha <= i < at_beta + form.q:
            weight = 1.0
            if form.o and (i == at_alpha or i == at_beta - 1):
                weight = 0.5
            persistence = persistence + weight * load(x, i)
        store(weights, normal + i, weight)
    slack = MAX_PERSISTENCE - persistence
    # On the face, what counts is the gradient along it; the betas are what is given up.
    push = load(gradient, at_beta)
    if form.q > 1:
        push = where(push > load(gradient, at_beta + 1), push, load(gradient, at_beta + 1))
    pressed = (slack < _ON_FACE) & (push > 0.0)
    push = where(pressed, push, 0.0)
    for i in range(k):
        low, high = -np.inf, np.inf
        if i == form.mean:
            low = MIN_OMEGA
        elif at_alpha <= i < at_beta + form.q:
            low = 0.0
        elif i == at_beta + form.q:
            low, high = NU_BOUNDS
        along = load(gradient, i) - push * load(weights, normal + i)
        value = load(x, i)
        held = ((value <= low + 1e-12) & (along <= 0.0)) | ((value >= high - 1e-9) & (along >= 0.0))
        store(weights, free + i, where(held, 0.0, 1.0))
    # Across a face that is pressed, the model need not be concave: stiffened, the step lies in it.
    stiffness = where(pressed, 1e3 * absolute(load(hessian, (at_beta) * _ROWS + at_beta)), 0.0)
    damping = _factorise(k, hessian, load(climb, _DAMPING), stiffness, weights, factor)
    _solve(k, factor, gradient, 0, weights, step)
    _solve(k, factor, weights, normal, weights, face)
    ahead, across = spread(0.0), spread(0.0)
    for i in range(k):
        ahead = ahead + load(weights, normal + i) * load(step, i)
        across = across + load(weights, normal + i) * load(face, i)
    excess = ahead - slack
    over = where((excess > 0.0) & (across > 0.0), excess / across, 0.0)
    promised = spread(0.0)
    for i in range(k):
        moved = load(step, i) - over * load(face, i)
        store(step, i, moved)
        promised = promised + 0.5 * load(gradient, i) * moved
    store(climb, _DAMPING, damping)
    store(climb, _PROMISED, promised)
    # A damped step promises less than what is left to gain.
    arrived = promised * (1.0 + damping) < TOLERANCE
    ended = arrived | (damping > _MOST_DAMPING) | (load(climb, _STEPS) >= MAX_STEPS)
    store(climb, _MOVING, where(ended, 0.0, load(climb, _MOVING)))


@compiled
def _give_up(form: Form, x: FloatArray, rival: FloatArray, climb: FloatArray) -> None:
    """Stop lanes that come to the known maximum, or cannot beat it."""
    at_alpha = form.mean + 1
    distance = spread(0.0)
    for i in range(at_alpha, at_alpha + form.p + form.o + form.q):
        apart = absolute(load(x, i) - load(rival, i))
        distance = where(apart > distance, apart, distance)
    behind = load(climb, _BEAT) - load(climb, _BEST)
    same = (distance < _SAME) & (behind < 1.0)
    hope = _HOPE * load(climb, _PROMISED) * (1.0 + load(climb, _DAMPING))
    hopeless = (behind > hope + 0.5) & (load(climb, _STEPS) > 2.5)
    store(climb, _MOVING, where(same | hopeless, 0.0, load(climb, _MOVING)))


@compiled
def _factorise(
    k: int,
    hessian: FloatArray,
    damping: Any,
    stiffness: Any,
    weights: FloatArray,
    factor: FloatArray,
) -> Any:
    """Write the Cholesky factor of the damped negative Hessian; raise the damping until there is one.

    What is held has a unit row. Returns the damping.
    """
    failed = spread(1.0)
    for _ in range(_FACTORISATIONS):
        sound = spread(1.0)
        for i in range(k):
            size = absolute(load(hessian, i * _ROWS + i)) + 1e-12
            for j in range(i + 1):
                both = load(weights, i) * load(weights, j)
                normal = load(weights, _ROWS + i) * load(weights, _ROWS + j)
                value = (stiffness * normal - load(hessian, i * _ROWS + j)) * both
                if i == j:
                    value = value + damping * size * both + (1.0 - both)
                for c in range(j):
                    value = value - load(factor, i * _ROWS + c) * load(factor, j * _ROWS + c)
                if i == j:
                    fine = value > 1e-13 * size * both
                    sound = where(fine, sound, 0.0)
                    value = sqrt(where(fine, value, 1.0))
                else:
                    value = value / load(factor, j * _ROWS + j)
                store(factor, i * _ROWS + j, value)
        failed = where(sound > 0.0, 0.0, 1.0)
        if not any_lane(failed > 0.0):
            break
        damping = where(failed > 0.0, where(damping < 1e-4, 1e-3, damping * 10.0), damping)
    return damping


@compiled
def _solve(
    k: int,
    factor: FloatArray,
    right: FloatArray,
    first: int,
    weights: FloatArray,
    solution: FloatArray,
) -> None:
    """Solve with the factor for rows ``first`` on of ``right``; what is held gets zero."""
    for i in range(k):
        value = load(right, first + i) * load(weights, i)
        for j in range(i):
            value = value - load(factor, i * _ROWS + j) * load(solution, j)
        store(solution, i, value / load(factor, i * _ROWS + i))
    for back in range(k):
        i = k - 1 - back
        value = load(solution, i)
        for j in range(i + 1, k):
            value = value - load(factor, j * _ROWS + i) * load(solution, j)
        store(solution, i, value / load(factor, i * _ROWS + i))


@compiled
def _bounded(form: Form, k: int, x: FloatArray, step: FloatArray, trial: FloatArray) -> None:
    """Write the point one step on, brought back inside the bounds."""
    at_alpha = form.mean + 1
    at_beta = at_alpha + form.p + form.o
    persistence = spread(0.0)
    for i in range(k):
        here = load(x, i)
        value = here + load(step, i)
        if i == form.mean:
            least = where(0.1 * here > MIN_OMEGA, 0.1 * here, MIN_OMEGA)
            value = where(value > least, value, least)
        elif at_alpha <= i < at_beta + form.q:
            value = where(value > 0.0, value, 0.0)
            half = form.o and (i == at_alpha or i == at_beta - 1)
            persistence = persistence + (0.5 if half else 1.0) * value
        elif i == at_beta + form.q:
            least, most = 0.5 * (here + NU_BOUNDS[0]), 3.0 * here
            value = where(value > least, value, least)
            value = where(value < most, value, most)
            value = where(value < NU_BOUNDS[1], value, NU_BOUNDS[1])
        store(trial, i, value)
    shrink = where(persistence > MAX_PERSISTENCE, MAX_PERSISTENCE / persistence, 1.0)
    for i in range(at_alpha, at_beta + form.q):
        store(trial, i, load(trial, i) * shrink)
