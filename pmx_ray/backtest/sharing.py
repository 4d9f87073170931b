"""How sweeps share the slots of a cluster: claims in, shares out; no Ray, no clock.

Whoever claims gets one slot before anybody gets a second, in the order of priority and then of
arrival. What is left goes to the first priority, evenly, up to what each can use; what that leaves,
to the next. So an urgent sweep has almost all of a cluster at once, and no other stands still.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True, slots=True)
class Claim:
    """What a sweep asks for.

    Attributes
    ----------
    name : str
        Of whoever asks.
    priority : int
        1 goes first.
    arrived : int
        Smaller came earlier.
    wanted : int
        Slots that it can use, at least 1.
    """

    name: str
    priority: int
    arrived: int
    wanted: int


def shares(n_slots: int, claims: Sequence[Claim]) -> dict[str, int]:
    """Return how many slots each claim gets.

    Parameters
    ----------
    n_slots : int
        Of the cluster.
    claims : sequence of Claim
        In any order; names differ.

    Examples
    --------
    >>> urgent, other = Claim("urgent", 1, 1, 100), Claim("other", 2, 0, 100)
    >>> shares(8, [other, urgent])
    {'urgent': 7, 'other': 1}
    """
    ordered = sorted(claims, key=lambda claim: (claim.priority, claim.arrived, claim.name))
    given = {claim.name: int(n < n_slots) for n, claim in enumerate(ordered)}
    left = n_slots - sum(given.values())
    for _, of_priority in groupby(ordered, key=lambda claim: claim.priority):
        equals = list(of_priority)
        while left > 0 and equals:
            for claim in equals:
                if left > 0 and given[claim.name] < claim.wanted:
                    given[claim.name] += 1
                    left -= 1
            equals = [claim for claim in equals if given[claim.name] < claim.wanted]
    return given
