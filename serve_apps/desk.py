"""What a replica of the endpoint holds: ledger, watch, outboxes and numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

from pmx_ray.clock import Clock
from pmx_ray.ledger import Ledger, open_ledger
from pmx_ray.ledger.flag_arrivals import FlagArrival, FlagArrivals
from pmx_ray.ledger.request_log import RequestLog, RequestRecord
from pmx_ray.place import ledger_url
from pmx_ray.signals.flag_source import FlagView
from serve_apps.numbers import Numbers
from serve_apps.outbox import Outbox
from serve_apps.settings import ServiceSettings
from serve_apps.tokens import Keyring, load_keyring, tokens_path
from serve_apps.watch import Watch

BUSY_S = 3.0
"""Seconds that a change waits for another writer of the ledger: less than a caller does."""

PRUNE_EVERY = 10_000
"""Lines written between two looks at how many there are."""

KeeperStatus: TypeAlias = Callable[[], dict[str, Any]]
"""Asks the keeper how it is; raises where it does not answer."""

PageSource: TypeAlias = Callable[[str], str | None]
"""From a page's file name to the page, or None where there is none."""


@dataclass(frozen=True, slots=True)
class Desk:
    """One replica's parts; ``open_desk`` makes it, ``close`` ends it.

    Attributes
    ----------
    settings : ServiceSettings
        Of the service.
    home : Path
        Folder of sweeps, models and tokens.
    replica : str
        Name of this replica.
    clock : callable
        The time.
    ledger : Ledger
        Records.
    keyring : Keyring
        Who may ask.
    seen : Ledger
        The same records, over connections of the watch's own.
    watch : Watch
        The board.
    trail : Outbox of RequestRecord
        The request trail.
    arrivals : Outbox of FlagArrival
        When each version of the flags arrived here.
    numbers : Numbers
        What is counted.
    keeper : callable
        Asks the keeper how it is.
    page : callable
        Renders the dashboard's pages.
    """

    settings: ServiceSettings
    home: Path
    replica: str
    clock: Clock
    ledger: Ledger
    keyring: Keyring
    seen: Ledger
    watch: Watch
    trail: Outbox[RequestRecord]
    arrivals: Outbox[FlagArrival]
    numbers: Numbers
    keeper: KeeperStatus
    page: PageSource

    def start(self) -> None:
        """Begin to look and to write."""
        self.watch.start()
        self.trail.start()
        self.arrivals.start()

    def close(self) -> None:
        """End everything; what waits is written."""
        self.watch.stop()
        self.trail.stop()
        self.arrivals.stop()
        self.ledger.close()
        self.seen.close()

    def note(self, record: RequestRecord) -> None:
        """Count an answer and take its line."""
        self.numbers.answered(record.method, record.path, record.status, record.latency_s)
        self.trail.put(record)

    def unready(self) -> str:
        """Return why no signal can be given; empty where one can."""
        if not self.watch.alive:
            return "the watch of the ledger has ended; the replica will be replaced"
        if self.watch.board is None:
            if self.watch.trouble:  # its text names the database, and strangers read this
                return "the ledger cannot be read; GET /v1/status says more"
            return "there is no book of signals yet; the keeper makes one when a champion serves"
        return ""


def open_desk(
    settings: ServiceSettings,
    *,
    replica: str,
    clock: Clock,
    keeper: KeeperStatus,
    page: PageSource | None = None,
) -> Desk:
    """Return the parts of a replica, not started yet; it renders pages itself unless told.

    Raises
    ------
    SettingsError
        If there are no tokens, or no root.
    LedgerError
        If the ledger cannot be opened.
    """
    home = settings.home()
    keyring = load_keyring(tokens_path(home))
    ledger = open_ledger(ledger_url(home), busy_s=BUSY_S)
    seen = Ledger(ledger_url(home), busy_s=BUSY_S)  # changes that wait must not hold up the watch
    arrivals: Outbox[FlagArrival] = Outbox("flag arrivals", FlagArrivals(ledger).record)

    def arrived(view: FlagView, at: datetime) -> None:
        arrivals.put(FlagArrival(view.version, replica, at))

    log = RequestLog(ledger)

    since_pruned = 0

    def write(records: Sequence[RequestRecord]) -> None:
        nonlocal since_pruned
        log.append(records)
        since_pruned += len(records)
        if since_pruned >= PRUNE_EVERY:  # counting what is there takes long
            log.prune(settings.keep_requests)
            since_pruned = 0

    return Desk(
        settings=settings,
        home=home,
        replica=replica,
        clock=clock,
        ledger=ledger,
        keyring=keyring,
        seen=seen,
        watch=Watch(
            seen,
            clock=clock,
            every_s=settings.pulse_every_s,
            safe_after_s=settings.safe_after_s,
            max_price_age=timedelta(hours=settings.max_price_age_hours),
            arrived=arrived,
        ),
        trail=Outbox("request trail", write),
        arrivals=arrivals,
        numbers=Numbers(replica),
        keeper=keeper,
        page=page or _own_pages(settings, home, ledger, clock),
    )


def _own_pages(settings: ServiceSettings, home: Path, ledger: Ledger, clock: Clock) -> PageSource:
    from serve_apps.gallery import Gallery  # noqa: PLC0415 - seconds to import

    return Gallery(settings, home=home, ledger=ledger, clock=clock).page
