"""An older database, as its own program made it, brought over to both kinds of ledger."""

import shutil
import sqlite3
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from pmx_ray.errors import DataError, LedgerError
from pmx_ray.ledger import Ledger, open_ledger
from pmx_ray.ledger.legacy import TableImport, import_legacy
from pmx_ray.ledger.tables import LegacyRow

V45 = """
CREATE TABLE llm_risks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, ticker TEXT NOT NULL, assessment_date DATE NOT NULL,
    risk_level TEXT, risk_score INTEGER CHECK(risk_score BETWEEN 0 AND 100),
    portfolio_weight REAL, concerns TEXT, recommendation TEXT, model_name TEXT NOT NULL,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE llm_signals (
    id INTEGER PRIMARY KEY AUTOINCREMENT, ticker TEXT NOT NULL, signal_date DATE NOT NULL,
    signal_timestamp TIMESTAMP, action TEXT, signal_type TEXT, confidence REAL, reasoning TEXT,
    model_name TEXT NOT NULL, created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP);
"""
RISKS = [  # risk level, and what it is
    ("low", "low"),
    ("Extreme", "extreme"),
    (" Very High ", "extreme"),
    ("MODERATE", "medium"),
    ("High risk - volatility spike", "high"),
    ("very-high (gap risk)", "extreme"),
    ("critical!!", "extreme"),
    ("low to medium", None),
    ("not high", None),
    ("purple", None),
    ("", None),
    (None, None),
]
SIGNALS = [  # signal type, action, and what it is
    ("BUY", "BUY", "buy"),
    (None, "SELL", "sell"),
    ("NO_DATA", "BUY", "buy"),
    ("NO_DATA", None, "hold"),
    (None, None, "hold"),
    ("strong sell", "HOLD", "sell"),
    ("rl", "BUY", "buy"),
    ("gibberish", None, None),
]


def made(path: Path, script: str = V45) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    connection.executescript(script)
    return connection


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "portfolio_maximizer.db"
    with made(path) as connection:
        connection.executemany(
            "INSERT INTO llm_risks (ticker, assessment_date, risk_level, model_name) "
            "VALUES (?, '2025-10-30', ?, 'qwen:14b')",
            [(f"R{n}", word) for n, (word, _) in enumerate(RISKS)],
        )
        connection.executemany(
            "INSERT INTO llm_signals (ticker, signal_date, signal_type, action, confidence, "
            "model_name) VALUES (?, '2025-10-30 09:30:00', ?, ?, 0.8, 'qwen:14b')",
            [(f"S{n}", kind, action) for n, (kind, action, _) in enumerate(SIGNALS)],
        )
    connection.close()
    return path


def rows(ledger: Ledger, columns: str) -> list[tuple[Any, ...]]:
    with ledger.engine.connect() as connection:
        query = text(f"SELECT {columns} FROM legacy_records ORDER BY length(ticker), ticker")
        return [tuple(row) for row in connection.execute(query)]


def test_import_when_rows_are_free_text_then_words_of_today(url: str, old: Path) -> None:
    with open_ledger(url) as ledger:
        import_legacy(old, ledger)
        found = {ticker: words for ticker, *words in rows(ledger, "ticker, action, risk_level")}
    risks = {f"R{n}": [None, level] for n, (_, level) in enumerate(RISKS) if level}
    signals = {f"S{n}": [action, None] for n, (*_, action) in enumerate(SIGNALS) if action}
    assert found == risks | signals


def test_import_when_done_then_says_what_was_changed_and_refused(url: str, old: Path) -> None:
    with open_ledger(url) as ledger:
        risks, signals = import_legacy(old, ledger)
    assert (risks.table, risks.n_read, risks.n_new, risks.n_known) == ("llm_risks", 12, 7, 0)
    assert risks.rewritten["risk_level ' Very High ' is extreme"] == 1
    assert risks.rewritten["risk_level 'MODERATE' is medium"] == 1
    assert not any("'low' is" in what or "'Extreme' is" in what for what in risks.rewritten)
    assert [sentence.partition(":")[0] for sentence in risks.refused] == [
        f"row with id {n}" for n in (8, 9, 10, 11, 12)
    ]
    assert "'low to medium'; it must speak of one level" in risks.refused[0]
    assert "no risk level" in risks.refused[4]
    assert (signals.n_read, signals.n_new) == (8, 7)
    assert signals.rewritten == {
        "signal_type 'NO_DATA' is buy": 1,
        "signal_type 'NO_DATA' is hold": 1,
        "signal_type 'strong sell' is sell": 1,
        "signal_type null is hold": 1,
        "signal_type null is sell": 1,
    }
    assert "row with id 8: action was 'gibberish'" in signals.refused[0]


def test_import_when_repeated_then_nothing_changes_and_new_rows_enter(url: str, old: Path) -> None:
    with open_ledger(url) as ledger:
        first = import_legacy(old, ledger)
        before = rows(ledger, "*")
        again = import_legacy(old, ledger)
        assert [(t.n_new, t.n_known) for t in again] == [(0, t.n_new) for t in first]
        assert rows(ledger, "*") == before
        with sqlite3.connect(old) as connection:
            connection.execute(
                "UPDATE llm_risks SET risk_level = 'high' WHERE risk_level = 'purple'"
            )
        connection.close()
        assert [t.n_new for t in import_legacy(old, ledger)] == [1, 0]


def test_import_when_kept_then_the_row_as_it_was_stands_beside(url: str, old: Path) -> None:
    with open_ledger(url) as ledger:
        import_legacy(old, ledger)
        with ledger.engine.connect() as connection:
            table = LegacyRow.__table__
            row = connection.execute(table.select().where(table.c.ticker == "S1")).mappings().one()
    assert (row["day"], row["model"], row["confidence"]) == (date(2025, 10, 30), "qwen:14b", 0.8)
    assert row["original"]["signal_type"] is None
    assert row["original"]["action"] == "SELL"
    assert row["original"]["id"] == 2


def test_import_when_columns_are_missing_or_named_otherwise_then_read_all_the_same(
    url: str, tmp_path: Path
) -> None:
    path = tmp_path / "old.db"
    script = "CREATE TABLE trading_signals (symbol, Action, timestamp, confidence_score, blob_);"
    with made(path, script) as connection:
        connection.executemany(
            "INSERT INTO trading_signals VALUES (?, ?, ?, ?, ?)",
            [
                ("AAPL", "Long", "2025-01-02T10:00", 0.5, b"\x00\xff"),
                ("MSFT", "HOLD", "2025-01-02", 85, 9e999),
                ("X\x00Y", "HOLD", "2025-01-02", "high", "\x00"),
                (None, "BUY", "2025-01-02", 0.5, None),
                ("IBM", "BUY", "yesterday", 0.5, None),
                ("IBM", "BUY", 1735776000, 0.5, None),
            ],
        )
        connection.execute("INSERT INTO trading_signals VALUES (CAST(x'ff41' AS TEXT), 'BUY', '2025-01-02', NULL, NULL)")  # noqa: E501  # fmt: skip
    connection.close()
    with open_ledger(url) as ledger:
        (found,) = import_legacy(path, ledger)
        assert (found.n_read, found.n_new) == (7, 4)
        assert found.rewritten == {
            "action 'Long' is buy": 1,
            "confidence outside 0 to 1 is unknown": 2,
        }
        assert [sentence.partition(" ")[2] for sentence in found.refused] == [
            "4: it names no ticker in ticker or symbol",
            "5: its date was 'yesterday'; it must start with YYYY-MM-DD",
            "6: its date was 1735776000; it must start with YYYY-MM-DD",
        ]
        assert set(rows(ledger, "ticker, action, confidence")) == {
            ("AAPL", "buy", 0.5),
            ("MSFT", "hold", None),
            ("X?Y", "hold", None),
            ("�A", "buy", None),
        }


def test_import_when_rows_without_id_are_alike_then_each_once_and_known_the_second_time(
    url: str, tmp_path: Path
) -> None:
    path = tmp_path / "old.db"
    with made(path, "CREATE TABLE llm_signals (ticker, date, action);") as connection:
        alike = [("KO", "2025-01-02", "BUY")] * 3
        connection.executemany("INSERT INTO llm_signals VALUES (?, ?, ?)", alike)
        connection.execute("INSERT INTO llm_signals VALUES ('KO', '2025-01-03', 'BUY')")
    connection.close()
    with open_ledger(url) as ledger:
        (first,), (again,) = import_legacy(path, ledger), import_legacy(path, ledger)
        kept = rows(ledger, "ticker, day")
    assert (first.n_read, first.n_new, first.n_known, first.n_repeated) == (4, 4, 0, 2)
    assert (again.n_read, again.n_new, again.n_known, again.n_repeated) == (4, 0, 4, 2)
    assert len(kept) == 4


def test_import_when_one_date_column_is_bad_then_the_next_is_read(url: str, tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with made(
        path, "CREATE TABLE llm_signals (ticker, signal_date, created_at, action);"
    ) as connection:
        connection.executemany(
            "INSERT INTO llm_signals VALUES (?, ?, ?, 'BUY')",
            [("KO", "yesterday", "2025-01-02 09:30:00"), ("IBM", "yesterday", "today")],
        )
    connection.close()
    with open_ledger(url) as ledger:
        (found,) = import_legacy(path, ledger)
        with ledger.engine.connect() as opened:
            kept = opened.execute(LegacyRow.__table__.select()).mappings().all()
    assert [(row["ticker"], row["day"]) for row in kept] == [("KO", date(2025, 1, 2))]
    assert found.rewritten == {"signal_date without a date is read from created_at": 1}
    assert found.refused == ("row 2: its date was 'yesterday'; it must start with YYYY-MM-DD",)


def test_import_when_no_column_can_hold_an_action_then_refused(url: str, tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with made(path, "CREATE TABLE llm_signals (ticker, date);") as connection:
        connection.execute("INSERT INTO llm_signals VALUES ('A', '2025-01-02')")
    connection.close()
    with open_ledger(url) as ledger:
        assert import_legacy(path, ledger) == (
            TableImport(
                "llm_signals", 1, 0, 0, {}, ("row 1: it has no column signal_type, action, signal",)
            ),
        )


def test_import_when_ledger_fails_in_the_second_table_then_nothing_of_the_first(
    old: Path, tmp_path: Path
) -> None:
    with open_ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        with ledger.engine.begin() as connection:
            connection.execute(
                text(
                    "CREATE TRIGGER full BEFORE INSERT ON legacy_records "
                    "WHEN NEW.origin = 'llm_signals' BEGIN SELECT RAISE(ABORT, 'disk full'); END"
                )
            )
        with pytest.raises(LedgerError, match="disk full"):
            import_legacy(old, ledger)
        assert rows(ledger, "*") == []


def test_import_when_rows_wait_in_a_write_ahead_log_then_read_and_file_untouched(
    old: Path, tmp_path: Path
) -> None:
    (tmp_path / "crashed").mkdir()
    crashed = tmp_path / "crashed" / "old.db"
    writer = sqlite3.connect(old)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute(
        "INSERT INTO llm_risks (ticker, assessment_date, risk_level, model_name) "
        "VALUES ('LATE', '2025-10-31', 'high', 'q')"
    )
    writer.commit()
    for ending in ("", "-wal"):  # as a killed program leaves them
        shutil.copy(f"{old}{ending}", f"{crashed}{ending}")
    writer.close()
    before = crashed.read_bytes()
    with open_ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        import_legacy(crashed, ledger)
        assert ("LATE",) in rows(ledger, "ticker")
    assert crashed.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        (b"not a database at all, but long enough to look like one" * 20, "cannot be read"),
        (b"", "has none of the tables"),
    ],
)
def test_import_when_file_is_no_such_database_then_refused_and_not_made(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "old?#%.db"
    if content is not None:
        path.write_bytes(content)
    with (
        open_ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger,
        pytest.raises(DataError, match=said),
    ):
        import_legacy(path, ledger)
    assert path.exists() == (content is not None)


CELL = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.binary(max_size=8),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(["BUY", "NO_DATA", "2025-01-02", "AAPL", "very high"]),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(CELL, CELL, CELL, CELL, CELL), max_size=6))
def test_import_when_cells_hold_anything_then_each_row_is_kept_or_refused(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[Any, ...]]
) -> None:
    folder = tmp_path_factory.mktemp("legacy")
    script = "CREATE TABLE llm_signals (ticker, date, signal_type, risk_level, confidence);"
    with made(folder / "old.db", script) as connection:
        connection.executemany("INSERT INTO llm_signals VALUES (?, ?, ?, ?, ?)", cells)
    connection.close()
    with open_ledger(f"sqlite:///{folder}/ledger.db") as ledger:
        (found,) = import_legacy(folder / "old.db", ledger)
        assert found.n_new + found.n_known + len(found.refused) == found.n_read == len(cells)
        assert len(rows(ledger, "ticker")) == found.n_new
