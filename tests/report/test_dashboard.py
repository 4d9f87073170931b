"""The pages of the service, from a ledger as a service leaves it, and from an empty one."""

# ruff: noqa: RUF001 - the page sets a true minus and an en dash

import json
import re
import sqlite3
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import dashboard_cases as cases
import pytest
import typer
import yaml
from typer.testing import CliRunner

from pmx_ray.cli.dashboard import mount
from pmx_ray.data.sources import load_panel
from pmx_ray.errors import DataError
from pmx_ray.ledger import open_ledger
from pmx_ray.ledger.aliases import Alias
from pmx_ray.ledger.audit import AuditLog
from pmx_ray.ledger.books import Bookshelf
from pmx_ray.ledger.flag_arrivals import Propagation
from pmx_ray.ledger.flags import FlagLog
from pmx_ray.ledger.signal_log import SignalLog
from pmx_ray.report.dashboard import PAGES, read_facts, render_dashboard
from pmx_ray.report.dashboard.flags import (
    MEANINGS,
    arrival_sentence,
    changed,
    flag_headline,
)
from pmx_ray.report.dashboard.in_service import in_service
from pmx_ray.report.dashboard.layout import SITE
from pmx_ray.report.dashboard.requests import requests_page, requests_sentence
from pmx_ray.report.dashboard.served import (
    Served,
    served,
    served_sentence,
    served_table,
    stake_sentence,
)
from pmx_ray.signals.flags import FlagValues
from serve_apps.gallery import Gallery
from serve_apps.lint import service_settings

EVIL = "<script>window.owned=1</script>"


class _Text(HTMLParser):
    """What a reader sees, and every link."""

    def __init__(self, page):
        super().__init__()
        self.text, self.links, self._hidden = "", [], False
        self.feed(page)
        self.close()

    def handle_starttag(self, name, attributes):
        self._hidden = name in {"script", "style"}
        if name == "a":
            self.links.append(dict(attributes)["href"])

    def handle_endtag(self, name):
        self._hidden = False

    def handle_data(self, data):
        self.text += "" if self._hidden else data


@pytest.fixture(scope="module")
def stocked(tmp_path_factory):
    """Return the facts of a ledger with everything in it, and its folder."""
    root = tmp_path_factory.mktemp("service")
    with open_ledger(f"sqlite:///{root}/ledger.db") as ledger:
        cases.stock(root, ledger, n_sessions=60)
        panel = cases.panel_of(SignalLog(ledger).since(cases.FIRST))
        return read_facts(root, ledger, clock=cases.clock, panel=panel), root


@pytest.fixture(scope="module")
def pages(stocked):
    return {name: _Text(page) for name, page in render_dashboard(stocked[0]).items()}


@pytest.fixture
def ledger(tmp_path):
    with open_ledger(f"sqlite:///{tmp_path}/ledger.db") as opened:
        yield opened


def _facts(ledger, root):
    return read_facts(root, ledger, clock=cases.clock)


def test_dashboard_when_ledger_is_empty_then_every_page_says_what_to_run(ledger, tmp_path):
    pages = render_dashboard(_facts(ledger, tmp_path))
    assert list(pages) == list(SITE) == list(PAGES)
    expected = {
        "index.html": "make serve",
        "models.html": "pmx sweep configs/sweep/llm.yaml",
        "signals.html": "make serve",
        "flags.html": "pmx flags set",
        "promotions.html": "pmx promote",
        "requests.html": "make serve",
    }
    for name, command in expected.items():
        assert command in _Text(pages[name]).text
        assert len(pages[name]) < 50_000  # no figure, so no Plotly


def test_pages_when_rendered_then_each_links_to_all_and_to_nothing_else(pages):
    for page in pages.values():
        targets = {link for link in page.links if not link.startswith("#")}
        assert targets == set(SITE)


def test_overview_when_certified_then_says_by_what_right_and_since_when(pages):
    text = pages["index.html"].text
    assert "samossa is in service, certified." in text
    assert "Certified: all 26 checks passed" in text
    assert "2026-03-30 09:30:05 2 days ago" in text
    assert "The champion serves 60 of 100 tickers; the fallback serves the rest." in text
    assert "Up to 2026-03-31, which closed 13 hours ago" in text
    assert "4 entries, each with the hash of the last." in text


def test_overview_when_overridden_then_not_certified_and_the_certificate_says_why(ledger, tmp_path):
    cases.promote_model(tmp_path, ledger, override="The desk wants to see it run.")
    pages = render_dashboard(_facts(ledger, tmp_path))
    assert "samossa is in service, not certified." in _Text(pages["index.html"]).text
    text = _Text(pages["promotions.html"]).text
    assert "Put in service all the same, by ben, cem: The desk wants to see it run." in text
    # Those that failed stand first.
    words = text[text.index("In words") :]
    assert words.index("failed") < words.index("passed")


def test_overview_when_model_was_altered_then_refused_and_warned(ledger, tmp_path):
    entry = cases.promote_model(tmp_path, ledger)
    manifest = tmp_path / "models" / entry.payload["model"] / "manifest.json"
    manifest.write_text(manifest.read_text().replace("samossa", "samosaa"))
    facts = _facts(ledger, tmp_path)
    champion = next(one for one in facts.serving if one.alias is Alias.CHAMPION)
    assert not champion.verified
    assert champion.label == ""
    assert "does not verify and cannot serve" in render_dashboard(facts)["index.html"]


def test_overview_when_audit_log_was_altered_then_every_page_on_it_warns(tmp_path):
    with open_ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        cases.change_flags(ledger)
    with sqlite3.connect(tmp_path / "ledger.db") as raw:
        triggers = raw.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in triggers:
            raw.execute(f"DROP TRIGGER {name}")
        raw.execute("UPDATE audit SET actor = 'eve' WHERE seq = 1")
    raw.close()
    with open_ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        facts = _facts(ledger, tmp_path)
    for name in ("index.html", "flags.html", "promotions.html"):
        assert "The audit log was altered" in _Text(PAGES[name](facts)).text


def test_served_when_routed_then_as_the_endpoint_answers(stocked):
    facts, _ = stocked
    found = served(facts.book, facts.flags_now)
    # By bucket, AAPL AMD BAC CVX are among the 60 % and GE JNJ KO XOM are not.
    routes = {ticker: bundle.route for ticker, bundle in found.bundles.items()}
    assert routes == dict.fromkeys(cases.TICKERS[:4], "champion") | dict.fromkeys(
        cases.TICKERS[4:], "fallback"
    )
    assert served_sentence(found) == "8 tickers: 4 buy, 0 sell, 4 hold."
    assert stake_sentence(found) == "Long 4.0%, short 0.0% of capital; 4 at medium risk."


def test_signals_when_models_spoke_then_each_word_and_each_refusal(pages):
    text = pages["signals.html"].text
    assert "The answer was cut short." in text
    assert "refused by costs" in text
    assert "Costs2 of 82 of 72 of 8" in text
    assert "The challenger did not speak: No challenger is set." in text
    assert "1,440 signals" in text  # 60 sessions of 8 tickers and 3 sources


def test_served_when_many_get_nothing_then_a_hundred_are_named_and_the_rest_counted():
    refused = {f"T{n:03}": "no model speaks." for n in range(130)}
    text = _Text(str(served_table(Served({}, refused)))).text
    assert text.count("gets no signal") == 100
    assert "30 more tickers without a signal." in text


def test_signals_when_there_are_no_prices_then_no_outcome_and_the_option_that_has_them(stocked):
    facts, _ = stocked
    text = _Text(PAGES["signals.html"](replace(facts, panel=None))).text
    assert "pmx dashboard --config configs/serve.yaml" in text
    assert "Quality of past signals" not in text
    assert "Right direction to date" not in text


def test_flags_when_changed_then_values_history_and_arrival(pages):
    text = pages["flags.html"].text
    assert "merge_llm on to off, time_series_pct 100 to 60" in text
    assert "merge_llm off to on" in text
    # Two replicas, 200 and 300 ms after each of two changes: the slower counts.
    assert "half of 2 changes within 300 ms, 99 % within 300 ms, all within 300 ms" in text


def test_flags_when_explained_then_every_flag_is():
    assert set(MEANINGS) == set(FlagValues.model_fields)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "The champion serves every ticker."),
        ({"merge_llm": True}, "The champion serves every ticker, merged with the language model."),
        ({"llm_only": True, "time_series_pct": 5}, "Signals come from the language model alone."),
        ({"kill_switch": True, "llm_only": True}, "The kill switch is on: nothing trades."),
    ],
)
def test_headline_when_flags_then_what_they_make_the_service_do(ledger, values, said):
    log = FlagLog(ledger)
    log.change(lambda _: FlagValues(**values).model_dump(), actor="ann", reason="test")
    assert flag_headline(log.history(1)) == said


def test_changed_when_a_version_has_a_flag_of_another_release_then_shown_all_the_same(ledger):
    log = FlagLog(ledger)
    log.change(lambda _: {"kill_switch": True, "older": 3}, actor="ann", reason="test")
    history = log.history(9)
    assert changed(history, 0) == "kill_switch off to on, older – to 3"
    assert flag_headline(history) == "The kill switch is on: nothing trades."


def test_arrival_when_many_then_median_tail_and_slowest():
    slow = [0.001 * n for n in range(1, 101)]
    many = [Propagation(n, cases.NOW, 2, wait) for n, wait in enumerate(slow)]
    assert arrival_sentence(many) == (
        "At the slowest replica: half of 100 changes within 50.5 ms, 99 % within 100 ms, all "
        "within 100 ms."
    )
    assert "the one change seen" in arrival_sentence(many[:1])


def test_requests_when_answered_then_counts_and_times():
    found = cases.requests(40)[::-1]
    assert requests_sentence(found) == (
        "40 requests, 0 answered with a server's error; half within 20.5 ms, 99 % within 40.0 ms."
    )
    text = _Text(requests_page(found, at=cases.NOW)).text
    assert "GET /v1/signals/…403910" in text  # 40 requests: 39 of 2xx, 1 of 4xx, 0 of 5xx
    assert "2026-04-01 09:29:25 to 2026-04-01 09:30:04 UTC, the last 1 second ago" in text


def test_promotions_when_entry_is_of_another_release_then_its_names_are_shown(stocked):
    facts, _ = stocked
    strange = replace(facts.entries[-1], kind="revert", payload={"b": 1, "a": 2})
    text = _Text(render_dashboard(replace(facts, entries=(strange,)))["promotions.html"]).text
    assert "revertanna, b" in text


def test_facts_when_book_cannot_be_read_then_named_and_the_rest_shown(ledger, tmp_path):
    Bookshelf(ledger).put(
        "a" * 64, cutoff=cases.FIRST, computed_at=cases.NOW, document='{"cutoff": "never"}'
    )
    facts = _facts(ledger, tmp_path)
    assert facts.book is None
    assert "Book aaaaaaaaaaaa is of another release" in render_dashboard(facts)["index.html"]


def test_facts_when_sweep_is_damaged_then_named(ledger, tmp_path):
    facts = read_facts(tmp_path, ledger, clock=cases.clock, sweep=tmp_path / "none")
    assert "provenance.json is missing" in facts.problems[0]


def test_pages_when_words_hold_markup_then_escaped(ledger, tmp_path):
    log = FlagLog(ledger)
    log.change(lambda _: FlagValues().model_dump(), actor=EVIL, reason=EVIL)
    book = cases.book_of_all()
    models = {
        source: ref.model_copy(update={"label": EVIL, "standing": EVIL})
        for source, ref in book.models.items()
    }
    cases.shelve(ledger, book.model_copy(update={"models": models, "note": EVIL}))
    facts = _facts(ledger, tmp_path)
    evil = [replace(one, token=EVIL, path=EVIL) for one in cases.requests(3)]
    for page in render_dashboard(replace(facts, requests=tuple(evil))).values():
        assert EVIL not in page
    assert AuditLog(ledger).verify().ok


def test_service_when_nothing_is_set_then_empty(tmp_path):
    assert in_service({}, tmp_path) == ()


def test_age_of_flags_when_clock_is_behind_then_said(stocked):
    facts, _ = stocked
    early = replace(facts, at=cases.NOW - timedelta(days=30))
    assert "in the future" in render_dashboard(early)["index.html"]


def test_verb_when_run_twice_then_the_same_files_and_one_line(stocked, tmp_path):

    app = typer.Typer()
    mount(app)
    _, root = stocked
    runner = CliRunner(env={"PMX_LEDGER_URL": f"sqlite:///{root}/ledger.db"})
    for _ in range(2):
        done = runner.invoke(app, ["--out", str(root), "--to", str(tmp_path / "site"), "--json"])
        assert done.exit_code == 0, done.output
    line = json.loads(done.output)
    assert line["pages"] == list(SITE)
    assert {path.name for path in (tmp_path / "site").iterdir()} == set(SITE)
    shown = re.search("samossa is in service", (tmp_path / "site" / "index.html").read_text())
    assert shown


def test_verb_when_given_the_serve_config_then_its_outcomes_are_the_services(tmp_path):
    document = yaml.safe_load((Path(__file__).parents[2] / "configs" / "serve.yaml").read_text())
    document["applications"][0]["args"]["signals"] = {"costs": {"slippage_bps": 70}}
    (tmp_path / "serve.yaml").write_text(yaml.safe_dump(document))
    settings = service_settings(document, where="serve.yaml")
    panel, _ = load_panel(settings.prices, clock=cases.clock, threshold=0.9)
    with open_ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        days = panel.sessions[-40:].astype(object)
        made = cases.record_signals(ledger, 40, tickers=panel.tickers[:3])
        moved = [
            replace(one, cutoff=days[(one.cutoff - cases.FIRST).days], book_id=f"on {one.cutoff}")
            for one in made
        ]
        SignalLog(ledger).record(moved)
        cases.shelve(ledger, cases.book_of_all().model_copy(update={"cutoff": days[-1]}))
        gallery = Gallery(settings, home=tmp_path, ledger=ledger, clock=cases.clock)
        served_page = gallery.page("signals.html")
    app = typer.Typer()
    mount(app)
    runner = CliRunner(env={"PMX_LEDGER_URL": f"sqlite:///{tmp_path}/ledger.db"})
    arguments = ["--out", str(tmp_path), "--config", str(tmp_path / "serve.yaml")]
    done = runner.invoke(app, arguments)
    assert done.exit_code == 0, done.output
    written = (tmp_path / "dashboard" / "signals.html").read_text()
    tables = [
        re.search("<table[^>]*>(?:(?!<table).)*Quality of past signals.*?</table>", page, re.DOTALL)
        for page in (served_page, written)
    ]
    assert tables[0].group() == tables[1].group()
    assert "champion_model" in tables[0].group()


def test_verb_when_the_sweep_named_is_none_then_data_error(tmp_path):
    app = typer.Typer()
    mount(app)
    done = CliRunner().invoke(app, ["--out", str(tmp_path), "--sweep", str(tmp_path / "none")])
    assert isinstance(done.exception, DataError)
    assert not (tmp_path / "dashboard").exists()
