"""Calendar effects: 0/1 columns that the exchange's calendar fixes in advance."""

import numpy as np

from pmx_ray._typing import BoolArray, DateArray, FloatArray, IntArray
from pmx_ray.data.calendar import calendar_sessions
from pmx_ray.errors import DataError


def monday(calendar: str, sessions: DateArray) -> FloatArray:  # noqa: ARG001 - one signature
    """Return 1 on Mondays.

    References
    ----------
    French (1980), Journal of Financial Economics 8, 55-69.
    """
    is_monday: FloatArray = (_weekday(sessions) == 0).astype(np.float64)
    return is_monday


def month_end(calendar: str, sessions: DateArray) -> FloatArray:
    """Return 1 on the last session of a month."""
    return _is_last_of_month(calendar, sessions).astype(np.float64)


def turn_of_month(calendar: str, sessions: DateArray) -> FloatArray:
    """Return 1 on the last session of a month and on the first three of the next.

    References
    ----------
    Lakonishok and Smidt (1988), Review of Financial Studies 1, 403-425.
    """
    days = calendar_sessions(calendar)
    before_month = np.searchsorted(days, _month_start(sessions, 0))
    rank = np.searchsorted(days, sessions, side="right") - before_month  # 1 is the first session
    return ((rank <= 3) | _is_last_of_month(calendar, sessions)).astype(np.float64)


def session_before_holiday(calendar: str, sessions: DateArray) -> FloatArray:
    """Return 1 where a weekday passes without a session before the next session comes.

    On a calendar that trades every day no session is before a holiday.

    References
    ----------
    Ariel (1990), Journal of Finance 45, 1611-1626.
    """
    days = calendar_sessions(calendar)
    after = np.searchsorted(days, sessions, side="right")
    if (after == len(days)).any():
        raise DataError(f"calendar '{calendar}' ends on {days[-1]}; the next session is not known")
    first_free = sessions + np.timedelta64(1, "D")
    weekdays_off = np.busday_count(first_free, days[after])  # Monday to Friday
    return (weekdays_off > 0).astype(np.float64)


def _weekday(sessions: DateArray) -> IntArray:
    """Return 0 for Monday to 6 for Sunday."""
    return (sessions.astype("datetime64[D]").astype(np.int64) + 3) % 7  # 1970-01-01: a Thursday


def _month_start(sessions: DateArray, months_on: int) -> DateArray:
    month = sessions.astype("datetime64[M]") + np.timedelta64(months_on, "M")
    return month.astype("datetime64[D]")


def _is_last_of_month(calendar: str, sessions: DateArray) -> BoolArray:
    days = calendar_sessions(calendar)
    upto = np.searchsorted(days, sessions, side="right")
    last: BoolArray = upto == np.searchsorted(days, _month_start(sessions, 1))
    return last
