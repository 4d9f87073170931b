"""Blocks on S3, or on a server that speaks its protocol with conditional writes."""

import os
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import stamina

from pmx_ray.errors import LakeError, MissingValueError, SettingsError
from pmx_ray.lake.store import check_key, check_prefix, is_key

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ATTEMPTS = 6
"""Tries of one request, the first included, before the store gives up."""

CONNECTIONS = 32
"""Requests that one store can have under way at once."""

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_CONFLICT = {"ConditionalRequestConflict", "OperationAborted"}
_MISSING = {"NoSuchKey", "404", "NotFound"}
_ADVICE = {
    "AccessDenied": "the credentials may not do this; check the bucket's policy",
    "403": "the credentials may not do this; check the bucket's policy",
    "InvalidAccessKeyId": "the server does not know the key; check AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret is wrong; check AWS_SECRET_ACCESS_KEY",
    "NoSuchBucket": "there is no such bucket; create it first",
    "NotImplemented": "the server has no conditional writes (If-None-Match); use one that has",
}

R = TypeVar("R")


class ObjectStore:
    """A ``BlockStore`` under ``s3://bucket/prefix``.

    ``put_new`` is a conditional write (``If-None-Match: *``), so the server picks the one winner.
    Credentials and the endpoint come from the environment alone, as boto3 reads it:
    ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_PROFILE`` or the machine's role, and
    ``AWS_ENDPOINT_URL_S3`` or ``AWS_ENDPOINT_URL`` for another server than AWS.

    Parameters
    ----------
    url : str
        ``s3://bucket`` or ``s3://bucket/prefix``.

    Raises
    ------
    SettingsError
        If the URL names no bucket or holds credentials, or boto3 is not installed.
    """

    def __init__(self, url: str) -> None:
        self._bucket, self._prefix = _parse(url)
        self._client = _connect()

    def __reduce__(self) -> tuple[Callable[[str], "ObjectStore"], tuple[str]]:
        return ObjectStore, (self.url,)

    def __repr__(self) -> str:
        return f"ObjectStore({self.url!r})"

    @property
    def url(self) -> str:
        """Address of the store."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def put_new(self, key: str, data: bytes) -> bool:
        """Write ``data`` if the key is absent; return True if this call created it."""
        name = self._name(key)
        writer = uuid4().hex

        def put() -> bool:
            try:
                self._client.put_object(
                    Bucket=self._bucket,
                    Key=name,
                    Body=data,
                    IfNoneMatch="*",
                    Metadata={"writer": writer},
                )
            except self._client.exceptions.ClientError as error:
                if _status(error) != 412:
                    raise
                # A try whose answer was lost may have written the value that now bars the retry.
                return self._writer(name) == writer
            return True

        return self._tried("written", name, put)

    def replace(self, key: str, data: bytes) -> None:
        """Write ``data`` whether or not the key is there."""
        name = self._name(key)
        self._tried(
            "written",
            name,
            lambda: self._client.put_object(Bucket=self._bucket, Key=name, Body=data),
        )

    def get(self, key: str) -> bytes:
        """Return the value of ``key``."""
        name = self._name(key)

        def read() -> bytes:
            return self._client.get_object(Bucket=self._bucket, Key=name)["Body"].read()

        return self._tried("read", name, read)

    def exists(self, key: str) -> bool:
        """Return whether ``key`` has a value."""
        name = self._name(key)
        return self._tried("read", name, lambda: self._head(name) is not None)

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Yield each key that starts with ``prefix``, a thousand a request."""
        start = f"{self._prefix}{check_prefix(prefix)}"
        token: str | None = None
        while True:
            names, token = self._page(start, token)
            for name in names:
                key = name.removeprefix(self._prefix)
                if is_key(key):
                    yield key
            if token is None:
                return

    def delete(self, key: str) -> None:
        """Remove ``key`` if it is there."""
        name = self._name(key)
        self._tried(
            "removed", name, lambda: self._client.delete_object(Bucket=self._bucket, Key=name)
        )

    def remove_orphans(self) -> int:
        """Return 0: a write that was cut off leaves nothing on the server."""
        return 0

    def _name(self, key: str) -> str:
        return f"{self._prefix}{check_key(key)}"

    def _head(self, name: str) -> dict[str, str] | None:
        """Return the metadata of an object, or None where there is none."""
        try:
            return self._client.head_object(Bucket=self._bucket, Key=name)["Metadata"]
        except self._client.exceptions.ClientError as error:
            if _status(error) == 404:
                return None
            raise

    def _writer(self, name: str) -> str | None:
        return (self._head(name) or {}).get("writer")

    def _page(self, start: str, token: str | None) -> tuple[list[str], str | None]:
        more = {} if token is None else {"ContinuationToken": token}
        page = self._tried(
            "listed",
            start,
            lambda: self._client.list_objects_v2(Bucket=self._bucket, Prefix=start, **more),  # type: ignore[arg-type]
        )
        return [entry["Key"] for entry in page.get("Contents", [])], page.get(
            "NextContinuationToken"
        )

    def _tried(self, verb: str, name: str, request: Callable[[], R]) -> R:
        """Return what ``request`` gives, repeated where the server or the line asks for it."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - extra s3

        where = f"s3://{self._bucket}/{name}"
        try:
            for attempt in stamina.retry_context(
                on=_worth_repeating, attempts=ATTEMPTS, timeout=None, wait_initial=0.05, wait_max=2
            ):
                with attempt:
                    return request()
        except ClientError as error:
            raise _explained(where, verb, error) from None
        except BotoCoreError as error:
            detail = re.sub(r"//[^/@\s]*@", "//", str(error))  # an endpoint may hold a password
            raise LakeError(
                f"{where}: cannot be {verb}: {detail}; check the network, AWS_ENDPOINT_URL_S3 and "
                "the credentials in the environment"
            ) from None
        raise AssertionError("retry_context ends by returning or raising")


def _parse(url: str) -> tuple[str, str]:
    """Return bucket and prefix; the prefix is empty or ends in a slash."""
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise SettingsError(
            "an s3:// URL must not hold credentials; put them into AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY"
        )
    if parts.scheme != "s3" or not _BUCKET.fullmatch(parts.netloc) or parts.query or parts.fragment:
        raise SettingsError(f"{url!r} is not a place on S3; write it as s3://bucket/prefix")
    prefix = parts.path.strip("/")
    if any(piece in {"", ".", ".."} for piece in prefix.split("/") if prefix):
        raise SettingsError(f"{url!r}: the prefix must not hold empty, '.' or '..' folders")
    return parts.netloc, f"{prefix}/" if prefix else ""


def _connect() -> "S3Client":
    try:
        import boto3  # noqa: PLC0415 - extra s3
        from botocore.config import Config  # noqa: PLC0415 - extra s3
    except ImportError:
        raise SettingsError(
            "a lake on s3:// needs boto3, which is not installed; pip install 'pmx-ray[s3]'"
        ) from None
    # Servers other than AWS often have one host name for all buckets, and no checksum trailers.
    other = bool(os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"))
    config = Config(
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        connect_timeout=10,
        read_timeout=60,
        max_pool_connections=CONNECTIONS,
        s3={"addressing_style": "path" if other else "auto"},
        request_checksum_calculation="when_required" if other else "when_supported",
        response_checksum_validation="when_required" if other else "when_supported",
    )
    # A session of its own: boto3's default session must not be shared by threads.
    return boto3.session.Session().client("s3", config=config)


def _worth_repeating(error: Exception) -> bool:
    """Return whether a request may succeed when repeated, beyond what botocore itself repeats."""
    from botocore import exceptions  # noqa: PLC0415 - extra s3

    if isinstance(error, exceptions.ClientError):
        return error.response.get("Error", {}).get("Code") in _CONFLICT
    return isinstance(
        error,
        exceptions.IncompleteReadError
        | exceptions.ReadTimeoutError
        | exceptions.ResponseStreamingError,
    )


def _status(error: Exception) -> int:
    response: dict[str, dict[str, int]] = getattr(error, "response", {})
    return response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def _explained(where: str, verb: str, error: Exception) -> LakeError:
    response: dict[str, dict[str, str]] = getattr(error, "response", {})
    code = response.get("Error", {}).get("Code", "unknown")
    if verb == "read" and code in _MISSING:
        return MissingValueError(f"{where}: no such value; run the sweep again to write it")
    advice = _ADVICE.get(code, "see the server's log")
    return LakeError(f"{where}: cannot be {verb}: server said {code} ({_status(error)}); {advice}")
