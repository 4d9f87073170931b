"""The trail of requests on both databases: bounded, newest first, and fit for any text."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pmx_ray.errors import LedgerError
from pmx_ray.ledger import open_ledger
from pmx_ray.ledger.request_log import RequestLog, RequestRecord

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def request(n: int, status: int = 200) -> RequestRecord:
    return RequestRecord(
        id=f"r{n}",
        at=NOON + timedelta(seconds=n),
        token="desk",
        method="GET",
        path="/v1/signals/AAPL",
        status=status,
        latency_s=0.004,
        signal_id="20260227-bbbbbbbbbbbb-f7-LF-AAPL",
        replica="abc",
    )


def test_append_when_read_back_then_newest_first_and_each_once(url: str) -> None:
    with open_ledger(url) as ledger:
        log = RequestLog(ledger)
        log.append([])
        log.append([request(2), request(0), request(1)])
        log.append([request(3), replace(request(1), status=500)])
        assert log.recent(3) == (request(3), request(2), request(1))
        assert len(log.recent(9)) == 4


def test_counts_when_asked_then_by_status_from_a_time_on(url: str) -> None:
    with open_ledger(url) as ledger:
        log = RequestLog(ledger)
        assert log.counts() == {}
        log.append([request(0, 429), request(1), request(2), request(3, 503)])
        assert list(log.counts().items()) == [(200, 2), (429, 1), (503, 1)]
        assert log.counts(NOON + timedelta(seconds=2)) == {200: 1, 503: 1}
        with pytest.raises(LedgerError, match="without a time zone"):
            log.counts(datetime(2026, 3, 1))


@pytest.mark.parametrize(("keep", "left"), [(0, 0), (2, 2), (5, 5), (9, 5)])
def test_prune_when_more_than_that_then_the_last_written_stay(
    url: str, keep: int, left: int
) -> None:
    with open_ledger(url) as ledger:
        log = RequestLog(ledger)
        log.append([request(n) for n in range(5)])
        assert log.prune(keep) == 5 - left
        assert [r.id for r in log.recent(9)] == [f"r{n}" for n in range(4, 4 - left, -1)]
        log.append([request(7)])
        assert log.recent(1) == (request(7),)
        with pytest.raises(LedgerError, match="keep was -1"):
            log.prune(-1)


def test_append_when_path_is_hostile_then_kept_as_one_printable_line(url: str) -> None:
    path = "/v1/signals/\x00'; DROP TABLE requests; --\ud800\n" + "x" * 500
    with open_ledger(url) as ledger:
        log = RequestLog(ledger)
        log.append([replace(request(0), path=path)])
        (kept,) = log.recent(1)
        assert kept.path.startswith("/v1/signals/?'; DROP TABLE requests; --? xxx")
        assert (len(kept.path), kept.path.isprintable()) == (200, True)


@pytest.mark.parametrize(
    "changes", [{"id": ""}, {"at": datetime(2026, 3, 1)}, {"latency_s": float("nan")}]
)
def test_request_when_it_has_no_place_or_time_then_refused(changes: dict[str, object]) -> None:
    with pytest.raises(LedgerError, match="request"):
        replace(request(0), **changes)
