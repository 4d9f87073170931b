"""The pulse moves with flags, books and aliases, waits for no writer and gives up in good time."""

import os
import signal
import sqlite3
import threading
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from sqlalchemy import event, text

from pmx_ray.errors import LedgerError
from pmx_ray.ledger import Ledger, open_ledger
from pmx_ray.ledger.aliases import Alias, Aliases
from pmx_ray.ledger.books import Bookshelf
from pmx_ray.ledger.chain import NewEntry
from pmx_ray.ledger.engines import for_writing
from pmx_ray.ledger.flags import FlagLog
from pmx_ray.ledger.patience import THREAD
from pmx_ray.ledger.pulse import Pulse, PulseReader, read_pulse

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def set_flag(ledger: Ledger, value: int) -> None:
    FlagLog(ledger).change(lambda _: {"a": value}, actor="ann", reason="to see")


def test_pulse_when_ledger_is_empty_then_zeros(url: str) -> None:
    with open_ledger(url) as ledger:
        assert read_pulse(ledger) == PulseReader(ledger).read() == Pulse(0, 0, ())


def test_pulse_when_anything_moves_then_tells(url: str) -> None:
    with open_ledger(url) as ledger, open_ledger(url) as elsewhere:
        reader = PulseReader(elsewhere)
        assert reader.read() == Pulse(0, 0, ())
        set_flag(ledger, 1)
        set_flag(ledger, 2)
        assert reader.read() == Pulse(2, 0, ())
        seq = Bookshelf(ledger).put(
            "a" * 64, cutoff=date(2026, 2, 27), computed_at=NOON, document="{}"
        )
        assert reader.read() == Pulse(2, seq, ())
        for version, alias in enumerate((Alias.FALLBACK, Alias.CHAMPION, Alias.CHAMPION)):
            expected = max(0, version - 1)
            entry = NewEntry("promote", "ann", {}, NOON)
            Aliases(ledger).move(alias, f"m{version}", expected_version=expected, entry=entry)
        assert reader.read() == Pulse(2, seq, (("champion", 2), ("fallback", 1)))


def test_read_pulse_when_asked_then_one_statement(url: str) -> None:
    statements = []
    with open_ledger(url) as ledger:
        event.listen(
            ledger.engine,
            "before_cursor_execute",
            lambda *args: statements.append(args[2]),
        )
        read_pulse(ledger)
    assert len([s for s in statements if not s.startswith("BEGIN")]) == 1


def test_read_when_a_writer_is_at_work_then_does_not_wait_for_it(url: str) -> None:
    with open_ledger(url) as ledger, for_writing(ledger.engine).begin() as writer:
        writer.execute(text("UPDATE audit_head SET n = n + 1"))
        assert PulseReader(ledger, timeout_s=20).read() == Pulse(0, 0, ())


def test_read_when_sqlite_file_is_locked_then_gives_up_and_comes_back(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    with open_ledger(url) as ledger:
        set_flag(ledger, 1)
    with Ledger(url) as ledger:
        holder = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        reader = PulseReader(ledger, timeout_s=0.05)
        for _ in range(3):
            with pytest.raises(LedgerError, match=r"did not answer in 0\.05 s"):
                reader.read()
            assert n_reads_under_way() == 1  # no crowd
        holder.execute("COMMIT")
        holder.close()
        assert _patient(reader) == Pulse(1, 0, ())


def test_read_when_server_hangs_then_gives_up_and_comes_back(postgres_database: str) -> None:
    with open_ledger(postgres_database) as ledger:
        set_flag(ledger, 1)
        with ledger.engine.connect() as connection:
            pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        reader = PulseReader(ledger, timeout_s=0.05)
        assert _patient(reader).flags_version == 1
        os.kill(pid, signal.SIGSTOP)
        try:
            for _ in range(3):
                with pytest.raises(LedgerError, match=r"\*\*\*.* did not answer in 0\.05 s"):
                    reader.read()
                assert n_reads_under_way() == 1
        finally:
            os.kill(pid, signal.SIGCONT)
        assert _patient(reader) == Pulse(1, 0, ())


def test_read_when_tables_are_gone_then_error_at_once_and_again(url: str) -> None:
    with open_ledger(url) as ledger:
        reader = PulseReader(ledger, timeout_s=20)
        with ledger.engine.begin() as connection:
            connection.execute(text("DROP TABLE aliases"))
        for _ in range(2):
            with pytest.raises(LedgerError, match=r"cannot be read.*aliases"):
                reader.read()


def n_reads_under_way() -> int:
    return sum(thread.name == THREAD for thread in threading.enumerate())


def _patient(reader: PulseReader) -> Pulse:
    for _ in range(600):
        try:
            return reader.read()
        except LedgerError:
            continue
    raise AssertionError("the database never came back")
