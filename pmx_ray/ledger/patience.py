"""A read that is given up in good time, also where the database hangs without a word."""

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as OutOfTimeError
from threading import Lock, Thread
from typing import Generic, TypeVar

from pmx_ray.errors import LedgerError

THREAD = "pmx-pulse"
"""Name of the thread that reads."""

T = TypeVar("T")


class PatientReader(Generic[T]):
    """Does one thing again and again, each time in a thread of its own that may hang.

    One read is under way at most: while it hangs, later calls wait for the same one, so that a
    database that comes back is not met by a crowd. What comes back is at most as old as the call
    before. Threads may share a reader.

    Parameters
    ----------
    read : callable
        What is done.
    of : str
        What is read from, for the message; without a password.
    timeout_s : float
        Seconds until a read is given up.
    """

    def __init__(self, read: Callable[[], T], *, of: str, timeout_s: float = 2.0) -> None:
        self._do, self._of, self._timeout_s = read, of, timeout_s
        self._lock = Lock()
        self._pending: Future[T] | None = None

    def read(self) -> T:
        """Return what was read.

        Raises
        ------
        LedgerError
            If it was not there in time; and whatever the read itself raises.
        """
        pending = self._under_way()
        try:
            return pending.result(self._timeout_s)
        except OutOfTimeError:
            raise LedgerError(
                f"ledger {self._of} did not answer in {self._timeout_s:g} s; check the database"
            ) from None
        finally:
            with self._lock:
                if pending.done() and self._pending is pending:
                    self._pending = None

    def _under_way(self) -> Future[T]:
        with self._lock:
            if self._pending is None:
                self._pending = Future()
                # A daemon: a database that hangs must not keep the process from ending.
                Thread(
                    target=_answer, args=(self._pending, self._do), name=THREAD, daemon=True
                ).start()
            return self._pending


def _answer(pending: Future[T], read: Callable[[], T]) -> None:
    try:
        pending.set_result(read())
    except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
        pending.set_exception(error)
