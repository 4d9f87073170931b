"""How the tuning folds are cut into rungs: a few runs of folds spread over time, then more."""

from itertools import pairwise
from math import ceil
from typing import TypeAlias

import numpy as np

from pmx_ray.folds import FoldPlan

Run: TypeAlias = tuple[int, int]
"""Folds ``[first, stop)`` of a plan; the first makes a fit of its own."""


def cut_rungs(
    plan: FoldPlan, *, n_chunks: int, n_rungs: int, reduction: int
) -> tuple[tuple[Run, ...], ...]:
    """Return what each rung adds to those below it; together they hold every fold once.

    Rung r of R holds a share ``reduction ** -(R - 1 - r)`` of the chunks, so that the first sees
    a few stretches far apart rather than one era. There are fewer chunks than asked for where the
    plan has fewer fits, and fewer rungs where one would add nothing.

    Parameters
    ----------
    plan : FoldPlan
        The tuning partition.
    n_chunks : int
        Runs of about as many fits each.
    n_rungs, reduction : int
        Rungs, and how many times as many chunks each has as the one below.

    Examples
    --------
    Nine chunks on three rungs are 1, 3 and 9 of them.
    """
    fits = np.flatnonzero(plan.refit)
    starts = [int(part[0]) for part in np.array_split(fits, min(n_chunks, len(fits)))]
    chunks = list(zip(starts, [*starts[1:], len(plan)], strict=True))
    ordered = [chunks[k] for k in _spread(len(chunks))]
    sizes = [ceil(len(chunks) / reduction ** (n_rungs - 1 - r)) for r in range(n_rungs)]
    edges = [0, *dict.fromkeys(sizes)]
    return tuple(tuple(sorted(ordered[low:high])) for low, high in pairwise(edges))


def _spread(n: int) -> list[int]:
    """Return 0 to n - 1 in an order whose every beginning is spread evenly: van der Corput's."""
    return sorted(range(n), key=_reversed_bits)


def _reversed_bits(k: int) -> float:
    value, half = 0.0, 0.5
    while k:
        value += half * (k & 1)
        k, half = k >> 1, half / 2
    return value
