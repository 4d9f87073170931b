"""How time and memory grow: with tickers, folds, sessions and specs, and at a million cells.

    python -m benchmarks.scale [--quick] [--json PATH] [--check]

Growth is measured at one, two and four times a size: its exponent is ``log2(t4 / t2)``, 1 where
time is linear and less where a fixed cost still counts. The full mode then runs ``pmx sweep`` as a
person would, 500 simulated tickers x 250 folds x 5 forecasters x 3 steps, and opens its report in a
browser. Seconds of growth are processor time of this process; those of the large sweep are wall
time of the command, and its memory is the most that the driver held at once.
"""

import logging
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import structlog
import yaml

from benchmarks.measuring import (
    Promise,
    conclude,
    one_core,
    options,
    print_table,
    side_by_side,
)
from pmx_ray.backtest import sweep as folder_of
from pmx_ray.backtest.executor import run_in_process
from pmx_ray.backtest.outcome import compare_sweep, evaluate_sweep
from pmx_ray.backtest.settings import SweepSettings
from pmx_ray.lake import open_store

LINEAR = 1.15
"""Most that the exponent of growth may be."""

MAX_MINUTES = 10.0
"""Wall time of the large sweep, on two cores."""

MAX_DRIVER_MB = 1500.0
"""Memory of its driver."""

MAX_GROWTH_MB = 100.0
"""What the driver may hold more for four times the folds, beside the prices themselves."""

MAX_OPEN_S = 3.0
"""Seconds in which its report is open and drawn."""

MODELS: tuple[Mapping[str, object], ...] = (
    {"name": "ewma_variance"},
    {"name": "garch"},
    {"name": "sarimax", "order": [1, 1, 1]},
    {"name": "samossa"},
)
"""What the large sweep compares with the random walk."""

NOW = datetime(2100, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Size:
    """N tickers, F folds, T sessions a fit sees, S specs beside the random walk."""

    tickers: int = 80
    folds: int = 80
    sessions: int = 250
    specs: int = 2

    def settings(self, models: Sequence[Mapping[str, object]] = ()) -> dict[str, object]:
        """Return a sweep of this size on simulated prices, a fold a session."""
        cheap = [{"name": "sample_variance", "window": 100 + n} for n in range(self.specs)]
        return {
            "name": "scale",
            "panel": {
                "source": "simulated", "kind": "garch", "seed": 3, "n_tickers": self.tickers,
                "n_sessions": self.sessions + self.folds + 19,
            },
            "folds": {"input_size": self.sessions, "step_size": 1, "steps": [1, 5, 20]},
            "forecasters": [dict(model) for model in models] or cheap,
            "accepted_failures": ["explosive", "not_converged"],
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ran:
    """One run of the command: wall and processor seconds, most memory of the driver, its folder."""

    wall_s: float
    cpu_s: float
    driver_mb: float
    folder: Path


def work(size: Size) -> None:
    """Plan, run, evaluate and compare a sweep in this process."""
    settings = SweepSettings.model_validate(size.settings())
    with tempfile.TemporaryDirectory() as root:
        sweep = folder_of.prepare(settings, root=Path(root), clock=lambda: NOW)
        store = open_store(sweep.lake_url)
        plan, _ = folder_of.outline(sweep, store)
        folder_of.save(sweep)
        settled = list(run_in_process(sweep.panel, sweep.plan, plan.todo, store=store))
        folder_of.save_receipts(sweep, settled)
        evaluate_sweep(sweep, store)
        compare_sweep(sweep, store)


def growth(base: Size, repeats: int) -> list[dict[str, object]]:
    """Return processor seconds at one, two and four times the size in each direction."""
    work(replace(base, tickers=2, folds=2))  # imports and caches, outside of the measure
    rows: list[dict[str, object]] = []
    for name, value in asdict(base).items():
        sizes = [replace(base, **{name: times * value}) for times in (1, 2, 4)]
        samples = side_by_side(*(partial(work, size) for size in sizes), repeats=repeats)
        t1, t2, t4 = (sample.median for sample in samples)
        rows.append(
            {
                "what": name,
                "sizes": ", ".join(str(times * value) for times in (1, 2, 4)),
                "t1": t1,
                "t2": t2,
                "t4": t4,
                "exponent": math.log2(t4 / t2),
            }
        )
    return rows


def command(size: Size, models: Sequence[Mapping[str, object]], root: Path, *where: str) -> Ran:
    """Run ``pmx sweep`` as a process of its own."""
    path = root / "sweep.yaml"
    path.write_text(yaml.safe_dump(size.settings(models)), encoding="utf-8")
    words = ["sweep", str(path), "--out", str(root / "runs"), *where]
    environment = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "PMX_HOME")}
    started = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-c", "from pmx_ray.cli import main; main()", *words], env=environment
    )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)  # else Popen would wait for it again
    wall_s = time.perf_counter() - started
    if child.returncode != 0:
        raise SystemExit(f"pmx sweep ended with {child.returncode}")
    (folder,) = (root / "runs").glob("scale-*")
    return Ran(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, folder)


def seconds_to_open(page: Path) -> float | None:
    """Return how long a browser takes to load a report and draw it; None where there is none."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        return None
    from selenium import webdriver  # noqa: PLC0415 - in the extra `dev` only
    from selenium.webdriver.chrome.service import Service  # noqa: PLC0415
    from selenium.webdriver.support.ui import WebDriverWait  # noqa: PLC0415

    flags = webdriver.ChromeOptions()
    flags.binary_location = chromium
    with tempfile.TemporaryDirectory() as profile:
        for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     "--window-size=1400,900", f"--user-data-dir={profile}"):  # fmt: skip
            flags.add_argument(flag)
        browser = webdriver.Chrome(options=flags, service=Service(driver))
        try:
            browser.get("about:blank")
            taken = []
            for _ in range(3):
                started = time.perf_counter()
                browser.get(page.as_uri())  # returns after the load event
                WebDriverWait(browser, 60, poll_frequency=0.02).until(
                    lambda b: b.execute_script("return document.documentElement.dataset.ready")
                )
                taken.append(time.perf_counter() - started)
        finally:
            browser.quit()
    return sorted(taken)[1]


def large(root: Path) -> tuple[dict[str, object], list[Promise]]:
    """Run the large sweep and open its report; and again in process with a quarter of the folds."""
    (root / "large").mkdir()
    (root / "short").mkdir()
    (root / "long").mkdir()
    size = Size(tickers=500, folds=250, sessions=500)
    ran = command(size, MODELS, root / "large")
    here = ("--address", "in-process")
    cheap = MODELS[:1]
    short = command(replace(size, folds=125), cheap, root / "short", *here)
    long = command(replace(size, folds=500), cheap, root / "long", *here)
    prices_mb = 4 * 500 * 375 * 8 / 2**20  # four copies of the sessions that came on top
    found: dict[str, object] = {
        "cells": 500 * 250 * 5 * 3,
        "wall_s": ran.wall_s,
        "driver_mb": ran.driver_mb,
        "driver_mb_125_folds": short.driver_mb,
        "driver_mb_500_folds": long.driver_mb,
        "page_mb": (ran.folder / "report.html").stat().st_size / 1e6,
    }
    promises = [
        Promise("minutes of the large sweep", ran.wall_s / 60, MAX_MINUTES, "<="),
        Promise("MB of its driver", ran.driver_mb, MAX_DRIVER_MB, "<="),
        Promise(
            "MB more for 500 folds than for 125",
            long.driver_mb - short.driver_mb - prices_mb,
            MAX_GROWTH_MB,
            "<=",
        ),
    ]
    opened = seconds_to_open(ran.folder / "report.html")
    if opened is not None:
        found["open_s"] = opened
        promises.append(Promise("seconds to open its report", opened, MAX_OPEN_S, "<="))
    return found, promises


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure growth and, but for ``--quick``, the large sweep; print, and judge where asked to."""
    asked = options(__doc__, arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with one_core():
        base = Size() if asked.quick else Size(tickers=200, folds=100)
        rows = growth(base, repeats=1 if asked.quick else 3)
    print_table("processor seconds at one, two and four times a size", rows)
    figures: dict[str, object] = {"base": asdict(base), "growth": rows}
    promises = [
        Promise(f"exponent of {row['what']}", float(str(row["exponent"])), LINEAR, "<=")
        for row in rows
    ]
    if not asked.quick:
        with tempfile.TemporaryDirectory() as root:
            found, more = large(Path(root))
        print_table("the large sweep", [found])
        figures["large"] = found
        promises += more
    return conclude(asked, figures, promises)


if __name__ == "__main__":
    sys.exit(main())
