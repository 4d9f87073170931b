"""The page of a sweep's cells: one HTML file that holds everything it shows and asks nobody."""

import json
import shlex
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib.resources import files

from pmx_ray.report import shell, typeset
from pmx_ray.report.cells.document import document
from pmx_ray.report.cells.reading import SweepCells
from pmx_ray.report.cells.states import CODES, FIRST_FAILED, STATES
from pmx_ray.report.markup import Markup, tag
from pmx_ray.report.tables import scroll

CELLS_PAGE = "cells.html"
"""Name of the page in a sweep folder."""

FEW_FOLDS = 36
"""Folds up to which two grids stand side by side."""

MAX_LISTED = 100
"""Rows of the table of failures."""


def render_cells(cells: SweepCells, *, as_of: str = "", refresh_s: int = 0) -> str:
    """Return the page as HTML; of a sweep that is over, the same cells give the same bytes.

    Parameters
    ----------
    cells : SweepCells
        What is shown.
    as_of : str
        When it was read; for a sweep that is not over.
    refresh_s : int
        Seconds after which the page loads itself again, 0 for never; somebody writes it anew.
    """
    name = cells.sweep.settings.name
    refresh_s = refresh_s if cells.n_open else 0
    body = tag(
        "body",
        tag(
            "div",
            _top(cells),
            tag(
                "main",
                _standing(cells, as_of=as_of if cells.n_open else "", refresh_s=refresh_s),
                _controls(cells, refresh_s),
                tag(
                    "div",
                    *(_panel(cells, n) for n in range(len(cells.sweep.specs))),
                    class_="panels few" if len(cells.sweep.plan) <= FEW_FOLDS else "panels",
                ),
                _failures(cells),
            ),
            class_="page",
        ),
        tag(
            "aside",
            id="cell",
            hidden=True,
            tabindex="-1",
            role="dialog",
            aria_labelledby="cell-title",
        ),
        shell.data(
            "cells", json.dumps(document(cells, refresh_s=refresh_s), separators=(",", ":"))
        ),
        tag("script", Markup(_static("cells.js"))),
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag(
            "meta",
            http_equiv="Content-Security-Policy",
            content=shell.policy([_static("cells.js")]),
        ),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("link", rel="icon", href="data:,"),
        tag("title", f"{name}: cells"),
        tag("style", Markup(shell.static("page.css") + _static("cells.css"))),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _top(cells: SweepCells) -> Markup:
    sweep = cells.sweep
    sessions = sweep.panel.sessions[sweep.plan.cutoff]
    facts = (
        typeset.things(len(sweep.specs), "forecaster"),
        typeset.things(sweep.panel.n_tickers, "ticker"),
        f"{typeset.things(len(sweep.plan), 'fold')} {min(sessions)} to {max(sessions)}",
        typeset.things(cells.states.size, "cell"),
        f"sweep {sweep.sweep_id[:12]}",
    )
    return tag(
        "header",
        tag("h1", f"{sweep.settings.name}: cells"),
        tag("p", " · ".join(facts)),
        class_="top",
    )


def _standing(cells: SweepCells, *, as_of: str, refresh_s: int) -> Markup:
    """Return how the sweep stands, in one sentence, and how the page keeps up."""
    n, counts = cells.states.size, cells.counts()
    failed = f"{typeset.things(cells.n_failed, 'cell')} failed" if cells.n_failed else "none failed"
    if cells.n_open:
        running = f", {counts['running']:,} under way" if "running" in counts else ""
        text = f"{n - cells.n_open:,} of {n:,} cells are over{running}; {failed}."
    else:
        text = f"Every cell is over; {failed}."
    return tag(
        "section",
        tag("h2", text),
        tag("p", *_keeping_up(cells, as_of, refresh_s), class_="note") if as_of else Markup(),
        class_="verdict",
        aria_label="How the sweep stands",
    )


def _keeping_up(cells: SweepCells, as_of: str, refresh_s: int) -> Iterator[str]:
    yield f"As of {as_of}. "
    if refresh_s:
        yield f"The page loads itself again every {refresh_s} s, but not while a cell is open."
    else:
        yield "This keeps it up to date: "
        yield tag("code", f"pmx cells {shlex.quote(str(cells.sweep.folder))} --watch")


def _controls(cells: SweepCells, refresh_s: int) -> Markup:
    """Return the legend, whose entries bring a state out, and the switches of what is shown."""
    accepted = set(cells.sweep.settings.accepted_failures)
    legend = (
        tag(
            "li",
            tag(
                "button",
                tag("i", class_=f"state {name}"),
                name,
                tag("b", f"{n:,}"),
                type="button",
                data_state=name,
                aria_pressed="false",
                title=STATES[CODES[name]].meaning + (", accepted" if name in accepted else ""),
            ),
        )
        for name, n in cells.counts().items()
    )
    switches = [("failing", "only tickers with a failed cell")] if cells.n_failed else []
    switches += [("fresh", "load again by itself")] if refresh_s else []
    return tag(
        "div",
        tag("ul", *legend, class_="key", aria_label="States; press one to bring it out"),
        *(
            tag(
                "label",
                tag("input", type="checkbox", id=name, checked=name == "fresh"),
                words,
                class_="switch",
            )
            for name, words in switches
        ),
        class_="controls",
    )


def _panel(cells: SweepCells, n: int) -> Markup:
    """Return the place of one forecaster's grid."""
    label = cells.sweep.specs[n].label
    states = cells.states[n]
    failed = int((states >= FIRST_FAILED).sum())
    said = f"{failed:,} of {typeset.things(states.size, 'cell')} failed"
    keys = "arrow keys move, n goes to the next failed cell, Enter opens"
    return tag(
        "section",
        tag("h2", label, id=f"spec-{n}"),
        tag("p", said, class_="lead"),
        tag(
            "div",
            tag(
                "canvas",
                data_spec=str(n),
                tabindex="0",
                role="application",
                aria_roledescription="grid of cells",
                aria_label=f"{label}, a row a ticker and a column a fold; {keys}",
                aria_describedby=f"at-{n}",
            ),
            class_="grid",
        ),
        tag("p", Markup("&nbsp;"), id=f"at-{n}", class_="at", role="status"),
        aria_labelledby=f"spec-{n}",
    )


def _failures(cells: SweepCells) -> Markup:
    """Return the failures by forecaster, status and reason, each with a way to its first cell."""
    groups: Counter[tuple[int, str, str]] = Counter()
    first: dict[tuple[int, str, str], str] = {}
    for spec, status, reason, place, size in _grouped(cells):
        key = spec, status, reason
        groups[key] += size
        first.setdefault(key, place)
    if not groups:
        return Markup()
    labels = [spec.label for spec in cells.sweep.specs]
    rows = (
        tag(
            "tr",
            tag("th", labels[spec], scope="row"),
            tag("td", f"{n:,}"),
            tag("td", tag("i", class_=f"state {status}"), " ", status, class_="name"),
            tag("td", reason, class_="words"),
            tag(
                "td",
                tag(
                    "button", "open the first", type="button", data_open=first[spec, status, reason]
                ),
            ),
        )
        for (spec, status, reason), n in groups.most_common(MAX_LISTED)
    )
    titles = {"Forecaster": "name", "Cells": "", "Status": "name", "Reason": "name", "Cell": ""}
    head = tag("tr", *(tag("th", t, scope="col", class_=kind) for t, kind in titles.items()))
    caption = f"{typeset.things(len(groups), 'reason')} of {cells.n_failed:,} failed cells"
    if len(groups) > MAX_LISTED:
        caption += f"; the {MAX_LISTED} most frequent, all are in failures.parquet"
    table = tag(
        "table", tag("caption", caption), tag("thead", head), tag("tbody", *rows), class_="facts"
    )
    return tag(
        "section",
        tag("h2", "Failed cells by reason", id="failed"),
        scroll(table, caption),
        tag("noscript", tag("p", "The grids and the cells need JavaScript.", class_="note")),
        aria_labelledby="failed",
    )


def _grouped(cells: SweepCells) -> Iterator[tuple[int, str, str, str, int]]:
    """Yield spec, status, reason, the place of a cell, and how many cells it stands for."""
    for cell in cells.failed:
        place = f"{cell.spec}.{cell.ticker}.{cell.fold}"
        yield cell.spec, cell.status, cell.reason, place, 1
    row_of = {ticker: n for n, ticker in enumerate(cells.sweep.panel.tickers)}
    for facts in cells.blocks:
        if facts.given_up is not None:
            block, spec = facts.block, facts.spec
            place = f"{spec}.{row_of[block.tickers[0]]}.{block.first}"
            size = len(block.tickers) * (block.stop - block.first)
            yield spec, "quarantined", facts.given_up, place, size


@cache
def _static(name: str) -> str:
    return (files("pmx_ray.report.cells") / "static" / name).read_text(encoding="utf-8")
