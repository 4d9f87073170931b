"""A Serve application that does nothing, to measure others against."""

from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve import Application
from starlette.responses import Response


@serve.deployment(
    name="Noop",
    num_replicas=2,
    max_ongoing_requests=64,
    max_queued_requests=256,
    ray_actor_options={"num_cpus": 0.1},
)
@serve.ingress()
class Noop:
    """Answers every request with the same bytes.

    Parameters
    ----------
    n_bytes : int
        Length of the answer.
    """

    def __init__(self, n_bytes: int) -> None:
        self._body = b"x" * n_bytes

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Return the application, as Serve asks for it."""
        api = FastAPI()
        body = self._body

        @api.get("/")
        async def nothing() -> Response:
            return Response(body, media_type="application/json")

        return api


def build(args: dict[str, Any]) -> Application:
    """Return the application; ``args`` may hold ``n_bytes``."""
    application: Application = Noop.bind(  # type: ignore[attr-defined]  # a deployment, which the decorator hides
        int(args.get("n_bytes", 2000))
    )
    return application
