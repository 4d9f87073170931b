"""`pmx dashboard`: the pages of the service as files."""

from pathlib import Path
from typing import Annotated

import typer

from pmx_ray.cli import options
from pmx_ray.cli.options import Json, Out
from pmx_ray.clock import utc_now
from pmx_ray.place import default_root, ledger_url


def mount(app: typer.Typer) -> None:
    """Add the verb to ``app``."""
    app.command(name="dashboard")(dashboard)


def dashboard(
    *,
    to: Annotated[
        Path | None,
        typer.Option(
            help="Folder the pages are written to. [default: dashboard, beside the sweep folders]"
        ),
    ] = None,
    sweep: Annotated[
        Path | None,
        typer.Option(
            help="Sweep folder whose evaluation is shown. [default: the newest one with the "
            "language model, else the newest]"
        ),
    ] = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Write the dashboard: what serves and why, signals, models, flags, promotions, requests."""
    from pmx_ray.cli.steps import Voice  # noqa: PLC0415
    from pmx_ray.lake import FolderStore  # noqa: PLC0415
    from pmx_ray.ledger import open_ledger  # noqa: PLC0415
    from pmx_ray.report.dashboard import read_facts, render_dashboard  # noqa: PLC0415
    from pmx_ray.report.dashboard.sweeps import load_evaluated  # noqa: PLC0415

    if sweep is not None:
        load_evaluated(sweep)  # the pages would only name it; who asked for it is told

    root = (out or default_root()).resolve()
    folder = to or root / "dashboard"
    with open_ledger(ledger_url(root)) as ledger:
        pages = render_dashboard(read_facts(root, ledger, clock=utc_now, sweep=sweep))
    folder.mkdir(parents=True, exist_ok=True)
    store = FolderStore(folder)
    for name, text in pages.items():
        store.replace(name, text.encode())
    voice = Voice(options.console(), as_json)
    first = folder / "index.html"
    voice.say("dashboard", f"dashboard: {first}", path=str(first), pages=list(pages))
