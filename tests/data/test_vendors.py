"""The real clients against a real HTTP server on this machine."""

import json
import logging
import pickle
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import yfinance
from vendor_server import (
    ADJUSTED,
    CLOSE,
    DAYS,
    Answer,
    VendorServer,
    alpha_daily,
    serve,
    yahoo_chart,
    yahoo_unknown,
)

from pmx_ray.data.failover import FailureKind, FetchFailed
from pmx_ray.data.vendors import AlphaVantageSource, BarSource, YahooSource

START, END = DAYS[0], DAYS[-1]
KEY = "secret-key"


@pytest.fixture(scope="module")
def yahoo_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    yfinance.set_tz_cache_location(str(tmp_path_factory.mktemp("yfinance")))


@pytest.fixture
def server(yahoo_cache: None) -> Iterator[VendorServer]:
    with serve() as running:
        yfinance.data.YfData.cache_get.cache_clear()
        yield running


def both(server: VendorServer, *, adjusted: bool = True) -> list[BarSource]:
    server.alpha, server.chart = alpha_daily(adjusted=adjusted), yahoo_chart()
    return [
        AlphaVantageSource(KEY, adjusted=adjusted, base_url=server.url),
        YahooSource(adjusted=adjusted, base_url=server.url),
    ]


def test_every_source_when_adjusted_then_the_same_bars_oldest_first(server: VendorServer) -> None:
    for source in both(server):
        bars = source.fetch("AAA", START, END)
        assert bars.columns.tolist() == ["date", "close", "open", "high", "low", "volume"]
        assert [day.date() for day in bars["date"]] == list(DAYS)
        np.testing.assert_allclose(bars["close"], ADJUSTED, rtol=1e-12)
        np.testing.assert_allclose(bars["open"], [49.5, 50.5, 50.0], rtol=1e-12)
        np.testing.assert_allclose(bars["high"], [51.0, 52.0, 51.5], rtol=1e-12)
        assert bars["volume"].tolist() == [1000.0] * 3


def test_every_source_when_not_adjusted_then_the_raw_close(server: VendorServer) -> None:
    for source in both(server, adjusted=False):
        bars = source.fetch("AAB", START, END)
        np.testing.assert_allclose(bars["close"], CLOSE, rtol=1e-12)


def test_every_source_when_fewer_days_are_wanted_then_only_those(server: VendorServer) -> None:
    for source in both(server):
        assert len(source.fetch("AAC", DAYS[1], DAYS[1])) == 1


def test_every_source_when_no_day_is_in_reach_then_refused(server: VendorServer) -> None:
    for source in both(server):
        with pytest.raises(
            FetchFailed, match="AAD: no bar from 2023-01-03 to 2023-02-01"
        ) as failed:
            source.fetch("AAD", date(2023, 1, 3), date(2023, 2, 1))
        assert failed.value.kind is FailureKind.REFUSED


def body(value: object) -> Answer:
    return 200, json.dumps(value).encode()


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (body({"Note": "5 calls per minute"}), FailureKind.RATE_LIMITED, "5 calls per minute"),
        (
            body({"Information": f"your key {KEY} has 25 a day"}),
            FailureKind.RATE_LIMITED,
            r"your key \[key\] has 25 a day",
        ),
        (
            body({"Error Message": f"Invalid API call, apikey={KEY}"}),
            FailureKind.REFUSED,
            r"AAA: Invalid API call, apikey=\[key\]",
        ),
        (body({}), FailureKind.UNAVAILABLE, "an answer without a daily series"),
        (body({"Time Series (Daily)": {}}), FailureKind.UNAVAILABLE, "without a daily series"),
        (body([1]), FailureKind.UNAVAILABLE, "an answer that is not a JSON object"),
        ((200, b"<html>"), FailureKind.UNAVAILABLE, "an answer that is not JSON"),
        ((503, b""), FailureKind.UNAVAILABLE, "HTTP status 503"),
        ((302, b""), FailureKind.UNAVAILABLE, "HTTP status 302"),
        ((429, b""), FailureKind.RATE_LIMITED, "HTTP status 429"),
        (
            body({"Time Series (Daily)": {"2024-01-02": {"4. close": "1"}}}),
            FailureKind.UNAVAILABLE,
            "a daily series that cannot be read: 'open'",
        ),
        (
            body({"Time Series (Daily)": {"2024-01-02": 7}}),
            FailureKind.UNAVAILABLE,
            "a daily series that cannot be read",
        ),
    ],
)
def test_alpha_vantage_when_it_does_not_give_bars_then_the_kind_and_no_key(
    server: VendorServer, answer: Answer, kind: FailureKind, message: str
) -> None:
    server.alpha = answer
    source = AlphaVantageSource(KEY, base_url=server.url)
    with pytest.raises(FetchFailed, match=message) as failed:
        source.fetch("AAA", START, END)
    assert failed.value.kind is kind
    assert KEY not in str(failed.value)


def test_alpha_vantage_when_nobody_listens_then_unavailable_without_the_address() -> None:
    source = AlphaVantageSource(KEY, base_url="http://127.0.0.1:1")
    with pytest.raises(FetchFailed) as failed:
        source.fetch("AAA", START, END)
    assert (failed.value.kind, str(failed.value)) == (FailureKind.UNAVAILABLE, "ConnectError")


def test_alpha_vantage_when_logs_are_at_debug_then_the_key_is_in_none(
    server: VendorServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.alpha = alpha_daily()
    with caplog.at_level(logging.DEBUG):
        AlphaVantageSource(KEY, base_url=server.url).fetch("AAA", START, END)
    assert "apikey=[key]" in caplog.text.replace("%5B", "[").replace("%5D", "]")
    assert KEY not in caplog.text


def test_alpha_vantage_when_no_key_then_refused_without_a_request(
    server: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PMX_ALPHA_VANTAGE_KEY", raising=False)
    with pytest.raises(FetchFailed, match="no key; set PMX_ALPHA_VANTAGE_KEY"):
        AlphaVantageSource(base_url=server.url).fetch("AAA", START, END)
    assert server.asked == []


def test_alpha_vantage_when_the_key_is_in_the_environment_then_used(
    server: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PMX_ALPHA_VANTAGE_KEY", KEY)
    server.alpha = alpha_daily()
    assert len(AlphaVantageSource(base_url=server.url).fetch("AAA", START, END)) == 3
    assert server.bars == ["alpha_vantage"]


@pytest.mark.parametrize(
    ("chart", "kinds"),
    [
        # yfinance looks elsewhere for a time zone before it gives an unknown ticker up.
        (yahoo_unknown(), {FailureKind.REFUSED}),
        ((500, b"oops"), {FailureKind.UNAVAILABLE}),
        ((200, b"<html>"), {FailureKind.UNAVAILABLE}),
        ((429, b"Too Many Requests"), {FailureKind.RATE_LIMITED}),
    ],
    ids=["unknown", "500", "html", "429"],
)
def test_yahoo_when_it_does_not_give_bars_then_the_kind(
    server: VendorServer, chart: Answer, kinds: set[FailureKind]
) -> None:
    server.chart = chart
    with pytest.raises(FetchFailed, match="BAD") as failed:
        YahooSource(base_url=server.url).fetch("BAD", START, END)
    assert failed.value.kind in kinds
    assert yfinance.config.debug.hide_exceptions is True


def test_yahoo_when_it_recovers_then_the_bad_answer_is_not_repeated(server: VendorServer) -> None:
    source = YahooSource(base_url=server.url)
    server.chart = (500, b"oops")
    with pytest.raises(FetchFailed):
        source.fetch("CCC", START, END)
    server.chart = yahoo_chart()
    assert len(source.fetch("CCC", START, END)) == 3


def test_yahoo_when_redirected_then_no_request_leaves_for_another_host(
    server: VendorServer, tmp_path: Path
) -> None:
    server.chart = yahoo_chart()
    YahooSource(base_url=server.url).fetch("DDD", START, END)
    assert server.bars == ["yahoo"]


def test_fetch_failed_when_pickled_then_keeps_its_kind() -> None:
    error = pickle.loads(pickle.dumps(FetchFailed(FailureKind.REFUSED, "no")))
    assert (error.kind, str(error)) == (FailureKind.REFUSED, "no")
