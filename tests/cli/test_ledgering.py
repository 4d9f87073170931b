"""`pmx ledger import-legacy` as a person uses it."""

import json
import sqlite3
from pathlib import Path

import pytest
from pmx_command import Pmx


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Pmx:
    for name in ("PMX_LEDGER_URL", "PMX_HOME"):
        monkeypatch.delenv(name, raising=False)
    with sqlite3.connect(tmp_path / "old.db") as connection:
        connection.execute("CREATE TABLE llm_risks (id, ticker, assessment_date, risk_level)")
        connection.executemany(
            "INSERT INTO llm_risks VALUES (?, 'A', '2025-10-30', ?)",
            [(n, "Very High") for n in range(3)] + [(n, f"colour {n}") for n in range(3, 30)],
        )
    connection.close()
    return Pmx(tmp_path, capsys)


def test_import_when_run_twice_then_tells_and_changes_nothing(run: Pmx) -> None:
    first = run("ledger", "import-legacy", "old.db")
    assert "llm_risks: 30 rows read, 3 brought over, 0 known already, 27 refused" in first
    assert "  risk_level 'Very High' is extreme: 3 times" in first
    assert "  refused row with id 3: its risk level was 'colour 3'" in first
    assert "and 8 more; see all with --json" in first
    (line,) = run("ledger", "import-legacy", "old.db", "--json").splitlines()
    told = json.loads(line)
    assert (told["n_new"], told["n_known"], len(told["refused"])) == (0, 3, 27)


def test_import_when_there_is_no_such_file_then_exit_2(run: Pmx) -> None:
    run("ledger", "import-legacy", "missing.db", code=2)
    assert "no such file" in run.err
