"""What each part of the benchmark hands back, and how a ratio of two samples is taken."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from benchmarks.measuring import Promise, Sample

ABSENT = "not measured"
"""What stands where the other side could not be run."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured.

    Attributes
    ----------
    quick : bool
        Under a minute for all parts together; shares of windows are then printed, not promised.
    turns : int
        Times both sides are measured, one after the other.
    """

    quick: bool

    @property
    def turns(self) -> int:
        """Return how often each side is timed."""
        return 3 if self.quick else 5

    def pick(self, quick: int, full: int) -> int:
        """Return one of two sizes."""
        return quick if self.quick else full


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the benchmark.

    Attributes
    ----------
    name : str
        Key in the JSON document.
    tables : mapping of str to rows
        What is printed, by title.
    promises : sequence of Promise
    figures : mapping
        What the JSON document holds beside the tables.
    """

    name: str
    tables: Mapping[str, Sequence[Mapping[str, object]]]
    promises: Sequence[Promise] = ()
    figures: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Side:
    """Readings of one side, each of ``n`` fits; NaN where it could not be run."""

    sample: Sample
    n: int

    @property
    def each(self) -> tuple[float, ...]:
        """Seconds a fit, turn by turn."""
        return tuple(seconds / self.n for seconds in self.sample.seconds)


def speed_row(what: str, peer: str, theirs: Side, ours: Side) -> dict[str, object]:
    """Return a row of the table: time a fit on both sides, and their ratio with its range."""
    found = ratios(theirs, ours)
    measured = not math.isnan(found.median)
    return {
        "model": what,
        "peer": peer,
        "peer ms": 1e3 * theirs.sample.per(theirs.n) if measured else ABSENT,
        "spread": theirs.sample.spread,
        "ours us": 1e6 * ours.sample.per(ours.n),
        "ours spread": ours.sample.spread,
        "ratio": found.median,
        "least": min(found.seconds),
        "most": max(found.seconds),
    }


def ratios(theirs: Side, ours: Side) -> Sample:
    """Return how many times faster one of ours was than one of theirs, turn by turn."""
    return Sample(tuple(a / b for a, b in zip(theirs.each, ours.each, strict=True)))


def number(row: Mapping[str, object], name: str) -> float:
    """Return a number of a row."""
    return cast("float", row[name])
