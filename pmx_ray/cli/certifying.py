"""The verb `pmx certify`: judge a challenger, say why, keep the decision."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from pmx_ray.cli import options
from pmx_ray.cli.options import EXIT_OTHER, Folder, Json
from pmx_ray.clock import utc_now
from pmx_ray.errors import SettingsError
from pmx_ray.place import ledger_url

if TYPE_CHECKING:
    from pmx_ray.cli.steps import Voice
    from pmx_ray.governance.decision import GovernanceDecision

Named = Annotated[str | None, typer.Option(help="Label or id; every forecaster unless given.")]
Against = Annotated[str | None, typer.Option(help="Label or id; the run's own baseline.")]
Step = Annotated[int | None, typer.Option(help="Sessions ahead to judge at. [default: the first]")]
Fallback = Annotated[
    str | None, typer.Option(help="What takes over on failure. [default: the baseline]")
]
Policy = Annotated[Path | None, typer.Option(help="YAML file. [default: the built-in policy]")]


MOST_NAMED = 3
"""Failed checks that a line of the survey names; `--challenger` gives all of them."""


def mount(app: typer.Typer) -> None:
    """Add the verb to ``app``."""
    app.command(name="certify")(certify)


def certify(
    folder: Folder,
    *,
    challenger: Named = None,
    baseline: Against = None,
    step: Step = None,
    fallback: Fallback = None,
    policy: Policy = None,
    as_json: Json = False,
) -> None:
    """Judge whether a forecaster may replace the baseline; exit 1 unless it may."""
    from pmx_ray.cli import bench, steps  # noqa: PLC0415
    from pmx_ray.governance.policy import GovernancePolicy, load_policy  # noqa: PLC0415
    from pmx_ray.ledger import open_ledger  # noqa: PLC0415

    voice = steps.Voice(options.console(), as_json)
    sweep = steps.open_sweep(folder)
    asked = load_policy(policy) if policy else GovernancePolicy()
    with open_ledger(ledger_url(sweep.folder.parent)) as ledger:
        ready = bench.bench(sweep, ledger, asked, fallback=fallback, clock=utc_now)
        if baseline and bench.spec_of(sweep, baseline).id != ready.report.baseline:
            raise SettingsError(
                f"--baseline was '{baseline}'; the run is compared with "
                f"{ready.comparison.baseline_label}: set evaluation.baseline and run it again"
            )
        made, last = [], bench.last_decisions(ledger)
        for spec, h in bench.challengers(sweep, ready.report, challenger, step):
            decision = ready.judge(spec, h, previous=last.get(spec.id, ""))
            bench.log(ledger, decision, at=ready.as_of)
            last[spec.id] = decision.id
            made.append(decision)
    if challenger:
        show(voice, made[0], bench.keep(sweep, made[0]))
    else:
        survey(voice, made)
    if all(decision.failed for decision in made):
        raise typer.Exit(EXIT_OTHER)


def show(voice: "Voice", decision: "GovernanceDecision", path: Path) -> None:
    """Print every check, those that failed last, where a reader's eye ends up."""
    from pmx_ray.report import certificate  # noqa: PLC0415

    if voice.as_json:
        voice.say("decision", "", **decision.as_document())
        return
    table = Table("check", "found", "limit", "", "in words", title_justify="left")
    for check in sorted(decision.checks, key=lambda check: not check.passed):
        found, limit = certificate.figures(check)
        mark = "[green]passed[/]" if check.passed else "[bold red]failed[/]"
        table.add_row(
            check.name.replace("_", " "), found or "not known", f"{check.comparator} {limit}", mark,
            check.sentence,
        )  # fmt: skip
    voice.console.print(table)
    voice.say("decision", certificate.headline(decision))
    voice.say("kept", f"decision: {path}, and in the audit log")


def survey(voice: "Voice", made: "Sequence[GovernanceDecision]") -> None:
    """Print one line a challenger and step."""
    if voice.as_json:
        for decision in made:
            voice.say("decision", "", **decision.as_document())
        return
    table = Table("forecaster", "step", "outcome", "checks failed", "which")
    for decision in made:
        names = [check.name.replace("_", " ") for check in decision.failed]
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        table.add_row(
            decision.challenger_label, str(decision.step), decision.outcome.value,
            f"{len(names)} of {len(decision.checks)}", ", ".join(names[:MOST_NAMED]) + more,
        )  # fmt: skip
    voice.console.print(table)
    promoted = [d for d in made if not d.failed]
    listed = ", ".join(f"{d.challenger_label} at step {d.step}" for d in promoted)
    over = made[0].baseline_label if made else "the baseline"
    text = f"{listed} may take the place of {over}" if promoted else f"none may replace {over}"
    voice.say("survey", text)
