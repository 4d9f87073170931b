"""Whatever the OpenAPI document allows, and forbids, sent over HTTP: never a server's error."""

from collections import Counter

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from serve_cases import BARE, GOOD, book, listening, service

from pmx_ray.governance.opening import open_registry
from serve_apps.tokens import Scope

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]

N_EXAMPLES = 40

PATHS = (
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/version"),
    ("GET", "/metrics"),
    ("GET", "/v1/status"),
    ("GET", "/v1/tickers"),
    ("GET", "/v1/signals/{ticker}"),
    ("POST", "/v1/signals"),
    ("GET", "/v1/signals/{signal_id}/explain"),
    ("GET", "/v1/flags"),
    ("PUT", "/v1/flags"),
    ("GET", "/v1/registry"),
    ("POST", "/v1/promotions"),
    ("POST", "/v1/reversions"),
)


NEVER_DONE = ("/v1/promotions", "/v1/reversions")
"""There is no sweep to promote, and nothing to revert to."""


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """Return a service over HTTP whose every ticker has an answer on every route."""
    root = tmp_path_factory.mktemp("service")
    open_registry(root)
    entries = {ticker: entry for ticker, entry in book().entries.items() if ticker != BARE}
    admission = {"requests_per_s": 1e6, "burst": 10**6}
    with (
        service(root, books=(book(entries=entries),), admission=admission) as started,
        listening(started.app) as (host, port),
    ):
        yield started, f"http://{host}:{port}"


@pytest.fixture(scope="module")
def schema(running):
    return schemathesis.openapi.from_url(f"{running[1]}/openapi.json")


def test_paths_when_the_document_is_read_then_these_are_all(schema):
    found = [result.ok() for result in schema.get_all_operations()]
    assert sorted((op.method.upper(), op.path) for op in found) == sorted(PATHS)


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(("method", "path"), PATHS)
def test_route_when_asked_anything_then_no_server_error(running, schema, method, path, mode):
    started, url = running
    token = started.headers(Scope.ADMIN)
    operation = schema[path][method]
    if mode is GenerationMode.NEGATIVE and not (operation.body or _has_parameters(operation)):
        pytest.skip("it takes nothing that could be wrong")
    seen = Counter()
    checks = [*CHECKS, negative_data_rejection] if mode is GenerationMode.NEGATIVE else CHECKS

    @settings(
        max_examples=N_EXAMPLES,
        deadline=None,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), known=st.booleans())
    def asked(case, known):
        if known and mode is GenerationMode.POSITIVE:
            _name_what_is_there(case, started)
        answer = case.call(base_url=url, headers=token)
        seen[answer.status_code] += 1
        case.validate_response(answer, checks=checks, headers=token)

    asked()
    assert seen
    assert all(status < 500 for status in seen), seen
    if mode is GenerationMode.POSITIVE and path not in NEVER_DONE:
        assert any(status < 300 for status in seen), seen
    if mode is GenerationMode.NEGATIVE:
        assert any(status >= 400 for status in seen), seen


def _name_what_is_there(case, started):
    """Ask for a ticker that is served, an answer that was given, a flag that exists."""
    board = started.desk.watch.board
    if "ticker" in case.path_parameters:
        case.path_parameters["ticker"] = GOOD
    if "signal_id" in case.path_parameters:
        case.path_parameters["signal_id"] = board.answer(GOOD).id
    if case.path == "/v1/signals" and case.method == "POST":
        case.body["tickers"].append(GOOD)
    if case.path == "/v1/flags" and case.method == "PUT":
        case.body["changes"] = {"merge_llm": True}
        case.body["expected_version"] = None


def _has_parameters(operation):
    groups = (operation.path_parameters, operation.headers, operation.query)
    return any(len(group) for group in groups)
