from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signal_cases import panel

from pmx_ray.backtest.costs import CostSettings
from pmx_ray.ledger.signal_log import SignalRecord
from pmx_ray.signals.quality import backtest_signal_quality
from pmx_ray.stats.intervals import hit_rate_interval, resample_counts, wilson
from pmx_ray.taxonomy import Action, RiskLevel

BUY, SELL, HOLD = Action.BUY, Action.SELL, Action.HOLD
COSTS = CostSettings().build()
FIRST = date(2026, 1, 1)


@dataclass(frozen=True)
class Past:
    ticker: str
    action: Action
    day: int
    """Place of the cutoff on the panel."""
    step: int = 1
    valid: bool | None = None

    @property
    def cutoff(self):
        return FIRST + timedelta(days=self.day)


def judged(signals, closes, **changed):
    rng = np.random.default_rng(0)
    return backtest_signal_quality(signals, panel(closes), costs=COSTS, rng=rng, **changed)


CLOSES = {"AAPL": [100.0, 102.0, 102.0, 99.96], "KO": [50.0, 50.0, 49.0, np.nan]}


def test_quality_by_hand():  # proves A8, S2
    found = judged(
        [
            Past("AAPL", BUY, 0, valid=True),  # + 2 %: hit, 0.02 - 0.004 = 0.016
            Past("AAPL", BUY, 1, valid=True),  # stays: no side of right, - 0.004
            Past("AAPL", SELL, 2, valid=False),  # - 2 %: hit, 0.016
            Past("KO", BUY, 1, valid=True),  # - 2 %: miss, - 0.024
            Past("KO", HOLD, 0, valid=True),  # no trade
            Past("KO", BUY, 2, valid=None),  # no outcome: it did not trade that day
            Past("AAPL", BUY, 2, step=5, valid=True),  # no outcome yet
            Past("XOM", BUY, 2, valid=True),  # not on the panel
        ],
        CLOSES,
    )
    assert (found.n_signals, found.n_judged, found.n_passed, found.n_unknown) == (7, 6, 5, 1)
    assert found.passed_frac == pytest.approx(5 / 6)
    assert (found.n_traded, found.n_cutoffs, found.n_sided, found.n_hits) == (4, 3, 3, 2)
    assert found.hit_rate_frac == pytest.approx(2 / 3)
    assert found.net_return == pytest.approx((0.016 - 0.004 + 0.016 - 0.024) / 4)  # 10 bp
    # three cutoffs that count as one observation each, at 2/3
    assert found.hit_rate_interval == pytest.approx(wilson(2, 3, level=0.95))
    assert found.net_return_interval is None


def test_quality_looks_back_so_many_sessions_and_no_further():  # proves A8
    rising = {"AAPL": 100.0 * 1.01 ** np.arange(100)}
    past = [Past("AAPL", BUY, day, valid=day >= 70) for day in range(100)]
    found = judged(past, rising)
    assert (found.n_sessions, found.n_signals, found.n_passed) == (30, 30, 30)
    # outcomes on days 70 to 99, so cutoffs on days 69 to 98
    assert (found.n_traded, found.n_hits) == (30, 30)
    longer = judged([Past("AAPL", BUY, day, step=20) for day in range(100)], rising)
    assert longer.n_traded == 30  # cutoffs on days 50 to 79
    assert judged(past, rising, n_sessions=10).n_traded == 10


def test_quality_when_nothing_is_known_then_no_figures():
    found = judged([], CLOSES)
    assert (found.n_signals, found.n_traded) == (0, 0)
    rates = (found.passed_frac, found.hit_rate_frac, found.net_return)
    assert (*rates, found.passed_interval, found.hit_rate_interval) == (None,) * 5


def test_quality_interval_is_that_of_hits_pooled_over_tickers():  # proves A8, S2
    rng = np.random.default_rng(3)
    closes = {t: 100 * np.exp(np.cumsum(rng.normal(size=31) / 100)) for t in ("A", "B", "C")}
    found = judged([Past(t, BUY, day) for day in range(30) for t in closes], closes)
    hits = sum(np.diff(close) > 0 for close in closes.values()).astype(float)
    counts = resample_counts(30, block=4, n_resamples=1000, rng=np.random.default_rng(0))
    expected = hit_rate_interval(hits, np.full(30, 3.0), counts, level=0.95)
    assert (found.n_sided, found.n_hits) == (90, hits.sum())
    assert found.hit_rate_interval == expected  # block 4: the cube root of 30, rounded up
    low, high = found.net_return_interval
    assert low < found.net_return < high


def test_quality_when_horizons_overlap_then_few_observations():  # proves A8
    rising = {t: 100.0 * 1.01 ** np.arange(60) for t in ("A", "B", "C")}
    past = [Past(t, BUY, day, step=20) for day in range(10, 40) for t in rising]
    found = judged(past, rising)
    assert (found.n_sided, found.n_hits, found.n_cutoffs, found.n_effective) == (90, 90, 30, 1.5)
    assert found.hit_rate_interval == pytest.approx(wilson(1.5, 1.5, level=0.95))
    assert found.net_return_interval is None
    apart = judged([Past("A", BUY, day, step=20) for day in (0, 20, 39)], rising, n_sessions=60)
    assert (apart.n_cutoffs, apart.n_effective) == (3, 1.5)  # two of them overlap, by a session


@pytest.mark.parametrize("step", [5, 20])
def test_quality_when_always_long_without_skill_then_one_half_is_rarely_missed(step):  # proves A8
    rng = np.random.default_rng(step)
    n_runs, missed, n_tickers = 60, 0, 5
    for _ in range(n_runs):
        moves = rng.normal(size=(30 + step, 1)) + rng.normal(size=(30 + step, n_tickers))
        close = 100 * np.exp(np.vstack([np.zeros(n_tickers), np.cumsum(moves, axis=0)]) / 100)
        closes = {f"T{n}": column for n, column in enumerate(close.T)}
        past = [Past(t, BUY, day, step=step) for day in range(1, 31) for t in closes]
        low, high = judged(past, closes).hit_rate_interval
        missed += not low <= 0.5 <= high
    assert missed <= 9  # 15 %: 3 of 60 are nominal; before overlap counted, 15 and 35


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from(Action), st.integers(0, 19)), max_size=20))
def test_quality_when_later_prices_change_then_outcomes_known_before_do_not(drawn):
    close = 100 * np.exp(np.cumsum(np.random.default_rng(1).normal(size=40) / 100))
    past = [Past("AAPL", action, day) for action, day in drawn]
    own = judged(past, {"AAPL": close[:21]}, n_sessions=21)
    later = judged(past, {"AAPL": close}, n_sessions=40)
    assert (own.n_hits, own.n_traded, own.net_return) == (
        later.n_hits, later.n_traded, later.net_return,
    )  # fmt: skip
    assert own.n_hits <= own.n_sided <= own.n_traded <= own.n_signals == len(past)


@given(st.lists(st.sampled_from([BUY, SELL]), min_size=1, max_size=9))
def test_quality_when_every_side_is_turned_then_hits_become_misses(actions):
    close = 100 * np.exp(np.cumsum(np.random.default_rng(2).normal(size=11) / 100))
    turned = {BUY: SELL, SELL: BUY}
    own = judged([Past("A", a, day) for day, a in enumerate(actions)], {"A": close})
    other = judged([Past("A", turned[a], day) for day, a in enumerate(actions)], {"A": close})
    assert own.n_hits + other.n_hits == own.n_sided
    # what one earns the other loses, and both pay
    assert own.net_return + other.net_return == pytest.approx(-2 * COSTS.round_trip_frac)


def test_quality_takes_the_records_of_the_ledger():  # proves A8
    record = SignalRecord(
        book_id="b" * 64, ticker="AAPL", source="champion", action=BUY, risk_level=RiskLevel.LOW,
        step=1, expected_return=0.01, volatility=0.02, confidence=0.6, position_frac=0.01,
        cutoff=FIRST, model_id="m", label="drift", close=100.0, valid=True, why="By hand.",
    )  # fmt: skip
    found = judged([record], CLOSES)
    assert (found.n_hits, found.n_sided, found.n_passed) == (1, 1, 1)
    assert found.net_return == pytest.approx(0.016)
