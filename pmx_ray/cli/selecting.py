"""The verb `pmx select`: the primary model of a run by a weighted score, and who leads where."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from pmx_ray.cli import options
from pmx_ray.cli.certifying import Policy, Step
from pmx_ray.cli.options import Folder, Json
from pmx_ray.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pmx_ray.cli.steps import Voice
    from pmx_ray.governance.leaders import Leader
    from pmx_ray.governance.select import Selection

PARTS = ("profit_factor", "drawdown", "sharpe", "stability", "score")

Champion = Annotated[
    str | None, typer.Option(help="Label or id of what is in service; it is not changed lightly.")
]


def mount(app: typer.Typer) -> None:
    """Add the verb to ``app``."""
    app.command(name="select")(select)


def select(
    folder: Folder,
    *,
    step: Step = None,
    champion: Champion = None,
    policy: Policy = None,
    as_json: Json = False,
) -> None:
    """Choose the primary model of a run by score, and say who leads each ticker and regime.

    A choice puts nothing in service: that takes a certificate.
    """
    from pmx_ray.backtest.outcome import compare_sweep, evaluated  # noqa: PLC0415
    from pmx_ray.cli import bench, steps  # noqa: PLC0415
    from pmx_ray.governance.leaders import leaders  # noqa: PLC0415
    from pmx_ray.governance.policy import GovernancePolicy, load_policy  # noqa: PLC0415
    from pmx_ray.governance.select import choose_primary_model  # noqa: PLC0415

    voice, sweep = steps.Voice(options.console(), as_json), steps.open_sweep(folder)
    report, _ = evaluated(sweep)
    comparison = compare_sweep(sweep, steps.open_lake(sweep))
    scored = sorted(set(report.leaderboard["step"].to_pylist()))
    if step is not None and step not in scored:
        raise SettingsError(f"--step was {step}; the run scored {', '.join(map(str, scored))}")
    at = scored[0] if step is None else step
    chosen = choose_primary_model(
        report,
        comparison,
        (load_policy(policy) if policy else GovernancePolicy()).selection,
        champion=bench.spec_of(sweep, champion).id if champion else None,
        baseline=report.baseline,
        step=at,
    )
    _show(voice, chosen, leaders(comparison, report, step=at), at)


def _show(voice: "Voice", chosen: "Selection", led: "Sequence[Leader]", step: int) -> None:
    if voice.as_json:
        voice.say("selection", "", step=step, **asdict(chosen))
        for leader in led:
            voice.say("leader", "", step=step, **asdict(leader))
        return
    table = Table("forecaster", *(part.replace("_", " ") for part in PARTS), title_justify="left",
                  title=f"Step {step}: score, from 0 to 1")  # fmt: skip
    for candidate in chosen.candidates:
        figures = (f"{getattr(candidate, part):.2f}" for part in PARTS)
        table.add_row(candidate.label, *figures)
    voice.console.print(table)
    for reason in chosen.reasons:
        voice.say("reason", reason)
    for scope in ("regime", "ticker"):
        inner = Table(scope, "leader", "RMSE skill", "margin")
        for leader in led:
            if leader.scope == scope:
                skill, margin = leader.skill + 0.0, leader.margin + 0.0  # -0.0 reads badly
                inner.add_row(leader.name, leader.label, f"{skill:+.2%}", f"{margin:.2%}")
        voice.console.print(inner)
    voice.say("selected", f"primary model at step {step}: {chosen.label}")
