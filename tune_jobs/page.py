"""The page of a search: did tuning help on the later folds, how it went, and what it owes to luck.

One HTML file in the look of a sweep's report, made from the artefacts in the search's folder and
from its study; it holds everything it shows and asks nobody for more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pmx_ray.backtest.outcome import PAGE
from pmx_ray.backtest.tuned import TUNED
from pmx_ray.lake import FolderStore
from pmx_ray.report import shell, typeset
from pmx_ray.report import wording as sweep_wording
from pmx_ray.report.board import swatch
from pmx_ray.report.figures import Plot
from pmx_ray.report.markup import Markup, markup, tag
from pmx_ray.report.shell import Chapter
from pmx_ray.report.tables import document
from tune_jobs import gallery, tables, wording
from tune_jobs.figures import STYLES
from tune_jobs.job import Search
from tune_jobs.outcome import Outcome, importances
from tune_jobs.study import TuningStudy

_NAMES = {state.value: name for state, name in wording.STATES.items()}


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """What the page is made from.

    Attributes
    ----------
    search : Search
        What was asked for.
    outcome : Outcome
        What was found.
    shares : mapping of str to float
        Importance of each parameter; empty where it cannot be told.
    """

    search: Search
    outcome: Outcome
    shares: Mapping[str, float]


def write_search_page(search: Search, study: TuningStudy) -> Path:
    """Write ``report.html`` from the artefacts of a finished search, and return its path.

    The same artefacts give the same bytes. The file appears whole or not at all.

    Parameters
    ----------
    search : Search
        Its folder holds ``trials.parquet``, ``specs.yaml`` and ``gain.json``.
    study : TuningStudy
        Its study, open; it is read only.

    Raises
    ------
    DataError, SettingsError
        If an artefact is missing or cannot be read, or two are not of one choice.
    LedgerError
        If the study cannot be read.
    """
    shares = importances(study.optuna_study(), seed=search.settings.seed)
    page = render_search_page(Shown(search, Outcome.load(search.folder), shares))
    FolderStore(search.folder).replace(PAGE, page.encode())
    return search.folder / PAGE


def render_search_page(shown: Shown) -> str:
    """Return the page as HTML."""
    chapters = _chapters(shown)
    plots = [plot for chapter in chapters for plot in chapter.plots]
    return shell.document(
        f"{shown.search.settings.name}: whether tuning helped",
        (_top(shown), _verdict(shown)),
        _key(plots),
        chapters,
    )


def _chapters(shown: Shown) -> list[Chapter]:
    search, outcome = shown.search, shown.outcome
    parts = (
        ("choice", "What was chosen", _how_to_use(outcome), (tables.choice(search, outcome),), ()),
        ("history", "Optimisation history", wording.counts(outcome) + ".", (),
         gallery.progress(search, outcome)),
        ("front", "Loss and cost", "", (), gallery.cost(search, outcome)),
        ("parameters", "Parameters", gallery.without_importance(outcome, shown.shares), (),
         gallery.parameters(search, outcome, shown.shares)),
        ("overfit", "Tuning loss against evaluation loss", " ".join(wording.overfit(outcome)),
         (tables.worth(outcome),), gallery.overfit(outcome)),
        ("trials", "Trials", "", (tables.trials(outcome),), ()),
        ("provenance", "Provenance", "", (document(_provenance(shown)),), ()),
    )  # fmt: skip
    return [
        Chapter(anchor, title, lead, *inner, shell.gallery(plots), plots=plots)
        if plots
        else Chapter(anchor, title, lead, *inner)
        for anchor, title, lead, inner, plots in parts
        if lead or inner or plots
    ]


def _top(shown: Shown) -> Markup:
    search, outcome = shown.search, shown.outcome
    cutoffs = search.panel.sessions[search.plan.cutoff]
    facts = (
        f"{search.space.family} tuned on {search.panel.n_tickers:,} tickers",
        f"{typeset.things(len(cutoffs), 'tuning cutoff')} {cutoffs[0]} to {cutoffs[-1]}",
        typeset.things(len(outcome.trials), "trial"),
        f"steps {typeset.listing([str(step) for step in search.plan.steps], most=20)}",
        f"study {outcome.tuned.study}",
    )
    return tag("header", tag("h1", search.settings.name), tag("p", " · ".join(facts)), class_="top")


def _verdict(shown: Shown) -> Markup:
    outcome = shown.outcome
    said = (
        ("On later folds", wording.improvement(outcome)),
        ("Overfit", wording.overfit(outcome)),
        ("Chosen", (f"{typeset.listing(outcome.chosen, most=8)}.", wording.counts(outcome) + ".")),
    )
    return tag(
        "section",
        tag("h2", wording.headline(outcome)),
        tag(
            "dl",
            *(
                markup(
                    tag("dt", term),
                    tag(
                        "dd", tag("p", tag("strong", first), " ", tag("span", rest, class_="rest"))
                    ),
                )
                for term, (first, rest) in said
            ),
        ),
        tag("p", wording.caveat(outcome), class_="note"),
        *(
            tag("p", text, class_="note warning")
            for text in sweep_wording.quarantine({"quality": shown.search.quality})
        ),
        class_="verdict",
        id="verdict",
        aria_label="Verdict",
    )


def _key(plots: Sequence[Plot]) -> Markup:
    """Return the kinds of trial that the figures draw, each a button that hides it everywhere."""
    traces = [t for plot in plots for figure in plot.by_step.values() for t in figure.data]
    drawn = {trace.legendgroup for trace in traces}
    buttons = (
        tag(
            "li",
            tag(
                "button",
                swatch(style),
                _NAMES.get(kind, kind),
                type="button",
                data_spec=kind,
                aria_pressed="true",
                title="show or hide in all figures",
            ),
        )
        for kind, style in STYLES.items()
        if kind in drawn
    )
    return tag(
        "div",
        tag("ul", *buttons, class_="key", aria_label="Trials in the figures"),
        class_="controls",
    )


def _how_to_use(outcome: Outcome) -> str:
    tuned = outcome.tuned
    return (
        f"Frozen in {TUNED} beside this page, every parameter written out. A sweep whose cutoffs "
        f"lie after {tuned.tuned_until}, the last session the search saw, takes it by name."
    )


def _provenance(shown: Shown) -> dict[str, object]:
    outcome, settings = shown.outcome, shown.search.settings
    tuned = outcome.tuned
    return {
        "study": tuned.study,
        "tuned_until": tuned.tuned_until.isoformat(),
        "trials": wording.counts(outcome),
        "sampler": f"{settings.sampler}, {settings.n_startup} trials at random first",
        "stopping": f"{settings.n_rungs} rungs, the best 1 in {settings.reduction} goes on",
        "tuning_cutoffs": outcome.gain.n_tuning,
        "evaluation_cutoffs": outcome.gain.n_evaluation,
        "seed": tuned.seed,
        "engine": tuned.engine,
        "panel_sha256": tuned.panel_sha256,
        "tune_id": tuned.tune_id,
        "settings.yaml": settings.as_yaml(),
    }
