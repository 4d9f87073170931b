"""Flags on both databases: one winner a version, one audit entry a change, history for ever."""

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from pmx_ray.errors import LedgerError, PmxError, StaleVersionError
from pmx_ray.ledger import open_ledger
from pmx_ray.ledger.audit import AuditLog
from pmx_ray.ledger.chain import NewEntry
from pmx_ray.ledger.flags import FlagLog, FlagRecord, Update, Values

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def setting(**changes: object) -> Update:
    def update(values: Values) -> Values:
        return {**values, **changes}

    return update


def change(
    log: FlagLog, *, key: str | None = None, expected: int | None = None, **changes: object
) -> FlagRecord:
    return log.change(
        setting(**changes),
        actor="ann",
        reason="to see",
        expected_version=expected,
        key=key,
        clock=lambda: NOON,
    )


def test_current_when_nothing_was_set_then_none(url: str) -> None:
    with open_ledger(url) as ledger:
        assert FlagLog(ledger).current() is None
        assert FlagLog(ledger).history(5) == ()


def test_change_when_first_then_version_one_and_its_audit_entry(url: str) -> None:
    with open_ledger(url) as ledger:
        made = change(FlagLog(ledger), expected=0, llm_only=True, time_series_pct=30)
    with open_ledger(url) as ledger:
        assert FlagLog(ledger).current() == FlagLog(ledger).at(1) == made
        assert made == FlagRecord(
            1, {"llm_only": True, "time_series_pct": 30}, NOON, "ann", "to see"
        )
        (entry,) = AuditLog(ledger).entries()
        assert (entry.kind, entry.actor, entry.at) == ("flags", "ann", NOON)
        assert entry.payload == {"version": 1, "reason": "to see", "values": dict(made.values)}
        assert AuditLog(ledger).verify().ok


def test_change_when_repeated_then_every_version_stays_readable(url: str) -> None:
    with open_ledger(url) as ledger:
        log = FlagLog(ledger)
        change(log, a=1)
        AuditLog(ledger).append(NewEntry("note", "ben", {}, NOON))
        change(log, b=2)
        change(log, a=3)
        assert [dict(r.values) for r in log.history(9)] == [
            {"a": 3, "b": 2},
            {"a": 1, "b": 2},
            {"a": 1},
        ]
        assert [record.version for record in log.history(2)] == [3, 2]
        assert log.at(2).values == {"a": 1, "b": 2}
        with pytest.raises(LedgerError, match="no version 4"):
            log.at(4)


@pytest.mark.parametrize("expected", [0, 1, 3])
def test_change_when_version_is_stale_then_refused_and_nothing_written(
    url: str, expected: int
) -> None:
    with open_ledger(url) as ledger:
        log = FlagLog(ledger)
        change(log, a=1)
        change(log, a=2)
        with pytest.raises(StaleVersionError, match=f"from version {expected} and are at .* 2"):
            change(log, expected=expected, a=3)
        assert log.history(9)[0].values == {"a": 2}
        assert AuditLog(ledger).head().n == 2


def test_change_when_key_is_replayed_then_first_answer_even_after_others(url: str) -> None:
    with open_ledger(url) as ledger:
        log = FlagLog(ledger)
        change(log, a=0, b=0)
        first = change(log, key="k", expected=1, a=1)
        change(log, b=5)
        assert change(log, key="k", expected=1, a=1) == first
        assert AuditLog(ledger).head().n == 3
        assert log.history(1)[0].values == {"a": 1, "b": 5}


def test_change_when_key_belongs_to_something_else_then_refused(url: str) -> None:
    with open_ledger(url) as ledger:
        log = FlagLog(ledger)
        change(log, key="k", a=1)
        AuditLog(ledger).append(NewEntry("note", "ben", {}, NOON, "note-key"))
        for key, changes in (("k", {"a": 2}), ("note-key", {"a": 1})):
            with pytest.raises(LedgerError, match=f"key '{key}' belongs to entry"):
                change(log, key=key, **changes)
        with pytest.raises(LedgerError, match="key 'k' belongs to entry 1"):
            log.change(setting(a=1), actor="ben", reason="to see", key="k")
        assert AuditLog(ledger).head().n == 2


def test_change_when_update_raises_then_nothing_written(url: str) -> None:
    def refuse(values: Mapping[str, object]) -> Mapping[str, object]:
        raise LedgerError("no such flag")

    with open_ledger(url) as ledger:
        with pytest.raises(LedgerError, match="no such flag"):
            FlagLog(ledger).change(refuse, actor="ann", reason="x")
        assert AuditLog(ledger).head().n == 0


@pytest.mark.parametrize("words", [{"actor": " ", "reason": "x"}, {"actor": "ann", "reason": " "}])
def test_change_when_nobody_or_no_reason_then_refused(url: str, words: dict[str, str]) -> None:
    with open_ledger(url) as ledger:
        with pytest.raises(LedgerError, match=r"actor|reason"):
            FlagLog(ledger).change(setting(a=1), **words)
        assert FlagLog(ledger).current() is None


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (NewEntry("note", "ben", {}, NOON), "entry 2 of the audit log sets no flags"),
        (
            NewEntry("flags", "ben", {"version": 7, "reason": "x", "values": {}}, NOON),
            "version 2 of the flags points to entry 2, which sets version 7",
        ),
    ],
)
def test_current_when_a_version_points_to_another_entry_then_refused(
    url: str, entry: NewEntry, said: str
) -> None:
    with open_ledger(url) as ledger:
        log = FlagLog(ledger)
        change(log, a=1)
        AuditLog(ledger).append(entry)
        with ledger.engine.begin() as connection:  # past our own code: nothing else can
            connection.execute(
                text("INSERT INTO flag_versions (version, seq, at) VALUES (2, 2, :at)"),
                {"at": "2026-03-01 12:00:00"},
            )
        with pytest.raises(LedgerError, match=said):
            log.current()


@pytest.mark.parametrize("verb", ["UPDATE flag_versions SET seq = 1", "DELETE FROM flag_versions"])
def test_versions_when_changed_past_our_code_then_database_refuses(url: str, verb: str) -> None:
    with open_ledger(url) as ledger:
        change(FlagLog(ledger), a=1)
        with pytest.raises(Exception, match="never changed or removed"), ledger.engine.begin() as c:
            c.execute(text(verb))
        assert FlagLog(ledger).at(1).values == {"a": 1}


def _attempt(log: FlagLog, value: int, expected: int | None, key: str | None) -> str:
    try:
        change(log, key=key, expected=expected, a=value)
    except StaleVersionError:
        return "stale"
    except PmxError as error:
        return f"refused: {error}"
    return "done"


def test_change_when_40_threads_want_one_version_then_exactly_one_wins(url: str) -> None:
    with open_ledger(url) as ledger, ThreadPoolExecutor(40) as pool:
        log = FlagLog(ledger)
        for version in range(2):
            jobs = [pool.submit(_attempt, log, n, version, None) for n in range(40)]
            assert Counter(job.result() for job in jobs) == {"done": 1, "stale": 39}
        assert [record.version for record in log.history(9)] == [2, 1]
        assert AuditLog(ledger).verify().ok


def test_change_when_threads_expect_no_version_then_each_gets_its_own(url: str) -> None:
    with open_ledger(url) as ledger, ThreadPoolExecutor(20) as pool:
        log = FlagLog(ledger)
        jobs = [pool.submit(change, log, key=None, **{f"f{n}": n}) for n in range(20)]
        assert sorted(job.result().version for job in jobs) == list(range(1, 21))
        assert log.history(1)[0].values == {f"f{n}": n for n in range(20)}  # none was lost


def test_change_when_clock_has_no_utc_then_kept_as_utc(url: str) -> None:
    zone = datetime.fromisoformat("2026-03-01T14:00:00+02:00")
    with open_ledger(url) as ledger:
        made = FlagLog(ledger).change(setting(a=1), actor="a", reason="b", clock=lambda: zone)
        assert made.at == NOON
        assert made.at.utcoffset() == timedelta(0)
