"""A proxy in front of an S3 server that fails requests, cuts bodies and dawdles, by a seed."""

import hashlib
import http.client
import threading
import time
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Literal, Self, TypeAlias
from urllib.parse import urlsplit

Fault: TypeAlias = Literal[
    "none", "refused", "answer_lost", "cut_on_the_way", "cut_on_the_way_back", "slow"
]

ERRORS: tuple[Fault, ...] = ("refused", "answer_lost")
CUTS: tuple[Fault, ...] = ("cut_on_the_way", "cut_on_the_way_back")

CODES = ((500, "InternalError"), (503, "SlowDown"))

HOP = frozenset({"connection", "keep-alive", "expect", "transfer-encoding"})
"""Headers that belong to one connection and are not passed on."""


@dataclass(frozen=True, slots=True)
class Hostility:
    """How bad the proxy is.

    Attributes
    ----------
    errors_frac : float
        Share of requests answered with 500 or 503. Half of them are carried out all the same, so
        that a write stands although its answer says that it failed.
    cut_frac : float
        Share of requests whose body, or whose answer's body, ends half-way with its connection.
    slow_frac, slow_s : float
        Share of requests that wait, and for how long.
    seed : int
        What is drawn from.
    """

    errors_frac: float = 0.10
    cut_frac: float = 0.02
    slow_frac: float = 0.05
    slow_s: float = 0.3
    seed: int = 0

    def fault(self, method: str, path: str, nth: int) -> Fault:
        """Return what befalls the ``nth`` request of a method for a path, counted from 1.

        It depends on nothing else, so that requests of many clients at once may come in any order.
        """
        key = f"{self.seed}|{method}|{path}|{nth}".encode()
        digest = hashlib.sha256(key).digest()
        share = int.from_bytes(digest[:8], "little") / 2**64
        first = digest[8] % 2 == 0
        if share < self.errors_frac:
            return "refused" if first else "answer_lost"
        if share < self.errors_frac + self.cut_frac:
            return "cut_on_the_way" if first and method == "PUT" else "cut_on_the_way_back"
        if share < self.errors_frac + self.cut_frac + self.slow_frac:
            return "slow"
        return "none"


class HostileProxy:
    """The proxy, on a port of loopback; use it as a context manager.

    Parameters
    ----------
    upstream : str
        ``http://host:port`` of the real server. Requests are passed on with the headers that they
        came with, so that signatures hold.
    hostility : Hostility
        How bad it is.
    """

    def __init__(self, upstream: str, hostility: Hostility) -> None:
        self.hostility = hostility
        self.upstream = urlsplit(upstream).netloc
        self._lock = threading.Lock()
        self._faults: Counter[Fault] = Counter()
        self._seen: Counter[tuple[str, str]] = Counter()

    def __enter__(self) -> Self:
        self._server = _Server(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def counts(self) -> dict[str, int]:
        """Requests by what befell them, and all of them as ``requests``."""
        with self._lock:
            of_each = {str(fault): n for fault, n in self._faults.items()}
        return {"requests": sum(of_each.values()), **of_each}

    def next_fault(self, method: str, path: str) -> Fault:
        """Return what befalls the request that has just come, and count it."""
        with self._lock:
            self._seen[method, path] += 1
            fault = self.hostility.fault(method, path, self._seen[method, path])
            self._faults[fault] += 1
        return fault


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, proxy: HostileProxy) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.proxy = proxy

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that was killed leaves broken connections."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _pass(self) -> None:
        proxy = self.server.proxy
        fault = proxy.next_fault(self.command, self.path)
        length = int(self.headers.get("Content-Length") or 0)
        if fault == "cut_on_the_way":
            self.rfile.read(length // 2)
            self.close_connection = True
            return
        body = self.rfile.read(length)
        if fault == "refused":
            self._refuse(len(body))
            return
        if fault == "slow":
            time.sleep(proxy.hostility.slow_s)
        status, headers, answer = self._forward(body)
        if fault == "answer_lost":
            self._refuse(len(body))
            return
        self._answer(status, headers, answer, cut=fault == "cut_on_the_way_back")

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _pass  # noqa: N815 - the base class's

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.server.proxy.upstream, timeout=60)
        try:
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                if name.lower() not in HOP:
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _refuse(self, n: int) -> None:
        status, code = CODES[n % 2]
        text = f"<Error><Code>{code}</Code><Message>planted</Message></Error>".encode()
        self._answer(status, [("Content-Type", "application/xml")], text, cut=False)

    def _answer(
        self, status: int, headers: list[tuple[str, str]], body: bytes, *, cut: bool
    ) -> None:
        self.close_connection = self.close_connection or cut
        if cut and not body:
            return
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in HOP | {"content-length"}:
                self.send_header(name, value)
        length = dict(headers).get("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing; requests are counted."""
