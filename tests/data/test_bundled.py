"""The bundled prices are real ones: each set goes through the gate, and known days are checked."""

from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest

from pmx_ray.data.bundled import BundledSettings, _packaged, read_bundled
from pmx_ray.data.panel import Panel
from pmx_ray.data.quality import QualityReport, admit
from pmx_ray.data.sources import load_panel
from pmx_ray.errors import DataError, SettingsError


def clock() -> datetime:
    return datetime(2026, 11, 22, tzinfo=UTC)


@pytest.fixture(scope="module")
def equities() -> tuple[Panel, QualityReport]:
    return load_panel(BundledSettings(name="us_equities"), clock=clock)


def test_us_equities_when_loaded_then_20_tickers_and_no_gap(
    equities: tuple[Panel, QualityReport],
) -> None:
    panel, report = equities
    assert (panel.n_tickers, panel.n_sessions, panel.calendar) == (20, 8313, "XNYS")
    assert (report.score, report.gaps, report.quarantined) == (1.0, (), ())
    assert panel.groups is not None
    assert panel.groups[panel.tickers.index("BAC")] == "Financials"
    assert report.source.startswith("bundled us_equities (skfolio 1.")


@pytest.mark.parametrize(
    ("day", "ticker", "simple_return"),
    [
        ("2009-01-20", "BAC", -0.290),  # fell 29 % after asking for more state aid
        ("2020-03-16", "MSFT", -0.147),  # the S&P 500's worst day since 1987
        ("2000-09-29", "AAPL", -0.519),  # a profit warning halved it
    ],
)
def test_us_equities_when_a_day_of_record_then_its_known_return(
    equities: tuple[Panel, QualityReport], day: str, ticker: str, simple_return: float
) -> None:
    panel, _ = equities
    t = int(np.searchsorted(panel.sessions, np.datetime64(day)))
    close = panel.close[panel.tickers.index(ticker)]
    assert close[t] / close[t - 1] - 1.0 == pytest.approx(simple_return, abs=0.001)


def test_us_equities_when_no_jump_is_accepted_then_exactly_the_three_known_are_suspicious() -> None:
    rows, policy = read_bundled(BundledSettings(name="us_equities"))
    strict = replace(policy, accepted_jumps=())
    _, report = admit(rows, source="equities", policy=strict, today=date(2026, 11, 22))
    found = [(item.ticker, item.session) for item in report.quarantined]
    assert sorted(found) == sorted(policy.accepted_jumps)


def test_us_indices_when_loaded_then_open_high_low_volume_too() -> None:
    panel, report = load_panel(BundledSettings(name="us_indices"), clock=clock)
    assert panel.tickers == ("NASDAQ", "SP500")
    assert report.score == 1.0
    t = int(np.searchsorted(panel.sessions, np.datetime64("2008-10-13")))
    assert panel.close[1, t] == pytest.approx(1003.35)  # the S&P 500's 11.6 % day
    assert panel.high is not None
    assert panel.low is not None
    assert (panel.high >= panel.low).all()
    assert panel.volume is not None
    assert np.isnan(panel.volume[0]).sum() == 2  # two days with a volume of 0 in the file


def test_energy_vol_when_loaded_then_common_years_with_listed_gaps() -> None:
    panel, report = load_panel(BundledSettings(name="energy_vol"), clock=clock)
    assert panel.tickers == ("VIX", "WTI")
    assert str(panel.sessions[0]) == "2014-01-03"
    assert {gap.ticker for gap in report.gaps} == {"WTI"}
    assert 0.99 < report.score < 1.0
    t = int(np.searchsorted(panel.sessions, np.datetime64("2018-02-05")))
    assert panel.close[0, t] == 37.32  # the VIX doubled, which is no split


def test_fx_when_loaded_then_every_currency_with_its_life() -> None:
    panel, report = load_panel(BundledSettings(name="fx"), clock=clock)
    assert (panel.n_tickers, panel.calendar) == (41, "TARGET")
    assert report.quarantined == ()
    (gap,) = report.gaps  # no Icelandic fixing after the crisis
    assert (gap.ticker, gap.first, gap.last) == ("EURISK", date(2008, 12, 10), date(2018, 1, 31))
    pegged = report.tickers[panel.tickers.index("EUREEK")]
    assert pegged.score == 0.0
    usd = panel.close[panel.tickers.index("EURUSD")]
    assert usd[0] == 1.1789  # the first fixing of the euro, 4 January 1999
    lira = panel.close[panel.tickers.index("EURTRL")]
    assert np.isnan(lira[-1])


def test_bundled_when_tickers_and_dates_are_chosen_then_only_those() -> None:
    chosen = BundledSettings(
        tickers=("MSFT", "AAPL"), start=date(2020, 2, 1), end=date(2020, 3, 31)
    )
    panel, _ = load_panel(chosen, clock=clock)
    assert panel.tickers == ("AAPL", "MSFT")
    assert str(panel.sessions[0]) == "2020-02-03"
    assert panel.n_sessions == 41  # 19 in February, 22 in March


def test_bundled_when_the_ticker_is_misspelt_then_suggests() -> None:
    with pytest.raises(SettingsError, match=r"ticker 'APPL' is not in it; did you mean 'AAPL'"):
        load_panel(BundledSettings(tickers=("APPL",)), clock=clock)


def test_bundled_when_the_clock_stands_before_the_data_then_future_rows() -> None:
    with pytest.raises(DataError, match="a future row, today is 2010-01-01"):
        load_panel(BundledSettings(), clock=lambda: datetime(2010, 1, 1, tzinfo=UTC))


def test_bundled_when_the_package_lost_its_file_then_says_what_to_do() -> None:
    with pytest.raises(DataError, match=r"the installed arch has no file data/x\.csv; install"):
        _packaged("arch", "data/x.csv")
