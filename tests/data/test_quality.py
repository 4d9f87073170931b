"""The gate: score, gaps, quarantine; poisoned tickers pass as data."""

import json
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmx_ray.data.calendar import sessions_after
from pmx_ray.data.panel import Panel
from pmx_ray.data.quality import GatePolicy, QualityReport, admit
from pmx_ray.data.rows import long_rows
from pmx_ray.errors import QualityError

TODAY = date(2024, 6, 3)
XNYS = GatePolicy(calendar="XNYS")
SESSIONS = sessions_after("XNYS", np.datetime64("2022-12-31"), 100)


def walk(n_tickers: int, *, seed: int = 0) -> np.ndarray:
    returns = np.random.default_rng(seed).normal(0.0, 0.01, (n_tickers, 100))
    return np.asarray(100.0 * np.exp(np.cumsum(returns, axis=1)))


def gate(close: np.ndarray, **options: Any) -> tuple[Panel, QualityReport]:
    tickers = tuple(f"T{n:02d}" for n in range(len(close)))
    n, t = np.nonzero(~np.isnan(close))
    rows = pd.DataFrame(
        {
            "date": SESSIONS[t].astype("datetime64[s]"),
            "ticker": pd.Categorical.from_codes(n, categories=pd.Index(list(tickers))),
            "close": close[n, t],
        },
        index=pd.RangeIndex(1, len(n) + 1),
    )
    return admit(rows, **{"source": "hand", "policy": XNYS, "today": TODAY, **options})


def test_gate_when_complete_then_score_1_and_the_same_prices() -> None:
    close = walk(3)
    panel, report = gate(close)
    np.testing.assert_array_equal(panel.close, close)
    assert (report.score, report.gaps, report.quarantined) == (1.0, (), ())
    assert (report.n_tickers, report.n_sessions, report.n_rows) == (3, 100, 300)


def test_gate_when_rows_are_missing_then_listed_as_gaps_and_the_score_falls() -> None:
    close = walk(4)
    close[1, 10:13] = np.nan
    close[1, 50] = np.nan
    panel, report = gate(close)
    assert report.score == 1.0 - 4 / 400
    gaps = [(gap.ticker, gap.first, gap.last, gap.n_sessions) for gap in report.gaps]
    day = SESSIONS.tolist()
    assert gaps == [("T01", day[10], day[12], 3), ("T01", day[50], day[50], 1)]
    assert report.tickers[1].score == 1.0 - 4 / 100
    assert panel.gap is not None
    np.testing.assert_array_equal(panel.gap, np.isnan(close))


def test_gate_when_a_session_has_no_row_at_all_then_a_gap_of_every_ticker() -> None:
    close = walk(2)
    close[:, 30] = np.nan
    panel, report = gate(close)
    assert panel.n_sessions == 100
    assert [gap.ticker for gap in report.gaps] == ["T00", "T01"]


# proves L3
@pytest.mark.parametrize(("n_missing", "admitted"), [(5, True), (6, False)])
def test_gate_when_the_score_is_at_the_threshold_then_admitted_and_below_refused(
    n_missing: int, admitted: bool
) -> None:
    close = walk(1)
    close[0, 10 : 10 + n_missing] = np.nan
    if admitted:
        assert gate(close)[1].score == pytest.approx(0.95, abs=1e-12)
        return
    message = r"hand: quality score 0.9400 is below the threshold 0.95; worst is ticker T00 with 6"
    with pytest.raises(QualityError, match=message):
        gate(close)


def test_gate_when_the_threshold_is_lowered_then_admitted() -> None:
    close = walk(1)
    close[0, 10:30] = np.nan
    assert gate(close, threshold=0.8)[1].score == pytest.approx(0.8, abs=1e-12)


def test_gate_when_poisoned_tickers_then_they_pass_as_data() -> None:
    close = walk(5)
    close[0] = 50.0  # constant
    close[1, :95] = np.nan  # a late listing
    close[2, 60:] = np.nan  # delisted
    panel, report = gate(close)
    assert report.score == 1.0
    assert [quality.score for quality in report.tickers] == [0.0, 1.0, 1.0, 1.0, 1.0]
    assert (report.tickers[0].n_stale, report.tickers[1].n_sessions) == (100, 5)
    np.testing.assert_array_equal(panel.close, close)
    assert panel.gap is None


def test_gate_when_most_of_the_panel_stands_still_then_the_feed_is_refused() -> None:
    close = walk(3)
    close[:2, 40:] = close[:2, 40:41]
    with pytest.raises(QualityError, match="on 60 sessions most tickers stand still"):
        gate(close)


def test_gate_when_19_equal_prices_then_not_stale_and_20_are() -> None:
    close = walk(1)
    close[0, 10:29] = 77.0
    assert gate(close)[1].tickers[0].n_stale == 0
    close[0, 10:30] = 77.0
    assert gate(close, threshold=0.5)[1].tickers[0].n_stale == 20


def test_gate_when_an_unadjusted_split_then_left_out_and_listed_never_repaired() -> None:
    close = walk(4)
    close[2, 50:] /= 2.0
    panel, report = gate(close)
    assert panel.tickers == ("T00", "T01", "T03")
    np.testing.assert_array_equal(panel.close, close[[0, 1, 3]])
    (out,) = report.quarantined
    assert (out.ticker, out.session, out.row) == ("T02", SESSIONS[50].item(), 251)
    assert out.ratio == pytest.approx(close[2, 50] / close[2, 49], rel=1e-12)
    assert str(out).endswith("looks like an unadjusted split 2:1")


def test_gate_when_a_unit_is_wrong_for_one_day_then_left_out() -> None:
    close = walk(2)
    close[1, 20] *= 100.0
    panel, report = gate(close)
    assert panel.tickers == ("T00",)
    assert report.quarantined[0].reason == "looks like a wrong unit: 100x up"


def test_gate_when_the_jump_is_accepted_then_admitted() -> None:
    close = walk(2)
    close[1, 20:] /= 2.0
    policy = GatePolicy(calendar="XNYS", accepted_jumps=(("T01", SESSIONS[20].item()),))
    assert gate(close, policy=policy)[0].n_tickers == 2
    other_day = GatePolicy(calendar="XNYS", accepted_jumps=(("T01", SESSIONS[21].item()),))
    assert gate(close, policy=other_day)[0].n_tickers == 1


def test_gate_when_told_to_refuse_then_a_suspicious_jump_refuses_the_panel() -> None:
    close = walk(2)
    close[1, 20:] /= 2.0
    policy = GatePolicy(calendar="XNYS", quarantine="refuse")
    message = (
        rf"hand: ticker T01, row 121, {SESSIONS[20]}: close moved by a factor of 0\.\d+, looks"
    )
    with pytest.raises(QualityError, match=message):
        gate(close, policy=policy)


def test_gate_when_every_ticker_is_suspicious_then_refused() -> None:
    close = walk(1)
    close[0, 20:] /= 4.0
    with pytest.raises(QualityError, match=r"no ticker is left, all 1 are in quarantine.*T00.*4:1"):
        gate(close)


def test_report_as_json_is_plain() -> None:
    close = walk(3)
    close[1, 10] = np.nan
    close[2, 50:] /= 2.0
    document = json.loads(json.dumps(gate(close)[1].as_json()))
    assert document["gaps"] == [
        {"ticker": "T01", "first": "2023-01-18", "last": "2023-01-18", "n_sessions": 1}
    ]
    assert document["quarantined"][0]["session"] == str(SESSIONS[50])


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_gate_when_any_hole_is_cut_then_prices_and_gaps_add_up(data: st.DataObject) -> None:
    close = walk(3)
    holes = data.draw(
        st.lists(st.tuples(st.integers(0, 2), st.integers(0, 99)), max_size=40, unique=True)
    )
    for n, t in holes:
        close[n, t] = np.nan
    panel, report = gate(close, threshold=0.0)
    alive = ~np.isnan(panel.close)
    gap = np.zeros_like(alive) if panel.gap is None else panel.gap
    assert not (alive & gap).any()
    for n, quality in enumerate(report.tickers):
        days = np.flatnonzero(alive[n])
        life = days[-1] - days[0] + 1
        assert quality.n_sessions == life
        assert quality.n_missing == life - len(days) == gap[n].sum()
    assert sum(gap.n_sessions for gap in report.gaps) == gap.sum()
    first = int(np.searchsorted(SESSIONS, panel.sessions[0]))
    np.testing.assert_array_equal(panel.close, close[:, first : first + panel.n_sessions])


@settings(max_examples=40, deadline=None)
@given(
    row=st.integers(0, 299),
    poison=st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -1e-300]),
)
def test_gate_when_any_price_is_poisoned_then_that_row_is_named(row: int, poison: float) -> None:
    rows = long_rows(gate(walk(3))[0])
    rows.iloc[row, rows.columns.get_loc("close")] = poison
    ticker = rows["ticker"].iloc[row]
    with pytest.raises(QualityError, match=rf"hand: row {row + 1}, ticker {ticker}, .*close was"):
        admit(rows, source="hand", policy=XNYS, today=TODAY)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_gate_when_tickers_are_interleaved_then_the_same_panel(seed: int) -> None:
    panel = gate(walk(4))[0]
    rows = long_rows(panel)
    order = np.random.default_rng(seed).permutation(len(rows))
    shuffled = rows.iloc[order].sort_values("date", kind="stable")  # days in order, tickers mixed
    again, _ = admit(shuffled, source="hand", policy=XNYS, today=TODAY)
    assert again.sha256 == panel.sha256
