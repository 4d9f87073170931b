"""The server as a process: a port on this machine, one line when it is ready, a clean end."""

import socket
from collections.abc import Callable

from pmx_ray.errors import EngineError, SettingsError
from pmx_ray.llm.local.engine import Engine
from pmx_ray.llm.local.weights import bundled_weights

PORT = 11434
"""Ollama's own."""

HOST = "127.0.0.1"


def serve(
    *,
    port: int = PORT,
    n_parallel: int = 2,
    max_waiting: int = 64,
    say: Callable[[str], None] = lambda text: print(text, flush=True),
) -> None:
    """Serve the bundled model on the loopback address until SIGTERM or SIGINT.

    Parameters
    ----------
    port : int
        0 for a free one, which the line says.
    n_parallel : int
        Answers written at once.
    max_waiting : int
        Requests that may wait for a turn; more get 503.
    say : callable
        Gets one line with model and address when requests are answered.

    Raises
    ------
    SettingsError
        If a number is out of bounds.
    EngineError
        If model or runtime are not installed, or the port is taken.
    """
    import uvicorn  # noqa: PLC0415 - a client needs no server

    from pmx_ray.llm.local.app import build_app  # noqa: PLC0415

    for name, value, low, high in (
        ("port", port, 0, 65535),
        ("n_parallel", n_parallel, 1, 64),
        ("max_waiting", max_waiting, 0, 10_000),
    ):
        if not low <= value <= high:
            raise SettingsError(f"{name} was {value}; it must be {low} to {high}")
    listener = _bound(port)
    with listener:
        weights = bundled_weights()
        engine = Engine(weights, n_parallel=n_parallel, max_waiting=max_waiting)
        config = uvicorn.Config(
            build_app(engine),
            log_level="warning",
            timeout_graceful_shutdown=3,
            timeout_keep_alive=30,
            limit_concurrency=n_parallel + max_waiting + 64,
        )
        address = f"http://{HOST}:{listener.getsockname()[1]}"
        say(f"{weights.name} ({weights.digest[:12]}) answers on {address}")
        uvicorn.Server(config).run(sockets=[listener])


def _bound(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise EngineError(
            f"{HOST}:{port} cannot be served: {error.strerror}; another server is there, or "
            "name another port"
        ) from None
    return listener
