"""One driver: blocks a second that it plans, dispatches and records, and the memory it takes.

    python -m benchmarks.dispatch [--quick] [--json PATH] [--check]

The driver is the real one, on a real local cluster with two workers; each case runs in a process
of its own. Prepared workers answer at once, so that the driver and Ray are all there is; with a
real worker, which computes one fold of one ticker and writes it to a folder, the lake is. Many
workers are stood for by long queues: the driver waits for as many references. Memory is what the
driver holds alone, and its growth is judged by the upper end of a 95 % interval.
Wall times need idle cores; the driver's processor time a block needs them less.
"""

import logging
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from multiprocessing import get_context

import structlog

from benchmarks.dispatching.around import WORKERS, machine_us, put, records
from benchmarks.dispatching.driver import Case, Reading, alone
from benchmarks.measuring import Promise, conclude, one_core, options, print_table

MIN_RATE = 300.0
"""Blocks a second that one driver dispatches and records."""

FLAT_MB = 0.1
"""Most that its memory may grow for 1,000 blocks, where settled blocks are let go."""

MAX_MB = 1.5
"""Most that plan, receipts and all else may take for 1,000 blocks, where they are held."""

FULL = (
    Case("4 pending", 100_000),
    Case("4 pending, held", 50_000, keep=True),
    Case("1,000 pending", 20_000, in_flight=500),
    Case("32,000 pending", 90_000, in_flight=16_000),
    Case("4 pending, real blocks", 5_000, real=True),
)
QUICK = (
    Case("4 pending, held", 3_000, keep=True),
    Case("1,000 pending", 3_000, in_flight=500),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every case, print, and judge where asked to."""
    asked = options(__doc__, arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    load = os.getloadavg()[0]
    cases = QUICK if asked.quick else FULL
    readings = list[tuple[Case, Reading]]()
    for case in cases:
        readings.append((case, alone(case)))
        print(f"{case.name}: {readings[-1][1].blocks_per_s:.0f} blocks/s", flush=True)
    rows = [
        {"case": case.name, "blocks": case.n_blocks, "pending": case.pending, **known(reading)}
        for case, reading in readings
    ]
    speed = ("blocks_per_s", "driver_us", "main_us", "receive_us", "submit_us", "look_us")
    memory = ("plan_s", "plan_mb", "mb", "mb_low", "mb_high", "private_mb")
    for title, names in (
        (f"one driver, {load:.1f} busy before", ("case", "blocks", *speed, "looks_per_block")),
        ("its memory for 1,000 blocks", ("case", "blocks", *memory)),
    ):
        print_table(title, [{name: row[name] for name in names} for row in rows])
    with one_core():
        events = 5_000 if asked.quick else 50_000
        machine = [{"workers": n, "us a block": machine_us(n, events)} for n in WORKERS]
        kept = records(4_000 if asked.quick else 100_000, 200 if asked.quick else 2_000)
    print_table("the state machine alone", machine)
    print_table("records", [asdict(kept)])
    with get_context("spawn").Pool(1) as pool:
        shelf = pool.apply(put)
    print_table("a panel in the object store", [asdict(shelf)])
    found = costs(readings)
    sets = " ".join(f"--set driver.{name}={value:.4g}" for name, value in found.items())
    print(f"a driver's costs, for: python -m cluster.simulation {sets}")
    figures = {"load": load, "cases": rows, "state_machine": machine, "records": asdict(kept),
               "panel": asdict(shelf), "costs": found}  # fmt: skip
    return conclude(asked, figures, promises(rows, (kept.write_s + kept.read_s) / kept.n_blocks))


def known(reading: Reading) -> dict[str, float | None]:
    """Return a reading's figures, None for what it could not tell."""
    return {name: None if math.isnan(x) else x for name, x in asdict(reading).items()}


def costs(readings: Sequence[tuple[Case, Reading]]) -> dict[str, float]:
    """Return what a driver pays with most pending, a look cut into what it costs by itself."""
    prepared = [(case, reading) for case, reading in readings if not case.real]
    few, fewest = min(prepared, key=lambda pair: pair[0].pending)
    many, most = max(prepared, key=lambda pair: pair[0].pending)
    each_us = (most.look_us - fewest.look_us) / (many.pending - few.pending)
    return {
        "receive_us": most.receive_us,
        "submit_us": most.submit_us,
        "other_us": most.driver_us - most.main_us,
        "look_us": fewest.look_us - each_us * few.pending,
        "look_ns": 1000 * each_us,
    }


LONG = 50_000
"""Blocks of a run from which on the growth of memory can be told from its steps."""

MANY = 10_000
"""References from which on waiting calls are what fills the memory; its growth is shown alone."""


def promises(rows: Sequence[dict[str, object]], record_s: float) -> list[Promise]:
    """Return what is promised of each case, with the seconds that a block's record takes."""
    made = []
    for row in rows:
        name, rate = str(row["case"]), float(str(row["blocks_per_s"]))
        if "real" in name:  # the lake's speed and not the driver's
            continue
        recorded = 1 / (1 / rate + record_s)
        made.append(Promise(f"{name}: blocks/s, recorded", recorded, MIN_RATE, ">="))
        if int(str(row["blocks"])) < LONG:
            continue
        if "held" in name:
            whole = float(str(row["plan_mb"])) + float(str(row["mb_high"]))
            made.append(Promise(f"{name}: MB a 1,000 with the plan", whole, MAX_MB, "<="))
        elif int(str(row["pending"])) < MANY:
            grown = float(str(row["mb_high"]))
            made.append(Promise(f"{name}: MB more a 1,000", grown, FLAT_MB, "<="))
    return made


if __name__ == "__main__":
    sys.exit(main())
