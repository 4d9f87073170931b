"""Wait for something that other processes do, with a bound."""

from collections.abc import Callable
from threading import Event

import pytest


def until(condition: Callable[[], bool], *, deadline_s: float = 120.0) -> None:
    """Wait for a condition; fail if it does not come true in time."""
    pause = Event()
    for _ in range(int(deadline_s / 0.05)):
        if condition():
            return
        pause.wait(0.05)
    pytest.fail(f"the condition did not come true within {deadline_s:g} s")
