"""The page of a search: its numbers are those of the artefacts, and it claims no more than they."""

# ruff: noqa: RUF001 - the page sets a true minus and an en dash

import json
import re
from contextlib import closing
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import optuna
import pyarrow.parquet as pq
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial
from tune_cases import ledger_in, prepared, tune_settings
from typer.testing import CliRunner

from pmx_ray.cli.app import app
from pmx_ray.errors import DataError
from pmx_ray.forecasters.search_space import Choices, Range
from tune_jobs.figures import n_outside, top
from tune_jobs.history import State
from tune_jobs.outcome import MIN_COMPLETE, Outcome, importances
from tune_jobs.page import Shown, render_search_page, write_search_page
from tune_jobs.parallel import place
from tune_jobs.worth import Figure

EVIL = "<script>window.owned=1</script>"
CHANGES = {"n_trials": 14, "n_rungs": 2, "reduction": 2}


class Page(HTMLParser):
    """What a page says, what it is made of, and the figures' data."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.open, self.text, self.scripts = [], [], "", []
        self.feed(html)
        self.close()
        self.figures = json.loads(self.scripts[0])

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        if name not in {"meta", "link", "input", "wbr"}:
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        if "script" in self.open:
            self.scripts.append(data)
        elif "style" not in self.open:
            self.text += data

    def traces(self, figure):
        return {trace.get("name", ""): trace for trace in self.figures[figure][""]["data"]}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A search that `pmx tune` carried out, and what the command said."""
    root = tmp_path_factory.mktemp("search")
    settings = root / "small.yaml"
    settings.write_text(tune_settings(**CHANGES).as_yaml(), encoding="utf-8")
    verb = ["tune", str(settings), "--out", str(root), "--address", "in-process", "--json"]
    ran = CliRunner().invoke(app, verb, env={"PMX_LEDGER_URL": None})
    assert ran.exit_code == 0, ran.output
    said = [json.loads(line) for line in ran.output.splitlines() if line.startswith("{")]
    return prepared(root, **CHANGES), said


@pytest.fixture(scope="module")
def outcome(done):
    return Outcome.load(done[0].folder)


@pytest.fixture(scope="module")
def page(done):
    return Page((done[0].folder / "report.html").read_text(encoding="utf-8"))


def shown(done, outcome, *, shares=None):
    return Page(render_search_page(Shown(done[0], outcome, shares or {})))


def texts(value):
    """Return a number as the page writes it, without and with its sign."""
    plain = f"{value:.5f}".replace("-", "−")
    return plain, plain if value < 0 else f"+{plain}"


def test_command_when_over_then_names_the_page(done):
    search, said = done
    path = str(search.folder / "report.html")
    assert [one["path"] for one in said if one["event"] == "report"][-1] == path


def test_page_when_written_again_then_same_bytes_and_no_partial_file(done):
    search, _ = done
    before = (search.folder / "report.html").read_bytes()
    with ledger_in(search.folder.parent) as ledger, closing(search.open_study(ledger)) as study:
        assert write_search_page(search, study).read_bytes() == before
    assert not list(search.folder.glob(".report*"))


def test_page_when_parsed_then_every_number_is_that_of_gain_json(done, page):
    document = json.loads((done[0].folder / "gain.json").read_text())
    gain = document["gain"]

    def cell(name):
        signed = int(name in {"improvement", "gap", "excess_gap"})
        value, low, high = (texts(gain[name][end])[signed] for end in ("value", "low", "high"))
        return f"{value} [{low}, {high}]"

    on_tuning = texts(gain["tuning_default"]["value"] - gain["tuning"]["value"])[1]
    rows = (
        f"Default{cell('tuning_default')}{cell('default')}",
        f"Choice{cell('tuning')}{cell('tuned')}",
        f"Improvement: default less choice{on_tuning}{cell('improvement')}",
        f"Gap: later less tuning folds, of the choice{cell('gap')}",
        f"Overfit: the gap less the default's{cell('excess_gap')}",
    )
    assert [row for row in rows if row not in page.text] == []
    assert page.text.count(cell("improvement")) == 2  # the verdict says it too
    verdict = document["gain"]["verdict"]
    assert verdict in page.text or verdict.capitalize() in page.text
    for one in document["compared"]:
        drawn = [
            pair
            for trace in page.traces("against").values()
            for pair in zip(trace["x"], trace["y"], strict=True)
        ]
        assert (one["tuning"], one["evaluation"]) in drawn
    chosen = page.traces("against")["chosen"]
    tuned = document["gain"]["tuned"]
    assert chosen["error_y"]["array"] == [tuned["high"] - tuned["value"]]
    assert chosen["error_y"]["arrayminus"] == [tuned["value"] - tuned["low"]]


def test_history_when_drawn_then_each_trial_of_the_file_once_and_the_best_so_far(done, page):
    rows = pq.read_table(done[0].folder / "trials.parquet").to_pylist()
    traces = page.traces("history")
    drawn = {
        (x, y)
        for name, trace in traces.items()
        if name != "best so far"
        for x, y in zip(trace["x"], trace["y"], strict=True)
    }
    assert drawn == {(row["number"], row["loss"]) for row in rows}
    assert set(traces) >= {"complete", "pruned", "chosen", "best so far"}
    complete = [row["loss"] for row in rows if row["state"] == "complete"]
    assert traces["chosen"]["y"] == [min(complete)]
    line = traces["best so far"]["y"]
    assert line[-1] == min(complete)
    assert line == sorted(line, reverse=True)


def test_page_when_parsed_then_each_plot_is_described_and_nothing_is_fetched(page):
    plots = [a for _, a in page.elements if "data-figure" in a]
    assert [a["data-figure"] for a in plots] == list(page.figures)
    assert set(page.figures) >= {"history", "rungs", "parallel", "against", "gaps"}
    assert all(a["role"] == "img" and len(a["aria-label"]) > 20 for a in plots)
    fetching = {"src", "href", "action", "data", "poster", "srcset"}
    targets = [v for _, a in page.elements for key, v in a.items() if key in fetching]
    assert all(target.startswith(("#", "data:,")) for target in targets)
    assert [t for t in targets if t.startswith("#")] == [
        f"#{a['id']}" for name, a in page.elements if name == "section" and a["id"] != "verdict"
    ]
    assert page.open == []


def test_page_when_parsed_then_says_what_was_chosen_and_where_it_comes_from(done, page):
    search, _ = done
    frozen = Outcome.load(search.folder).tuned
    assert f"tuned: {search.folder.name}/specs.yaml" in page.text
    for fact in (frozen.study, str(frozen.tuned_until), frozen.panel_sha256, frozen.tune_id):
        assert fact in page.text
    assert str(search.folder) not in page.text


def test_page_when_few_trials_are_complete_then_says_so_and_draws_no_importance(page, outcome):
    n = len(outcome.those(State.COMPLETE))
    assert n < MIN_COMPLETE  # halving leaves few of 14
    assert f"Too few complete trials to say which parameter matters: {n}, and" in page.text
    assert "importance" not in page.figures
    assert "parallel" in page.figures


def test_page_when_shares_are_known_then_drawn_and_named(done, outcome):
    page = shown(done, outcome, shares={"rank": 0.75, "ar_order": 0.25})
    (bars,) = page.figures["importance"][""]["data"]
    assert (bars["x"], bars["y"]) == ([0.75, 0.25], ["rank", "ar_order"])
    assert "Too few" not in page.text


def test_page_when_trials_failed_then_told_apart_with_their_reason_as_text(done, outcome):
    failed = replace(
        outcome.trials[-1], state=State.FAIL, loss=np.nan, rungs=(), why=f"no forecast {EVIL}"
    )
    page = shown(done, replace(outcome, trials=(*outcome.trials[:-1], failed)))
    assert "Failed trials" in page.text
    assert f"no forecast {EVIL}" in page.text
    assert "1 failed" in page.text
    trace = page.traces("history")["fail"]
    assert (trace["x"], trace["yaxis"]) == ([failed.number], "y2")
    assert page.figures["history"][""]["layout"]["yaxis2"]["range"] == [0, 1]  # it stands at 0.03
    assert len(page.scripts) == 3


def test_page_when_many_trials_then_lists_the_best_thirty_and_counts_the_rest(done, outcome):
    one = outcome.those(State.COMPLETE)[-1]
    more = tuple(replace(one, number=n, loss=one.loss + n) for n in range(40))
    page = shown(done, replace(outcome, trials=more))
    assert "And 10 more in trials.parquet." in page.text


def verdict_of(done, outcome, **figures):
    text = shown(done, replace(outcome, gain=replace(outcome.gain, **figures))).text
    return re.sub(r"\s+", " ", text[: text.index("What was chosen")])


def test_verdict_when_intervals_hold_zero_then_claims_nothing(done, outcome):
    none = Figure(0.001, -0.02, 0.02)
    other = replace(outcome, default="samossa(rank=7)")
    said = verdict_of(done, other, improvement=none, excess_gap=none, tuned=Figure(1.0, 0.9, 1.1))
    assert "No sign that tuning helped out of sample: the interval holds 0." in said
    assert "holds zero, so it cannot be told from none" in said
    assert "holds 1: no sign that it beats the random walk" in said


def test_verdict_when_tuning_hurt_then_says_so_and_calls_the_gain_chance(done, outcome):
    other = replace(outcome, default="samossa(rank=7)")
    figures = {
        "improvement": Figure(-0.2, -0.3, -0.1),
        "excess_gap": Figure(0.25, 0.2, 0.3),
        "tuned": Figure(1.2, 1.1, 1.3),
    }
    said = verdict_of(done, other, **figures)
    assert "Tuning hurt out of sample." in said
    assert "−0.20000 [−0.30000, −0.10000]" in said
    assert "part of the gain on the tuning folds was chance" in said
    assert "lies above 1: the random walk is better" in said


def test_verdict_when_the_default_was_chosen_then_no_gain_is_claimed(done, outcome):
    said = verdict_of(done, replace(outcome, default=outcome.chosen[0]))
    assert "The search chose the default itself" in said
    assert "nothing is gained" in said


def test_verdict_when_cutoffs_are_few_then_no_interval_and_no_claim(done, outcome):
    names = ("tuned", "default", "improvement", "tuning", "tuning_default", "gap", "excess_gap")
    bare = {name: Figure(getattr(outcome.gain, name).value, np.nan, np.nan) for name in names}
    said = verdict_of(done, replace(outcome, default="samossa(rank=7)"), **bare, n_evaluation=3)
    assert "Too few cutoffs to tell whether tuning helped" in said
    assert "3 cutoffs are fewer than" in said
    assert "nan" not in said


def test_page_when_two_objectives_then_draws_the_front(done, outcome):
    search, said = done
    settings = search.settings.model_copy(update={"objectives": ("loss", "fit_s")})
    page = shown((replace(search, settings=settings), said), outcome)
    points = [
        pair
        for trace in page.traces("front").values()
        for pair in zip(trace["x"], trace["y"], strict=True)
    ]
    assert set(points) == {(one.fit_s, one.loss) for one in outcome.those(State.COMPLETE)}


def test_load_when_gain_is_of_another_choice_then_says_what_to_run(done, tmp_path):
    search, _ = done
    for name in ("trials.parquet", "specs.yaml", "gain.json"):
        (tmp_path / name).write_bytes((search.folder / name).read_bytes())
    document = json.loads((tmp_path / "gain.json").read_text())
    (tmp_path / "gain.json").write_text(json.dumps({**document, "chosen": "theta"}))
    with pytest.raises(DataError, match=r"judges theta .* run `pmx tune` again"):
        Outcome.load(tmp_path)


def factorial(n_each, loss):
    """Return a study of every pair of two parameters with two values, some times over."""
    study = optuna.create_study()
    two = CategoricalDistribution((0, 1))
    study.add_trials(
        [
            create_trial(params={"a": a, "b": b}, distributions={"a": two, "b": two},
                         value=loss(a, b))
            for a in (0, 1)
            for b in (0, 1)
            for _ in range(n_each)
        ]
    )  # fmt: skip
    return study


def test_importance_when_loss_is_a_sum_then_the_share_of_each_variance():
    # Var(3 a) : Var(b) = 9 : 1; a forest of drawn trials weighs the cells by chance a little.
    found = importances(factorial(10, lambda a, b: 3.0 * a + b), seed=1)
    assert list(found) == ["a", "b"]
    assert found["a"] == pytest.approx(0.9, abs=0.05)
    assert sum(found.values()) == pytest.approx(1.0)


def test_importance_when_seed_is_the_same_then_the_same_bits():
    study = factorial(4, lambda a, b: 3.0 * a + b)
    assert importances(study, seed=1) == importances(study, seed=1)


def test_importance_when_complete_trials_are_few_or_alike_then_none():
    assert importances(factorial(2, lambda a, b: 3.0 * a + b), seed=1) == {}
    assert importances(factorial(5, lambda a, b: 1.0), seed=1) == {}


def test_importance_when_trials_were_stopped_then_they_do_not_count():
    study = factorial(2, lambda a, b: 3.0 * a + b)
    stopped = create_trial(
        state=TrialState.PRUNED, params={"a": 0, "b": 0}, value=1.0,
        distributions=dict.fromkeys("ab", CategoricalDistribution((0, 1))),
    )  # fmt: skip
    study.add_trials([stopped] * MIN_COMPLETE)
    assert importances(study, seed=1) == {}


@pytest.mark.parametrize(
    ("dimension", "value", "expected"),
    [
        (Range(low=1, high=5), 2, 0.25),
        (Range(low=0.01, high=1.0, log=True), 0.1, 0.5),
        (Choices(choices=(1, 3, "energy")), 3, 0.5),
        (Choices(choices=(True, False)), False, 1.0),
    ],
)
def test_place_when_on_an_axis_then_between_its_ends(dimension, value, expected):
    assert place(dimension, value) == pytest.approx(expected)


def test_axis_when_one_loss_explodes_then_it_lies_outside():
    losses = [0.8, 0.9, 1.0, 1.1, 1e6, float("nan")]
    assert top(losses) == pytest.approx(1.1 + 3 * 0.3)  # the upper quartile of five is 1.1
    assert n_outside(losses) == 1
    assert n_outside([1.0, 1.0, 1.0]) == 0
