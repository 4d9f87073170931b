"""The first forecast: from an empty compile cache, and from a warm one, in fresh processes."""

import json
import os
import subprocess
import sys
import tempfile
from typing import Any

from benchmarks.fits.section import Section, Size, number
from benchmarks.fits.windows import ROOT
from benchmarks.measuring import Promise, Sample

PROMISED_EMPTY_S, PROMISED_WARM_S = 15.0, 2.0
"""Processor seconds of the forecasts of every spec of the demo, compiling included; importing the
package and reading the prices are shown beside them and not counted."""

LIMIT_S = 300
"""Seconds one process may take."""


def measure(size: Size) -> Section:
    """Return processor seconds of first forecasts, one process each."""
    with tempfile.TemporaryDirectory() as cache:
        empty = [first_forecasts(cache)]
        warm = [first_forecasts(cache) for _ in range(size.pick(1, 3))]
    rows = [_row("empty", empty), _row("warm", warm)]
    slowest = sorted(warm[0]["specs"], key=lambda label: -empty[0]["specs"][label])[:6]
    specs: list[dict[str, object]] = [
        {"spec": label, "empty s": empty[0]["specs"][label],
         "warm s": Sample(tuple(one["specs"][label] for one in warm)).median}
        for label in slowest
    ]  # fmt: skip
    promises = [
        Promise("first forecasts from an empty compile cache, CPU s",
                number(rows[0], "forecasts"), PROMISED_EMPTY_S, "<="),
        Promise("first forecasts from a warm compile cache, CPU s",
                number(rows[1], "forecasts"), PROMISED_WARM_S, "<="),
    ]  # fmt: skip
    tables = {
        "first forecast of each of the demo's specs in a fresh process, CPU s": rows,
        "of which the slowest": specs,
    }
    return Section("first_forecast", tables, promises, {"empty": empty, "warm": warm})


def first_forecasts(cache: str) -> dict[str, Any]:
    """Run one fresh process with its compile cache in ``cache``; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.fits.first_forecast"],
        env={**os.environ, "NUMBA_CACHE_DIR": cache}, cwd=ROOT, check=True, timeout=LIMIT_S,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _row(cache: str, runs: list[dict[str, Any]]) -> dict[str, object]:
    parts = {"imports": "imports_s", "prices": "prices_s", "forecasts": "forecasts_s"}
    medians: dict[str, object] = {
        name: Sample(tuple(run[key] for run in runs)).median for name, key in parts.items()
    }
    total = Sample(tuple(run["total_s"] for run in runs)).median
    return {"cache": cache, **medians, "whole process": total, "processes": len(runs)}
