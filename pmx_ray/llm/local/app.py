"""Ollama's routes over an engine: a request in, an answer or one line of error out."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from typing import TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from pmx_ray.clock import utc_now
from pmx_ray.llm.local.engine import BusyError, Ended, Engine, Event, Piece, Refused
from pmx_ray.llm.local.wire import (
    ChatBody,
    GenerateBody,
    ShowBody,
    line,
    listed,
    read_object,
    running,
    shown,
    stamp,
    timings,
)
from pmx_ray.provenance import library_version

MAX_BODY = 1 << 20
"""Bytes of a request; a prompt that fits the model has a hundredth of that."""

BODY_WAIT_S = 10.0
"""How long a client may take to send its body."""

B = TypeVar("B", bound=BaseModel)


def build_app(engine: Engine) -> FastAPI:
    """Return the application; it closes the engine when it stops.

    Only requests that name this machine as host are answered, so that no page in a browser can
    reach the model under a name of its own.
    """
    app = FastAPI(lifespan=_closing(engine), docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    app.add_exception_handler(HTTPException, _told)
    weights = engine.weights

    @app.api_route("/", methods=["GET", "HEAD"])
    async def alive() -> Response:
        return PlainTextResponse("pmx-ray language model server is running")

    @app.get("/api/version")
    async def version() -> dict[str, str]:
        return {"version": f"pmx-ray {library_version('pmx-ray')}"}

    @app.get("/api/tags")
    async def tags() -> dict[str, object]:
        return {"models": [listed(weights)]}

    @app.get("/api/ps")
    async def ps() -> dict[str, object]:
        return {"models": [running(weights, now=utc_now())]}

    @app.post("/api/show")
    async def show(request: Request) -> dict[str, object]:
        body = await _body(request, ShowBody)
        _check_model(body.model or body.name, engine)
        return shown(weights)

    @app.post("/api/chat")
    async def chat(request: Request) -> Response:
        body = await _body(request, ChatBody)
        return await _answered(
            request, body, engine, lambda text: {"message": {"role": "assistant", "content": text}}
        )

    @app.post("/api/generate")
    async def generate(request: Request) -> Response:
        body = await _body(request, GenerateBody)
        return await _answered(request, body, engine, lambda text: {"response": text})

    return app


def _closing(engine: Engine) -> Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(engine.close)

    return lifespan


async def _told(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) else "internal error"
    return JSONResponse({"error": detail}, status_code=status)


async def _body(request: Request, kind: type[B]) -> B:
    data = b""
    try:
        async with asyncio.timeout(BODY_WAIT_S):
            async for part in request.stream():
                data += part
                if len(data) > MAX_BODY:
                    raise HTTPException(413, f"body is larger than {MAX_BODY} bytes")
        return kind.model_validate(read_object(data))
    except TimeoutError:
        raise HTTPException(408, f"body did not arrive within {BODY_WAIT_S:g} s") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise HTTPException(400, f"{where}: {first['msg']}"[:300]) from None
    except ValueError as error:
        raise HTTPException(400, f"invalid body: {error}"[:300]) from None


def _check_model(name: str, engine: Engine) -> None:
    if name != engine.weights.name:
        raise HTTPException(404, f"model '{name}' not found; this server has {engine.weights.name}")


async def _answered(
    request: Request,
    body: ChatBody | GenerateBody,
    engine: Engine,
    shape: Callable[[str], dict[str, object]],
) -> Response:
    _check_model(body.model, engine)
    head: dict[str, object] = {"model": engine.weights.name}
    messages = body.messages_sent()
    if not messages:  # Ollama's way to load a model; this one always is
        part = {**head, "created_at": stamp(utc_now()), **shape("")}
        return JSONResponse({**part, "done": True, "done_reason": "load"})
    try:
        completion = body.completion(messages)
    except ValueError as error:
        raise HTTPException(400, str(error)[:300]) from None
    started = time.perf_counter()
    events = _events(engine, completion)
    try:
        first = await _unless_gone(request, anext(events))
        if isinstance(first, Refused):
            raise HTTPException(first.status, first.message)
        if body.stream:
            lines = _lines(first, events, head, shape, started)
            return StreamingResponse(lines, media_type="application/x-ndjson")
        text, last = await _unless_gone(request, _whole(first, events))
    except BusyError:
        raise HTTPException(503, "server busy: too many requests wait; try again") from None
    except _GoneError:
        return Response(status_code=HTTPStatus.NO_CONTENT)  # nobody reads it
    finally:
        if not body.stream:
            await events.aclose()
    if isinstance(last, Refused):
        raise HTTPException(last.status, last.message)
    total_s = time.perf_counter() - started
    part = {**head, "created_at": stamp(utc_now()), **shape(text)}
    return JSONResponse({**part, "done": True, **timings(last, total_s=total_s)})


class _GoneError(Exception):
    """The client has closed its connection."""


async def _events(engine: Engine, completion: dict[str, object]) -> AsyncGenerator[Event]:
    """Yield the events of a completion; closing the generator gives up its place."""
    loop = asyncio.get_running_loop()
    heard: asyncio.Queue[Event] = asyncio.Queue()

    def emit(event: Event) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(heard.put_nowait, event)

    job = engine.submit(completion, emit)
    try:
        while True:
            event = await heard.get()
            yield event
            if not isinstance(event, Piece):
                return
    finally:
        job.cancel()


async def _whole(first: Event, events: AsyncIterator[Event]) -> tuple[str, Ended | Refused]:
    text, event = "", first
    while isinstance(event, Piece):
        text += event.text
        event = await anext(events)
    return text, event


async def _lines(
    first: Event,
    events: AsyncGenerator[Event],
    head: dict[str, object],
    shape: Callable[[str], dict[str, object]],
    started: float,
) -> AsyncIterator[bytes]:
    async with contextlib.aclosing(events):
        event = first
        while isinstance(event, Piece):
            part = {**head, "created_at": stamp(utc_now()), **shape(event.text)}
            yield line(part, done=False)
            event = await anext(events)
        if isinstance(event, Refused):
            yield line({"error": event.message})
            return
        total_s = time.perf_counter() - started
        part = {**head, "created_at": stamp(utc_now()), **shape("")}
        yield line(part, done=True, **timings(event, total_s=total_s))


T = TypeVar("T")


async def _unless_gone(request: Request, wanted: Awaitable[T]) -> T:
    """Return what is awaited, or raise _GoneError as soon as the client has gone away."""
    work = asyncio.ensure_future(_waited(wanted))
    watch = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise _GoneError
        return work.result()
    finally:
        for task in (work, watch):
            task.cancel()
        await asyncio.gather(work, watch, return_exceptions=True)


async def _waited(wanted: Awaitable[T]) -> T:
    return await wanted


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
