"""Sessions of an exchange: the days that count as time in this project."""

from datetime import date, datetime, time
from functools import cache
from zoneinfo import ZoneInfo

import exchange_calendars as xc
import numpy as np
import pandas as pd
from exchange_calendars.exchange_calendar import HolidayCalendar
from pandas.tseries.holiday import EasterMonday, GoodFriday, Holiday

from pmx_ray._typing import DateArray, frozen
from pmx_ray.config import suggestion
from pmx_ray.errors import DataError, SettingsError

FIRST_DAY = pd.Timestamp("1970-01-01")
LAST_DAY = pd.Timestamp("2050-12-31")

TARGET = "TARGET"
"""Calendar of the European Central Bank's fixings: the days its payment system is open."""


class TargetCalendar(xc.ExchangeCalendar):  # type: ignore[misc]  # the library has no types
    """Days on which the ECB publishes reference rates; the fixing is at 14:15 in Frankfurt.

    Closed on New Year's Day, Good Friday, Easter Monday, 1 May, 25 and 26 December; the Easter and
    May holidays since 2000. Two turns of the year were closed besides.

    References
    ----------
    European Central Bank, press release of 14 December 2000, "Long-term calendar for TARGET
    closing days".
    """

    name = TARGET
    tz = ZoneInfo("Europe/Berlin")
    open_times = ((None, time(9)),)
    close_times = ((None, time(14, 15)),)

    @classmethod
    def bound_min(cls) -> pd.Timestamp:
        """Return the first day of the euro."""
        return pd.Timestamp("1999-01-01")

    @property
    def regular_holidays(self) -> HolidayCalendar:
        """The holidays that come back every year."""
        since = pd.Timestamp("2000-01-01")
        return HolidayCalendar(
            [
                Holiday("New Year's Day", month=1, day=1),
                Holiday("Good Friday", month=1, day=1, offset=GoodFriday.offset, start_date=since),
                Holiday(
                    "Easter Monday", month=1, day=1, offset=EasterMonday.offset, start_date=since
                ),
                Holiday("Labour Day", month=5, day=1, start_date=since),
                Holiday("Christmas", month=12, day=25),
                Holiday("26 December", month=12, day=26, start_date=since),
            ]
        )

    @property
    def adhoc_holidays(self) -> list[pd.Timestamp]:
        """Closed once: the turn of the millennium and the eve of the euro's cash."""
        return [pd.Timestamp("1999-12-31"), pd.Timestamp("2001-12-31")]


@cache
def calendar_sessions(name: str) -> DateArray:
    """Return every session of the calendar ``name`` between 1970 and 2050, shape (T,).

    Parameters
    ----------
    name : str
        A name that ``exchange_calendars`` knows, e.g. ``XNYS``, or ``TARGET``.

    Raises
    ------
    SettingsError
        If no calendar has that name.
    """
    return frozen(_calendar(name).sessions.to_numpy(), np.dtype("datetime64[D]"))


@cache
def planned_sessions(name: str) -> DateArray:
    """Return the sessions of ``name`` as its rules alone plan them, shape (P,), P at least T.

    The sessions and, besides, the days on which the exchange was closed by no rule that comes back
    every year: storms, attacks, mourning. Whoever looked ahead counted those days as sessions, so
    what is to be known in advance must too. The library does not say which of them were announced
    long before, such as a jubilee or a lunar new year; all of them count.

    Raises
    ------
    SettingsError
        If no calendar has that name.
    """
    calendar, sessions = _calendar(name), calendar_sessions(name)
    closed = pd.DatetimeIndex(calendar.adhoc_holidays).to_numpy().astype("datetime64[D]")
    closed = closed[(closed >= sessions[0]) & (closed <= sessions[-1])]
    planned = np.is_busday(closed, weekmask=calendar.weekmask, holidays=_holidays(calendar))
    return frozen(np.union1d(sessions, closed[planned]), np.dtype("datetime64[D]"))


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


def close_time(name: str, session: date) -> datetime:
    """Return when a session of the calendar ``name`` closed, UTC.

    Raises
    ------
    DataError
        If the day is no session.
    """
    calendar = _cached_calendar(name)
    if not calendar.is_session(session.isoformat()):
        raise DataError(f"{session} is no session of calendar '{name}'")
    closed: datetime = calendar.session_close(session.isoformat()).to_pydatetime()
    return closed


@cache
def _cached_calendar(name: str) -> xc.ExchangeCalendar:
    return _calendar(name)


def _calendar(name: str) -> xc.ExchangeCalendar:
    """Return the calendar over its days between 1970 and 2050."""
    _register_target()
    known = xc.get_calendar_names(include_aliases=True)
    if name not in known:
        raise SettingsError(f"calendar '{name}' is unknown{suggestion(name, known)}")
    bounds = xc.get_calendar(name, start="2010-01-04", end="2010-12-31")
    first = max(FIRST_DAY, bounds.bound_min() or FIRST_DAY)
    last = min(LAST_DAY, bounds.bound_max() or LAST_DAY)
    return xc.get_calendar(name, start=first, end=last)


def _holidays(calendar: xc.ExchangeCalendar) -> DateArray:
    """Return the holidays by rules that come back every year; some calendars have no such rule."""
    rules = calendar.regular_holidays
    found = pd.DatetimeIndex([]) if rules is None else rules.holidays(FIRST_DAY, LAST_DAY)
    return frozen(found.to_numpy(), np.dtype("datetime64[D]"))


def _register_target() -> None:
    if TARGET not in xc.get_calendar_names(include_aliases=True):
        xc.register_calendar_type(TARGET, TargetCalendar)
