import threading

import anyio
import anyio.lowlevel
import pytest

from serve_apps.slow_lane import AT_ONCE, WAITING, BusyError, SlowLane


def test_lane_when_full_then_later_callers_are_sent_away_and_the_others_served() -> None:
    lane, go = SlowLane(), threading.Event()
    served: list[int] = []
    refused: list[int] = []

    async def ask(n: int) -> None:
        try:
            served.append(await lane.run(lambda: go.wait(30.0) and n))
        except BusyError:
            refused.append(n)

    async def crowd() -> None:
        async with anyio.create_task_group() as group:
            for n in range(AT_ONCE + WAITING + 5):
                group.start_soon(ask, n)
            while len(refused) < 5:
                await anyio.lowlevel.checkpoint()
            go.set()

    anyio.run(crowd)
    assert len(refused) == 5
    assert len(served) == AT_ONCE + WAITING


def test_lane_when_work_raises_then_the_caller_sees_it_and_the_thread_is_free() -> None:
    lane = SlowLane()

    async def twice() -> int:
        with pytest.raises(ZeroDivisionError):
            await lane.run(lambda: 1 // 0)
        return await lane.run(lambda: 7)

    assert anyio.run(twice) == 7
