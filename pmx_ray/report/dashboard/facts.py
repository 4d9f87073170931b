"""What the dashboard shows, read at one moment from the ledger and the sweep folders."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from pydantic import ValidationError

from pmx_ray.backtest.costs import Costs, CostSettings
from pmx_ray.clock import Clock
from pmx_ray.data.panel import Panel
from pmx_ray.errors import DataError
from pmx_ray.ledger import Ledger
from pmx_ray.ledger.aliases import Aliases
from pmx_ray.ledger.audit import AuditLog
from pmx_ray.ledger.books import Bookshelf
from pmx_ray.ledger.chain import AuditEntry
from pmx_ray.ledger.flag_arrivals import FlagArrivals, Propagation
from pmx_ray.ledger.flags import FlagLog, FlagRecord
from pmx_ray.ledger.request_log import RequestLog, RequestRecord
from pmx_ray.ledger.signal_log import SignalCounts, SignalLog, SignalRecord
from pmx_ray.ledger.verdict import AuditVerdict
from pmx_ray.report.dashboard.in_service import InService, in_service
from pmx_ray.report.dashboard.sweeps import EvaluatedSweep, find_evaluated, load_evaluated
from pmx_ray.signals.types import SignalBook

MAX_VERSIONS, MAX_REQUESTS = 1_000, 2_000
"""Versions of the flags and requests that are read, newest first."""

YEAR = timedelta(days=366 + 92)
"""How far back signals are read: a year of sessions, and the 60 that a horizon may begin before."""


@dataclass(frozen=True, slots=True, eq=False)
class DashboardFacts:
    """Everything that the pages show.

    Attributes
    ----------
    at : datetime
        When it was read, UTC.
    serving : tuple of InService
        What each alias points to.
    entries : tuple of AuditEntry
        The audit log, oldest first.
    audit : AuditVerdict
        Whether it is whole.
    flags : tuple of FlagRecord
        Versions of the flags, newest first.
    propagation : tuple of Propagation
        How long versions took to arrive, newest first.
    book : SignalBook or None
        The newest one.
    signals : tuple of SignalRecord
        Of the year before the newest cutoff.
    counts : SignalCounts
        Of all signals.
    requests : tuple of RequestRecord
        The latest, newest first.
    sweep : EvaluatedSweep or None
        The evaluation shown.
    panel : Panel or None
        Prices up to today, where they were at hand.
    costs : Costs
        What a trade costs.
    problems : tuple of str
        What could not be read, and why.
    """

    at: datetime
    serving: tuple[InService, ...]
    entries: tuple[AuditEntry, ...]
    audit: AuditVerdict
    flags: tuple[FlagRecord, ...]
    propagation: tuple[Propagation, ...]
    book: SignalBook | None
    signals: tuple[SignalRecord, ...]
    counts: SignalCounts
    requests: tuple[RequestRecord, ...]
    sweep: EvaluatedSweep | None
    panel: Panel | None
    costs: Costs
    problems: tuple[str, ...]

    @property
    def flags_now(self) -> FlagRecord | None:
        """The flags in force; None where none was ever set."""
        return self.flags[0] if self.flags else None


def read_facts(
    root: Path,
    ledger: Ledger,
    *,
    clock: Clock,
    sweep: Path | None = None,
    panel: Panel | None = None,
    costs: Costs | None = None,
) -> DashboardFacts:
    """Read what the pages show. A book or a sweep that cannot be read is named, not fatal.

    Parameters
    ----------
    root : Path
        Folder of the sweep folders, and of the registry's key.
    ledger : Ledger
        An open ledger; it stays the caller's to close.
    clock : Clock
        Says now.
    sweep : Path, optional
        Folder of the evaluation to show; the newest with the language model unless given.
    panel : Panel, optional
        Prices up to today, to hold past signals against; without them no outcome is shown.
    costs : Costs, optional
        What a trade costs; the defaults of ``CostSettings`` unless given.

    Raises
    ------
    LedgerError
        If the ledger cannot be read, or an entry of the audit log that was altered.
    """
    problems: list[str] = []
    log, signal_log = AuditLog(ledger), SignalLog(ledger)
    entries = log.entries()
    return DashboardFacts(
        at=clock(),
        serving=in_service(Aliases(ledger).current(), root, log=entries),
        entries=entries,
        audit=log.verify(),
        flags=FlagLog(ledger).history(MAX_VERSIONS),
        propagation=FlagArrivals(ledger).propagation(limit=MAX_VERSIONS),
        book=_book(ledger, problems),
        signals=_last_year(ledger, signal_log),
        counts=signal_log.counts(),
        requests=_latest_first(RequestLog(ledger).recent(MAX_REQUESTS)),
        sweep=_sweep(sweep or find_evaluated(root), problems),
        panel=panel,
        costs=costs or CostSettings().build(),
        problems=tuple(problems),
    )


def _book(ledger: Ledger, problems: list[str]) -> SignalBook | None:
    shelved = Bookshelf(ledger).latest()
    if shelved is None:
        return None
    try:
        return SignalBook.model_validate_json(shelved.document)
    except ValidationError as error:
        problems.append(
            f"Book {shelved.book_id[:12]} is of another release and cannot be read: "
            f"{error.errors()[0]['msg']}."
        )
        return None


def _last_year(ledger: Ledger, log: SignalLog) -> tuple[SignalRecord, ...]:
    shelved = Bookshelf(ledger).latest()
    newest: date | None = None if shelved is None else shelved.cutoff
    return () if newest is None else log.since(newest - YEAR)


def _latest_first(requests: Sequence[RequestRecord]) -> tuple[RequestRecord, ...]:
    return tuple(sorted(requests, key=lambda one: one.at, reverse=True))


def _sweep(folder: Path | None, problems: list[str]) -> EvaluatedSweep | None:
    if folder is None:
        return None
    try:
        return load_evaluated(folder)
    except DataError as error:
        problems.append(str(error))
        return None
