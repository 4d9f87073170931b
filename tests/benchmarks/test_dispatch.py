"""What the benchmark of the dispatch judges by."""

import numpy as np
import pytest

from benchmarks.dispatch import costs, promises
from benchmarks.dispatching.around import machine_us
from benchmarks.dispatching.driver import SAMPLE_EVERY, Case, Mark, Reading, slope, window

READING = Reading(
    blocks_per_s=500.0, driver_us=900.0, main_us=500.0, receive_us=100.0, submit_us=200.0,
    look_us=100.0, looks_per_block=1.0, plan_s=1.0, plan_mb=0.3, mb=0.01, mb_low=0.0, mb_high=0.02,
    private_mb=200.0,
)  # fmt: skip


def reading(**changed: float) -> Reading:
    values = {name: getattr(READING, name) for name in Reading.__dataclass_fields__}
    return Reading(**{**values, **changed})


def test_slope_when_memory_grows_evenly_then_as_by_hand_and_sure():
    held = [(n, 200.0 + 0.002 * n) for n in range(0, 50_000, SAMPLE_EVERY)]
    assert slope(held) == pytest.approx((2.0, 2.0, 2.0))


def test_slope_when_memory_moves_in_steps_then_its_interval_holds_the_truth_and_is_wide():
    n = np.arange(0, 50_000, SAMPLE_EVERY)
    steps = 200.0 + 10.0 * np.floor(n / 10_000)
    mb, low, high = slope(list(zip(n.tolist(), steps.tolist(), strict=True)))
    assert low < 1.0 < high
    assert mb == pytest.approx(4 * 10.0 / 49.75)  # four steps fall into the readings


def mark(n: int) -> Mark:
    return Mark(n, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 0, 0.0)


def test_window_when_a_queue_is_long_then_it_ends_where_no_block_is_left_to_hand_out():
    marks = [mark(n) for n in range(SAMPLE_EVERY, 100_001, SAMPLE_EVERY)]
    first, last = window(marks, Case("x", 100_000, in_flight=16_000))
    assert (first.n, last.n) == (10_000, 68_000)


def test_costs_when_two_lengths_then_a_look_is_cut_into_itself_and_its_list():
    few, many = Case("few", 1000), Case("many", 1000, in_flight=16_000)
    read = [(few, reading(look_us=104.0)), (many, reading(look_us=100.0 + 32_000.0))]
    found = costs(read)
    assert (found["receive_us"], found["submit_us"], found["other_us"]) == (100.0, 200.0, 400.0)
    assert (found["look_us"], found["look_ns"]) == pytest.approx((100.0, 1000.0))


@pytest.mark.parametrize(
    ("row", "kept"),
    [
        ({}, [True, True]),
        ({"blocks_per_s": 302.0}, [False, True]),  # with its record less than 300
        ({"mb_high": 0.12}, [True, False]),
        ({"blocks": 5000, "mb_high": 0.12}, [True]),  # too short to tell
        ({"case": "held", "mb_high": 1.1}, [True, True]),
        ({"case": "held", "mb_high": 1.3}, [True, False]),  # with the plan more than 1.5
        ({"pending": 32_000, "mb_high": 0.12}, [True]),  # calls that wait fill the memory
        ({"case": "real blocks"}, []),
    ],
)
def test_promises_when_a_limit_is_passed_then_missed(row, kept):
    plain = {
        "case": "x", "blocks": 100_000, "pending": 4, "blocks_per_s": 500.0, "plan_mb": 0.3,
        "mb_high": 0.02,
    }  # fmt: skip
    assert [promise.kept for promise in promises([{**plain, **row}], 0.0003)] == kept


def test_machine_when_timed_then_every_event_hands_a_block_out():
    assert machine_us(10, 200) > 0.0
