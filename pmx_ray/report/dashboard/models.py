"""The page of the models: the language model against the others, on the sweep last evaluated."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from pmx_ray.governance.leaders import Leader, leaders
from pmx_ray.report import board, figures, gallery, shell, tables, typeset, wording
from pmx_ray.report.dashboard.distribution import distribution_plots
from pmx_ray.report.dashboard.layout import (
    NAMED,
    NUMBER,
    document,
    missing,
    table,
    verdict,
)
from pmx_ray.report.dashboard.sweeps import LLM, EvaluatedSweep
from pmx_ray.report.markup import Markup, markup, tag
from pmx_ray.report.page import controls
from pmx_ray.report.shell import Chapter
from pmx_ray.report.view import ReportView, records

NAME = "models.html"

MAX_TICKERS = 100
"""Tickers listed with their leader; the page says how many more there are."""


def models_page(sweep: EvaluatedSweep | None, *, at: datetime) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    sweep : EvaluatedSweep or None
        What was evaluated; None where nothing was, and the page says how to.
    at : datetime
        When the facts were read, UTC.
    """
    if sweep is None:
        none = missing("No sweep has been evaluated.", "pmx sweep configs/sweep/llm.yaml")
        opening = verdict("There is no evaluation to show.", notes=[none])
        return document(NAME, at=at, opening=opening, chapters=())
    view = ReportView.of(sweep.report)
    return document(
        NAME,
        at=at,
        opening=_opening(view, sweep),
        chapters=_chapters(sweep),
        controls=controls(view),
        choice=str(view.steps[0]) if view.steps else "",
    )


@lru_cache(maxsize=2)  # a second of work, and the same until the sweep is evaluated again
def _chapters(sweep: EvaluatedSweep) -> tuple[Chapter, ...]:
    view = ReportView.of(sweep.report)
    styles = figures.styles(view)
    boards = (
        tag("div", board.leaderboard(view, step, styles), data_at_step=str(step))
        for step in view.steps
    )
    rolling, paths = gallery.rolling_plots(view), gallery.strategy_plots(view)
    spread = distribution_plots(view)
    none = missing("Its folds are no path in time, so there is no equity and no drawdown.")
    return (
        Chapter(
            "leaderboard",
            "Side by side",
            f"Every forecaster on the same cells; skill is the loss saved against {view.walk}.",
            *boards,
        ),
        Chapter(
            "rolling", "Over time", gallery.undrawn(view), shell.gallery(rolling), plots=rolling
        ),
        Chapter(
            "drawdown",
            "Equity and drawdown",
            "What trading the forecasts would have earned, net of costs.",
            shell.gallery(paths) if paths else none,
            plots=paths,
        ),
        Chapter(
            "losses", "Distribution of the losses", "", shell.gallery(spread, thirds=True),
            plots=spread,
        ),
        Chapter(
            "leaders",
            "Leaders",
            "By RMSE skill; the baseline leads where nothing beats it. A lead is what was seen, "
            "and with few cutoffs it may be chance.",
            *_leaders(view, sweep),
        ),
        Chapter("failures", "Failed cells", "", tables.failures(view)),
    )  # fmt: skip


def _opening(view: ReportView, sweep: EvaluatedSweep) -> Markup:
    said = llm_sentences(view)
    facts = sweep.provenance
    notes = [
        f"Sweep {sweep.folder}: {typeset.things(len(view.specs), 'forecaster')}, "
        f"{typeset.things(int(view.tickers['ticker'].nunique()), 'ticker')}, cutoffs "
        f"{facts.get('first_cutoff', typeset.DASH)} to {facts.get('last_cutoff', typeset.DASH)}. "
        f"Intervals are of {typeset.percent(view.level, 0)} and not adjusted for their number."
    ]
    warnings = wording.warnings(view)
    if not said:
        notes.insert(0, markup("To change that: ", tag("code", "pmx sweep configs/sweep/llm.yaml")))
        return verdict(llm_headline(view), notes=notes, warnings=warnings)
    return verdict(
        llm_headline(view),
        [(f"Step {step}", [tag("p", text) for text in texts]) for step, texts in said],
        notes=notes,
        warnings=warnings,
    )


def llm_headline(view: ReportView) -> str:
    """Return in one sentence whether the language model beats the baseline anywhere."""
    labels = _llm_labels(view)
    if not labels:
        return "The language model is not in this sweep."
    beaten = [
        step
        for step in view.steps
        if any(entry.label in labels for entry in wording.verdict(view, step, "price level").above)
    ]
    if beaten:
        steps = typeset.listing([str(step) for step in beaten], most=20)
        return f"The language model beats {view.walk} on price level at step {steps}."
    return f"The language model does not beat {view.walk} on price level at any step."


def llm_sentences(view: ReportView) -> list[tuple[int, list[str]]]:
    """Return what each step says about the language model; empty where the sweep has none."""
    labels = _llm_labels(view)
    return [(step, _at_step(view, step, labels)) for step in view.steps] if labels else []


def _at_step(view: ReportView, step: int, labels: Sequence[str]) -> list[str]:
    rows = records(view.at(step))
    texts = [_of(row, len(rows)) for row in rows if row["label"] in labels]
    best = min(rows, key=lambda row: int(row["rank"]))
    if best["label"] not in labels:
        skill = typeset.skill(best["skill_rmse"])
        texts.append(f"First is {best['label']}, with a skill of {skill} on price level.")
    return texts


def _of(row: Mapping[str, Any], n: int) -> str:
    level = _skill(row, "skill_rmse", "price level")
    parts = [
        f"{row['label']} has a skill of {level} and of {_skill(row, 'skill_qlike', 'variance')}",
        f"rank {int(row['rank'])} of {n}",
    ]
    if row["incomplete"]:
        parts.append("incomplete, on fewer cells than the rest")
    if math.isfinite(row["hit_rate"]):
        ends = typeset.interval(row["hit_rate_low"], row["hit_rate_high"], 1, signed=False)
        parts.append(f"right direction {typeset.percent(row['hit_rate'])} {ends}".rstrip())
    return f"{'; '.join(parts)}."


def _skill(row: Mapping[str, Any], name: str, subject: str) -> str:
    ends = typeset.interval(row[f"{name}_low"], row[f"{name}_high"])
    return f"{typeset.skill(row[name])} on {subject}{f' {ends}' if ends else ''}"


def _llm_labels(view: ReportView) -> tuple[str, ...]:
    rows = view.leaderboard[view.leaderboard["name"] == LLM]
    return tuple(dict.fromkeys(str(label) for label in rows["label"]))


def _leaders(view: ReportView, sweep: EvaluatedSweep) -> list[Markup]:
    if sweep.comparison is None:
        return [missing("The sweep has not been compared.", f"pmx compare {sweep.folder}")]
    parts = []
    for step in view.steps:
        found = leaders(sweep.comparison, sweep.report, step=step)
        n_cutoffs = _cutoffs_of_regimes(sweep, step)
        inner = (
            _led([one for one in found if one.scope == "regime"], "regime", step, n_cutoffs),
            _led([one for one in found if one.scope == "ticker"], "ticker", step, {}),
        )
        parts.append(tag("div", tag("div", *inner, class_="plots"), data_at_step=str(step)))
    return parts


def _led(found: Sequence[Leader], scope: str, step: int, n_cutoffs: dict[str, int]) -> Markup:
    if not found:
        return missing(f"No {scope} has a figure at step {step}.")
    counts: dict[str, int] = {}
    for one in found:
        counts[one.label] = counts.get(one.label, 0) + 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    tally = typeset.listing([f"{label} {n}" for label, n in ordered], most=6)
    columns = [
        (scope.capitalize(), NAMED),
        ("Leader", NAMED),
        ("RMSE skill", NUMBER),
        ("Ahead of the next", NUMBER),
        *([("Cutoffs", NUMBER)] if n_cutoffs else []),
    ]
    rows = (
        [
            one.name.replace("_", " "),
            one.label,
            typeset.skill(one.skill),
            typeset.percent(one.margin, 2),
            *([typeset.count(n_cutoffs.get(one.name, 0))] if n_cutoffs else []),
        ]
        for one in found[:MAX_TICKERS]
    )
    rest = len(found) - MAX_TICKERS
    return tag(
        "div",
        table(f"Leader by {scope}, step {step}: {tally}", columns, rows),
        tag("p", f"{typeset.things(rest, scope)} left out here.", class_="note")
        if rest > 0
        else Markup(),
    )


def _cutoffs_of_regimes(sweep: EvaluatedSweep, step: int) -> dict[str, int]:
    assert sweep.comparison is not None  # noqa: S101 - the caller saw to it
    found: dict[str, int] = {}
    for row in sweep.comparison.regimes.to_pylist():
        if row["step"] == step:
            found[row["regime"]] = max(found.get(row["regime"], 0), row["n_cutoffs"])
    return found
