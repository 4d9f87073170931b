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
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from multiprocessing import get_context

import structlog

from benchmarks.dispatching.around import WORKERS, machine_us, put, records
from benchmarks.dispatching.driver import Case, alone
from benchmarks.measuring import Promise, conclude, one_core, options, print_table

MIN_RATE = 300.0
"""Blocks a second that one driver dispatches and records."""

FLAT_MB = 0.05
"""Most that its memory may grow for 1,000 blocks, where settled blocks are let go."""

MAX_MB = 1.5
"""Most that plan, receipts and all else may take for 1,000 blocks, where they are held."""

FULL = (
    Case("4 pending", 100_000),
    Case("4 pending, held", 100_000, keep=True),
    Case("1,000 pending", 50_000, in_flight=500),
    Case("32,000 pending", 100_000, in_flight=16_000),
    Case("4 pending, real blocks", 5_000, real=True),
)
QUICK = (
    Case("4 pending, held", 8_000, keep=True),
    Case("1,000 pending", 8_000, in_flight=500),
    Case("4 pending, real blocks", 1_000, real=True),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every case, print, and judge where asked to."""
    asked = options(__doc__, arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    load = os.getloadavg()[0]
    cases = QUICK if asked.quick else FULL
    readings = [(case, alone(case)) for case in cases]
    rows = [{"case": case.name, "blocks": case.n_blocks, **asdict(r)} for case, r in readings]
    speed = ("blocks_per_s", "driver_us", "main_us", "receive_us", "submit_us", "look_ns")
    memory = ("plan_s", "plan_mb", "mb", "mb_low", "mb_high", "private_mb")
    for title, names in (
        (f"one driver, {load:.1f} busy before", ("case", "blocks", *speed, "looks_per_block")),
        ("its memory for 1,000 blocks", ("case", "blocks", *memory)),
    ):
        print_table(title, [{name: row[name] for name in names} for row in rows])
    with one_core():
        events = 5_000 if asked.quick else 50_000
        machine = [{"workers": n, "us a block": machine_us(n, events)} for n in WORKERS]
        kept = records(8_000 if asked.quick else 100_000, 200 if asked.quick else 2_000)
    print_table("the state machine alone", machine)
    print_table("records", [asdict(kept)])
    with get_context("spawn").Pool(1) as pool:
        shelf = pool.apply(put)
    print_table("a panel in the object store", [asdict(shelf)])
    figures = {"load": load, "cases": rows, "machine": machine, "records": asdict(kept),
               "panel": asdict(shelf)}  # fmt: skip
    return conclude(asked, figures, promises(rows, kept.write_s / kept.n_blocks))


def promises(rows: Sequence[dict[str, object]], write_s: float) -> list[Promise]:
    """Return what is promised of each case, with the seconds that a block's record takes."""
    made = []
    for row in rows:
        name, rate = str(row["case"]), float(str(row["blocks_per_s"]))
        if "real" in name:  # the lake's speed and not the driver's
            continue
        recorded = 1 / (1 / rate + write_s)
        made.append(Promise(f"{name}: blocks/s, recorded", recorded, MIN_RATE, ">="))
        if "held" in name:
            whole = float(str(row["plan_mb"])) + float(str(row["mb_high"]))
            made.append(Promise(f"{name}: MB a 1,000 with the plan", whole, MAX_MB, "<="))
        else:
            grown = float(str(row["mb_high"]))
            made.append(Promise(f"{name}: MB more a 1,000", grown, FLAT_MB, "<="))
    return made


if __name__ == "__main__":
    sys.exit(main())
