"""What one more day of data costs, and what running again costs, against the whole sweep.

    python -m benchmarks.incremental [--quick] [--json PATH] [--check]

Promises, as ratios of CPU seconds measured side by side in one process on one core:

* one more session costs at most ``DAY_SHARE`` folds' worth of the whole sweep;
* the same sweep again fits nothing, and costs at most ``AGAIN_SHARE`` of it.
"""

import logging
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog

from benchmarks.measuring import Promise, conclude, cpu_seconds, one_core, options, print_table
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
        cells: list[int] = []
        whole_s, again_s, day_s = (
            cpu_seconds(lambda sweep=sweep: cells.append(run(sweep, store)))  # type: ignore[misc]
            for sweep in (whole, whole, longer)
        )
        whole_cells, again_cells, day_cells = cells
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and judge where asked to."""
    asked = options(__doc__, arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with one_core():
        found = measure(*((100, 300) if asked.quick else (250, 500)))
    rows = [
        {"what": what, "CPU s": found[f"{name}_s"], "cells fitted": int(found[f"{name}_cells"])}
        for what, name in (
            ("whole sweep", "whole"), ("one more day", "day"), ("the same again", "again")
        )
    ]  # fmt: skip
    print_table(f"{found['tickers']} tickers x {found['folds']} folds", rows)
    a_day = found["specs"] * found["tickers"]
    promises = [
        Promise("the same again, share of the whole", found["again_share"], AGAIN_SHARE, "<="),
        Promise("cells fitted by the same again", found["again_cells"], 0, "<="),
        Promise("cells fitted by a day, over its own", found["day_cells"] / a_day, 1, "<="),
    ]
    if not asked.quick:  # where a fold takes some 30 ms, the few blocks of a day cost as much
        worth = found["day_folds_worth"]
        promises.append(Promise("one more day, in folds' worth", worth, DAY_SHARE, "<="))
    return conclude(asked, found, promises)


if __name__ == "__main__":
    sys.exit(main())
