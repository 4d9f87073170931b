# ruff: noqa: RUF001 - the page sets a true minus and an en dash

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmx_ray.report import typeset


@pytest.mark.parametrize(
    ("value", "decimals", "expected"),
    [
        (0.023561, 5, "0.02356"),
        (-1.5, 1, "−1.5"),
        (-0.0001, 2, "0.00"),
        (math.nan, 2, "–"),
        (math.inf, 2, "∞"),
        (-math.inf, 2, "−∞"),
    ],
)
def test_fixed_when_special_or_plain_then_as_written(value, decimals, expected):
    assert typeset.fixed(value, decimals) == expected


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [(0.0123, "+1.23%"), (-0.00304, "−0.30%"), (0.0, "0.00%"), (-1e-9, "0.00%"), (math.nan, "–")],
)
def test_skill_when_signed_then_sign_is_stated(fraction, expected):
    assert typeset.skill(fraction) == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.021, 0.004, "[−2.10, +0.40]"),
        (math.nan, 0.1, ""),
        (0.1, math.nan, ""),
        (0.0, 0.0, ""),
        (0.0, 0.01, "[0.00, +1.00]"),
    ],
)
def test_interval_when_an_end_is_missing_then_empty(low, high, expected):
    assert typeset.interval(low, high) == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(1e-4, 1e4), min_size=1, max_size=8))
def test_decimals_when_any_column_then_smallest_keeps_three_digits(values):
    smallest = min(values)
    shown = float(typeset.fixed(smallest, typeset.decimals_for(values)))
    assert shown == pytest.approx(smallest, rel=6e-4)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b"], "a and b"),
        (list("abcde"), "a, b, c, d and e"),
        (list("abcdef"), "a, b, c, d and 2 more"),
    ],
)
def test_listing_when_long_then_rest_is_counted(names, expected):
    assert typeset.listing(names) == expected
