"""Standard output is the command's own, and may be JSON; what Ray has to say goes beside it."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

LISTENER = "ray_listen_error_messages"
"""Thread of a connected driver that prints the cluster's news, e.g. that a node has died, to
standard output; Ray has no setting for it."""


class _Parted:
    """Standard output to every thread but Ray's listener, to which it is standard error."""

    def __init__(self, own: TextIO) -> None:
        self._own = own

    def __getattr__(self, name: str) -> Any:
        listens = threading.current_thread().name == LISTENER
        return getattr(sys.stderr if listens else self._own, name)


@contextmanager
def ray_on_stderr() -> Iterator[None]:
    """Send to standard error what Ray's listener prints while the block lasts."""
    own = sys.stdout
    sys.stdout = cast("TextIO", _Parted(own))
    try:
        yield
    finally:
        sys.stdout = own
