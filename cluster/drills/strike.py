"""What is broken in a run, and when: drawn from the seed before anything starts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

Target: TypeAlias = Literal["worker", "node", "driver"]

TARGETS: tuple[Target, ...] = ("worker", "node", "driver")

SPAN = (0.1, 0.7)
"""Shares of the blocks between which a strike falls: the sweep runs, and has work left."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One kill.

    Attributes
    ----------
    target : Target
        What is killed.
    after : int
        Finished blocks of the sweep at which it falls.
    pick : float
        Which of several candidates is hit, as a share of their number, 0 to below 1.
    """

    target: Target
    after: int
    pick: float


def draw(
    targets: Sequence[Target], rng: np.random.Generator, *, n_strikes: int, n_blocks: int
) -> tuple[Strike, ...]:
    """Return the kills of one run in their order; the same draws give the same kills.

    Parameters
    ----------
    targets : sequence of Target
        What may be killed, each as likely.
    rng : Generator
        Of the run.
    n_strikes : int
        Kills in the run.
    n_blocks : int
        Blocks of the sweep that take their time; strikes fall at different counts of them.
    """
    first, last = (int(share * n_blocks) for share in SPAN)
    counts = rng.choice(np.arange(first, last + 1), size=n_strikes, replace=False)
    chosen = rng.choice(len(targets), size=n_strikes)
    picks = rng.random(n_strikes)
    return tuple(
        Strike(targets[int(which)], int(after), float(pick))
        for which, after, pick in zip(chosen, sorted(counts), picks, strict=True)
    )


def picked(candidates: Sequence[str], pick: float) -> str:
    """Return the candidate that a strike hits; candidates are sorted first."""
    return sorted(candidates)[int(pick * len(candidates))]
