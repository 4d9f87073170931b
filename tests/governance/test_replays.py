"""The replay of the crises, by prices and forecasts whose outcome is known in advance."""

from dataclasses import dataclass
from datetime import date

import numpy as np
import pytest
from governance_cases import passing

from pmx_ray.backtest.settings import SweepSettings
from pmx_ray.config import Settings
from pmx_ray.data.bundled import BundledSettings
from pmx_ray.data.calendar import calendar_sessions
from pmx_ray.data.panel import Panel
from pmx_ray.errors import DataError
from pmx_ray.folds import FoldSettings
from pmx_ray.forecasters.protocol import Forecast
from pmx_ray.forecasters.registry import ForecasterSpec, register
from pmx_ray.governance.replays import replays
from pmx_ray.stats.regimes import CRISES

INPUT = 60
FIRST, LAST = CRISES["crisis_2008"]


class Gives(Settings):
    """When it gives up, if ever."""

    up_from: date = date(2100, 1, 1)


@dataclass(frozen=True)
class Steady:
    """A forecast that rises, until the day that it gives up."""

    up_from: date
    seen: Panel

    def extend(self, history):
        return Steady(self.up_from, history)

    def forecast(self, steps):
        if self.seen.sessions[-1].item() >= self.up_from:
            raise DataError("gave up")
        return (Forecast(0.01 * np.array(steps, float), 1e-4 * np.array(steps, float)),)


FITTED_AT: list[date] = []
"""Last session of each fit, in the order they were made."""


@register("yielding", settings=Gives, version="1", summary="buys until it gives up")
class Yielding:
    scope = "ticker"

    def __init__(self, settings):
        self.settings = settings

    def fit(self, history, *, rng):
        FITTED_AT.append(history.sessions[-1].item())
        return Steady(self.settings.up_from, history)


def prices(tickers="AB", growth=0.001):
    """Return prices that only rise, over the crisis of 2008 and what a fit sees before it."""
    days = calendar_sessions("XNYS")
    first, stop = np.searchsorted(days, [np.datetime64(FIRST), np.datetime64(LAST) + 1])
    sessions = days[first - INPUT : stop + 30]
    close = 100.0 * np.exp(growth * np.arange(len(sessions)))
    return Panel("XNYS", tuple(tickers), sessions, np.tile(close, (len(tickers), 1)))


def replayed(panel, *, step=20, folds=None, **given):
    settings = SweepSettings(
        name="crises",
        panel=BundledSettings(name="us_equities"),
        folds=FoldSettings(input_size=INPUT, steps=(step,), **(folds or {})),
        forecasters=({"name": "random_walk"},),
    )
    spec = ForecasterSpec.parse({"name": "yielding", **given})
    of_2008, of_2020 = replays(panel, settings, spec, step=step)
    assert of_2020.n_asked == of_2020.n_cutoffs == 0  # the prices end before
    return of_2008


def verdict(replay):
    found = passing().with_facts(replays=(replay, *passing().facts.replays[1:])).decide()
    return next(check for check in found.checks if check.name == "crisis_2008")


def test_replays_when_every_cell_is_served_then_all_are_counted():
    found = replayed(prices())
    # 356 sessions from 2007-10-09 to 2009-03-09: cutoffs 0, 20, ..., 320 have their outcome inside.
    assert (found.n_cutoffs, found.n_served, found.n_asked) == (17, 34, 34)
    assert found.max_drawdown_frac == 0.0
    assert verdict(found).passed


def test_replays_when_the_forecaster_gives_up_in_the_crisis_then_counted_and_refused():
    panel = prices()
    found = replayed(panel, up_from=date(2008, 9, 1))
    inside = panel.sessions[INPUT::20][:17]
    n_before = int((inside < np.datetime64("2008-09-01")).sum())
    assert 5 < n_before < 17
    assert (found.n_cutoffs, found.n_served, found.n_asked) == (n_before, 2 * n_before, 34)
    refused = verdict(found)
    assert not refused.passed
    assert refused.value == pytest.approx(1.0 - n_before / 17)
    assert f"no forecast for {34 - 2 * n_before} of 34 cells with an outcome" in refused.sentence


def test_replays_when_nothing_is_served_then_refused_for_that_and_not_for_want_of_prices():
    found = replayed(prices(), up_from=date(2000, 1, 1))
    assert (found.n_cutoffs, found.n_served, found.n_asked) == (0, 0, 34)
    assert "gave no forecast for 34 of 34" in verdict(found).sentence


def test_replays_when_a_ticker_has_no_outcome_then_not_asked_for():
    panel = prices()
    close = panel.close.copy()
    close[1, INPUT + 101 :] = np.nan  # delisted after the sixth cutoff, at 100
    found = replayed(Panel(panel.calendar, panel.tickers, panel.sessions, close))
    assert (found.n_cutoffs, found.n_served, found.n_asked) == (17, 17 + 5, 17 + 5)


@pytest.mark.parametrize(
    ("step_size", "refit_every", "step", "apart"),
    [
        (20, 3, 1, 60),  # cutoffs come closer: more of them share a fit
        (1, 40, 20, 40),  # and further apart: fewer do
        (1, 40, 30, 30),  # 1.33 folds are one
        (1, 2, 20, 20),  # never less than a fold
    ],
)
def test_replays_when_cutoffs_are_spaced_anew_then_refits_stay_as_far_apart(
    step_size, refit_every, step, apart
):
    panel = prices("A")
    FITTED_AT.clear()
    replayed(panel, step=step, folds={"step_size": step_size, "refit_every": refit_every})
    at = np.searchsorted(panel.sessions, np.array(FITTED_AT, "datetime64[D]"))
    assert set(np.diff(at)) == {apart}


@pytest.mark.parametrize(("n_served", "passed"), [(665, True), (664, False)])
def test_crisis_when_one_cell_in_twenty_is_missing_then_the_last_that_passes(n_served, passed):
    decision = passing().with_replay("crisis_2008", n_served=n_served).decide()  # of 700
    assert [check.name for check in decision.failed] == ([] if passed else ["crisis_2008"])


@pytest.mark.parametrize(("n", "words"), [(1, "1 cutoff lies in"), (4, "4 cutoffs lie in")])
def test_crisis_when_it_has_too_few_cutoffs_then_refused_in_their_number(n, words):
    decision = passing().with_replay("crisis_2020", n_cutoffs=n).decide()
    (refused,) = decision.failed
    assert refused.name == "crisis_2020"
    assert words in refused.sentence
    assert passing().with_replay("crisis_2020", n_cutoffs=5).decide().failed == ()


def test_regime_when_it_has_one_cutoff_then_said_in_the_singular():
    decision = passing().with_comparison("regimes", regime="bear", n_cutoffs=1).decide()
    (refused,) = decision.failed
    assert "1 cutoff lies in bear markets" in refused.sentence
