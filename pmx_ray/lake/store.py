"""What a block store promises, and what its keys look like."""

import re
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from pmx_ray.errors import LakeError

MAX_KEY = 512
"""Longest key, in characters."""

_FOLDER = r"[a-z0-9][a-z0-9_-]{0,127}/"
_KEY = re.compile(rf"(?:{_FOLDER})*[a-z0-9][a-z0-9_-]{{0,127}}(?:\.[a-z0-9]{{1,16}}){{1,2}}")
_PREFIX = re.compile(rf"(?:{_FOLDER})*[a-z0-9._-]{{0,160}}")


@runtime_checkable
class BlockStore(Protocol):
    """Values of bytes under keys, in one place that many processes share.

    **Keys** are relative paths such as ``blocks/ab/abcd.parquet``: lower case, so that no two
    differ by case alone; folder names hold no dot and file names do, so that no key is a folder of
    another. Everything else in the place (temporary files, a person's notes) is invisible.

    **Atomicity.** A reader sees a whole value or none, whatever is killed and when. Of concurrent
    ``put_new`` calls on one key, from any thread, process or machine, exactly one returns True;
    every other returns False and changes nothing. Of concurrent ``replace`` calls one value
    stands, whole. A value that was written is on disk (or acknowledged by the server) when the
    call returns, and the next listing shows it.

    **Threads and processes.** A store may be shared by threads. It pickles as its address, so that
    a worker reopens it with that worker's own connections and credentials.

    **Errors.** ``LakeError`` names the address of the value and what to do. A missing value is an
    error of ``get`` alone; ``delete`` of a missing value does nothing.
    """

    @property
    def url(self) -> str:
        """Address of the store, without credentials; ``open_store`` takes it."""
        ...

    def put_new(self, key: str, data: bytes) -> bool:
        """Write ``data`` if the key is absent; return True if this call created it."""
        ...

    def replace(self, key: str, data: bytes) -> None:
        """Write ``data`` whether or not the key is there."""
        ...

    def get(self, key: str) -> bytes:
        """Return the value of ``key``."""
        ...

    def exists(self, key: str) -> bool:
        """Return whether ``key`` has a value."""
        ...

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Yield each key that starts with ``prefix``, in no promised order, page by page."""
        ...

    def delete(self, key: str) -> None:
        """Remove ``key`` if it is there."""
        ...

    def remove_orphans(self) -> int:
        """Remove what killed writers left behind more than an hour ago; return how many."""
        ...


def check_key(key: str) -> str:
    """Return ``key`` if it is one.

    Raises
    ------
    LakeError
        If it is absolute, climbs with ``..``, or breaks the rules in ``BlockStore``.

    Examples
    --------
    >>> check_key("blocks/ab/abcd.parquet")
    'blocks/ab/abcd.parquet'
    """
    if len(key) > MAX_KEY or not _KEY.fullmatch(key):
        raise LakeError(
            f"key {key[:80]!r} is not a key; write lower-case folders and a file name with an "
            f"ending, e.g. blocks/ab/abcd.parquet, at most {MAX_KEY} characters"
        )
    return key


def check_prefix(prefix: str) -> str:
    """Return ``prefix`` if a key can start with it.

    Raises
    ------
    LakeError
        If no key can start with it.
    """
    if len(prefix) > MAX_KEY or not _PREFIX.fullmatch(prefix):
        raise LakeError(f"prefix {prefix[:80]!r} cannot start a key, e.g. blocks/ab/")
    return prefix


def is_key(name: str) -> bool:
    """Return whether ``name`` is a key."""
    return len(name) <= MAX_KEY and _KEY.fullmatch(name) is not None
