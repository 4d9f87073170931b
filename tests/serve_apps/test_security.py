"""Attacks over real sockets: bodies, headers, paths, tokens and slow clients; never a 500."""

import json
import select
import socket
import time
from contextlib import suppress

import httpx
import pytest
import structlog
from serve_cases import GOOD, listening, service

from pmx_ray.governance.opening import open_registry
from pmx_ray.ledger.audit import AuditLog
from pmx_ray.ledger.request_log import RequestLog
from serve_apps.tokens import Scope

READ, TRADE, ADMIN = Scope

MUTATING = {
    ("PUT", "/v1/flags"): {"changes": {"kill_switch": True}, "reason": "attack"},
    ("POST", "/v1/promotions"): {"sweep": "nothing"},
    ("POST", "/v1/reversions"): {"reason": "attack"},
}
BODIED = {("POST", "/v1/signals"): {"tickers": [GOOD]}, **MUTATING}
READING = ("/v1/tickers", f"/v1/signals/{GOOD}", "/v1/flags", "/v1/registry", "/v1/status")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """Return a service behind a real socket; bodies must arrive within a second."""
    root = tmp_path_factory.mktemp("service")
    open_registry(root)
    admission = {"requests_per_s": 1e6, "burst": 10**6, "strangers_per_s": 1e6}
    admission |= {"body_timeout_s": 1.0, "body_bytes": 65_536}
    with service(root, admission=admission) as started, listening(started.app) as address:
        yield started, address


@pytest.fixture
def started(running):
    return running[0]


@pytest.fixture
def client(running):
    host, port = running[1]
    with httpx.Client(base_url=f"http://{host}:{port}", timeout=30.0) as made:
        yield made


@pytest.fixture(autouse=True)
def _nothing_moves_and_nothing_fails(started):
    """Hold every test to this: no entry in the audit log, no failure in the service's log."""
    before = AuditLog(started.ledger).head()
    with structlog.testing.capture_logs() as logs:
        yield
    assert AuditLog(started.ledger).head() == before
    assert [line for line in logs if line["log_level"] == "error"] == []


def refused(answer, *statuses):
    """Check that an answer is a problem with one of the statuses, and shows no insides."""
    assert answer.status_code in statuses, (answer.status_code, answer.text[:500])
    assert answer.headers["content-type"] == "application/problem+json"
    assert json.loads(answer.content)["status"] == answer.status_code
    assert "Traceback" not in answer.text
    assert len(answer.content) < 10_000
    return answer


def keyed(headers):
    return {**headers, "Idempotency-Key": "attack", "Content-Type": "application/json"}


# Tokens


@pytest.mark.parametrize(("method", "path"), list(MUTATING))
def test_mutating_route_when_the_token_is_not_good_enough_then_refused(
    client, started, method, path
):
    body = MUTATING[method, path]
    good = started.tokens[ADMIN]
    for status, headers in (
        (401, {}),
        (401, {"Authorization": "Bearer wrong"}),
        (401, {"Authorization": f"Bearer {good[:-1]}"}),
        (401, {"Authorization": f"Bearer {good}x"}),
        (401, {"Authorization": f"Bearer {good.swapcase()}"}),
        (401, {"Authorization": f"Token {good}"}),
        (401, {"Cookie": f"pmx_token={good}"}),
        (401, {"X-Authorization": f"Bearer {good}"}),
        (401, {"Proxy-Authorization": f"Bearer {good}"}),
        (403, started.headers(READ)),
        (403, started.headers(TRADE)),
        (403, {**started.headers(READ), "Cookie": f"pmx_token={good}"}),
        (403, {**started.headers(READ), "X-HTTP-Method-Override": "GET"}),
    ):
        answer = client.request(method, path, json=body, headers=keyed(headers))
        refused(answer, status)
        answer = client.request(method, f"{path}?token={good}", json=body, headers=keyed(headers))
        refused(answer, status)


def test_mutating_route_when_two_tokens_are_presented_then_the_smaller_never_grows(client, started):
    read, admin = started.tokens[READ], started.tokens[ADMIN]
    for values in ([f"Bearer {read}"] * 2, [f"Bearer {read}", "Bearer wrong"], ["Bearer wrong"]):
        headers = [("Authorization", value) for value in values]
        answer = client.put("/v1/flags", json=MUTATING["PUT", "/v1/flags"], headers=headers)
        refused(answer, 401, 403)
    answer = client.get("/v1/flags", headers={"Authorization": f"Bearer {read}, Bearer {admin}"})
    refused(answer, 401)


@pytest.mark.parametrize("path", READING)
def test_reading_route_when_there_is_no_good_token_then_401(client, path):
    refused(client.get(path), 401)
    refused(client.get(path, headers={"Authorization": "Bearer wrong"}), 401)
    for odd in (f"/{path}", f"{path}/", f"/x/..{path}", f"/.{path}", path.upper(), f"{path};x"):
        refused(client.get(odd), 401)


def test_open_routes_when_path_is_written_otherwise_then_they_open_nothing(client):
    for odd in ("/livez/../v1/flags", "/login/..%2fv1/flags", "//v1/flags", "/%76%31/flags"):
        refused(client.get(odd), 401)


# Bodies

DEEP = 10_000
PAYLOADS = {
    "nan": b'{"changes": {"time_series_pct": NaN}, "reason": "x", "tickers": [NaN]}',
    "infinity": b'{"changes": {"time_series_pct": Infinity}, "reason": "x", "sweep": -Infinity}',
    "float overflow": b'{"changes": {"time_series_pct": 1e999}, "reason": "x", "sweep": 1e999}',
    "huge int": b'{"changes": {"time_series_pct": ' + b"9" * 4000 + b'}, "reason": "x"}',
    "int beyond the limit": b'{"changes": {"time_series_pct": ' + b"9" * 5000 + b"}}",
    "long int as version": b'{"changes": {"llm_only": true}, "reason": "x", "expected_version": '
    + b"9" * 4000
    + b"}",
    "negative version": b'{"changes": {"llm_only": true}, "reason": "x", "expected_version": -1}',
    "deep arrays": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep inside": b'{"reason": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "open arrays": b"[" * 60_000,
    "malformed": b'{"changes": {"kill_switch": tru',
    "two documents": b'{"tickers": ["AAPL"]}{"tickers": ["AAPL"]}',
    "trailing comma": b'{"tickers": ["AAPL",]}',
    "single quotes": b"{'tickers': ['AAPL']}",
    "comment": b'{"tickers": ["AAPL"] /* x */}',
    "empty object": b"{}",
    "array": b"[]",
    "string": b'"x"',
    "number": b"1",
    "null": b"null",
    "empty": b"",
    "blank": b"   ",
    "null bytes": b"\x00" * 100,
    "null byte in text": b'{"changes": {"llm_only": true}, "reason": "a\x00b", "sweep": "a\x00"}',
    "escaped null": b'{"changes": {"llm_only": true}, "reason": "a\\u0000b", "sweep": "\\u0000"}',
    "invalid utf-8": b'{"reason": "\xff\xfe\xc3\x28", "sweep": "\xff", "tickers": ["\xff"]}',
    "surrogate": b'{"changes": {"llm_only": true}, "reason": "\\ud800", "sweep": "\\ud800", '
    b'"tickers": ["\\ud800"]}',
    "surrogate as key": b'{"\\ud800": 1, "changes": {"\\ud800": true}, "reason": "x"}',
    "utf-16": '{"tickers": ["A"]'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"tickers": ["AAPL"], "reason": 1, "sweep": 1}',
    "proto": b'{"__proto__": {"admin": true}, "constructor": 1, "__class__": 1}',
    "long keys": json.dumps({"k" * 60_000: 1}).encode(),
    "many keys": json.dumps({f"k{n}": n for n in range(5000)}).encode(),
    "many flags": json.dumps(
        {"changes": {f"k{n}": True for n in range(3000)}, "reason": "x"}
    ).encode(),
    "line breaks": b'{"changes": {"llm_only": true}, "reason": "a\\r\\nX-Evil: 1", "sweep": "\\r"}',
    "sql": b"{\"changes\": {\"llm_only'; DROP TABLE audit; --\": true}, \"reason\": \"x\", "
    b'"sweep": "\'; DROP TABLE audit; --", "tickers": ["\'; DROP TABLE audit; --"]}',
    "template": b'{"sweep": "{{7*7}}${7*7}%s%n", "tickers": ["{{7*7}}"], "reason": 1}',
    "one byte too many": b'{"reason": "' + b"x" * (65_537 - 14) + b'"}',
}  # fmt: skip


@pytest.mark.parametrize("payload", list(PAYLOADS))
@pytest.mark.parametrize(("method", "path"), list(BODIED))
def test_body_when_it_is_an_attack_then_refused_and_nothing_moves(
    client, started, method, path, payload
):
    headers = keyed(started.headers(ADMIN))
    answer = client.request(method, path, content=PAYLOADS[payload], headers=headers)
    refused(answer, 400, 413, 422)


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "multipart/form-data; boundary=x",
        "application/xml",
        "application/x-msgpack",
        "application/jsonx",
        "x" * 5000,
        "application/json\tx",
        ";;;===",
    ],
)
@pytest.mark.parametrize(("method", "path"), list(MUTATING))
def test_body_when_it_is_not_said_to_be_json_then_422_and_nothing_moves(
    client, started, method, path, content_type
):
    headers = keyed(started.headers(ADMIN))
    del headers["Content-Type"]
    if content_type is not None:
        headers["Content-Type"] = content_type
    content = json.dumps(MUTATING[method, path]).encode()
    refused(client.request(method, path, content=content, headers=headers), 400, 422)


def test_body_when_a_key_is_given_twice_then_refused(client, started):
    headers = keyed(started.headers(ADMIN))
    for body in (
        b'{"changes": {"llm_only": true}, "changes": {"kill_switch": false}, "reason": "x"}',
        b'{"changes": {"kill_switch": true, "kill_switch": false}, "reason": "x"}',
    ):
        answer = refused(client.put("/v1/flags", content=body, headers=headers), 400, 422)
        assert "twice" in answer.json()["detail"]


def test_body_when_compressed_then_refused(client, started):
    headers = {**keyed(started.headers(ADMIN)), "Content-Encoding": "gzip"}
    body = b"\x1f\x8b" + b"\x00" * 100
    refused(client.put("/v1/flags", content=body, headers=headers), 400, 422)


# Paths

ODD = [
    "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e%2f", "..%5c..%5c", "%252e%252e%252f", "....//",
    "%00", "AAPL%00", "AAPL%0d%0aX-Evil:%201", "%0a", "%ff", "%c0%ae%c0%ae", "%ed%a0%80",
    "%D9%A1%D9%A2", "%EF%BC%A1", "AAPL%20", "AAPL%09", "'%20OR%20'1'='1", "AAPL;DROP%20TABLE",
    "$%7Bjndi:ldap://x%7D", "%7B%7B7*7%7D%7D", "%3Cscript%3E", "*", "?", "A" * 5000, "%41" * 2000,
    "-f0-ln-", "20260331-4f2c45732e3d-f0-ln-", "20260331-4f2c45732e3d-f%D9%A1-ln-AAPL",
    "20269931-000000000000-f0-ln-AAPL", "00000000-000000000000-f0-ln-AAPL",
    "20260331-000000000000-f999999999999999999-ln-AAPL", "20260331-%25%25%25%25-f0-ln-AAPL",
    "20260331-000000000000-f9223372036854775808-ln-AAPL", "20260331-____________-f0-ln-AAPL",
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_path_when_it_is_an_attack_then_refused(client, started, odd):
    headers = started.headers(ADMIN)
    for path in (
        f"/v1/signals/{odd}",
        f"/v1/signals/{odd}/explain",
        f"/dashboard/{odd}",
        f"/{odd}",
        f"/v1/signals/{GOOD}/explain/{odd}",
    ):
        answer = client.get(path, headers=headers)
        if answer.status_code == 307:  # what routes take for the root leads to the pages
            assert answer.headers["location"] == "/dashboard/index.html"
            continue
        refused(answer, 400, 404, 405, 422)
        assert "x-evil" not in answer.headers


def test_query_when_it_is_an_attack_then_it_changes_nothing(client, started):
    url = f"/v1/signals/{GOOD}"
    plain = client.get(url, headers=started.headers(READ))
    for odd in ("?ticker=NOPE", "?%00", "?a[]=1&a=2", "?" + "a&" * 2000, "?callback=x", "?%ff"):
        answer = client.get(url + odd, headers=started.headers(READ))
        assert answer.content == plain.content


# Headers


def spoken(address, *parts, pause_s=0.0, wait_s=30.0):
    """Send parts over a socket, each after a pause, and return all that comes back to its end."""
    with socket.create_connection(address, timeout=wait_s) as talking:
        with suppress(ConnectionError):
            for part in parts:
                talking.sendall(part)
                if pause_s and select.select([talking], [], [], pause_s)[0]:
                    break  # answered or closed: there is nobody left to be slow with
        received = b""
        with suppress(ConnectionError):
            while piece := talking.recv(65_536):
                received += piece
        return received


def status_of(received):
    return int(received.split(b" ", 2)[1]) if received else None


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Long": "x" * 30_000},
        {f"X-{n}": "y" for n in range(90)},
        {"Cookie": "a=" + "x" * 30_000},
        {"Cookie": "pmx_token=" + '"' + "\\" * 20_000},
        {"Authorization": "Bearer " + "x" * 30_000},
        {"Authorization": b"Bearer \xff\xfe\x80"},
        {"Idempotency-Key": "x" * 30_000},
        {"Idempotency-Key": b"\xff"},
        {"Accept": "application/xml;q=" + "9" * 1000},
        {"Host": "evil.example"},
        {"Host": ""},
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/../"},
        {"Range": "bytes=0-99999999999999"},
        {"Expect": "200-ok"},
    ],
)
def test_headers_when_odd_or_long_then_no_server_error(client, started, headers):
    put = {**keyed(started.headers(READ)), **headers}
    statuses = [
        client.get("/livez", headers=headers).status_code,
        client.get("/v1/flags", headers={**started.headers(READ), **headers}).status_code,
        client.put("/v1/flags", json=MUTATING["PUT", "/v1/flags"], headers=put).status_code,
    ]
    assert all(status in {200, 400, 401, 403, 422, 431} for status in statuses), statuses


def test_redirect_when_the_host_is_made_up_then_it_leads_nowhere_else(client, started):
    headers = {**started.headers(READ), "Host": "evil.example"}
    answer = client.get("/v1/flags/", headers=headers)
    assert answer.status_code == 404


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /livez HTTP/9.9",
        b"GET",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"GET /v1/flags\r\nX: y HTTP/1.1",
        b"MADEUP /livez HTTP/1.1",
        b"CONNECT evil.example:443 HTTP/1.1",
        b"GET http://evil.example/livez HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"TRACE /livez HTTP/1.1",
        b"PRI * HTTP/2.0",
    ],
)
def test_request_line_when_odd_then_no_server_error(running, request_line):
    received = spoken(running[1], request_line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert status_of(received) in {None, 200, 400, 401, 404, 405}


def test_request_when_smuggled_behind_another_then_it_needs_a_token_of_its_own(running):
    started, address = running
    token = started.tokens[ADMIN].encode()
    for framing in (
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
    ):
        received = spoken(
            address,
            b"POST /v1/signals HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token + b"\r\n",
            framing + b"\r\n0\r\n\r\n",
            b"PUT /v1/flags HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        )
        statuses = [int(line.split(b" ")[1]) for line in received.splitlines() if b"HTTP/1" in line]
        assert set(statuses) <= {400, 401, 408, 413, 422}, (framing, received)


# Slow and rude clients


def test_slow_body_when_a_byte_comes_at_a_time_then_cut_within_the_timeout(running):
    started, address = running
    token = started.tokens[ADMIN].encode()
    head = (
        b"PUT /v1/flags HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 60000\r\nAuthorization: Bearer " + token + b"\r\n\r\n"
    )
    began = time.monotonic()
    received = spoken(address, head, *[b" "] * 1000, pause_s=0.05)
    assert status_of(received) == 408
    assert b"connection: close" in received.lower()
    assert time.monotonic() - began < 30.0  # a thousand bytes would take 50 s, all of them 50 min


def test_slow_clients_when_many_then_others_are_answered_meanwhile(running, client):
    started, address = running
    token = started.tokens[ADMIN].encode()
    head = b"PUT /v1/flags HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nAuthorization: Bearer "
    slow = [socket.create_connection(address, timeout=30.0) for _ in range(100)]
    try:
        for connection in slow:
            connection.sendall(head + token + b"\r\n\r\n{")
        answer = client.get(f"/v1/signals/{GOOD}", headers=started.headers(READ))
        assert answer.status_code == 200
        for connection in slow:
            assert status_of(connection.recv(65_536)) == 408
    finally:
        for connection in slow:
            connection.close()


def test_body_when_huge_and_in_chunks_then_cut_at_the_cap(running):
    started, address = running
    token = started.tokens[ADMIN].encode()
    head = (
        b"PUT /v1/flags HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        b"Authorization: Bearer " + token + b"\r\n\r\n"
    )
    started.clock.forward(1)  # the trail is in order of time
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    received = spoken(address, head, *[chunk] * 1000)
    assert status_of(received) in {413, None}  # None: it was cut while still sending
    started.desk.trail.flush()
    (last,) = RequestLog(started.ledger).recent(1)
    assert (last.path, last.status) == ("/v1/flags", 413)


def test_clients_when_they_leave_before_the_body_then_the_service_goes_on(running, client):
    started, address = running
    token = started.tokens[ADMIN].encode()
    head = b"PUT /v1/flags HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nAuthorization: Bearer "
    for _ in range(20):
        with socket.create_connection(address, timeout=30.0) as connection:
            connection.sendall(head + token + b"\r\n\r\n{")
    answer = client.get(f"/v1/signals/{GOOD}", headers=started.headers(READ))
    assert answer.status_code == 200


def test_body_when_sent_without_a_token_then_401_before_it_is_read(running):
    head = (
        b"PUT /v1/flags HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\nConnection: close\r\n\r\n"
    )
    assert status_of(spoken(running[1], head)) == 401
