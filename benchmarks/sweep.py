"""One plan in this process, and on Ray with one and two workers: what is lost around the fits.

    python -m benchmarks.sweep [--quick] [--json PATH] [--check]

The models are those of ``benchmarks.scale``. The full plan holds minutes of work; ``--quick`` is
too small to judge workers by and judges only the share of processor time that goes to anything but
fits: cutting prices, building tables, writing blocks. Workers are judged on a running cluster,
their own start included; what Ray takes to start one here, once a session, stands in a column of
its own.
Wall times need two idle cores; a busy machine shows in the share of a core that the run in this
process got, and where that is below ``MIN_SHARE`` no wall time is judged.
"""

import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import structlog

from benchmarks.measuring import Promise, conclude, one_core, options, print_table
from benchmarks.scale import MODELS, NOW, Size
from pmx_ray.backtest import runner
from pmx_ray.backtest import sweep as folder_of
from pmx_ray.backtest.blocks import BlockPlan
from pmx_ray.backtest.dispatch import DispatchPolicy
from pmx_ray.backtest.executor import run_in_process
from pmx_ray.backtest.settings import SweepSettings
from pmx_ray.backtest.sweep import Sweep
from pmx_ray.lake import open_store
from pmx_ray.remote.token import use_token

FULL, QUICK = (
    Size(tickers=500, folds=1320, sessions=1000),
    Size(tickers=160, folds=64, sessions=500),
)

MAX_OUTSIDE = 0.2
"""Share of the work in process that may go to anything but fits."""

MAX_OVER_HALF = 1.1
"""Wall time of two workers on a running cluster over half of that in process."""

WORK_S = 60.0
"""Processor seconds in process below which the start of a cluster decides: nothing is judged."""


MIN_SHARE = 0.95
"""Share of a core that the run in process must get for a wall time to mean anything."""


@dataclass(frozen=True, slots=True)
class Here:
    """The plan in this process: seconds on the wall, of the processor, and of that in fits."""

    wall_s: float
    cpu_s: float
    fits_s: float

    @property
    def outside(self) -> float:
        """Share of processor time outside fits."""
        return 1.0 - self.fits_s / self.cpu_s


@contextmanager
def timed_fits() -> Iterator[list[float]]:
    """Collect the processor seconds of each block's fits."""
    plain, taken = runner.forecast_scopes, list[float]()

    def timed(*arguments: object, **named: object) -> object:
        started = time.process_time()
        batch = plain(*arguments, **named)  # type: ignore[arg-type]
        taken.append(time.process_time() - started)
        return batch

    runner.forecast_scopes = timed  # type: ignore[assignment]
    try:
        yield taken
    finally:
        runner.forecast_scopes = plain


def in_process(sweep: Sweep, plan: BlockPlan, lake: str) -> Here:
    """Run the plan in this process, on one core."""
    with one_core(), timed_fits() as fits:
        wall, cpu = time.perf_counter(), time.process_time()
        settled = list(run_in_process(sweep.panel, sweep.plan, plan.todo, store=open_store(lake)))
        here = Here(time.perf_counter() - wall, time.process_time() - cpu, sum(fits))
    check(len(settled) == len(plan.todo))
    return here


def on_ray(sweep: Sweep, plan: BlockPlan, lake: str, n_workers: int) -> tuple[float, float]:
    """Run the plan on a local cluster; return seconds to its start, and with it to the end."""
    use_token("local")
    # Ray reads its token settings as it is imported.
    from pmx_ray.remote.cluster import WorkerPool, connected  # noqa: PLC0415
    from pmx_ray.remote.executor import run_on_ray  # noqa: PLC0415

    started = time.perf_counter()
    with connected("local", n_workers=n_workers):
        connected_s = time.perf_counter() - started
        results = run_on_ray(
            sweep.panel,
            sweep.plan,
            plan.todo,
            pools=[WorkerPool("cpu", n_workers, 0.0, {})],
            policy=DispatchPolicy(),
            lake_url=lake,
        )
        settled = list(results)
        wall_s = time.perf_counter() - started
    check(len(settled) == len(plan.todo) and all(row.receipt for row in settled))
    return connected_s, wall_s


def check(whole: bool) -> None:
    """End the benchmark if a run left blocks out: its time would mean nothing."""
    if not whole:
        raise SystemExit("a run left blocks out")


def prepared(size: Size, root: Path) -> tuple[Sweep, BlockPlan]:
    """Return a sweep and its blocks as the second run of it cuts them: sized by what they took."""
    settings = SweepSettings.model_validate(size.settings(MODELS))
    sweep = folder_of.prepare(settings, root=root, clock=lambda: NOW)
    store = open_store(sweep.lake_url)
    small = replace(size, tickers=min(40, size.tickers), folds=64)
    trial = folder_of.prepare(
        SweepSettings.model_validate(small.settings(MODELS)), root=root, clock=lambda: NOW
    )
    plan, _ = folder_of.outline(trial, store)
    settled = list(run_in_process(trial.panel, trial.plan, plan.todo, store=store))  # compiles too
    folder_of.learn_pace(trial, store, settled)
    return sweep, folder_of.outline(sweep, store)[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the plan each way, print, and judge where asked to."""
    asked = options(__doc__, arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    size = QUICK if asked.quick else FULL
    with tempfile.TemporaryDirectory() as root:
        sweep, plan = prepared(size, Path(root))
        here = in_process(sweep, plan, f"{root}/here")
        rays = {n: on_ray(sweep, plan, f"{root}/ray{n}", n) for n in (1, 2)}
    rows = [
        {
            "where": "in process",
            "wall s": here.wall_s,
            "started s": 0.0,
            "over its share": 1.0,
            "and the start": 1.0,
        }
    ]
    rows += [
        {
            "where": f"Ray, {n} worker{'s' * (n > 1)}",
            "wall s": wall_s,
            "started s": started_s,
            "over its share": (wall_s - started_s) * n / here.wall_s,
            "and the start": wall_s * n / here.wall_s,
        }
        for n, (started_s, wall_s) in rays.items()
    ]
    print_table(f"{len(plan.todo)} blocks, {sweep.n_cells:,} cells", rows)
    share = here.cpu_s / here.wall_s
    print(
        f"processor {here.cpu_s:.1f} s in process, {here.fits_s:.1f} s of it in fits, "
        f"{here.outside:.1%} outside; share of a core {share:.2f}"
    )
    promises = [Promise("share of time outside fits", here.outside, MAX_OUTSIDE, "<=")]
    n_cores = len(os.sched_getaffinity(0))
    if here.cpu_s < WORK_S or share < MIN_SHARE or n_cores < 2:
        print(
            f"two workers are not judged: it takes {WORK_S:g} s of work, {MIN_SHARE:.0%} of a core "
            f"in process and 2 cores; found {here.cpu_s:.1f} s, {share:.0%} and {n_cores}"
        )
    else:
        started_s, wall_s = rays[2]
        over = (wall_s - started_s) * 2 / here.wall_s
        promises.append(
            Promise("two workers, over half the time in process", over, MAX_OVER_HALF, "<=")
        )
    figures = {"size": asdict(size), "cells": sweep.n_cells, "blocks": len(plan.todo),
               "in_process": asdict(here), "share_of_a_core": share, "rows": rows}  # fmt: skip
    return conclude(asked, figures, promises)


if __name__ == "__main__":
    sys.exit(main())
