"""What one more day of data costs, and what running again costs, against the whole sweep.

    python -m benchmarks.incremental [--quick] [--json PATH] [--check]

Promises, as ratios of CPU seconds measured side by side in one process on one core:

* one more session costs at most ``DAY_SHARE`` folds' worth of the whole sweep;
* the same sweep again fits nothing, and costs at most ``AGAIN_SHARE`` of it.
"""

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog
from rich.console import Console
from rich.table import Table

from pmx_ray.backtest import sweep as folder_of
from pmx_ray.backtest.executor import run_in_process
from pmx_ray.backtest.settings import SweepSettings
from pmx_ray.lake import BlockStore, open_store

DAY_SHARE = 3.0
"""Folds' worth of the whole sweep that one more session may cost: its fold, a fit that serves it
where the fold itself does not refit, and planning."""

AGAIN_SHARE = 0.10
"""Share of the whole sweep that running it again may cost."""


def settings(n_sessions: int, n_tickers: int) -> SweepSettings:
    """Return a daily sweep of GARCH on simulated prices."""
    panel = {
        "source": "simulated", "kind": "garch",
        "n_tickers": n_tickers, "n_sessions": n_sessions, "seed": 3,
    }  # fmt: skip
    return SweepSettings.model_validate(
        {
            "name": "incremental",
            "panel": panel,
            "folds": {"input_size": 500, "step_size": 1, "steps": [1, 5]},
            "forecasters": [{"name": "garch"}, {"name": "garch", "dist": "t"}],
        }
    )


def run(sweep: folder_of.Sweep, store: BlockStore) -> int:
    """Plan and run a sweep; return how many folds x tickers x specs were computed."""
    plan, _ = folder_of.outline(sweep, store)
    settled = list(run_in_process(sweep.panel, sweep.plan, plan.todo, store=store))
    return sum(len(row.block.tickers) * (row.block.stop - row.block.first) for row in settled)


def timed(work: Callable[[], int]) -> tuple[float, int]:
    """Return the CPU seconds of ``work`` and what it returned."""
    started = time.process_time()
    answer = work()
    return time.process_time() - started, answer


def measure(n_folds: int, n_tickers: int) -> dict[str, float]:
    """Return CPU seconds and fitted cells of a sweep, of one more day, and of the same again."""
    n_sessions = 500 + n_folds + 4
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"{folder}/lake")
        longer = folder_of.prepare(
            settings(n_sessions + 1, n_tickers), root=Path(folder), clock=lambda: NOW
        )
        whole = folder_of.Sweep(
            longer.folder, longer.settings, longer.panel.window(0, n_sessions), longer.quality,
            longer.plan[:n_folds], longer.specs,
        )  # fmt: skip
        first = folder_of.Sweep(
            longer.folder, longer.settings, longer.panel.window(0, 600), longer.quality,
            longer.plan[:1], longer.specs,
        )  # fmt: skip
        run(first, open_store(f"{folder}/warm"))  # imports and caches, outside of the measure
        whole_s, whole_cells = timed(lambda: run(whole, store))
        again_s, again_cells = timed(lambda: run(whole, store))
        day_s, day_cells = timed(lambda: run(longer, store))
    return {
        "folds": n_folds,
        "tickers": n_tickers,
        "specs": len(whole.specs),
        "whole_s": whole_s,
        "whole_cells": whole_cells,
        "again_s": again_s,
        "again_cells": again_cells,
        "again_share": again_s / whole_s,
        "day_s": day_s,
        "day_cells": day_cells,
        "day_folds_worth": day_s / whole_s * n_folds,
    }


NOW = datetime(2100, 1, 1, tzinfo=UTC)


def main() -> int:
    """Measure, print, and judge where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="under a minute")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--check", action="store_true", help="exit 1 where a promise is missed")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    found = measure(*((40, 6) if arguments.quick else (120, 20)))
    table = Table("what", "CPU s", "cells fitted", "promise", "found")
    table.add_row("whole sweep", f"{found['whole_s']:.2f}", f"{found['whole_cells']:,}")
    table.add_row(
        "one more day", f"{found['day_s']:.2f}", f"{found['day_cells']:,}",
        f"<= {DAY_SHARE:g} folds' worth", f"{found['day_folds_worth']:.2f}",
    )  # fmt: skip
    table.add_row(
        "the same again", f"{found['again_s']:.2f}", f"{found['again_cells']:,}",
        f"<= {AGAIN_SHARE:g} of it", f"{found['again_share']:.3f}",
    )  # fmt: skip
    Console(width=100).print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    kept = (
        found["day_folds_worth"] <= DAY_SHARE
        and found["again_share"] <= AGAIN_SHARE
        and found["again_cells"] == 0
        and found["day_cells"] == found["specs"] * found["tickers"]
    )
    return 1 if arguments.check and not kept else 0


if __name__ == "__main__":
    sys.exit(main())
