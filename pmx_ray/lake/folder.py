"""Blocks in a folder: whole or absent, by temporary file, fsync and hard link."""

import errno
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from pmx_ray.errors import LakeError, MissingValueError
from pmx_ray.lake.store import check_key, check_prefix, is_key

ORPHAN_AGE_S = 3600.0
"""A temporary file this old has lost its writer; a living one takes seconds."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What a system answers where a file finds no room: disk, quota, limit on a file's size."""

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


@dataclass(frozen=True, slots=True)
class FolderStore:
    """A ``BlockStore`` in a folder, on any file system with hard links.

    A value is written to a temporary file beside its place, flushed to disk, and then linked to
    its name, which fails if the name is taken. Temporary names start with a dot, which no key
    does. The folder is made by the first write.

    Attributes
    ----------
    root : Path
        Absolute path of the folder.

    Examples
    --------
    >>> import tempfile
    >>> store = FolderStore(Path(tempfile.mkdtemp()))
    >>> store.put_new("notes/a.txt", b"one"), store.put_new("notes/a.txt", b"two")
    (True, False)
    >>> store.get("notes/a.txt")
    b'one'
    """

    root: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(os.path.abspath(self.root)))  # noqa: PTH100 - keeps symlinks

    @property
    def url(self) -> str:
        """Address of the folder."""
        return self.root.as_uri()

    def put_new(self, key: str, data: bytes) -> bool:
        """Write ``data`` if the key is absent; return True if this call created it."""
        path = self._path(key)
        with self._explained("written", path, size=len(data)):
            if path.exists():
                return False
            temporary = _write_temporary(path, data)
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                raise LakeError(
                    f"{path.as_uri()}: this file system has no hard links ({error.strerror}); "
                    "put the lake on a local disk, on NFS or on S3"
                ) from None
            finally:
                temporary.unlink(missing_ok=True)
            _sync_folder(path.parent)
        return True

    def replace(self, key: str, data: bytes) -> None:
        """Write ``data`` whether or not the key is there."""
        path = self._path(key)
        with self._explained("written", path, size=len(data)):
            temporary = _write_temporary(path, data)
            try:
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
            _sync_folder(path.parent)

    def get(self, key: str) -> bytes:
        """Return the value of ``key``."""
        path = self._path(key)
        with self._explained("read", path):
            return path.read_bytes()

    def exists(self, key: str) -> bool:
        """Return whether ``key`` has a value."""
        path = self._path(key)
        with self._explained("read", path):
            return path.is_file()

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Yield each key that starts with ``prefix``."""
        # The whole folders of the prefix say where to start; the rest is compared.
        folder = check_prefix(prefix).rpartition("/")[0]
        for key in self._names(folder):
            if key.startswith(prefix) and is_key(key):
                yield key

    def delete(self, key: str) -> None:
        """Remove ``key`` if it is there."""
        path = self._path(key)
        with self._explained("removed", path):
            path.unlink(missing_ok=True)

    def remove_orphans(self) -> int:
        """Remove temporary files that have not been written to for an hour; return how many."""
        oldest = time.time() - ORPHAN_AGE_S
        removed = 0
        for name in self._names(""):
            path = self.root / name
            if not _is_temporary(path.name):
                continue
            with suppress(FileNotFoundError), self._explained("removed", path, missing=True):
                if path.stat().st_mtime < oldest:
                    path.unlink()
                    removed += 1
        return removed

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _names(self, folder: str) -> Iterator[str]:
        """Yield the path of every file under ``folder``, relative to the root."""
        pending = [folder]
        while pending:
            current = pending.pop()
            for entry in self._entries(current):
                name = f"{current}/{entry.name}" if current else entry.name
                if entry.is_dir(follow_symlinks=False):
                    pending.append(name)
                else:
                    yield name

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        path = self.root / folder
        with self._explained("listed", path), suppress(FileNotFoundError), os.scandir(path) as scan:
            return list(scan)
        return []

    @contextmanager
    def _explained(
        self, verb: str, path: Path, *, missing: bool = False, size: int = 0
    ) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            if missing:
                raise
            if verb == "read":
                raise MissingValueError(
                    f"{path.as_uri()}: no such value; run the sweep again to write it"
                ) from None
            raise LakeError(
                f"{path.as_uri()}: cannot be {verb}: {error.strerror}; "
                "was the folder removed meanwhile?"
            ) from None
        except OSError as error:
            if error.errno in _FULL:
                raise LakeError(
                    f"{path.as_uri()}: cannot be {verb}: {error.strerror}; it needs {size:,} "
                    f"bytes, and {_free(self.root)}; make room or name another lake, then run the "
                    "same command again: finished blocks are kept"
                ) from error
            raise LakeError(
                f"{path.as_uri()}: cannot be {verb}: {error.strerror}; "
                "check the disk and the folder's permissions"
            ) from error


def _free(folder: Path) -> str:
    """Return how much room the disk of ``folder`` has, in words."""
    while not folder.exists():
        folder = folder.parent
    try:
        return f"{shutil.disk_usage(folder).free:,} are free on the disk of {folder}"
    except OSError:
        return f"the disk of {folder} does not say how many are free"


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(".tmp")


def _write_temporary(path: Path, data: bytes) -> Path:
    """Return a new file beside ``path`` that holds ``data`` and is on disk."""
    _make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _make_folder(folder: Path) -> None:
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(exist_ok=True)
        _sync_folder(new.parent)


def _sync_folder(folder: Path) -> None:
    """Flush the names in ``folder`` to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
