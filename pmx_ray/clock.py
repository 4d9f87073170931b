"""Time as an argument: a clock is handed in, never read from the side."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

Clock: TypeAlias = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the current time with its time zone, UTC."""
    return datetime.now(UTC)
