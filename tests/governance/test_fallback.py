"""The drill of a fallback on panels where not every ticker can be forecast."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from conftest import walk
from governance_cases import passing

from pmx_ray.backtest.settings import SweepSettings
from pmx_ray.backtest.sweep import Sweep
from pmx_ray.data.bundled import BundledSettings
from pmx_ray.data.panel import Panel
from pmx_ray.folds import FoldSettings, build_folds
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.governance.fallback import exercise

RANDOM_WALK = ForecasterSpec.parse({"name": "random_walk"})
NOW = datetime(2024, 6, 1, tzinfo=UTC)
FOLDS = FoldSettings(input_size=100, step_size=10, steps=(5,))


def drilled(*, priced):
    """Return the drill at the last of 240 sessions that leave an outcome; ``priced`` a ticker."""
    whole = walk("ABC", 240)
    close = np.full_like(whole.close, np.nan)
    for n, sessions in enumerate(priced):
        close[n, sessions] = whole.close[n, sessions]
    panel = Panel(whole.calendar, whole.tickers, whole.sessions, close)
    settings = SweepSettings(
        name="drill",
        panel=BundledSettings(name="us_equities"),
        folds=FOLDS,
        forecasters=({"name": "random_walk"},),
    )
    plan = build_folds(panel.sessions, FOLDS)
    assert plan.cutoff[-1] == 229
    sweep = Sweep(Path("nowhere"), settings, panel, {}, plan, (RANDOM_WALK,))
    return exercise(sweep, RANDOM_WALK, at=NOW)


def passes(found):
    changed = {"n_served": found.n_served, "n_asked": found.n_asked}
    decision = passing().with_facts(fallback=changed).decide()
    return not decision.failed


ALL = slice(None)


def test_exercise_when_every_ticker_trades_then_every_one_is_asked_for():
    found = drilled(priced=[ALL, ALL, ALL])
    assert (found.n_served, found.n_asked) == (3, 3)
    assert passes(found)


def test_exercise_when_a_ticker_was_delisted_then_not_asked_for():
    found = drilled(priced=[ALL, slice(0, 229), ALL])
    assert (found.n_served, found.n_asked) == (2, 2)
    assert passes(found)


def test_exercise_when_a_ticker_was_listed_at_the_cutoff_or_later_then_not_asked_for():
    found = drilled(priced=[ALL, slice(229, None), slice(230, None)])
    assert (found.n_served, found.n_asked) == (1, 1)


def test_exercise_when_a_price_lies_before_the_context_alone_then_not_asked_for():
    found = drilled(priced=[ALL, ALL, slice(0, 130)])  # the context is 130 to 229
    assert (found.n_served, found.n_asked) == (2, 2)


def test_exercise_when_a_ticker_that_trades_is_not_served_then_the_drill_fails():
    found = drilled(priced=[ALL, ALL, slice(228, None)])  # two closes: too few to fit
    assert (found.n_served, found.n_asked) == (2, 3)
    assert not passes(found)


def test_exercise_when_nothing_trades_then_nothing_was_asked_and_the_check_fails():
    found = drilled(priced=[slice(0, 200)] * 3)
    assert (found.n_served, found.n_asked) == (0, 0)
    assert not passes(found)
