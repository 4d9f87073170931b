"""Signals, books and markets made by hand for the tests of signals, router and endpoint."""

from datetime import UTC, date, datetime

import numpy as np

from pmx_ray.data.panel import Panel
from pmx_ray.signals.market import MarketContext
from pmx_ray.signals.offers import LAYERS
from pmx_ray.signals.types import (
    BookEntry,
    Candidate,
    LayerCheck,
    ModelRef,
    Signal,
    SignalBook,
    Source,
)
from pmx_ray.taxonomy import Action, RiskLevel

CUTOFF = date(2026, 3, 31)
COMPUTED_AT = datetime(2026, 3, 31, 21, 5, tzinfo=UTC)
SIGNED = {Action.BUY: 1.0, Action.SELL: -1.0, Action.HOLD: 0.0}


def signal(source=Source.CHAMPION, action=Action.BUY, *, ticker="AAPL", size=0.01, **changed):
    """Return a signal that expects 100 basis points its way over one session."""
    values = {
        "ticker": ticker,
        "action": action,
        "step": 1,
        "expected_return": 0.01 * SIGNED[action],
        "volatility": 0.02,
        "confidence": 0.6,
        "risk_level": RiskLevel.MEDIUM,
        "position_frac": size * SIGNED[action],
        "cutoff": CUTOFF,
        "source": source,
        "why": "By hand.",
    }
    return Signal(**{**values, **changed})


def checks(*failed):
    """Return the five layers' checks, of which those named failed."""
    return tuple(
        LayerCheck(
            layer=layer,
            passed=layer not in failed,
            value=None,
            limit=None,
            unit="",
            sentence=f"{layer.capitalize()} {'failed' if layer in failed else 'passed'}.",
        )
        for layer in LAYERS
    )


def candidate(source=Source.CHAMPION, action=Action.BUY, *, failed=(), **changed):
    return Candidate(signal=signal(source, action, **changed), checks=checks(*failed))


def model(source):
    return ModelRef(
        source=source,
        label=f"{source}_model",
        spec_id=f"spec-{source}",
        model_id=f"id-{source}",
        alias_version=0 if source is Source.LLM else 3,
        certified=source is not Source.LLM,
        standing="By hand.",
    )


def book(*candidates, ticker="AAPL", models=None, **changed):
    """Return a book with these candidates of one ticker; a model for each, and for all others."""
    by_source = {found.signal.source: found for found in candidates}
    values = {
        "cutoff": CUTOFF,
        "computed_at": COMPUTED_AT,
        "panel_sha256": "0" * 64,
        "models": {s: model(s) for s in (Source if models is None else models)},
        "entries": {ticker: BookEntry(ticker=ticker, close=100.0, candidates=by_source)},
    }
    return SignalBook(**{**values, **changed})


def market(columns, *, cutoff=CUTOFF, **changed):
    """Return a context of the log returns by ticker, (T,) each."""
    log_returns = np.column_stack(list(columns.values()))
    return MarketContext(cutoff, tuple(columns), log_returns, **changed)


def panel(closes, *, first="2026-01-01"):
    """Return a panel of the closes by ticker, (T,) each, on consecutive days."""
    close = np.array([closes[ticker] for ticker in sorted(closes)], dtype=float)
    days = np.datetime64(first, "D") + np.arange(close.shape[1])
    missing = np.isnan(close)
    return Panel("XNYS", tuple(sorted(closes)), days, close, gap=missing if missing.any() else None)
