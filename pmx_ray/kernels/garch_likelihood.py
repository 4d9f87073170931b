"""The likelihood of a GARCH model, eight windows at a time, and its expected variances ahead."""

import math
from typing import Any, NamedTuple

from pmx_ray._typing import FloatArray
from pmx_ray.kernels.compiling import inner
from pmx_ray.kernels.lanes import (
    WIDTH,
    exponent,
    fma,
    load,
    log,
    mantissa,
    spread,
    sqrt,
    store,
    where,
)
from pmx_ray.kernels.special import log_gamma

BACKCAST_LENGTH, BACKCAST_DECAY = 75, 0.94
"""The variance before the first return is that of the first 75, weighted by 0.94 a session."""

MAX_LAGS = 2
"""Highest order of squares and of variances."""

ROWS = 8
"""Most parameters: mu, omega, two alphas, delta, two betas, nu."""

MEAN, SCALE, BACK, FACTS = 0, 1, 2, 3
"""Rows of a window's facts, and their number: mean and backcast in units of the scale."""

LAST_ROWS = 3
"""What a pass leaves: the next variance, the last one, and the last residual."""

LOG_2, LOG_2_PI = math.log(2.0), math.log(2.0 * math.pi)


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


@inner
def gather(windows: FloatArray, first: int, form: Form, y: FloatArray, facts: FloatArray) -> None:
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
    inverse = 1.0 / scale
    for t in range(n):
        store(y, t, load(y, t) * inverse)
    store(facts, MEAN, mean / scale)
    store(facts, SCALE, scale)
    store(facts, BACK, back / weights)


@inner
def standardise(
    parameters: FloatArray, first: int, form: Form, facts: FloatArray, x: FloatArray
) -> None:
    """Put the parameters of eight windows side by side in units of their scale."""
    for lane in range(WIDTH):
        row = parameters[min(first + lane, len(parameters) - 1)]
        for i in range(len(row)):
            x[i, lane] = row[i]
        if form.mean:
            x[0, lane] /= facts[SCALE, lane]
        x[form.mean, lane] /= facts[SCALE, lane] ** 2


@inner
def likelihood(
    y: FloatArray, facts: FloatArray, form: Form, x: FloatArray, state: FloatArray
) -> Any:
    """Return the log-likelihood; ``state`` gets the next variance, the last, and the last residual.

    The logarithm of a product is taken once: its exponent is set aside every 16 sessions. So long
    the fractions of a normal density share a denominator, since division is what costs.
    """
    at_alpha = form.mean + 1
    at_beta = at_alpha + form.p + form.o
    mu = load(x, 0) if form.mean else spread(0.0)
    omega, alpha, beta = load(x, form.mean), load(x, at_alpha), load(x, at_beta)
    delta = load(x, at_beta - 1) if form.o else alpha
    alpha_2 = load(x, at_alpha + 1) if form.p > 1 else spread(0.0)
    beta_2 = load(x, at_beta + 1) if form.q > 1 else spread(0.0)
    back = load(facts, BACK)
    s = omega + (0.5 * (alpha + delta) + alpha_2 + beta + beta_2) * back
    s_before, e = back, spread(0.0)
    product, powers = spread(1.0), spread(0.0)
    tails, tail_powers, total = spread(1.0), spread(0.0), spread(0.0)
    width, numerator = spread(0.0), spread(0.0)
    if form.student:
        width = 1.0 / (load(x, at_beta + form.q) - 2.0)
    square = back
    n = len(y)
    for t in range(n):
        square_before = square
        e = load(y, t) - mu
        square = e * e
        if form.student:
            tails = tails * fma(square, width, s)
        else:
            numerator = fma(numerator, s, square * product)
        product = product * s
        if t & 15 == 15:
            if not form.student:
                total = total + numerator / product
                numerator = spread(0.0)
            powers = powers + exponent(product)
            product = mantissa(product)
            if form.student:
                tail_powers = tail_powers + exponent(tails)
                tails = mantissa(tails)
        following = fma(beta, s, fma(where(e < 0.0, delta, alpha), square, omega))
        if form.p > 1:
            following = following + alpha_2 * square_before
        if form.q > 1:
            following = following + beta_2 * s_before
        s_before, s = s, following
    store(state, 0, s)
    store(state, 1, s_before)
    store(state, 2, e)
    log_product = powers * LOG_2 + log(product)
    if form.student:
        nu = load(x, at_beta + form.q)
        log_tails = tail_powers * LOG_2 + log(tails) - log_product
        return n * student_constant(nu) - 0.5 * log_product - 0.5 * (nu + 1.0) * log_tails
    return -0.5 * (n * LOG_2_PI + log_product + (total + numerator / product))


@inner
def run_on(form: Form, x: FloatArray, state: FloatArray, path: FloatArray) -> None:
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


@inner
def student_constant(nu: Any) -> Any:
    """Return the part of a Student-t log density that depends on the degrees of freedom alone."""
    half = 0.5 * nu
    return log_gamma(half + 0.5) - log_gamma(half) - 0.5 * log(math.pi * (nu - 2.0))
