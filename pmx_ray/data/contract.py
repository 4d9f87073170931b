"""The contract of long rows: what a price table must look like before anything reads it.

Rows are counted as a person counts them: in a CSV file by its lines, the header being line 1; in
a Parquet file and in a vendor's answer from 1. The number of a row is the index of the frame.
"""

from datetime import date
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa

from pmx_ray._typing import BoolArray, IntArray
from pmx_ray.config import suggestion
from pmx_ray.data.calendar import calendar_sessions
from pmx_ray.data.panel import FIELDS, TICKER
from pmx_ray.errors import QualityError

REQUIRED = ("date", "ticker", "close")
OPTIONAL = (*FIELDS, "group")

FIX = {
    "price": "a price must be a finite number > 0; correct the row, or remove it (a listed gap)",
    "field": "it must be a finite number > 0, or empty; correct the cell or empty it",
    "volume": "it must be a finite number >= 0, or empty; correct the cell or empty it",
    "ticker": "a ticker has letters, digits and . _ = ^ - (at most 32, no path separators)",
    "group": "give every row a group, or leave the column out",
}
"""What to do about a failed check, by the check's name."""


def check_columns(columns: list[str], *, source: str) -> None:
    """Refuse a table without ``date``, ``ticker`` or ``close``.

    Raises
    ------
    QualityError
        Names the missing column and the nearest one the table has.
    """
    for name in REQUIRED:
        if name not in columns:
            raise QualityError(f"{source}: has no column '{name}'{suggestion(name, columns)}")
    repeated = [name for name in (*REQUIRED, *OPTIONAL) if columns.count(name) > 1]
    if repeated:
        raise QualityError(f"{source}: column '{repeated[0]}' stands there more than once")


def check_rows(frame: pd.DataFrame, *, source: str, calendar: str, today: date) -> None:
    """Refuse long rows that break the contract, naming the first such row.

    Parameters
    ----------
    frame : DataFrame
        ``date`` (datetime64), ``ticker`` (categorical), ``close`` and any optional columns
        (float64, ``group`` categorical); the index numbers the rows.
    source : str
        File or vendor; starts the message.
    calendar : str
        Exchange calendar whose sessions the dates must be.
    today : date
        No row may lie after it.

    Raises
    ------
    QualityError
        On NaN, inf, zero or negative prices, a malformed ticker, a future row, a date that is no
        session, unsorted or repeated dates of a ticker, or a ticker with two groups.
    """
    if frame.empty:
        raise QualityError(f"{source}: holds no row; give it at least one price")
    try:
        contract().validate(frame, lazy=True)
    except pa.errors.SchemaErrors as errors:
        raise QualityError(_first_failure(frame, errors.failure_cases, source)) from None
    _check_dates(frame, source=source, calendar=calendar, today=today)
    _check_order(frame, source=source)
    _check_groups(frame, source=source)


@cache
def contract() -> pa.DataFrameSchema:
    """Return the pandera schema of long rows, column by column."""
    finite_price = pa.Check(lambda s: _finite(s) & (s > 0), name="price", **_FIRST)
    finite_field = pa.Check(lambda s: _finite(s) & (s > 0), name="field", **_FIRST)
    finite_volume = pa.Check(lambda s: _finite(s) & (s >= 0), name="volume", **_FIRST)
    columns = {
        "date": pa.Column(nullable=False),
        "ticker": pa.Column(checks=pa.Check(_ticker_is_name, name="ticker", **_FIRST)),
        "close": pa.Column(float, finite_price),
        **{name: _optional(float, finite_field) for name in ("open", "high", "low")},
        "volume": _optional(float, finite_volume),
        "group": pa.Column(required=False),
    }
    return pa.DataFrameSchema(columns, strict="filter")


_FIRST: dict[str, Any] = {"n_failure_cases": 1}  # the first failing row of each check is enough


def _optional(dtype: type, check: pa.Check) -> pa.Column:
    return pa.Column(dtype, check, required=False, nullable=True)


def _finite(values: "pd.Series[float]") -> "pd.Series[bool]":
    finite: BoolArray = np.isfinite(values.to_numpy())
    return pd.Series(finite, index=values.index)


def _ticker_is_name(tickers: "pd.Series[Any]") -> "pd.Series[bool]":
    # Each distinct ticker is matched once; code -1 is a missing one.
    names = [*tickers.cat.categories, ""]
    good: BoolArray = np.array([bool(TICKER.fullmatch(str(name))) for name in names])
    return pd.Series(good[tickers.cat.codes.to_numpy()], index=tickers.index)


def _first_failure(frame: pd.DataFrame, failures: pd.DataFrame, source: str) -> str:
    broken = failures.dropna(subset=["index"])
    if broken.empty:  # a column of the wrong type: no row to name
        first = failures.iloc[0]
        return f"{source}: column '{first['column']}': {first['check']} failed"
    first = broken.iloc[int(broken["index"].astype("int64").argmin())]
    row, column, check = int(first["index"]), str(first["column"]), str(first["check"])
    value: Any = frame.at[row, column]
    if column == "group":
        check = "group"
    if check == "not_nullable":
        check = "price" if column == "close" else "ticker"
    shown = "empty" if pd.isna(value) else repr(value) if isinstance(value, str) else f"{value}"
    if column == "close" and pd.isna(value):
        shown = "NaN"
    return f"{source}: {_place(frame, row)}: {column} was {shown}; {FIX[check]}"


def _place(frame: pd.DataFrame, row: int) -> str:
    ticker: Any = frame.at[row, "ticker"]
    day: Any = frame.at[row, "date"]
    shown = "(none)" if pd.isna(ticker) else f"{ticker:.40}"
    return f"row {row}, ticker {shown}, {day.date()}"


def _check_dates(frame: pd.DataFrame, *, source: str, calendar: str, today: date) -> None:
    days = frame["date"].to_numpy().astype("datetime64[D]")
    future = days > np.datetime64(today, "D")
    if future.any():
        row = int(frame.index[int(future.argmax())])
        raise QualityError(
            f"{source}: {_place(frame, row)}: a future row, today is {today}; remove it"
        )
    sessions = calendar_sessions(calendar)
    place: IntArray = np.minimum(np.searchsorted(sessions, days), len(sessions) - 1)
    off = sessions[place] != days
    if off.any():
        row = int(frame.index[int(off.argmax())])
        raise QualityError(
            f"{source}: {_place(frame, row)}: not a session of calendar {calendar} "
            f"({off.sum()} such rows); remove it or name the right calendar"
        )


def _check_order(frame: pd.DataFrame, *, source: str) -> None:
    codes = frame["ticker"].cat.codes.to_numpy()
    days = frame["date"].to_numpy().astype("datetime64[D]")
    order = np.argsort(codes, kind="stable")  # file order within each ticker
    same = np.diff(codes[order]) == 0
    step = np.diff(days[order]).astype(np.int64)
    wrong = np.flatnonzero(same & (step <= 0))
    if len(wrong) == 0:
        return
    row_at = order[wrong + 1]
    k = int(row_at.argmin())
    row, before = int(frame.index[row_at[k]]), int(frame.index[order[wrong[k]]])
    if step[wrong[k]] == 0:
        what = f"a duplicate date, row {before} has it too; keep one of them"
    else:
        what = f"an unsorted date, row {before} before it is later; sort each ticker by date"
    raise QualityError(f"{source}: {_place(frame, row)}: {what}")


def _check_groups(frame: pd.DataFrame, *, source: str) -> None:
    if "group" not in frame:
        return
    tickers = frame["ticker"].cat.codes.to_numpy()
    groups = frame["group"].cat.codes.to_numpy()
    _, first = np.unique(tickers, return_index=True)
    position = np.searchsorted(tickers[first], tickers)
    other = groups != groups[first][position]
    if other.any():
        at = int(other.argmax())
        row, before = int(frame.index[at]), int(frame.index[first[position[at]]])
        raise QualityError(
            f"{source}: {_place(frame, row)}: group was {frame['group'].iloc[at]!r} and is "
            f"{frame['group'].loc[before]!r} on row {before}; a ticker has one group"
        )
