"""The verbs of `pmx`, their options, and how errors become exit codes."""

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, NoReturn

import structlog
import typer

from pmx_ray import __version__
from pmx_ray.cli import (
    auditing,
    cells,
    certifying,
    clustering,
    dashboard,
    drilling,
    featuring,
    governing,
    ledgering,
    llm,
    selecting,
    serving,
    submitting,
    tuning,
)
from pmx_ray.cli.options import (
    EXIT_BAD_INPUT,
    EXIT_FAILED_CELLS,
    EXIT_OTHER,
    Address,
    Assignments,
    Folder,
    Json,
    Out,
    SettingsPath,
    checked_address,
    console,
    prepared,
    see_plugins,
)
from pmx_ray.clock import utc_now
from pmx_ray.errors import DataError, PmxError, SettingsError

app = typer.Typer(
    name="pmx",
    help="Evaluate forecasters by rolling cross-validation, on this machine or on a Ray cluster.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"pmx {__version__}")
        raise typer.Exit


@app.callback()
def top(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=_version),
    ] = False,
) -> None:
    """Evaluate forecasters by rolling cross-validation, on this machine or on a Ray cluster."""


@app.command()
def sweep(
    settings: SettingsPath,
    out: Out = None,
    assignments: Assignments = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Plan, run, evaluate, compare and report in one go; what is there already is reused."""
    from pmx_ray.cli import steps  # noqa: PLC0415

    voice = steps.Voice(console(), as_json)
    where = checked_address(address)
    ready = prepared(settings, out, assignments)
    steps.check_ledger(ready)
    steps.whole_sweep(voice, ready, address=where)
    _exit_if_failed(steps.n_unaccepted_failures(voice, ready))


@app.command()
def plan(
    settings: SettingsPath,
    out: Out = None,
    assignments: Assignments = None,
    as_json: Json = False,
) -> None:
    """Make the sweep folder; print cells, cache hits, predicted seconds and memory."""
    from pmx_ray.cli import steps  # noqa: PLC0415

    ready = prepared(settings, out, assignments)
    steps.plan_step(steps.Voice(console(), as_json), ready, steps.open_lake(ready))


@app.command()
def run(folder: Folder, address: Address = None, as_json: Json = False) -> None:
    """Compute the blocks that the lake lacks."""
    from pmx_ray.cli import steps  # noqa: PLC0415

    ready = steps.open_sweep(folder)
    voice = steps.Voice(console(), as_json)
    steps.refresh(ready)
    store = steps.open_lake(ready)
    settled = steps.run_step(voice, ready, store, address=checked_address(address))
    _exit_if_failed(steps.n_unaccepted_blocks(ready, store, settled))


@app.command()
def evaluate(folder: Folder, as_json: Json = False) -> None:
    """Turn forecasts into losses and measures: leaderboard.parquet, and the ledger's rows."""
    from pmx_ray.cli import steps  # noqa: PLC0415

    ready, voice = steps.open_sweep(folder), steps.Voice(console(), as_json)
    steps.evaluate_step(voice, ready, steps.open_lake(ready))
    steps.record_step(voice, ready, clock=utc_now)
    steps.leaderboard_step(voice, ready)
    _exit_if_failed(steps.n_unaccepted_failures(voice, ready))


@app.command()
def compare(folder: Folder, as_json: Json = False) -> None:
    """Compare every forecaster with the random walk on identical cells: comparison.json."""
    from pmx_ray.cli import steps  # noqa: PLC0415

    ready = steps.open_sweep(folder)
    steps.compare_step(steps.Voice(console(), as_json), ready, steps.open_lake(ready))


@app.command()
def report(folder: Folder, as_json: Json = False) -> None:
    """Write report.html from what the folder holds."""
    from pmx_ray.cli import steps  # noqa: PLC0415

    steps.report_step(steps.Voice(console(), as_json), steps.open_sweep(folder))


@app.command()
def forecasters(
    plugins: Annotated[
        list[str] | None, typer.Option("--plugin", help="Module of your own; repeatable.")
    ] = None,
) -> None:
    """List the registered forecasters with their parameters and defaults."""
    from pmx_ray.cli import steps  # noqa: PLC0415

    see_plugins()
    steps.list_forecasters(console(), plugins or [])


auditing.mount(app)
cells.mount(app)
certifying.mount(app)
dashboard.mount(app)
drilling.mount(app)
featuring.mount(app)
governing.mount(app)
ledgering.mount(app)
llm.mount(app)
selecting.mount(app)
clustering.mount(app)
serving.mount(app)
submitting.mount(app)
tuning.mount(app)


def main() -> None:
    """Run `pmx`; exit 0 done, 2 bad settings or data, 3 done with failed cells, 1 anything else."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        # Standard output is for results; the stream is looked up when a line is written.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )
    with _stoppable():
        try:
            app(standalone_mode=True)
        except PmxError as error:
            sys.stderr.write(f"pmx: {error}\n")
            sys.exit(EXIT_BAD_INPUT if isinstance(error, SettingsError | DataError) else EXIT_OTHER)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            sys.stderr.write(f"pmx: {where}{error.strerror or error}\n")
            sys.exit(EXIT_OTHER)


@contextmanager
def _stoppable() -> Iterator[None]:
    """Answer Ctrl-C, and the SIGTERM of `ray job stop`, with one line and an orderly end."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - as signal calls it
        sys.stderr.write("pmx: stopped; finished blocks are kept, the same command goes on\n")
        raise SystemExit(EXIT_OTHER)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit_if_failed(n_failed: int) -> None:
    if n_failed:
        raise typer.Exit(EXIT_FAILED_CELLS)
