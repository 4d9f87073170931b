import itertools
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import structlog
from fastapi import FastAPI
from serve_cases import BARE, FAILED, GOOD, HELD, TICKERS, ask, book, listening, service, shelve

from pmx_ray.ledger import open_ledger
from pmx_ray.ledger.flag_arrivals import FlagArrivals
from pmx_ray.ledger.request_log import RequestLog
from pmx_ray.signals.types import SignalBundle, Source
from pmx_ray.taxonomy import Action
from serve_apps import api as module
from serve_apps.tokens import Scope

READ, TRADE, ADMIN = Scope
KEY = {"Idempotency-Key": "k-1"}


def problem_of(answer, status):
    """Return the sentence of a problem document after checking its form."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == status
    assert document["title"]
    return document["detail"]


def hide_ledger(served, *, back=False):
    """Take tables away from every reader and writer, or bring them back."""
    connection = sqlite3.connect(served.desk.home / "ledger.db", isolation_level=None)
    for table in ("flag_versions", "audit", "audit_head"):
        old, new = (f"{table}_gone", table) if back else (table, f"{table}_gone")
        connection.execute(f"ALTER TABLE {old} RENAME TO {new}")
    connection.close()


# Probes


def test_livez_and_version_when_asked_by_anyone_then_answered(served):
    assert served.ask("GET", "/livez", as_=None).json() == {"status": "alive", "replica": "r0"}
    assert set(served.ask("GET", "/version", as_=None).json()) == {"pmx_ray", "engine"}


def test_readyz_when_there_is_a_book_then_says_of_when(served):
    assert served.ask("GET", "/readyz", as_=None).json() == {
        "status": "ready",
        "replica": "r0",
        "cutoff": "2026-03-31",
        "flags_version": 0,
        "flags_status": "live",
        "stale": False,
        "trouble": False,
    }


@pytest.mark.parametrize(
    ("method", "url", "more"),
    [
        ("GET", "/readyz", {}),
        ("GET", "/v1/tickers", {}),
        ("GET", f"/v1/signals/{GOOD}", {}),
        ("POST", "/v1/signals", {"json": {"tickers": [GOOD]}}),
    ],
)
def test_signals_when_there_is_no_book_yet_then_503_says_when_to_come(bare, method, url, more):
    answer = bare.ask(method, url, **more)
    assert "no book of signals yet" in problem_of(answer, 503)
    assert answer.headers["retry-after"] == "2"
    shelve(bare.ledger, book())
    bare.desk.watch.look()
    assert bare.ask(method, url, **more).status_code == 200


def test_readyz_when_the_watch_has_ended_then_not_ready(served):
    served.desk.watch.stop()
    assert "watch of the ledger has ended" in problem_of(served.ask("GET", "/readyz"), 503)


def test_metrics_when_asked_then_counts_of_this_replica(served):
    served.ask("GET", f"/v1/signals/{GOOD}")
    served.ask("GET", f"/v1/signals/{FAILED}")
    served.ask("GET", "/v1/signals/NOPE")
    for _ in range(3):  # scrapes are no answers
        answer = served.ask("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    for line in (
        'pmx_http_requests_total{method="GET",replica="r0",status="200"} 2.0',
        'pmx_http_requests_total{method="GET",replica="r0",status="404"} 1.0',
        'pmx_signals_served_total{fallback="true",replica="r0",route="fallback",'
        'source="fallback"} 1.0',
        'pmx_flags_live{replica="r0"} 1.0',
        'pmx_book_age_seconds{replica="r0"} 42900.0',  # 21:05 to 09:00
        'pmx_prices_stale{replica="r0"} 0.0',
    ):
        assert line in lines, line


def test_status_when_asked_then_what_serves_and_how_the_keeper_is(tmp_path):
    with service(tmp_path, keeper=lambda: {"n_books": 7}) as served:
        document = served.ask("GET", "/v1/status").json()
    assert document["keeper"] == {"n_books": 7}
    assert document["book"]["id"] == book().id
    assert set(document["book"]["models"]) == {"champion", "fallback", "llm"}
    assert document["ready"]


def test_status_when_the_keeper_does_not_answer_then_says_so(tmp_path):
    def keeper():
        raise TimeoutError("inner")

    with service(tmp_path, keeper=keeper) as served:
        told = served.ask("GET", "/v1/status").json()["keeper"]
    assert told == {"trouble": "the keeper does not answer: TimeoutError"}


# Signals


@pytest.mark.parametrize("ticker", TICKERS)
def test_signal_when_asked_then_the_bundle_names_model_cutoff_flags_and_reason(served, ticker):
    answer = served.ask("GET", f"/v1/signals/{ticker}")
    assert answer.status_code == 200
    bundle = SignalBundle.model_validate_json(answer.content)
    assert bundle == served.desk.watch.board.bundle(ticker)
    assert (bundle.ticker, bundle.cutoff, bundle.flags_version) == (ticker, book().cutoff, 0)
    assert bundle.reason


def test_signal_when_any_flags_are_set_then_never_under_a_wrong_name(served):
    models = book().models
    n = 0
    values = {
        "kill_switch": (False, True),
        "llm_only": (False, True),
        "merge_llm": (False, True),
        "time_series_pct": (0, 50, 100),
    }
    for combination in itertools.product(*values.values()):
        served.change(**dict(zip(values, combination, strict=True)))
        for ticker in TICKERS:
            answer = served.ask("GET", f"/v1/signals/{ticker}")
            if answer.status_code == 503:
                assert "there is no signal" in problem_of(answer, 503)
                continue
            found = answer.json()
            source = Source(found["signal"]["source"])
            assert found["model"] == models[source].model_dump(mode="json")
            assert found["considered"].keys() >= {source.value}
            if found["route"] in ("fallback", "llm_only"):
                wanted = {"fallback": Source.FALLBACK, "llm_only": Source.LLM}[found["route"]]
                assert source is wanted
            if combination[0]:
                assert found["signal"]["action"] == "hold"
            n += 1
    assert n > 60


def test_signal_when_not_served_then_404_and_when_no_ticker_then_422(served):
    assert "ticker NOPE is not served" in problem_of(served.ask("GET", "/v1/signals/NOPE"), 404)
    for odd in ("aapl", "A" * 17, "-A", "A B", "A%00", "%EF%BC%A1", "A;B", "A'--", "A\u0663"):
        answer = served.ask("GET", f"/v1/signals/{odd}")
        assert "ticker" in problem_of(answer, 422), odd


def test_signal_when_nobody_has_one_then_503_says_why(served):
    served.change(llm_only=True)
    answer = served.ask("GET", f"/v1/signals/{BARE}")
    assert "cut short" in problem_of(answer, 503)
    assert answer.headers["retry-after"] == "2"


def test_signals_when_several_are_asked_for_then_each_once_and_missing_by_name(served):
    served.change(llm_only=True)
    asked = [HELD, "NOPE", BARE, GOOD, HELD]
    document = served.ask("POST", "/v1/signals", json={"tickers": asked}).json()
    assert [found["ticker"] for found in document["signals"]] == [HELD, GOOD]
    for found in document["signals"]:
        assert found == served.ask("GET", f"/v1/signals/{found['ticker']}").json()
    assert document["missing"].keys() == {"NOPE", BARE}
    assert "not served" in document["missing"]["NOPE"]
    assert "cut short" in document["missing"][BARE]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"tickers": []},
        {"tickers": "AAPL"},
        {"tickers": ["aapl"]},
        {"tickers": [7]},
        {"tickers": [None]},
        {"tickers": ["AAPL"], "more": 1},
        {"tickers": ["A"] * 5001},
        [],
        "AAPL",
        None,
    ],
)
def test_signals_when_the_body_is_wrong_then_422(served, body):
    problem_of(served.ask("POST", "/v1/signals", json=body), 422)


def test_signals_when_more_than_allowed_then_422_says_how_many(tmp_path):
    with service(tmp_path, admission={"max_tickers": 2}) as served:
        assert served.ask("POST", "/v1/signals", json={"tickers": [GOOD, HELD]}).is_success
        answer = served.ask("POST", "/v1/signals", json={"tickers": [GOOD, HELD, BARE]})
    assert "3 tickers were asked for; at most 2" in problem_of(answer, 422)


def test_tickers_when_asked_then_all_of_the_book(served):
    assert served.ask("GET", "/v1/tickers").json() == {"tickers": sorted(TICKERS)}


def test_explain_when_asked_with_a_bundles_id_then_the_same_bundle(served):
    for flags in ({}, {"merge_llm": True}, {"kill_switch": True}):
        if flags:
            served.change(**flags)
        for ticker in TICKERS:
            bundle = served.ask("GET", f"/v1/signals/{ticker}").json()
            told = served.ask("GET", f"/v1/signals/{bundle['id']}/explain").json()
            assert told["bundle"] == bundle
            assert bundle["reason"] in told["because"]


def test_explain_when_unknown_then_404_and_when_no_id_then_422(served):
    known = served.ask("GET", f"/v1/signals/{GOOD}").json()["id"]
    other_book = known[:9] + "0" * 12 + known[21:]
    for gone in (known.replace("-f0-", "-f9-"), known.replace(GOOD, "NOPE"), other_book):
        assert problem_of(served.ask("GET", f"/v1/signals/{gone}/explain"), 404)
    for odd in ("x", GOOD, known + "x" * 100, known.lower(), "%00", "a%0Ab"):
        assert problem_of(served.ask("GET", f"/v1/signals/{odd}/explain"), 422), odd


# Flags


def put(served, changes, *, as_=ADMIN, headers=(), **more):
    body = {"changes": changes, "reason": "by test", **more}
    return served.ask("PUT", "/v1/flags", as_=as_, json=body, headers=dict(headers))


def test_flags_when_changed_then_the_next_look_serves_by_them(served):
    before = served.ask("GET", "/v1/flags").json()
    assert (before["version"], before["status"]) == (0, "live")
    answer = put(served, {"kill_switch": True}).json()
    assert (answer["version"], answer["values"]["kill_switch"]) == (1, True)
    assert (answer["changed_by"], answer["reason"]) == ("api:admin", "by test")
    assert served.ask("GET", "/v1/flags").json()["version"] == 0  # as this replica knows them
    served.desk.watch.look()
    assert served.ask("GET", "/v1/flags").json()["values"]["kill_switch"] is True
    assert served.ask("GET", f"/v1/signals/{GOOD}").json()["route"] == "killed"
    served.desk.arrivals.flush()
    assert [found.version for found in FlagArrivals(served.ledger).propagation()] == [1]


def test_flags_when_others_changed_them_meanwhile_then_409_and_nothing_changes(served):
    assert put(served, {"llm_only": True}, expected_version=0).json()["version"] == 1
    for stale in (0, 7):
        detail = problem_of(put(served, {"llm_only": False}, expected_version=stale), 409)
        assert "changed meanwhile" in detail
    assert put(served, {"llm_only": False}, expected_version=1).json()["version"] == 2


def test_flags_when_asked_again_under_one_key_then_the_same_answer_and_no_change(served):
    first = put(served, {"llm_only": True}, headers=KEY).json()
    put(served, {"llm_only": False})
    assert put(served, {"llm_only": True}, headers=KEY).json() == first
    served.desk.watch.look()
    assert served.ask("GET", "/v1/flags").json()["version"] == 2
    for other in ({"llm_only": False}, {"kill_switch": True}):
        assert "key 'k-1' belongs to" in problem_of(put(served, other, headers=KEY), 409)
    assert problem_of(put(served, {"llm_only": True}, headers=KEY, reason="why else"), 409)


def test_flags_when_many_change_them_at_once_then_one_wins_and_a_key_counts_once(served):
    with listening(served.app) as (host, port), ThreadPoolExecutor(8) as pool:
        url = f"http://{host}:{port}/v1/flags"

        def change(key, version):
            body = {"changes": {"llm_only": True}, "reason": "race", "expected_version": version}
            headers = {**served.headers(ADMIN), "Idempotency-Key": key}
            return httpx.put(url, json=body, headers=headers, timeout=30)

        same = list(pool.map(lambda _: change("one", 0), range(8)))
        others = list(pool.map(lambda n: change(f"k-{n}", 1), range(8)))
    assert {answer.status_code for answer in same} == {200}
    assert len({answer.text for answer in same}) == 1
    assert sorted(answer.status_code for answer in others) == [200] + [409] * 7
    served.desk.watch.look()
    assert served.ask("GET", "/v1/flags").json()["version"] == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kill_swich": True}, "did you mean 'kill_switch'?"),
        ({"time_series_pct": 101}, "less than or equal to 100"),
        ({"time_series_pct": -1}, "greater than or equal to 0"),
        ({"time_series_pct": True}, "time_series_pct"),
        ({"time_series_pct": 50.0}, "time_series_pct"),
        ({"time_series_pct": "50"}, "time_series_pct"),
        ({"kill_switch": 1}, "kill_switch"),
        ({"kill_switch": "true"}, "kill_switch"),
        ({"kill_switch": None}, "kill_switch"),
        ({"kill_switch": {}}, "kill_switch"),
        ({"time_series_pct": 10**300}, "time_series_pct"),
        ({"version": 3}, "flag 'version' is unknown"),
        ({"x" * 65: True}, "at most 64"),
        ({}, "at least 1"),
        ({f"f{n}": True for n in range(33)}, "at most 32"),
    ],
)
def test_flags_when_a_change_is_wrong_then_422_says_what(served, changes, said):
    assert said in problem_of(put(served, changes), 422)
    served.desk.watch.look()
    assert served.ask("GET", "/v1/flags").json()["version"] == 0


@pytest.mark.parametrize(
    "reason", ["", " ", "\u2003", "a\nb", "a\x00b", "\x00", "\x7f", "\x85", "x" * 501, 3, None]
)
def test_flags_when_the_reason_is_no_line_then_422(served, reason):
    assert "reason" in problem_of(put(served, {"llm_only": True}, reason=reason), 422)


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 129, "k\u00e9"])
def test_flags_when_the_key_is_odd_then_422(served, key):
    answer = put(served, {"llm_only": True}, headers={"Idempotency-Key": key.encode("latin-1")})
    assert "idempotency-key" in problem_of(answer, 422)


def test_ledger_when_gone_then_reading_goes_on_and_writing_says_503(served):
    hide_ledger(served)
    assert served.ask("GET", f"/v1/signals/{GOOD}").json()["route"] == "champion"
    answer = put(served, {"kill_switch": True})
    assert "cannot be written" in problem_of(answer, 503)
    assert answer.headers["retry-after"] == "2"
    served.desk.watch.look()
    assert served.ask("GET", "/v1/flags").json()["status"] == "stale"
    assert served.ask("GET", f"/v1/signals/{GOOD}").json()["flags_status"] == "stale"
    assert served.ask("GET", "/readyz").json()["trouble"]
    hide_ledger(served, back=True)
    assert put(served, {"kill_switch": True}).json()["version"] == 1


# The rest


def test_reversion_when_no_model_can_be_verified_then_503(served):
    body = {"reason": "it lost"}
    answer = served.ask("POST", "/v1/reversions", as_=ADMIN, json=body, headers=KEY)
    assert "signing key" in problem_of(answer, 503)
    assert "signing key" in problem_of(served.ask("GET", "/v1/registry"), 503)


@pytest.mark.parametrize("url", ["/v1/promotions", "/v1/reversions"])
def test_governance_when_no_key_is_given_then_422(served, url):
    body = {"reason": "it lost"} if url.endswith("reversions") else {"sweep": "s"}
    answer = served.ask("POST", url, as_=ADMIN, json=body)
    assert "idempotency-key" in problem_of(answer, 422)


def test_unknown_routes_and_methods_when_asked_then_problems(served):
    assert problem_of(served.ask("GET", "/v1/nothing"), 404)
    answer = served.ask("DELETE", f"/v1/signals/{GOOD}", as_=ADMIN)
    assert problem_of(answer, 405)
    assert "GET" in answer.headers["allow"]


def test_defect_when_a_route_fails_then_a_problem_without_its_words(served, monkeypatch):
    def broken(desk):
        api: FastAPI = build(desk)

        @api.get("/boom")
        def boom() -> None:
            raise ZeroDivisionError("inner secret")

        return api

    build = module.build_api
    monkeypatch.setattr(module, "build_api", broken)
    with structlog.testing.capture_logs() as logs:
        answer = ask(module.guarded(served.desk), "GET", "/boom", headers=served.headers(READ))
    assert problem_of(answer, 500) == "this is our fault; the log has more"
    assert [line["event"] for line in logs] == ["request failed"]


def test_trail_when_requests_were_answered_then_one_line_each_with_the_signal(served):
    bundle = served.ask("GET", f"/v1/signals/{GOOD}").json()
    served.clock.forward(1)
    served.ask("GET", "/v1/flags", as_=None)
    served.desk.trail.flush()
    last, first = RequestLog(served.ledger).recent(2)
    assert (first.token, first.path, first.status) == ("read", f"/v1/signals/{GOOD}", 200)
    assert first.signal_id == bundle["id"]
    assert (last.token, last.path, last.status, last.signal_id) == ("-", "/v1/flags", 401, "")


def test_desk_when_closed_then_the_trail_is_written(tmp_path):
    with service(tmp_path) as served:
        served.ask("GET", f"/v1/signals/{GOOD}")
    with open_ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        assert RequestLog(ledger).counts() == {200: 1}


def test_prices_when_too_old_then_answers_hold_and_say_so(served):
    served.clock.forward(97 * 3600)
    served.desk.watch.look()
    found = served.ask("GET", f"/v1/signals/{GOOD}").json()
    assert (found["signal"]["action"], found["stale"]) == (Action.HOLD, True)
    assert served.ask("GET", "/readyz").json()["stale"] is True


def test_openapi_when_read_then_says_which_routes_need_a_token(served):
    document = served.ask("GET", "/openapi.json", as_=None).json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            needed = module.scope_of(method.upper(), path)
            assert ("security" in operation) == (needed is not None), path
            if needed is not None:
                assert operation["description"].endswith(f"Scope: {needed}.")


# Pages


def test_login_when_the_token_is_good_then_a_cookie_that_reads(served):
    form = {"token": served.tokens[ADMIN]}
    answer = served.ask("POST", "/login", as_=None, data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard/index.html")
    said = answer.headers["set-cookie"].lower()
    assert "httponly" in said
    assert "samesite=strict" in said
    cookie = {"Cookie": answer.headers["set-cookie"].partition(";")[0]}
    assert served.ask("GET", f"/v1/signals/{GOOD}", as_=None, headers=cookie).is_success
    refused = put(served, {"llm_only": True}, as_=None, headers=cookie)
    assert "cookie only reads" in problem_of(refused, 401)


@pytest.mark.parametrize(
    "content",
    [b"", b"token=", b"token=wrong", b"o=1", b"&" * 100, b"a=1&" * 9, b"\xff\xfe", b"token=%ff"],
)
def test_login_when_the_token_is_wrong_then_401_and_no_cookie(served, content):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = served.ask("POST", "/login", as_=None, content=content, headers=headers)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def test_pages_when_asked_then_the_dashboard_with_a_token_and_docs_without(served):
    assert served.ask("GET", "/", as_=None).headers["location"] == "/dashboard/index.html"
    assert problem_of(served.ask("GET", "/dashboard/index.html", as_=None), 401)
    page = served.ask("GET", "/dashboard/index.html")
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["cache-control"] == "no-store"
    assert problem_of(served.ask("GET", "/dashboard/nothing.html"), 404)
    for odd in ("..%2f..%2fetc%2fpasswd", "INDEX.html", "index.html%00", "a.htm"):
        assert served.ask("GET", f"/dashboard/{odd}").status_code in {404, 422}
    docs = served.ask("GET", "/docs", as_=None)
    assert "/v1/signals/{ticker}" in docs.text
