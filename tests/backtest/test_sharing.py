from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from pmx_ray.backtest.sharing import Claim, shares

slots = st.integers(0, 40)
crowds = st.lists(
    st.tuples(st.integers(1, 3), st.integers(1, 50)), max_size=8
).map(
    lambda rows: [Claim(f"s{n}", priority, n, wanted) for n, (priority, wanted) in enumerate(rows)]
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(slots, crowds)
def test_shares_whoever_claims_then_every_slot_is_used_once_if_anybody_can(n_slots, claims):
    given_out = shares(n_slots, claims)
    assert sum(given_out.values()) == min(n_slots, sum(claim.wanted for claim in claims))
    assert all(0 <= given_out[claim.name] <= claim.wanted for claim in claims)


@settings(max_examples=200, deadline=None)
@given(slots, crowds)
def test_shares_when_there_are_slots_for_all_then_nobody_starves(n_slots, claims):
    if n_slots >= len(claims):
        assert all(n >= 1 for n in shares(n_slots, claims).values())


@settings(max_examples=200, deadline=None)
@given(slots, crowds)
def test_shares_when_one_goes_before_another_then_it_has_no_less_of_what_it_can_use(
    n_slots, claims
):
    given_out = shares(n_slots, claims)
    for first, second in pairwise(sorted(claims, key=lambda c: (c.priority, c.arrived))):
        got, other = given_out[first.name], given_out[second.name]
        assert got == first.wanted or got >= other - (first.priority == second.priority)


@settings(max_examples=100, deadline=None)
@given(slots, crowds, st.randoms())
def test_shares_when_claims_come_in_another_order_then_the_same(n_slots, claims, random):
    shuffled = random.sample(claims, len(claims))
    assert shares(n_slots, shuffled) == shares(n_slots, claims)


def test_shares_when_an_urgent_sweep_comes_then_the_other_keeps_one():
    other, urgent = Claim("other", 2, 0, 9), Claim("urgent", 1, 1, 9)
    assert shares(3, [other]) == {"other": 3}
    assert shares(3, [other, urgent]) == {"urgent": 2, "other": 1}


def test_shares_when_the_urgent_one_needs_little_then_the_rest_goes_to_the_others_evenly():
    claims = [Claim("urgent", 1, 5, 2), Claim("a", 2, 0, 9), Claim("b", 2, 1, 9)]
    assert shares(9, claims) == {"urgent": 2, "a": 4, "b": 3}


def test_shares_when_slots_do_not_suffice_for_all_then_the_first_have_one_each():
    claims = [Claim("late", 1, 2, 1), Claim("a", 2, 0, 1), Claim("b", 2, 1, 1)]
    assert shares(2, claims) == {"late": 1, "a": 1, "b": 0}
