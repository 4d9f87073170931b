"""From an address to a store."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pmx_ray.errors import SettingsError
from pmx_ray.lake.folder import FolderStore
from pmx_ray.lake.objects import ObjectStore
from pmx_ray.lake.store import BlockStore

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")


def open_store(url: str) -> BlockStore:
    """Return the store at an address; nothing is made or asked until it is used.

    Parameters
    ----------
    url : str
        A path, ``file:///path`` or ``s3://bucket/prefix``.

    Raises
    ------
    SettingsError
        If the address is none of these, or it is on S3 and boto3 is not installed.

    Examples
    --------
    >>> open_store("file:///tmp/lake").url
    'file:///tmp/lake'
    """
    scheme = _SCHEME.match(url)
    match scheme and scheme[1].lower():
        case "s3":
            return ObjectStore(url)
        case "file":
            return FolderStore(_file_path(url))
        case None if url.strip():
            return FolderStore(Path(url).expanduser())
        case _:
            shown = f"{scheme[1]}:..." if scheme else repr(url)  # the rest may hold a password
            raise SettingsError(
                f"lake address {shown} is not known; use a path, file:///path or s3://bucket/prefix"
            )


def is_whole(url: str) -> bool:
    """Return whether an address means the same place whatever folder it is opened from.

    Parameters
    ----------
    url : str
        As ``open_store`` takes it.

    Examples
    --------
    >>> is_whole("s3://bucket/lake"), is_whole("~/lake"), is_whole("lake")
    (True, True, False)
    """
    return bool(_SCHEME.match(url)) or url.startswith(("/", "~"))


def whole_address(url: str, base_dir: Path) -> str:
    """Return the address that ``url`` is, whatever folder it is opened from.

    Parameters
    ----------
    url : str
        As ``open_store`` takes it; a relative path starts at ``base_dir``.
    base_dir : Path

    Examples
    --------
    >>> whole_address("lake", Path("/data"))
    '/data/lake'
    >>> whole_address("s3://bucket/lake", Path("/data"))
    's3://bucket/lake'
    """
    if not url.strip() or _SCHEME.match(url):
        return url
    return str((base_dir / Path(url).expanduser()).resolve())


def _file_path(url: str) -> Path:
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.netloc not in {"", "localhost"} or not path.startswith("/"):
        raise SettingsError(f"{url!r} is not a folder on this machine; write file:///path")
    return Path(path)
