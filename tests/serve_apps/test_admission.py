import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_apps.admission import Bucket, admit

BURSTS = st.integers(1, 10)
RATES = st.floats(0.01, 1000.0)
GAPS = st.lists(
    st.one_of(st.just(0.0), st.just(0.0), st.floats(0.0, 10.0)), min_size=1, max_size=80
)
"""Seconds between requests; mostly none, so that they come in crowds."""


def served(gaps, *, rate, burst):
    """Return time and wait of requests, each so many seconds after the one before."""
    bucket, now, found = None, 0.0, []
    for gap in gaps:
        now += gap
        bucket, wait = admit(bucket, now_s=now, rate_per_s=rate, burst=burst)
        found.append((now, wait))
    return found


@settings(max_examples=200, deadline=None)
@given(GAPS, RATES, BURSTS)
def test_admit_when_asked_at_any_times_then_never_more_than_burst_and_rate_allow(gaps, rate, burst):
    let_in = [now for now, wait in served(gaps, rate=rate, burst=burst) if wait == 0]
    for i, first in enumerate(let_in):
        for n, last in enumerate(let_in[i:], start=1):
            assert n <= burst + rate * (last - first) + 1e-6


@settings(max_examples=100, deadline=None)
@given(GAPS, RATES, BURSTS)
def test_admit_when_refused_then_the_wait_it_named_is_enough(gaps, rate, burst):
    bucket, now = None, 0.0
    for gap in gaps:
        now += gap
        bucket, wait = admit(bucket, now_s=now, rate_per_s=rate, burst=burst)
        if wait:
            later = now + wait * (1 + 1e-9) + 2 * math.ulp(now)  # a clock shows no shorter time
            assert admit(bucket, now_s=later, rate_per_s=rate, burst=burst)[1] == 0


@settings(max_examples=50, deadline=None)
@given(BURSTS, RATES)
def test_admit_when_burst_comes_at_once_then_exactly_burst_are_let_in(burst, rate):
    waits = [wait for _, wait in served([0.0] * (burst + 3), rate=rate, burst=burst)]
    assert waits[:burst] == [0.0] * burst
    assert waits[burst:] == pytest.approx([1 / rate] * 3)  # nothing flowed in meanwhile


def test_admit_when_clock_goes_back_then_nothing_flows_in_or_out():
    bucket, wait = admit(Bucket(1.0, 100.0), now_s=50.0, rate_per_s=1e6, burst=10)
    assert (wait, bucket.level) == (0.0, 0.0)
    assert admit(bucket, now_s=50.0, rate_per_s=1.0, burst=10)[1] == 1.0


def test_admit_when_idle_for_long_then_no_more_than_a_burst_was_saved():
    gaps = [0.0, 1e6, 0.0, 0.0, 0.0]
    assert [wait for _, wait in served(gaps, rate=1.0, burst=3)] == [0.0, 0.0, 0.0, 0.0, 1.0]
