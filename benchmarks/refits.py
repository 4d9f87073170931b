"""Refits: where the panel changed, beside every K folds: fits, seconds, accuracy.

    python -m benchmarks.refits [--quick] [--json PATH] [--check]

Two panels: US shares, and a simulated one whose volatility is two and a half times as large from
one session on. A fold every 5 sessions, one step ahead, train windows of 500 sessions. QLIKE is
the mean of ``log f + r^2 / f`` for a variance forecast f of a return r, so that returns of 0
count; RMSE is of returns, in basis points. Both are over the folds and tickers that every policy
has a forecast for. Seconds are of one core, fits and forecasts.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np

from benchmarks.measuring import Promise, conclude, cpu_seconds, one_core, options, print_table
from pmx_ray._typing import BoolArray
from pmx_ray.backtest.runner import forecast_scopes
from pmx_ray.data.bundled import BundledSettings
from pmx_ray.data.calendar import sessions_between
from pmx_ray.data.panel import Panel
from pmx_ray.data.sources import load_panel
from pmx_ray.folds import FoldPlan, FoldSettings, build_folds, change_alarms
from pmx_ray.forecasters.batch import ForecastBatch
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.kernels.change_points_settings import ChangeSettings

Row = dict[str, object]

VOLATILITY, RETURNS = ChangeSettings(), ChangeSettings(input="log_return")
NEVER = 10_000
"""Folds between two fits where there is to be one only."""

SPECS = {
    "GARCH(1,1)": ForecasterSpec.parse({"name": "garch"}),
    "SARIMAX(1,1,1)": ForecasterSpec.parse({"name": "sarimax", "order": (1, 1, 1)}),
    "SAMoSSA": ForecasterSpec.parse({"name": "samossa"}),
}

FEWER_FITS = 0.5
"""Fits of refit-on-change over those of refit every 4 folds that are promised at most."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Most folds that share one fit, and in what a change ends them, if in anything."""

    refit_every: int
    changes: ChangeSettings | None = None

    @property
    def name(self) -> str:
        """What the table calls it."""
        at_most = "never" if self.refit_every == NEVER else f"every {self.refit_every}"
        if self.changes is None:
            return at_most
        change = f"change in {self.changes.input.removeprefix('log_')}"
        return change if self.refit_every == NEVER else f"{at_most}, {change}"

    def plan(self, panel: Panel) -> FoldPlan:
        """Return the folds of a panel under this policy."""
        settings = FoldSettings(
            input_size=500, step_size=5, steps=(1,), refit_every=self.refit_every,
            refit_on_change=self.changes,
        )  # fmt: skip
        alarms = None if self.changes is None else change_alarms(panel, self.changes)
        return build_folds(panel.sessions, settings, alarms=alarms)


POLICIES = (
    *(Policy(n) for n in (1, 4, 12, 50, NEVER)),
    *(Policy(n, changes) for changes in (VOLATILITY, RETURNS) for n in (50, NEVER)),
)


def shares(n_tickers: int, first: date, last: date) -> Panel:
    """Return the first of the bundled US shares over some years."""
    panel, _ = load_panel(
        BundledSettings(start=first, end=last), clock=lambda: datetime.now(UTC), threshold=0.9
    )
    return panel.select(panel.tickers[:n_tickers])


def simulated(n_tickers: int, quiet: int, after: int) -> Panel:
    """Return normal returns of 1 % a session, of 2.5 % after ``quiet`` sessions."""
    size = np.repeat([0.01, 0.025], [quiet, after])
    returns = np.random.default_rng(6).normal(size=(n_tickers, len(size))) * size
    sessions = sessions_between("XNYS", np.datetime64("1995-01-03"), np.datetime64("2020-01-01"))
    close = 100.0 * np.exp(np.cumsum(returns, axis=1))
    names = tuple(f"S{n:02d}" for n in range(n_tickers))
    return Panel("XNYS", names, sessions[: len(size)], close)


def forecasts(panel: Panel, plan: FoldPlan, spec: ForecasterSpec) -> tuple[ForecastBatch, float]:
    """Return what a forecaster says of every fold, and the processor seconds it took."""
    scopes: tuple[tuple[str, ...], ...] = (panel.tickers,)
    if spec.build().scope == "ticker":
        scopes = tuple((ticker,) for ticker in panel.tickers)
    found: list[ForecastBatch] = []
    taken = cpu_seconds(
        lambda: found.append(forecast_scopes(panel, plan, spec, scopes=scopes, seed=0))
    )
    return found[0], taken


def compared(name: str, panel: Panel) -> list[Row]:
    """Return fits, seconds and accuracy of every policy and forecaster on a panel."""
    rows: list[Row] = []
    plans = {policy.name: policy.plan(panel) for policy in POLICIES}
    for label, spec in SPECS.items():
        batches = {policy: forecasts(panel, plan, spec) for policy, plan in plans.items()}
        known = np.logical_and.reduce([~np.isnan(b.mean) for b, _ in batches.values()])
        for policy, (batch, seconds) in batches.items():
            plan = plans[policy]
            rows.append({
                "panel": name, "forecaster": label, "refit": policy, "folds": len(plan),
                "fits": plan.n_fits, "seconds": seconds, **accuracy(batch, plan, panel, known),
            })  # fmt: skip
    return rows


def accuracy(batch: ForecastBatch, plan: FoldPlan, panel: Panel, known: BoolArray) -> Row:
    """Return QLIKE and RMSE over cells ``known`` (F, N, 1)."""
    log_close = np.log(panel.close)
    actual = (log_close[:, plan.cutoff + 1] - log_close[:, plan.cutoff]).T[known[..., 0]]
    mean, variance = batch.mean[known], batch.variance[known]
    return {
        "QLIKE": float(np.mean(np.log(variance) + actual**2 / variance)),
        "RMSE bp": float(1e4 * np.sqrt(np.mean((actual - mean) ** 2))),
    }


def warm(panel: Panel) -> None:
    """Compile what is compiled on a first call."""
    plan = POLICIES[-1].plan(panel)[:2]
    for spec in SPECS.values():
        forecasts(panel, plan, spec)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every policy, print, and judge where asked to."""
    asked = options(__doc__, arguments)
    if asked.quick:
        panels = {
            "US shares": shares(4, date(2005, 1, 3), date(2010, 12, 31)),
            "simulated": simulated(4, 900, 600),
        }
    else:
        panels = {
            "US shares": shares(20, date(2003, 1, 2), date(2022, 12, 28)),
            "simulated": simulated(20, 2000, 1500),
        }
    rows: list[Row] = []
    with one_core():
        warm(panels["simulated"])
        for name, panel in panels.items():
            found = compared(name, panel)
            print_table(name, [{k: v for k, v in row.items() if k != "panel"} for row in found])
            rows += found
    alarms = {
        f"{name}, {changes.input}": _dates(panel, changes)
        for name, panel in panels.items()
        for changes in (VOLATILITY, RETURNS)
    }
    for where, days in alarms.items():
        print(f"alarms, {where}: {', '.join(days)}")
    of = {(row["panel"], row["refit"]): row for row in rows if row["forecaster"] == "GARCH(1,1)"}
    most = max(
        float(str(of[name, "change in return"]["fits"])) / float(str(of[name, "every 4"]["fits"]))
        for name in panels
    )
    change, never = (
        float(str(of["simulated", refit]["QLIKE"])) for refit in ("change in return", "never")
    )
    promises = [
        Promise("fits on change over every 4", most, FEWER_FITS, "<="),
        Promise("GARCH QLIKE, on change less never", change - never, 0.0, "<="),
    ]
    return conclude(asked, {"rows": rows, "alarms": alarms}, promises)


def _dates(panel: Panel, changes: ChangeSettings) -> list[str]:
    return [str(day) for day in panel.sessions[change_alarms(panel, changes)]]


if __name__ == "__main__":
    sys.exit(main())
