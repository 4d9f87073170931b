# ruff: noqa: RUF001 - the page sets a true minus and an en dash

import base64
import hashlib
import json
import re
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser

import pyarrow as pa
import pytest

from pmx_ray.backtest.comparison import Comparison, PairedDifference
from pmx_ray.errors import DataError
from pmx_ray.report.page import render_page, write_page

EVIL = "<script>window.owned=1</script>"


class _Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.elements, self.scripts, self.text = [], [], ""
        self._script: dict | None = None
        self._style = False
        self.feed(text)
        self.close()

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        self._script = dict(attributes) if name == "script" else None
        self._style = name == "style"

    def handle_data(self, data):
        if self._script is None:
            self.text += "" if self._style else data
        else:
            self.scripts.append((self._script, data))

    def handle_endtag(self, name):
        if name == "script":
            self._script = None
        if name == "style":
            self._style = False


@pytest.fixture(scope="module")
def page(report):
    return _Page(render_page(report, None, {"name": "hand-made"}))


def test_write_when_twice_then_same_bytes_and_no_partial_file(folder):
    first = write_page(folder).read_bytes()
    second = write_page(folder).read_bytes()
    assert first == second
    assert not list(folder.glob(".report*"))


def test_write_when_report_is_missing_then_says_what_to_run(tmp_path):
    with pytest.raises(DataError, match="run `pmx evaluate` first"):
        write_page(tmp_path)


def test_write_when_provenance_is_broken_then_data_error(folder):
    (folder / "provenance.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"provenance\.json is not JSON"):
        write_page(folder)


def test_write_when_provenance_is_missing_then_page_all_the_same(folder):
    (folder / "provenance.json").unlink()
    assert write_page(folder).stat().st_size > 1_000_000


def test_page_when_parsed_then_verdict_comes_before_any_table(page):
    assert "On price level, no forecaster's interval lies above the random walk" in page.text
    verdict = page.text.index("no forecaster's interval lies above")
    assert verdict < page.text.index("Leaderboard")


def test_page_when_parsed_then_nothing_is_fetched_from_elsewhere(page):
    fetching = {"src", "href", "action", "data", "poster", "srcset"}
    targets = [
        value for _, attributes in page.elements for key, value in attributes.items()
        if key in fetching
    ]  # fmt: skip
    assert targets
    assert all(target.startswith(("#", "data:,")) for target in targets)


def test_page_when_parsed_then_policy_allows_its_scripts_by_hash_and_no_other(page):
    policy = next(
        a["content"] for name, a in page.elements
        if name == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    )  # fmt: skip
    run = [text for attributes, text in page.scripts if "type" not in attributes]
    hashes = {base64.b64encode(hashlib.sha256(t.encode()).digest()).decode() for t in run}
    assert set(re.findall(r"'sha256-([^']+)'", policy)) == hashes
    assert len(hashes) == 2
    assert "default-src 'none'" in policy
    scripts = re.search(r"script-src ([^;]+);", policy)
    assert "unsafe" not in scripts.group(1)


def test_page_when_rendered_then_plotly_is_shipped_once(report):
    text = render_page(report, None, {})
    assert text.count("* plotly.js v") == 1


def test_page_when_parsed_then_each_plot_has_an_id_a_name_and_data(page):
    plots = [a for name, a in page.elements if "data-figure" in a]
    data = json.loads(next(t for a, t in page.scripts if a.get("id") == "figures"))
    assert [a["data-figure"] for a in plots] == list(data)
    assert len({a["id"] for a in plots}) == len(plots) == 13
    assert all(a["role"] == "img" and len(a["aria-label"]) > 20 for a in plots)


def test_page_when_parsed_then_every_table_has_caption_and_scoped_headers(page):
    names = [name for name, _ in page.elements]
    assert names.count("table") == names.count("caption") > 0
    assert all("scope" in a for name, a in page.elements if name == "th")


def test_page_when_parsed_then_contents_link_to_what_is_there(page):
    ids = {a["id"] for _, a in page.elements if "id" in a}
    links = {a["href"][1:] for name, a in page.elements if name == "a"}
    assert links <= ids
    assert {"leaderboard", "tickers", "rolling", "strategy", "failures", "glossary"} <= links


def test_page_when_parsed_then_every_spec_is_in_every_leaderboard(page):
    for label in ("garch(dist=t)", "drift", "theta", "random_walk"):
        assert page.text.count(label) >= 4  # two tables at two steps


def test_page_when_names_hold_markup_then_they_are_inert(make):
    report = make(
        ("random_walk", EVIL),
        tickers=(EVIL, "</script><img src=x>"),
        failures=({"reason": EVIL, "status": EVIL},),
    )
    comparison = _comparison(_difference(EVIL, "squared_error", 0.1, 0.0, 0.2))
    text = render_page(report, comparison, {"name": EVIL, EVIL: EVIL, "settings": f"a\n{EVIL}"})
    page = _Page(text)
    assert [name for name, _ in page.elements].count("script") == 3
    assert not [a for name, a in page.elements if name == "img"]
    assert EVIL in page.text
    raw = next(t for a, t in page.scripts if a.get("id") == "figures")
    assert "<" not in raw  # nothing in it can close its script element
    data = json.loads(raw)
    labels = data["heat-level"]["1"]["data"][0]["x"]
    assert labels == ["&lt;script&gt;window.owned=1&lt;/script&gt;"]  # plotly reads HTML


def test_failures_when_more_than_a_hundred_then_capped_and_said(make):
    report = make(failures=tuple({"ticker": f"T{n}"} for n in range(150)))
    page = _Page(render_page(report, None, {}))
    assert "The first 100 of 150 failed forecasts" in page.text
    assert "50 failed forecasts left out here; all are in failures.parquet." in page.text


def test_failures_when_listed_then_each_with_its_reason(page):
    assert "persistence was 1.0001; it must be < 0.9999" in page.text
    assert "explosive" in page.text


def test_failures_when_none_then_said(make):
    page = _Page(render_page(make(failures=()), None, {}))
    assert "Every forecast that was asked for was made." in page.text


def _difference(label, loss, mean, low, high, **changes):
    return PairedDifference(
        **{
            "spec": f"id-{label}", "label": label, "step": 1, "loss": loss, "block_length": 3,
            "mean": mean, "low": low, "high": high, "n_cells": 425, "n_cutoffs": 25,
            "effect": None, "effect_low": None, "effect_high": None,
        } | changes
    )  # fmt: skip


def _comparison(*differences, **changes):
    given = {
        "baseline": "id-random_walk", "baseline_label": "random_walk", "step_size": 5,
        "level": 0.95, "n_resamples": 777, "seed": 3, "tail": 0.05, "sets": (), "key": "f00dhash",
    }  # fmt: skip
    return Comparison(**(given | changes), differences=differences)


def test_comparison_when_differences_then_rows_in_words_with_the_sign_said(report):
    comparison = _comparison(
        _difference("drift", "squared_error", -4.3292e-7, -6.09023e-6, 5.05348e-6),
        _difference("drift", "crps", -0.0123456, -0.0223456, -0.0023456),
        _difference("theta", "squared_error", 2.5e-6, 1.5e-6, 3.5e-6),
        _difference("theta", "crps", None, None, None, n_cells=0, n_cutoffs=0),
        _difference("drift", "crps", 0.01, None, None, step=5),
    )
    page = _Page(render_page(report, comparison, {}))
    section = page.text[page.text.rindex("Mean loss of the forecaster less") :]
    section = section[: section.index("Failed cells")]
    assert "Below 0: the forecaster loses less than the random walk" in section
    assert "Squared error, 1e−6" in section
    assert "−0.433 [−6.09, +5.05]" in section
    assert "↓ −12.3 [−22.3, −2.35]" in section
    assert "↑ +2.50 [+1.50, +3.50]" in section
    assert "425; CRPS 0" in section
    assert "no interval" in section
    assert section.index("Step 1:") < section.index("Step 5:")
    assert "777" in section
    assert not re.search("f00dhash|id-drift|block_length", section)


def test_page_when_incomplete_then_row_is_marked_and_losses_are_in_parentheses(make):
    changes = {"theta": {"incomplete": True, "n_common": 30, "rmse": 0.001}}
    page = _Page(render_page(make(changes=changes), None, {}))
    rows = [a for name, a in page.elements if name == "tr" and a.get("class") == "incomplete"]
    assert len(rows) == 4  # two tables at two steps
    assert "incomplete: 30 cells" in page.text
    assert "(0.00100" in page.text
    assert "(51.3%)" in page.text
    assert "in parentheses: incomplete" in page.text


def test_page_when_cells_are_dropped_then_captions_say_common_of_asked(page):
    assert "Step 5: 110 of 120 cells in common over 40 cutoffs" in page.text


def test_page_when_tickers_are_quarantined_then_said_before_the_contents(report):
    item = {"ticker": EVIL, "session": "2019-05-03", "row": 7, "ratio": 9.5, "reason": "no split"}
    page = _Page(render_page(report, None, {"quality": {"quarantined": [item]}}))
    notice = f"Quarantined: 1 ticker is left out of every figure: {EVIL} (close moved"
    assert notice in page.text
    assert page.text.index(notice) < page.text.index("Ranked by RMSE skill")
    assert [name for name, _ in page.elements].count("script") == 3


def test_page_when_not_a_number_then_en_dash(make):
    page = _Page(render_page(make(changes={"theta": {"profit_factor": None}}), None, {}))
    assert not re.search(r"\bnan\b", page.text, re.IGNORECASE)
    assert "\N{EN DASH}" in page.text


def test_page_when_glossary_then_each_measure_states_its_direction(page):
    glossary = page.text[page.text.rindex("Glossary") :]
    assert glossary.count("Lower is better") == 8
    assert "Best at 90%" in glossary


def test_page_when_many_specs_and_cutoffs_then_own_part_stays_small(make):
    labels = ("random_walk", *(f"m{n}" for n in range(20)))
    report = make(labels, n_cutoffs=250)
    small = len(render_page(make(), None, {}))
    # 13 specs x 250 cutoffs x 2 steps x 6 figures, 19 characters a point, is 0.74 MB
    assert len(render_page(report, None, {})) - small < 1_200_000


def test_page_when_forecasters_are_not_drawn_then_said(make):
    page = _Page(
        render_page(make(("random_walk", *(f"m{n:02d}" for n in range(15))), n_cutoffs=3), None, {})
    )
    assert "3 others are in the tables and the Parquet files only." in page.text


def test_page_when_cells_were_dropped_then_counted_by_cause(report):
    cell = {"split": 0, "ticker": "AAA", "cutoff": date(2019, 1, 2), "step": 5, "cause": "theta"}
    dropped = pa.Table.from_pylist([cell, cell], schema=report.dropped.schema)
    page = _Page(render_page(replace(report, dropped=dropped), None, {}))
    assert re.search(r"Cells outside the common set.*step 5\s*2\s*theta", page.text)
