"""Traces from a request or a command to a block, for OpenTelemetry; off unless asked for.

They are asked for by the environment: ``PMX_TRACES`` names a folder that gets spans as lines of
JSON; ``OTEL_EXPORTER_OTLP_ENDPOINT`` or ``OTEL_TRACES_EXPORTER=otlp`` sends them to a collector.
Where they are off nothing of OpenTelemetry is imported, and a span costs one ``if``. The provider
is this module's own: no other library's spans come with it.

A span holds ids, counts and names from the project's own vocabulary; callers hand no token, header,
URL or path. Of an error it keeps the type alone, for messages may quote what was asked.
"""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import structlog

from pmx_ray.errors import SettingsError

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

Attributes: TypeAlias = Mapping[str, str | int | float | bool]
"""What a span says beside its name and times; never a secret."""

FOLDER = "PMX_TRACES"
"""Variable that names the folder of span files."""

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""Variables that name a collector, the first set one counts."""

HANDED_ON = (
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_SERVICE_NAME",
    "OTEL_TRACES_EXPORTER",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
)
"""Variables that workers are given beside the collector's address, where one is used.

Headers are not: they hold keys, and Ray shows what workers are given.
"""

FLUSH_MS = 5000
"""Longest wait for a collector where a process is about to be ended."""

_OFF: AbstractContextManager[None] = nullcontext()
_log = structlog.get_logger()


class _Held:
    """What this process has: a tracer and its provider, or neither."""

    looked = False
    tracer: "Tracer | None" = None
    provider: "TracerProvider | None" = None
    lock = threading.Lock()


def on() -> bool:
    """Return whether this process makes traces; the environment is looked at once.

    Raises
    ------
    SettingsError
        If the environment asks for what cannot be done.
    """
    if not _Held.looked:
        _look()
    return _Held.tracer is not None


def span(
    name: str,
    attributes: Attributes | None = None,
    *,
    parent: str = "",
    kind: Literal["internal", "server"] = "internal",
) -> AbstractContextManager[None]:
    """Return a context in which a span is open; nothing where traces are off.

    Parameters
    ----------
    name : str
        Of few: what differs from span to span is an attribute.
    attributes : mapping, optional
        What is known as it begins.
    parent : str
        A W3C ``traceparent``; the span that is open here unless given. One that cannot be read
        makes the span the first of a trace.
    kind : str
        ``server`` for an answer to somebody else's request.
    """
    return _opened(name, attributes or {}, parent, kind) if on() else _OFF


def note(attributes: Attributes) -> None:
    """Add to the span that is open here, if one is."""
    if on():
        from opentelemetry.trace import get_current_span  # noqa: PLC0415

        get_current_span().set_attributes(attributes)


def traceparent() -> str:
    """Return the open span as a W3C ``traceparent``; empty where there is none."""
    if not on():
        return ""
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
        TraceContextTextMapPropagator,
    )

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent", "")


@contextmanager
def continued(parent: str) -> Iterator[None]:
    """Hold another process's span as the one that is open here; nothing where it had none.

    Work is not refused because its trace cannot be made: that is logged, once.
    """
    try:
        traced = bool(parent) and on()
    except SettingsError as error:
        _log.warning("no traces", error=str(error))
        _Held.looked, traced = True, False
    if not traced:
        yield
        return
    from opentelemetry.context import attach, detach  # noqa: PLC0415

    token = attach(_context(parent))
    try:
        yield
    finally:
        detach(token)


def handed_on() -> dict[str, str]:
    """Return the variables that a worker's process needs; none where traces are off.

    Of the addresses only the one that counts is among them, and only where spans go there: no
    other was looked at for a password.

    Raises
    ------
    SettingsError
        If the environment has since come to ask for what cannot be done.
    """
    if not on():
        return {}
    address = _endpoint(os.environ) if _asks_for_collector(os.environ) else ""
    given = {name: os.environ[name] for name in (*HANDED_ON, address) if os.environ.get(name)}
    if os.environ.get(FOLDER):
        given[FOLDER] = str(Path(os.environ[FOLDER]).absolute())
    return given


def flush() -> None:
    """Send what has not been sent, before this process is ended."""
    if _Held.provider is not None:
        _Held.provider.force_flush(FLUSH_MS)


def end() -> None:
    """Send what has not been sent and make no more; the next look is at the environment anew."""
    with _Held.lock:
        if _Held.provider is not None:
            _Held.provider.shutdown()
        _Held.looked, _Held.tracer, _Held.provider = False, None, None


@contextmanager
def _opened(
    name: str, attributes: Attributes, parent: str, kind: Literal["internal", "server"]
) -> Iterator[None]:
    from opentelemetry.trace import SpanKind, Status, StatusCode  # noqa: PLC0415

    assert _Held.tracer is not None  # noqa: S101 - `on` says so
    with _Held.tracer.start_as_current_span(
        name,
        context=_context(parent) if parent else None,
        kind=SpanKind[kind.upper()],
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as opened:
        try:
            yield
        except BaseException as error:
            opened.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise


def _context(parent: str) -> "Context":
    """Return a context that holds a traceparent alone: no baggage, and no vendor's state."""
    from opentelemetry.context import Context  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
        TraceContextTextMapPropagator,
    )

    return TraceContextTextMapPropagator().extract({"traceparent": parent}, context=Context())


def _look() -> None:
    with _Held.lock:
        if _Held.looked:
            return
        environment = os.environ
        folder, to_collector = environment.get(FOLDER, ""), _asks_for_collector(environment)
        disabled = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
        if (folder or to_collector) and not disabled:
            _start(folder, to_collector=to_collector)
        _Held.looked = True


def _asks_for_collector(environment: Mapping[str, str]) -> bool:
    """Return whether spans go to a collector; refuse what is not sent from here."""
    endpoint = environment.get(_endpoint(environment), "")
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip()
    if exporter not in {"", "none", "otlp"}:
        raise SettingsError(f"OTEL_TRACES_EXPORTER was {exporter}; it must be otlp or none")
    if exporter == "none" or not (exporter or endpoint):
        return False
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if environment.get(name, "http/protobuf") != "http/protobuf":
            raise SettingsError(f"{name} was {environment[name]}; it must be http/protobuf")
    if any(mark in endpoint for mark in "@?#"):  # workers are given it, and Ray shows that
        raise SettingsError(
            "the collector's address holds a user or a query; put keys into "
            "OTEL_EXPORTER_OTLP_HEADERS, on every node"
        )
    return True


def _endpoint(environment: Mapping[str, str]) -> str:
    """Return the variable that names the collector; empty where none does."""
    return next((name for name in ENDPOINTS if environment.get(name)), "")


def _start(folder: str, *, to_collector: bool) -> None:
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import (  # noqa: PLC0415
        BatchSpanProcessor,
        SimpleSpanProcessor,
    )

    service = os.environ.get("OTEL_SERVICE_NAME") or "pmx-ray"
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: service}))
    if to_collector:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
                OTLPSpanExporter,
            )
        except ImportError:
            raise SettingsError(
                "the environment asks for traces to a collector, and their exporter is not "
                "installed; pip install 'pmx-ray[traces]', or set OTEL_TRACES_EXPORTER=none"
            ) from None
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    if folder:
        from pmx_ray.span_files import SpanFile  # noqa: PLC0415

        provider.add_span_processor(SimpleSpanProcessor(SpanFile(Path(folder).absolute())))
    _Held.provider, _Held.tracer = provider, provider.get_tracer("pmx_ray")
