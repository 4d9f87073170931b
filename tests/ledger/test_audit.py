"""The audit log on both databases: only ever longer, and every tampering is named."""

import hashlib
import json
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import Connection, text

from pmx_ray.errors import LedgerError
from pmx_ray.ledger import Ledger, open_ledger
from pmx_ray.ledger.audit import AuditLog
from pmx_ray.ledger.chain import GENESIS, AuditHead, NewEntry

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


def entry(n: int = 1, **changes: object) -> NewEntry:
    whole = NewEntry("note", "ann", {"n": n, "why": "because: ü"}, NOON + timedelta(days=n))
    return replace(whole, **changes)


def logged(ledger: Ledger, n: int = 6) -> AuditLog:
    log = AuditLog(ledger)
    for number in range(1, n + 1):
        log.append(entry(number))
    return log


def tamper(ledger: Ledger, *statements: str) -> None:
    """Do what only the owner of the database can: without triggers."""
    with ledger.engine.begin() as connection:
        for statement in (*_dropping(connection), *statements):
            connection.execute(text(statement))


def _dropping(connection: Connection) -> tuple[str, ...]:
    if connection.dialect.name == "postgresql":
        names = ("audit_append_only", "audit_head_kept", "audit_head_forward")
        tables = ("audit", "audit_head", "audit_head")
        both = zip(names, tables, strict=True)
        return tuple(f"DROP TRIGGER IF EXISTS {name} ON {table}" for name, table in both)
    found = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'"))
    return tuple(f"DROP TRIGGER {name}" for (name,) in found)


def test_append_when_reopened_then_entries_linked_from_genesis(url: str) -> None:
    with open_ledger(url) as ledger:
        assert AuditLog(ledger).head() == AuditHead(0, GENESIS)
        written = [AuditLog(ledger).append(entry(n)) for n in (1, 2)]
    with open_ledger(url) as ledger:
        log = AuditLog(ledger)
        first, second = log.entries()
        assert [first, second] == written
        assert (first.seq, second.seq) == (1, 2)
        assert (first.previous, second.previous) == (GENESIS, first.hash)
        assert first.at == entry(1).at
        assert first.payload == {"n": 1, "why": "because: ü"}
        assert log.head() == AuditHead(2, second.hash)
        assert log.entries(after=1) == (second,)
        assert log.verify().ok


def test_hash_when_recomputed_by_another_tool_then_the_same(url: str) -> None:
    with open_ledger(url) as ledger:
        logged(ledger, 2)
        with ledger.engine.connect() as connection:
            rows = connection.execute(text("SELECT * FROM audit ORDER BY seq")).mappings().all()
    for row in rows:
        content = {name: value for name, value in row.items() if name != "hash"}
        written = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert hashlib.sha256(written.encode()).hexdigest() == row["hash"]


def test_append_when_time_is_in_another_zone_then_utc(url: str) -> None:
    tokyo = timezone(timedelta(hours=9))
    with open_ledger(url) as ledger:
        log = AuditLog(ledger)
        log.append(entry(at=datetime(2026, 3, 1, 21, 0, tzinfo=tokyo)))
        (found,) = log.entries()
        assert found.at == datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
        assert found.at.utcoffset() == timedelta(0)


def test_append_when_key_is_there_then_the_first_entry_unchanged(url: str) -> None:
    with open_ledger(url) as ledger:
        log = AuditLog(ledger)
        first = log.append(entry(key="k"))
        again = entry(key="k", at=NOON + timedelta(days=9), actor="ben")
        assert log.append(again) == first
        assert log.entries() == (first,)


@pytest.mark.parametrize("other", [{"payload": {"n": 2}}, {"kind": "promote"}])
def test_append_when_key_belongs_to_something_else_then_refused(
    url: str, other: dict[str, object]
) -> None:
    with open_ledger(url) as ledger:
        log = AuditLog(ledger)
        log.append(entry(key="k"))
        with pytest.raises(LedgerError, match=r"key 'k' belongs to entry 1 \(note\)"):
            log.append(entry(key="k", **other))
        assert log.head().n == 1


@pytest.mark.parametrize(
    "bad",
    [
        {"kind": ""},
        {"actor": " "},
        {"actor": "two\nlines"},
        {"key": ""},
        {"key": "\x00"},
        {"actor": "\ud800"},
        {"at": datetime(2026, 3, 1)},
        {"payload": {"x": float("nan")}},
        {"payload": {"x": object()}},
        {"payload": {"x": "\ud800"}},
    ],
)
def test_entry_when_a_field_is_wrong_then_refused(bad: dict[str, object]) -> None:
    with pytest.raises(LedgerError):
        entry(**bad)


def test_append_when_payload_names_moves_then_refused(url: str) -> None:
    with open_ledger(url) as ledger, pytest.raises(LedgerError, match="names 'moves'"):
        AuditLog(ledger).append(entry(payload={"moves": []}))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET actor = 'eve' WHERE seq = 1",
        "UPDATE audit SET seq = seq + 10",
        "DELETE FROM audit WHERE seq = 6",
        "DELETE FROM audit",
        "DELETE FROM audit_head",
        "UPDATE audit_head SET n = 5",
        "UPDATE audit_head SET hash = 'x'",
    ],
)
def test_database_when_an_entry_is_touched_then_it_refuses(url: str, statement: str) -> None:
    with open_ledger(url) as ledger:
        log = logged(ledger)
        with (
            pytest.raises(Exception, match="audit log is append-only"),
            ledger.engine.begin() as connection,
        ):
            connection.execute(text(statement))
        assert log.verify().ok
        assert log.verify().n == 6


@pytest.mark.parametrize("table", ["audit", "audit_head"])
def test_postgres_when_truncated_then_it_refuses(postgres_database: str, table: str) -> None:
    with open_ledger(postgres_database) as ledger:
        log = logged(ledger, 2)
        with (
            pytest.raises(Exception, match="audit log is append-only"),
            ledger.engine.begin() as connection,
        ):
            connection.execute(text(f"TRUNCATE {table} CASCADE"))
        assert log.verify().n == 2


def test_sqlite_when_an_entry_is_replaced_then_it_refuses(tmp_path: object) -> None:
    # INSERT OR REPLACE deletes without the delete trigger.
    with open_ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        log = logged(ledger, 2)
        log.append(entry(3, key="k"))
        columns = "'t', 'note', 'eve', {key}, '{{}}', 'p', 'h'"
        for statement in (
            "INSERT OR REPLACE INTO audit VALUES (1, " + columns.format(key="NULL") + ")",
            "INSERT OR REPLACE INTO audit VALUES (9, " + columns.format(key="'k'") + ")",
            "INSERT OR REPLACE INTO audit_head VALUES (1, 0, 'h')",
        ):
            with (
                pytest.raises(Exception, match="audit log is append-only"),
                ledger.engine.begin() as connection,
            ):
                connection.execute(text(statement))
        assert log.verify().ok


def problems(log: AuditLog, **expected: AuditHead) -> list[tuple[int, str]]:
    verdict = log.verify(**expected)
    assert verdict.ok == (not verdict.problems)
    return [(problem.seq, problem.sentence) for problem in verdict.problems]


def assert_found(found: list[tuple[int, str]], *expected: tuple[int, str]) -> None:
    assert [seq for seq, _ in found] == [seq for seq, _ in expected], found
    for (_, sentence), (_, part) in zip(found, expected, strict=True):
        assert part in sentence


ALTERED, REPLACED = "it was altered", "not that of entry"


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE audit SET actor = 'eve' WHERE seq = 3", [(3, ALTERED)]),
        ("UPDATE audit SET kind = 'x' WHERE seq = 1", [(1, ALTERED)]),
        ("UPDATE audit SET key = 'x' WHERE seq = 6", [(6, ALTERED)]),
        ("UPDATE audit SET at = '2020' WHERE seq = 3", [(3, ALTERED)]),
        ("UPDATE audit SET payload = '{\"n\": 3}' WHERE seq = 3", [(3, ALTERED)]),
        ("UPDATE audit SET payload = 'no json' WHERE seq = 3", [(3, ALTERED)]),
        ("UPDATE audit SET previous = 'x' WHERE seq = 3", [(3, ALTERED), (3, REPLACED)]),
        ("UPDATE audit SET hash = 'x' WHERE seq = 3", [(3, ALTERED), (4, REPLACED)]),
        ("UPDATE audit SET hash = 'x' WHERE seq = 6", [(6, ALTERED), (6, "head record")]),
        ("DELETE FROM audit WHERE seq = 3", [(3, "entry 3 missing between")]),
        ("DELETE FROM audit WHERE seq IN (3, 4)", [(3, "entries 3 to 4 missing between")]),
        ("DELETE FROM audit WHERE seq < 3", [(1, "entries 1 to 2 missing between")]),
        ("DELETE FROM audit WHERE seq > 4", [(5, "entries 5 to 6 missing at the end")]),
        ("DELETE FROM audit", [(1, "entries 1 to 6 missing at the end")]),
        ("DELETE FROM audit_head", [(0, "head record is gone")]),
        ("UPDATE audit_head SET n = 5", [(6, "added past it")]),
        ("UPDATE audit_head SET n = 7", [(7, "entry 7 missing at the end")]),
        ("UPDATE audit_head SET hash = 'x'", [(6, "not the one in the head record")]),
        (
            "UPDATE audit SET seq = 9 WHERE seq = 6",
            [(6, "entries 6 to 8 missing"), (7, "added past it"), (9, "it was entry 6")],
        ),
    ],
)
def test_verify_when_tampered_then_says_where_and_what(
    url: str, statement: str, found: list[tuple[int, str]]
) -> None:
    with open_ledger(url) as ledger:
        log = logged(ledger)
        tamper(ledger, statement)
        assert_found(problems(log), *found)


def test_verify_when_two_entries_changed_places_then_says_which_they_were(url: str) -> None:
    with open_ledger(url) as ledger:
        log = logged(ledger)
        swap = [(3, 99), (4, 3), (99, 4)]
        tamper(ledger, *(f"UPDATE audit SET seq = {to} WHERE seq = {at}" for at, to in swap))
        found = problems(log)
        assert (3, "the content does not match its hash: it was entry 4 and was moved") in found
        assert (4, "the content does not match its hash: it was entry 3 and was moved") in found


def _forge(log: AuditLog, ledger: Ledger, first: int) -> None:
    """Rewrite the log from an entry on, hashes and head included."""
    entries = log.entries()
    tamper(ledger, "DELETE FROM audit", f"UPDATE audit_head SET n = 0, hash = '{GENESIS}'")
    for old in entries:
        actor = "eve" if old.seq == first else old.actor
        log.append(NewEntry(old.kind, actor, old.payload, old.at, old.key))


def test_verify_when_one_entry_is_forged_with_its_hash_then_its_neighbour_shows_it(
    url: str,
) -> None:
    with open_ledger(url) as ledger:
        log = logged(ledger)
        with ledger.engine.connect() as connection:
            row = dict(
                connection.execute(text("SELECT * FROM audit WHERE seq = 3")).mappings().one()
            )
        row.pop("hash")
        row["actor"] = "eve"
        written = json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        forged = hashlib.sha256(written.encode()).hexdigest()
        tamper(ledger, f"UPDATE audit SET actor = 'eve', hash = '{forged}' WHERE seq = 3")
        assert_found(problems(log), (4, "not that of entry 3"))


def test_verify_when_all_is_rewritten_then_only_a_head_noted_elsewhere_shows_it(url: str) -> None:
    with open_ledger(url) as ledger:
        log = logged(ledger)
        noted = log.head()
        log.append(entry(7))
        assert log.verify(expected=noted).ok  # it has only grown since
        _forge(log, ledger, 2)
        assert log.verify().ok
        assert_found(problems(log, expected=noted), (6, "cut off or rewritten"))


def test_verify_when_tail_and_head_are_cut_then_a_head_noted_elsewhere_shows_it(url: str) -> None:
    with open_ledger(url) as ledger:
        log = logged(ledger)
        noted = log.head()
        (fourth,) = log.entries(after=3)[:1]
        tamper(
            ledger,
            "DELETE FROM audit WHERE seq > 4",
            f"UPDATE audit_head SET n = 4, hash = '{fourth.hash}'",
        )
        assert log.verify().ok
        assert_found(problems(log, expected=noted), (6, "the entry is not there"))


def test_verify_when_sqlite_holds_odd_types_then_named_and_no_crash(tmp_path: object) -> None:
    with open_ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        log = logged(ledger)
        tamper(
            ledger,
            "UPDATE audit SET seq = 'three' WHERE seq = 3",
            "UPDATE audit SET actor = x'ff' WHERE seq = 5",
        )
        assert_found(problems(log), (0, "numbered 'three'"), (3, "entry 3 missing"), (5, ALTERED))


def test_entries_when_one_cannot_be_read_then_error_names_it(url: str) -> None:
    with open_ledger(url) as ledger:
        log = logged(ledger)
        tamper(ledger, "UPDATE audit SET payload = 'no json' WHERE seq = 3")
        with pytest.raises(LedgerError, match="entry 3 of the audit log cannot be read"):
            log.entries()


def test_append_when_the_head_record_is_gone_then_refused(url: str) -> None:
    with open_ledger(url) as ledger:
        log = logged(ledger, 1)
        tamper(ledger, "DELETE FROM audit_head")
        for ask in (log.head, lambda: log.append(entry(2))):
            with pytest.raises(LedgerError, match="head record of the audit log is gone"):
                ask()


def test_append_when_threads_share_a_ledger_then_one_chain_and_one_entry_a_key(url: str) -> None:
    with open_ledger(url) as ledger, ThreadPoolExecutor(16) as pool:
        log = AuditLog(ledger)
        asked = [entry(n) for n in range(30)] + [entry(0, key="same")] * 30
        written = list(pool.map(log.append, asked))
        assert len({row.seq for row in written}) == 31
        assert log.verify().ok
        assert log.verify().n == 31


def _append_some(task: tuple[str, int]) -> None:
    url, writer = task
    with open_ledger(url) as ledger:
        for n in range(10):
            AuditLog(ledger).append(entry(n, key=f"{writer}-{n}"))
            AuditLog(ledger).append(entry(n, key=f"shared-{n}"))


def test_append_when_processes_write_at_once_then_one_chain(url: str) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        pool.map(_append_some, [(url, n) for n in range(3)], chunksize=1)
    with open_ledger(url) as ledger:
        verdict = AuditLog(ledger).verify()
        assert verdict.ok
        assert verdict.n == 3 * 10 + 10


def test_verify_when_others_append_meanwhile_then_never_a_false_alarm(url: str) -> None:
    with open_ledger(url) as ledger, ThreadPoolExecutor(4) as pool:
        log = AuditLog(ledger)
        tasks: list[Callable[[], object]] = [lambda: log.append(entry(1)), log.verify] * 25
        done = [pool.submit(task) for task in tasks]
        assert all(task.result().ok for task in done[1::2])
