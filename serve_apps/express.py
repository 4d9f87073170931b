"""The one request that comes in numbers, answered without a framework's machinery."""

from starlette.types import ASGIApp, Receive, Scope, Send

from pmx_ray.errors import PmxError
from serve_apps.board import Served
from serve_apps.desk import Desk

PREFIX = "/v1/signals/"
"""Where the path of a ticker's signal starts."""


class Express:
    """ASGI layer that answers for the signal of a ticker that is served, and hands on the rest.

    Its answers are those of the application's own route, byte for byte; whatever is not a plain
    signal, an error above all, is the application's to say.

    Parameters
    ----------
    app : ASGIApp
        The application.
    desk : Desk
        Of the replica.
    """

    def __init__(self, app: ASGIApp, desk: Desk) -> None:
        self._app, self._desk = app, desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        served = self._served(scope)
        if served is None:
            await self._app(scope, receive, send)
            return
        note_served(self._desk, served, scope)
        headers = [
            (b"content-length", str(len(served.body)).encode()),
            (b"content-type", b"application/json"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": served.body})

    def _served(self, scope: Scope) -> Served | None:
        if scope["type"] != "http" or scope["method"] != "GET":
            return None
        path = scope["path"]
        if not path.startswith(PREFIX):
            return None
        board, ticker = self._desk.watch.board, path[len(PREFIX) :]
        if board is None or not board.knows(ticker):
            return None
        try:
            return board.answer(ticker)
        except PmxError:
            return None


def note_served(desk: Desk, served: Served, scope: Scope) -> None:
    """Count an answer, and leave its id for the trail and the rest for a trace."""
    scope["pmx.signal_id"], scope["pmx.served"] = served.id, served
    desk.numbers.served(served.source, served.route, fallback=served.fallback_used)
