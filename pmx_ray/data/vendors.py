"""Vendors of daily bars: Alpha Vantage and Yahoo. Only this module of the package has a network."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from datetime import date, timedelta
from types import ModuleType
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx
import numpy as np
import pandas as pd

from pmx_ray.data.failover import FailureKind, FetchFailed
from pmx_ray.errors import SettingsError

KEY_VARIABLE = "PMX_ALPHA_VANTAGE_KEY"
"""Environment variable with the Alpha Vantage key."""

BAR_COLUMNS = ("date", "close", "open", "high", "low", "volume")


class BarSource(Protocol):
    """A vendor of daily bars."""

    def fetch(self, ticker: str, start: date, end: date) -> pd.DataFrame:
        """Return the bars of ``ticker`` from ``start`` to ``end``, oldest first.

        Returns
        -------
        DataFrame
            ``date`` (datetime64[s]), ``close, open, high, low, volume`` (float64; NaN is kept).

        Raises
        ------
        FetchFailed
            If there are none, with the kind that says whether asking again can help.
        """
        ...


class AlphaVantageSource:
    """Bars from Alpha Vantage's daily series.

    Parameters
    ----------
    key : str, optional
        API key; read from ``PMX_ALPHA_VANTAGE_KEY`` unless given. It is in no message and no log.
    adjusted : bool
        Use ``TIME_SERIES_DAILY_ADJUSTED`` and scale open, high and low like the close.
    base_url : str
        Where the service answers.
    timeout_s : float
        Limit on connecting, and on each wait for data.
    """

    def __init__(
        self,
        key: str | None = None,
        *,
        adjusted: bool = True,
        base_url: str = "https://www.alphavantage.co",
        timeout_s: float = 30.0,
    ) -> None:
        self._key = key if key is not None else os.environ.get(KEY_VARIABLE, "")
        self._adjusted = adjusted
        self._base_url = base_url
        self._timeout_s = timeout_s

    def fetch(self, ticker: str, start: date, end: date) -> pd.DataFrame:
        """Return the bars of ``ticker``; see ``BarSource``."""
        if not self._key:
            raise FetchFailed(FailureKind.REFUSED, f"no key; set {KEY_VARIABLE}")
        answer = self._answer(ticker)
        series = answer.get("Time Series (Daily)")
        if isinstance(series, dict) and series:
            return _within(self._bars(series), start, end, ticker)
        for word in ("Note", "Information"):  # how the service says "too often", with status 200
            if word in answer:
                raise FetchFailed(FailureKind.RATE_LIMITED, self._without_key(str(answer[word])))
        if "Error Message" in answer:
            text = self._without_key(str(answer["Error Message"]))
            raise FetchFailed(FailureKind.REFUSED, f"{ticker}: {text}")
        raise FetchFailed(FailureKind.UNAVAILABLE, f"{ticker}: an answer without a daily series")

    def _answer(self, ticker: str) -> dict[str, Any]:
        function = "TIME_SERIES_DAILY_ADJUSTED" if self._adjusted else "TIME_SERIES_DAILY"
        parameters = {
            "function": function,
            "symbol": ticker,
            "outputsize": "full",
            "apikey": self._key,
        }
        try:
            with _hidden(self._key):
                response = httpx.get(
                    f"{self._base_url}/query", params=parameters, timeout=self._timeout_s
                )
        except httpx.HTTPError as error:  # its text may hold the address, and so the key
            raise FetchFailed(FailureKind.UNAVAILABLE, type(error).__name__) from None
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
            raise FetchFailed(FailureKind.RATE_LIMITED, "HTTP status 429")
        if response.status_code != httpx.codes.OK:
            raise FetchFailed(FailureKind.UNAVAILABLE, f"HTTP status {response.status_code}")
        try:
            answer = response.json()
        except ValueError:
            raise FetchFailed(FailureKind.UNAVAILABLE, "an answer that is not JSON") from None
        if not isinstance(answer, dict):
            raise FetchFailed(FailureKind.UNAVAILABLE, "an answer that is not a JSON object")
        return answer

    def _bars(self, series: dict[str, Any]) -> pd.DataFrame:
        try:
            table = pd.DataFrame.from_dict(series, orient="index").sort_index()
            table.columns = table.columns.str.replace(r"^\d+\. ", "", regex=True)
            bars = pd.DataFrame(
                {name: table[name].astype(np.float64) for name in BAR_COLUMNS if name != "date"}
            )
            days = pd.to_datetime(table.index, format="%Y-%m-%d")
            if self._adjusted:
                scale = table["adjusted close"].astype(np.float64) / bars["close"]
                bars["close"] = table["adjusted close"].astype(np.float64)
                for name in ("open", "high", "low"):
                    bars[name] *= scale
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            detail = self._without_key(" ".join(str(error).split()))
            raise FetchFailed(
                FailureKind.UNAVAILABLE, f"a daily series that cannot be read: {detail:.80}"
            ) from None
        bars.insert(0, "date", days.to_numpy().astype("datetime64[s]"))
        return bars

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "[key]")


class YahooSource:
    """Bars from Yahoo through the ``yfinance`` library, an extra: ``pip install pmx-ray[live]``.

    The library makes up to three small requests of its own (cookie, crumb, time zone) before the
    first request for bars of a ticker; the pace of ``failover`` is that of the requests for bars.

    Parameters
    ----------
    adjusted : bool
        Prices adjusted for dividends too; they are always adjusted for splits.
    base_url : str, optional
        Send every request here instead of to Yahoo. It goes through the ``session`` argument that
        the library documents for a session of one's own.
    timeout_s : float
        Limit on a request.
    """

    def __init__(
        self, *, adjusted: bool = True, base_url: str | None = None, timeout_s: float = 30.0
    ) -> None:
        self._adjusted = adjusted
        self._base_url = base_url
        self._timeout_s = timeout_s

    def fetch(self, ticker: str, start: date, end: date) -> pd.DataFrame:
        """Return the bars of ``ticker``; see ``BarSource``."""
        yfinance = _import_yfinance()
        session = None if self._base_url is None else _redirected_session(self._base_url)
        try:
            with _loud(yfinance):
                table = yfinance.Ticker(ticker, session=session).history(
                    start=start.isoformat(),
                    end=(end + timedelta(days=1)).isoformat(),  # yfinance leaves the end out
                    auto_adjust=self._adjusted,
                    actions=False,
                    timeout=self._timeout_s,
                )
        except yfinance.exceptions.YFRateLimitError:
            raise FetchFailed(FailureKind.RATE_LIMITED, f"{ticker}: too many requests") from None
        except yfinance.exceptions.YFTickerMissingError as error:
            raise FetchFailed(FailureKind.REFUSED, f"{ticker}: {error!s:.200}") from None
        except (yfinance.exceptions.YFException, OSError, LookupError, TypeError, ValueError) as e:
            yfinance.data.YfData.cache_get.cache_clear()  # or it would repeat the bad answer
            # Whether an unknown ticker gets this far depends on what yfinance has looked up before.
            status = getattr(getattr(e, "response", None), "status_code", None)
            kind = (
                FailureKind.REFUSED if status == httpx.codes.NOT_FOUND else FailureKind.UNAVAILABLE
            )
            raise FetchFailed(kind, f"{ticker}: {type(e).__name__}: {e!s:.200}") from None
        bars = pd.DataFrame(
            {name: table[name.title()].to_numpy(np.float64) for name in BAR_COLUMNS[1:]}
        )
        # Midnight at the exchange, so the local day is the session.
        bars.insert(0, "date", table.index.tz_localize(None).to_numpy().astype("datetime64[s]"))
        return _within(bars, start, end, ticker)


def _within(bars: pd.DataFrame, start: date, end: date, ticker: str) -> pd.DataFrame:
    days = bars["date"].to_numpy().astype("datetime64[D]")
    inside = bars[(days >= np.datetime64(start)) & (days <= np.datetime64(end))]
    if inside.empty:
        raise FetchFailed(FailureKind.REFUSED, f"{ticker}: no bar from {start} to {end}")
    return inside.reset_index(drop=True)


@contextlib.contextmanager
def _hidden(key: str) -> Iterator[None]:
    """Keep ``key`` out of the line that httpx logs a request with."""

    def hide(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if key in text:
            record.msg, record.args = text.replace(key, "[key]"), ()
        return True

    logger = logging.getLogger("httpx")
    logger.addFilter(hide)
    try:
        yield
    finally:
        logger.removeFilter(hide)


def _import_yfinance() -> ModuleType:
    try:
        import yfinance  # noqa: PLC0415 - an extra, and slow to import
        import yfinance.data  # noqa: PLC0415
    except ImportError:
        raise SettingsError(
            "vendor yahoo needs the package yfinance; pip install 'pmx-ray[live]', or leave yahoo "
            "out of vendors"
        ) from None
    library: ModuleType = yfinance
    return library


@contextlib.contextmanager
def _loud(yfinance: ModuleType) -> Iterator[None]:
    """Let yfinance raise instead of logging the error and returning an empty table."""
    before = yfinance.config.debug.hide_exceptions
    yfinance.config.debug.hide_exceptions = False
    try:
        with warnings.catch_warnings():
            # It still sorts and renames in place, which pandas 3 deprecates.
            warnings.filterwarnings("ignore", "The inplace keyword", DeprecationWarning)
            yield
    finally:
        yfinance.config.debug.hide_exceptions = before


def _redirected_session(base_url: str) -> Any:
    """Return a session that sends every request to ``base_url``, path and query kept."""
    from curl_cffi import requests  # noqa: PLC0415 - comes with yfinance

    class Redirected(requests.Session):  # type: ignore[type-arg]
        def request(self, method: Any, url: str, **options: Any) -> Any:  # type: ignore[override]
            parts = urlsplit(url)
            query = f"?{parts.query}" if parts.query else ""
            return super().request(method, f"{base_url}{parts.path}{query}", **options)

    return Redirected()
