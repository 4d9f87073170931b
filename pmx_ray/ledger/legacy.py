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
    n_repeated : int
        Rows among those read that say the same as one before them in every column; each is brought
        over as a row of its own.
    """

    table: str
    n_read: int
    n_new: int
    n_known: int
    rewritten: Mapping[str, int]
    refused: tuple[str, ...]
    n_repeated: int = 0


def import_legacy(path: Path, ledger: Ledger) -> tuple[TableImport, ...]:
    """Bring the rows of an older database over, all of them that can be read or none.

    The file is only read. A row that was brought over before is left alone, so that a second
    import changes nothing. Rows without an id may be alike in every column; of such the first,
    second and so on are told apart, so that each is brought over once.

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
    sorted_out = [(name, _sorted_out(name, rows)) for name, rows in tables.items()]
    engine = ledger.engine
    found = []
    with explained(engine, "written"), for_writing(engine).begin() as connection:
        for name, rows in sorted_out:
            n_new = 0
            if rows.kept:
                new = insert_new(connection, LegacyRow).returning(LegacyRow.record_id)
                n_new = len(connection.execute(new, rows.kept).all())
            found.append(
                TableImport(
                    name,
                    n_read=len(tables[name]),
                    n_new=n_new,
                    n_known=len(rows.kept) - n_new,
                    rewritten=rows.rewritten,
                    refused=rows.refused,
                    n_repeated=rows.n_repeated,
                )
            )
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Sorted:
    """Rows of one table in today's words, and what was done to them; see ``TableImport``."""

    kept: list[dict[str, Any]]
    rewritten: Mapping[str, int]
    refused: tuple[str, ...]
    n_repeated: int


def _sorted_out(table: str, rows: Sequence[OldRow]) -> _Sorted:
    kept: list[dict[str, Any]] = []
    refused: list[str] = []
    rewritten: Counter[str] = Counter()
    alike: Counter[str] = Counter()
    for place, row in enumerate(rows, start=1):
        notes: list[str] = []
        try:
            record = _record(table, row, notes.append)
        except DataError as error:
            name = f"row with id {row['id']}" if row.get("id") is not None else f"row {place}"
            refused.append(f"{name}: {one_line(str(error), limit=200)}")
        else:
            content = _content_id(table, row)
            kept.append({**record, "record_id": _record_id(content, before=alike[content])})
            alike[content] += 1
            rewritten.update(notes)
    n_repeated = alike.total() - len(alike)
    return _Sorted(kept, dict(sorted(rewritten.items())), tuple(refused), n_repeated)


def _content_id(table: str, row: OldRow) -> str:
    return sha256_hex(canonical_json([table, dict(row)]))


def _record_id(content: str, *, before: int) -> str:
    """Return the id of a row with ``before`` others like it before it in its table."""
    return sha256_hex(canonical_json([content, before])) if before else content


def _record(table: str, row: OldRow, note: Note) -> dict[str, Any]:
    ticker = one_line(str(_first(row, _TICKERS) or ""), limit=32).strip()
    if not ticker:
        raise DataError(f"it names no ticker in {' or '.join(_TICKERS)}")
    level = _risk_level(row, note)
    if level is None and table == RISKS:
        raise DataError("it has no risk level")
    return {
        "origin": table,
        "ticker": ticker,
        "day": _day(row, note),
        "action": None if table == RISKS else _action(row, note).value,
        "risk_level": None if level is None else level.value,
        "confidence": _confidence(row, note),
        "model": one_line(str(_first(row, _MODELS) or ""), limit=100),
        "original": dict(row),
    }


def _first(row: OldRow, names: Sequence[str]) -> object:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _day(row: OldRow, note: Note) -> date:
    """Return the day of the first column that holds one."""
    undated = []
    for name in _DAYS:
        if row.get(name) is None:
            continue
        try:
            found = date.fromisoformat(str(row[name])[:10])
        except ValueError:
            undated.append(name)
            continue
        for column in undated:
            note(f"{column} without a date is read from {name}")
        return found
    said = _first(row, _DAYS)
    raise DataError(f"its date was {said!r}; it must start with YYYY-MM-DD")


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
