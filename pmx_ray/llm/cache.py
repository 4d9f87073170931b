"""Answers remembered for a while, the least used ones forgotten first."""

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

from pmx_ray.llm.recording import Exchange


class AnswerCache:
    """Exchanges by key, in memory; threads may share it.

    A key holds digest, prompt, options and schema, so an answer is never another question's.

    Parameters
    ----------
    n_entries : int
        Most exchanges kept; 0 keeps none.
    ttl_s : float
        Seconds that one is kept.
    now : callable
        Seconds of a clock that never goes back.
    """

    def __init__(
        self, *, n_entries: int, ttl_s: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._n_entries, self._ttl_s, self._now = n_entries, ttl_s, now
        self._kept: OrderedDict[str, tuple[float, Exchange]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: str) -> Exchange | None:
        """Return the exchange of a key if it is kept and young enough."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            if self._now() - found[0] >= self._ttl_s:
                del self._kept[key]
                return None
            self._kept.move_to_end(key)
            return found[1]

    def put(self, exchange: Exchange) -> None:
        """Keep an exchange in the place of an older one of its key."""
        with self._lock:
            self._kept[exchange.key] = (self._now(), exchange)
            self._kept.move_to_end(exchange.key)
            while len(self._kept) > self._n_entries:
                self._kept.popitem(last=False)

    def __len__(self) -> int:
        with self._lock:
            return len(self._kept)
