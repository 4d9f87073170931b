"""The keeper: looks for a new bar or a new champion, and then makes a new book.

One thread does everything, so that books come one after the other. What it holds can be lost: a
keeper that starts anew finds the newest book in the ledger and goes on from there.
"""

import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

import structlog

from pmx_ray import tracing
from pmx_ray.clock import Clock
from pmx_ray.data.calendar import close_time
from pmx_ray.data.panel import Panel
from pmx_ray.errors import DataError, LedgerError, LlmError, PmxError, RegistryError
from pmx_ray.governance.opening import open_registry
from pmx_ray.ledger import Ledger
from pmx_ray.ledger.aliases import Placement
from pmx_ray.ledger.assessments import Assessments
from pmx_ray.ledger.books import Bookshelf
from pmx_ray.ledger.pulse import Pulse, PulseReader
from pmx_ray.ledger.signal_log import SignalLog, SignalRecord
from pmx_ray.llm.adviser import Adviser
from pmx_ray.llm.recording import Recorder
from pmx_ray.signals.monitor import watch as watch_health
from pmx_ray.signals.quality import LOOK_BACK_SESSIONS, SignalQuality
from pmx_ray.signals.tracker import SignalTracker
from pmx_ray.signals.types import SignalBook, Source
from serve_apps.board import read_book, without_withdrawn
from serve_apps.bookmaking import (
    Speaker,
    make_book,
    past_quality,
    settings_sha256,
    track,
    with_speaker,
)
from serve_apps.counsel import Counsel
from serve_apps.in_service import ALIASES, called_on, models_in_service
from serve_apps.prices import PriceFeed
from serve_apps.settings import ServiceSettings
from serve_apps.speakers import Forecasting, ask

EXCHANGES = "llm/exchanges.jsonl"
"""Where under the service's folder every answer of its language model is kept, to be replayed."""

_log = structlog.get_logger()


@dataclass
class _Known:
    """What the keeper has seen."""

    trouble: str = ""
    book: SignalBook | None = None
    book_seq: int = 0
    unshelved: SignalBook | None = None
    tried: Panel | None = None
    tried_at_s: float = -1e18
    judged: tuple[str, int] | None = None
    pulse: Pulse | None = None
    n_books: int = 0
    reverted: list[str] = field(default_factory=list)
    unjudged: str = ""
    past: "_Past | None" = None


@dataclass(frozen=True, slots=True)
class _Past:
    """Signals that a bar's are judged by, read once for it."""

    bar: tuple[str, int]  # hash of the prices, and the horizon
    records: tuple[SignalRecord, ...]


class Keeper:
    """Keeps the newest book true.

    Parameters
    ----------
    settings : ServiceSettings
        Of the service.
    ledger : Ledger
        Where books go; closed by ``stop``.
    clock : callable
        The time.
    forecast : callable
        Asks the models.
    counsel : Counsel, optional
        Asks the language model; none is asked unless given or named in the settings. One that the
        settings name keeps every answer in ``llm/exchanges.jsonl``, and is not asked twice.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        ledger: Ledger,
        *,
        clock: Clock,
        forecast: Forecasting,
        counsel: Counsel | None = None,
    ) -> None:
        self._settings, self._ledger, self._clock = settings, ledger, clock
        self._reader = PulseReader(ledger)
        self._tracker = SignalTracker(SignalLog(ledger))
        self._home = settings.home()
        self._forecast = forecast
        self._owned, self._unrecorded = ExitStack(), ""
        if counsel is None and settings.llm is not None:
            recorder, self._unrecorded = _recorder(self._home / EXCHANGES)
            if recorder is not None:
                self._owned.enter_context(recorder)
            adviser = Adviser.of(settings.llm, recorder=recorder)
            self._owned.callback(adviser.close)
            counsel = Counsel(
                adviser,
                settings.llm,
                assessments=Assessments(ledger),
                clock=clock,
            )
        self._counsel = counsel
        self._policy = settings.policy_in_force()
        self._prices = PriceFeed(settings, home=self._home, clock=clock)
        self._known = _Known()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether the thread is running."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to keep."""
        self._thread.start()

    def stop(self) -> None:
        """End, and close the ledger."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)
        self._owned.close()
        self._ledger.close()

    def status(self) -> dict[str, Any]:
        """Return how the keeper is, as JSON values."""
        known, panel = self._known, self._prices.panel
        return {
            "alive": self.alive,
            "trouble": known.trouble,
            "newest_session": None if panel is None else str(panel.sessions[-1]),
            "n_books": known.n_books,
            "tracked": dict(self._tracker.counts()),
            "reverted": list(known.reverted),
            "unjudged": known.unjudged,
            "llm": None
            if self._counsel is None
            else {**self._counsel.status(), "unrecorded": self._unrecorded},
        }

    def look(self) -> None:
        """Look once for a new bar, champion or answer, and do what follows."""
        known = self._known
        try:
            self._look()
            known.trouble = ""
        except PmxError as error:
            if str(error) != known.trouble:
                _log.warning("keeper waits", error=str(error))
            known.trouble = str(error)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - the thread must live; the trouble is shown
                self._known.trouble = f"the keeper failed: {error!r}"
                _log.error("keeper failed", error=repr(error), exc_info=True)
            self._stop.wait(self._settings.pulse_every_s)

    def _look(self) -> None:
        known, pulse = self._known, self._reader.read()
        if known.unshelved is not None:  # it could not be written: the same one again
            self._shelve(known.unshelved)
        if pulse.book_seq > known.book_seq:
            known.book, known.book_seq = None, pulse.book_seq  # another keeper's, or of before
        moved = known.pulse is None or (
            (pulse.flags_version, pulse.aliases) != (known.pulse.flags_version, known.pulse.aliases)
        )
        if moved:
            self._withdraw()
        panel = self._prices.newest()
        again = time.monotonic() - known.tried_at_s >= self._settings.bars_every_s
        if moved or again or panel is not known.tried:
            # What fails is tried again after ``bars_every_s``, and not at every look.
            known.tried, known.tried_at_s, known.pulse = panel, time.monotonic(), pulse
            self._renew(panel)
        self._judge(panel)
        if self._counsel is not None and known.book is not None:
            self._hear(panel)
        if self._prices.trouble:
            raise DataError(self._prices.trouble)

    def _renew(self, panel: Panel) -> None:
        """Make a book if the newest was made from other prices or models."""
        called = called_on(self._ledger)
        if not called or self._holds(panel, called):
            return
        cutoff = str(panel.sessions[-1])
        with tracing.span("book", {"pmx.cutoff": cutoff, "pmx.tickers": panel.n_tickers}):
            self._remake(panel, called)

    def _remake(self, panel: Panel, called: Mapping[Source, Placement]) -> None:
        speakers, failures = ask(
            panel,
            called,
            registry=open_registry(self._home, make_key=False),
            ledger=self._ledger,
            forecast=self._forecast,
        )
        if not speakers and self._newest_book() is not None:
            reasons = "; ".join(f"{source}: {why}" for source, why in failures.items())
            raise RegistryError(f"no model speaks, and the last book stays: {reasons}")
        self._publish(panel, speakers, failures)

    def _withdraw(self) -> None:
        """Shelve the newest book without models that left service, before anything is computed."""
        book = self._newest_book()
        if book is None:
            return
        kept = without_withdrawn(book, models_in_service(self._ledger))
        if kept is not book:
            self._shelve(kept)

    def _newest_book(self) -> SignalBook | None:
        if self._known.book is None:
            newest = Bookshelf(self._ledger).latest()
            if newest is not None:
                try:
                    self._known.book = read_book(newest.document, book_id=newest.book_id)
                except LedgerError as error:  # of another release: a new one takes its place
                    _log.warning("newest book cannot be read", error=str(error))
        return self._known.book

    def _publish(
        self, panel: Panel, speakers: list[Speaker], failures: Mapping[Source, str]
    ) -> None:
        if self._counsel is not None and speakers:
            said = self._counsel.said(panel, step=speakers[0].step)
            if isinstance(said, str):
                failures = {**failures, Source.LLM: said}
            else:
                speakers = [*speakers, said]
        closed_at, note = self._dated(panel)
        book = make_book(
            panel,
            speakers,
            failures=failures,
            quality=self._quality(panel, speakers),
            settings=self._settings.signals,
            computed_at=self._clock(),
            closed_at=closed_at,
            note=note,
        )
        before = self._newest_book()
        if before is None or book != before.model_copy(update={"computed_at": book.computed_at}):
            self._shelve(book)

    def _dated(self, panel: Panel) -> tuple[datetime | None, str]:
        """Return when the last session closed, and what answers say about the prices."""
        last: date = panel.sessions[-1].astype(object)
        if self._settings.clock == "live":
            return close_time(panel.calendar, last), ""
        return None, f"Prices are replayed; the last session is {last}."

    def _holds(self, panel: Panel, called: Mapping[Source, Placement]) -> bool:
        """Return whether the newest book was made from these prices, models and settings."""
        book = self._newest_book()
        if book is None or book.panel_sha256 != panel.sha256:
            return False
        made = {
            source: (model.model_id, model.alias_version)
            for source, model in book.models.items()
            if source is not Source.LLM
        }
        return (
            made == {source: (place.model, place.version) for source, place in called.items()}
            and book.settings_sha256 == settings_sha256(self._settings.signals)
            and (book.closed_at, book.note) == self._dated(panel)
        )

    def _quality(self, panel: Panel, speakers: list[Speaker]) -> Mapping[Source, SignalQuality]:
        """Return how good the signals of those who speak were, before this bar was first seen."""
        if not speakers:
            return {}
        step = max(speaker.step for speaker in speakers)
        bar = (panel.sha256, step)
        if self._known.past is None or self._known.past.bar != bar:
            first = panel.sessions[-min(LOOK_BACK_SESSIONS + step, panel.n_sessions)]
            records = SignalLog(self._ledger).since(first.astype(object))
            self._known.past = _Past(bar, records)
        models = {speaker.model.source: speaker.model.model_id for speaker in speakers}
        return past_quality(self._known.past.records, panel, self._settings.signals, models=models)

    def _shelve(self, book: SignalBook) -> None:
        """Write the signals first and the book last: what is served was recorded."""
        known = self._known
        known.unshelved, book_id = book, book.id
        track(self._tracker, book, book_id)
        known.book_seq = Bookshelf(self._ledger).put(
            book_id,
            cutoff=book.cutoff,
            computed_at=book.computed_at,
            document=book.model_dump_json(),
        )
        known.book, known.unshelved = book, None
        tracing.note({"pmx.book": book_id[:12], "pmx.models": len(book.models)})
        known.n_books += 1

    def _judge(self, panel: Panel) -> None:
        """Take the champion out of service if its signals have gone bad; once a bar."""
        book = self._known.book
        if book is None or Source.CHAMPION not in book.models or book.panel_sha256 != panel.sha256:
            return
        about = (panel.sha256, book.models[Source.CHAMPION].alias_version)
        if self._known.judged == about:
            return
        try:
            entry = watch_health(
                panel,
                registry=open_registry(self._home, make_key=False),
                ledger=self._ledger,
                policy=self._policy,
                clock=self._clock,
                replayed=self._settings.clock == "replay",
            )
        except RegistryError as error:  # nothing can take over: the book says who speaks
            self._known.unjudged = str(error)
            _log.error("champion not judged", error=str(error))
            self._known.judged = about
            return
        self._known.unjudged, self._known.judged = "", about
        if entry is not None:
            self._known.reverted.append(str(entry.payload.get("reason", "")))
            _log.warning("champion reverted", entry=entry.seq)
            self._withdraw()

    def _hear(self, panel: Panel) -> None:
        """Ask the language model where it has not answered on this bar; publish what it said."""
        book, counsel = self._known.book, self._counsel
        assert book is not None  # noqa: S101 - asked by the caller
        assert counsel is not None  # noqa: S101 - asked by the caller
        heard = counsel.heard(panel, step=_step(book))
        if heard is not None and book.panel_sha256 == panel.sha256:
            speakers = [] if isinstance(heard, str) else [heard]
            self._shelve(
                with_speaker(
                    book,
                    heard,
                    panel,
                    quality=self._quality(panel, speakers),
                    settings=self._settings.signals,
                    computed_at=self._clock(),
                )
            )
            counsel.passed_on()


def _step(book: SignalBook) -> int:
    """Return the horizon of a book: the champion's, else that of whoever speaks."""
    for source in ALIASES:
        for entry in book.entries.values():
            candidate = entry.candidates.get(source)
            if candidate is not None and candidate.signal is not None:
                return candidate.signal.step
    return 1


def _recorder(path: Path) -> tuple[Recorder | None, str]:
    """Return what keeps the language model's answers, or why it keeps none."""
    try:
        return Recorder(path), ""
    except LlmError as error:
        _log.warning("answers are not recorded", error=str(error))
        return None, str(error)
