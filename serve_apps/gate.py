"""The gate in front of the API: token, rate, body; then the request's line in the trail.

A plain ASGI layer and not a framework's middleware: it is on the path of every request.
"""

import asyncio
import itertools
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import TypeAlias

import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pmx_ray.clock import Clock
from pmx_ray.ledger.request_log import RequestRecord
from serve_apps.admission import AdmissionSettings, Bucket, admit
from serve_apps.problems import problem
from serve_apps.tokens import Keyring, Token
from serve_apps.tokens import Scope as TokenScope

COOKIE = "pmx_token"
"""Cookie that the pages' login sets; it holds a token and counts for reading alone."""

STRANGER = "-"
"""Name of a caller without a good token."""

FAULT = "this is our fault; the log has more"
"""All that a caller is told of a defect."""

PROBES = frozenset({"/livez", "/readyz", "/version"})
"""Answered from memory at any rate: many strangers must not make a replica look dead."""

SCRAPED = "/metrics"
"""Asked every few seconds by a machine; noted where that fails."""

BODILESS = frozenset({"GET", "HEAD"})
"""Methods whose body no route reads; nobody is waited for."""

STRANGERS_AT_ONCE = 8
"""Strangers whose body is waited for at a time: they must not take every place of a replica."""

MAX_TOKEN, MAX_COOKIES = 256, 4096
"""Characters of a token, and of all cookies together, that are looked at."""

Ask: TypeAlias = Callable[[str, str], TokenScope | None]
"""From method and path to the scope that is asked for; None for what is open to all."""

Note: TypeAlias = Callable[[RequestRecord], None]
"""Takes the line of a request that was answered."""

_log = structlog.get_logger()


class _TooLargeError(Exception):
    pass


class _TooSlowError(Exception):
    pass


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a token, or nobody known.

    Attributes
    ----------
    name : str
        Of the token; ``STRANGER`` without one.
    scope : TokenScope or None
        None without a token.
    """

    name: str = STRANGER
    scope: TokenScope | None = None


class Gate:
    """ASGI layer that lets in whom it knows, as often and as large as agreed.

    Parameters
    ----------
    app : ASGIApp
        What is guarded.
    keyring : Keyring
        The tokens.
    settings : AdmissionSettings
        Rates and sizes.
    ask : callable
        Which scope a request needs.
    note : callable
        Gets a record of every answer.
    replica : str
        Named in records and in the header ``X-PMX-Replica``.
    clock : callable
        Time of the records.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keyring: Keyring,
        settings: AdmissionSettings,
        ask: Ask,
        note: Note,
        replica: str,
        clock: Clock,
    ) -> None:
        self._app, self._keyring, self._settings = app, keyring, settings
        self._ask, self._note, self._clock = ask, note, clock
        self._replica = replica
        self._buckets: dict[str, Bucket] = {}
        self._n_strangers = 0
        self._life, self._count = uuid.uuid4().hex, itertools.count(1)  # unique, and soon made

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection's request, or hand it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        caller = self._caller(scope)
        answer = _Answer(send, self._replica)
        try:
            await self._admitted(scope, receive, answer, caller)
        finally:
            if self._leaves_a_line(scope, answer, caller):
                self._note(self._line(scope, answer, caller, time.perf_counter() - began))

    def _leaves_a_line(self, scope: Scope, answer: "_Answer", caller: Caller) -> bool:
        """Return whether an answer is noted: probes, scrapes and floods do not fill the trail."""
        flood = caller.scope is None and answer.status == 429
        scrape = scope["path"] == SCRAPED and answer.status == 200
        return scope["path"] not in PROBES and not flood and not scrape

    def _line(
        self, scope: Scope, answer: "_Answer", caller: Caller, latency_s: float
    ) -> RequestRecord:
        return RequestRecord(
            id=f"{self._life}-{next(self._count)}",
            at=self._clock(),
            token=caller.name,
            method=scope["method"][:16],
            path=scope["path"][:128],
            status=answer.status,
            latency_s=latency_s,
            signal_id=scope.get("pmx.signal_id", ""),
            replica=self._replica,
        )

    async def _admitted(
        self, scope: Scope, receive: Receive, answer: "_Answer", caller: Caller
    ) -> None:
        refused = self._refusal(scope, caller)
        if refused is not None:
            status, detail, wait_s = refused
            await problem(status, detail, retry_after_s=wait_s)(scope, receive, answer)
            return
        scope["pmx.caller"] = caller
        stranger = int(caller.scope is None)
        self._n_strangers += stranger
        try:
            body = await self._body(scope, receive)
        except _TooLargeError:
            detail = f"the body is larger than {self._settings.body_bytes} bytes"
            await _parting(413, detail)(scope, receive, answer)
            return
        except _TooSlowError:
            detail = f"the body did not arrive within {self._settings.body_timeout_s:g} s"
            await _parting(408, detail)(scope, receive, answer)
            return
        finally:
            self._n_strangers -= stranger
        try:
            await self._app(scope, _replay(body, receive), answer)
        except Exception as error:  # noqa: BLE001 - a request becomes a response
            _log.error("request failed", path=scope["path"], error=repr(error), exc_info=True)
            if not answer.started:
                await problem(500, FAULT)(scope, receive, answer)

    def _caller(self, scope: Scope) -> Caller:
        token = self._token(_headers(scope))
        return Caller() if token is None else Caller(token.name, token.scope)

    def _token(self, headers: Mapping[bytes, bytes]) -> Token | None:
        presented = _bearer(headers) or _cookie(headers)
        return self._keyring.find(presented) if 0 < len(presented) <= MAX_TOKEN else None

    def _refusal(self, scope: Scope, caller: Caller) -> tuple[int, str, float | None] | None:
        wait_s = 0.0 if scope["path"] in PROBES else self._wait_s(caller)
        if wait_s:
            return 429, f"more than {self._rate(caller):g} requests a second; wait", wait_s
        asked = self._ask(scope["method"], scope["path"])
        if asked is None:
            return self._crowded(scope, caller)
        if caller.scope is None:
            return 401, "send the header: Authorization: Bearer TOKEN", None
        if not caller.scope.covers(asked):
            return 403, f"token '{caller.name}' has scope {caller.scope}; this needs {asked}", None
        if asked is not TokenScope.READ and not _bearer(_headers(scope)):
            return 401, "a page's cookie only reads; send the header: Authorization: Bearer", None
        return None

    def _crowded(self, scope: Scope, caller: Caller) -> tuple[int, str, float | None] | None:
        if caller.scope is not None or scope["method"] in BODILESS:
            return None
        if self._n_strangers < STRANGERS_AT_ONCE:
            return None
        return 429, "too many wait to be read; come again", self._settings.body_timeout_s

    def _rate(self, caller: Caller) -> float:
        known = caller.scope is not None
        return self._settings.requests_per_s if known else self._settings.strangers_per_s

    def _wait_s(self, caller: Caller) -> float:
        burst = self._settings.burst if caller.scope is not None else 100
        self._buckets[caller.name], wait_s = admit(
            self._buckets.get(caller.name),
            now_s=time.monotonic(),
            rate_per_s=self._rate(caller),
            burst=burst,
        )
        return wait_s

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        if scope["method"] in BODILESS:
            return b""
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._settings.body_timeout_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _TooSlowError
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > self._settings.body_bytes:
                        raise _TooLargeError
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            raise _TooSlowError from None


class _Answer:
    """Passes an answer on, and remembers its status."""

    def __init__(self, send: Send, replica: str) -> None:
        self._send = send
        self._replica = replica.encode()
        self.status = 0
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            headers = [*message.get("headers", ()), (b"x-pmx-replica", self._replica)]
            message = {**message, "headers": [*headers, (b"x-content-type-options", b"nosniff")]}
        await self._send(message)


def _parting(status: int, detail: str) -> Response:
    """Return a problem after which the connection ends: the rest of the body is not waited for."""
    answer = problem(status, detail)
    answer.headers["Connection"] = "close"
    return answer


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a channel that gives the body that was read, and then what else comes."""
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


def _headers(scope: Scope) -> Mapping[bytes, bytes]:
    return dict(scope["headers"])


def _bearer(headers: Mapping[bytes, bytes]) -> str:
    scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _cookie(headers: Mapping[bytes, bytes]) -> str:
    text = headers.get(b"cookie", b"").decode("latin-1")
    if COOKIE not in text or len(text) > MAX_COOKIES:
        return ""
    try:
        cookies = SimpleCookie(text)
    except CookieError:
        return ""
    return cookies[COOKIE].value if COOKIE in cookies else ""
