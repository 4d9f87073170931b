"""What a block's id is made of: hashes of facts, of fold boundaries and of visible prices."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pmx_ray._typing import DateArray, IntArray
from pmx_ray.data.panel import FIELDS, Panel
from pmx_ray.folds import FoldPlan, slice_document
from pmx_ray.provenance import canonical_json

SHORT_BYTES = 128
"""A session's values up to this length are hashed with the run: a hash of their own costs more."""


def naming(facts: dict[str, object]) -> Callable[[bytes], str]:
    """Return the function from hashes of folds and prices to the id of a block with ``facts``."""
    constant = hashlib.sha256(canonical_json(facts))

    def name(hashes: bytes) -> str:
        digest = constant.copy()
        digest.update(hashes)
        return digest.hexdigest()

    return name


def boundaries(plan: FoldPlan, start: int, stop: int) -> list[bytes]:
    """Return the hash of each run of folds ``[start, end)``, for every end up to ``stop``.

    Boundaries count from the first session that the longest run reads.
    """
    run = plan[start:stop]
    *columns, steps = slice_document(run.shifted(run.first_seen))
    digest = hashlib.sha256(canonical_json(steps))
    hashes: list[bytes] = []
    for fold in zip(*columns, strict=True):
        digest.update(canonical_json(fold))
        hashes.append(digest.digest())
    return hashes


class SlicePrices:
    """Hashes of what runs of folds read or score of some tickers; hashes each price once."""

    def __init__(self, panel: Panel, plan: FoldPlan, rows: Sequence[int]) -> None:
        columns = {
            name: values[rows]
            for name in ("close", *FIELDS, "gap")
            if (values := getattr(panel, name)) is not None
        }
        tickers = [panel.tickers[n] for n in rows]
        groups = None if panel.groups is None else [panel.groups[n] for n in rows]
        head = canonical_json([panel.calendar, tickers, groups, list(columns)])
        self.n_tickers = len(rows)
        self._plan, self._head = plan, hashlib.sha256(head)
        self._records = _session_records(panel.sessions, list(columns.values()))
        self._runs: dict[tuple[int, int], list[bytes]] = {}

    def digests(self, start: int, stop: int) -> list[bytes]:
        """Return the hash of each run ``[start, end)``, for every end up to ``stop``.

        Sessions are hashed in order, so one pass over the longest run yields them all.
        """
        if (start, stop) not in self._runs:
            run = self._plan[start:stop]
            self._runs[start, stop] = list(self._prefixes(run.first_seen, run.lasts_read))
        return self._runs[start, stop]

    def _prefixes(self, at: int, lasts: IntArray) -> Iterator[bytes]:
        digest = self._head.copy()
        for stop in (lasts + 1).tolist():
            digest.update(self._records[at:stop].tobytes())
            yield digest.digest()
            at = stop


def _session_records(
    sessions: DateArray, columns: Sequence[npt.NDArray[Any]]
) -> npt.NDArray[np.uint8]:
    """Return date and values of each session, or their hash if long, as bytes of shape (T, B)."""
    values = np.ascontiguousarray(np.concatenate(columns).T, np.float64)  # (T, columns * tickers)
    as_bytes = values.view(np.uint8)
    if as_bytes.shape[1] > SHORT_BYTES:
        hashed = b"".join([hashlib.sha256(row).digest() for row in as_bytes])
        as_bytes = np.frombuffer(hashed, np.uint8).reshape(len(sessions), -1)
    return np.hstack([sessions.reshape(-1, 1).view(np.uint8), as_bytes])
