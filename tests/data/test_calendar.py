from datetime import date

import numpy as np
import pytest

from pmx_ray.data.bundled import BundledSettings, read_bundled
from pmx_ray.data.calendar import (
    calendar_sessions,
    close_time,
    planned_sessions,
    sessions_after,
    sessions_between,
)
from pmx_ray.errors import DataError, SettingsError


def test_target_sessions_are_the_days_of_every_ecb_fixing() -> None:
    rows, _ = read_bundled(BundledSettings(name="fx"))
    fixings = np.unique(rows["date"].to_numpy().astype("datetime64[D]"))
    sessions = sessions_between("TARGET", fixings[0], fixings[-1])
    np.testing.assert_array_equal(sessions, fixings)
    assert len(fixings) > 7000


def test_target_when_good_friday_1999_then_open_and_closed_since() -> None:
    sessions = calendar_sessions("TARGET")
    assert np.datetime64("1999-04-02") in sessions
    assert np.datetime64("2000-04-21") not in sessions
    assert np.datetime64("2031-05-01") not in sessions  # a Thursday


def test_target_when_asked_twice_then_registered_once() -> None:
    assert calendar_sessions("TARGET")[0] == np.datetime64("1999-01-04")
    assert len(calendar_sessions.__wrapped__("TARGET")) == len(calendar_sessions("TARGET"))


def test_sessions_after_christmas_skip_the_holidays() -> None:
    after = sessions_after("TARGET", np.datetime64("2024-12-24"), 2)
    assert after.tolist() == [np.datetime64(day).item() for day in ("2024-12-27", "2024-12-30")]


def test_calendar_when_unknown_then_suggests() -> None:
    with pytest.raises(SettingsError, match="calendar 'TARGETT' is unknown; did you mean 'TARGET'"):
        calendar_sessions("TARGETT")


def test_sessions_after_when_the_calendar_ends_then_data_error() -> None:
    with pytest.raises(DataError, match="has no 5 sessions after 2050-12-30"):
        sessions_after("TARGET", np.datetime64("2050-12-30"), 5)


def test_planned_sessions_when_new_york_then_those_and_the_days_closed_by_no_rule() -> None:
    planned, held = planned_sessions("XNYS"), calendar_sessions("XNYS")
    assert np.isin(held, planned).all()
    closed = np.setdiff1d(planned, held)
    since = closed[closed >= np.datetime64("2000-01-01")]
    # September 2001; mourning 2004, 2007, 2018 and 2025; Hurricane Sandy 2012.
    assert [str(day) for day in since] == [
        "2001-09-11", "2001-09-12", "2001-09-13", "2001-09-14", "2004-06-11", "2007-01-02",
        "2012-10-29", "2012-10-30", "2018-12-05", "2025-01-09",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["24/7", "XSHG"])
def test_planned_sessions_when_a_calendar_has_no_rules_then_its_week(name: str) -> None:
    weekdays = np.is_busday(planned_sessions(name))
    assert weekdays.all() == (name == "XSHG")
    assert np.isin(calendar_sessions(name), planned_sessions(name)).all()


def test_close_time_when_winter_in_new_york_then_nine_in_the_evening_utc() -> None:
    assert close_time("XNYS", date(2022, 12, 28)).isoformat() == "2022-12-28T21:00:00+00:00"


def test_close_time_when_half_session_then_one_in_the_afternoon_there() -> None:
    assert close_time("XNYS", date(2022, 11, 25)).isoformat() == "2022-11-25T18:00:00+00:00"


def test_close_time_when_no_session_then_refused_by_name() -> None:
    with pytest.raises(DataError, match="2022-12-25 is no session of calendar 'XNYS'"):
        close_time("XNYS", date(2022, 12, 25))
