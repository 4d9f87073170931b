"""The verbs of the language model: serve one, record its answers, see whether it remembers."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pmx_ray.cli import options
from pmx_ray.cli.options import Assignments, Json, SettingsPath

if TYPE_CHECKING:
    from pmx_ray.cli.steps import Voice

llm = typer.Typer(
    help="Serve a small language model, record its answers, see whether it remembers.",
    no_args_is_help=True,
)


def mount(app: typer.Typer) -> None:
    """Add the verbs to ``app``."""
    app.add_typer(llm, name="llm")


@llm.command()
def serve(
    *,
    port: Annotated[int, typer.Option(help="0 for a free one.")] = 11434,
    n_parallel: Annotated[int, typer.Option(help="Answers written at once.")] = 2,
    max_waiting: Annotated[int, typer.Option(help="Requests that may wait for a turn.")] = 64,
) -> None:
    """Serve SmolLM2 on this machine, in the protocol of Ollama, until it is told to stop."""
    from pmx_ray.llm.local import serving  # noqa: PLC0415

    serving.serve(port=port, n_parallel=n_parallel, max_waiting=max_waiting)


@llm.command()
def record(
    settings: SettingsPath,
    *,
    model: Annotated[
        str | None, typer.Option(help="Model as the server lists it. [default: smollm2:135m]")
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Its server. [default: $OLLAMA_HOST, else this machine]")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="File to record into, whatever the settings name."),
    ] = None,
    changed: Annotated[
        bool,
        typer.Option("--changed", help="Also ask what `pmx llm contamination` compares."),
    ] = False,
    assignments: Assignments = None,
    as_json: Json = False,
) -> None:
    """Ask a language model everything that the sweep's `llm` forecasters will look up.

    One question at a time; stop it and start it again as you like: nothing is asked twice.
    """
    from pmx_ray.cli import llm_recording  # noqa: PLC0415
    from pmx_ray.llm.settings import LlmSettings, UseCase  # noqa: PLC0415

    given = LlmSettings() if host is None else LlmSettings(host=host)
    llm_recording.record_sweep(
        _voice(as_json),
        options.prepared(settings, None, assignments),
        given,
        model=model or given.model_of(UseCase.RESEARCH),
        out=out,
        changed=changed,
    )


@llm.command()
def contamination(
    settings: SettingsPath,
    *,
    published: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Day the model was published."),
    ] = None,
    assignments: Assignments = None,
    as_json: Json = False,
) -> None:
    """Compare answers with those to the same questions asked another way. Asks nobody.

    The sweep needs an `llm` forecaster whose view is `named`; record it with --changed first.
    """
    from pmx_ray.cli import llm_report  # noqa: PLC0415

    ready = options.prepared(settings, None, assignments)
    day = None if published is None else published.date()
    llm_report.report_contamination(_voice(as_json), ready, published=day)


def _voice(as_json: bool) -> "Voice":
    from pmx_ray.cli.steps import Voice  # noqa: PLC0415

    return Voice(options.console(), as_json)
