"""Traces: one from the command to each block, one from a request on, and none unless asked for."""

import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from opentelemetry import trace
from pmx_command import SETTINGS, Pmx, long_form
from serve_cases import BARE, GOOD, service
from served import decided, evaluated_sweep, three_shares
from trace_cases import Line, collector, lines, named

from pmx_ray import tracing
from pmx_ray.data.panel import Panel
from pmx_ray.errors import SettingsError
from pmx_ray.governance.opening import open_registry
from pmx_ray.governance.promotion import promote
from pmx_ray.governance.registration import register
from pmx_ray.ledger import open_ledger
from serve_apps.keeper import Keeper
from serve_apps.settings import ServiceSettings
from serve_apps.speakers import Said, forecast_one
from serve_apps.tokens import Scope

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"


@pytest.fixture(autouse=True)
def _none_asked_for(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in os.environ:
        if name.startswith("OTEL_") or name == tracing.FOLDER:
            monkeypatch.delenv(name)
    tracing.end()
    yield
    tracing.end()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that this process's spans go to."""
    asked = tmp_path / "traces"
    monkeypatch.setenv(tracing.FOLDER, str(asked))
    return asked


@pytest.fixture
def pmx(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Pmx:
    command = Pmx(tmp_path, capsys)
    command.write(SETTINGS, long_form())
    return command


SWEEP = ("sweep", "sweep.yaml", "--address", "in-process")


def test_sweep_when_traced_then_one_trace_from_sweep_to_run_to_block(
    pmx: Pmx, folder: Path
) -> None:
    pmx(*SWEEP)
    spans = lines(folder)
    assert len({span["trace_id"] for span in spans}) == 1
    (sweep,), (run,), blocks = (named(spans, name) for name in ("sweep", "run", "block"))
    assert sweep["parent_id"] is None
    steps = [span["name"] for span in spans if span["parent_id"] == sweep["span_id"]]
    assert steps == ["plan", "run", "evaluate", "record", "compare", "report"]
    _, *receipts = (pmx.sweep / "receipts.jsonl").read_text().splitlines()
    assert len(blocks) == run["attributes"]["pmx.blocks"] == len(receipts)
    assert {block["parent_id"] for block in blocks} == {run["span_id"]}
    assert all(run["start_ns"] <= b["start_ns"] <= b["end_ns"] <= run["end_ns"] for b in blocks)
    assert {span["attributes"]["pmx.sweep"] for span in (sweep, run)} == {pmx.sweep.name}


def test_sweep_when_traced_then_the_forecasts_are_the_same(
    pmx: Pmx, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forecasts(home: str) -> str:
        monkeypatch.setenv("PMX_HOME", str(tmp_path / home))
        pmx(*SWEEP)
        (written,) = (tmp_path / home).glob("mine-*/provenance.json")
        return str(json.loads(written.read_text())["forecast_sha256"])

    traced = forecasts("traced")
    assert named(lines(folder), "block")
    tracing.end()
    monkeypatch.delenv(tracing.FOLDER)
    assert forecasts("plain") == traced


def requests(folder: Path) -> list[Line]:
    return named(lines(folder), "request")


def test_request_when_the_caller_has_a_trace_then_it_goes_on(tmp_path: Path, folder: Path) -> None:
    with service(tmp_path / "home") as made:
        version = made.change(time_series_pct=100)
        answer = made.ask("GET", f"/v1/signals/{GOOD}", headers={"traceparent": TRACEPARENT})
    (span,) = requests(folder)
    assert (span["trace_id"], span["parent_id"], span["kind"]) == (TRACE, CALLER, "server")
    bundle = answer.json()
    assert span["attributes"] == {
        "http.request.method": "GET",
        "http.route": "/v1/signals/{ticker}",
        "http.response.status_code": 200,
        "pmx.tickers": 1,
        "pmx.signal_id": bundle["id"],
        "pmx.flags_version": version,
        "pmx.route": bundle["route"],
        "pmx.source": bundle["signal"]["source"],
    }


def test_request_when_of_several_tickers_or_refused_then_route_count_and_status(
    tmp_path: Path, folder: Path
) -> None:
    with service(tmp_path / "home") as made:
        made.ask("POST", "/v1/signals", json={"tickers": [GOOD, BARE]})
        made.ask("GET", "/v1/signals/NOPE")
        made.ask("GET", "/v1/nothing")
        made.ask("GET", "/readyz")
        made.ask("GET", f"/v1/signals/{GOOD}", as_=None)
    told = [span["attributes"] for span in requests(folder)]
    seen = [(one["http.route"], one["http.response.status_code"]) for one in told]
    assert seen == [("/v1/signals", 200), ("/v1/signals/{ticker}", 404), ("none", 404)]
    assert told[0]["pmx.tickers"] == 2


def test_request_when_a_stranger_names_a_trace_then_it_is_not_taken(
    tmp_path: Path, folder: Path
) -> None:
    with service(tmp_path / "home") as made:
        made.ask("GET", "/openapi.json", as_=None, headers={"traceparent": TRACEPARENT})
        made.ask("GET", "/v1/tickers", headers={"traceparent": "00-nonsense"})
    for span in requests(folder):
        assert span["trace_id"] != TRACE
        assert span["parent_id"] is None


def test_request_when_a_promotion_fails_then_reading_the_sweep_is_its_child(
    tmp_path: Path, folder: Path
) -> None:
    (tmp_path / "home" / "mine-1").mkdir(parents=True)
    with service(tmp_path / "home") as made:
        body = {"sweep": "mine-1", "approved_by": ["ann"]}
        headers = {"idempotency-key": "one"}
        made.ask("POST", "/v1/promotions", as_=Scope.ADMIN, json=body, headers=headers)
    (request,), (reading,) = requests(folder), named(lines(folder), "read_sweep")
    assert reading["parent_id"] == request["span_id"]
    assert (reading["status"], reading["attributes"]) == ("error", {"pmx.sweep": "mine-1"})


def test_spans_when_secrets_are_about_then_none_is_in_them(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = secrets.token_hex(16)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"api-key={secret}")
    monkeypatch.setenv("PMX_SIGNING_KEY", secret)
    with service(tmp_path / "home") as made:
        headers = {
            "traceparent": TRACEPARENT,
            "tracestate": f"vendor={secret}",
            "baggage": f"key={secret}",
            "cookie": f"pmx_token={secret}",
            "x-api-key": secret,
        }
        made.ask("GET", f"/v1/signals/{GOOD}?key={secret}", headers=headers)
        made.ask("GET", f"/v1/signals/{secret}", headers=headers)
        made.ask("POST", "/v1/signals", json={"tickers": [secret]}, headers=headers)
        made.ask("PUT", "/v1/flags", json={"reason": secret}, headers=headers, as_=Scope.ADMIN)
        with pytest.raises(RuntimeError), tracing.span("failing"):
            raise RuntimeError(secret)
        written = "".join(path.read_text() for path in folder.glob("*.jsonl"))
        assert len(requests(folder)) == 4
        assert named(lines(folder), "failing")[0]["error"] == "RuntimeError"
        for hidden in (secret, *made.tokens.values(), str(tmp_path)):
            assert hidden not in written
    (file,) = folder.glob("*.jsonl")
    assert file.stat().st_mode & 0o077 == 0
    assert secret not in str(tracing.handed_on())


BARRED = "https://ann:pw@far:4318"


@pytest.mark.parametrize(
    ("asked", "address"),
    [
        (
            {
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9",
                "OTEL_EXPORTER_OTLP_ENDPOINT": BARRED,
            },
            {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9"},
        ),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": BARRED}, {}),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": BARRED}, {}),
    ],
)
def test_handed_on_when_an_address_is_not_used_then_workers_are_not_given_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, str], address: dict[str, str]
) -> None:
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    given = tracing.handed_on()
    assert given[tracing.FOLDER] == str(folder)
    assert {name: given[name] for name in given if name in tracing.ENDPOINTS} == address
    assert "pw" not in str(given.values())


def test_handed_on_when_the_address_was_changed_since_then_looked_at_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    assert tracing.on()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", BARRED)
    with pytest.raises(SettingsError, match="OTEL_EXPORTER_OTLP_HEADERS"):
        tracing.handed_on()


def test_traces_when_not_asked_for_then_no_file_no_provider_and_no_layer(tmp_path: Path) -> None:
    with service(tmp_path / "home") as made:
        assert made.ask("GET", f"/v1/signals/{GOOD}").status_code == 200
        assert "Traced" not in repr(made.app._app)
    assert tracing.span("a") is tracing.span("b")
    assert (tracing.traceparent(), tracing.handed_on()) == ("", {})
    assert tracing._Held.provider is None
    assert "ProxyTracerProvider" in type(trace.get_tracer_provider()).__name__
    assert not list(tmp_path.rglob("*.jsonl"))


def test_traces_when_not_asked_for_then_opentelemetry_is_not_imported() -> None:
    code = (
        "import sys; from pmx_ray import tracing\n"
        "with tracing.span('a'), tracing.continued('x'): tracing.note({})\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "must be otlp or none"),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "must be http/protobuf",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://ann:pw@far:4318"}, "OTEL_EXPORTER_OTLP_HEADERS"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://far:4318/?k=pw"}, "OTEL_EXPORTER_OTLP_HEADERS"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "ann:pw@far:4318"}, "OTEL_EXPORTER_OTLP_HEADERS"),
    ],
)
def test_traces_when_asked_for_wrongly_then_the_error_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, asked: dict[str, str], message: str
) -> None:
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=re.escape(message)) as refused:
        tracing.on()
    assert "pw" not in str(refused.value)
    with tracing.continued(TRACEPARENT):  # a worker goes on without
        assert not tracing.on()


@pytest.mark.parametrize("off", [{"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_SDK_DISABLED": "true"}])
def test_traces_when_switched_off_then_an_endpoint_alone_starts_none(
    monkeypatch: pytest.MonkeyPatch, off: dict[str, str]
) -> None:
    for name, value in {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", **off}.items():
        monkeypatch.setenv(name, value)
    assert not tracing.on()


def test_sweep_when_a_collector_is_named_then_it_gets_the_whole_trace(
    pmx: Pmx, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collector() as (url, received):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        pmx(*SWEEP)
        tracing.end()
    (resource,) = {str(one.resource) for one in received.request.resource_spans}
    assert "pmx-ray" in resource
    spans = received.spans
    assert len({span.trace_id for span in spans}) == 1
    (run,) = [span for span in spans if span.name == "run"]
    blocks = [span for span in spans if span.name == "block"]
    assert len(blocks) == 4
    assert {block.parent_span_id for block in blocks} == {run.span_id}


def test_book_when_made_then_its_forecasts_are_its_children(tmp_path: Path, folder: Path) -> None:
    sweep = evaluated_sweep(tmp_path / "home", forecasters=({"name": "drift"},))
    home = sweep.folder.parent
    three_shares_file(home / "prices.parquet")
    registry = open_registry(home)
    decision = decided(sweep, "drift")
    made = register(registry, sweep, decision)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    with open_ledger(f"sqlite:///{home}/ledger.db") as ledger:
        promote(
            registry, ledger, decision, made.challenger.id, actor="ann", approved_by=["ben"],
            key="first", clock=lambda: now, fallback=made.fallback.id,
        )  # fmt: skip
        settings = ServiceSettings.model_validate(
            {
                "root": str(home),
                "prices": {"source": "file", "path": str(home / "prices.parquet")},
                "data_quality_threshold": 0.9,
            }
        )

        def forecast(panel: Panel, ids: tuple[str, ...]) -> dict[str, Said]:
            return {model: forecast_one(panel, registry, model) for model in ids}

        own = open_ledger(f"sqlite:///{home}/ledger.db")
        kept = Keeper(settings, own, clock=lambda: now, forecast=forecast)
        kept.look()
        assert (kept.status()["trouble"], kept.status()["n_books"]) == ("", 1)
        kept.look()  # nothing new, and no span
        kept.stop()
    (book,) = named(lines(folder), "book")
    forecasts = named(lines(folder), "forecast")
    assert {span["parent_id"] for span in forecasts} == {book["span_id"]}
    models = {made.challenger.id[:12], made.fallback.id[:12]}
    assert {span["attributes"]["pmx.model"] for span in forecasts} == models
    assert (book["attributes"]["pmx.models"], book["attributes"]["pmx.tickers"]) == (2, 3)


def three_shares_file(path: Path) -> None:
    panel = three_shares()
    rows = {
        "date": np.tile(panel.sessions.astype("datetime64[ns]"), panel.n_tickers),
        "ticker": np.repeat(panel.tickers, panel.n_sessions),
        "close": panel.close.ravel(),
    }
    pd.DataFrame(rows).to_parquet(path, index=False)
