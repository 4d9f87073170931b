"""The language model's calls on both databases: each with an answer or a reason."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from pmx_ray.errors import LedgerError
from pmx_ray.ledger import open_ledger
from pmx_ray.ledger.assessments import AssessmentRecord, Assessments, CallStatus
from pmx_ray.taxonomy import Action, RiskLevel

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ANSWERED = AssessmentRecord(
    key="k" * 64,
    model="smollm2",
    digest="d" * 64,
    ticker="AAPL",
    cutoff=date(2026, 2, 27),
    action=Action.SELL,
    risk_level=RiskLevel.EXTREME,
    confidence=0.7,
    expected_return=-0.01,
    prompt_tokens=120,
    output_tokens=31,
    seconds=1.9,
    cached=False,
    status=CallStatus.ANSWERED,
    reason="",
    at=NOON,
)
FAILED = replace(
    ANSWERED,
    action=Action.HOLD,
    risk_level=None,
    confidence=None,
    expected_return=None,
    status=CallStatus.FAILED,
    reason="no answer in 5 s",
    at=NOON + timedelta(seconds=9),
)


def test_record_when_read_back_then_as_it_was_and_each_once(url: str) -> None:
    with open_ledger(url) as ledger:
        calls = Assessments(ledger)
        assert calls.counts() == {"answered": 0, "failed": 0}
        calls.record([])
        calls.record([FAILED, ANSWERED])
        calls.record([ANSWERED])
        assert calls.since(date(2026, 2, 27)) == (ANSWERED, FAILED)
        assert calls.since(date(2026, 2, 28)) == ()
        assert calls.counts() == {"answered": 1, "failed": 1}


def test_record_when_the_cache_answers_again_then_a_call_of_its_own(url: str) -> None:
    again = replace(ANSWERED, cached=True, seconds=0.0, at=NOON + timedelta(seconds=1))
    with open_ledger(url) as ledger:
        Assessments(ledger).record([ANSWERED, again])
        assert Assessments(ledger).since(ANSWERED.cutoff) == (ANSWERED, again)


def test_record_when_reason_is_garbage_of_a_model_then_kept_as_one_line(url: str) -> None:
    garbage = replace(FAILED, reason="answer was '\x00\x1b[31m\ud800\n'" + "9" * 900)
    with open_ledger(url) as ledger:
        Assessments(ledger).record([garbage])
        (kept,) = Assessments(ledger).since(FAILED.cutoff)
        assert kept.reason.startswith("answer was '??[31m? '999")
        assert len(kept.reason) == 500


@pytest.mark.parametrize(
    ("standing", "changes", "said"),
    [
        (ANSWERED, {"risk_level": None}, "lacks a part"),
        (ANSWERED, {"expected_return": None}, "lacks a part"),
        (ANSWERED, {"confidence": 1.2}, r"confidence 1\.2"),
        (ANSWERED, {"expected_return": float("nan")}, "expected return nan"),
        (ANSWERED, {"seconds": -1.0}, r"-1\.0 seconds"),
        (ANSWERED, {"at": datetime(2026, 3, 1)}, "without a time zone"),
        (FAILED, {"action": Action.BUY}, "must hold"),
        (FAILED, {"confidence": 0.5}, "must hold"),
        (FAILED, {"reason": ""}, "with a reason"),
    ],
)
def test_call_when_it_is_neither_answered_nor_failed_then_refused(
    standing: AssessmentRecord, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(LedgerError, match=said):
        replace(standing, **changes)


@pytest.mark.parametrize(
    "change", ["action = NULL", "action = 'NO_DATA'", "risk_level = NULL", "status = 'maybe'"]
)
def test_table_when_written_past_our_code_then_it_refuses(url: str, change: str) -> None:
    with open_ledger(url) as ledger:
        Assessments(ledger).record([ANSWERED])
        with pytest.raises(Exception, match=r"(?i)constraint"), ledger.engine.begin() as connection:
            connection.execute(text(f"UPDATE llm_assessments SET {change}"))
