"""The tracker: live counts, nothing twice, nothing lost that was flushed."""

import multiprocessing
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event, text

from pmx_ray.errors import LedgerError
from pmx_ray.ledger import Ledger, open_ledger
from pmx_ray.ledger.signal_log import SignalLog, SignalRecord
from pmx_ray.signals.tracker import SignalTracker
from pmx_ray.taxonomy import Action, RiskLevel

ONE = SignalRecord(
    book_id="b" * 64,
    ticker="AAPL",
    source="llm",
    action=Action.BUY,
    risk_level=RiskLevel.HIGH,
    step=5,
    expected_return=0.012,
    volatility=0.03,
    confidence=0.62,
    position_frac=0.01,
    cutoff=date(2026, 2, 27),
    model_id="m1",
    label="smollm2",
    close=101.5,
    valid=None,
    why="it said so",
)
LAYERS = {"statistics": True, "costs": False}


def judge(tracker: SignalTracker, record: SignalRecord, valid: bool) -> None:
    tracker.record_validator_result(*record.key, valid=valid, layers=LAYERS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def opened(path: Path) -> Ledger:
    return open_ledger(f"sqlite:///{path}")


def test_counts_when_not_flushed_then_live_and_nothing_in_the_ledger(path: Path) -> None:
    with opened(path) as ledger:
        log = SignalLog(ledger)
        tracker = SignalTracker(log)
        again = replace(ONE, action=Action.HOLD)
        tracker.register([ONE, again, replace(ONE, ticker="MSFT", action=Action.SELL)])
        judge(tracker, ONE, False)
        assert tracker.counts() == {
            "n": 2,
            "by_source": {"llm": 2},
            "by_action": {"buy": 1, "sell": 1},
            "by_risk_level": {"high": 2},
            "valid": 0,
            "invalid": 1,
            "not_judged": 1,
        }
        assert log.counts()["n"] == 0
        assert tracker.n_pending == 3


def test_flush_when_done_then_on_disk_and_counted_once(path: Path) -> None:
    with opened(path) as ledger:
        tracker = SignalTracker(SignalLog(ledger))
        tracker.register([ONE])
        judge(tracker, ONE, True)
        live = tracker.counts()
        assert tracker.flush() == 1
        assert (tracker.n_pending, tracker.flush(), tracker.counts()) == (0, 0, live)
    with opened(path) as ledger:
        assert SignalLog(ledger).since(ONE.cutoff) == (replace(ONE, valid=True),)
        again = SignalTracker(SignalLog(ledger))
        again.register([ONE])  # as a keeper that was restarted does
        assert again.counts() == live
        judge(again, ONE, False)
        assert (again.counts()["valid"], again.counts()["invalid"]) == (0, 1)
        assert again.flush() == 0
        assert SignalLog(ledger).counts() == again.counts()


def test_result_when_signal_was_never_registered_then_refused_and_flush_still_works(
    path: Path,
) -> None:
    with opened(path) as ledger:
        tracker = SignalTracker(SignalLog(ledger))
        tracker.register([ONE])
        with pytest.raises(LedgerError, match="/ZZZ/llm was never registered"):
            judge(tracker, replace(ONE, ticker="ZZZ"), True)
        assert tracker.flush() == 1


def test_flush_when_ledger_fails_then_everything_waits_for_the_next(path: Path) -> None:
    with opened(path) as ledger:
        tracker = SignalTracker(SignalLog(ledger))
        tracker.register([ONE])
        judge(tracker, ONE, True)
        with ledger.engine.begin() as connection:
            connection.execute(text("ALTER TABLE signals RENAME TO away"))
        with pytest.raises(LedgerError, match="cannot be written"):
            tracker.flush()
        assert tracker.n_pending == 2
        with ledger.engine.begin() as connection:
            connection.execute(text("ALTER TABLE away RENAME TO signals"))
        assert tracker.flush() == 1
        assert SignalLog(ledger).counts()["valid"] == 1


def test_flush_when_a_signal_is_judged_anew_meanwhile_then_the_next_flush_writes_it(
    path: Path,
) -> None:
    with opened(path) as ledger:
        tracker = SignalTracker(SignalLog(ledger))
        tracker.register([ONE])
        judge(tracker, ONE, True)
        event.listen(ledger.engine, "commit", lambda _: judge(tracker, ONE, False), once=True)
        assert (tracker.flush(), tracker.n_pending) == (1, 1)
        assert tracker.counts()["invalid"] == 1
        assert (tracker.flush(), tracker.n_pending) == (0, 0)
        assert SignalLog(ledger).since(ONE.cutoff)[0].valid is False


def _register_then_die(path: Path) -> None:
    tracker = SignalTracker(SignalLog(opened(path)))
    tracker.register([ONE])
    judge(tracker, ONE, True)
    tracker.flush()
    tracker.register([replace(ONE, ticker="LOST")])
    os.kill(os.getpid(), signal.SIGKILL)


def test_flush_when_process_is_killed_after_it_then_nothing_is_lost(path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_register_then_die, args=(path,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    with opened(path) as ledger:
        assert SignalLog(ledger).since(ONE.cutoff) == (replace(ONE, valid=True),)


def test_tracker_when_threads_register_judge_and_flush_then_all_arrive(path: Path) -> None:
    records = [replace(ONE, ticker=f"T{n}") for n in range(60)]
    with opened(path) as ledger, ThreadPoolExecutor(8) as pool:
        tracker = SignalTracker(SignalLog(ledger))

        def work(record: SignalRecord) -> int:
            tracker.register([record])
            judge(tracker, record, True)
            return tracker.flush() + (tracker.counts()["n"] < 1)

        assert sum(pool.map(work, records * 2)) == 60
        assert SignalLog(ledger).counts()["valid"] == 60
        assert tracker.n_pending == 0


STEPS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["register", "pass", "fail", "flush"])),
    max_size=25,
)


@settings(max_examples=25, deadline=None)
@given(STEPS)
def test_counts_when_anything_happens_then_as_a_plain_dictionary_says(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, str]]
) -> None:
    path = tmp_path_factory.mktemp("tracker") / "ledger.db"
    with opened(path) as ledger:
        tracker = SignalTracker(SignalLog(ledger))
        twin: dict[int, bool | None] = {}
        for n, what in steps:
            record = replace(ONE, ticker=f"T{n}")
            if what == "flush":
                tracker.flush()
            elif what == "register":
                tracker.register([record])
                twin.setdefault(n, None)
            elif n in twin:
                twin[n] = what == "pass"
                judge(tracker, record, what == "pass")
        verdicts = list(twin.values())
        counts = tracker.counts()
        assert (counts["n"], counts["valid"]) == (len(twin), verdicts.count(True))
        assert (counts["invalid"], counts["not_judged"]) == (
            verdicts.count(False),
            verdicts.count(None),
        )
        tracker.flush()
        assert SignalLog(ledger).counts() == counts
