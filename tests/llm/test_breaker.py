"""The breaker and the cache on a clock made by hand."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmx_ray.llm.breaker import Breaker, BreakerSettings, Phase, admit, failed, succeeded, unspent
from pmx_ray.llm.cache import AnswerCache
from pmx_ray.llm.recording import Exchange

LIMITS = BreakerSettings(n_failures=3, cool_down_s=10.0)


def broken(at_s: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(3):
        breaker = failed(breaker, LIMITS, now_s=at_s)
    return breaker


def test_failed_when_fewer_than_limit_then_calls_go_through() -> None:
    breaker = failed(failed(Breaker(), LIMITS, now_s=0.0), LIMITS, now_s=1.0)
    assert admit(breaker, LIMITS, now_s=1.0) == (breaker, True)


def test_succeeded_when_between_failures_then_count_starts_anew() -> None:
    breaker = failed(failed(Breaker(), LIMITS, now_s=0.0), LIMITS, now_s=0.0)
    breaker = failed(succeeded(breaker), LIMITS, now_s=0.0)
    assert breaker.phase is Phase.CLOSED
    assert breaker.n_failures == 1


@pytest.mark.parametrize(("now_s", "may"), [(0.0, False), (9.9, False), (10.0, True)])
def test_admit_when_open_then_only_after_cool_down(now_s: float, may: bool) -> None:
    assert admit(broken(), LIMITS, now_s=now_s)[1] is may


def test_admit_when_half_open_then_one_call_at_a_time() -> None:
    trying, may = admit(broken(), LIMITS, now_s=10.0)
    assert may
    assert admit(trying, LIMITS, now_s=10.1)[1] is False
    assert admit(trying, LIMITS, now_s=20.0)[1] is True  # the first never reported back
    assert succeeded(trying).phase is Phase.CLOSED
    again = failed(trying, LIMITS, now_s=11.0)
    assert (again.phase, again.since_s, again.n_failures) == (Phase.OPEN, 11.0, 4)


def test_unspent_when_it_tried_then_the_next_call_tries_and_no_failure_is_forgotten() -> None:
    trying, _ = admit(broken(), LIMITS, now_s=10.0)
    given_back = unspent(trying, trying)
    assert (given_back.phase, given_back.n_failures) == (Phase.OPEN, 3)
    assert admit(given_back, LIMITS, now_s=10.1)[1] is True
    once = failed(Breaker(), LIMITS, now_s=0.0)
    assert unspent(once, once) == once
    assert unspent(trying, Breaker()) == trying  # another call is trying


def test_open_when_late_answers_arrive_then_stays_open_as_long() -> None:
    breaker = broken()
    assert succeeded(breaker).phase is Phase.OPEN
    assert failed(breaker, LIMITS, now_s=9.0).since_s == 0.0


@given(
    st.lists(
        st.tuples(st.sampled_from(["ask", "good", "bad", "list"]), st.floats(0, 15)), max_size=40
    )
)
@settings(max_examples=200, deadline=None)
def test_breaker_when_anything_happens_then_never_shut_for_ever(
    events: list[tuple[str, float]],
) -> None:
    breaker, now_s = Breaker(), 0.0
    for event, wait_s in events:
        now_s += wait_s
        if event == "ask":
            breaker, _ = admit(breaker, LIMITS, now_s=now_s)
        elif event == "good":
            breaker = succeeded(breaker)
        elif event == "list":
            trial, may = admit(breaker, LIMITS, now_s=now_s)
            breaker = unspent(trial, trial) if may else breaker
        else:
            breaker = failed(breaker, LIMITS, now_s=now_s)
        assert (breaker.phase is Phase.CLOSED) <= (breaker.n_failures < LIMITS.n_failures)
    assert admit(breaker, LIMITS, now_s=now_s + LIMITS.cool_down_s + 0.001)[1]  # rounding


def kept(number: int) -> Exchange:
    return Exchange(
        key=f"{number:064x}",
        model="m",
        digest="d",
        style="s",
        ticker="",
        cutoff=None,
        step=1,
        text="",
        done_reason="stop",
        prompt_tokens=0,
        output_tokens=0,
        seconds=0.0,
        recorded_at=datetime(2026, 3, 1, tzinfo=UTC),
    )


def test_cache_when_full_then_least_used_is_forgotten() -> None:
    cache = AnswerCache(n_entries=2, ttl_s=10.0, now=lambda: 0.0)
    cache.put(kept(1))
    cache.put(kept(2))
    assert cache.get(kept(1).key) == kept(1)
    cache.put(kept(3))
    assert [cache.get(kept(n).key) is not None for n in (1, 2, 3)] == [True, False, True]


def test_cache_when_old_then_forgotten() -> None:
    now_s = [0.0]
    cache = AnswerCache(n_entries=2, ttl_s=10.0, now=lambda: now_s[0])
    cache.put(kept(1))
    now_s[0] = 9.9
    assert cache.get(kept(1).key) is not None
    now_s[0] = 10.0
    assert cache.get(kept(1).key) is None
    assert len(cache) == 0


def test_cache_when_without_room_then_keeps_nothing() -> None:
    cache = AnswerCache(n_entries=0, ttl_s=10.0)
    cache.put(kept(1))
    assert cache.get(kept(1).key) is None
