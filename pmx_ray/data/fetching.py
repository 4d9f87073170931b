"""Bars of many tickers from the vendors, in order and at a polite pace.

``fetch_bars`` is the shell around ``failover.decide``: it asks, waits and collects. A ticker's
bars come from one vendor, never from two, and never from the simulator.
"""

import math
from collections.abc import Callable, Mapping
from datetime import date
from typing import Literal, Self

import numpy as np
import pandas as pd
from pydantic import Field, field_validator, model_validator

from pmx_ray.clock import Clock
from pmx_ray.data.failover import (
    Accept,
    Ask,
    Delivered,
    Event,
    Failed,
    FailoverPolicy,
    FailoverState,
    FetchFailed,
    GiveUp,
    Wait,
    Waited,
    Wanted,
    decide,
)
from pmx_ray.data.panel import TICKER
from pmx_ray.data.quality import GatePolicy, QuarantinePolicy
from pmx_ray.data.rows import coded
from pmx_ray.data.vendors import AlphaVantageSource, BarSource, YahooSource
from pmx_ray.errors import VendorError


class VendorSettings(FailoverPolicy):
    """Daily bars of some tickers from the first vendor that has them.

    Attributes
    ----------
    tickers : tuple of str
        The tickers, as the vendors spell them.
    start, end : date
        First and last day, both included.
    calendar : str
        Exchange calendar of the tickers.
    adjusted : bool
        Ask for prices adjusted for splits and dividends.
    splits, accepted_jumps, quarantine
        As for a file.
    """

    source: Literal["vendor"] = "vendor"
    tickers: tuple[str, ...] = Field(min_length=1)
    start: date
    end: date
    calendar: str = "XNYS"
    adjusted: bool = True
    splits: bool = True
    accepted_jumps: tuple[tuple[str, date], ...] = ()
    quarantine: QuarantinePolicy = "leave_out"

    @field_validator("tickers")
    @classmethod
    def _tickers_are_names(cls, tickers: tuple[str, ...]) -> tuple[str, ...]:
        # Before any request: a ticker becomes part of a URL.
        for ticker in tickers:
            if not TICKER.fullmatch(ticker):
                raise ValueError(f"ticker {ticker!r} is not one; use letters, digits and . _ = ^ -")
        if len(set(tickers)) != len(tickers):
            raise ValueError("a ticker stands there twice")
        return tickers

    @model_validator(mode="after")
    def _start_before_end(self) -> Self:
        if self.start > self.end:
            raise ValueError(f"start was {self.start}; it must be on or before end ({self.end})")
        return self

    @property
    def policy(self) -> GatePolicy:
        """What the gate holds the bars to."""
        return GatePolicy(
            calendar=self.calendar,
            splits=self.splits,
            accepted_jumps=self.accepted_jumps,
            quarantine=self.quarantine,
        )


def vendor_sources(settings: VendorSettings) -> dict[str, BarSource]:
    """Return the sources that ``settings`` names."""
    known: dict[str, Callable[[], BarSource]] = {
        "alpha_vantage": lambda: AlphaVantageSource(adjusted=settings.adjusted),
        "yahoo": lambda: YahooSource(adjusted=settings.adjusted),
    }
    return {name: known[name]() for name in settings.vendors}


def fetch_bars(
    settings: VendorSettings,
    *,
    sources: Mapping[str, BarSource],
    clock: Clock,
    sleep: Callable[[float], None],
) -> tuple[pd.DataFrame, tuple[tuple[str, str], ...]]:
    """Return the long rows of every ticker and which vendor gave it.

    Parameters
    ----------
    settings : VendorSettings
        Tickers, dates, order and pace.
    sources : mapping of str to BarSource
        One for each of ``settings.vendors``.
    clock, sleep : callable
        Time now, and how to let seconds pass.

    Returns
    -------
    rows : DataFrame
        Numbered from 1, ticker by ticker.
    origins : tuple of (ticker, vendor)

    Raises
    ------
    VendorError
        If no vendor has a ticker, with every vendor's reason.
    """
    state = FailoverState.start(settings)
    parts: list[pd.DataFrame] = []
    origins: list[tuple[str, str]] = []
    for ticker in sorted(settings.tickers):
        event: Event = Wanted()
        bars = pd.DataFrame()
        while True:
            state, decision = decide(state, event, now=clock(), policy=settings)
            match decision:
                case Wait(seconds):
                    sleep(math.ceil(seconds))  # never a moment too early
                    event = Waited()
                case Ask(vendor):
                    try:
                        bars = sources[vendor].fetch(ticker, settings.start, settings.end)
                        event = Delivered()
                    except FetchFailed as failure:
                        event = Failed(failure.kind, str(failure))
                case Accept(vendor):
                    parts.append(bars)
                    origins.append((ticker, vendor))
                    break
                case GiveUp(reasons):
                    raise VendorError(f"no vendor has ticker {ticker}: {'; '.join(reasons)}")
    codes = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    rows = pd.concat(parts, ignore_index=True)
    rows["ticker"] = coded(codes, sorted(settings.tickers))
    rows.index = pd.RangeIndex(1, len(rows) + 1)
    return rows, tuple(origins)
