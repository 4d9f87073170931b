"""A signal service made by hand: a small book, a desk over a real ledger, and ways to ask it."""

import asyncio
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from signal_cases import CUTOFF, candidate, model
from starlette.types import ASGIApp

from pmx_ray.ledger import Ledger, open_ledger
from pmx_ray.ledger.aliases import Alias, Aliases, Move
from pmx_ray.ledger.books import Bookshelf
from pmx_ray.ledger.chain import NewEntry
from pmx_ray.ledger.flags import FlagLog
from pmx_ray.signals.flag_source import changing
from pmx_ray.signals.types import BookEntry, Candidate, SignalBook, Source
from pmx_ray.taxonomy import Action
from serve_apps.api import guarded
from serve_apps.desk import Desk, open_desk
from serve_apps.settings import ServiceSettings
from serve_apps.tokens import Scope, add_token, tokens_path

CLOSED_AT = datetime(2026, 3, 31, 20, 0, tzinfo=UTC)
COMPUTED_AT = datetime(2026, 3, 31, 21, 5, tzinfo=UTC)
NOW = datetime(2026, 4, 1, 9, 0, tzinfo=UTC)

GOOD, HELD, FAILED, BARE = "AAPL", "MSFT", "BRK-B", "XOM"
"""All models speak; the champion's costs fail; the champion failed; the champion alone speaks."""

TICKERS = (GOOD, FAILED, HELD, BARE)

SERVED_BY = {Source.CHAMPION: Alias.CHAMPION, Source.FALLBACK: Alias.FALLBACK}


class MovingClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def book(**changed: Any) -> SignalBook:
    """Return a book of four tickers, each in a state of its own; see ``TICKERS``."""
    champion, fallback, llm = Source.CHAMPION, Source.FALLBACK, Source.LLM
    said: dict[str, dict[Source, Candidate]] = {
        GOOD: {
            champion: candidate(champion, Action.BUY, ticker=GOOD),
            fallback: candidate(fallback, Action.HOLD, ticker=GOOD),
            llm: candidate(llm, Action.SELL, ticker=GOOD),
        },
        HELD: {
            champion: candidate(champion, Action.SELL, ticker=HELD, failed=("costs",)),
            fallback: candidate(fallback, Action.BUY, ticker=HELD),
            llm: candidate(llm, Action.BUY, ticker=HELD),
        },
        FAILED: {
            champion: Candidate(failure="its fit did not converge"),
            fallback: candidate(fallback, Action.SELL, ticker=FAILED),
            llm: candidate(llm, Action.BUY, ticker=FAILED),
        },
        BARE: {
            champion: candidate(champion, Action.BUY, ticker=BARE),
            fallback: Candidate(failure="it has no price"),
            llm: Candidate(failure="its answer was cut short"),
        },
    }
    values = {
        "cutoff": CUTOFF,
        "computed_at": COMPUTED_AT,
        "panel_sha256": "0" * 64,
        "models": {source: model(source) for source in (champion, fallback, llm)},
        "entries": {
            ticker: BookEntry(ticker=ticker, close=100.0, candidates=candidates)
            for ticker, candidates in said.items()
        },
        "closed_at": CLOSED_AT,
    }
    return SignalBook(**{**values, **changed})


def shelve(ledger: Ledger, made: SignalBook) -> None:
    """Put a book on the ledger's shelf, as the keeper does."""
    Bookshelf(ledger).put(
        made.id,
        cutoff=made.cutoff,
        computed_at=made.computed_at,
        document=made.model_dump_json(),
    )


def place(ledger: Ledger, models: Mapping[Alias, str]) -> None:
    """Point aliases to models, with an audit entry."""
    moves = [Move(alias, to) for alias, to in models.items()]
    Aliases(ledger).move_together(lambda _: moves, NewEntry("promote", "test", {}, NOW))


def set_flags(ledger: Ledger, **changes: bool | int) -> int:
    """Set flags and return their version."""
    log = FlagLog(ledger)
    record = log.change(changing(changes), actor="test", reason="by hand", clock=lambda: NOW)
    return record.version


@dataclass
class Service:
    """A desk, its guarded application, a token of each scope, and what callers need.

    Attributes
    ----------
    desk : Desk
        Started; it looks when ``look`` is called.
    app : ASGIApp
        As Serve runs it.
    tokens : mapping of Scope to str
        One of each.
    clock : MovingClock
        Of the desk.
    """

    desk: Desk
    app: ASGIApp
    tokens: Mapping[Scope, str]
    clock: MovingClock
    answers: list[httpx.Response] = field(default_factory=list)

    @property
    def ledger(self) -> Ledger:
        return self.desk.ledger

    def headers(self, scope: Scope | None) -> dict[str, str]:
        """Return the header that presents a token of a scope; none for None."""
        return {} if scope is None else {"Authorization": f"Bearer {self.tokens[scope]}"}

    def ask(
        self, method: str, url: str, *, as_: Scope | None = Scope.READ, **more: Any
    ) -> httpx.Response:
        """Ask the application in this process."""
        headers = {**self.headers(as_), **more.pop("headers", {})}
        return ask(self.app, method, url, headers=headers, **more)

    def change(self, **changes: bool | int) -> int:
        """Set flags past the API, look, and return their version."""
        version = set_flags(self.ledger, **changes)
        self.desk.watch.look()
        return version


def ask(app: ASGIApp, method: str, url: str, **more: Any) -> httpx.Response:
    """Ask an application in this process; what it raises is raised here."""

    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://pmx.test") as client:
            return await client.request(method, url, **more)

    return asyncio.run(asked())


def settings_of(root: Path, **changed: Any) -> ServiceSettings:
    """Return settings over the bundled prices, whose watch looks only when told."""
    values: dict[str, Any] = {
        "root": str(root),
        "prices": {"source": "bundled", "name": "us_equities"},
        "pulse_every_s": 10.0,
    }
    return ServiceSettings.model_validate({**values, **changed})


@contextmanager
def service(
    root: Path,
    *,
    books: tuple[SignalBook, ...] | None = None,
    keeper: Any = dict,
    **changed: Any,
) -> Iterator[Service]:
    """Hold a started service over a new ledger in ``root``; its models are in service."""
    tokens = {scope: add_token(tokens_path(root), scope.value, scope) for scope in Scope}
    with open_ledger(f"sqlite:///{root}/ledger.db") as ledger:
        place(ledger, {alias: model(source).model_id for source, alias in SERVED_BY.items()})
        for made in (book(),) if books is None else books:
            shelve(ledger, made)
    clock = MovingClock()
    desk = open_desk(settings_of(root, **changed), replica="r0", clock=clock, keeper=keeper)
    desk.start()
    try:
        yield Service(desk, guarded(desk), tokens, clock)
    finally:
        desk.close()


@contextmanager
def listening(app: ASGIApp) -> Iterator[tuple[str, int]]:
    """Serve an application over a socket of this machine; give host and port."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen()  # callers wait in its queue until the server has started
        config = uvicorn.Config(
            app, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        try:
            yield bound.getsockname()
        finally:
            server.should_exit = True
            thread.join(timeout=30.0)
