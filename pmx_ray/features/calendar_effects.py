"""Calendar effects: 0/1 columns that the exchange's calendar fixes in advance.

They count the sessions that the calendar's rules plan. An exchange that a storm or an attack closes
does not announce it: the session before is not one before a holiday.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Literal, TypeAlias

import numpy as np
from pydantic import Field

from pmx_ray._typing import BoolArray, DateArray, FloatArray, IntArray
from pmx_ray.data.calendar import planned_sessions
from pmx_ray.data.panel import Panel
from pmx_ray.errors import DataError
from pmx_ray.features.column import Feature, FeatureKind

Effect: TypeAlias = Callable[[str, DateArray], FloatArray]
"""Calendar and sessions (T,) to 0 or 1 of each."""

EffectName: TypeAlias = Literal["monday", "turn_of_month", "month_end", "session_before_holiday"]


class CalendarEffects(FeatureKind):
    """Effects of the exchange's calendar, 0 or 1, known in advance.

    Attributes
    ----------
    effects : tuple of str
        See the functions of this module.
    """

    kind: Literal["calendar"] = "calendar"
    effects: tuple[EffectName, ...] = Field(
        default=("monday", "turn_of_month", "month_end", "session_before_holiday"), min_length=1
    )

    def features(self) -> tuple[Feature, ...]:
        """Return one column an effect."""
        return tuple(
            Feature(name, 0, EFFECTS[name][1], partial(_for_all, EFFECTS[name][0]))
            for name in self.effects
        )


def monday(calendar: str, sessions: DateArray) -> FloatArray:  # noqa: ARG001 - one signature
    """Return 1 on Mondays.

    References
    ----------
    French (1980), Journal of Financial Economics 8, 55-69.
    """
    is_monday: FloatArray = (_weekday(sessions) == 0).astype(np.float64)
    return is_monday


def month_end(calendar: str, sessions: DateArray) -> FloatArray:
    """Return 1 on the last planned session of a month.

    No session of a month is that if the exchange was closed on the planned one.
    """
    return _is_last_of_month(calendar, sessions).astype(np.float64)


def turn_of_month(calendar: str, sessions: DateArray) -> FloatArray:
    """Return 1 on the last session of a month and on the first three of the next.

    References
    ----------
    Lakonishok and Smidt (1988), Review of Financial Studies 1, 403-425.
    """
    days = planned_sessions(calendar)
    before_month = np.searchsorted(days, _month_start(sessions, 0))
    rank = np.searchsorted(days, sessions, side="right") - before_month  # 1 is the first session
    return ((rank <= 3) | _is_last_of_month(calendar, sessions)).astype(np.float64)


def session_before_holiday(calendar: str, sessions: DateArray) -> FloatArray:
    """Return 1 where a weekday passes by plan before the next session comes.

    On a calendar that trades every day no session is before a holiday.

    References
    ----------
    Ariel (1990), Journal of Finance 45, 1611-1626.
    """
    days = planned_sessions(calendar)
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
    days = planned_sessions(calendar)
    upto = np.searchsorted(days, sessions, side="right")
    last: BoolArray = upto == np.searchsorted(days, _month_start(sessions, 1))
    return last


def _for_all(effect: Effect, history: Panel, sessions: DateArray) -> FloatArray:
    values = effect(history.calendar, sessions)
    return np.broadcast_to(values, (history.n_tickers, len(sessions)))


EFFECTS: Mapping[EffectName, tuple[Effect, str]] = MappingProxyType(
    {
        "monday": (monday, "1 on Mondays"),
        "turn_of_month": (
            turn_of_month,
            "1 on the last session of a month and the first three of the next",
        ),
        "month_end": (month_end, "1 on the last session of a month"),
        "session_before_holiday": (
            session_before_holiday,
            "1 where a weekday without a session follows",
        ),
    }
)
"""Every effect by name, with what it is in one line."""
