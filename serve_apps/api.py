"""The HTTP interface: its routes, and what each answers."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import FastAPI, Header, Path, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp

from pmx_ray import __version__, tracing
from pmx_ray.errors import DataError, NothingToServeError, PmxError
from pmx_ray.provenance import ENGINE_VERSION
from pmx_ray.signals.types import TICKER_PATTERN, SignalBundle
from serve_apps import office, pages
from serve_apps.bodies import FlagChange, PromotionRequest, ReversionRequest, SignalRequest
from serve_apps.desk import Desk
from serve_apps.explanation import UnknownSignalError, explain
from serve_apps.express import Express, note_served
from serve_apps.gate import FAULT, Caller, Gate
from serve_apps.numbers import CONTENT_TYPE
from serve_apps.problems import RETRY_S, problem, status_of
from serve_apps.slow_lane import SlowLane
from serve_apps.strict_json import StrictRoute
from serve_apps.tokens import Scope
from serve_apps.traced import Traced

OPEN = frozenset({"/livez", "/readyz", "/version", "/openapi.json", "/docs", "/login", "/"})
"""Paths that need no token."""

TickerPath = Annotated[str, Path(pattern=TICKER_PATTERN, description="A ticker that is served.")]
_KEY = Header(
    pattern=r"^[\x21-\x7e]{1,128}$",
    description="A second request with the same key changes nothing and gets the same answer.",
)
IdempotencyKey = Annotated[str, _KEY]
OptionalKey = Annotated[str | None, _KEY]
PROBLEM: dict[str, Any] = {"content": {"application/problem+json": {}}}
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": told, **PROBLEM}
    for status, told in (
        (400, "The request cannot be read."),
        (401, "No valid token."),
        (403, "The token's scope is too small."),
        (404, "There is no such thing."),
        (409, "It has changed meanwhile, or cannot be done as things stand."),
        (413, "The body is too large."),
        (422, "The request is not valid."),
        (429, "Too many requests; see Retry-After."),
        (503, "Nothing can be served at the moment; see Retry-After."),
    )
}


def scope_of(method: str, path: str) -> Scope | None:
    """Return the scope that a request needs; None for what is open to all."""
    if path in OPEN:
        return None
    if method in {"GET", "HEAD"} or path == "/v1/signals":
        return Scope.READ
    return Scope.ADMIN


def guarded(desk: Desk) -> ASGIApp:
    """Return the API of a desk behind its gate."""
    app: ASGIApp = Express(build_api(desk), desk)
    return Gate(
        Traced(app) if tracing.on() else app,
        keyring=desk.keyring,
        settings=desk.settings.admission,
        ask=scope_of,
        note=desk.note,
        replica=desk.replica,
        clock=desk.clock,
    )


def build_api(desk: Desk) -> FastAPI:
    """Return the application over a desk; the gate stands in front of it."""
    api = FastAPI(
        title="pmx-ray signals",
        version=__version__,
        description="Signals of the promoted model, with what explains them.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # to an address that the caller's Host header names
        responses=RESPONSES,
    )
    api.router.route_class = StrictRoute
    _add_errors(api)
    lane = SlowLane()
    _add_signals(api, desk, lane)  # first: routes are tried in order
    _add_probes(api, desk, lane)
    _add_flags(api, desk)
    _add_governance(api, desk, lane)
    pages.mount(api, desk, lane)
    _describe_tokens(api)
    return api


def _add_errors(api: FastAPI) -> None:
    async def not_valid(request: Request, error: Exception) -> Response:  # noqa: ARG001
        assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it alone
        found = [  # never the input: it may be huge, secret or not a number
            {
                "where": ".".join(str(part)[:64] for part in one["loc"])[:256],
                "what": one["msg"][:256],
            }
            for one in error.errors()[:10]
        ]
        first = found[0]
        return problem(422, f"{first['where']}: {first['what']}", errors=found)

    async def known(request: Request, error: Exception) -> Response:  # noqa: ARG001
        assert isinstance(error, PmxError)  # noqa: S101 - registered for it alone
        status = status_of(error)
        return problem(status, str(error), retry_after_s=RETRY_S if status in {429, 503} else None)

    async def http(request: Request, error: Exception) -> Response:  # noqa: ARG001
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for it alone
        answer = problem(error.status_code, str(error.detail))
        answer.headers.update(error.headers or {})
        return answer

    async def defect(request: Request, error: Exception) -> Response:  # noqa: ARG001
        return problem(500, FAULT)  # the gate logs it

    api.add_exception_handler(Exception, defect)
    api.add_exception_handler(RequestValidationError, not_valid)
    api.add_exception_handler(PmxError, known)
    api.add_exception_handler(HTTPException, http)


def _add_probes(api: FastAPI, desk: Desk, lane: SlowLane) -> None:
    @api.get("/livez", tags=["probes"])
    async def livez() -> dict[str, str]:
        """Say that the replica runs."""
        return {"status": "alive", "replica": desk.replica}

    @api.get("/readyz", tags=["probes"])
    async def readyz() -> Response:
        """Say whether signals can be given, and if not, why."""
        why = desk.unready()
        if why:
            return problem(503, why, retry_after_s=RETRY_S)
        board, view = desk.watch.board, desk.watch.view
        assert board is not None  # noqa: S101 - `unready` says so
        assert view is not None  # noqa: S101 - set with the board
        return JSONResponse(
            {
                "status": "ready",
                "replica": desk.replica,
                "cutoff": board.book.cutoff.isoformat(),
                "flags_version": view.version,
                "flags_status": view.status.value,
                "stale": bool(board.stale_reason),
                "trouble": bool(desk.watch.trouble),
            }
        )

    @api.get("/version", tags=["probes"])
    async def version() -> dict[str, str]:
        """Name the program and its engine."""
        return {"pmx_ray": __version__, "engine": ENGINE_VERSION}

    @api.get("/metrics", tags=["probes"], response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Return what this replica counted, in Prometheus' format."""
        office.gauge(desk)
        return Response(desk.numbers.exposition(), media_type=CONTENT_TYPE)

    @api.get("/v1/status", tags=["probes"])
    async def status() -> dict[str, Any]:
        """Return what serves, how fresh it is, and counts of what the ledger keeps."""
        return await lane.run(lambda: office.status(desk))


def _add_signals(api: FastAPI, desk: Desk, lane: SlowLane) -> None:
    @api.get("/v1/signals/{ticker}", tags=["signals"], response_model=SignalBundle)
    async def signal(ticker: TickerPath, request: Request) -> Response:
        """Return the signal of one ticker, with model, cutoff, flags and reason."""
        board = office.board(desk)
        if not board.knows(ticker):
            return problem(404, f"ticker {ticker} is not served; see GET /v1/tickers")
        served = board.answer(ticker)
        note_served(desk, served, request.scope)
        return Response(served.body, media_type="application/json")

    @api.get("/v1/tickers", tags=["signals"])
    async def tickers() -> dict[str, list[str]]:
        """Return the tickers that are served."""
        return {"tickers": sorted(office.board(desk).book.entries)}

    @api.post("/v1/signals", tags=["signals"])
    async def signals(asked: SignalRequest) -> Response:
        """Return the signals of several tickers at once; those not served are named."""
        limit = desk.settings.admission.max_tickers
        if len(asked.tickers) > limit:
            raise DataError(f"{len(asked.tickers)} tickers were asked for; at most {limit} at once")
        board = office.board(desk)
        tracing.note({"pmx.tickers": len(asked.tickers), "pmx.flags_version": board.view.version})
        found: list[bytes] = []
        missing: dict[str, str] = {}
        for ticker in dict.fromkeys(asked.tickers):
            try:
                served = board.answer(ticker)
            except (DataError, NothingToServeError) as error:
                missing[ticker] = str(error)
                continue
            desk.numbers.served(served.source, served.route, fallback=served.fallback_used)
            found.append(served.body)
        named = JSONResponse(missing).body
        body = b'{"signals":[' + b",".join(found) + b'],"missing":' + bytes(named) + b"}"
        return Response(body, media_type="application/json")

    @api.get("/v1/signals/{signal_id}/explain", tags=["signals"])
    async def explained(
        signal_id: Annotated[str, Path(max_length=128, description="Id of a bundle.")],
    ) -> dict[str, Any]:
        """Say what served a signal and why, by replaying its route."""
        try:
            return await lane.run(lambda: explain(desk.ledger, signal_id, settings=desk.settings))
        except UnknownSignalError as error:
            raise HTTPException(404, str(error)) from None


def _add_flags(api: FastAPI, desk: Desk) -> None:
    @api.get("/v1/flags", tags=["flags"])
    async def flags() -> dict[str, Any]:
        """Return the flags as this replica knows them."""
        return office.flags(desk)

    @api.put("/v1/flags", tags=["flags"])
    def change_flags(
        change: FlagChange,
        request: Request,
        idempotency_key: OptionalKey = None,
    ) -> dict[str, Any]:
        """Change flags; every replica follows within moments."""
        return office.change_flags(desk, change, actor=_actor(request), key=idempotency_key)


def _add_governance(api: FastAPI, desk: Desk, lane: SlowLane) -> None:
    @api.get("/v1/registry", tags=["governance"])
    async def registry() -> dict[str, Any]:
        """Return what each alias points to, and by what right."""
        return await lane.run(lambda: office.registry(desk))

    @api.post("/v1/promotions", tags=["governance"], status_code=201)
    def promotion(
        asked: PromotionRequest, request: Request, idempotency_key: IdempotencyKey
    ) -> dict[str, Any]:
        """Put the model of a certified sweep in service."""
        return office.promote(desk, asked, actor=_actor(request), key=idempotency_key)

    @api.post("/v1/reversions", tags=["governance"], status_code=201)
    def reversion(
        asked: ReversionRequest, request: Request, idempotency_key: IdempotencyKey
    ) -> dict[str, Any]:
        """Put the last good model back in service."""
        return office.revert(desk, asked, actor=_actor(request), key=idempotency_key)


def _actor(request: Request) -> str:
    caller: Caller = request.scope["pmx.caller"]
    return f"api:{caller.name}"


def _describe_tokens(api: FastAPI) -> None:
    """Say in the OpenAPI document which routes need a token."""
    build: Callable[[], dict[str, Any]] = api.openapi

    def described() -> dict[str, Any]:
        document = build()
        if "securitySchemes" in document.get("components", {}):
            return document
        document.setdefault("components", {})["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer"}
        }
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                scope = scope_of(method.upper(), path)
                if scope is not None:
                    operation["security"] = [{"token": []}]
                    operation["description"] = (
                        f"{operation.get('description', '')}\n\nScope: {scope.value}."
                    )
        return document

    api.openapi = described  # type: ignore[method-assign]  # as FastAPI's documentation does
