"""Flags as their readers know them: live, stale, then safe, and the kill switch through all."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmx_ray.errors import SettingsError
from pmx_ray.ledger.flags import FlagRecord
from pmx_ray.signals import flag_source
from pmx_ray.signals.flag_source import FlagObservation, changing, observe, state_of
from pmx_ray.signals.flags import FlagState, FlagValues
from pmx_ray.signals.types import FlagStatus

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LIVE, STALE, SAFE = FlagStatus.LIVE, FlagStatus.STALE, FlagStatus.SAFE
FULL = FlagValues().model_dump()


def record(version: int, **values: object) -> FlagRecord:
    return FlagRecord(version, {**FULL, **values}, NOON, "ann", "to see")


def after(*looks: tuple[float, FlagRecord | str | None]) -> FlagObservation:
    seen = FlagObservation()
    for seconds, answer in looks:
        seen = observe(seen, answer, now=NOON + timedelta(seconds=seconds))
    return seen


def test_view_when_never_looked_then_safe() -> None:
    view = FlagObservation().view
    assert (view.status, view.version, view.values) == (SAFE, 0, FlagValues())


def test_observe_when_no_flag_was_ever_set_then_defaults_are_live() -> None:
    seen = after((0, None))
    assert (seen.view.status, seen.view.version, seen.view.why) == (LIVE, 0, "")
    assert seen.view.values == seen.view.effective == FlagValues()


@pytest.mark.parametrize(
    ("seconds", "status"), [(0, STALE), (29.999, STALE), (30, SAFE), (3600, SAFE)]
)
def test_observe_when_source_is_gone_then_last_values_and_age(
    seconds: float, status: FlagStatus
) -> None:
    seen = after((0, record(7, llm_only=True)), (seconds, "database is locked"))
    assert seen.view.values == FlagValues(llm_only=True)
    assert (seen.view.version, seen.view.status) == (7, status)
    assert (seen.view.age_s, seen.view.why) == (seconds, "database is locked")
    assert seen.state == state_of(record(7, llm_only=True))


def test_observe_when_source_is_back_then_live_at_once() -> None:
    seen = after((0, record(7)), (99, "gone"), (100, record(8, merge_llm=True)))
    assert (seen.view.status, seen.view.version, seen.view.age_s) == (LIVE, 8, 0)
    assert after((0, record(7)), (99, "gone"), (100, None)).view.version == 0


def test_observe_when_never_answered_then_safe_from_the_first_second() -> None:
    view = after((0, "refused"), (1, "refused")).view
    assert (view.status, view.version) == (SAFE, 0)
    assert "never known: refused" in view.why


def test_observe_when_failure_says_nothing_then_something_is_said() -> None:
    assert "did not answer" in after((0, record(1)), (1, "")).view.why


def test_observe_when_version_cannot_be_read_then_last_known_and_why() -> None:
    newer = FlagRecord(8, {**FULL, "flag_of_tomorrow": True}, NOON, "ann", "x")
    view = after((0, record(7, llm_only=True)), (1, newer)).view
    assert (view.status, view.version, view.values.llm_only) == (STALE, 7, True)
    assert "flags version 8" in view.why
    assert "flag_of_tomorrow" in view.why


def test_observe_when_clock_is_set_back_then_never_younger_than_nothing() -> None:
    seen = after((0, record(7)), (-3600, "gone"), (-3600 + 30, "gone"))
    assert (seen.view.status, seen.view.age_s) == (SAFE, 30)


def test_effective_when_safe_then_fallback_serves_and_kill_switch_stays() -> None:
    flags = record(7, llm_only=True, merge_llm=True, time_series_pct=80, kill_switch=True)
    view = after((0, flags), (31, "gone")).view
    assert view.effective == FlagValues(
        kill_switch=True, time_series_pct=0, shadow_challenger=False
    )


ANSWERS = st.one_of(
    st.none(),
    st.text(max_size=5),
    st.builds(
        record,
        st.integers(1, 9),
        kill_switch=st.booleans(),
        time_series_pct=st.integers(-5, 105),
    ),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(-100, 100), ANSWERS), max_size=8))
def test_observe_when_anything_happens_then_views_hold_together(
    looks: list[tuple[float, FlagRecord | str | None]],
) -> None:
    seen = FlagObservation()
    for seconds, answer in looks:
        before, now = seen, NOON + timedelta(seconds=seconds)
        seen = observe(seen, answer, now=now)
        view = seen.view
        assert view.age_s >= 0
        assert (view.status is LIVE) == (view.why == "")
        assert view.values == seen.state.values
        if view.status is LIVE:
            assert seen.answered_at == now
        else:  # nothing is learned from silence
            assert seen.state == before.state
        if view.status is SAFE:
            assert (view.effective.llm_only, view.effective.merge_llm) == (False, False)
            assert view.effective.kill_switch == view.values.kill_switch


def test_state_of_when_flag_was_retired_then_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flag_source, "RETIRED", {"beta_route": "the router decides"})
    state = state_of(record(3, beta_route=True, llm_only=True))
    assert state == FlagState(
        version=3,
        values=FlagValues(llm_only=True),
        changed_at=NOON,
        changed_by="ann",
        reason="to see",
    )


def test_state_of_when_flag_is_newer_than_the_record_then_default() -> None:
    assert state_of(FlagRecord(1, {"llm_only": True}, NOON, "a", "b")).values.time_series_pct == 100


def test_changing_when_applied_then_others_stay() -> None:
    update = changing({"time_series_pct": 30})
    assert update({}) == {**FULL, "time_series_pct": 30}
    assert update({"llm_only": True, "time_series_pct": 50}) == {
        **FULL,
        "llm_only": True,
        "time_series_pct": 30,
    }


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"llm_onyl": True}, "'llm_onyl' is unknown; did you mean 'llm_only'"),
        ({"time_series_pct": 101}, "time_series_pct"),
        ({"time_series_pct": float("nan")}, "time_series_pct"),
    ],
)
def test_changing_when_wrong_then_refused_before_anything_is_read(
    changes: dict[str, object], said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        changing(changes)
