"""A span for each request that is let in; stands in the application's way only where asked for."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pmx_ray import tracing
from serve_apps.board import Served
from serve_apps.express import PREFIX
from serve_apps.gate import BODILESS, PROBES, Caller

METHODS = BODILESS | {"POST", "PUT"}
"""Those that a route has; a caller may send any text."""


class Traced:
    """ASGI layer behind the gate that opens a span for a request.

    The trace of a caller with a token goes on; a stranger, who may ask for pages, cannot choose
    which requests are traced, nor as part of what.

    Parameters
    ----------
    app : ASGIApp
        What answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request within a span."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return

        status = 500  # where nothing is sent the gate answers

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        about = {"http.request.method": method}
        with tracing.span("request", about, parent=_traceparent(scope), kind="server"):
            try:
                await self._app(scope, receive, noted)
            finally:
                tracing.note({"http.response.status_code": status, **_findings(scope)})


def _traceparent(scope: Scope) -> str:
    caller: Caller | None = scope.get("pmx.caller")
    if caller is None or caller.scope is None:
        return ""
    return str(dict(scope["headers"]).get(b"traceparent", b"").decode("latin-1"))


def _findings(scope: Scope) -> dict[str, str | int | float | bool]:
    """Return what is known of a request at its end; never its path, which may hold anything."""
    served: Served | None = scope.get("pmx.served")
    if served is None:
        return {"http.route": getattr(scope.get("route"), "path", "none")}
    return {
        "http.route": f"{PREFIX}{{ticker}}",
        "pmx.tickers": 1,
        "pmx.signal_id": served.id,
        "pmx.flags_version": served.flags_version,
        "pmx.route": served.route,
        "pmx.source": served.source,
    }
