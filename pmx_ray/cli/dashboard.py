"""`pmx dashboard`: the pages of the service as files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pmx_ray.cli import options
from pmx_ray.cli.options import Json, Out
from pmx_ray.clock import utc_now
from pmx_ray.place import default_root, ledger_url

if TYPE_CHECKING:
    from pmx_ray.backtest.costs import Costs
    from pmx_ray.data.panel import Panel


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
    config: Annotated[
        Path | None,
        typer.Option(
            help="Serve config, e.g. configs/serve.yaml: its prices and costs are what past "
            "signals are held against. [default: none, and no outcomes are shown]"
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
        panel, costs = _prices(config) if config is not None else (None, None)
        facts = read_facts(root, ledger, clock=utc_now, sweep=sweep, panel=panel, costs=costs)
        pages = render_dashboard(facts)
    folder.mkdir(parents=True, exist_ok=True)
    store = FolderStore(folder)
    for name, text in pages.items():
        store.replace(name, text.encode())
    voice = Voice(options.console(), as_json)
    first = folder / "index.html"
    voice.say("dashboard", f"dashboard: {first}", path=str(first), pages=list(pages))


def _prices(config: Path) -> "tuple[Panel, Costs]":
    """Return the prices and costs of a service, as its own dashboard has them."""
    from pmx_ray.data.sources import load_panel  # noqa: PLC0415
    from serve_apps.lint import read_serve_config, service_settings  # noqa: PLC0415

    document = read_serve_config(config, public=True)  # nothing is served here
    settings = service_settings(document, where=str(config))
    panel, _ = load_panel(settings.prices, clock=utc_now, threshold=settings.data_quality_threshold)
    return panel, settings.signals.costs.build()
