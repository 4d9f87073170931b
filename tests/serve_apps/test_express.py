"""The short way to a signal beside the long one."""

import asyncio

import pytest
from serve_cases import BARE, FAILED, GOOD, HELD, ask, service

from pmx_ray.ledger.request_log import RequestLog
from serve_apps.api import build_api
from serve_apps.express import Express
from serve_apps.tokens import Scope


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    with service(tmp_path_factory.mktemp("express")) as made:
        yield made


class Unreachable:
    """An application that is not to be asked."""

    async def __call__(self, scope, _receive, _send):
        asked = f"{scope['method']} {scope['path']}" if scope["type"] == "http" else scope["type"]
        raise AssertionError(f"{asked} was handed on")


@pytest.fixture
def express(started):
    return Express(Unreachable(), started.desk)


@pytest.mark.parametrize("ticker", [GOOD, HELD, FAILED, BARE])
def test_signal_when_asked_for_then_the_short_way_says_what_the_long_one_says(
    started, express, ticker
):
    url = f"/v1/signals/{ticker}"
    short, long = ask(express, "GET", url), ask(build_api(started.desk), "GET", url)
    assert short.status_code == long.status_code == 200
    assert short.content == long.content
    assert short.headers == long.headers


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/signals/NOPE"),
        ("GET", "/v1/signals/"),
        ("GET", f"/v1/signals/{GOOD}/explain"),
        ("GET", f"/v1/signals/{GOOD}/"),
        ("GET", f"/v1/signals//{GOOD}"),
        ("GET", f"/V1/signals/{GOOD}"),
        ("HEAD", f"/v1/signals/{GOOD}"),
        ("POST", f"/v1/signals/{GOOD}"),
        ("GET", "/v1/tickers"),
    ],
)
def test_anything_else_when_asked_for_then_it_is_handed_on(express, method, path):
    with pytest.raises(AssertionError, match="was handed on"):
        ask(express, method, path)


def test_start_of_the_server_when_told_of_then_it_is_handed_on(express):
    async def nothing(*_):
        return {}

    with pytest.raises(AssertionError, match="lifespan was handed on"):
        asyncio.run(express({"type": "lifespan"}, nothing, nothing))


def test_signal_when_nothing_can_be_served_then_the_application_says_why(tmp_path):
    with service(tmp_path) as made:
        made.change(time_series_pct=0)
        answer = made.ask("GET", f"/v1/signals/{BARE}")
        assert answer.status_code == 503
        assert "the fallback has none" in answer.json()["detail"]


def counted(started):
    """Return how many signals the replica says it served."""
    lines = started.desk.numbers.exposition().decode().splitlines()
    return sum(
        float(line.rsplit(" ", 1)[1])
        for line in lines
        if line.startswith("pmx_signals_served_total{")
    )


def test_signal_when_served_by_the_short_way_then_counted_and_in_the_trail(started):
    before = counted(started)
    served = started.ask("GET", f"/v1/signals/{GOOD}", as_=Scope.READ)
    started.desk.trail.flush()
    (line,) = RequestLog(started.ledger).recent(1)
    assert line.signal_id == served.json()["id"]
    assert counted(started) == before + 1
