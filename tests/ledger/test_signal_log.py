"""Signals on both databases: never without an action, each once, judged in place."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest
from sqlalchemy import event, text

from pmx_ray.errors import LedgerError
from pmx_ray.ledger import open_ledger
from pmx_ray.ledger.books import Bookshelf
from pmx_ray.ledger.signal_log import SignalCounts, SignalLog, SignalRecord, latest_of_each
from pmx_ray.taxonomy import Action, RiskLevel

DAY = date(2026, 2, 27)
ONE = SignalRecord(
    book_id="b" * 64,
    ticker="AAPL",
    source="champion",
    action=Action.BUY,
    risk_level=RiskLevel.EXTREME,
    step=5,
    expected_return=0.012,
    volatility=0.03,
    confidence=0.62,
    position_frac=0.01,
    cutoff=DAY,
    model_id="m1",
    label="garch",
    close=101.5,
    valid=None,
    why="edge after cost is 0.9 %",
)


def judged(record: SignalRecord, valid: bool) -> Any:
    return (*record.key, valid, {"costs": valid, "regime": True})


def test_record_when_new_then_read_back_as_it_was(url: str) -> None:
    other = replace(ONE, source="llm", close=None, action=Action.HOLD, position_frac=0.0)
    with open_ledger(url) as ledger:
        assert SignalLog(ledger).record([ONE, other]) == 2
    with open_ledger(url) as ledger:
        assert SignalLog(ledger).since(DAY) == (ONE, other)
        assert SignalLog(ledger).since(DAY, "llm") == (other,)
        assert SignalLog(ledger).since(date(2026, 2, 28)) == ()
        assert SignalLog(ledger).of_books([ONE.book_id, "c"]) == (ONE, other)
        assert SignalLog(ledger).of_books(["c"]) == ()


def test_since_when_a_model_is_named_then_its_signals_alone(url: str) -> None:
    other = replace(ONE, ticker="MSFT", model_id="m2")
    with open_ledger(url) as ledger:
        SignalLog(ledger).record([ONE, other, replace(other, source="llm")])
        assert SignalLog(ledger).since(DAY, "champion", model_id="m2") == (other,)


def test_since_when_a_bar_has_several_books_then_in_the_order_of_the_shelf(url: str) -> None:
    # By their ids the first book would come last; the one that was never shelved counts least.
    first, last, lost = (replace(ONE, book_id=digit * 64) for digit in "b1f")
    with open_ledger(url) as ledger:
        for record in (first, last):
            Bookshelf(ledger).put(
                record.book_id, cutoff=DAY, computed_at=datetime(2026, 3, 1, tzinfo=UTC),
                document="{}",
            )  # fmt: skip
        SignalLog(ledger).record([last, lost, first])
        assert SignalLog(ledger).since(DAY) == (lost, first, last)
        assert latest_of_each(SignalLog(ledger).since(DAY)) == (last,)


def test_record_results_when_many_then_written_in_one_statement(url: str) -> None:
    records = [replace(ONE, ticker=f"T{n}") for n in range(30)]
    with open_ledger(url) as ledger:
        log = SignalLog(ledger)
        log.record(records)
        updates = []
        event.listen(
            ledger.engine,
            "before_cursor_execute",
            lambda *told: updates.append(told[-1]) if "UPDATE signals" in told[2] else None,
        )
        log.record_results([judged(record, n % 2 == 0) for n, record in enumerate(records)])
        assert updates == [True]
        assert [r.valid for r in sorted(log.since(DAY), key=lambda r: int(r.ticker[1:]))] == [
            n % 2 == 0 for n in range(30)
        ]


def test_record_when_a_model_wrote_garbage_then_kept_as_one_line(url: str) -> None:
    with open_ledger(url) as ledger:
        SignalLog(ledger).record([replace(ONE, why="\x00\n\ud800" + "x" * 2000)])
        (kept,) = SignalLog(ledger).since(DAY)
        assert kept.why.startswith("? ?xxx")
        assert len(kept.why) == 1000


def test_record_when_repeated_then_nothing_is_new_and_the_verdict_stays(url: str) -> None:
    with open_ledger(url) as ledger:
        log = SignalLog(ledger)
        log.record([ONE])
        log.record_results([judged(ONE, False)])
        other = replace(ONE, ticker="MSFT")
        assert log.record([other, ONE, other]) == 1
        assert log.since(DAY) == (replace(ONE, valid=False), other)


def test_record_results_when_later_then_it_counts(url: str) -> None:
    with open_ledger(url) as ledger:
        log = SignalLog(ledger)
        log.record([ONE])
        log.record_results([judged(ONE, False)])
        log.record_results([judged(ONE, True)])
        assert log.since(DAY)[0].valid is True
        with ledger.engine.connect() as connection:
            layers = connection.execute(text("SELECT layers FROM signals")).scalar_one()
        assert str(layers).replace("'", '"').replace("True", "true") == (
            '{"costs": true, "regime": true}'
        )


def test_record_results_when_signal_is_unknown_then_none_is_written(url: str) -> None:
    with open_ledger(url) as ledger:
        log = SignalLog(ledger)
        log.record([ONE])
        unknown = replace(ONE, ticker="ZZZ")
        with pytest.raises(LedgerError, match="bbbbbbbbbbbb/ZZZ/champion is not in the ledger"):
            log.record_results([judged(ONE, True), judged(unknown, True)])
        assert log.since(DAY)[0].valid is None


def test_record_all_when_a_result_has_no_signal_then_no_signal_is_written(url: str) -> None:
    with open_ledger(url) as ledger:
        log = SignalLog(ledger)
        with pytest.raises(LedgerError, match="ZZZ"):
            log.record_all([ONE], [judged(replace(ONE, ticker="ZZZ"), True)])
        assert log.counts()["n"] == 0
        assert log.record_all([ONE], [judged(ONE, True)]) == 1
        assert log.counts()["valid"] == 1


def test_counts_when_of_all_kinds_then_by_each(url: str) -> None:
    others = [
        replace(ONE, ticker="MSFT", action=Action.SELL, position_frac=-0.01),
        replace(ONE, source="llm", risk_level=RiskLevel.LOW),
    ]
    with open_ledger(url) as ledger:
        log = SignalLog(ledger)
        assert log.counts() == SignalCounts(
            n=0, by_source={}, by_action={}, by_risk_level={}, valid=0, invalid=0, not_judged=0
        )
        log.record([ONE, *others])
        log.record_results([judged(ONE, True), judged(others[0], False)])
        assert log.counts() == SignalCounts(
            n=3,
            by_source={"champion": 2, "llm": 1},
            by_action={"buy": 2, "sell": 1},
            by_risk_level={"extreme": 2, "low": 1},
            valid=1,
            invalid=1,
            not_judged=1,
        )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"volatility": float("nan")}, "volatility of signal .* was nan"),
        ({"close": float("inf")}, "close of signal .* was inf"),
        ({"confidence": 1.01}, r"confidence 1\.01"),
        ({"step": 0}, "step 0"),
        ({"ticker": ""}, "part of its key"),
    ],
)
def test_signal_when_a_figure_is_out_of_range_then_refused(
    changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(LedgerError, match=said):
        replace(ONE, **changes)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("action", None),
        ("action", "NO_DATA"),
        ("risk_level", None),
        ("risk_level", "severe"),
        ("confidence", 1.5),
        ("step", 0),
    ],
)
def test_table_when_written_past_our_code_then_it_refuses(
    url: str, column: str, value: object
) -> None:
    with open_ledger(url) as ledger:
        SignalLog(ledger).record([ONE])
        with pytest.raises(Exception, match=r"(?i)constraint"), ledger.engine.begin() as connection:
            connection.execute(text(f"UPDATE signals SET {column} = :v"), {"v": value})
        assert SignalLog(ledger).since(DAY) == (ONE,)


def test_record_when_threads_write_the_same_then_each_signal_once(url: str) -> None:
    records = [replace(ONE, ticker=f"T{n}") for n in range(40)]
    with open_ledger(url) as ledger, ThreadPoolExecutor(8) as pool:
        log = SignalLog(ledger)
        orders = [records, records[::-1]] * 8
        new = sum(pool.map(log.record, orders))
        assert new == log.counts()["n"] == 40
