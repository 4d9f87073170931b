"""Calendar effects against a wall calendar of New York's exchange."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmx_ray.data.calendar import calendar_sessions, sessions_between
from pmx_ray.features.calendar_effects import (
    monday,
    month_end,
    session_before_holiday,
    turn_of_month,
)

DAYS = sessions_between("XNYS", np.datetime64("2024-06-26"), np.datetime64("2024-07-10"))


def days_with(effect, calendar="XNYS", sessions=DAYS):
    values = effect(calendar, sessions)
    assert set(values) <= {0.0, 1.0}
    return [str(day)[5:] for day in sessions[values == 1.0]]


def test_monday_when_summer_2024_then_the_first_and_the_eighth():
    assert days_with(monday) == ["07-01", "07-08"]


def test_month_end_when_june_ends_on_a_sunday_then_friday():
    assert days_with(month_end) == ["06-28"]


def test_turn_of_month_when_july_begins_then_last_and_first_three_sessions():
    assert days_with(turn_of_month) == ["06-28", "07-01", "07-02", "07-03"]


def test_session_before_holiday_when_independence_day_then_the_third():
    assert days_with(session_before_holiday) == ["07-03"]  # closed on Thursday the 4th


def test_session_before_holiday_when_monday_is_free_then_friday():
    days = sessions_between("XNYS", np.datetime64("2024-08-26"), np.datetime64("2024-09-06"))
    assert days_with(session_before_holiday, sessions=days) == ["08-30"]  # Labor Day, 2 September


def test_session_before_holiday_when_the_market_never_closes_then_none():
    days = sessions_between("24/7", np.datetime64("2024-12-20"), np.datetime64("2025-01-05"))
    assert days_with(session_before_holiday, calendar="24/7", sessions=days) == []


def test_monday_when_a_whole_decade_then_as_the_datetime_module_says():
    days = sessions_between("XNYS", np.datetime64("2010-01-01"), np.datetime64("2019-12-31"))
    expected = [day.weekday() == 0 for day in days.tolist()]
    np.testing.assert_array_equal(monday("XNYS", days), expected)


@pytest.mark.parametrize("eve", ["2001-09-10", "2012-10-26", "2004-06-10", "2018-12-04"])
def test_session_before_holiday_when_an_unplanned_closure_follows_then_not_known(eve):
    # proves C3: the attacks of 11 September, Hurricane Sandy, two days of mourning
    session = np.array([eve], dtype="datetime64[D]")
    assert session_before_holiday("XNYS", session) == [0.0]


def test_session_before_holiday_when_thanksgiving_follows_then_known():
    days = sessions_between("XNYS", np.datetime64("2012-11-12"), np.datetime64("2012-11-30"))
    assert days_with(session_before_holiday, sessions=days) == ["11-21"]


def test_month_effects_when_the_second_of_january_is_unplanned_free_then_it_counts_by_plan():
    # 2007-01-02 was closed for the funeral of president Ford: the third was planned as the second.
    days = sessions_between("XNYS", np.datetime64("2006-12-28"), np.datetime64("2007-01-08"))
    assert days_with(turn_of_month, sessions=days) == ["12-29", "01-03", "01-04"]
    assert days_with(month_end, sessions=days) == ["12-29"]


def test_effects_when_no_closure_is_near_then_those_of_the_sessions_that_were():
    # 2013 to 2017 have no unplanned closure, so plan and history agree.
    days = sessions_between("XNYS", np.datetime64("2013-01-01"), np.datetime64("2017-12-31"))
    month, gap = days.astype("datetime64[M]"), np.diff(days).astype(int)
    ends = month[:-1] != month[1:]
    rank = np.arange(len(days)) - np.searchsorted(month, month)
    weekday = (days.astype(int) + 3) % 7
    free = gap > np.where(weekday[:-1] == 4, 3, 1)
    np.testing.assert_array_equal(month_end("XNYS", days)[:-1], ends)
    np.testing.assert_array_equal(turn_of_month("XNYS", days)[:-1], ends | (rank[:-1] < 3))
    np.testing.assert_array_equal(session_before_holiday("XNYS", days)[:-1], free)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 19000), st.integers(1, 60), st.integers(0, 59))
@pytest.mark.parametrize("effect", [monday, month_end, turn_of_month, session_before_holiday])
def test_effects_when_one_session_is_asked_then_as_among_others(effect, start, n, at):
    # What is asked beside a session must not change its value: nothing leaks along the axis.
    days = calendar_sessions("XNYS")[start : start + n]
    one = days[at % n : at % n + 1]
    assert effect("XNYS", one)[0] == effect("XNYS", days)[at % n]
