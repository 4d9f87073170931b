"""ARMA on a card: ``arma.cu``, and what feeds it.

Starts are chosen and ends ranked by ``kernels.arma.estimate``, so that both engines search alike.
The text has the processor's sums, fused and in its order, and is compiled to fuse nothing else: the
two part at the logarithm alone, which each platform has its own of.
"""

from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from pmx_ray._typing import FloatArray, IntArray
from pmx_ray.kernels import arma_climb, arma_likelihood, arma_start
from pmx_ray.kernels.arma import estimate
from pmx_ray.kernels.arma_fits import ArmaFits, Jobs
from pmx_ray.kernels.arma_host import Table
from pmx_ray.kernels.cuda.program import Launch, launcher, text_with
from pmx_ray.kernels.devices import card
from pmx_ray.kernels.eigen import on_host

AT_ONCE = 4
"""Pairs of factors that a thread scans through one reading of a window."""

BYTES = 2**28
"""Memory of a card that the windows of one batch may take; as much more while they arrive."""

OPTIONS = ("--std=c++14", "--fmad=false")
"""What the text is compiled with: it says itself which products are fused."""


def source() -> str:
    """Return the CUDA C: every number that the Python kernels have, then the text."""
    numbers: dict[str, object] = {
        "N_LAGS": arma_likelihood.N_LAGS,
        "DEAD": arma_likelihood.DEAD,
        "BLOCK": int(arma_likelihood.BLOCK),
        "N_AUTO": arma_start.N_AUTO,
        "N_OUT": arma_climb.N_OUT,
        **{
            name: getattr(arma_climb, name)
            for name in (
                "EDGE", "TOLERANCE", "FIRST_DAMPING", "LEAST_DAMPING", "RAISED_DAMPING", "CONVEX",
                "HALVINGS", "BEFORE_EDGE", "PROBE",
            )
        },
        "AT_ONCE": AT_ONCE,
    }  # fmt: skip
    return text_with(numbers, "arma.cu")


def fit_arma(windows: Sequence[FloatArray], jobs: Jobs) -> ArmaFits:
    """Fit every job by exact maximum likelihood on the card; see ``kernels.arma.fit_arma``.

    Raises
    ------
    EngineError
        If CuPy is not installed, or sees no card.
    """
    xp, launch = _device()
    used, window = np.unique(jobs.window, return_inverse=True)
    rows = np.empty((len(jobs), ArmaFits.N_COLUMNS))
    for part in _parts([windows[one] for one in used.tolist()]):
        index = np.flatnonzero((part.start <= window) & (window < part.stop))
        some = jobs.of(index)
        within = Jobs(window[index] - part.start, some.p, some.q, some.constant)
        held = [windows[one] for one in used[part].tolist()]
        table = Table.of(held, within.centred(len(held)))
        rows[index] = estimate(Batch(table, xp=xp, launch=launch), within).as_rows()
    return ArmaFits.from_rows(rows)


def last_residuals(
    windows: Sequence[FloatArray], ar: FloatArray, ma: FloatArray, mean: FloatArray
) -> FloatArray:
    """Return the last three residuals of each window, (W, 3); see ``kernels.arma``.

    Raises
    ------
    EngineError
        If CuPy is not installed, or sees no card.
    """
    xp, launch = _device()
    found = np.empty((len(windows), arma_likelihood.N_LAGS))
    for part in _parts(windows):
        held = windows[part]
        table = Table.of(held, np.zeros(len(held), np.bool_))
        coefficients = np.hstack([ar[part], ma[part]])
        batch = Batch(table, xp=xp, launch=launch)
        found[part] = batch.last_residuals(coefficients, np.asarray(mean[part]))
    return found


class Batch:
    """Windows that lie on a device: an engine of ARMA fits.

    Parameters
    ----------
    table : Table
        The windows, on the host.
    xp : module
        Array namespace of the device.
    launch : callable
        Runs the kernels of ``source`` on arrays of ``xp``.
    """

    def __init__(self, table: Table, *, xp: ModuleType, launch: Launch) -> None:
        self._table, self._xp, self._launch = table, xp, launch
        rows = self._there(table.values[:-1, : int(table.lengths.max())])
        n_windows, n = rows.shape
        self._values = xp.empty((n, n_windows))
        launch("columns", n * n_windows, n_windows, n, rows, self._values)

    @property
    def lengths(self) -> IntArray:
        """Values of each window, (W,)."""
        return self._table.lengths

    @property
    def centres(self) -> FloatArray:
        """What is taken off each window, (W,)."""
        return self._table.centres

    def autocovariances(self, jobs: Jobs) -> FloatArray:
        """Return sums of products at lags 0 to 15 of windows less their means, (J, 16)."""
        return self._run("autocovariances", jobs, self._table.means(jobs), [], arma_start.N_AUTO)

    def scan(
        self, jobs: Jobs, base: FloatArray, *, factors: Sequence[FloatArray], n_roots: int
    ) -> FloatArray:
        """Return the pair of factors that promises the most added to each job, (K, J, 4)."""
        means, at = self._table.means(jobs), self._there(base)
        found = [
            self._run("scan", jobs, means, [at, len(tried), self._there(tried), n_roots], 4)
            for tried in factors
        ]
        return np.stack(found)

    def climb(self, jobs: Jobs, starts: FloatArray, *, most: int, exact: bool) -> FloatArray:
        """Return where searches from starts (J, 6) end, (J, 11)."""
        given = [self._there(starts), most, int(exact)]
        return self._run("climb", jobs, self._table.means(jobs), given, arma_climb.N_OUT)

    def last_residuals(self, coefficients: FloatArray, means: FloatArray) -> FloatArray:
        """Return the last three residuals of each window at coefficients (W, 6), (W, 3)."""
        which = np.arange(len(means))
        highest = np.full(len(means), arma_likelihood.N_LAGS)
        jobs = Jobs(which, highest, highest, np.zeros(len(means), np.bool_))
        given = [self._there(coefficients)]
        return self._run("last_residuals", jobs, means, given, arma_likelihood.N_LAGS)

    def _run(
        self, name: str, jobs: Jobs, means: FloatArray, given: Sequence[object], n_columns: int
    ) -> FloatArray:
        """Return what a kernel writes of each job, (J, n_columns); a thread takes a job."""
        orders = np.column_stack([jobs.p, jobs.q, jobs.constant]).astype(np.int64)
        out = self._xp.empty((len(jobs), n_columns))
        self._launch(
            name, len(jobs), len(jobs), self._values.shape[1], self._values,
            self._there(jobs.window), self._there(self.lengths[jobs.window]), self._there(orders),
            self._there(means), *given, out,
        )  # fmt: skip
        return on_host(out)

    def _there(self, values: FloatArray | IntArray) -> Any:
        return self._xp.asarray(np.ascontiguousarray(values))


def _parts(windows: Sequence[FloatArray]) -> list[slice]:
    """Return the windows, in turn, as many at a time as ``BYTES`` hold."""
    longest = max(map(len, windows), default=1)
    at_a_time = max(BYTES // (8 * longest), 1)
    return [
        slice(first, min(first + at_a_time, len(windows)))
        for first in range(0, len(windows), at_a_time)
    ]


def _device() -> tuple[ModuleType, Launch]:
    return _card(), _compiled()


def _card() -> ModuleType:
    return card("sarimax: engine cuda", instead="engine fast")


@cache
def _compiled() -> Launch:
    return launcher(_card(), source(), options=OPTIONS)
