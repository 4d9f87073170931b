"""Tracebacks of forecasters' defects: kept for whoever asks, and never part of a result.

A defect becomes a row with a status and one line of reason, the same wherever it is computed. Its
traceback holds paths, so it goes beside: to the ``tracebacks`` block that is open around the call.
"""

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import PurePath

MAX_TRACEBACKS = 8
"""Different reasons of one block whose tracebacks are kept."""

MAX_FRAMES, MAX_CHARACTERS = 12, 6000
"""Of one traceback: its innermost frames, and its length; a longer one loses its middle."""

_CARETS = re.compile(r"\s+[~^]+\s*")
"""Lines of marks under code, which newer Pythons draw and a narrow page breaks."""

_open: ContextVar[dict[str, str] | None] = ContextVar("tracebacks", default=None)


@contextmanager
def tracebacks() -> Iterator[dict[str, str]]:
    """Collect the tracebacks of defects, by their reason, as long as the block is open.

    Examples
    --------
    >>> with tracebacks() as kept:
    ...     note_traceback("fit raised KeyError: 'x'", KeyError("x"))
    >>> kept
    {"fit raised KeyError: 'x'": "KeyError: 'x'"}
    """
    kept: dict[str, str] = {}
    token = _open.set(kept)
    try:
        yield kept
    finally:
        _open.reset(token)


def note_traceback(reason: str, error: BaseException) -> None:
    """Keep the traceback of the first defect with this reason; nothing where nobody collects."""
    kept = _open.get()
    if kept is not None and reason not in kept and len(kept) < MAX_TRACEBACKS:
        kept[reason] = traceback_text(error)


def traceback_text(error: BaseException) -> str:
    """Return a traceback without values of variables, its paths from the package's folder on."""
    told = traceback.TracebackException.from_exception(error, limit=-MAX_FRAMES)
    seen: list[traceback.TracebackException | None] = [told]
    while seen:
        one = seen.pop()
        if one is not None:
            for frame in one.stack:
                frame.filename = _short(frame.filename)
            seen += [one.__cause__, one.__context__]
    lines = "".join(told.format()).rstrip().splitlines()
    return shortened("\n".join(line for line in lines if not _CARETS.fullmatch(line)))


def shortened(text: str) -> str:
    """Return ``text`` in ``MAX_CHARACTERS``: the cause that comes first, the error that ends it."""
    if len(text) <= MAX_CHARACTERS:
        return text
    head, tail = MAX_CHARACTERS // 3, 2 * MAX_CHARACTERS // 3
    left_out = len(text) - head - tail
    return f"{text[:head]}\n... {left_out:,} characters left out ...\n{text[-tail:]}"


def _short(filename: str) -> str:
    """Return a path from its package on; of another file its folder and name.

    Examples
    --------
    >>> _short("/opt/lib/site-packages/numpy/linalg/core.py"), _short("/home/me/models/plugin.py")
    ('numpy/linalg/core.py', 'models/plugin.py')
    """
    parts = PurePath(filename).parts
    for root in ("site-packages", "pmx_ray"):
        if root in parts:
            start = len(parts) - 1 - parts[::-1].index(root)
            return "/".join(parts[start + (root == "site-packages") :])
    return "/".join(parts[-2:])
