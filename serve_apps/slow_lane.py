"""A lane of its own for what takes long: pages and explanations never hold up a kill switch."""

from collections.abc import Callable
from typing import TypeVar

import anyio

from pmx_ray.errors import PmxError

AT_ONCE, WAITING = 6, 12
"""Threads of the lane, and callers that may wait for one; more are sent away."""

T = TypeVar("T")


class BusyError(PmxError):
    """Too many wait for what takes long."""


class SlowLane:
    """Runs functions in a few threads apart from those that changes run in."""

    def __init__(self) -> None:
        self._limiter: anyio.CapacityLimiter | None = None
        self._n = 0  # running and waiting; the limiter counts those that wait too late

    async def run(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns, once a thread of the lane is free.

        Raises
        ------
        BusyError
            If too many wait already; and whatever ``work`` raises.
        """
        if self._n >= AT_ONCE + WAITING:
            raise BusyError("too many ask for pages, status and explanations; come again")
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(AT_ONCE)  # in the loop that uses it
        self._n += 1
        try:
            return await anyio.to_thread.run_sync(work, limiter=self._limiter)
        finally:
            self._n -= 1
