"""Damped Newton search for the maximum of a GARCH likelihood within its bounds, lane by lane.

References
----------
Levenberg (1944), Quarterly of Applied Mathematics 2, 164-168; Marquardt (1963), SIAM Journal on
Applied Mathematics 11, 431-441 (damping).
Bertsekas (1982), SIAM Journal on Control and Optimization 20, 221-246 (bounds).
"""

from typing import Any, NamedTuple

import numpy as np

from pmx_ray._typing import FloatArray, IntArray
from pmx_ray.kernels.compiling import compiled_lanes, inner
from pmx_ray.kernels.garch_derivatives import (
    BANK_ROWS,
    LOGLIK,
    PATH_ROWS,
    derivatives,
    derivatives_of_one_lag,
)
from pmx_ray.kernels.garch_likelihood import FACTS, ROWS, SCALE, Form
from pmx_ray.kernels.lanes import WIDTH, absolute, any_lane, load, spread, sqrt, store, where

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

FIRST_DAMPING, MOST_DAMPING, FACTORISATIONS = 1e-3, 1e8, 12
"""Damping of the first step, the most before a search is given up, and attempts a step."""

ON_FACE = 1e-10
"""Slack of a persistence that is as large as can be."""

SAME, BEHIND, ALIKE, HOPE = 0.02, 1.0, 0.5, 10.0
"""A search is at the known maximum where its coefficients are so near and its likelihood so little
behind, or where its next step leads there: then the step must also promise what is missing, but for
so much, and lead to a constant and to degrees of freedom that differ by less than this share. A
promised gain may come true so often over."""

NOWHERE = -1e300
"""Below any log-likelihood."""

_BEST, _PROMISED, _DAMPING, _STEPS, _MOVING, _BEAT, _CLIMB = 0, 1, 2, 3, 4, 5, 6  # rows of a climb


class Room(NamedTuple):
    """Where a search writes: a row of eight lanes for each number; see ``room_for``."""

    y: FloatArray
    path: FloatArray
    beside: FloatArray
    x: FloatArray
    trial: FloatArray
    step: FloatArray
    gradient: FloatArray
    hessian: FloatArray
    gradient_here: FloatArray
    hessian_here: FloatArray
    factor: FloatArray
    weights: FloatArray
    face: FloatArray
    rival: FloatArray
    climb: FloatArray
    job: IntArray


def bank_for(form: Form) -> FloatArray | None:
    """Return the bank of filters of a pass; None for one lag, where they stand in registers."""
    return None if form.p == form.q == 1 else np.empty((BANK_ROWS, WIDTH))


def room_for(n: int) -> Room:
    """Return the room of searches over windows of ``n`` returns, every lane idle."""

    def rows(number: int) -> FloatArray:
        # A vector that crosses the end of a cache line costs two accesses; numpy aligns to less.
        spare = np.ones((number + 1) * WIDTH)  # an idle lane computes something harmless
        first = -spare.ctypes.data % (8 * WIDTH) // 8
        return spare[first : first + number * WIDTH].reshape(number, WIDTH)

    climb = rows(_CLIMB)
    climb[_MOVING] = 0.0
    return Room(
        y=rows(n),
        path=rows(PATH_ROWS * n),
        beside=rows(FACTS),
        x=rows(ROWS),
        trial=rows(ROWS),
        step=rows(ROWS),
        gradient=rows(ROWS + 1),
        hessian=rows(ROWS * ROWS),
        gradient_here=rows(ROWS + 1),
        hessian_here=rows(ROWS * ROWS),
        factor=rows(ROWS * ROWS),
        weights=rows(2 * ROWS),
        face=rows(ROWS),
        rival=rows(ROWS),
        climb=climb,
        job=np.full(WIDTH, -1, np.int64),
    )


@compiled_lanes
def search(
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
    room: Room,
    bank: FloatArray | None,
) -> None:
    """Climb from each start to a maximum by damped Newton steps within the bounds.

    A search takes the next free lane; each lane accepts or refuses its own steps, and one that has
    arrived is handed the next search. It is given up where it nears the ``known`` maximum, or
    promises too little to ``beat`` its likelihood. All is in units of the window's scale.
    """
    n_searches, k = starts.shape
    n = windows.shape[1]
    y, beside, x, trial, step = room.y, room.beside, room.x, room.trial, room.step
    gradient, hessian = room.gradient, room.hessian
    gradient_here, hessian_here = room.gradient_here, room.hessian_here
    rival, climb, job = room.rival, room.climb, room.job
    for i in range(k):
        store(trial, i, starts[0, i])
    n_begun = n_done = 0
    while n_done < n_searches:
        for lane in range(WIDTH):
            if climb[_MOVING, lane] > 0.0 or n_begun == n_searches:
                continue
            row, inverse = windows[which[n_begun]], 1.0 / facts[which[n_begun], SCALE]
            for t in range(n):
                y[t, lane] = row[t] * inverse
            for i in range(FACTS):
                beside[i, lane] = facts[which[n_begun], i]
            for i in range(k):
                trial[i, lane] = x[i, lane] = starts[n_begun, i]
                rival[i, lane] = known[n_begun, i]
            for i in range(k):  # those of the search before, if the first value were no number
                gradient_here[i, lane] = 0.0
                for j in range(i + 1):
                    hessian_here[i * ROWS + j, lane] = 0.0
            climb[_BEST, lane], climb[_PROMISED, lane] = -np.inf, np.inf
            climb[_DAMPING, lane], climb[_STEPS, lane] = FIRST_DAMPING, 0.0
            climb[_MOVING, lane], climb[_BEAT, lane] = 1.0, beat[n_begun]
            job[lane] = n_begun
            n_begun += 1
        if bank is None:  # then the general pass is not even compiled
            derivatives_of_one_lag(y, beside, form, trial, gradient, hessian, room.path)
        else:
            derivatives(y, beside, form, trial, gradient, hessian, bank)
        _judge(k, trial, gradient, hessian, x, gradient_here, hessian_here, climb)
        _newton_step(
            form,
            k,
            x,
            gradient_here,
            hessian_here,
            climb,
            step,
            room.factor,
            room.weights,
            room.face,
        )
        _bounded(form, k, x, step, trial)
        _give_up(form, k, x, trial, rival, climb)
        for lane in range(WIDTH):
            if job[lane] >= 0 and climb[_MOVING, lane] == 0.0:
                done = job[lane]
                for i in range(k):
                    points[done, i] = x[i, lane]
                values[done] = climb[_BEST, lane]
                known_top = climb[_BEST, lane] > NOWHERE
                steps[done] = int(climb[_STEPS, lane]) if known_top else MAX_STEPS
                job[lane] = -1
                n_done += 1


@inner
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
    value, best = load(gradient, LOGLIK), load(climb, _BEST)
    better = value > best
    first = best < NOWHERE
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
            at = i * ROWS + j
            store(hessian_here, at, where(better, load(hessian, at), load(hessian_here, at)))


@inner
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
    free, normal = 0, ROWS  # rows of weights
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
    pressed = (slack < ON_FACE) & (push > 0.0)
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
    stiffness = where(pressed, 1e3 * absolute(load(hessian, (at_beta) * ROWS + at_beta)), 0.0)
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
    stuck = damping > MOST_DAMPING
    store(climb, _STEPS, where(stuck & ~arrived, float(MAX_STEPS), load(climb, _STEPS)))
    ended = arrived | stuck | (load(climb, _STEPS) >= MAX_STEPS)
    store(climb, _MOVING, where(ended, 0.0, load(climb, _MOVING)))


@inner
def _give_up(
    form: Form, k: int, x: FloatArray, trial: FloatArray, rival: FloatArray, climb: FloatArray
) -> None:
    """Stop lanes that come to the known maximum, or head there, or cannot beat it."""
    at_omega, at_nu = form.mean, form.mean + 1 + form.p + form.o + form.q
    distance, coming = spread(0.0), spread(0.0)
    for i in range(at_omega + 1, at_nu):
        apart = absolute(load(x, i) - load(rival, i))
        distance = where(apart > distance, apart, distance)
        apart = absolute(load(trial, i) - load(rival, i))
        coming = where(apart > coming, apart, coming)
    behind = load(climb, _BEAT) - load(climb, _BEST)
    promised = load(climb, _PROMISED) * (1.0 + load(climb, _DAMPING))
    same = (distance < SAME) & (behind < BEHIND)
    heading = (coming < SAME) & (absolute(behind - promised) < BEHIND)
    for i in range(at_omega, k, at_nu - at_omega):  # the constant, and degrees of freedom
        known = load(rival, i)
        heading = heading & (absolute(load(trial, i) - known) < ALIKE * known)
    hopeless = (behind > HOPE * promised + 0.5) & (load(climb, _STEPS) > 2.5)
    store(climb, _MOVING, where(same | heading | hopeless, 0.0, load(climb, _MOVING)))


@inner
def _factorise(
    k: int,
    hessian: FloatArray,
    damping: Any,
    stiffness: Any,
    weights: FloatArray,
    factor: FloatArray,
) -> Any:
    """Write the Cholesky factor of the negative Hessian, damped until there is one.

    What is held has a unit row. Returns the damping.
    """
    failed = spread(1.0)
    for _ in range(FACTORISATIONS):
        sound = spread(1.0)
        for i in range(k):
            size = absolute(load(hessian, i * ROWS + i)) + 1e-12
            for j in range(i + 1):
                both = load(weights, i) * load(weights, j)
                normal = load(weights, ROWS + i) * load(weights, ROWS + j)
                value = (stiffness * normal - load(hessian, i * ROWS + j)) * both
                if i == j:
                    value = value + damping * size * both + (1.0 - both)
                for c in range(j):
                    value = value - load(factor, i * ROWS + c) * load(factor, j * ROWS + c)
                if i == j:
                    fine = value > 1e-13 * size * both
                    sound = where(fine, sound, 0.0)
                    value = sqrt(where(fine, value, 1.0))
                else:
                    value = value / load(factor, j * ROWS + j)
                store(factor, i * ROWS + j, value)
        failed = where(sound > 0.0, 0.0, 1.0)
        if not any_lane(failed > 0.0):
            break
        damping = where(failed > 0.0, where(damping < 1e-4, 1e-3, damping * 10.0), damping)
    return damping


@inner
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
            value = value - load(factor, i * ROWS + j) * load(solution, j)
        store(solution, i, value / load(factor, i * ROWS + i))
    for back in range(k):
        i = k - 1 - back
        value = load(solution, i)
        for j in range(i + 1, k):
            value = value - load(factor, j * ROWS + i) * load(solution, j)
        store(solution, i, value / load(factor, i * ROWS + i))


@inner
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
