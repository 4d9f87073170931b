import sqlite3
import threading
from datetime import timedelta

import pytest
import structlog
from serve_cases import FAILED, GOOD, SERVED_BY, MovingClock, book, place, set_flags, shelve
from signal_cases import model

from pmx_ray.ledger import open_ledger
from pmx_ray.ledger.aliases import Alias
from pmx_ray.signals.types import FlagStatus, Source
from pmx_ray.taxonomy import Action
from serve_apps.in_service import models_in_service
from serve_apps.watch import Watch

SAFE_AFTER_S = 30.0


class Fixture:
    """A watch over a real ledger whose file can be taken away, with a clock to move."""

    def __init__(self, root):
        self.path = root / "ledger.db"
        self.ledger = open_ledger(f"sqlite:///{self.path}")
        self.clock = MovingClock()
        self.arrived = []
        self.watch = Watch(
            self.ledger,
            clock=self.clock,
            every_s=0.01,
            safe_after_s=SAFE_AFTER_S,
            max_price_age=timedelta(hours=96),
            arrived=lambda view, at: self.arrived.append((view.version, at)),
        )

    def serve(self):
        place(self.ledger, {alias: model(s).model_id for s, alias in SERVED_BY.items()})
        shelve(self.ledger, book())

    def look(self):
        self.watch.look()
        return self.watch.board

    def break_ledger(self):
        """Hide the tables from every reader, as a restore or a wrong migration would."""
        self._run("ALTER TABLE flag_versions RENAME TO hidden")

    def mend_ledger(self):
        self._run("ALTER TABLE hidden RENAME TO flag_versions")

    def _run(self, statement):
        connection = sqlite3.connect(self.path, isolation_level=None)
        connection.execute(statement)
        connection.close()


@pytest.fixture
def case(tmp_path):
    made = Fixture(tmp_path)
    yield made
    made.watch.stop()
    made.ledger.close()


def test_look_when_there_is_no_book_then_flags_are_known_and_no_board(case):
    assert case.watch.view is None
    assert case.look() is None
    assert (case.watch.view.version, case.watch.view.status) == (0, FlagStatus.LIVE)
    assert case.watch.trouble == ""


def test_look_when_a_book_comes_then_a_board_and_then_the_same_one(case):
    assert case.look() is None
    case.serve()
    up = case.look()
    assert up.book == book()
    assert up.book_id == book().id
    assert case.look() is up


def test_look_when_a_flag_changed_then_seen_at_the_next_look(case):
    case.serve()
    before = case.look()
    assert before.bundle(GOOD).signal.action is Action.BUY
    version = set_flags(case.ledger, kill_switch=True)
    after = case.look()
    assert (after.view.version, after.bundle(GOOD).route) == (version, "killed")
    assert after.bundle(GOOD).signal.action is Action.HOLD
    assert before.bundle(GOOD).signal.action is Action.BUY  # who began on it ends on it


def test_look_when_versions_arrive_then_each_is_told_once_with_its_time(case):
    started = case.clock()
    case.look()  # what stands at the start did not arrive here
    case.look()
    case.clock.forward(5)
    set_flags(case.ledger, llm_only=True)
    case.look()
    case.look()
    assert case.arrived == [(1, started + timedelta(seconds=5))]


def test_look_when_the_first_look_failed_then_an_old_version_does_not_arrive(case):
    set_flags(case.ledger, llm_only=True)
    case.clock.forward(3 * 86_400)
    case.break_ledger()
    case.look()
    case.mend_ledger()
    assert case.look() is None
    assert (case.watch.view.version, case.watch.view.status) == (1, FlagStatus.LIVE)
    assert case.arrived == []


def test_look_when_ledger_was_gone_for_a_moment_then_what_changed_arrives(case):
    case.look()
    case.break_ledger()
    case.look()
    case.clock.forward(SAFE_AFTER_S - 1)
    case.mend_ledger()
    set_flags(case.ledger, llm_only=True)
    case.look()
    assert case.arrived == [(1, case.clock())]


def test_look_when_ledger_is_gone_then_stale_then_safe_then_live_again(case):
    case.serve()
    set_flags(case.ledger, time_series_pct=100)
    case.look()
    case.break_ledger()
    seen = []
    for seconds in (1, SAFE_AFTER_S - 2, 1, 3600):
        case.clock.forward(seconds)
        bundle = case.look().bundle(GOOD)
        seen.append((bundle.flags_status, bundle.signal.source))
        assert bundle.flags_version == 1
    assert seen == [
        (FlagStatus.STALE, Source.CHAMPION),
        (FlagStatus.STALE, Source.CHAMPION),
        (FlagStatus.SAFE, Source.FALLBACK),
        (FlagStatus.SAFE, Source.FALLBACK),
    ]
    assert "cannot be read" in case.watch.trouble
    case.mend_ledger()
    bundle = case.look().bundle(GOOD)
    assert (bundle.flags_status, bundle.signal.source) == (FlagStatus.LIVE, Source.CHAMPION)
    assert case.watch.trouble == ""


def test_look_when_killed_and_ledger_is_gone_then_nothing_trades(case):
    case.serve()
    set_flags(case.ledger, kill_switch=True)
    case.look()
    case.break_ledger()
    for seconds in (1, 3600):
        case.clock.forward(seconds)
        assert case.look().bundle(GOOD).signal.action is Action.HOLD


def test_look_when_ledger_never_answered_then_safe_and_no_board(case):
    case.break_ledger()
    assert case.look() is None
    assert case.watch.view.status is FlagStatus.SAFE
    case.mend_ledger()
    case.serve()
    assert case.look().view.status is FlagStatus.LIVE


def test_look_when_champion_moved_then_it_is_withdrawn_without_a_new_book(case):
    case.serve()
    assert case.look().bundle(GOOD).signal.source is Source.CHAMPION
    place(case.ledger, {Alias.CHAMPION: "another"})
    up = case.look()
    assert up.bundle(GOOD).signal.source is Source.FALLBACK
    assert "was taken out of service" in up.bundle(GOOD).reason
    assert up.book_id == up.book.id != book().id
    place(case.ledger, {Alias.CHAMPION: model(Source.CHAMPION).model_id})
    assert case.look().bundle(GOOD).signal.source is Source.CHAMPION


def test_look_when_no_model_was_ever_placed_then_only_the_language_model_may_speak(case):
    shelve(case.ledger, book())
    assert models_in_service(case.ledger) == {}
    assert set(case.look().book.models) == {Source.LLM}


def test_look_when_prices_grow_old_then_nothing_trades_and_a_new_bar_helps(case):
    case.serve()
    assert not case.look().stale_reason
    case.clock.forward(96 * 3600)
    up = case.look()
    assert up.stale_reason
    assert {up.bundle(ticker).signal.action for ticker in (GOOD, FAILED)} == {Action.HOLD}
    shelve(case.ledger, book(closed_at=case.clock(), panel_sha256="1" * 64))
    assert case.look().bundle(GOOD).signal.action is Action.BUY


@pytest.mark.parametrize("document", ["{", "{}", '{"cutoff": "2026-03-31"}', "null", ""])
def test_look_when_newest_book_is_garbage_then_last_one_stays_and_flags_still_count(case, document):
    case.serve()
    case.look()
    _shelve_garbage(case, document)
    set_flags(case.ledger, kill_switch=True)
    up = case.look()
    assert up.book == book()
    assert (up.view.status, up.bundle(GOOD).route) == (FlagStatus.LIVE, "killed")
    assert "book" in case.watch.trouble
    case.look()
    assert "book" in case.watch.trouble  # not forgotten while nothing moves
    shelve(case.ledger, book(note="new"))
    assert case.look().book.note == "new"
    assert case.watch.trouble == ""


def test_look_when_first_book_is_garbage_then_starts_and_says_so(case):
    _shelve_garbage(case, "{}")
    case.watch.start()
    assert case.watch.alive
    assert case.watch.board is None
    assert "book" in case.watch.trouble


def test_look_when_flags_cannot_be_read_then_last_known_and_books_still_come(case):
    case.serve()
    case.look()
    shelve(case.ledger, book(note="new"))
    # The newest version of the flags points to an entry that sets none.
    case._run("INSERT INTO flag_versions (version, seq, at) VALUES (1, 1, '2026-04-01 09:00:00')")
    case.clock.forward(1)
    up = case.look()
    assert up.book.note == "new"
    assert (up.view.status, up.view.version) == (FlagStatus.STALE, 0)
    assert "sets no flags" in case.watch.trouble


def test_thread_when_started_then_follows_the_ledger_until_stopped(case):
    case.serve()
    with structlog.testing.capture_logs() as logs:
        case.watch.start()
        assert case.watch.board is not None  # it looked once before
        set_flags(case.ledger, llm_only=True)
        wait_until(lambda: case.watch.view.version == 1)
        case.watch.stop()
    assert not case.watch.alive
    assert logs == []


def test_thread_when_a_look_fails_then_it_lives_on_and_says_why(case):
    case.serve()
    case.watch.start()
    broken = ZeroDivisionError("broken clock")

    def clock():
        raise broken

    with structlog.testing.capture_logs() as logs:
        case.watch._clock = clock
        wait_until(lambda: "broken clock" in case.watch.trouble)
        case.watch._clock = case.clock
        wait_until(lambda: case.watch.trouble == "")
    assert case.watch.alive
    assert {line["event"] for line in logs} == {"watch failed"}


def wait_until(holds, *, n=3000):
    """Wait, at most half a minute, until something holds."""
    pause = threading.Event()
    for _ in range(n):
        if holds():
            return
        pause.wait(0.01)
    pytest.fail("it never came to hold")


def _shelve_garbage(case, document):
    case._run(
        "INSERT INTO signal_books (book_id, cutoff, computed_at, document) VALUES "
        f"('{'f' * 64}', '2026-03-31', '2026-03-31 21:05:00', '{document}')"
    )
