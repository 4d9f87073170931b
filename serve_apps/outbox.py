"""Records on their way to the ledger: kept in memory for a moment, then written together.

What cannot be written waits; when too much waits, the oldest goes and is counted.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import structlog

from pmx_ray.errors import PmxError

MAX_WAITING = 20_000

T = TypeVar("T")
_log = structlog.get_logger()


class Outbox(Generic[T]):
    """Takes records without waiting; a thread writes them.

    Parameters
    ----------
    name : str
        Of what is written, for the log.
    write : callable
        Writes a batch, oldest first, whole or not at all.
    every_s : float
        Seconds between writes.
    """

    def __init__(
        self, name: str, write: Callable[[Sequence[T]], object], *, every_s: float = 1.0
    ) -> None:
        self._name, self._write, self._every_s = name, write, every_s
        self._waiting: deque[T] = deque()
        self._lock = threading.Lock()
        self._n_lost = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def n_lost(self) -> int:
        """Records dropped because they were not taken for too long."""
        return self._n_lost

    def put(self, record: T) -> None:
        """Take a record."""
        with self._lock:
            self._waiting.append(record)
            self._drop_oldest()

    def flush(self) -> None:
        """Write what waits.

        Raises
        ------
        LedgerError
            If it is not taken; it waits on.
        """
        with self._lock:
            batch, self._waiting = self._waiting, deque()
        if not batch:
            return
        try:
            self._write(tuple(batch))
        except BaseException:
            with self._lock:
                self._waiting = batch + self._waiting
                self._drop_oldest()
            raise

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, and end."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)
        else:
            self._written()

    def _drop_oldest(self) -> None:
        while len(self._waiting) > MAX_WAITING:
            self._waiting.popleft()
            self._n_lost += 1

    def _run(self) -> None:
        while True:
            ended = self._stop.wait(self._every_s)
            self._written()
            if ended:
                return

    def _written(self) -> None:
        try:
            self.flush()
        except PmxError as error:
            _log.warning("records wait", of=self._name, error=str(error))
        except Exception as error:  # noqa: BLE001 - the thread must live; nothing was lost
            _log.error("records wait", of=self._name, error=repr(error), exc_info=True)
