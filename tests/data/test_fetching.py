"""Failover and pace end to end: real clients, a real server, a clock that only sleeping moves."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
import yfinance
from pydantic import ValidationError
from vendor_server import DAYS, VendorServer, alpha_daily, serve, yahoo_chart, yahoo_unknown

from pmx_ray.data.fetching import VendorSettings
from pmx_ray.data.panel import Panel
from pmx_ray.data.quality import QualityReport
from pmx_ray.data.sources import load_panel
from pmx_ray.data.vendors import AlphaVantageSource, YahooSource
from pmx_ray.errors import QualityError, VendorError


class Desk:
    """A server, and a clock that stands still unless somebody sleeps."""

    def __init__(self, server: VendorServer) -> None:
        self.server = server
        self.now = datetime(2024, 6, 3, 12, tzinfo=UTC)
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += timedelta(seconds=seconds)

    def load(self, *tickers: str, **options: Any) -> tuple[Panel, QualityReport]:
        settings = VendorSettings(tickers=tickers, start=DAYS[0], end=DAYS[-1], **options)
        sources = {
            "alpha_vantage": AlphaVantageSource("secret-key", base_url=self.server.url),
            "yahoo": YahooSource(base_url=self.server.url),
        }
        return load_panel(settings, clock=lambda: self.now, sleep=self.sleep, bar_sources=sources)


@pytest.fixture
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    yfinance.set_tz_cache_location(str(tmp_path_factory.mktemp("yfinance")))
    yfinance.data.YfData.cache_get.cache_clear()
    with serve() as server:
        server.alpha, server.chart = alpha_daily(), yahoo_chart()
        yield Desk(server)


# proves R6
def test_vendor_when_all_is_well_then_the_first_serves_all_60_seconds_apart(desk: Desk) -> None:
    panel, report = desk.load("BBB", "AAA", "CCC")
    assert panel.tickers == ("AAA", "BBB", "CCC")
    np.testing.assert_allclose(panel.close[0], [50.0, 51.0, 50.5])
    assert panel.volume is not None
    assert report.origins == tuple((ticker, "alpha_vantage") for ticker in panel.tickers)
    assert desk.server.bars == ["alpha_vantage"] * 3
    assert desk.slept == [60.0, 60.0]


# proves R5
@pytest.mark.parametrize(
    "answer",
    [
        (503, b""),
        (200, b'{"Note": "5 calls per minute"}'),
        (200, b'{"Information": "premium endpoint"}'),
        (200, b'{"Error Message": "unknown"}'),
        (200, b"<html>"),
    ],
    ids=["down", "note", "information", "unknown", "html"],
)
def test_vendor_when_the_first_fails_then_yahoo_serves_the_ticker(
    desk: Desk, answer: tuple[int, bytes]
) -> None:
    desk.server.alpha = answer
    panel, report = desk.load("AAA")
    assert report.origins == (("AAA", "yahoo"),)
    assert desk.server.bars == ["alpha_vantage", "yahoo"]
    np.testing.assert_allclose(panel.close[0], [50.0, 51.0, 50.5])
    assert desk.slept == []


def test_vendor_when_the_order_is_turned_then_yahoo_is_asked_first(desk: Desk) -> None:
    _, report = desk.load("AAA", vendors=("yahoo", "alpha_vantage"))
    assert report.origins == (("AAA", "yahoo"),)
    assert report.source == "yahoo then alpha_vantage"


def test_vendor_when_the_first_is_rate_limited_then_it_rests_for_the_next_ticker_too(
    desk: Desk,
) -> None:
    desk.server.alpha = (200, b'{"Note": "5 calls per minute"}')
    _, report = desk.load("AAA", "BBB")
    assert desk.server.bars == ["alpha_vantage", "yahoo", "yahoo"]
    assert desk.slept == [60.0]
    assert dict(report.origins) == {"AAA": "yahoo", "BBB": "yahoo"}


# No synthetic bars ever stand in: when all vendors fail, the panel does.
def test_vendor_when_all_fail_then_vendor_error_with_every_reason(desk: Desk) -> None:
    desk.server.alpha = (200, b'{"Error Message": "unknown"}')
    desk.server.chart = yahoo_unknown()
    with pytest.raises(
        VendorError, match=r"no vendor has ticker ZZZ: alpha_vantage: ZZZ: unknown; yahoo: ZZZ:"
    ):
        desk.load("ZZZ")


def test_vendor_when_the_bars_are_bad_then_the_gate_refuses_them(desk: Desk) -> None:
    status, text = desk.server.alpha
    desk.server.alpha = status, text.replace(b'"51.0"', b'"0.0"')
    message = "alpha_vantage then yahoo: row 2, ticker AAA, 2024-01-03: close was 0.0"
    with pytest.raises(QualityError, match=message):
        desk.load("AAA")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tickers": ("../../x",)}, "ticker '../../x' is not one"),
        ({"tickers": ("A?apikey=",)}, "is not one"),
        ({"tickers": ()}, "at least 1 item"),
        ({"tickers": ("A", "A")}, "a ticker stands there twice"),
        ({"start": DAYS[2], "end": DAYS[0]}, "start was 2024-01-04; it must be on or before end"),
        ({"vendors": ("yahoo", "simulated")}, "Input should be 'alpha_vantage' or 'yahoo'"),
        ({"min_interval_s": 1}, "greater than or equal to 60"),
    ],
)
def test_settings_when_wrong_then_refused_before_any_request(
    values: dict[str, object], message: str
) -> None:
    good = {"tickers": ("AAA",), "start": DAYS[0], "end": DAYS[2]}
    with pytest.raises(ValidationError, match=message):
        VendorSettings.model_validate({**good, **values})
