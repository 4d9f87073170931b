"""The tables of a search's page: the choice, its worth, and the trials."""

from collections.abc import Mapping, Sequence

from pmx_ray.backtest.tuned import TUNED
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.report import typeset
from pmx_ray.report.markup import Markup, markup, tag
from pmx_ray.report.tables import scroll
from tune_jobs import wording
from tune_jobs.choice import TRIALS
from tune_jobs.history import State
from tune_jobs.job import Search
from tune_jobs.outcome import Outcome, Tried

MOST_LISTED = 30
"""Trials of a table; it says how many more there are."""


def choice(search: Search, outcome: Outcome) -> Markup:
    """Return what was chosen beside the default, and how a sweep takes it."""
    default, *chosen = (
        {"": ForecasterSpec.parse(one).label, **one}
        for one in (outcome.tuned.default, *outcome.tuned.forecasters)
    )
    searched = [key for key, _ in search.space.dimensions]
    fixed = sorted({key for key in default if key not in {"", "name", *searched}})
    titles = ("Parameter", "Default", *_numbered("Choice", len(chosen)))
    rows = [
        (key, str(default.get(key)), *(_changed(default, one, key) for one in chosen))
        for key in (*searched, *fixed)
    ]
    return markup(
        _narrow(_table("The default and the choice; what differs is bold", titles, rows)),
        tag("p", "In the settings of a sweep:"),
        tag("pre", f"tuned: {search.folder.name}/{TUNED}   # or wherever the folder lies"),
    )


def _numbered(name: str, n: int) -> list[str]:
    return [name] if n == 1 else [f"{name} {k + 1}" for k in range(n)]


def _changed(default: Mapping[str, object], one: Mapping[str, object], key: str) -> str:
    text = str(one.get(key))
    return text if one.get(key) == default.get(key) else tag("strong", text)


def worth(outcome: Outcome) -> Markup:
    """Return every number of ``gain.json``, with its interval."""
    gain = outcome.gain
    rows = (
        ("Default", gain.tuning_default, gain.default, False),
        ("Choice", gain.tuning, gain.tuned, False),
        ("Improvement: default less choice", None, gain.improvement, True),
        ("Gap: later less tuning folds, of the choice", None, gain.gap, True),
        ("Overfit: the gap less the default's", None, gain.excess_gap, True),
    )
    seen = wording.number(gain.improved_on_tuning, signed=True)
    inner = _table(
        f"Loss ({wording.loss_name(outcome)} over the random walk's) with "
        f"{typeset.percent(outcome.level, 0)} intervals",
        ("", "Tuning folds", "Later folds"),
        [
            (
                name,
                wording.written(tuning) if tuning else seen if "Improvement" in name else "",
                wording.written(later, signed=signed),
            )
            for name, tuning, later, signed in rows
        ],
    )
    return _narrow(inner)


def _narrow(table: Markup) -> Markup:
    """Return a table of few columns no wider than it can be read along its rows."""
    return tag("div", table, style="max-width:48rem")


def trials(outcome: Outcome) -> Markup:
    """Return the best trials, and why others failed."""
    ranked = outcome.ranked
    failed = outcome.those(State.FAIL)
    listed = _table(
        "The best first; then those stopped early, whose loss is over fewer folds; then the failed",
        ("Configuration", "Trial", "State", "Loss", "Rungs", "Seconds"),
        [_trial(outcome, one) for one in ranked[:MOST_LISTED]],
    )
    return markup(listed, _more(len(ranked)), _failures(failed) if failed else Markup())


def _trial(outcome: Outcome, one: Tried) -> tuple[str, ...]:
    default = " (default)" if one.label == outcome.default else ""
    state = tag("strong", "chosen") if outcome.is_chosen(one) else wording.STATES[one.state]
    return (
        f"{one.label}{default}",
        str(one.number),
        state,
        wording.number(one.loss),
        str(len(one.rungs)),
        typeset.fixed(one.fit_s, 1),
    )


def _failures(failed: Sequence[Tried]) -> Markup:
    return markup(
        tag("h3", "Failed trials"),
        _table(
            f"{typeset.things(len(failed), 'trial')} failed, and none of them can be chosen",
            ("Configuration", "Trial", "Why"),
            [(one.label, str(one.number), one.why) for one in failed[:MOST_LISTED]],
            words=frozenset({"Why"}),
        ),
        _more(len(failed)),
    )


def _more(n: int) -> Markup:
    if n <= MOST_LISTED:
        return Markup()
    return tag("p", f"And {n - MOST_LISTED:,} more in {TRIALS}.", class_="note")


def _table(
    caption: str,
    titles: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    words: frozenset[str] = frozenset(),
) -> Markup:
    """Return a table whose first column names its rows; text of ``words`` wraps."""
    look = ["words" if title in words else "" for title in titles]
    head = tag(
        "tr", *(tag("th", t, scope="col", class_=c) for t, c in zip(titles, look, strict=True))
    )
    body = (
        tag(
            "tr",
            tag("th", row[0], scope="row"),
            *(tag("td", cell, class_=c) for cell, c in zip(row[1:], look[1:], strict=True)),
        )
        for row in rows
    )
    inner = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", *body))
    return scroll(inner, caption, pinned=True)
