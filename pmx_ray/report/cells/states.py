"""What a cell of a sweep can be: not there yet, there, or failed by one of the statuses."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pmx_ray.forecasters.protocol import Status


@dataclass(frozen=True, slots=True)
class State:
    """One state of a cell.

    Attributes
    ----------
    name : str
        ``waiting``, ``running``, ``cached``, ``done``, or a status other than ``ok``.
    letter : str
        Stands for it in the page's data.
    meaning : str
        In words.
    failed : bool
        Whether a forecast was wanted and is not there.
    """

    name: str
    letter: str
    meaning: str
    failed: bool = False


STATES = (  # the later, the more it counts where several cells share a place
    State("done", "d", "computed for this sweep"),
    State("cached", "c", "found in the lake, computed before"),
    State("waiting", "w", "not computed yet"),
    State("running", "r", "its block has begun and is not over"),
    State(Status.TOO_SHORT, "t", "too few prices to fit", failed=True),
    State(Status.CONSTANT, "k", "prices that do not move", failed=True),
    State(Status.NO_PRICE, "p", "no price on the cutoff", failed=True),
    State(Status.NOT_CONVERGED, "n", "the fit found no optimum", failed=True),
    State(Status.EXPLOSIVE, "x", "the fit has no level to return to", failed=True),
    State(Status.UNANSWERED, "u", "the language model gave no answer", failed=True),
    State(Status.ERROR, "e", "the forecaster raised", failed=True),
    State(Status.QUARANTINED, "q", "its block was given up", failed=True),
)
"""Every state; its position is its code."""

CODES: Mapping[str, int] = MappingProxyType({state.name: n for n, state in enumerate(STATES)})
"""Code by name."""

FIRST_FAILED = next(n for n, state in enumerate(STATES) if state.failed)
"""Codes from here on are failures."""
