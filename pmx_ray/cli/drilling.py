"""The verb of drills: drill."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from pmx_ray.cli import options
from pmx_ray.cli.options import EXIT_OTHER
from pmx_ray.clock import utc_now

Name = Annotated[str, typer.Argument(help="Of the drill, or list.")]


def mount(app: typer.Typer) -> None:
    """Add the verb to ``app``."""
    app.command(name="drill")(drill)


def drill(
    name: Name,
    *,
    seed: Annotated[int, typer.Option(min=0, help="What is broken, and when.")] = 0,
    runs: Annotated[int, typer.Option(min=1, help="How often.")] = 1,
    document: Annotated[
        Path | None, typer.Option("--json", help="File for the result as JSON.")
    ] = None,
) -> None:
    """Break a part of a real cluster on this machine, and prove that the sweep does not care.

    Everything runs in a folder, on ports and with a token of the drill's own, and ends with it.
    """
    from cluster.drills import result  # noqa: PLC0415
    from cluster.drills.catalogue import DRILLS  # noqa: PLC0415
    from cluster.drills.catalogue import drill as drill_of  # noqa: PLC0415

    console = options.console()
    if name == "list":
        table = Table("drill", "breaks", "must hold beside the same bytes")
        for known, one in DRILLS.items():
            table.add_row(known, one.breaks, one.holds)
        console.print(table)
        return
    at, found = utc_now(), []
    for run in drill_of(name).runs(result.Asked(name, runs, seed, console.print)):
        found.append(run)
        held = "held" if run.passed else "; ".join(run.faults)
        broken = ", ".join(one.what for one in run.breaks)
        console.print(
            f"drill: run {run.run} of {runs}: {broken}; {held}; {run.took_s:.1f} s",
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip
        if document is not None:
            text = json.dumps(result.document_of(found, at=at), indent=1)
            document.write_text(f"{text}\n", encoding="utf-8")
    console.print(result.table_of(found))
    if result.recoveries(found):
        console.print(result.summary_of(found))
    if not all(run.passed for run in found):
        raise typer.Exit(EXIT_OTHER)
