"""A whole plan - ARIMA of searched order, GARCH, SAMoSSA; 20 tickers - against the loop of today.

The loop is AutoARIMA of statsforecast and GARCH of arch for each ticker and fold, and a singular
value decomposition for each fold. Every fold is refitted on both sides. A sample of the loop's
fits is timed and scaled up to all of them; ours is the whole sweep in one process: planning,
forecasts and blocks written to a lake.
"""

import math
import tempfile
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.fits import garch, samossa
from benchmarks.fits.peer_environment import reported_seconds, statsforecast
from benchmarks.fits.section import ABSENT, Section, Size, number
from benchmarks.fits.windows import STEPS, demo_folds, demo_windows, evenly
from benchmarks.measuring import Promise, Sample, cpu_seconds
from pmx_ray.backtest import sweep as folder_of
from pmx_ray.backtest.executor import run_in_process
from pmx_ray.backtest.settings import SweepSettings
from pmx_ray.kernels.arma_search import Search
from pmx_ray.lake import open_store

PROMISED = 150.0
"""Times faster than the loop, where both sides fit all 16 models."""

MANNERS: tuple[tuple[Search, str], ...] = (("grid", "16 models"), ("stepwise", "stepwise"))
"""How both sides search the order; the first is promised."""

N_TURNS = 3


def measure(size: Size) -> Section:
    """Return the seconds of both sides, and their ratio."""
    n_folds = size.pick(5, 25)
    loop = loop_seconds(n_folds, size)
    missing = any(math.isnan(s) for s in loop.values())
    rows: list[dict[str, object]] = []
    for search, name in MANNERS:
        sweep = prepared(n_folds, search)
        run(sweep)
        ours = Sample(tuple(cpu_seconds(partial(run, sweep)) for _ in range(N_TURNS)))
        total = loop[f"AutoARIMA, {name}"] + loop["arch"] + loop["SVD"]
        rows.append({"search, both sides": name, "loop s": ABSENT if missing else total,
                     "ours s": ours.median, "ours spread": ours.spread,
                     "ratio": total / ours.median})  # fmt: skip
    parts: list[dict[str, object]] = [{"part": part, "s": s} for part, s in loop.items()]
    promises = [
        Promise("whole plan: times faster than the loop", number(rows[0], "ratio"),
                PROMISED, ">=")
    ]  # fmt: skip
    title = f"whole plan: 20 tickers x {n_folds} folds x 3 models, CPU s"
    tables = {title: rows, "the loop's parts, scaled up": parts}
    return Section(
        "whole_plan", tables, [] if missing and size.quick else promises,
        {"ratios": rows, "loop": loop},
    )  # fmt: skip


def prepared(n_folds: int, search: Search) -> folder_of.Sweep:
    """Return the sweep of the demo's folds with the three models."""
    specs = (
        {"name": "sarimax", "order": "auto", "d": 1, "search": search},
        {"name": "garch", "mean": "constant"},
        {"name": "samossa"},
    )
    settings = SweepSettings.model_validate(
        {
            "name": "whole",
            "panel": {"source": "bundled", "name": "us_equities"},
            "folds": {"input_size": 1000, "step_size": 40, "steps": list(STEPS),
                      "start": "2019-01-02"},
            "forecasters": list(specs),
        }
    )  # fmt: skip
    whole = folder_of.prepare(
        settings, root=Path(tempfile.gettempdir()), clock=lambda: datetime(2100, 1, 1, tzinfo=UTC)
    )
    return folder_of.Sweep(
        whole.folder, whole.settings, whole.panel, whole.quality, whole.plan[:n_folds], whole.specs
    )


def run(sweep: folder_of.Sweep) -> None:
    """Plan and run the sweep in a lake of its own.

    Raises
    ------
    RuntimeError
        If a block was given up, which would make the sweep look fast.
    """
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"{folder}/lake")
        plan, _ = folder_of.outline(sweep, store)
        for settled in run_in_process(sweep.panel, sweep.plan, plan.todo, store=store):
            if settled.receipt is None:
                raise RuntimeError(f"block {settled.block.id} gave up: {settled.reason}")


def loop_seconds(n_folds: int, size: Size) -> dict[str, float]:
    """Return the seconds of each part of the loop, scaled from a sample to all its fits."""
    levels = demo_windows(n_folds)
    windows = levels.reshape(-1, levels.shape[2])
    few = evenly(len(windows), size.pick(3, 20))
    returns = np.diff(windows[evenly(len(windows), size.pick(10, 100))], axis=1)
    panel, plan = demo_folds(n_folds)
    svd = partial(samossa.plain_folds, samossa.CASES[-1], np.log(panel.close), plan)
    n = len(windows)
    found = {
        "arch": n * cpu_seconds(lambda: [garch.arch_fit(r, garch.CASES[0]) for r in returns])
        / len(returns),
        "SVD": cpu_seconds(svd),
    }  # fmt: skip
    asked = {"order": None, "steps": list(STEPS), "windows": few}
    with statsforecast(windows / 100.0) as peer:
        for name, stepwise in (("16 models", False), ("stepwise", True)):
            spent = reported_seconds(peer, stepwise=stepwise, **asked)
            found[f"AutoARIMA, {name}"] = n * spent / len(few)
    return found
