import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmx_ray.data.jumps import Jumps, find_jumps


def jumps(close: list[float], *, splits: bool = True, session: list[int] | None = None) -> Jumps:
    n = len(close)
    return find_jumps(
        np.zeros(n, np.int64), np.array(session or range(n)), np.array(close), splits=splits
    )


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        (66.0, "looks like an unadjusted split 3:2"),
        (50.5, "looks like an unadjusted split 2:1"),
        (33.0, "looks like an unadjusted split 3:1"),
        (26.0, "looks like an unadjusted split 4:1"),
        (20.5, "looks like an unadjusted split 5:1"),
        (14.5, "looks like an unadjusted split 7:1"),
        (10.3, "looks like an unadjusted split 10:1"),
        (4.9, "looks like an unadjusted split 20:1"),
        (202.0, "looks like an unadjusted reverse split 1:2"),
        (1480.0, "looks like an unadjusted reverse split 1:15"),
        (1.02, "looks like a wrong unit: 100x down"),
        (9800.0, "looks like a wrong unit: 100x up"),
        (103_000.0, "looks like a wrong unit: 1000x up"),
    ],
)
def test_jump_when_the_level_stays_then_named_with_ratio(after: float, reason: str) -> None:
    found = jumps([99.0, 100.0, after, after * 1.01, after * 0.99])
    assert found.position.tolist() == [2]
    assert found.reason == (reason,)
    np.testing.assert_allclose(found.ratio, [after / 100.0])


@pytest.mark.parametrize(
    ("close", "why"),
    [
        ([100.0, 71.0, 72.0, 70.0], "a crash of 29 %, BAC in 2008"),
        ([53.5, 25.75, 24.0, 22.0], "a crash of 52 %, AAPL on 29 September 2000"),
        ([2.62, 3.99, 3.42, 3.6], "a rise of 52 %, AMD on 22 April 2016"),
        ([17.31, 37.32, 29.98, 27.7], "VIX on 5 February 2018"),
        ([100.0, 50.0, 101.0, 99.0], "a bad tick that comes back"),
        ([100.0, 100.5, 99.5, 101.0], "an ordinary week"),
        ([100.0], "one price"),
    ],
)
def test_jump_when_a_real_move_then_none(close: list[float], why: str) -> None:
    assert jumps(close).position.tolist() == [], why


def test_jump_when_100x_for_one_day_then_still_a_wrong_unit() -> None:
    found = jumps([100.0, 10_000.0, 101.0, 100.0])
    assert found.reason == (
        "looks like a wrong unit: 100x up",
        "looks like a wrong unit: 100x down",
    )


def test_jump_when_it_cannot_split_then_only_units_count() -> None:
    assert jumps([100.0, 50.0, 50.0], splits=False).reason == ()
    assert jumps([100.0, 1.0, 1.0], splits=False).reason == ("looks like a wrong unit: 100x down",)


def test_jump_when_prices_lie_a_year_apart_then_none() -> None:
    assert jumps([100.0, 50.0, 50.0], session=[0, 250, 251]).reason == ()


def test_jump_between_two_tickers_then_none() -> None:
    found = find_jumps(np.array([0, 0, 1, 1]), np.arange(4), np.array([100.0, 100.0, 50.0, 50.0]))
    assert found.reason == ()


@settings(max_examples=60, deadline=None)
@given(
    factor=st.sampled_from([2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 20.0]),
    at=st.integers(1, 59),
    seed=st.integers(0, 1000),
)
def test_split_of_a_quiet_series_is_always_found_where_it_is(
    factor: float, at: int, seed: int
) -> None:
    noise = np.random.default_rng(seed).uniform(-0.02, 0.02, 60)  # inside the 3 % tolerance
    close = 100.0 * np.exp(np.cumsum(noise))
    close[at:] /= factor
    found = find_jumps(np.zeros(60, np.int64), np.arange(60), close)
    assert found.position.tolist() == [at]
