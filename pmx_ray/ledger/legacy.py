"""Signals and risk assessments of an older database, brought over in the words of today.

Version 4.5 kept three tables in SQLite: ``llm_risks``, whose risk level was free text behind a
check that knew no ``extreme``, and ``llm_signals`` and ``trading_signals``, whose ``signal_type``
could be null or ``NO_DATA``. Columns came and went between its versions. Rows are kept apart from
today's signals, which know more than these did, each with the row as it was found.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, TypeAlias

from pmx_ray.errors import DataError
from pmx_ray.ledger.engines import explained, for_writing
from pmx_ray.ledger.ledger import Ledger
from pmx_ray.ledger.legacy_file import OldRow, read_tables
from pmx_ray.ledger.tables import LegacyRow, insert_new
from pmx_ray.ledger.wording import one_line
from pmx_ray.provenance import canonical_json, sha256_hex
from pmx_ray.taxonomy import Action, RiskLevel, action, risk_level

RISKS, SIGNALS, TRADES = "llm_risks", "llm_signals", "trading_signals"

_TICKERS = ("ticker", "symbol")
_DAYS = ("assessment_date", "signal_date", "date", "signal_timestamp", "timestamp", "created_at")
_ACTIONS = ("signal_type", "action", "signal")
_MODELS = ("model_name", "llm_model", "model_type", "model", "source", "strategy")
_CONFIDENCES = ("confidence", "confidence_score")
_NOTHING = {"", "none", "null", "nan", "n/a", "no_data", "no data"}
_NEGATIONS = {"no", "not", "never", "without"}

Note: TypeAlias = Callable[[str], None]
"""Told of each value that is rewritten."""


@dataclass(frozen=True, slots=True)
class TableImport:
    """What became of one table.

    Attributes
    ----------
    table : str
        Its name.
    n_read, n_new, n_known : int
        Rows found, brought over, and brought over by an earlier import.
    rewritten : mapping of str to int
        What was put in other words, e.g. ``risk_level 'Very High' is extreme``, and how often.
    refused : tuple of str
        A sentence for each row that was left behind.
    """

    table: str
    n_read: int
    n_new: int
    n_known: int
    rewritten: Mapping[str, int]
    refused: tuple[str, ...]


def import_legacy(path: Path, ledger: Ledger) -> tuple[TableImport, ...]:
    """Bring the rows of an older database over, all of them that can be read or none.

    The file is only read. A row that was brought over before is left alone, so that a second
    import changes nothing.

    Parameters
    ----------
    path : Path
        The SQLite file.
    ledger : Ledger
        An open ledger; it stays the caller's to close.

    Returns
    -------
    tuple of TableImport
        One for each of the three tables that the file has.

    Raises
    ------
    DataError
        If the file cannot be read, or has none of the tables.
    LedgerError
        If the ledger cannot be written; then nothing was.
    """
    tables = read_tables(path, (RISKS, SIGNALS, TRADES))
    sorted_out = [(name, *_sorted_out(name, rows)) for name, rows in tables.items()]
    engine = ledger.engine
    found = []
    with explained(engine, "written"), for_writing(engine).begin() as connection:
        for name, kept, rewritten, refused in sorted_out:
            n_new = 0
            if kept:
                new = insert_new(connection, LegacyRow).returning(LegacyRow.record_id)
                n_new = len(connection.execute(new, kept).all())
            n_read, n_known = len(tables[name]), len(kept) - n_new
            found.append(TableImport(name, n_read, n_new, n_known, rewritten, refused))
    return tuple(found)


def _sorted_out(
    table: str, rows: Sequence[OldRow]
) -> tuple[list[dict[str, Any]], Mapping[str, int], tuple[str, ...]]:
    kept: list[dict[str, Any]] = []
    refused: list[str] = []
    rewritten: Counter[str] = Counter()
    for place, row in enumerate(rows, start=1):
        notes: list[str] = []
        try:
            kept.append(_record(table, row, notes.append))
        except DataError as error:
            name = f"row with id {row['id']}" if row.get("id") is not None else f"row {place}"
            refused.append(f"{name}: {one_line(str(error), limit=200)}")
        else:
            rewritten.update(notes)
    return kept, dict(sorted(rewritten.items())), tuple(refused)


def _record(table: str, row: OldRow, note: Note) -> dict[str, Any]:
    ticker = one_line(str(_first(row, _TICKERS) or ""), limit=32).strip()
    if not ticker:
        raise DataError(f"it names no ticker in {' or '.join(_TICKERS)}")
    level = _risk_level(row, note)
    if level is None and table == RISKS:
        raise DataError("it has no risk level")
    return {
        "record_id": sha256_hex(canonical_json([table, dict(row)])),
        "origin": table,
        "ticker": ticker,
        "day": _day(row),
        "action": None if table == RISKS else _action(row, note).value,
        "risk_level": None if level is None else level.value,
        "confidence": _confidence(row, note),
        "model": one_line(str(_first(row, _MODELS) or ""), limit=100),
        "original": dict(row),
    }


def _first(row: OldRow, names: Sequence[str]) -> object:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _day(row: OldRow) -> date:
    found = _first(row, _DAYS)
    try:
        return date.fromisoformat(str(found)[:10])
    except ValueError:
        raise DataError(f"its date was {found!r}; it must start with YYYY-MM-DD") from None


def _action(row: OldRow, note: Note) -> Action:
    """Return the first action that the row names; one that names none is to hold."""
    if not any(name in row for name in _ACTIONS):
        raise DataError(f"it has no column {', '.join(_ACTIONS)}")
    unknown: DataError | None = None
    for name in _ACTIONS:
        word = str(row[name]) if row.get(name) is not None else ""
        if word.strip().lower() in _NOTHING:
            continue
        try:
            found = action(word)
        except DataError as error:
            unknown = unknown or error
            continue
        if word.strip().lower() != found:
            note(f"{name} {_quoted(word)} is {found}")
        _note_blank(row, found, note)
        return found
    if unknown is not None:
        raise unknown
    _note_blank(row, Action.HOLD, note)
    return Action.HOLD


def _note_blank(row: OldRow, found: Action, note: Note) -> None:
    word = row.get("signal_type", found)
    if word is None or str(word).strip().lower() in _NOTHING:
        note(f"signal_type {'null' if word is None else _quoted(str(word))} is {found}")


def _risk_level(row: OldRow, note: Note) -> RiskLevel | None:
    word = row.get("risk_level")
    if word is None or str(word).strip().lower() in _NOTHING:
        return None
    found = _level_in(str(word))
    if str(word).strip().lower() != found:
        note(f"risk_level {_quoted(str(word))} is {found}")
    return found


def _level_in(text: str) -> RiskLevel:
    """Return the one level that free text speaks of.

    Raises
    ------
    DataError
        If it speaks of none, of several, or says which it is not.
    """
    words = re.findall(r"[a-z]+", text.lower())
    levels: list[RiskLevel] = []
    place = 0
    while place < len(words):
        for n in (2, 1):  # "very high" before "high"
            try:
                levels.append(risk_level("_".join(words[place : place + n])))
            except DataError:
                continue
            place += n - 1
            break
        place += 1
    if len(set(levels)) != 1 or _NEGATIONS & set(words):
        raise DataError(f"its risk level was {_quoted(text)}; it must speak of one level")
    return levels[0]


def _confidence(row: OldRow, note: Note) -> float | None:
    found = _first(row, _CONFIDENCES)
    if found is None:
        return None
    try:
        value = float(str(found))
    except ValueError:
        value = math.nan
    if 0 <= value <= 1:
        return value
    note("confidence outside 0 to 1 is unknown")
    return None


def _quoted(text: str) -> str:
    return repr(one_line(text, limit=60))
