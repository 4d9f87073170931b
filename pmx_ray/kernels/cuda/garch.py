"""GARCH on a card: ``garch.cu`` written for one model, and what feeds it.

Starts and rivals are chosen by ``kernels.garch.estimate``, so that both engines search alike. Their
estimates agree to rounding (fused multiply-adds and sums in another order): tests hold
log-likelihoods to 1e-9 relative, and coefficients to 1e-5.
"""

import math
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from pmx_ray._typing import FloatArray, IntArray
from pmx_ray.kernels import garch_likelihood, garch_search
from pmx_ray.kernels.cuda.program import Launch, launcher, text_with
from pmx_ray.kernels.devices import card
from pmx_ray.kernels.eigen import on_host
from pmx_ray.kernels.garch import Fits, Form, estimate

AT_ONCE = 4
"""Points of the start grid that a thread takes through one reading of a window."""

BYTES = 2**31
"""Memory of a card that the returns of one batch may take; a second as much while they arrive."""

OPTIONS = ("--std=c++14",)
"""What the text is compiled with."""


def source(form: Form) -> str:
    """Return the CUDA C of one model: every number that the Python kernels have, then the text."""
    nu_low, nu_high = garch_search.NU_BOUNDS
    numbers = {
        **{f"FORM_{name.upper()}": value for name, value in form._asdict().items()},
        "FACT_MEAN": garch_likelihood.MEAN,
        "FACT_SCALE": garch_likelihood.SCALE,
        "FACT_BACK": garch_likelihood.BACK,
        "PI": math.pi,
        "LOG_2": garch_likelihood.LOG_2,
        "LOG_2_PI": garch_likelihood.LOG_2_PI,
        "BACKCAST_LENGTH": garch_likelihood.BACKCAST_LENGTH,
        "BACKCAST_DECAY": garch_likelihood.BACKCAST_DECAY,
        "NU_LOW": nu_low,
        "NU_HIGH": nu_high,
        **{
            name: getattr(garch_search, name)
            for name in (
                "MIN_OMEGA", "MAX_PERSISTENCE", "MAX_STEPS", "TOLERANCE", "FIRST_DAMPING",
                "MOST_DAMPING", "FACTORISATIONS", "ON_FACE", "SAME", "BEHIND", "ALIKE", "HOPE",
                "NOWHERE",
            )
        },
        "AT_ONCE": AT_ONCE,
    }  # fmt: skip
    return text_with(numbers, "garch.cu")


def fit(windows: FloatArray, form: Form) -> Fits:
    """Estimate every window by maximum likelihood on the card; see ``kernels.garch.fit``.

    Raises
    ------
    EngineError
        If CuPy is not installed, or sees no card.
    """
    windows = np.asarray(windows)
    found = [estimate(batch, form, windows.shape[1]) for batch in _batches(windows, *_device(form))]
    return Fits(
        *(
            np.concatenate([getattr(fits, name) for fits in found])
            for name in ("parameters", "loglik", "converged", "steps")
        )
    )


def filter_variances(
    windows: FloatArray, parameters: FloatArray, form: Form, *, n_steps: int
) -> FloatArray:
    """Return expected variances ahead, (W, n_steps); see ``kernels.garch.filter_variances``.

    Raises
    ------
    EngineError
        If CuPy is not installed, or sees no card.
    """
    ahead, first = np.empty((len(windows), n_steps)), 0
    for batch in _batches(np.asarray(windows), *_device(form)):
        stop = first + batch.n_windows
        ahead[first:stop] = batch.forecast(parameters[first:stop], n_steps)
        first = stop
    return ahead


class Batch:
    """Windows that lie on a device in units of their scale: the engine of a search.

    Parameters
    ----------
    windows : ndarray of shape (W, n)
        Returns, oldest first, on the host.
    xp : module
        Array namespace of the device.
    launch : callable
        Runs the kernels of ``source`` on arrays of ``xp``.
    """

    def __init__(self, windows: FloatArray, *, xp: ModuleType, launch: Launch) -> None:
        self.n_windows, self.n = windows.shape
        self._xp, self._launch = xp, launch
        # A copy in any case, for it is scaled in place.
        self._returns = xp.array(xp.asarray(windows).T, order="C", copy=True)
        self._facts = xp.empty((garch_likelihood.FACTS, self.n_windows))
        launch("prepare", self.n_windows, *self._size, self._returns, self._facts)

    @property
    def _size(self) -> tuple[int, int]:
        return self.n_windows, self.n

    def survey(self, grid: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return facts (W, FACTS) and log-likelihoods (W, C) at points (C, K)."""
        points = self._xp.asarray(grid)
        values = self._xp.empty((len(grid), self.n_windows))
        n_threads = self.n_windows * -(-len(grid) // AT_ONCE)
        self._launch(
            "survey", n_threads, *self._size, self._returns, self._facts, len(grid), points, values
        )
        return on_host(self._facts).T, on_host(values).T

    def search(
        self, which: IntArray, starts: FloatArray, known: FloatArray, beat: FloatArray
    ) -> tuple[FloatArray, FloatArray, IntArray]:
        """Return where searches end, (S, K), the log-likelihood there and the steps, (S,)."""
        xp, n_searches = self._xp, len(which)
        points, values = xp.empty(starts.shape), xp.empty(n_searches)
        steps = xp.empty(n_searches, dtype=np.int64)
        given = (xp.asarray(np.ascontiguousarray(a)) for a in (which, starts, known, beat))
        self._launch(
            "search", n_searches, n_searches, *self._size, self._returns, self._facts, *given,
            xp.zeros(1, dtype=np.int64), points, values, steps,
        )  # fmt: skip
        taken: Any = on_host(steps)
        return on_host(points), on_host(values), taken

    def forecast(self, parameters: FloatArray, n_steps: int) -> FloatArray:
        """Return the expected variances after each window, (W, n_steps), in the returns' unit."""
        ahead = self._xp.empty((n_steps, self.n_windows))
        used = self._xp.asarray(np.ascontiguousarray(parameters))
        self._launch(
            "forecast", self.n_windows, *self._size, self._returns, self._facts, used, n_steps,
            ahead,
        )  # fmt: skip
        return on_host(ahead).T


def _batches(windows: FloatArray, xp: ModuleType, launch: Launch) -> Iterator["Batch"]:
    """Yield the windows as many at a time as ``BYTES`` hold."""
    at_a_time = max(BYTES // (8 * windows.shape[1]), 1)
    for first in range(0, max(len(windows), 1), at_a_time):
        yield Batch(windows[first : first + at_a_time], xp=xp, launch=launch)


def _device(form: Form) -> tuple[ModuleType, Launch]:
    return _card(), _compiled(form)


def _card() -> ModuleType:
    return card("garch: engine cuda", instead="engine fast")


@cache
def _compiled(form: Form) -> Launch:
    return launcher(_card(), source(form), options=OPTIONS)
