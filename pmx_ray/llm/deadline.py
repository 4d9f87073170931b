"""A limit on a whole HTTP call; the library's own limits each wait for a byte."""

import time
from collections.abc import Iterator

import httpx

MAX_BYTES = 1 << 20
"""Largest answer read; a whole one has a few hundred bytes."""


class DeadlineTransport(httpx.BaseTransport):
    """Reads an answer until its call has lasted ``limit_s``, or it is larger than a megabyte.

    Parameters
    ----------
    inner : BaseTransport
        Who makes the call.
    limit_s : float
        Seconds from request to last byte. A server that drips its headers is held by the limit on
        each wait alone.
    """

    def __init__(self, inner: httpx.BaseTransport, *, limit_s: float) -> None:
        self._inner, self._limit_s = inner, limit_s

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Make the call; see ``httpx.BaseTransport``."""
        until_s = time.monotonic() + self._limit_s
        response = self._inner.handle_request(request)
        assert isinstance(response.stream, httpx.SyncByteStream)  # noqa: S101 - a sync transport's
        response.stream = _Limited(response.stream, request, until_s)
        return response

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()


class _Limited(httpx.SyncByteStream):
    def __init__(self, inner: httpx.SyncByteStream, request: httpx.Request, until_s: float) -> None:
        self._inner, self._request, self._until_s = inner, request, until_s

    def __iter__(self) -> Iterator[bytes]:
        n_bytes = 0
        for part in self._inner:
            n_bytes += len(part)
            if n_bytes > MAX_BYTES:
                raise httpx.RemoteProtocolError(
                    f"answer is larger than {MAX_BYTES} bytes", request=self._request
                )
            if time.monotonic() > self._until_s:
                raise httpx.ReadTimeout("answer took too long", request=self._request)
            yield part

    def close(self) -> None:
        self._inner.close()
