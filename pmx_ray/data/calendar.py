"""Sessions of an exchange: the days that count as time in this project."""

from functools import cache

import exchange_calendars as xc
import numpy as np
import pandas as pd

from pmx_ray._typing import DateArray, frozen
from pmx_ray.config import suggestion
from pmx_ray.errors import DataError, SettingsError

FIRST_DAY = pd.Timestamp("1970-01-01")
LAST_DAY = pd.Timestamp("2050-12-31")


@cache
def calendar_sessions(name: str) -> DateArray:
    """Return every session of the calendar ``name`` between 1970 and 2050, shape (T,).

    Parameters
    ----------
    name : str
        A name that ``exchange_calendars`` knows, e.g. ``XNYS``.

    Raises
    ------
    SettingsError
        If no calendar has that name.
    """
    known = xc.get_calendar_names(include_aliases=True)
    if name not in known:
        raise SettingsError(f"calendar '{name}' is unknown{suggestion(name, known)}")
    bounds = xc.get_calendar(name, start="2010-01-04", end="2010-12-31")
    first = max(FIRST_DAY, bounds.bound_min() or FIRST_DAY)
    last = min(LAST_DAY, bounds.bound_max() or LAST_DAY)
    days = xc.get_calendar(name, start=first, end=last).sessions
    return frozen(days.to_numpy(), np.dtype("datetime64[D]"))


def sessions_between(name: str, first: np.datetime64, last: np.datetime64) -> DateArray:
    """Return the sessions of ``name`` from ``first`` to ``last``, both included."""
    days = calendar_sessions(name)
    return days[np.searchsorted(days, first) : np.searchsorted(days, last, side="right")]


def sessions_after(name: str, session: np.datetime64, n_sessions: int) -> DateArray:
    """Return the ``n_sessions`` sessions of ``name`` that follow ``session``, shape (n_sessions,).

    Raises
    ------
    DataError
        If the calendar ends before that many sessions have passed.
    """
    days = calendar_sessions(name)
    start = int(np.searchsorted(days, session, side="right"))
    found = days[start : start + n_sessions]
    if len(found) < n_sessions:
        raise DataError(
            f"calendar '{name}' ends on {days[-1]}; it has no {n_sessions} sessions after {session}"
        )
    return found
