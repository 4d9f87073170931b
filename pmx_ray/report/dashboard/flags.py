"""The page of the flags: what they are, who changed them, and how fast a change arrived."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from pmx_ray.ledger.flag_arrivals import Propagation
from pmx_ray.ledger.flags import FlagRecord
from pmx_ray.ledger.verdict import AuditVerdict
from pmx_ray.report import typeset
from pmx_ray.report.dashboard.layout import (
    NAMED,
    NUMBER,
    WORDS,
    age,
    altered,
    document,
    missing,
    moment,
    seconds,
    table,
    verdict,
)
from pmx_ray.report.dashboard.served import known_flags
from pmx_ray.report.markup import Markup, markup, tag
from pmx_ray.report.shell import Chapter
from pmx_ray.signals.flags import FlagValues

NAME = "flags.html"

MAX_LISTED = 100
"""Changes and arrivals listed, newest first."""

CHANGE = "pmx flags set NAME=VALUE --reason WHY"
"""The command that changes a flag."""

MEANINGS = {
    "kill_switch": "No signal trades: every ticker gets hold.",
    "llm_only": "Signals come from the language model alone; the fallback answers where it has "
    "none.",
    "time_series_pct": "Share of tickers that the champion serves; the others get the fallback.",
    "merge_llm": "The language model's signal is merged into the champion's.",
    "shadow_challenger": "The challenger is computed beside the champion and never served.",
}
"""What each flag does, in a sentence."""


def flags_page(
    history: Sequence[FlagRecord],
    propagation: Sequence[Propagation],
    audit: AuditVerdict,
    *,
    at: datetime,
) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    history : sequence of FlagRecord
        Every version, newest first; empty where no flag was ever set.
    propagation : sequence of Propagation
        How long each took to arrive, newest first, where replicas were there to see it.
    audit : AuditVerdict
        Whether the log that the versions stand in is whole.
    at : datetime
        When the facts were read, UTC.
    """
    chapters = [
        Chapter("values", "Values", "", _values(history)),
        Chapter("history", "History", "", _history(history, at)),
        Chapter(
            "propagation",
            "How fast a change arrived",
            "Each replica notes when a version took effect there; the slowest one counts. One "
            "that started afterwards did not see it arrive.",
            *_propagation(propagation),
        ),
    ]
    return document(
        NAME, at=at, opening=_opening(history, propagation, audit, at), chapters=chapters
    )


def flag_headline(history: Sequence[FlagRecord]) -> str:
    """Return in a sentence what the flags make the service do."""
    values = known_flags(history[0] if history else None)
    if values.kill_switch:
        return "The kill switch is on: nothing trades."
    if values.llm_only:
        return "Signals come from the language model alone."
    if values.time_series_pct < 100:
        merged = ", merged with the language model" if values.merge_llm else ""
        return (
            f"The champion serves {values.time_series_pct} of 100 tickers{merged}; the fallback "
            "serves the rest."
        )
    if values.merge_llm:
        return "The champion serves every ticker, merged with the language model."
    return "The champion serves every ticker."


def _opening(
    history: Sequence[FlagRecord],
    propagation: Sequence[Propagation],
    audit: AuditVerdict,
    at: datetime,
) -> Markup:
    if not history:
        unset = missing("No flag was ever set; these are the defaults, version 0.", CHANGE)
        return verdict(flag_headline(history), notes=[unset], warnings=altered(audit))
    now = history[0]
    terms = [
        ("Version", f"{now.version}, set {age(at - now.at)} by {now.actor}"),
        ("Why", now.reason),
    ]
    if propagation:
        terms.append(("Arrived", arrival_sentence(propagation)))
    return verdict(flag_headline(history), terms, warnings=altered(audit))


def arrival_sentence(propagation: Sequence[Propagation]) -> str:
    """Return in a sentence how long changes took to reach their slowest replica."""
    slowest = np.array([one.slowest_s for one in propagation])
    if len(slowest) == 1:
        return f"At the slowest replica within {seconds(float(slowest[0]))}, the one change seen."
    tail = float(np.quantile(slowest, 0.99, method="higher"))
    return (
        f"At the slowest replica: half of {len(slowest)} changes within "
        f"{seconds(float(np.median(slowest)))}, 99 % within {seconds(tail)}, all within "
        f"{seconds(float(slowest.max()))}."
    )


def _values(history: Sequence[FlagRecord]) -> Markup:
    values = history[0].values if history else FlagValues().model_dump()
    usual = FlagValues().model_dump()
    rows = (
        [
            tag("code", name),
            tag("strong", shown(value)) if value != usual.get(name) else shown(value),
            shown(usual[name]) if name in usual else typeset.DASH,
            MEANINGS.get(name, "Not known to this release."),
        ]
        for name, value in values.items()
    )
    columns = [("Flag", NAMED), ("Value", NAMED), ("Default", NAMED), ("What it does", WORDS)]
    return table("Each flag; set apart where it is not the default", columns, rows)


def shown(value: object) -> str:
    """Return a flag's value as a person says it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def changed(history: Sequence[FlagRecord], place: int) -> str:
    """Return what the version at ``place`` changed of the one before it."""
    before = history[place + 1].values if place + 1 < len(history) else FlagValues().model_dump()
    now = history[place].values
    parts = [
        f"{name} {shown(before.get(name, typeset.DASH))} to {shown(value)}"
        for name, value in now.items()
        if before.get(name) != value
    ]
    return ", ".join(parts) or "nothing"


def _history(history: Sequence[FlagRecord], at: datetime) -> Markup:
    if not history:
        return missing("No flag was ever set.", CHANGE)
    rows = (
        [
            str(one.version),
            markup(moment(one.at), " ", tag("span", age(at - one.at), class_="range")),
            one.actor,
            changed(history, place),
            one.reason,
        ]
        for place, one in enumerate(history[:MAX_LISTED])
    )
    columns = [
        ("Version", NAMED), ("At (UTC)", NAMED), ("By", NAMED), ("Change", WORDS), ("Why", WORDS),
    ]  # fmt: skip
    return table(f"The last {typeset.things(len(history), 'version')}", columns, rows)


def _propagation(propagation: Sequence[Propagation]) -> list[Markup]:
    if not propagation:
        return [missing("No replica was there to see a change.", "make serve")]
    rows = (
        [
            str(one.version),
            moment(one.changed_at),
            typeset.count(one.n_replicas),
            seconds(one.slowest_s),
        ]
        for one in propagation[:MAX_LISTED]
    )
    columns = [
        ("Version", NAMED), ("Changed at (UTC)", NAMED), ("Replicas", NUMBER), ("Slowest", NUMBER),
    ]  # fmt: skip
    return [
        tag("p", arrival_sentence(propagation)),
        table("Each change, newest first", columns, rows),
    ]
