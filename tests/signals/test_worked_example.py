"""The example of docs/signals.md, computed; every figure that the page prints is one of these."""

from pathlib import Path

import numpy as np
import pytest
from signal_cases import CUTOFF, market

from pmx_ray.backtest.track_record import TrackRecord
from pmx_ray.portfolio.kelly import kelly_fraction, shrunk
from pmx_ray.signals.making import Statement, make_signal
from pmx_ray.signals.merging import merge, priority, share_of
from pmx_ray.signals.risk import volatility_annual
from pmx_ray.signals.settings import SignalSettings
from pmx_ray.signals.types import Source
from pmx_ray.signals.validator import validate
from pmx_ray.taxonomy import Action, RiskLevel

PAGE = (Path(__file__).parents[2] / "docs" / "signals.md").read_text(encoding="utf-8")
EXAMPLE = PAGE.partition("## A worked example")[2].partition("\n## ")[0]
RECORD = TrackRecord(n_trades=600, n_effective=60.0, win_rate_frac=0.55, payoff_ratio=1.2)
KELLY = kelly_fraction(0.55, 1.2)
MARKET = market({"AAPL": np.tile([0.015, -0.015], 100)})


def made(source, mean, **changed):
    return make_signal(
        ticker="AAPL", mean=mean, variance=0.04**2, step=5, cutoff=CUTOFF, source=source,
        settings=SignalSettings(), **changed,
    )  # fmt: skip


CHAMPION = made(Source.CHAMPION, 0.014, track=RECORD)
LLM = made(Source.LLM, -0.01, track=None, statement=Statement(Action.SELL, 0.1, RiskLevel.HIGH))
ROWS = {
    "confidence": f"{CHAMPION.confidence:.4f}",
    "annualised volatility": f"{volatility_annual(0.04**2, step=5) * 100:.2f} %, medium",
    "Kelly": f"{KELLY:.4f}",
    "shrunk": f"{shrunk(KELLY, n_effective=60.0, prior_trades=100):.4f}",
    "position": f"{CHAMPION.position_frac * 100:.2f} %",
    "`statistics`: width": f"{validate(CHAMPION, MARKET)[0].value:.2f} of 4",
    "`sizing`": f"{validate(CHAMPION, MARKET)[2].value * 100:.2f} % of 1 %",
    "`costs`": f"{validate(CHAMPION, MARKET)[4].value:.0f} bp left",
    "champion's priority": f"{priority(CHAMPION, LLM):.4f}",
    "language model's weight": f"{LLM.confidence:.4f}",
    "share s": f"{share_of(LLM, beside=CHAMPION):.4f}",
    "left of the size": f"{1 - 2 * share_of(LLM, beside=CHAMPION):.4f}",
}


@pytest.mark.parametrize("name", ROWS)
def test_page_shows_what_the_code_computes(name):
    (row,) = [line for line in EXAMPLE.splitlines() if line.startswith(f"| {name} |")]
    assert row.split("|")[-2].strip() == ROWS[name]


def test_example_by_hand():  # proves A7, A18, M6
    assert CHAMPION.position_frac == pytest.approx(0.065625 * 0.5 * 0.5987063256829237, abs=1e-12)
    assert (CHAMPION.action, CHAMPION.risk_level) == (Action.BUY, RiskLevel.MEDIUM)
    assert (LLM.action, LLM.position_frac, LLM.confidence) == (Action.SELL, 0.0, 0.1)
    assert all(check.passed for check in validate(CHAMPION, MARKET))
    served = merge(CHAMPION, LLM).signal
    assert served.position_frac == pytest.approx(0.0065295, abs=1e-7)
    assert (served.action, served.risk_level) == (Action.BUY, RiskLevel.HIGH)
    assert "buy 0.65 %, confidence 0.5987 |" in EXAMPLE
    assert served.confidence == CHAMPION.confidence
