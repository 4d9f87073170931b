"""A real HTTP server on this machine that answers like Alpha Vantage and Yahoo."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

DAYS = (date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 4))
"""Three sessions of New York."""

CLOSE = (100.0, 102.0, 101.0)

ADJUSTED = (50.0, 51.0, 50.5)

Answer = tuple[int, bytes]


@dataclass
class VendorServer:
    """What each path answers, and what was asked; ``bars`` counts the requests for daily bars."""

    port: int = 0
    alpha: Answer = (200, b"")
    chart: Answer = (200, b"")
    asked: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def bars(self) -> list[str]:
        """Vendor of each request for bars, in order of arrival."""
        named = {"/query": "alpha_vantage", "period1": "yahoo"}
        return [name for path in self.asked for key, name in named.items() if key in path]

    def answer(self, path: str) -> Answer:
        self.asked.append(path)
        parts = urlsplit(path)
        if parts.path == "/query":
            assert parse_qs(parts.query)["apikey"] == ["secret-key"]
            return self.alpha
        if parts.path.startswith("/v8/finance/chart/"):
            return self.chart
        if parts.path.startswith("/v10/"):
            return 404, b'{"quoteSummary": {"result": null, "error": {"code": "Not Found"}}}'
        return 200, b"crumb"


@contextmanager
def serve() -> Iterator[VendorServer]:
    """Run the server in a thread; its answers may be changed while it runs."""
    vendor = VendorServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = vendor.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    vendor.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield vendor
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def alpha_daily(*, adjusted: bool = True) -> Answer:
    """Return Alpha Vantage's answer for ``DAYS``, newest first as the service does."""
    series = {}
    for day, close, scaled in zip(DAYS, CLOSE, ADJUSTED, strict=True):
        cells = {
            "1. open": str(close - 1),
            "2. high": str(close + 2),
            "3. low": str(close - 2),
            "4. close": str(close),
        }
        if adjusted:
            cells |= {"5. adjusted close": str(scaled), "6. volume": "1000"}
        else:
            cells |= {"5. volume": "1000"}
        series[day.isoformat()] = cells
    newest_first = dict(reversed(series.items()))
    return 200, json.dumps({"Meta Data": {}, "Time Series (Daily)": newest_first}).encode()


def yahoo_chart() -> Answer:
    """Return Yahoo's chart answer for ``DAYS``, stamped at New York's opening."""
    stamps = [int(datetime.combine(day, time(14, 30), UTC).timestamp()) for day in DAYS]
    period = {"timezone": "EST", "start": stamps[-1], "end": stamps[-1] + 1, "gmtoffset": -18000}
    meta = {
        "currency": "USD",
        "instrumentType": "EQUITY",
        "exchangeTimezoneName": "America/New_York",
        "gmtoffset": -18000,
        "timezone": "EST",
        "dataGranularity": "1d",
        "priceHint": 2,
        "regularMarketTime": stamps[-1],
        "validRanges": ["1d", "max"],
        "currentTradingPeriod": dict.fromkeys(("pre", "regular", "post"), period),
    }
    quote = {
        "open": [close - 1 for close in CLOSE],
        "high": [close + 2 for close in CLOSE],
        "low": [close - 2 for close in CLOSE],
        "close": list(CLOSE),
        "volume": [1000] * 3,
    }
    indicators = {"quote": [quote], "adjclose": [{"adjclose": list(ADJUSTED)}]}
    result = {"meta": meta, "timestamp": stamps, "indicators": indicators}
    return 200, json.dumps({"chart": {"result": [result], "error": None}}).encode()


def yahoo_unknown() -> Answer:
    """Return Yahoo's answer to a ticker that it does not have."""
    error = {"code": "Not Found", "description": "No data found, symbol may be delisted"}
    return 404, json.dumps({"chart": {"result": None, "error": error}}).encode()
