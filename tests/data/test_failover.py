"""The decisions alone: order, pace, cool-down; every clock here is a number."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pmx_ray.data.failover import (
    Accept,
    Ask,
    Decision,
    Delivered,
    Event,
    Failed,
    FailoverPolicy,
    FailoverState,
    FailureKind,
    GiveUp,
    Wait,
    Waited,
    Wanted,
    decide,
)
from pmx_ray.errors import VendorError

T0 = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
DOWN = Failed(FailureKind.UNAVAILABLE, "HTTP status 503")
BUSY = Failed(FailureKind.RATE_LIMITED, "too often")
UNKNOWN = Failed(FailureKind.REFUSED, "no such ticker")
ALPHA, YAHOO = Ask("alpha_vantage"), Ask("yahoo")


class Story:
    """Feeds events to ``decide`` on a clock that only the story moves."""

    def __init__(self, **policy: object) -> None:
        self.policy = FailoverPolicy.model_validate(policy)
        self.state = FailoverState.start(self.policy)
        self.now = T0

    def tell(self, event: Event) -> Decision:
        self.state, decision = decide(self.state, event, now=self.now, policy=self.policy)
        return decision

    def wait(self, seconds: float) -> Decision:
        self.now += timedelta(seconds=seconds)
        return self.tell(Waited())


# proves R5
def test_failover_when_the_first_fails_then_the_second_is_asked_at_once() -> None:
    story = Story()
    assert story.tell(Wanted()) == ALPHA
    assert story.tell(DOWN) == YAHOO
    assert story.tell(Delivered()) == Accept("yahoo")


def test_failover_when_the_first_is_well_again_then_it_is_asked_first_again() -> None:
    story = Story()
    story.tell(Wanted())
    story.tell(DOWN)
    story.tell(Delivered())
    story.now += timedelta(seconds=60)
    assert story.tell(Wanted()) == ALPHA


# proves R6
def test_pace_when_the_next_ticker_comes_at_once_then_the_rest_of_60_seconds_is_waited() -> None:
    story = Story()
    story.tell(Wanted())
    story.now += timedelta(seconds=2.5)
    assert story.tell(Delivered()) == Accept("alpha_vantage")
    assert story.tell(Wanted()) == Wait(57.5)  # not Yahoo: a vendor in turn keeps its place
    assert story.wait(57.4) == Wait(pytest.approx(0.1))
    assert story.wait(0.1) == ALPHA


def test_pace_when_below_60_seconds_is_asked_for_then_refused() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 60"):
        FailoverPolicy(min_interval_s=59.9)


def test_failover_when_all_fail_twice_then_given_up_with_every_reason() -> None:
    story = Story()
    assert [story.tell(Wanted()), story.tell(DOWN)] == [ALPHA, YAHOO]
    assert story.tell(DOWN) == Wait(60.0)
    assert story.wait(60.0) == ALPHA
    assert story.tell(DOWN) == YAHOO
    assert story.tell(UNKNOWN) == GiveUp(
        (
            "alpha_vantage: HTTP status 503",
            "yahoo: HTTP status 503",
            "alpha_vantage: HTTP status 503",
            "yahoo: no such ticker",
        )
    )


def test_failover_when_a_ticker_is_refused_then_that_vendor_is_not_asked_for_it_again() -> None:
    story = Story()
    story.tell(Wanted())
    assert story.tell(UNKNOWN) == YAHOO
    assert story.tell(UNKNOWN) == GiveUp(("alpha_vantage: no such ticker", "yahoo: no such ticker"))
    story.now += timedelta(seconds=60)
    assert story.tell(Wanted()) == ALPHA  # the next ticker may be known


def test_circuit_when_rate_limited_then_rests_and_comes_back_after_the_cool_down() -> None:
    story = Story(cool_down_s=600)
    story.tell(Wanted())
    assert story.tell(BUSY) == YAHOO
    assert story.tell(Delivered()) == Accept("yahoo")
    story.now += timedelta(seconds=599)
    assert story.tell(Wanted()) == YAHOO
    story.tell(Delivered())
    story.now += timedelta(seconds=1)
    assert story.tell(Wanted()) == ALPHA


def test_circuit_when_three_failures_in_a_row_then_rests() -> None:
    story = Story(max_failures=3, cool_down_s=3600)
    for _ in range(3):
        assert story.tell(Wanted()) == ALPHA
        assert story.tell(DOWN) == YAHOO
        story.tell(Delivered())
        story.now += timedelta(seconds=60)
    assert story.tell(Wanted()) == YAHOO


def test_circuit_when_a_success_lies_between_then_failures_start_over() -> None:
    story = Story(max_failures=2, cool_down_s=3600)
    for answer in (DOWN, Delivered(), DOWN):
        assert story.tell(Wanted()) == ALPHA
        if answer is DOWN:
            assert story.tell(answer) == YAHOO
            story.tell(Delivered())
        else:
            story.tell(answer)
        story.now += timedelta(seconds=60)
    assert story.tell(Wanted()) == ALPHA


def test_circuit_when_every_vendor_rests_then_waits_for_the_first_to_wake() -> None:
    story = Story(cool_down_s=300)
    story.tell(Wanted())
    story.tell(BUSY)
    story.now += timedelta(seconds=100)
    assert story.tell(BUSY) == Wait(200.0)
    assert story.wait(200.0) == ALPHA


def test_decide_when_nothing_was_asked_then_vendor_error() -> None:
    with pytest.raises(VendorError, match="nothing was asked for"):
        Story().tell(Delivered())


@pytest.mark.parametrize("vendors", [(), ("yahoo", "yahoo"), ("bloomberg",), ("simulated",)])
def test_policy_when_vendors_are_wrong_then_refused(vendors: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError):
        FailoverPolicy(vendors=vendors)  # type: ignore[arg-type]


# proves R5 R6
@settings(max_examples=150, deadline=None)
@given(
    answers=st.lists(st.sampled_from([DOWN, BUSY, UNKNOWN, Delivered()]), min_size=1, max_size=40),
    delays=st.lists(st.floats(0.0, 200.0), min_size=40, max_size=40),
    order=st.permutations(["alpha_vantage", "yahoo"]),
)
def test_any_story_when_told_then_requests_are_60_s_apart_and_ordered_and_it_ends(
    answers: list[Event], delays: list[float], order: list[str]
) -> None:
    story = Story(vendors=tuple(order))
    asked: dict[str, list[datetime]] = {"alpha_vantage": [], "yahoo": []}
    decision = story.tell(Wanted())
    tries: list[str] = []
    for answer, delay in zip(answers, delays, strict=False):
        for _ in range(3):  # a rest, then a pause, never more
            if not isinstance(decision, Wait):
                break
            assert decision.seconds > 0
            decision = story.wait(decision.seconds)
        if isinstance(decision, GiveUp | Accept):
            tries = []
            decision = story.tell(Wanted())
            continue
        assert isinstance(decision, Ask)
        asked[decision.vendor].append(story.now)
        tries.append(decision.vendor)
        assert tries.count(decision.vendor) <= 2
        story.now += timedelta(seconds=delay)
        decision = story.tell(answer)
    for times in asked.values():
        gaps = [(b - a).total_seconds() for a, b in pairwise(times)]
        assert all(gap >= 60.0 - 1e-6 for gap in gaps)
    assert asked[order[0]][0] == T0
