"""What each part of the benchmark hands back, and how a ratio of two samples is taken."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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


def speed_row(
    what: str, peer: str, theirs: Sample, n_theirs: int, ours: Sample, n_ours: int
) -> dict[str, object]:
    """Return a row of the table: microseconds a fit on both sides, their ratio, its range."""
    found = ratios(theirs, n_theirs, ours, n_ours)
    return {
        "model": what,
        "peer": peer,
        "peer ms": 1e3 * theirs.per(n_theirs),
        "peer spread": theirs.spread,
        "ours us": 1e6 * ours.per(n_ours),
        "ours spread": ours.spread,
        "ratio": found.median,
        "ratio min": min(found.seconds),
        "ratio max": max(found.seconds),
    }


def ratios(theirs: Sample, n_theirs: int, ours: Sample, n_ours: int) -> Sample:
    """Return how many times faster one of ours was than one of theirs, turn by turn."""
    return Sample(
        tuple(
            (a / n_theirs) / (b / n_ours)
            for a, b in zip(theirs.seconds, ours.seconds, strict=True)
        )
    )
