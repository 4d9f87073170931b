"""Load over HTTP: plain sockets that stay open, at a steady rate or as fast as answers come.

At a steady rate latency counts from when a request was due, not from when it was sent: a server
that stands still is not spared the requests that would have come meanwhile.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from pmx_ray._typing import FloatArray

IDLE_S = 5.0
"""Seconds after which a server may close a connection that nobody used."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    Attributes
    ----------
    due_s, sent_s, done_s : float
        Monotonic times: when it was due, sent, and answered whole.
    status : int
        HTTP status; 0 where the connection broke.
    body : bytes
        What came; empty where bodies are not kept.
    replica : str
        Header ``X-PMX-Replica``; empty where there is none.
    repeated : bool
        Whether it was sent twice, as the connection had been closed before anything came.
    """

    due_s: float
    sent_s: float
    done_s: float
    status: int
    body: bytes
    replica: str
    repeated: bool = False


@dataclass
class Load:
    """Answers to a load.

    Attributes
    ----------
    answers : list of Answer
        In the order they came.
    wall_s : float
        From the first request to the last answer.
    """

    answers: list[Answer] = field(default_factory=list)
    wall_s: float = 0.0

    @property
    def rate(self) -> float:
        """Answers with status 2xx a second."""
        return (len(self.answers) - self.n_bad) / self.wall_s

    @property
    def n_repeated(self) -> int:
        """Requests that were sent twice."""
        return sum(answer.repeated for answer in self.answers)

    @cached_property
    def waits_ms(self) -> FloatArray:
        """Latency of each answer with status 2xx, milliseconds; once all have come."""
        good = [a.done_s - a.due_s for a in self.answers if 200 <= a.status < 300]
        return np.array(good, dtype=np.float64) * 1e3

    def latency_ms(self, q: float) -> float:
        """Return a quantile of the latency of answers with status 2xx, milliseconds."""
        return float(np.quantile(self.waits_ms, q)) if len(self.waits_ms) else float("nan")

    @property
    def statuses(self) -> dict[int, int]:
        """How many answers had each status."""
        found = [answer.status for answer in self.answers]
        return {status: found.count(status) for status in sorted(set(found))}

    @property
    def n_bad(self) -> int:
        """Answers other than 2xx."""
        return sum(not 200 <= answer.status < 300 for answer in self.answers)


class Connection:
    """One connection that stays open; it is opened again where the server closed it."""

    def __init__(self, host: str, port: int, headers: Mapping[str, str]) -> None:
        self._host, self._port = host, port
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._head = f"Host: {host}:{port}\r\n{lines}"
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._used_s = 0.0

    async def get(self, path: str, *, due_s: float, keep: bool) -> Answer:
        """Ask for a path."""
        sent_s = time.perf_counter()
        idle_s = sent_s - self._used_s
        repeated = False
        while True:
            fresh = self._writer is None
            try:
                status, replica, body = await self._ask(path)
            except (OSError, asyncio.IncompleteReadError) as error:
                self.close()
                came = isinstance(error, asyncio.IncompleteReadError) and bool(error.partial)
                if fresh or repeated or came or idle_s < IDLE_S:
                    return Answer(due_s, sent_s, time.perf_counter(), 0, b"", "", repeated)
                repeated = True  # it was closed for being idle: every client asks again then
                continue
            self._used_s = time.perf_counter()
            kept = body if keep else b""
            return Answer(due_s, sent_s, self._used_s, status, kept, replica, repeated)

    def close(self) -> None:
        """Close the connection."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

    async def _ask(self, path: str) -> tuple[int, str, bytes]:
        if self._writer is None or self._reader is None:
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        self._writer.write(f"GET {path} HTTP/1.1\r\n{self._head}\r\n".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        named = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines if line)
        }
        if named.get("transfer-encoding") == "chunked":
            body = await self._chunks(self._reader)
        else:
            body = await self._reader.readexactly(int(named.get("content-length", "0")))
        if named.get("connection", "").lower() == "close":
            self.close()
        return int(first.split()[1]), named.get("x-pmx-replica", ""), body

    async def _chunks(self, reader: asyncio.StreamReader) -> bytes:
        parts = []
        while True:
            size = int((await reader.readline()).strip(), 16)
            parts.append((await reader.readexactly(size + 2))[:-2])
            if size == 0:
                return b"".join(parts)


async def closed_loop(
    host: str,
    port: int,
    paths: Sequence[str],
    *,
    connections: int,
    seconds: float,
    headers: Sequence[Mapping[str, str]],
    keep: bool = False,
) -> Load:
    """Ask on each connection as soon as it has its answer, for a time.

    Connections take turns with ``headers``, so that several callers are heard.
    """
    load = Load()
    began = time.perf_counter()

    async def ask(start: int) -> None:
        connection = Connection(host, port, headers[start % len(headers)])
        n = start
        while time.perf_counter() - began < seconds:
            due_s = time.perf_counter()
            path = paths[n % len(paths)]
            load.answers.append(await connection.get(path, due_s=due_s, keep=keep))
            n += 1
        connection.close()

    await asyncio.gather(*(ask(n) for n in range(connections)))
    load.wall_s = time.perf_counter() - began
    return load


async def steady(
    host: str,
    port: int,
    paths: Sequence[str],
    *,
    rate: float,
    seconds: float,
    headers: Sequence[Mapping[str, str]],
    connections: int = 64,
    keep: bool = False,
) -> Load:
    """Ask at a steady rate, whatever the answers do; a free connection takes each request."""
    load = Load()
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for n in range(connections):
        free.put_nowait(Connection(host, port, headers[n % len(headers)]))
    began = time.perf_counter()

    async def ask(n: int) -> None:
        due_s = began + n / rate
        connection = await free.get()
        try:
            path = paths[n % len(paths)]
            load.answers.append(await connection.get(path, due_s=due_s, keep=keep))
        finally:
            free.put_nowait(connection)

    asked: set[asyncio.Task[None]] = set()
    for n in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, began + n / rate - time.perf_counter()))
        task = asyncio.create_task(ask(n))
        asked.add(task)
        task.add_done_callback(asked.discard)
    await asyncio.gather(*asked)
    load.wall_s = time.perf_counter() - began
    while not free.empty():
        free.get_nowait().close()
    return load
