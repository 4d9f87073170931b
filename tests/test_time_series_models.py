"""The chain from forecasters to answers: each link real, in one process, on real prices.

Four models forecast three shares; the champion is SARIMAX, SAMoSSA its fallback, GARCH runs in
shadow, and a language model is replayed in the sweep and asked over HTTP in service.
"""

import json
import sqlite3
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pyarrow.compute as pc
import pytest
from peer_llm import PeerLlm
from serve_cases import ask
from served import decided, evaluated_sweep, three_shares
from threadpoolctl import threadpool_limits
from time_series_cases import (
    BUYS,
    GARCH,
    HELD,
    LABELS,
    LLM,
    SAFE_AFTER_S,
    SAMOSSA,
    SARIMAX,
    SELLS,
    SERVED_AS,
    STEP,
    TICKERS,
    book_of,
    chained,
    lacking,
    moved,
    names_its_maker,
    set_up,
    trades,
)

from pmx_ray.backtest.executor import run_in_process
from pmx_ray.backtest.frame import FRAME_SCHEMA
from pmx_ray.backtest.outcome import evaluate_sweep, evaluated
from pmx_ray.backtest.record import run_record
from pmx_ray.backtest.runner import run_block
from pmx_ray.backtest.sweep import frame_parts, load_settled, outline, save, save_receipts
from pmx_ray.errors import LedgerError, NothingToServeError, SettingsError, StaleVersionError
from pmx_ray.forecasters.llm import LlmReplaySettings
from pmx_ray.forecasters.registry import ForecasterSpec, load_families
from pmx_ray.governance.opening import open_registry
from pmx_ray.governance.promotion import revert
from pmx_ray.governance.registration import register
from pmx_ray.lake import open_store, verify
from pmx_ray.ledger.aliases import Alias, Aliases
from pmx_ray.ledger.flags import FlagLog
from pmx_ray.ledger.request_log import RequestLog
from pmx_ray.ledger.signal_log import SignalLog
from pmx_ray.llm.recording import Recorder, Recording
from pmx_ray.provenance import ENGINE_VERSION
from pmx_ray.signals.flag_source import changing
from pmx_ray.signals.flags import FlagValues
from pmx_ray.signals.router import route
from pmx_ray.signals.types import FlagStatus, Signal, SignalBook, Source
from serve_apps.api import guarded
from serve_apps.bookmaking import records_of
from serve_apps.desk import open_desk
from serve_apps.settings import ServiceSettings
from serve_apps.tokens import Scope, add_token, tokens_path

CHAMPION, FALLBACK, CHALLENGER = Source.CHAMPION, Source.FALLBACK, Source.CHALLENGER


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return set_up(tmp_path_factory.mktemp("stage"))


@pytest.fixture(scope="module")
def peer():
    running = PeerLlm()
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def _nothing_named_outside(monkeypatch):
    for name in ("PMX_HOME", "PMX_API_TOKENS", "PMX_LEDGER_URL", "PMX_MODELS_URL",
                 "PMX_SIGNING_KEY"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def idle(stage, peer, tmp_path):
    """Return a chain with no model in service yet."""
    with chained(stage, tmp_path, peer) as made:
        yield made


@pytest.fixture
def chain(idle):
    """Return a chain that serves."""
    idle.serve()
    return idle


@pytest.fixture(scope="module")
def book(stage, peer, tmp_path_factory):
    """Return the book of a chain that served, for tests that only read it."""
    with chained(stage, tmp_path_factory.mktemp("book"), peer) as made:
        made.serve()
        return made.book


def frames(stage):
    """Return the forecast frame of each model by label."""
    sweep = stage.sweep
    (run,) = frame_parts(sweep, load_settled(sweep), open_store(sweep.lake_url))
    return {spec.label: table for spec, table in run}


# 1. Four models at once, one schema, provenance


def test_sweep_when_four_models_run_at_once_then_the_bytes_of_one_after_the_other(
    stage, tmp_path
):  # proves M5
    again = moved(stage.sweep, tmp_path)
    store = open_store(again.lake_url)
    todo = outline(again, store)[0].todo
    of_model = {label: [b for b in todo if b.spec.label == label] for label in LABELS}
    together = threading.Barrier(len(LABELS), timeout=60.0)  # breaks unless four are under way

    def carried_out(blocks):
        together.wait()
        return list(run_in_process(again.panel, again.plan, blocks, store=store))

    # Each block sets warnings and threads for itself; both belong to the process, so that threads
    # would undo each other's. Workers are processes, and need none of this.
    with warnings.catch_warnings(), threadpool_limits(1), ThreadPoolExecutor(len(LABELS)) as pool:
        warnings.simplefilter("ignore")
        settled = [row for rows in pool.map(carried_out, of_model.values()) for row in rows]
    rest = [block for block in todo if block.spec.label not in LABELS]
    settled += run_in_process(again.panel, again.plan, rest, store=store)
    save(again)
    save_receipts(again, settled)
    evaluate_sweep(again, store)
    first = open_store(stage.sweep.lake_url)
    assert {row.block.id for row in settled} == {r.block.id for r in load_settled(stage.sweep)}
    for row in settled:
        assert store.get(row.receipt.path) == first.get(row.receipt.path)
    (report, found), (alone, expected) = evaluated(again), evaluated(stage.sweep)
    assert found["forecast_sha256"] == expected["forecast_sha256"]
    assert report.files() == alone.files()


@pytest.mark.parametrize("label", LABELS)
def test_frame_of_each_model_then_one_schema_and_a_number_or_a_reason(stage, label):  # proves M5
    table = frames(stage)[label]
    assert table.schema.equals(FRAME_SCHEMA, check_metadata=True)
    assert len(table) == stage.sweep.n_cells // 5
    assert set(table["spec"].to_pylist()) == {stage.models[label].version.spec_id}
    n_ok = 0
    for row in table.to_pylist():
        if row["status"] == "ok":
            n_ok += 1
            assert np.isfinite(row["mean"])
            assert row["variance"] > 0
            assert row["q05"] < row["q50"] < row["q95"]
        else:
            assert row["reason"]
            assert row["mean"] is row["variance"] is None
    assert n_ok >= len(table) / 2


def test_sweep_when_evaluated_then_every_number_says_where_it_is_from(stage):  # proves M5
    sweep, store = stage.sweep, open_store(stage.sweep.lake_url)
    _, provenance = evaluated(sweep)
    assert provenance["panel_sha256"] == stage.panel.sha256
    assert provenance["engine_version"] == ENGINE_VERSION
    assert provenance["libraries"].keys() >= {"numpy", "scipy"}
    specs = {spec["label"]: spec for spec in json.loads((sweep.folder / "specs.json").read_text())}
    for label in LABELS:
        assert specs[label]["id"] == stage.models[label].version.spec_id
    replayed = LlmReplaySettings.model_validate(specs[LLM]["params"])
    assert Recording.load(replayed.path).sha256 == replayed.sha256
    assert {e.digest for e in Recording.load(replayed.path)} == {replayed.digest}
    for row in load_settled(sweep):
        assert verify(store, row.receipt)
        assert row.receipt.node


def test_signals_of_four_models_then_one_schema_each_with_its_maker(stage):  # proves M5
    labels = dict(zip(Source, (SARIMAX, LLM, SAMOSSA, GARCH), strict=True))
    models = {source: stage.models[label] for source, label in labels.items()}
    made, said = book_of(stage.panel, models)
    assert SignalBook.model_validate_json(made.model_dump_json()) == made
    rows = {(r.ticker, Source(r.source)): r for r in records_of(made, made.id)}
    for (n, ticker), (source, now) in product(enumerate(TICKERS), said.items()):
        found = made.entries[ticker].candidates[source]
        if not np.isfinite(now.mean[n]):
            assert found.failure == now.reasons[ticker]
            assert (ticker, source) not in rows
            continue
        assert type(found.signal) is Signal
        assert (found.signal.source, found.signal.step) == (source, STEP)
        assert found.signal.expected_return == now.mean[n]
        assert found.signal.volatility == pytest.approx(now.variance[n] ** 0.5, rel=1e-15)
        assert len(found.checks) == 5
        row = rows[ticker, source]
        assert (row.model_id, row.label) == (models[source].id, labels[source])
        assert np.datetime64(row.cutoff) == stage.panel.sessions[-1]
    assert {source for _, source in rows} == set(Source)


# 2. Routing

FLAGS = [
    FlagValues(kill_switch=kill, llm_only=alone, merge_llm=merge, time_series_pct=pct)
    for kill, alone, merge, pct in product(
        (False, True), (False, True), (False, True), (0, 60, 100)
    )
]
PLACES = {"A": 85, "B": 67, "C": 56}
"""Buckets of the rollout: at 60 per cent the champion has C alone."""


def wanted(book, ticker, flags, status):
    """Return the route that the documentation promises, and who may answer, best first."""
    if flags.kill_switch:
        tail = [FALLBACK, Source.LLM]
        return "killed", tail if status is FlagStatus.SAFE else [CHAMPION, *tail]
    if status is FlagStatus.SAFE:
        return "fallback", [FALLBACK]
    if flags.llm_only:
        return "llm_only", [Source.LLM, FALLBACK]
    if flags.time_series_pct <= PLACES[ticker]:
        return "fallback", [FALLBACK]
    llm = book.entries[ticker].candidates.get(Source.LLM)
    merged = (
        flags.merge_llm
        and llm is not None
        and all(check.passed for check in llm.checks if check.layer == "statistics")
    )
    return "merged" if merged else "champion", [CHAMPION, FALLBACK]


@pytest.mark.parametrize("gone", [(), (Source.LLM,), (CHAMPION,), (CHAMPION, Source.LLM)])
def test_route_under_every_flag_and_status_then_as_documented(book, gone):  # proves M6, D3
    seen, fields = lacking(book, *gone), set()
    for flags, status, ticker in product(FLAGS, FlagStatus, TICKERS):
        found = route(seen, ticker, flags, flags_version=4, flags_status=status)
        name, sources = wanted(seen, ticker, flags, status)
        (source, *_) = [s for s in sources if s not in gone]
        asked_for = source is sources[0]
        assert found.model.source is source
        assert found.route == (name if name == "killed" or asked_for else "fallback")
        assert found.model.label == SERVED_AS[source]
        assert names_its_maker(found, seen)
        assert source is not CHALLENGER
        fits = all(check.passed for check in found.checks) and not flags.kill_switch
        assert fits or not trades(found)
        fields.add(tuple(found.model_dump()))
    assert len(fields) == 1  # nothing downstream can tell a route by the shape of its answer


def test_route_when_merged_then_the_champion_only_held_back(book):  # proves M6
    for ticker in (SELLS, BUYS):
        alone, merged = (
            route(book, ticker, FlagValues(merge_llm=merge), flags_version=1, flags_status="live")
            for merge in (False, True)
        )
        assert (merged.route, merged.model) == ("merged", alone.model)
        assert abs(merged.signal.position_frac) <= abs(alone.signal.position_frac)
        assert merged.signal.confidence <= alone.signal.confidence
    agreed = route(book, BUYS, FlagValues(merge_llm=True), flags_version=1, flags_status="live")
    assert agreed.signal.action is book.entries[BUYS].candidates[Source.LLM].signal.action
    assert trades(agreed)
    against = route(book, SELLS, FlagValues(merge_llm=True), flags_version=1, flags_status="live")
    assert not trades(against)
    assert "sell becomes hold" in against.reason


def test_route_when_the_share_rises_then_it_only_takes_tickers_in(book):  # proves M6
    shares = []
    for pct in range(101):
        answers = [
            route(book, t, FlagValues(time_series_pct=pct), flags_version=1, flags_status="live")
            for t in TICKERS
        ]
        shares.append({a.ticker for a in answers if a.route == "champion"})
    assert all(before <= after for before, after in pairwise(shares))
    assert {pct: s for pct, s in enumerate(shares) if pct in (56, 57, 67, 68, 85, 86)} == {
        56: set(), 57: {"C"}, 67: {"C"}, 68: {"B", "C"}, 85: {"B", "C"}, 86: {"A", "B", "C"},
    }  # fmt: skip


# 3. Fallback


def test_champion_when_reverted_then_the_fallback_at_the_next_look(chain):  # proves D3
    before = chain.answer(SELLS)
    assert (before.route, before.model.label) == ("champion", SARIMAX)
    registry = open_registry(chain.home, make_key=False)
    revert(registry, chain.ledger, reason="by hand", actor="test", clock=chain.clock)
    after = chain.answer(SELLS)  # the keeper has not looked
    assert (after.route, after.model.label, after.fallback_used) == ("fallback", SAMOSSA, True)
    assert f"{SARIMAX} (model {before.model.model_id[:12]}) was taken out" in after.reason
    chain.settle()
    later = chain.answer(SELLS)
    assert (later.route, later.model.source, later.model.label) == ("champion", CHAMPION, SAMOSSA)
    assert later.model.alias_version == 2
    assert names_its_maker(later, chain.book)


def test_champion_when_its_files_were_altered_then_it_does_not_speak(chain):  # proves D3
    model = chain.book.models[CHAMPION].model_id
    (path,) = chain.home.glob(f"models/**/{model}/**/service.json")
    path.write_bytes(path.read_bytes() + b" ")
    chain.trade(300)
    chain.settle()
    found = chain.answer(SELLS)
    assert (found.model.source, found.model.label) == (FALLBACK, SAMOSSA)
    assert found.fallback_used
    assert found.cutoff == chain.stage.panel.sessions[-1].astype(object)
    assert "The champion has no signal" in found.reason
    assert CHAMPION not in chain.book.models


def test_champion_when_a_layer_refused_its_signal_then_held_under_its_name(chain):
    found = chain.answer(HELD)
    own = chain.book.entries[HELD].candidates[CHAMPION].signal
    assert own.action != "hold"
    assert own.position_frac != 0.0
    assert (found.route, found.model.label) == ("champion", SARIMAX)
    assert not trades(found)
    assert not found.fallback_used
    assert "Held: " in found.reason


@pytest.mark.parametrize("mode", ["garbage", "rude"])
def test_language_model_when_it_talks_garbage_then_the_others_answer(idle, mode):  # proves D3, M6
    idle.peer.mode = mode
    idle.serve()
    assert idle.peer.n_asked > 0
    assert Source.LLM not in idle.book.models
    assert idle.keeper.status()["llm"]["answered"] == 0
    idle.flags(llm_only=True)
    for ticker in TICKERS:
        found = idle.answer(ticker)
        assert (found.route, found.model.label) == ("fallback", SAMOSSA)
        assert found.fallback_used
        assert "it has no signal: the language model answered on no ticker" in found.reason
    idle.flags(llm_only=False, merge_llm=True)
    alone = idle.answer(SELLS)
    assert (alone.route, alone.fallback_used) == ("champion", True)
    assert "the champion answers alone" in alone.reason
    assert alone.signal == idle.book.entries[SELLS].candidates[CHAMPION].signal


def test_language_model_when_slow_then_the_book_is_out_before_it_answers(idle):  # proves D3
    idle.peer.mode = "slow"
    idle.promote()
    idle.keeper.look()
    idle.flags(llm_only=True)
    found = idle.answer(SELLS)
    assert (found.route, found.model.label, found.fallback_used) == ("fallback", SAMOSSA, True)
    idle.peer.released.set()
    idle.settle()
    assert idle.answer(SELLS).model.label == SERVED_AS[Source.LLM]


def test_llm_only_when_set_then_in_effect_at_the_next_look(chain):  # proves M7
    assert chain.answer(BUYS).model.source is CHAMPION
    version = chain.flags(llm_only=True)
    found = chain.answer(BUYS)
    assert (found.route, found.model.label) == ("llm_only", SERVED_AS[Source.LLM])
    assert (found.flags_version, found.flags_status) == (version, FlagStatus.LIVE)
    assert not found.fallback_used
    assert found.signal.position_frac == 0.0  # nobody judged it, so it stakes nothing
    chain.flags(llm_only=False)
    assert chain.answer(BUYS).model.source is CHAMPION


def test_llm_only_when_looks_are_as_rare_as_can_be_set_then_within_a_minute():  # proves M7
    least = {"prices": {"source": "bundled", "name": "us_equities"}}
    assert ServiceSettings.model_validate({**least, "pulse_every_s": 10.0}).pulse_every_s < 60.0
    with pytest.raises(ValueError, match="less than or equal to 10"):
        ServiceSettings.model_validate({**least, "pulse_every_s": 10.1})


def test_flags_when_their_source_is_gone_then_stale_then_safe_then_live(chain):  # proves D3
    version = chain.flags(merge_llm=True)
    assert chain.answer(BUYS).route == "merged"
    path = chain.home / "ledger.db"
    run(path, "ALTER TABLE flag_versions RENAME TO hidden")
    seen = []
    for seconds in (1.0, SAFE_AFTER_S - 2.0, 1.0):
        chain.clock.forward(seconds)
        found = chain.answer(BUYS)
        assert found.flags_version == version
        seen.append((found.flags_status.value, found.route, found.model.label))
    assert seen == [
        ("stale", "merged", SARIMAX), ("stale", "merged", SARIMAX), ("safe", "fallback", SAMOSSA)
    ]  # fmt: skip
    run(path, "ALTER TABLE hidden RENAME TO flag_versions")
    assert chain.answer(BUYS).route == "merged"


def run(path, statement):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)


# 4. Numbers about the chain itself


def test_ledger_when_a_sweep_is_recorded_then_three_metrics_of_every_model(
    stage, idle
):  # proves C3
    report, provenance = evaluated(stage.sweep)
    record = run_record(stage.sweep, report, provenance, recorded_at=idle.clock())
    assert idle.ledger.record_run(record)
    kept = {
        (m.spec_id, m.step, m.measure): m.value for m in idle.ledger.metrics(stage.sweep.sweep_id)
    }
    for label, table in frames(stage).items():
        for step in stage.sweep.plan.steps:
            rows = table.filter(
                pc.and_(pc.equal(table["step"], step), pc.equal(table["status"], "ok"))
            )
            spec = rows["spec"][0].as_py()
            actual, mean = (rows[name].to_numpy() for name in ("actual", "mean"))
            # Every scored cell counts: no complete model failed on one that another has.
            assert len(rows) == kept[spec, step, "n_common"] == kept[spec, step, "n_scored"], label
            error = actual - mean
            price, forecast = np.exp(actual), np.exp(mean)
            by_hand = {
                "rmse": np.sqrt(np.mean(error**2)),
                "smape": np.mean(200.0 * np.abs(price - forecast) / (price + forecast)),
                "tracking_error": np.std(error, ddof=1),
            }
            for measure, value in by_hand.items():
                assert kept[spec, step, measure] == pytest.approx(value, rel=1e-9), (label, measure)


def test_signals_when_books_are_made_then_each_is_counted_once(chain):  # proves A6, G6
    first = records_of(chain.book, chain.book.id)
    by_source = {s: sum(r.source == s for r in first) for s in Source}
    assert by_source[CHAMPION] == by_source[FALLBACK] == by_source[Source.LLM] == len(TICKERS)
    assert by_source[CHALLENGER] == 1  # GARCH does not converge on two of them
    log = SignalLog(chain.ledger)
    assert {r.key for r in first} <= {r.key for r in log.since(chain.book.cutoff)}
    before = log.counts()
    # Two books of the bar: without the language model, and with it.
    assert before["n"] == 2 * len(first) - by_source[Source.LLM]
    assert before["not_judged"] == 0
    chain.trade(300)
    chain.settle()
    counts = log.counts()
    assert counts["n"] == 2 * before["n"]
    assert dict(counts) == chain.keeper.status()["tracked"]
    assert counts["by_source"]["llm"] == 2 * len(TICKERS)
    chain.keeper.look()
    assert log.counts() == counts  # nothing moved


def test_requests_when_asked_over_http_then_each_is_counted_and_explained(chain):  # proves D4, G6
    token = add_token(tokens_path(chain.home), "reader", Scope.READ)
    desk = open_desk(chain.settings, replica="r0", clock=chain.clock, keeper=chain.keeper.status)
    desk.watch.look()
    app = guarded(desk)
    try:
        bearer = {"Authorization": f"Bearer {token}"}
        first = ask(app, "GET", f"/v1/signals/{BUYS}", headers=bearer)
        assert first.json() == json.loads(chain.answer(BUYS).model_dump_json())
        chain.flags(llm_only=True)
        desk.watch.look()
        second = ask(app, "GET", f"/v1/signals/{BUYS}", headers=bearer)
        assert second.json()["route"] == "llm_only"
        explained = ask(app, "GET", f"/v1/signals/{first.json()['id']}/explain", headers=bearer)
        assert explained.json()["bundle"] == first.json()
        assert ask(app, "GET", "/v1/signals/NONE", headers=bearer).status_code == 404
        assert ask(app, "GET", f"/v1/signals/{BUYS}").status_code == 401
        desk.trail.flush()
        log = RequestLog(chain.ledger)
        assert log.counts() == {200: 3, 401: 1, 404: 1}
        assert {r.signal_id for r in log.recent(9)} == {
            "", first.json()["id"], second.json()["id"]
        }  # fmt: skip
        counted = desk.numbers.exposition().decode()
        for line in (
            'pmx_http_requests_total{method="GET",replica="r0",status="200"} 3.0',
            'pmx_http_requests_total{method="GET",replica="r0",status="401"} 1.0',
            'fallback="false",replica="r0",route="champion",source="champion"} 1.0',
            'fallback="false",replica="r0",route="llm_only",source="llm"} 1.0',
        ):
            assert line in counted
    finally:
        desk.close()


# 5. Flag toggles


def toggles():
    """Return twenty changes, of one flag or two."""
    rng = np.random.default_rng(7)
    names = ("kill_switch", "llm_only", "merge_llm", "shadow_challenger")
    for n in range(20):
        change = {names[n % 4]: bool(rng.integers(2))}
        yield {**change, "time_series_pct": int(rng.integers(101))} if n % 3 == 0 else change


def test_flags_when_toggled_twenty_times_then_each_is_in_effect_at_the_next_look(
    chain,
):  # proves M6, G6
    values, seen = FlagValues(), []
    for n, change in enumerate(toggles(), start=1):
        values = values.changed(change)
        assert chain.flags(**change) == n
        answers = [chain.answer(ticker) for ticker in TICKERS]
        assert (chain.watch.view.version, chain.watch.view.values) == (n, values)
        assert chain.watch.view.status is FlagStatus.LIVE
        for found in answers:
            assert found.flags_version == n
            assert (found.route == "killed") == values.kill_switch
            assert not (values.kill_switch and trades(found))
            assert names_its_maker(found, chain.book)
        seen.append((values.kill_switch, values.llm_only))
    assert set(seen) == set(product((False, True), repeat=2))
    history = FlagLog(chain.ledger).history(99)
    assert [record.version for record in history] == list(range(20, 0, -1))


def test_flags_when_four_toggle_at_once_then_no_version_is_lost_or_seen_backwards(
    chain,
):  # proves M6
    log, seen = FlagLog(chain.ledger), []

    def change(actor):
        for n in range(5):
            for _ in range(400):  # a writer waits 50 ms for another's transaction
                try:
                    log.change(
                        changing({"time_series_pct": 5 * actor + n}), actor=f"a{actor}",
                        reason="by hand", clock=chain.clock,
                    )  # fmt: skip
                    break
                except LedgerError as error:
                    if "locked" not in str(error):
                        raise

    with ThreadPoolExecutor(4) as pool:
        working = [pool.submit(change, actor) for actor in range(4)]
        while not all(work.done() for work in working):
            chain.watch.look()
            seen.append(chain.watch.view.version)
        for work in working:
            work.result()
    chain.watch.look()
    seen.append(chain.watch.view.version)
    assert seen == sorted(seen)
    assert seen[-1] == 20
    history = log.history(99)
    assert [record.version for record in history] == list(range(20, 0, -1))
    assert {record.values["time_series_pct"] for record in history} == set(range(20))
    with pytest.raises(StaleVersionError):
        log.change(changing({"llm_only": True}), actor="late", reason="late", expected_version=19)
    with pytest.raises(SettingsError, match="flag 'llm_onyl' is unknown"):
        changing({"llm_onyl": True})
    assert log.current().version == 20


# 6. What goes wrong


def test_forecaster_when_it_raises_then_a_row_a_reason_and_the_fallback(tmp_path):  # proves G6, D3
    load_families(["odd_forecasters"])
    sweep = evaluated_sweep(tmp_path, forecasters=({"name": "raising"}, {"name": "samossa"}))
    (parts,) = frame_parts(sweep, load_settled(sweep), open_store(sweep.lake_url))
    rows = {spec.label: table.to_pylist() for spec, table in parts}
    assert {(r["ticker"], r["status"]) for r in rows["raising"]} == {
        ("A", "ok"), ("B", "error"), ("C", "ok")
    }  # fmt: skip
    assert all("planted in B" in r["reason"] for r in rows["raising"] if r["ticker"] == "B")
    assert {r["status"] for r in rows["samossa"]} == {"ok"}
    made = register(
        open_registry(tmp_path), sweep, decided(sweep, "raising", step=STEP, fallback="samossa")
    )
    served, _ = book_of(three_shares(), {CHAMPION: made.challenger, FALLBACK: made.fallback})
    found = route(served, "B", FlagValues(), flags_version=0, flags_status="live")
    assert (found.route, found.model.label) == ("fallback", "samossa")
    assert "planted in B" in found.reason
    assert names_its_maker(found, served)
    other = route(served, "A", FlagValues(), flags_version=0, flags_status="live")
    assert (other.route, other.model.label) == ("champion", "raising")


def test_prices_when_a_ticker_has_none_today_then_no_answer_about_it_alone(chain):  # proves G6
    chain.trade(300, without=BUYS)
    chain.settle()
    assert chain.trouble == ""
    assert chain.book.cutoff == chain.stage.panel.sessions[-1].astype(object)
    entry = chain.book.entries[BUYS]
    assert entry.close is None
    assert all(found.signal is None and found.failure for found in entry.candidates.values())
    for flags in ({}, {"llm_only": True}, {"kill_switch": True}, {"merge_llm": True}):
        chain.flags(**{"kill_switch": False, "llm_only": False, "merge_llm": False, **flags})
        with pytest.raises(NothingToServeError, match=f"no signal for {BUYS}.*price"):
            chain.answer(BUYS)
        assert names_its_maker(chain.answer(SELLS), chain.book)
    assert not [r for r in SignalLog(chain.ledger).since(chain.book.cutoff) if r.ticker == BUYS]


@pytest.mark.parametrize("label", LABELS)
def test_history_when_too_short_then_rows_that_say_so(stage, label):  # proves G6
    close = stage.panel.close.copy()
    close[2, :280] = np.nan  # C was listed a session before the last cutoff but one
    panel = replace(stage.panel, close=close)
    todo = [b for b in blocks_of(stage, panel) if b.spec.label == label and "C" in b.tickers]
    rows = [row for block in todo for row in run_block(panel, stage.sweep.plan, block).to_pylist()]
    late = [row for row in rows if row["ticker"] == "C"]
    statuses = {row["status"] for row in late}
    assert "too_short" in statuses
    assert statuses <= {"too_short", "no_price"}
    assert all(row["reason"] and row["mean"] is None for row in late)
    others = [row for row in rows if row["ticker"] != "C"]
    if label == SAMOSSA:  # fits all tickers jointly, so that the others' numbers move
        assert {row["status"] for row in others} == {"ok"}
    else:
        alike = [row for row in frames(stage)[label].to_pylist() if row["ticker"] != "C"]
        assert others == alike


def blocks_of(stage, panel):
    """Return the blocks of the sweep over other prices."""
    return outline(replace(stage.sweep, panel=panel), open_store(stage.sweep.lake_url))[0].blocks


def test_history_when_too_short_for_the_models_then_nothing_is_served(idle):  # proves G6
    idle.trade(150)
    idle.serve()
    assert {CHAMPION, FALLBACK} <= idle.book.failures.keys()
    assert "the prices hold 150 sessions; the model needs 210" in idle.book.failures[CHAMPION]
    for ticker in TICKERS:
        with pytest.raises(NothingToServeError, match="needs 210"):
            idle.answer(ticker)
    idle.trade(299)
    idle.settle()
    assert trades(idle.answer(SELLS))


def test_history_when_it_shrinks_then_the_last_book_stays_and_grows_stale(chain):  # proves G6
    before, now = chain.book, chain.clock.now
    chain.trade(150)
    chain.clock.now = now
    chain.settle()
    assert "no model speaks, and the last book stays" in chain.trouble
    assert chain.book == before
    assert trades(chain.answer(SELLS))
    chain.clock.forward(97 * 3600)
    found = chain.answer(SELLS)
    assert found.stale
    assert not trades(found)
    assert names_its_maker(found, before)


def test_recording_when_its_answers_are_garbage_then_rows_without_a_number(
    stage, tmp_path
):  # proves G6
    shipped = LlmReplaySettings()
    path = tmp_path / "garbage.jsonl"
    texts = ["", "buy!", '{"action":"buy","bp":1e999,"confidence":50,"risk":"low"}',
             '{"action":"moon","bp":10,"confidence":50,"risk":"low"}']  # fmt: skip
    with Recorder(path) as recorder:
        for n, exchange in enumerate(Recording.load(shipped.path)):
            recorder.append(exchange.model_copy(update={"text": texts[n % len(texts)]}))
    pinned = {"recording": str(path), "sha256": Recording.load(path).sha256}
    spec = ForecasterSpec.parse({"name": "llm", **pinned}, where="here")
    sweep = replace(stage.sweep, specs=(spec,))
    rows = [
        row
        for block in outline(sweep, open_store(str(tmp_path)))[0].blocks
        for row in run_block(sweep.panel, sweep.plan, block).to_pylist()
    ]
    assert len(rows) == len(sweep.plan) * len(TICKERS) * len(sweep.plan.steps)
    assert {row["status"] for row in rows} == {"unanswered"}
    assert all(row["reason"] and row["mean"] is row["variance"] is None for row in rows)


def test_ledger_when_it_is_locked_then_the_last_book_serves_and_nothing_is_lost(
    chain,
):  # proves G6, D3
    before, log = chain.book, SignalLog(chain.ledger)
    counted = log.counts()
    with closing(sqlite3.connect(chain.home / "ledger.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        chain.trade(300)
        chain.settle()
        assert "locked" in chain.trouble
        with pytest.raises(LedgerError, match="locked"):
            chain.flags(kill_switch=True)
        found = chain.answer(SELLS)
        assert (found.flags_status, found.flags_version) == (FlagStatus.LIVE, 0)
        assert (found.model.label, found.cutoff) == (SARIMAX, before.cutoff)
        assert chain.book == before
        assert log.counts() == counted
        other.execute("ROLLBACK")
    chain.settle()
    assert chain.trouble == ""
    assert chain.book.cutoff > before.cutoff
    made = records_of(chain.book, chain.book.id)
    assert {r.key for r in made} <= {r.key for r in log.since(chain.book.cutoff)}
    assert dict(log.counts()) == chain.keeper.status()["tracked"]
    assert (
        Aliases(chain.ledger).current()[Alias.CHAMPION].model == chain.answer(SELLS).model.model_id
    )
