"""How long the blocks of a spec really took: what the next plan sizes its blocks by.

A family registers rough seconds a fit and an extension. The lake keeps, a small document a spec,
what its last blocks were expected to take by that guess and what their receipts say they took, and
how many scopes a block has held. Neither can change a forecast: a document that is missing, damaged
or of another machine only makes blocks that are too small or too large.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from pmx_ray.errors import MissingValueError
from pmx_ray.lake import BlockStore

MAX_SEEN = 64
"""Blocks of a spec that are remembered, the latest."""

FIXED_S = 0.005
"""Seconds of a block that go to cutting prices and building its table, however little it fits."""

LIMITS = 1e-4, 1e4
"""Least and largest factor believed."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What a lake has seen of one spec.

    Attributes
    ----------
    seen : tuple of (float, float)
        Registered and measured seconds of past blocks, oldest first.
    widths : tuple of int
        How many scopes the blocks in the lake hold, ascending.
    longest : int
        Most folds that a block in the lake holds.
    """

    seen: tuple[tuple[float, float], ...] = ()
    widths: tuple[int, ...] = ()
    longest: int = 0

    @property
    def factor(self) -> float:
        """Measured over registered seconds; 1 where nothing was seen.

        The median over blocks weighted by their registered seconds, so that neither a block that
        compiled nor many small ones rule it.
        """
        if not self.seen:
            return 1.0
        registered, measured = np.array(self.seen).T
        ratio = np.maximum(measured - FIXED_S, 0.1 * measured) / registered
        order = np.argsort(ratio, kind="stable")
        weight = np.cumsum(registered[order])
        middle = ratio[order][np.searchsorted(weight, 0.5 * weight[-1])]
        return float(np.clip(middle, *LIMITS))

    def after(self, seen: Iterable[tuple[float, float]]) -> "Pace":
        """Return what is known once blocks with these registered and measured seconds were run."""
        return replace(self, seen=(*self.seen, *seen)[-MAX_SEEN:])

    def cut(self, *, width: int, folds: int) -> "Pace":
        """Return what is known once blocks of up to so many scopes and folds were planned."""
        widths = tuple(sorted({*self.widths, width}))
        return replace(self, widths=widths, longest=max(self.longest, folds))


UNSEEN = Pace()


def load_paces(store: BlockStore, spec_ids: Iterable[str]) -> dict[str, Pace]:
    """Return what ``store`` knows of each spec; of one it knows nothing of, nothing.

    Raises
    ------
    LakeError
        If the store cannot be read.
    """
    return {spec_id: _load(store, spec_id) for spec_id in spec_ids}


def save_paces(store: BlockStore, paces: Mapping[str, Pace]) -> None:
    """Write what is known of each spec, where the store says something else.

    Raises
    ------
    LakeError
        If the store cannot be written.
    """
    for spec_id, pace in paces.items():
        if pace != _load(store, spec_id):
            document = {"seen": pace.seen, "widths": pace.widths, "longest": pace.longest}
            store.replace(_key(spec_id), f"{json.dumps(document)}\n".encode())


def _key(spec_id: str) -> str:
    return f"paces/{spec_id}.json"


def _load(store: BlockStore, spec_id: str) -> Pace:
    try:
        document = json.loads(store.get(_key(spec_id)))
        seen = tuple((float(a), float(b)) for a, b in document["seen"])
        pace = Pace(seen, tuple(int(n) for n in document["widths"]), int(document["longest"]))
    except (MissingValueError, ValueError, TypeError, KeyError):
        return UNSEEN
    finite = all(math.isfinite(a) and math.isfinite(b) and a > 0 and b >= 0 for a, b in seen)
    return pace if finite and all(n > 0 for n in pace.widths) else UNSEEN
