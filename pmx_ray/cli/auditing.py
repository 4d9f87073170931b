"""The verbs of the leak audit."""

from typing import TYPE_CHECKING, Annotated

import typer

from pmx_ray.cli import options
from pmx_ray.cli.options import Assignments, Json, SettingsPath

if TYPE_CHECKING:
    from pmx_ray.cli.steps import Voice

Cutoffs = Annotated[
    int, typer.Option(min=1, help="Cutoffs at which the future is cut off and overwritten.")
]


def mount(app: typer.Typer) -> None:
    """Add the verbs to ``app``."""
    app.command(name="audit-leaks")(audit_leaks)
    app.command(name="check-forecaster")(check_forecaster)


def audit_leaks(
    settings: SettingsPath,
    *,
    assignments: Assignments = None,
    cutoffs: Cutoffs = 3,
    folds: Annotated[int, typer.Option(min=1, help="Most folds audited.")] = 40,
    tickers: Annotated[int, typer.Option(min=1, help="Most tickers audited.")] = 20,
    as_json: Json = False,
) -> None:
    """Look for anything that reads ahead: the sweep's forecasters and every registered feature."""
    from pmx_ray.cli import audit_report  # noqa: PLC0415

    ready = options.prepared(settings, None, assignments)
    audited = audit_report.audit_sweep(ready, n_cutoffs=cutoffs, n_folds=folds, n_tickers=tickers)
    audit_report.print_audit(_voice(as_json), audited)
    if audited.findings:
        raise typer.Exit(options.EXIT_OTHER)


def check_forecaster(
    address: Annotated[
        str, typer.Argument(metavar="MODULE:CLASS", help="A class, e.g. my_models:Reversal.")
    ],
    *,
    given: Annotated[
        list[str] | None,
        typer.Option("--setting", help="A setting of the class, name=value; repeatable."),
    ] = None,
    input_size: Annotated[
        int,
        typer.Option(min=60, max=5000, help="Sessions of a history; raise it if a model needs it."),
    ] = 300,
    as_json: Json = False,
) -> None:
    """Check a forecaster of your own: what the protocol promises, and that it does not look ahead.

    Prices are simulated; nothing is read but your module.
    """
    from pmx_ray.cli import audit_report  # noqa: PLC0415

    options.see_plugins()
    settings = audit_report.settings_of(given or ())
    checked = audit_report.check_step(_voice(as_json), address, settings, input_size=input_size)
    if not checked:
        raise typer.Exit(options.EXIT_OTHER)


def _voice(as_json: bool) -> "Voice":
    from pmx_ray.cli.steps import Voice  # noqa: PLC0415

    return Voice(options.console(), as_json)
