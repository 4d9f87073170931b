import asyncio
import contextlib

import httpx
import pytest
import structlog
from serve_cases import MovingClock, ask
from starlette.responses import JSONResponse

from serve_apps import gate as module
from serve_apps.admission import AdmissionSettings
from serve_apps.gate import COOKIE, PROBES, SCRAPED, STRANGERS_AT_ONCE, Gate
from serve_apps.tokens import Scope, add_token, load_keyring

READ, TRADE, ADMIN = Scope


async def echo(scope, receive, send):
    """Answer with who asked and what came."""
    message = await receive()
    scope["pmx.signal_id"] = "an-id"
    caller = scope["pmx.caller"]
    answer = {"name": caller.name, "scope": caller.scope, "n": len(message.get("body", b""))}
    await JSONResponse(answer)(scope, receive, send)


def scope_needed(method, path):
    return {"/open": None, "/trade": TRADE, "/admin": ADMIN}.get(path, READ)


class Fixture:
    """A gate before ``echo`` with three tokens, its records, and its time."""

    def __init__(self, folder, *, app=echo, **settings):
        path = folder / "api_tokens"
        self.tokens = {scope: add_token(path, scope.value, scope) for scope in Scope}
        self.records = []
        self.gate = Gate(
            app,
            keyring=load_keyring(path),
            settings=AdmissionSettings(**settings),
            ask=scope_needed,
            note=self.records.append,
            replica="r0",
            clock=MovingClock(),
        )

    def ask(self, method, path, *, token=None, headers=(), **more):
        presented = {} if token is None else {"Authorization": f"Bearer {token}"}
        return ask(self.gate, method, path, headers={**presented, **dict(headers)}, **more)

    def spoken(self, messages, *, method="POST", path="/x", headers=()):
        """Return what the gate sends to a client that sends these ASGI messages, then is silent."""
        token = f"Bearer {self.tokens[ADMIN]}".encode()
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": [(b"authorization", token), *headers],
        }
        sent, left = [], iter(messages)

        async def receive():
            for message in left:
                return message
            return await asyncio.Event().wait()

        async def send(message):
            sent.append(message)

        asyncio.run(self.gate(scope, receive, send))
        return sent


@pytest.fixture
def guarded(tmp_path):
    return Fixture(tmp_path)


def chunk(body, *, more=True):
    return {"type": "http.request", "body": body, "more_body": more}


def test_gate_when_token_is_missing_or_wrong_then_401_and_says_how(guarded):
    for headers in (
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {guarded.tokens[ADMIN]}"},
        {"Authorization": guarded.tokens[ADMIN]},
        {"Authorization": f"Bearer {guarded.tokens[ADMIN]} {guarded.tokens[ADMIN]}"},
        {"Authorization": f"Bearer {guarded.tokens[ADMIN]}x" * 50},
        {"Authorization": b"Bearer \xff\xfe"},
        {"Cookie": f"{COOKIE}=wrong"},
        {"Cookie": f"other={guarded.tokens[ADMIN]}"},
    ):
        answer = guarded.ask("GET", "/read", headers=headers)
        assert answer.status_code == 401, headers
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.headers["content-type"] == "application/problem+json"
        assert guarded.records[-1].token == "-"


@pytest.mark.parametrize("path", ["/read", "/trade", "/admin"])
@pytest.mark.parametrize("scope", list(Scope))
def test_gate_when_scope_is_too_small_then_403(guarded, scope, path):
    answer = guarded.ask("POST", path, token=guarded.tokens[scope])
    allowed = scope.covers(scope_needed("POST", path))
    assert answer.status_code == (200 if allowed else 403)
    assert guarded.records[-1].token == scope.value
    if not allowed:
        assert f"has scope {scope}; this needs {path[1:]}" in answer.json()["detail"]


def test_gate_when_scheme_is_written_otherwise_then_let_in(guarded):
    token = guarded.tokens[READ]
    for value in (f"bearer {token}", f"BEARER  {token} "):
        assert guarded.ask("GET", "/read", headers={"Authorization": value}).status_code == 200


def test_gate_when_open_then_no_token_is_needed_and_one_is_known(guarded):
    assert guarded.ask("GET", "/open").json()["name"] == "-"
    assert guarded.ask("GET", "/open", token=guarded.tokens[TRADE]).json()["name"] == "trade"


def test_gate_when_asked_by_cookie_then_it_reads_and_nothing_else(guarded):
    cookie = {"Cookie": f"a=b; {COOKIE}={guarded.tokens[ADMIN]}"}
    assert guarded.ask("GET", "/read", headers=cookie).json()["name"] == "admin"
    for path in ("/trade", "/admin"):
        answer = guarded.ask("POST", path, headers=cookie)
        assert answer.status_code == 401
        assert "cookie only reads" in answer.json()["detail"]
    with_header = {**cookie, "Authorization": f"Bearer {guarded.tokens[READ]}"}
    assert guarded.ask("POST", "/admin", headers=with_header).status_code == 403
    with_basic = {**cookie, "Authorization": "Basic eDp5"}
    assert guarded.ask("POST", "/admin", headers=with_basic).status_code == 401


@pytest.mark.parametrize(
    "cookie",
    [
        f"{COOKIE}={'x' * 5000}",
        f'{COOKIE}="{"a" * 10}{chr(92) * 3000}',
        f"{COOKIE}",
        f"={COOKIE}=;;; , {COOKIE}",
        f"[bad key]=1; {COOKIE}=x",
        f"{COOKIE}=\xff\xfe",
    ],
)
def test_gate_when_cookie_is_garbage_then_401(guarded, cookie):
    answer = guarded.ask("GET", "/read", headers={"Cookie": cookie.encode("latin-1")})
    assert answer.status_code == 401


def test_gate_when_asked_too_often_then_429_says_when(tmp_path):
    guarded = Fixture(tmp_path, requests_per_s=0.001, burst=3)
    token = guarded.tokens[READ]
    statuses = [guarded.ask("GET", "/read", token=token).status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    refused = guarded.ask("GET", "/read", token=token)
    assert int(refused.headers["retry-after"]) in range(900, 1001)
    assert guarded.records[-1].status == 429
    # Another token has a bucket of its own, and so have all strangers together.
    assert guarded.ask("GET", "/read", token=guarded.tokens[ADMIN]).status_code == 200
    assert guarded.ask("GET", "/read").status_code == 401


def test_gate_when_strangers_are_many_then_they_wait_and_others_and_probes_do_not(tmp_path):
    guarded = Fixture(tmp_path, strangers_per_s=0.001)
    statuses = [guarded.ask("GET", "/read", token=f"guess-{n}").status_code for n in range(101)]
    assert statuses == [401] * 100 + [429]
    assert guarded.ask("GET", "/open").status_code == 429
    assert guarded.ask("GET", "/read", token=guarded.tokens[READ]).status_code == 200
    assert {guarded.ask("GET", path, token=None).status_code for path in PROBES} == {401}


def test_gate_when_body_is_too_large_then_413_and_the_connection_ends(tmp_path):
    guarded = Fixture(tmp_path, body_bytes=1024)
    token = guarded.tokens[ADMIN]
    assert guarded.ask("POST", "/x", token=token, content=b"x" * 1024).json()["n"] == 1024
    answer = guarded.ask("POST", "/x", token=token, content=b"x" * 1025)
    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"
    # In pieces, without saying how long it is to be: cut at the first byte too many.
    sent = guarded.spoken([chunk(b"x" * 512), chunk(b"x" * 512), chunk(b"x")])
    assert sent[0]["status"] == 413


def test_gate_when_get_brings_a_body_then_nobody_waits_for_it(tmp_path):
    guarded = Fixture(tmp_path, body_bytes=1024, body_timeout_s=30.0)
    token = guarded.tokens[ADMIN]
    assert guarded.ask("GET", "/x", token=token, content=b"x" * 1025).json()["n"] == 0
    for method in ("GET", "HEAD"):
        sent = guarded.spoken([], method=method, headers=[(b"content-length", b"10")])
        assert sent[0]["status"] == 200


def test_gate_when_strangers_are_slow_then_few_are_waited_for_and_others_pass(tmp_path):
    guarded = Fixture(tmp_path, body_timeout_s=30.0)
    headers = {scope: f"Bearer {token}" for scope, token in guarded.tokens.items()}

    async def asked(client, *, method="POST", content=b"", scope=None):
        presented = {} if scope is None else {"Authorization": headers[scope]}
        answer = await client.request(method, "/open", content=content, headers=presented)
        return answer.status_code

    async def crowd():
        begun, go_on = asyncio.Semaphore(0), asyncio.Event()

        async def slow():
            begun.release()
            await go_on.wait()
            yield b"x"

        transport = httpx.ASGITransport(app=guarded.gate)
        async with httpx.AsyncClient(transport=transport, base_url="http://pmx.test") as client:
            waiting = [
                asyncio.create_task(asked(client, content=slow())) for _ in range(STRANGERS_AT_ONCE)
            ]
            for _ in waiting:
                await begun.acquire()
            meanwhile = [
                await asked(client),
                await asked(client, method="GET"),
                await asked(client, scope=READ),
            ]
            go_on.set()
            return meanwhile, await asyncio.gather(*waiting), await asked(client)

    meanwhile, waited, after = asyncio.run(crowd())
    assert meanwhile == [429, 200, 200]
    assert waited == [200] * STRANGERS_AT_ONCE
    assert after == 200


def test_gate_when_body_does_not_arrive_then_408_and_the_connection_ends(tmp_path):
    guarded = Fixture(tmp_path, body_timeout_s=0.01)
    for messages in ([], [chunk(b"{")], [chunk(b"")]):
        start, body = guarded.spoken(messages)
        assert start["status"] == 408
        assert (b"connection", b"close") in start["headers"]
        assert b"did not arrive within 0.01 s" in body["body"]
    assert [record.status for record in guarded.records] == [408] * 3


def test_gate_when_client_goes_before_its_body_came_then_application_is_not_asked(tmp_path):
    asked = []

    async def app(scope, receive, send):
        asked.append(scope["path"])

    guarded = Fixture(tmp_path, app=app)
    guarded.spoken([chunk(b"{"), {"type": "http.disconnect"}])
    assert not asked
    assert guarded.records[-1].status == 408


def test_gate_when_body_came_then_later_messages_reach_the_application(tmp_path):
    seen = []

    async def app(scope, receive, send):
        seen.extend([await receive(), await receive()])

    Fixture(tmp_path, app=app).spoken(
        [chunk(b"ab"), chunk(b"c", more=False), {"type": "http.disconnect"}]
    )
    assert seen == [chunk(b"abc", more=False), {"type": "http.disconnect"}]


def test_gate_when_application_fails_then_500_says_nothing_and_the_log_does(tmp_path):
    async def app(scope, receive, send):
        raise ZeroDivisionError("inner secret")

    guarded = Fixture(tmp_path, app=app)
    with structlog.testing.capture_logs() as logs:
        answer = guarded.ask("GET", "/read", token=guarded.tokens[READ])
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert [line["event"] for line in logs] == ["request failed"]
    assert guarded.records[-1].status == 500


def test_gate_when_application_fails_after_it_began_then_no_second_answer(tmp_path):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    guarded = Fixture(tmp_path, app=app)
    with structlog.testing.capture_logs():
        sent = guarded.spoken([chunk(b"", more=False)])
    assert [message["type"] for message in sent] == ["http.response.start"]


def test_gate_when_request_is_cancelled_then_it_is_noted_and_stays_cancelled(tmp_path):
    async def app(scope, receive, send):
        raise asyncio.CancelledError

    guarded = Fixture(tmp_path, app=app)
    with contextlib.suppress(asyncio.CancelledError):
        guarded.spoken([chunk(b"", more=False)])
        pytest.fail("the cancellation was swallowed")
    assert guarded.records[-1].status == 0


def test_gate_when_answered_then_a_record_and_headers_say_by_whom(guarded):
    answer = guarded.ask("GET", "/read", token=guarded.tokens[READ])
    assert answer.headers["x-pmx-replica"] == "r0"
    assert answer.headers["x-content-type-options"] == "nosniff"
    (record,) = guarded.records
    found = (record.token, record.method, record.path, record.status, record.signal_id)
    assert found == ("read", "GET", "/read", 200, "an-id")
    assert (record.replica, record.at) == ("r0", MovingClock().now)
    assert record.latency_s >= 0


def test_gate_when_scraped_then_noted_only_where_that_fails(tmp_path):
    async def failing(scope, receive, send):
        if b"fail" in scope["query_string"]:
            raise ZeroDivisionError
        await echo(scope, receive, send)

    guarded = Fixture(tmp_path, app=failing, requests_per_s=0.001, burst=3)
    with structlog.testing.capture_logs():
        for url, token in (
            (SCRAPED, READ), (SCRAPED, None), (f"{SCRAPED}?fail", READ), (f"{SCRAPED}/x", READ),
            (SCRAPED, READ),
        ):  # fmt: skip
            guarded.ask("GET", url, token=guarded.tokens.get(token))
    noted = [(record.path, record.status) for record in guarded.records]
    assert noted == [(SCRAPED, 401), (SCRAPED, 500), (f"{SCRAPED}/x", 200), (SCRAPED, 429)]


def test_gate_when_path_is_long_or_holds_control_characters_then_record_is_one_line(guarded):
    guarded.ask("GET", "/" + "x" * 5000, token=guarded.tokens[READ])
    guarded.ask("GET", "/a%00b%0Ac%1b[31m%C3%28", token=guarded.tokens[READ])
    long, odd = guarded.records
    assert len(long.path) <= 200
    assert odd.path.isprintable()


def test_gate_when_tokens_are_presented_then_neither_log_nor_record_holds_one(tmp_path):
    async def app(scope, receive, send):
        raise ZeroDivisionError

    guarded = Fixture(tmp_path, app=app)
    with structlog.testing.capture_logs() as logs:
        for token in (*guarded.tokens.values(), "a-wrong-secret"):
            guarded.ask("GET", "/read", token=token)
            guarded.ask("GET", "/read", headers={"Cookie": f"{COOKIE}={token}"})
    said = repr([{k: v for k, v in line.items() if k != "exc_info"} for line in logs])
    said += repr(guarded.records) + repr(vars(guarded.gate))
    for token in (*guarded.tokens.values(), "a-wrong-secret"):
        assert token not in said
    assert len(logs) == 6


def test_gate_when_connection_is_no_http_then_application_decides(tmp_path):
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    guarded = Fixture(tmp_path, app=app)
    asyncio.run(guarded.gate({"type": "lifespan"}, None, None))
    assert seen == ["lifespan"]
    assert not guarded.records


def test_probes_are_open_paths_of_the_api():
    from serve_apps.api import OPEN  # noqa: PLC0415 - heavy, and for this test alone

    assert module.PROBES <= OPEN
