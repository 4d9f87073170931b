"""Governance: how often it refuses luck, and how often it promotes skill that is there.

    python -m benchmarks.governance_power [--quick] [--json PATH] [--check]

Luck: in each replication 500 strategies without skill are tried on one series, all of them are in
the trial ledger, and the best by Sharpe ratio is put forward. Skill: a forecaster whose side is
right with a known probability is put forward alone. Both go the whole way: forecast frames,
evaluation, comparison, ledger, certificate, with the built-in policy but for the least costs.

The world: one ticker of volatility 0.5 % a session (an exchange rate), daily cutoffs, one step,
normal log returns, every forecast traded, costs 0, so that a hit rate is one net of costs;
forecasts of returns are a quarter as large as the skill would bear, as shrunken ones are. What a
simulation has no part in passes: data quality, fallback, leak audit. Crises are 126 sessions of
twice the volatility.
"""

import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import plotly.graph_objects as go

from benchmarks.measuring import Promise, conclude, options, print_table
from pmx_ray._typing import FloatArray
from pmx_ray.backtest.compare import compare
from pmx_ray.backtest.costs import CostSettings
from pmx_ray.backtest.evaluate import EvaluationSettings, evaluate
from pmx_ray.backtest.frame import build_frame
from pmx_ray.backtest.regime_table import regimes_of
from pmx_ray.backtest.settings import SweepSettings
from pmx_ray.backtest.strategy import Sleeves
from pmx_ray.data.calendar import sessions_between
from pmx_ray.data.panel import Panel
from pmx_ray.data.simulator import SimulatedSettings
from pmx_ray.folds import FoldPlan, FoldSettings, build_folds
from pmx_ray.forecasters.batch import ForecastBatch
from pmx_ray.forecasters.protocol import Status, normal_quantiles
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.governance.certify import certify
from pmx_ray.governance.decision import GovernanceDecision
from pmx_ray.governance.facts import Facts, FallbackFacts, LeakFacts, QualityFacts, ReplayFacts
from pmx_ray.governance.policy import GovernancePolicy
from pmx_ray.governance.trials import trial_facts, trials_of
from pmx_ray.ledger import open_ledger
from pmx_ray.ledger.trials import Trial, Trials, TrialSource
from pmx_ray.stats.intervals import wilson
from pmx_ray.stats.regimes import CRISES

N_TRIED, VOLATILITY, LOOK_BACK, N_CRISIS = 500, 0.005, 130, 126
HIT_RATES, LENGTHS = (0.50, 0.52, 0.54, 0.56, 0.58, 0.60, 0.62), (250, 500, 1000, 2000)
ASKED_HIT_RATE, ASKED_LENGTH = 0.58, 1000

MIN_REFUSED, MIN_PROMOTED = 0.95, 0.80
"""Shares promised: of luck refused, and of skill promoted where it is as large as asked."""

SHRUNK = 0.25
"""Size of a forecast over what the skill would bear."""

CURVE = Path("governance_power.html")
"""Where the curve is drawn."""

WALK = ForecasterSpec.parse({"name": "random_walk"})
OTHER = ForecasterSpec.parse({"name": "drift"})
"""Whose name the simulated challenger bears: its forecasts are made here."""

SETTINGS = EvaluationSettings(costs=CostSettings(slippage_bps=0, fee_bps=0), n_resamples=300)
POLICY = GovernancePolicy(min_round_trip_bps=0)
"""The built-in policy, but for the least costs: what is simulated is net of them."""

SWEEP = SweepSettings(
    name="power", panel=SimulatedSettings(), folds=FoldSettings(step_size=1, steps=(1,)),
    forecasters=({"name": "drift"},),
)  # fmt: skip
AS_OF = datetime(2030, 1, 1, tzinfo=UTC)
SESSIONS = sessions_between("XNYS", np.datetime64("2004-01-02"), np.datetime64("2014-01-02"))


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """One simulated series with its folds.

    Attributes
    ----------
    panel : Panel
        One ticker.
    plan : FoldPlan
        A cutoff a session.
    actual : ndarray of shape (T,)
        Log return after each cutoff.
    """

    panel: Panel
    plan: FoldPlan
    actual: FloatArray


def world(n: int, rng: np.random.Generator) -> World:
    """Return a world with ``n`` scored cutoffs."""
    n_sessions = LOOK_BACK + n
    returns = rng.normal(0.0, VOLATILITY, n_sessions)
    close = 100.0 * np.exp(np.cumsum(returns))[None, :]
    sessions = SESSIONS[:n_sessions]
    panel = Panel("XNYS", ("FX",), sessions, close)
    settings = FoldSettings(input_size=LOOK_BACK, step_size=1, steps=(1,))
    plan = build_folds(sessions, settings)
    return World(panel, plan, np.diff(np.log(close[0]))[plan.cutoff])


def sides(actual: FloatArray, hit_rate: float, rng: np.random.Generator) -> FloatArray:
    """Return 1 or -1 for each return, of its sign with the given probability."""
    right = rng.random(len(actual)) < hit_rate
    return np.where(right, 1.0, -1.0) * np.where(actual >= 0.0, 1.0, -1.0)


def judged(
    found: World, side: FloatArray, tried: Sequence[FloatArray], rng: np.random.Generator,
    *, hit_rate: float,
) -> GovernanceDecision:  # fmt: skip
    """Return the decision on a forecaster with these sides, after so many others were tried.

    Parameters
    ----------
    found : World
        What it forecasts.
    side : ndarray of shape (T,)
        Its sides.
    tried : sequence of ndarray of shape (T,)
        Net returns of the others, which the ledger holds.
    rng : Generator
        Draws the crises.
    hit_rate : float
        Its true hit rate, also in the crises.
    """
    claim = max(2.0 * hit_rate - 1.0, 0.1) * VOLATILITY * np.sqrt(2.0 / np.pi)
    frames = [
        (WALK, _frame(WALK, found, np.zeros(len(side)))),
        (OTHER, _frame(OTHER, found, SHRUNK * claim * side)),
    ]
    report = evaluate(frames, 1, SETTINGS, baseline=WALK.id, seed=0)
    comparison = compare(
        frames, 1, SETTINGS, baseline=WALK.id, seed=0, regimes=regimes_of(found.panel)
    )
    comparison = replace(comparison, key="simulated")
    own = trials_of(report, SWEEP, found.panel.tickers, source=TrialSource.SWEEP)
    facts = Facts(
        trials=trial_facts(_known(own, tried), own, step=1, step_size=1),
        leaks=LeakFacts(1, ()),
        replays=tuple(_crisis(name, hit_rate, rng) for name in CRISES),
        quality=QualityFacts(1.0, 0),
        fallback=FallbackFacts(WALK.id, WALK.label, AS_OF, 1, 1),
        report_key="simulated",
    )
    return certify(
        report, comparison, POLICY, facts=facts, challenger=OTHER.id,
        baseline=WALK.id, step=1, as_of=AS_OF,
    )  # fmt: skip


def _frame(spec: ForecasterSpec, found: World, mean: FloatArray) -> object:
    shape = (len(mean), 1, 1)
    moments = mean.reshape(shape), np.full(shape, VOLATILITY**2)
    bands = normal_quantiles(moments[0].ravel(), moments[1].ravel())
    batch = ForecastBatch(
        mean=moments[0],
        variance=moments[1],
        quantiles=bands.T.reshape(len(mean), 1, -1, 1),
        status=np.full((len(mean), 1), Status.OK.value),
    )
    return build_frame(spec.id, found.panel, found.plan, batch)


def _known(own: Sequence[Trial], tried: Sequence[FloatArray]) -> tuple[Trial, ...]:
    """Return what the ledger says of the slice once it was told of everything that was tried."""
    first = own[0]
    others = [
        Trial(f"tried-{n}", f"tried-{n}", f"tried {n}", 1, TrialSource.TUNE, first.tickers,
              first.cutoffs, returns)
        for n, returns in enumerate(tried)
    ]  # fmt: skip
    with (
        tempfile.TemporaryDirectory() as folder,
        open_ledger(f"sqlite:///{folder}/ledger.db") as ledger,
    ):
        trials = Trials(ledger)
        trials.record([*own, *others])
        return trials.touching(first.tickers, first=first.cutoffs[0], last=first.cutoffs[-1])


def _crisis(name: str, hit_rate: float, rng: np.random.Generator) -> ReplayFacts:
    actual = rng.normal(0.0, 2.0 * VOLATILITY, N_CRISIS)
    returns = sides(actual, hit_rate, rng) * np.expm1(actual)
    sleeves = Sleeves(1, 1)
    return ReplayFacts(
        name, N_CRISIS, float(sleeves.drawdown_frac(returns).max()),
        float(sleeves.equity(returns)[-1]) - 1.0, n_served=N_CRISIS, n_asked=N_CRISIS,
    )  # fmt: skip


def lucky(seed: int) -> tuple[str, ...]:
    """Return the checks that the best of 500 strategies without skill fails; none promotes it."""
    rng = np.random.default_rng([1, seed])
    found = world(ASKED_LENGTH, rng)
    side = np.where(rng.random((N_TRIED, len(found.actual))) < 0.5, 1.0, -1.0)
    returns = side * np.expm1(found.actual)
    best = int(np.argmax(returns.mean(axis=1) / returns.std(axis=1)))
    decision = judged(found, side[best], list(returns), rng, hit_rate=0.5)
    return tuple(check.name for check in decision.failed)


def skilled(hit_rate: float, n: int, seed: int) -> tuple[str, ...]:
    """Return the checks that a forecaster of this true hit rate fails over ``n`` cutoffs."""
    rng = np.random.default_rng([2, round(1000 * hit_rate), n, seed])
    found = world(n, rng)
    decision = judged(found, sides(found.actual, hit_rate, rng), [], rng, hit_rate=hit_rate)
    return tuple(check.name for check in decision.failed)


def main(arguments: Sequence[str] | None = None) -> int:
    """Replicate, print, draw, and judge where asked to."""
    asked = options(__doc__, arguments)
    n_luck, n_asked, n_other = (12, 12, 4) if asked.quick else (200, 200, 60)
    lengths = (ASKED_LENGTH,) if asked.quick else LENGTHS
    with get_context("spawn").Pool(2) as pool:
        luck = pool.map(lucky, range(n_luck), chunksize=4)
        grid: dict[tuple[float, int], list[tuple[str, ...]]] = {}
        for n in lengths:
            for rate in HIT_RATES:
                full = (rate, n) == (ASKED_HIT_RATE, ASKED_LENGTH)
                work: Callable[[int], tuple[str, ...]] = partial(skilled, rate, n)
                grid[rate, n] = pool.map(work, range(n_asked if full else n_other), chunksize=4)
    refused = share([bool(failed) for failed in luck])
    promoted = {key: share([not failed for failed in found]) for key, found in grid.items()}
    print_table(f"best of {N_TRIED} without skill, {ASKED_LENGTH} cutoffs", [refused])
    print_table("which checks refuse it, each alone", which(luck))
    print_table("promoted, by true hit rate and cutoffs", rows(promoted))
    print_table(
        f"which checks refuse {ASKED_HIT_RATE:.0%} at {ASKED_LENGTH:,} cutoffs",
        which(grid[ASKED_HIT_RATE, ASKED_LENGTH]),
    )
    curve(promoted).write_html(CURVE, include_plotlyjs="cdn" if asked.quick else True)
    print(f"the curve: {CURVE}")
    promises = [Promise("luck refused", refused["share"], MIN_REFUSED, ">=")]
    if not asked.quick:  # a dozen replications tell 80 % from 90 % as little as a coin does
        name = f"skill promoted, {ASKED_HIT_RATE:.0%} hits over {ASKED_LENGTH:,} cutoffs"
        found = promoted[ASKED_HIT_RATE, ASKED_LENGTH]["share"]
        promises.append(Promise(name, found, MIN_PROMOTED, ">="))
    figures = {
        "luck": refused, "luck_by_check": which(luck),
        "skill": [{"hit_rate": r, "cutoffs": n, **v} for (r, n), v in promoted.items()],
    }  # fmt: skip
    return conclude(asked, figures, promises)


def share(happened: Sequence[bool]) -> dict[str, float]:
    """Return a share with its 95 % interval."""
    n = len(happened)
    low, high = wilson(sum(happened), n, level=0.95)
    return {"share": sum(happened) / n, "low": low, "high": high, "replications": n}


def which(failed: Sequence[tuple[str, ...]]) -> list[dict[str, object]]:
    """Return how often each check failed, the most frequent first."""
    counts = Counter(name for names in failed for name in names)
    return [{"check": name, "failed": n / len(failed)} for name, n in counts.most_common()]


def rows(promoted: dict[tuple[float, int], dict[str, float]]) -> list[dict[str, object]]:
    """Return a row a hit rate, a column a number of cutoffs, with intervals."""
    lengths = sorted({n for _, n in promoted})
    return [
        {"true hit rate": rate}
        | {f"{n:,} cutoffs": "{share:.0%} [{low:.0%}, {high:.0%}]".format(**promoted[rate, n])
           for n in lengths}
        for rate in HIT_RATES
    ]  # fmt: skip


def curve(promoted: dict[tuple[float, int], dict[str, float]]) -> go.Figure:
    """Return the promotion rate over the true hit rate, a line a number of cutoffs."""
    figure = go.Figure()
    for n in sorted({n for _, n in promoted}):
        line = [promoted[rate, n] for rate in HIT_RATES]
        value, low, high = ([p[k] for p in line] for k in ("share", "low", "high"))
        figure.add_scatter(
            x=HIT_RATES, y=value, name=f"{n:,} cutoffs", mode="lines+markers",
            error_y={"type": "data", "symmetric": False,
                     "array": [h - v for h, v in zip(high, value, strict=True)],
                     "arrayminus": [v - lo for v, lo in zip(value, low, strict=True)]},
        )  # fmt: skip
    figure.update_layout(
        title="Promotion by true skill and sample size",
        xaxis={"title": "true hit rate, net of costs", "tickformat": ".0%"},
        yaxis={"title": "share promoted", "tickformat": ".0%", "range": [0, 1.02]},
        template="plotly_white",
    )
    return figure


if __name__ == "__main__":
    sys.exit(main())
