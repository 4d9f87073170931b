"""Planning: what it costs to cut a sweep into blocks, against one pass of SHA-256 over its prices.

Every block's id is a hash of the prices it sees, so no plan can be cheaper than reading the prices
once; how many times that is the figure. It is measured in the three states a lake can be in: empty,
holding every block of the sweep, and holding only a block of another sweep, where each run of folds
is looked for at every length. Seconds are processor time, so a busy machine changes them little.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pmx_ray.backtest.blocks import BlockPlan, BlockSize, plan_blocks
from pmx_ray.data.calendar import calendar_sessions
from pmx_ray.data.panel import Panel
from pmx_ray.folds import FoldPlan, FoldSettings, build_folds
from pmx_ray.forecasters.registry import ForecasterSpec

STATES = ("empty", "all known", "one foreign block")

PROMISED_PASSES = 20.0
"""Most passes over the prices that planning may cost in any state of the lake."""


@dataclass(frozen=True, slots=True)
class Case:
    """One sweep: N tickers, S specs, F folds that are refitted each time."""

    tickers: int
    specs: int = 10
    folds: int = 250
    input_size: int = 1000
    step_size: int = 5


CASES = (Case(500), Case(5000))


@dataclass(frozen=True, slots=True)
class Reading:
    """One case in one state of the lake: processor seconds, and those of the pass beside it."""

    state: str
    n_blocks: int
    plan_s: float
    pass_s: float

    @property
    def passes(self) -> float:
        """Planning in passes over the prices."""
        return self.plan_s / self.pass_s


def sweep(case: Case) -> tuple[Panel, FoldPlan, tuple[ForecasterSpec, ...]]:
    """Return seeded random walks, their folds, and historical means of different windows."""
    n_sessions = case.input_size + case.step_size * (case.folds - 1) + 1
    returns = np.random.default_rng(0).normal(0.0, 0.01, (case.tickers, n_sessions))
    tickers = tuple(f"T{n:05d}" for n in range(case.tickers))
    days = calendar_sessions("XNYS")[:n_sessions]
    panel = Panel("XNYS", tickers, days, 100.0 * np.exp(np.cumsum(returns, axis=1)))
    settings = FoldSettings(input_size=case.input_size, step_size=case.step_size, steps=(1,))
    written = [{"name": "historical_mean", "window": 30 + n} for n in range(case.specs)]
    return panel, build_folds(panel.sessions, settings), tuple(map(ForecasterSpec.parse, written))


def read(case: Case, repeats: int) -> list[Reading]:
    """Return a reading a state; the plan and the pass take turns, the best of each counts."""
    panel, plan, specs = sweep(case)

    def planned(known: frozenset[str]) -> BlockPlan:
        return plan_blocks(panel, plan, specs=specs, seed=0, size=BlockSize(), known=known)

    def one_pass() -> object:
        return hashlib.sha256(panel.close.tobytes()).digest()

    blocks = planned(frozenset()).blocks
    lakes = (frozenset[str](), frozenset(b.id for b in blocks), frozenset(["0" * 64]))
    readings = []
    for state, known in zip(STATES, lakes, strict=True):
        pairs = [(seconds(planned, known), seconds(one_pass)) for _ in range(repeats)]
        plan_s, pass_s = (min(column) for column in zip(*pairs, strict=True))
        readings.append(Reading(state, len(blocks), plan_s, pass_s))
    return readings


def seconds(work: Callable[..., object], *arguments: object) -> float:
    """Return the processor seconds of one call."""
    start = time.process_time()
    work(*arguments)
    return time.process_time() - start


def show(case: Case, readings: Sequence[Reading]) -> None:
    """Print a line a state."""
    print(f"\n{case.tickers} tickers x {case.specs} specs x {case.folds} folds")
    print(f"{'lake':18s} {'blocks':>7s} {'plan':>8s} {'pass':>8s} {'passes':>7s}")
    for r in readings:
        print(f"{r.state:18s} {r.n_blocks:7d} {r.plan_s:6.2f} s {r.pass_s:6.3f} s {r.passes:7.1f}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Read every case, print it, and return 1 if ``--check`` finds the promise missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="500 tickers only")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--check", action="store_true", help="exit 1 where the promise is missed")
    options = parser.parse_args(arguments)
    cases = CASES[:1] if options.quick else CASES
    results = [(case, read(case, repeats=3)) for case in cases]
    for case, readings in results:
        show(case, readings)
    worst = max(reading.passes for _, readings in results for reading in readings)
    verdict = "kept" if worst <= PROMISED_PASSES else "MISSED"
    print(f"\nworst {worst:.1f} passes, promised <= {PROMISED_PASSES:g}: {verdict}")
    if options.json is not None:
        document = {
            "cases": [
                {**asdict(case), "readings": [{**asdict(r), "passes": r.passes} for r in readings]}
                for case, readings in results
            ],
            "promise": {"value": worst, "limit": PROMISED_PASSES},
        }
        options.json.write_text(json.dumps(document, indent=1))
    return 1 if options.check and worst > PROMISED_PASSES else 0


if __name__ == "__main__":
    sys.exit(main())
