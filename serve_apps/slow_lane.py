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

    async def run(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns, once a thread of the lane is free.

        Raises
        ------
        BusyError
            If too many wait already; and whatever ``work`` raises.
        """
        limiter = self._limiter or anyio.CapacityLimiter(AT_ONCE)  # in the loop that uses it
        self._limiter = limiter
        if limiter.statistics().tasks_waiting >= WAITING:
            raise BusyError("too many ask for pages, status and explanations; come again")
        return await anyio.to_thread.run_sync(work, limiter=limiter)
