"""The report page: one HTML file that holds everything it shows and asks nobody for more."""

from collections.abc import Mapping
from pathlib import Path

from pmx_ray.backtest.comparison import COMPARISON, Comparison
from pmx_ray.backtest.outcome import PAGE, PROVENANCE, evaluated
from pmx_ray.backtest.report_types import EvaluationReport, read_document
from pmx_ray.backtest.sweep import SETTINGS, load
from pmx_ray.errors import DataError
from pmx_ray.governance.decision import DECISION, GovernanceDecision
from pmx_ray.lake import FolderStore
from pmx_ray.report import (
    board,
    certificate,
    differences,
    evidence,
    figures,
    gallery,
    shell,
    tables,
    typeset,
    wording,
)
from pmx_ray.report.figures import Style
from pmx_ray.report.markup import Markup, markup, tag
from pmx_ray.report.shell import Chapter
from pmx_ray.report.view import ReportView


def write_page(folder: Path) -> Path:
    """Write ``report.html`` from the artefacts in ``folder`` and return its path.

    The same artefacts give the same bytes. The file appears whole or not at all. A folder without
    settings holds a report alone, and no sweep that it could disagree with.

    Raises
    ------
    DataError
        If an artefact is missing or cannot be read, or what it was made from changed since.
    """
    if (folder / SETTINGS).exists():
        evaluated(load(folder))
    provenance = _read(folder / PROVENANCE)
    comparison = Comparison.load(folder) if (folder / COMPARISON).exists() else None
    if comparison and comparison.key != provenance.get("key", ""):
        raise DataError(
            f"{folder / COMPARISON} is of another evaluation; compare it again with: "
            f"pmx compare {folder}"
        )
    page = render_page(
        EvaluationReport.load(folder),
        comparison,
        provenance,
        decision=_decision(folder, provenance),
    )
    FolderStore(folder).replace(PAGE, page.encode())
    return folder / PAGE


def render_page(
    report: EvaluationReport,
    comparison: Comparison | None,
    provenance: Mapping[str, object],
    *,
    decision: GovernanceDecision | None = None,
) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    report : EvaluationReport
        What was found.
    comparison : Comparison or None
        None where no comparison was made.
    provenance : mapping
        The document ``provenance.json``; shown as it is.
    decision : GovernanceDecision, optional
        What was decided on this report.
    """
    view = ReportView.of(report)
    chapters = _chapters(view, figures.styles(view), comparison, provenance)
    if decision is not None:
        chapters.insert(0, _certificate(decision))
    title = str(provenance.get("name", "sweep"))
    return shell.document(
        f"{title}: forecasters against the random walk",
        (_top(title, view, provenance), _verdict(view, provenance)),
        controls(view),
        chapters,
        data_step=str(view.steps[0]) if view.steps else "",
    )


def _chapters(
    view: ReportView,
    styles: Mapping[str, Style],
    comparison: Comparison | None,
    provenance: Mapping[str, object],
) -> list[Chapter]:
    skill, loss = gallery.skill_plots(view), gallery.loss_plots(view)
    heat, rolling = gallery.ticker_plots(view), gallery.rolling_plots(view)
    strategy = gallery.strategy_plots(view)
    boards = (
        tag("div", board.leaderboard(view, step, styles), data_at_step=str(step))
        for step in view.steps
    )
    chapters = [
        Chapter(
            "leaderboard",
            "Leaderboard",
            "Ranked by RMSE skill. Figures are over the cells that all forecasters scored; skill "
            f"is the loss saved against {view.walk}, with its {typeset.percent(view.level, 0)} "
            "interval, drawn about the grey line of zero. ↓ lower is better, ↑ higher is better.",
            *boards,
        ),
        Chapter(
            "skill", "Skill by horizon", gallery.undrawn(view), shell.gallery(skill), plots=skill
        ),
        Chapter("loss", "Loss by horizon", "", shell.gallery(loss, thirds=True), plots=loss),
        Chapter("tickers", "By ticker", _at_step("Skill"), shell.gallery(heat), plots=heat),
        Chapter("rolling", "Over time", "", shell.gallery(rolling), plots=rolling),
    ]
    if strategy:
        lead = (
            "At each cutoff the capital is spread over the tickers: long where the expected move "
            "pays for the trade, short where it pays the other way, closed at the step."
        )
        chapters.append(
            Chapter("strategy", "Strategy", lead, shell.gallery(strategy), plots=strategy)
        )
    if comparison is not None:
        chapters.append(
            Chapter("tests", "Tests", evidence.lead(view), *evidence.tables(view, comparison))
        )
        inner = differences.tables(view, comparison)
        chapters.append(Chapter("comparison", "Comparison", differences.lead(view), *inner))
    return [
        *chapters,
        Chapter("failures", "Failed cells", "", tables.failures(view)),
        Chapter("glossary", "Glossary", "", tables.glossary()),
        Chapter("provenance", "Provenance", "", tables.document(provenance)),
    ]


def _certificate(decision: GovernanceDecision) -> Chapter:
    return Chapter(
        "certificate", "Certificate", certificate.headline(decision), certificate.table(decision)
    )


def _decision(folder: Path, provenance: Mapping[str, object]) -> GovernanceDecision | None:
    """Return the decision on the evaluation that is shown; one on another is not shown."""
    path = folder / DECISION
    if not path.exists():
        return None
    decision = GovernanceDecision.from_document(read_document(path, verb="certify"))
    return decision if decision.report_key == provenance.get("key") else None


def _at_step(what: str) -> str:
    return f"{what} at the chosen step."


def _top(title: str, view: ReportView, provenance: Mapping[str, object]) -> Markup:
    cutoffs = sorted(str(cutoff)[:10] for cutoff in view.cutoffs["cutoff"].unique())
    facts = [
        typeset.things(len(view.specs), "forecaster"),
        typeset.things(int(view.tickers["ticker"].nunique()), "ticker"),
        typeset.things(len(cutoffs), "cutoff")
        + (f" {cutoffs[0]} to {cutoffs[-1]}" if cutoffs else ""),
        f"steps {typeset.listing([str(step) for step in view.steps], most=20)}",
    ]
    if "sweep_id" in provenance:
        facts.append(f"sweep {str(provenance['sweep_id'])[:12]}")
    return tag("header", tag("h1", title), tag("p", " · ".join(facts)), class_="top")


def _verdict(view: ReportView, provenance: Mapping[str, object]) -> Markup:
    subjects: tuple[wording.Subject, ...] = ("price level", "variance")
    verdicts = {
        subject: [wording.verdict(view, step, subject) for step in view.steps]
        for subject in subjects
    }
    terms = (
        markup(
            tag("dt", f"Step {step}"),
            tag("dd", *(_said(verdicts[s][n]) for s in subjects)),
        )
        for n, step in enumerate(view.steps)
    )
    return tag(
        "section",
        tag("h2", " ".join(wording.headline(verdicts[subject]) for subject in subjects)),
        tag("dl", *terms),
        tag(
            "p",
            wording.caveat([v for found in verdicts.values() for v in found], view.level),
            class_="note",
        ),
        *(
            tag("p", text, class_="note warning")
            for text in (*wording.warnings(view), *wording.quarantine(provenance))
        ),
        class_="verdict",
        id="verdict",
        aria_label="Verdict",
    )


def _said(verdict: wording.Verdict) -> Markup:
    answer, *rest = verdict.sentences
    return tag("p", tag("strong", answer), " ", tag("span", " ".join(rest), class_="rest"))


def controls(view: ReportView) -> Markup:
    """Return what chooses the step and what shows and hides a forecaster in every figure."""
    styles = figures.styles(view)
    steps = (
        tag(
            "label",
            tag("input", type="radio", name="step", value=str(step)),
            tag("span", str(step)),
        )
        for step in view.steps
    )
    key = (
        tag(
            "li",
            tag(
                "button",
                board.swatch(style),
                view.labels[spec],
                type="button",
                data_spec=spec,
                aria_pressed="true",
                title="show or hide in all figures",
            ),
        )
        for spec, style in styles.items()
    )
    return tag(
        "div",
        tag("fieldset", tag("legend", "Step"), *steps, class_="steps"),
        tag("ul", *key, class_="key", aria_label="Forecasters in the figures"),
        class_="controls",
    )


def _read(path: Path, *, verb: str = "evaluate") -> dict[str, object]:
    return read_document(path, verb=verb) if path.exists() else {}
