"""ARMA windows: fitted, and filtered to their last residuals, on a core and on a card."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.fits.windows import return_windows
from benchmarks.gpu.limits import Card, Counts, Work, passes_and_lanes
from benchmarks.gpu.sides import (
    LENGTH,
    SAME_LOGLIK,
    Measured,
    apart,
    many_windows,
    on_one_core,
    row_of,
    walls,
)
from pmx_ray._typing import FloatArray
from pmx_ray.kernels import arma
from pmx_ray.kernels.arma_host import Table
from pmx_ray.kernels.cuda import arma as on_card

EVALUATION = 57
"""Double-precision instructions a session of a likelihood with its derivatives, counted in
``arma.cu`` as those of a GARCH ``Case``. Impulse responses, which die out, are left out; a point
that is not better, whose derivatives are not taken, is counted as the others."""

READINGS = 2
"""Times that an evaluation reads its window."""


@dataclass(frozen=True, slots=True)
class Order:
    """An ARMA model of log returns, without a mean."""

    p: int
    q: int

    def jobs(self, n_windows: int) -> arma.Jobs:
        """Return the fit of each window."""
        every = np.arange(n_windows)
        none = np.zeros(n_windows, np.bool_)
        return arma.Jobs(every, np.full(n_windows, self.p), np.full(n_windows, self.q), none)


ORDERS = (Order(1, 1), Order(2, 2))


def measure(order: Order, n_windows: int, *, n_sample: int, found: Card | None) -> Measured:
    """Measure one core on a sample, and the card on ``n_windows`` where there is one."""
    name = f"ARMA({order.p},{order.q})"
    sample = return_windows(LENGTH, n_sample).values
    ours = on_one_core(
        partial(fit_and_end, arma, sample, order),
        first=partial(fit_and_end, arma, sample[:8], order),
    )
    row = partial(
        row_of, name, ours, unit="window", n_sample=len(sample), n=n_windows,
        work=counted(sample, order, n_windows), limits=found,
    )  # fmt: skip
    if found is None:
        return Measured(row(None))
    theirs = walls(partial(fit_and_end, on_card, many_windows(n_windows), order))
    held, jobs = list(sample), order.jobs(len(sample))
    both = [kernel.fit_arma(held, jobs).loglik for kernel in (on_card, arma)]
    promise = apart(f"{name}: log-likelihoods", *both, limit=SAME_LOGLIK)
    return Measured(row(theirs), (promise,))


def fit_and_end(kernel: Any, windows: FloatArray, order: Order) -> FloatArray:
    """Return the last residuals of each window, from which a forecast goes on."""
    held = list(windows)
    fits = kernel.fit_arma(held, order.jobs(len(held)))
    last: FloatArray = kernel.last_residuals(held, fits.ar, fits.ma, fits.mean)
    return last


def counted(windows: FloatArray, order: Order, n_windows: int) -> Work:
    """Count what the searches of a sample need, and return it for ``n_windows``."""
    jobs = order.jobs(len(windows))
    engine = _Counted(Table.of(list(windows), jobs.constant))
    arma.estimate(engine, jobs)
    passes, lanes = passes_and_lanes(engine.searches, len(windows))
    sessions = float(n_windows * windows.shape[1])
    read = 8.0 * READINGS * sessions * passes
    return Work(EVALUATION * sessions * passes, read, passes, lanes)


class _Counted(arma.Host):
    """The processor as an engine, which notes the evaluations of every search."""

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self.searches: list[Counts] = []

    def climb(self, jobs: arma.Jobs, starts: FloatArray, *, most: int, exact: bool) -> FloatArray:
        found = super().climb(jobs, starts, most=most, exact=exact)
        each = 1.0 + exact * jobs.free().sum(axis=1)  # second derivatives are differences
        self.searches.append(((1.0 + found[:, 9]) * each).astype(np.int64))
        return found
