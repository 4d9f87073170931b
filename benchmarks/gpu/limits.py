"""A card's limits, the work that fits come to, and the least time that the one takes for the other.

Instructions are of double precision: a fused multiply-add is one; a division or reciprocal counts
as 8.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from pmx_ray.errors import EngineError
from pmx_ray.kernels.devices import card

WARP = 32

Counts: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Card:
    """A card by name, and its limits as its own attributes give them.

    Attributes
    ----------
    name : str
    instructions : float
        Double-precision instructions a second.
    bytes : float
        Bytes a second between its memory and its processors.
    """

    name: str
    instructions: float
    bytes: float


@dataclass(frozen=True, slots=True)
class Work:
    """What fitting W windows comes to on a card.

    Attributes
    ----------
    instructions, bytes : float
        Double-precision instructions, and bytes read from a card's memory.
    passes : float
        Passes with derivatives a window, over all its searches.
    lanes : float
        Share of a warp that is at work: a warp searches until its last lane has arrived.
    """

    instructions: float
    bytes: float
    passes: float
    lanes: float

    def least_s(self, limits: Card) -> float:
        """Return the seconds that the card needs at the least, were all its lanes at work."""
        return max(self.instructions / limits.instructions, self.bytes / limits.bytes)


def find_card() -> Card | None:
    """Return the card of this machine, or None where there is none or CuPy is missing."""
    try:
        card("benchmark", instead="no card")
    except EngineError:
        return None
    cupy: Any = importlib.import_module("cupy")
    device = cupy.cuda.Device()
    has = device.attributes
    name = cupy.cuda.runtime.getDeviceProperties(device.id)["name"].decode()
    # 64 units a multiprocessor in the cards for computing (8.0, 9.0), two in the others.
    units = 64 if device.compute_capability in {"80", "90"} else 2
    clock, memory_clock = 1e3 * has["ClockRate"], 1e3 * has["MemoryClockRate"]
    return Card(
        name,
        units * has["MultiProcessorCount"] * clock,
        2.0 * memory_clock * has["GlobalMemoryBusWidth"] / 8.0,
    )


def passes_and_lanes(searches: Sequence[Counts], n_windows: int) -> tuple[float, float]:
    """Return passes a window, and the share of lanes at work, from the passes of each search."""
    done = sum(int(passes.sum()) for passes in searches)
    held = sum(int(by_warp(passes).max(axis=1).sum()) * WARP for passes in searches)
    return done / n_windows, done / held


def by_warp(counts: Counts) -> Counts:
    """Return counts as a row a warp; the lanes that fill the last one up do nothing."""
    whole: Counts = np.pad(counts, (0, -len(counts) % WARP))
    return whole.reshape(-1, WARP)
