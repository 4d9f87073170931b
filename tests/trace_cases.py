"""Where tests find spans: files of a folder, and a collector that takes OTLP over HTTP."""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

Line = dict[str, Any]


def lines(folder: Path) -> list[Line]:
    """Return the spans of every process, in the order in which they began."""
    texts = [path.read_text() for path in folder.glob("*.jsonl")]
    found = [json.loads(line) for text in texts for line in text.splitlines()]
    return sorted(found, key=lambda line: line["start_ns"])


def named(spans: list[Line], name: str) -> list[Line]:
    return [span for span in spans if span["name"] == name]


@dataclass
class Received:
    """What a collector was sent."""

    request: ExportTraceServiceRequest = field(default_factory=ExportTraceServiceRequest)

    @property
    def spans(self) -> list[Span]:
        parts = [part for one in self.request.resource_spans for part in one.scope_spans]
        return [span for part in parts for span in part.spans]


@contextmanager
def collector() -> Iterator[tuple[str, Received]]:
    """Hold a collector on this machine; give its address and what it has been sent."""
    received = Received()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.path == "/v1/traces"
            received.request.MergeFromString(body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
