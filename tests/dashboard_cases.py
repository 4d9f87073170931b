"""A ledger as a service leaves it: a model in service, flags, books, past signals, requests."""

from datetime import UTC, date, datetime, timedelta

import governance_cases
import numpy as np
import signal_cases
from signal_cases import model

from pmx_ray.data.panel import Panel
from pmx_ray.governance.decision import DECISION
from pmx_ray.governance.manifest import ModelVersion
from pmx_ray.governance.opening import open_registry
from pmx_ray.governance.promotion import promote
from pmx_ray.ledger.audit import AuditLog
from pmx_ray.ledger.books import Bookshelf
from pmx_ray.ledger.chain import NewEntry
from pmx_ray.ledger.flag_arrivals import FlagArrival, FlagArrivals
from pmx_ray.ledger.flags import FlagLog
from pmx_ray.ledger.request_log import RequestLog, RequestRecord
from pmx_ray.ledger.signal_log import SignalLog, SignalRecord
from pmx_ray.provenance import canonical_json
from pmx_ray.signals.flags import FlagValues
from pmx_ray.signals.types import BookEntry, Candidate, SignalBook, Source
from pmx_ray.taxonomy import Action, RiskLevel

NOW = datetime(2026, 4, 1, 9, 30, 5, tzinfo=UTC)
FIRST = date(2025, 3, 1)
N_SESSIONS = 300
SPOKEN = (Source.CHAMPION, Source.LLM, Source.FALLBACK)
TICKERS = ("AAPL", "AMD", "BAC", "CVX", "GE", "JNJ", "KO", "XOM")
ACTIONS = (Action.BUY, Action.SELL, Action.HOLD)


def clock():
    return NOW


def stock(root, ledger, *, n_sessions=N_SESSIONS):
    """Fill a ledger with everything that the pages show."""
    promote_model(root, ledger)
    change_flags(ledger)
    record_signals(ledger, n_sessions)
    shelve(ledger, book_of_all())
    RequestLog(ledger).append(requests(40))


def promote_model(root, ledger, *, override=None):
    """Certify and promote a model, with a fallback beside it; return the audit entry."""
    case = governance_cases.passing()
    decision = (
        case.decide() if override is None else case.with_facts(quality={"score": 0.5}).decide()
    )
    at = NOW - timedelta(days=3)
    payload = decision.as_document()
    AuditLog(ledger).append(NewEntry("certify", "pmx certify", payload, at))
    registry = open_registry(root)
    document = canonical_json(payload)

    def register(spec, label, decision_id, files):
        version = ModelVersion(spec, label, label, {}, "a" * 64, "1", {}, {}, decision_id, {})
        return registry.register(version, files).id

    return promote(
        registry,
        ledger,
        decision,
        register(decision.challenger, decision.challenger_label, decision.id, {DECISION: document}),
        actor="ann",
        approved_by=["ben", "cem"],
        key=f"promote {decision.id}",
        clock=lambda: NOW - timedelta(days=2),
        fallback=register(decision.fallback, decision.fallback_label, "", {}),
        override=override,
    )


def change_flags(ledger):
    """Merge the language model in, then turn it off; each arrives at two replicas."""
    log = FlagLog(ledger)
    for n, merged in enumerate((True, False)):
        values = FlagValues(merge_llm=merged, time_series_pct=100 if merged else 60)
        at = NOW - timedelta(hours=5 - n)
        log.change(
            lambda _, values=values: values.model_dump(),
            actor="ann",
            reason=f"Trial {n + 1}",
            clock=lambda at=at: at,
        )
        arrivals = [
            FlagArrival(n + 1, f"r{k}", at + timedelta(seconds=0.2 + 0.1 * k)) for k in range(2)
        ]
        FlagArrivals(ledger).record(arrivals)


def record_signals(ledger, n_sessions=N_SESSIONS, *, tickers=TICKERS):
    """Record a signal a session, ticker and source, at prices of a random walk; return them."""
    rng = np.random.default_rng(3)
    closes = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, (len(tickers), n_sessions)), axis=1))
    records = [
        SignalRecord(
            book_id=f"{t:064x}",
            ticker=ticker,
            source=source.value,
            action=ACTIONS[k],
            risk_level=RiskLevel.MEDIUM,
            step=5,
            expected_return=float(rng.normal(0.0, 0.01)),
            volatility=0.04,
            confidence=0.5,
            position_frac=0.0,
            cutoff=FIRST + timedelta(days=t),
            model_id=f"id-{source}",
            label=f"{source}_model",
            close=float(closes[n, t]),
            valid=bool(rng.random() < 0.7),
            why="By hand.",
        )
        for t in range(n_sessions)
        for n, ticker in enumerate(tickers)
        for source in SPOKEN
        for k in [int(rng.integers(3))]
    ]
    SignalLog(ledger).record(records)
    return records


def panel_of(records):
    """Return the closes that signals were made at, each cutoff taken for one session."""
    known = {(one.ticker, one.cutoff): one.close for one in records}
    tickers = tuple(sorted({ticker for ticker, _ in known}))
    days = sorted({day for _, day in known})
    close = np.array(
        [[known.get((ticker, day)) for day in days] for ticker in tickers], dtype=np.float64
    ).reshape(len(tickers), len(days))
    priced = ~np.isnan(close)
    keep = np.flatnonzero(priced.any(axis=1))
    begun = np.logical_or.accumulate(priced, axis=1)
    to_come = np.logical_or.accumulate(priced[:, ::-1], axis=1)[:, ::-1]
    return Panel(
        calendar="",
        tickers=tuple(tickers[n] for n in keep),
        sessions=np.array(days, dtype="datetime64[D]"),
        close=close[keep],
        gap=(~priced & begun & to_come)[keep],
    )


def book_of_all(tickers=TICKERS):
    """Return a book in which every model but the challenger spoke about every ticker."""
    entries = {}
    for n, ticker in enumerate(tickers):
        candidates = {
            source: signal_cases.candidate(
                source, ACTIONS[(n + k) % 3], ticker=ticker, failed=("costs",) if n % 4 == 1 else ()
            )
            for k, source in enumerate(SPOKEN)
        }
        if n == 3:
            candidates[Source.LLM] = Candidate(failure="The answer was cut short.")
        entries[ticker] = BookEntry(ticker=ticker, close=100.0 + n, candidates=candidates)
    return SignalBook(
        cutoff=date(2026, 3, 31),
        computed_at=NOW - timedelta(minutes=25),
        closed_at=NOW - timedelta(hours=13),
        panel_sha256="0" * 64,
        models={source: model(source) for source in SPOKEN},
        failures={Source.CHALLENGER: "No challenger is set."},
        entries=entries,
    )


def shelve(ledger, book):
    """Put a book on the ledger's shelf."""
    document = book.model_dump_json()
    Bookshelf(ledger).put(
        book.id, cutoff=book.cutoff, computed_at=book.computed_at, document=document
    )


def requests(n):
    """Return requests, one a second, of which the third was not allowed."""
    return [
        RequestRecord(
            id=f"req-{k}",
            at=NOW - timedelta(seconds=n - k),
            token="desk",
            method="GET",
            path=f"/v1/signals/{TICKERS[k % len(TICKERS)]}",
            status=401 if k == 2 else 200,
            latency_s=0.001 * (k + 1),
            signal_id="" if k == 2 else f"20260331-0a1b2c3d4e5f-f2-ln-{TICKERS[k % len(TICKERS)]}",
            replica=f"r{k % 2}",
        )
        for k in range(n)
    ]
