"""Spans as lines of JSON in a folder, one file a process; imported only where traces are made."""

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult


class SpanFile(SpanExporter):
    """Appends each span to a file named after node and process.

    A line is written as its span ends, so that a process that is killed loses only open spans.

    Parameters
    ----------
    folder : Path
        Made where it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write spans; what cannot be written is lost, and the work goes on."""
        text = "".join(f"{json.dumps(line_of(span))}\n" for span in spans)
        path = self._folder / f"{platform.node()}-{os.getpid()}.jsonl"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with open(path, "a", encoding="utf-8", opener=_private) as file:
                file.write(text)
        except OSError:
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS


def line_of(span: ReadableSpan) -> dict[str, object]:
    """Return what is written of a span: ids in hex, times in nanoseconds since 1970."""
    context = span.get_span_context()
    assert context is not None  # noqa: S101 - a span that ended has one
    return {
        "name": span.name,
        "trace_id": f"{context.trace_id:032x}",
        "span_id": f"{context.span_id:016x}",
        "parent_id": None if span.parent is None else f"{span.parent.span_id:016x}",
        "kind": span.kind.name.lower(),
        "start_ns": span.start_time,
        "end_ns": span.end_time,
        "status": span.status.status_code.name.lower(),
        "error": span.status.description,
        "service": span.resource.attributes.get("service.name"),
        "attributes": dict(span.attributes or {}),
    }


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
