"""A card against two cores: GARCH and ARIMA windows, SAMoSSA folds, and how near to its limits.

    python -m benchmarks.gpu [--quick] [--json PATH] [--check]

The processor's side is the processor time of one core on a sample; two cores are taken for twice
that. The card's side is wall time from arrays on the host to results on the host, the first call
left out, which compiles. Without a card its columns say "not measured", and so do the promises.
"""

import importlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from benchmarks.fits.section import ABSENT
from benchmarks.fits.windows import STEPS, panel, return_windows
from benchmarks.measuring import Promise, Sample, conclude, one_core, options, print_table
from benchmarks.measuring import side_by_side as turns
from pmx_ray._typing import FloatArray
from pmx_ray.errors import EngineError
from pmx_ray.folds import FoldPlan, FoldSettings, build_folds
from pmx_ray.forecasters.batch import ForecastBatch, forecast_folds
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.kernels import arma, garch
from pmx_ray.kernels.arma_host import Table
from pmx_ray.kernels.cuda import arma as arma_on_card
from pmx_ray.kernels.cuda import garch as on_card
from pmx_ray.kernels.devices import card
from pmx_ray.kernels.garch import Form

LENGTH, N_STEPS, WARP = 1000, STEPS[-1], 32
N_TURNS = 3

SAME_LOGLIK = 1e-9
"""Relative distance of log-likelihoods of card and processor that is promised."""

SAME_MOMENTS = 1e-8
"""Relative distance of SAMoSSA's variances that is promised."""


@dataclass(frozen=True, slots=True)
class Case:
    """A GARCH model and what one pass over one session costs, counted in the PTX of ``garch.cu``.

    Attributes
    ----------
    name : str
    form : Form
    survey, search : int
        Double-precision instructions a session: of one point of the grid, and of the pass with
        derivatives. A fused multiply-add is one; a division or reciprocal counts as 8.
    """

    name: str
    form: Form
    survey: int
    search: int


CASES = (
    Case("GARCH(1,1) normal", Form(1, 1, 0, 1, 0), 13, 73),
    Case("GJR(1,1) t", Form(1, 1, 1, 1, 1), 10, 126),
)


@dataclass(frozen=True, slots=True)
class Order:
    """An ARMA model of log returns, without a mean."""

    p: int
    q: int


ORDERS = (Order(1, 1), Order(2, 2))

EVALUATION = 57
"""Double-precision instructions a session of a likelihood with its derivatives, counted in
``arma.cu`` as those of ``Case``. Impulse responses, which die out, are left out; a point that is
not better, whose derivatives are not taken, is counted as the others."""

READINGS = 2
"""Times that an evaluation reads its window."""


@dataclass(frozen=True, slots=True)
class Card:
    """A card by name, and its limits as its own attributes give them.

    Attributes
    ----------
    name : str
    instructions : float
        Double-precision instructions a second.
    bytes : float
        Bytes a second between its memory and its processors.
    """

    name: str
    instructions: float
    bytes: float


@dataclass(frozen=True, slots=True)
class Work:
    """What fitting W windows comes to on a card.

    Attributes
    ----------
    instructions, bytes : float
        Double-precision instructions, and bytes read from a card's memory.
    passes : float
        Passes with derivatives a window, over all its searches.
    lanes : float
        Share of a warp that is at work: a warp searches until its last lane has arrived.
    """

    instructions: float
    bytes: float
    passes: float
    lanes: float

    def least_s(self, limits: Card) -> float:
        """Return the seconds that the card needs at the least, were all its lanes at work."""
        return max(self.instructions / limits.instructions, self.bytes / limits.bytes)


def main() -> int:
    """Measure what there is to measure with, and say what was not."""
    asked = options(__doc__)
    found = find_card()
    named = "no card was at hand: its side is not measured" if found is None else found.name
    print(f"card: {named}")
    promises: list[Promise] = []
    n_windows = n_folds = 2_000 if asked.quick else 100_000
    n_sample, n_sample_folds = (400, 20) if asked.quick else (4_000, 200)
    rows = [_garch(case, n_windows, n_sample, found, promises) for case in CASES]
    print_table(f"GARCH, {n_windows:,} windows of {LENGTH} returns: fit and 20 steps", rows)
    arima = [_arima(order, n_windows, n_sample, found, promises) for order in ORDERS]
    print_table(f"ARMA, {n_windows:,} windows of {LENGTH} returns: fit and last residuals", arima)
    samossa = [_samossa(n_folds, n_sample_folds, found, promises)]
    print_table(f"SAMoSSA, {n_folds:,} folds of 20 series x {LENGTH} prices", samossa)
    if found is None:
        print(f"promises: {ABSENT}")
    figures = {"card": named, "garch": rows, "arima": arima, "samossa": samossa}
    return conclude(asked, figures, promises)


def find_card() -> Card | None:
    """Return the card of this machine, or None where there is none or CuPy is missing."""
    try:
        card("benchmark", instead="no card")
    except EngineError:
        return None
    cupy: Any = importlib.import_module("cupy")
    device = cupy.cuda.Device()
    has = device.attributes
    name = cupy.cuda.runtime.getDeviceProperties(device.id)["name"].decode()
    # 64 units a multiprocessor in the cards for computing (8.0, 9.0), two in the others.
    units = 64 if device.compute_capability in {"80", "90"} else 2
    clock, memory_clock = 1e3 * has["ClockRate"], 1e3 * has["MemoryClockRate"]
    return Card(
        name,
        units * has["MultiProcessorCount"] * clock,
        2.0 * memory_clock * has["GlobalMemoryBusWidth"] / 8.0,
    )


class _Counted:
    """The processor as an engine, which notes the steps of every search."""

    def __init__(self, windows: FloatArray, form: Form) -> None:
        self._host = garch.Host(windows, form)
        self.searches: list[np.ndarray[Any, np.dtype[np.int64]]] = []

    def survey(self, grid: FloatArray) -> tuple[FloatArray, FloatArray]:
        self.n_points = len(grid)
        return self._host.survey(grid)

    def search(self, *given: Any) -> Any:
        found = self._host.search(*given)
        self.searches.append(found[2])
        return found


def counted(windows: FloatArray, case: Case, n_windows: int) -> Work:
    """Count what a sample needs, and return it for ``n_windows``."""
    engine = _Counted(windows, case.form)
    garch.estimate(engine, case.form, windows.shape[1])
    passes = sum(int(steps.sum()) for steps in engine.searches) / len(windows)
    held = sum(int(_by_warp(steps).max(axis=1).sum()) * WARP for steps in engine.searches)
    readings = -(-engine.n_points // on_card.AT_ONCE) + passes + 3  # scaled, and filtered once
    sessions = float(n_windows * windows.shape[1])
    instructions = case.survey * engine.n_points + case.search * passes
    return Work(
        sessions * instructions, 8.0 * sessions * readings, passes, passes * len(windows) / held
    )


def _by_warp(steps: "np.ndarray[Any, np.dtype[np.int64]]") -> "np.ndarray[Any, np.dtype[np.int64]]":
    whole: np.ndarray[Any, np.dtype[np.int64]] = np.pad(steps, (0, -len(steps) % WARP))
    return whole.reshape(-1, WARP)


def _garch(
    case: Case, n_windows: int, n_sample: int, found: Card | None, promises: list[Promise]
) -> dict[str, object]:
    sample = return_windows(LENGTH, n_sample).values
    with one_core():
        fit_and_filter(garch, sample[:8], case.form)  # compiles
        (ours,) = turns(partial(fit_and_filter, garch, sample, case.form), repeats=N_TURNS)
    two_cores = 0.5 * ours.per(len(sample)) * n_windows
    work = counted(sample, case, n_windows)
    row: dict[str, object] = {
        "model": case.name,
        "us a window, one core": 1e6 * ours.per(len(sample)),
        "spread": ours.spread,
        "two cores, s": two_cores,
        "passes": work.passes,
        "lanes at work": work.lanes,
        "card, s": ABSENT,
        "times two cores": ABSENT,
        "share of limit": ABSENT,
    }
    if found is not None:
        windows = many_windows(n_windows)
        theirs = walls(partial(fit_and_filter, on_card, windows, case.form))
        row["card, s"], row["times two cores"] = theirs.median, two_cores / theirs.median
        row["share of limit"] = work.least_s(found) / theirs.median
        apart = on_card.fit(sample, case.form).loglik / garch.fit(sample, case.form).loglik - 1.0
        promises.append(
            Promise(f"{case.name}: log-likelihoods of card and processor apart",
                    float(np.abs(apart).max()), SAME_LOGLIK, "<=")
        )  # fmt: skip
    return row


class _CountedArma(arma.Host):
    """The processor as an engine, which notes the evaluations of every search."""

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self.searches: list[np.ndarray[Any, np.dtype[np.int64]]] = []

    def climb(self, jobs: arma.Jobs, starts: FloatArray, *, most: int, exact: bool) -> FloatArray:
        found = super().climb(jobs, starts, most=most, exact=exact)
        each = 1.0 + exact * jobs.free().sum(axis=1)  # second derivatives are differences
        self.searches.append(((1.0 + found[:, 9]) * each).astype(np.int64))
        return found


def counted_arma(windows: FloatArray, order: Order, n_windows: int) -> Work:
    """Count what the searches of a sample need, and return it for ``n_windows``."""
    jobs = _jobs(len(windows), order)
    engine = _CountedArma(Table.of(list(windows), jobs.constant))
    arma.estimate(engine, jobs)
    passes = sum(int(steps.sum()) for steps in engine.searches) / len(windows)
    held = sum(int(_by_warp(steps).max(axis=1).sum()) * WARP for steps in engine.searches)
    sessions = float(n_windows * windows.shape[1])
    return Work(
        EVALUATION * sessions * passes,
        8.0 * READINGS * sessions * passes,
        passes,
        passes * len(windows) / held,
    )


def _jobs(n_windows: int, order: Order) -> arma.Jobs:
    every = np.arange(n_windows)
    return arma.Jobs(
        every,
        np.full(n_windows, order.p),
        np.full(n_windows, order.q),
        np.zeros(n_windows, np.bool_),
    )


def _arima(
    order: Order, n_windows: int, n_sample: int, found: Card | None, promises: list[Promise]
) -> dict[str, object]:
    name = f"ARMA({order.p},{order.q})"
    sample = return_windows(LENGTH, n_sample).values
    with one_core():
        fit_and_end(arma, sample[:8], order)  # compiles
        (ours,) = turns(partial(fit_and_end, arma, sample, order), repeats=N_TURNS)
    two_cores = 0.5 * ours.per(len(sample)) * n_windows
    work = counted_arma(sample, order, n_windows)
    row: dict[str, object] = {
        "model": name,
        "us a window, one core": 1e6 * ours.per(len(sample)),
        "spread": ours.spread,
        "two cores, s": two_cores,
        "passes": work.passes,
        "lanes at work": work.lanes,
        "card, s": ABSENT,
        "times two cores": ABSENT,
        "share of limit": ABSENT,
    }
    if found is not None:
        windows = many_windows(n_windows)
        theirs = walls(partial(fit_and_end, arma_on_card, windows, order))
        row["card, s"], row["times two cores"] = theirs.median, two_cores / theirs.median
        row["share of limit"] = work.least_s(found) / theirs.median
        both = [
            kernel.fit_arma(list(sample), _jobs(len(sample), order)).loglik
            for kernel in (arma_on_card, arma)
        ]
        promises.append(
            Promise(f"{name}: log-likelihoods of card and processor apart",
                    float(np.abs(both[0] / both[1] - 1.0).max()), SAME_LOGLIK, "<=")
        )  # fmt: skip
    return row


def fit_and_end(kernel: Any, windows: FloatArray, order: Order) -> FloatArray:
    """Return the last residuals of each window, from which a forecast goes on."""
    held = list(windows)
    fits = kernel.fit_arma(held, _jobs(len(held), order))
    last: FloatArray = kernel.last_residuals(held, fits.ar, fits.ma, fits.mean)
    return last


def fit_and_filter(kernel: Any, windows: FloatArray, form: Form) -> FloatArray:
    """Return the expected variances of the sessions after each window."""
    fits = kernel.fit(windows, form)
    ahead: FloatArray = kernel.filter_variances(windows, fits.parameters, form, n_steps=N_STEPS)
    return ahead


@cache
def many_windows(most: int) -> FloatArray:
    """Return up to ``most`` windows of the bundled shares, evenly spread, a session apart or more.

    Shape (W, 1000), percent log returns.
    """
    change = 100.0 * np.diff(np.log(panel("us_equities").close), axis=1)
    n_missing = np.cumsum(np.pad(np.isnan(change), ((0, 0), (1, 0))), axis=1)
    whole = np.argwhere(n_missing[:, LENGTH:] == n_missing[:, :-LENGTH])
    chosen = np.linspace(0, len(whole) - 1, min(most, len(whole))).astype(np.int64)
    tickers, starts = whole[np.unique(chosen)].T
    every = np.lib.stride_tricks.sliding_window_view(change, LENGTH, axis=1)
    windows: FloatArray = every[tickers, starts]
    return windows


def _samossa(
    n_folds: int, n_sample: int, found: Card | None, promises: list[Promise]
) -> dict[str, object]:
    plan = _folds()
    sample = plan[:n_sample]
    with one_core():
        forecast_all("numpy", plan[:2], 2)
        (ours,) = turns(partial(forecast_all, "numpy", sample, len(sample)), repeats=N_TURNS)
    two_cores = 0.5 * ours.per(len(sample)) * n_folds
    row: dict[str, object] = {
        "model": "rank 1, calibrated (the default)",
        "us a fold, one core": 1e6 * ours.per(len(sample)),
        "spread": ours.spread,
        "two cores, s": two_cores,
        "card, s": ABSENT,
        "times two cores": ABSENT,
    }
    if found is not None:
        theirs = walls(partial(forecast_all, "cupy", plan, n_folds))
        row["card, s"], row["times two cores"] = theirs.median, two_cores / theirs.median
        batches = [forecast_all(engine, sample, len(sample)) for engine in ("cupy", "numpy")]
        apart = batches[0].variance / batches[1].variance - 1.0
        promises.append(
            Promise("SAMoSSA: variances of card and processor apart",
                    float(np.nanmax(np.abs(apart))), SAME_MOMENTS, "<=")
        )  # fmt: skip
    return row


@cache
def _folds() -> FoldPlan:
    """Return a fold a session of the bundled shares, each refitted."""
    settings = FoldSettings.model_validate(
        {"input_size": LENGTH, "step_size": 1, "steps": list(STEPS)}
    )
    return build_folds(panel("us_equities").sessions, settings)


def forecast_all(engine: str, plan: FoldPlan, n_folds: int) -> ForecastBatch:
    """Forecast ``n_folds`` folds, going round the plan as often as it takes; return the last."""
    forecaster = ForecasterSpec.parse({"name": "samossa", "engine": engine}).build()
    prices, left = panel("us_equities"), n_folds
    while True:
        part = plan[: min(left, len(plan))]
        batch = forecast_folds(forecaster, prices, part, lambda _: np.random.default_rng(0))
        left -= len(part)
        if left <= 0:
            return batch


def walls(work: Callable[[], object]) -> Sample:
    """Return the wall seconds of ``work``, which ends when its results are on the host."""
    work()
    seconds = []
    for _ in range(N_TURNS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return Sample(tuple(seconds))


if __name__ == "__main__":
    sys.exit(main())
