"""Planning: what it costs to cut a sweep into blocks, against one pass of SHA-256 over its prices.

Every block's id is a hash of the prices it sees, so no plan can be cheaper than reading the prices
once; how many times that is the figure. It is measured in the three states a lake can be in: empty,
holding every block of the sweep, and holding only a block of another sweep, where each run of folds
is looked for at every length. Seconds are processor time, so a busy machine changes them little.
"""

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np

from benchmarks.measuring import (
    Promise,
    conclude,
    one_core,
    options,
    print_table,
    side_by_side,
)
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
        plan_s, pass_s = side_by_side(partial(planned, known), one_pass, repeats=repeats)
        readings.append(Reading(state, len(blocks), min(plan_s.seconds), min(pass_s.seconds)))
    return readings


def main(arguments: Sequence[str] | None = None) -> int:
    """Read every case, print it, and return 1 if ``--check`` finds the promise missed."""
    asked = options(__doc__, arguments)
    cases = CASES[:1] if asked.quick else CASES
    with one_core():
        results = [(case, read(case, repeats=3)) for case in cases]
    written = [
        {**asdict(case), "readings": [{**asdict(r), "passes": r.passes} for r in readings]}
        for case, readings in results
    ]
    for case, document in zip(cases, written, strict=True):
        title = f"{case.tickers} tickers x {case.specs} specs x {case.folds} folds"
        print_table(title, document["readings"])
    worst = max(reading.passes for _, readings in results for reading in readings)
    promise = Promise("worst, in passes over the prices", worst, PROMISED_PASSES, "<=")
    return conclude(asked, {"cases": written}, [promise])


if __name__ == "__main__":
    sys.exit(main())
