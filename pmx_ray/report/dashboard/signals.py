"""The page of the signals: what the newest book serves, and how good past signals were."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from pmx_ray.backtest.costs import Costs
from pmx_ray.data.panel import Panel
from pmx_ray.ledger.flags import FlagRecord
from pmx_ray.ledger.signal_log import SignalCounts, SignalRecord, latest_of_each
from pmx_ray.report import board, shell, typeset
from pmx_ray.report.dashboard.history import MARKET, NAMES, STYLES, WINDOWS, history_plots
from pmx_ray.report.dashboard.layout import (
    NAMED,
    NUMBER,
    age,
    choices,
    document,
    missing,
    moment,
    table,
    verdict,
)
from pmx_ray.report.dashboard.outcomes import outcomes
from pmx_ray.report.dashboard.served import (
    layers_table,
    said_table,
    served,
    served_sentence,
    served_table,
    stake_sentence,
)
from pmx_ray.report.markup import Markup, markup, tag
from pmx_ray.report.shell import Chapter
from pmx_ray.signals.quality import SignalQuality, backtest_signal_quality
from pmx_ray.signals.types import SignalBook, Source
from pmx_ray.stats.intervals import Interval

NAME = "signals.html"

SERVE = "make serve"
"""The command that makes signals."""

UNPRICED = "There are no prices at hand to hold the past signals against."
PRICED = "pmx dashboard --config configs/serve.yaml"
"""Without prices: what is said of past signals, and the command that has them."""


def signals_page(
    book: SignalBook | None,
    records: Sequence[SignalRecord],
    counts: SignalCounts,
    *,
    flags: FlagRecord | None,
    panel: Panel | None,
    costs: Costs,
    at: datetime,
) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    book : SignalBook or None
        The newest one.
    records : sequence of SignalRecord
        Signals of the last year, as ``SignalLog.since`` orders them.
    counts : SignalCounts
        Of all signals there ever were.
    flags : FlagRecord or None
        The flags in force.
    panel : Panel or None
        Prices up to today; without them no outcome is shown.
    costs : Costs
        What a trade costs.
    at : datetime
        When the facts were read, UTC.
    """
    chapters = [*_of_book(book, flags), *_of_past(records, panel, costs)]
    spoke = {one.source for one in records}
    drawn = [name for name in STYLES if name in spoke or (name == MARKET and spoke)]
    return document(
        NAME,
        at=at,
        opening=_opening(book, counts, flags, at),
        chapters=chapters,
        controls=_controls(drawn) if drawn else None,
        choice=next(iter(WINDOWS)),
    )


def _opening(
    book: SignalBook | None, counts: SignalCounts, flags: FlagRecord | None, at: datetime
) -> Markup:
    if book is None:
        none = missing("No book of signals was ever computed.", SERVE)
        return verdict("There are no signals yet.", notes=[none])
    found = served(book, flags)
    terms = [
        ("Cutoff", f"{book.cutoff}, the last session any model saw."),
        ("Computed", f"{moment(book.computed_at)} UTC, {age(at - book.computed_at)}."),
        ("At stake", stake_sentence(found)),
        ("Ever made", counts_sentence(counts)),
    ]
    silent = {
        source: f"The {NAMES[source]} did not speak: {why}" for source, why in book.failures.items()
    }
    shadow = silent.pop(Source.CHALLENGER, "")
    notes = [note for note in (book.note, shadow) if note]
    return verdict(served_sentence(found), terms, notes=notes, warnings=silent.values())


def counts_sentence(counts: SignalCounts) -> str:
    """Return in a sentence how many signals there were, and what the validator made of them."""
    return (
        f"{typeset.things(counts['n'], 'signal')}: {counts['valid']:,} passed the validator, "
        f"{counts['invalid']:,} did not, {counts['not_judged']:,} not judged."
    )


def _of_book(book: SignalBook | None, flags: FlagRecord | None) -> list[Chapter]:
    if book is None:
        return []
    lead = (
        "As the flags route them now. A replica may hold back what it finds stale; the answer "
        "itself says so."
    )
    return [
        Chapter("served", "Served now", lead, served_table(served(book, flags))),
        Chapter("said", "What each model said", "", said_table(book), layers_table(book)),
    ]


def _of_past(records: Sequence[SignalRecord], panel: Panel | None, costs: Costs) -> list[Chapter]:
    if not records:
        return [Chapter("quality", "Quality", "", missing("There are no past signals.", SERVE))]
    if panel is None:
        return [Chapter("quality", "Quality", "", missing(UNPRICED, PRICED))]
    plots = history_plots(outcomes(latest_of_each(records), panel, costs=costs), panel)
    lead = (
        "Of each model in each place it had, newest first. Right and net return are of signals to "
        "buy or sell whose outcome came in the window; passed is of those made in it. Intervals "
        "cover 95 %; tickers of a cutoff move together, and so do signals whose horizons overlap."
    )
    return [
        Chapter("quality", "Quality", lead, quality_table(records, panel, costs)),
        Chapter("history", "History", "", shell.gallery(plots, choice="last"), plots=plots),
    ]


def quality_table(records: Sequence[SignalRecord], panel: Panel, costs: Costs) -> Markup:
    """Return a row a source, model and window: hit rate, net return, share passed, intervals."""
    rows = []
    for source in Source:
        spoke: dict[str, list[SignalRecord]] = {}
        for record in records:
            if record.source == source.value:
                spoke.setdefault(record.model_id, []).append(record)
        for own in sorted(spoke.values(), key=lambda said: said[-1].cutoff, reverse=True):
            latest, name = latest_of_each(own), _model(own[-1])
            for window, n in WINDOWS.items():
                rng = np.random.default_rng(0)
                found = backtest_signal_quality(latest, panel, costs=costs, rng=rng, n_sessions=n)
                rows.append([NAMES[source].capitalize(), name, window, *_quality(found)])
    columns = [
        ("Source", NAMED), ("Model", NAMED), ("Last", NAMED), ("Right", NUMBER), ("Of", NUMBER),
        ("Net return a trade", NUMBER), ("Trades", NUMBER), ("Passed", NUMBER), ("Judged", NUMBER),
        ("Signals", NUMBER),
    ]  # fmt: skip
    return table("Quality of past signals", columns, rows, pinned=True)


def _model(record: SignalRecord) -> str:
    """Return a model's label, and enough of its id to tell it from another of that label."""
    return f"{record.label} {record.model_id[:8]}"


def _quality(found: SignalQuality) -> list[str | Markup]:
    return [
        _ranged(found.hit_rate_frac, found.hit_rate_interval),
        typeset.count(found.n_sided),
        _ranged(found.net_return, found.net_return_interval, decimals=2, signed=True),
        typeset.count(found.n_traded),
        _ranged(found.passed_frac, found.passed_interval),
        typeset.count(found.n_judged),
        typeset.count(found.n_signals),
    ]


def _ranged(
    value: float | None, ends: Interval | None, *, decimals: int = 1, signed: bool = False
) -> Markup:
    if value is None:
        return markup(typeset.DASH)
    text = typeset.skill(value, decimals) if signed else typeset.percent(value, decimals)
    known = ends is not None and typeset.interval(*ends, decimals, signed=signed)
    return markup(text, tag("span", known, class_="range") if known else Markup())


def _controls(drawn: Sequence[str]) -> Markup:
    key = (
        tag(
            "li",
            tag(
                "button",
                board.swatch(STYLES[name]),
                NAMES[name],
                type="button",
                data_spec=str(name),
                aria_pressed="true",
                title="show or hide in all figures",
            ),
        )
        for name in drawn
    )
    return tag(
        "div",
        choices("Last", tuple(WINDOWS), chosen=next(iter(WINDOWS))),
        tag("ul", *key, class_="key", aria_label="Sources in the figures"),
        class_="controls",
    )
