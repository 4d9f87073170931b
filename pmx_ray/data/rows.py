"""Long rows and the panel they spread to: one row a price against one array an axis pair."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pmx_ray._typing import BoolArray, FloatArray, IntArray
from pmx_ray.data.calendar import sessions_between
from pmx_ray.data.panel import FIELDS, Panel


def long_rows(panel: Panel) -> pd.DataFrame:
    """Return the prices of a panel as long rows, ticker by ticker, numbered from 1."""
    n, t = np.nonzero(~np.isnan(panel.close))
    rows: dict[str, object] = {
        "date": panel.sessions[t].astype("datetime64[s]"),
        "ticker": coded(n, panel.tickers),
        "close": panel.close[n, t],
    }
    for name in FIELDS:
        values: FloatArray | None = getattr(panel, name)
        if values is not None:
            rows[name] = values[n, t]
    if panel.groups is not None:
        rows["group"] = pd.Categorical(np.array(panel.groups, dtype=object)[n])
    return pd.DataFrame(rows, index=pd.RangeIndex(1, len(n) + 1))


def coded(codes: IntArray, names: Sequence[str]) -> "pd.Categorical[str]":
    """Return the names that ``codes`` point at, shape (R,); -1 is a missing one."""
    return pd.Categorical.from_codes(codes, categories=pd.Index(list(names)))


def build_panel(frame: pd.DataFrame, calendar: str) -> Panel:
    """Return long rows that keep the contract, spread over tickers and the calendar's sessions.

    The sessions run from the first row's to the last row's; a session without a row inside a
    ticker's life is a gap. A column without any value is left out.
    """
    codes = frame["ticker"].cat.codes.to_numpy()
    present, first = np.unique(codes, return_index=True)
    names = [str(frame["ticker"].cat.categories[code]) for code in present]
    by_name = np.argsort(np.array(names, dtype=object))
    row_of = np.empty(len(frame["ticker"].cat.categories), np.int64)
    row_of[present[by_name]] = np.arange(len(present))
    days = frame["date"].to_numpy().astype("datetime64[D]")
    sessions = sessions_between(calendar, days.min(), days.max())
    n, t = row_of[codes], np.searchsorted(sessions, days)

    def spread(name: str) -> FloatArray | None:
        if name not in frame:
            return None
        values = np.full((len(present), len(sessions)), np.nan)
        values[n, t] = frame[name].to_numpy()
        return None if np.isnan(values).all() else values

    close = spread("close")
    assert close is not None  # noqa: S101 - the contract refuses a column of NaN
    missing = interior_holes(~np.isnan(close))
    groups = None
    if "group" in frame:
        groups = tuple(str(frame["group"].iloc[first[k]]) for k in by_name)
    return Panel(
        calendar=calendar,
        tickers=tuple(names[k] for k in by_name),
        sessions=sessions,
        close=close,
        open=spread("open"),
        high=spread("high"),
        low=spread("low"),
        volume=spread("volume"),
        gap=missing if missing.any() else None,
        groups=groups,
    )


def interior_holes(present: BoolArray) -> BoolArray:
    """Return where a row has no price after its first and before its last one, (N, T)."""
    started = np.logical_or.accumulate(present, axis=1)
    not_over = np.logical_or.accumulate(present[:, ::-1], axis=1)[:, ::-1]
    return started & not_over & ~present
