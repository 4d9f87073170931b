"""What came of past signals: outcomes, the figures over windows, and the table of quality."""

import re
from dataclasses import replace
from datetime import date, timedelta

import dashboard_cases as cases
import numpy as np
import pandas as pd
import pytest
from dashboard_cases import panel_of

from pmx_ray.backtest.costs import CostSettings
from pmx_ray.ledger import open_ledger
from pmx_ray.ledger.signal_log import SignalRecord
from pmx_ray.report.dashboard.history import (
    WINDOWS,
    earned_to_date,
    history_plots,
    market,
    right_to_date,
    since,
)
from pmx_ray.report.dashboard.outcomes import outcomes
from pmx_ray.report.dashboard.signals import quality_table
from pmx_ray.signals.quality import backtest_signal_quality
from pmx_ray.taxonomy import Action, RiskLevel

COSTS = CostSettings(slippage_bps=10, fee_bps=10).build()  # 0.4 % for a round trip
DAY = date(2026, 1, 5)


def signal(t, *, action=Action.BUY, expected=0.01, close=100.0, step=1, **changed):
    values = {
        "book_id": "a" * 64, "ticker": "AAA", "source": "champion", "action": action,
        "risk_level": RiskLevel.LOW, "step": step, "expected_return": expected,
        "volatility": 0.02, "confidence": 0.5, "position_frac": 0.0,
        "cutoff": DAY + timedelta(days=t), "model_id": "m", "label": "model", "close": close,
        "valid": True, "why": "By hand.",
    }  # fmt: skip
    return SignalRecord(**{**values, **changed})


def test_outcomes_when_prices_moved_then_hit_and_net_by_hand():
    made = [
        signal(0, close=100.0),
        signal(1, close=110.0, action=Action.SELL, expected=-0.01),
        signal(2, close=99.0, action=Action.HOLD, expected=0.02, valid=None),
        signal(3, close=99.0, expected=0.01),
    ]
    found = outcomes(made, panel_of(made), costs=COSTS)
    np.testing.assert_array_equal(found["hit"], [1.0, 1.0, np.nan, np.nan])
    # Bought, +10 %; sold short, -10 %, so a gain; held through no move; not come yet.
    np.testing.assert_allclose(found["net"], [0.096, 0.096, 0.0, np.nan], atol=1e-12)
    np.testing.assert_array_equal(found["trades"], [1.0, 1.0, 0.0, 1.0])
    np.testing.assert_array_equal(found["passed"], [1.0, 1.0, np.nan, 1.0])


def test_outcomes_when_price_or_cutoff_is_unknown_then_left_out():
    made = [signal(0, close=100.0), signal(1, close=101.0)]
    strange = [signal(7, ticker="ZZZ"), signal(30)]
    assert len(outcomes([*made, *strange], panel_of(made), costs=COSTS)) == 2


def test_panel_when_a_close_is_missing_then_a_gap_only_between_two_prices():
    closes = {"AAA": (100.0, None, 102.0), "BBB": (None, None, None), "CCC": (None, 50.0, None)}
    made = [
        signal(t, ticker=ticker, close=close)
        for ticker, row in closes.items()
        for t, close in enumerate(row)
    ]
    panel = panel_of(made)
    assert panel.tickers == ("AAA", "CCC")
    assert panel.gap.tolist() == [[False, True, False], [False, False, False]]


def test_quality_when_a_place_had_two_models_then_a_row_for_each_with_its_name():
    old = [signal(t, close=100.0 - t, model_id="0ld" + "0" * 9) for t in range(4)]
    new = [signal(t, close=100.0 + t, model_id="new" + "0" * 9, label="other") for t in (4, 5, 6)]
    again = replace(new[0], book_id="b" * 64, action=Action.HOLD)
    made = [*old, new[0], again, *new[1:]]
    table = re.sub(r"<[^>]+>", " ", str(quality_table(made, panel_of(made), COSTS)))
    first, second = (table.index(name) for name in ("other new00000", "model 0ld00000"))
    assert first < second
    # Of the new one's three, one was taken back for a hold and the last is not due.
    assert re.search(r"other new00000\s+30 sessions\s+100\.0%[^A-Z]*?\s1\s", table)


def test_right_to_date_when_cutoffs_weigh_differently_then_pooled():
    rows = pd.DataFrame({"cutoff": [1, 1, 1, 2, 3], "hit": [1.0, 1.0, 0.0, 0.0, np.nan]})
    np.testing.assert_allclose(right_to_date(rows), [2 / 3, 2 / 4])


def test_earned_to_date_when_step_is_five_then_a_fifth_each_cutoff():
    rows = pd.DataFrame(
        {"cutoff": [1, 1, 2, 3], "net": [0.10, 0.0, -0.05, np.nan], "step": [5, 5, 5, 5]}
    )
    np.testing.assert_allclose(earned_to_date(rows), [0.01, 0.0])


def test_market_when_held_in_equal_parts_then_mean_of_the_gains():
    made = [
        signal(t, ticker=ticker, close=close)
        for ticker, closes in (("AAA", (100.0, 110.0, 121.0)), ("BBB", (50.0, 50.0, 40.0)))
        for t, close in enumerate(closes)
    ]
    np.testing.assert_allclose(market(panel_of(made), 30), [0.0, 0.05, 0.005])
    np.testing.assert_allclose(market(panel_of(made), 2), [0.0, -0.05])


@pytest.fixture(scope="module")
def past(tmp_path_factory):
    with open_ledger(f"sqlite:///{tmp_path_factory.mktemp('past')}/l.db") as ledger:
        return cases.record_signals(ledger, 120, tickers=cases.TICKERS[:3])


def test_windows_when_drawn_then_each_reaches_as_far_back_as_it_says(past):
    panel = panel_of(past)
    found = outcomes(past, panel, costs=COSTS)
    for plot in history_plots(found, panel):
        assert list(plot.by_step) == list(WINDOWS)
        spans = [len(figure.data[0].x) for figure in plot.by_step.values()]
        assert spans[0] <= 30
        assert spans[0] < spans[1] <= 90
        assert spans[1] < spans[2] <= 120


def test_trades_when_of_a_window_then_as_the_quality_of_signals_counts_them(past):
    """The figures and the table read one log by two ways; where both speak, they agree."""
    panel = panel_of(past)
    own = [one for one in past if one.source == "champion"]
    quality = backtest_signal_quality(
        own, panel, costs=COSTS, rng=np.random.default_rng(0), n_sessions=10_000
    )
    rows = outcomes(own, panel, costs=COSTS)
    traded = rows[(rows["trades"] == 1.0) & rows["net"].notna()]
    assert quality.n_traded == len(traded)
    assert quality.net_return == pytest.approx(traded["net"].mean(), rel=1e-12)
    assert quality.n_passed == int(rows["passed"].sum())
    assert len(since(rows, panel.sessions, 30)) == 30 * 3
