"""`pmx cells` and `pmx rerun`: a sweep's cells as a page, and its failed blocks alone once more."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pmx_ray.cli import options
from pmx_ray.cli.options import EXIT_FAILED_CELLS, Address, Folder, Json
from pmx_ray.clock import utc_now

if TYPE_CHECKING:
    from pmx_ray.backtest.sweep import Sweep
    from pmx_ray.cli.steps import Voice
    from pmx_ray.report.cells import CellReader, SweepCells

WATCH_S = 5
"""Seconds between two looks of `pmx cells --watch`, and after which its page loads itself again."""


def mount(app: typer.Typer) -> None:
    """Add the verbs to ``app``."""
    app.command(name="cells")(cells)
    app.command(name="rerun")(rerun)


def cells(
    folder: Folder,
    *,
    to: Annotated[
        Path | None,
        typer.Option("--out", help="File the page is written to. [default: FOLDER/cells.html]"),
    ] = None,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Write it again every few seconds until every cell is over."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Write the cells of a sweep as a page: a grid by state; a cell opens what is known of it."""
    from pmx_ray.cli import steps  # noqa: PLC0415
    from pmx_ray.report.cells import CELLS_PAGE, CellReader  # noqa: PLC0415

    sweep, voice = steps.open_sweep(folder), steps.Voice(options.console(), as_json)
    path = (to or folder / CELLS_PAGE).resolve()
    reader = CellReader(sweep, steps.open_lake(sweep))
    seen = _write(reader, path, refresh_s=WATCH_S if watch else 0)
    _say(voice, seen, path)
    while watch and seen.n_open:
        time.sleep(WATCH_S)
        before, seen = seen.counts(), _write(reader, path, refresh_s=WATCH_S)
        if seen.counts() != before:
            _say(voice, seen, path)


def _write(reader: "CellReader", path: Path, *, refresh_s: int) -> "SweepCells":
    """Write the page of the cells as they stand now; it appears whole or not at all."""
    from pmx_ray.report.cells import render_cells  # noqa: PLC0415

    seen = reader.read()
    as_of = utc_now().strftime("%Y-%m-%d %H:%M:%S UTC")
    text = render_cells(seen, as_of=as_of, refresh_s=refresh_s)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
    return seen


def _say(voice: "Voice", seen: "SweepCells", path: Path) -> None:
    counts = seen.counts()
    told = ", ".join(f"{n:,} {name}" for name, n in counts.items())
    voice.say(
        "cells",
        f"cells: {told}; {path}",
        path=str(path),
        cells=seen.states.size,
        failed=seen.n_failed,
        over=not seen.n_open,
        states=counts,
    )


def rerun(
    folder: Folder,
    *,
    ticker: Annotated[
        list[str] | None, typer.Option(help="Only blocks where this ticker failed; repeatable.")
    ] = None,
    spec: Annotated[
        list[str] | None,
        typer.Option(help="Only this forecaster's, by its label; repeatable."),
    ] = None,
    status: Annotated[
        list[str] | None,
        typer.Option(
            help="Only cells that failed so, e.g. error or quarantined; repeatable. "
            "[default: every status that the settings do not accept]"
        ),
    ] = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Compute the blocks of failed and quarantined cells again; every other block stays."""
    from pmx_ray.backtest.rerun import Wanted, failed_blocks  # noqa: PLC0415
    from pmx_ray.backtest.sweep import save_receipts  # noqa: PLC0415
    from pmx_ray.cli import steps  # noqa: PLC0415

    sweep, voice = steps.open_sweep(folder), steps.Voice(options.console(), as_json)
    store = steps.open_lake(sweep)
    wanted = Wanted.of(sweep, tickers=ticker or (), labels=spec or (), statuses=status or ())
    again = failed_blocks(sweep, store, wanted)
    if not again.blocks and not again.n_found:
        voice.say("rerun", "rerun: no cell failed that is asked for; nothing is computed", blocks=0)
        return
    if again.n_found:
        text = f"rerun: {again.n_found} blocks were computed again since the last run; they count"
        voice.say("found", text, found=again.n_found)
    again.forget(store)
    where = options.checked_address(address)
    computed = steps.run_step(
        voice, sweep, store, address=where, outline=again.outline(), given_up=again.given_up
    )
    settled, not_computed = again.outcome(computed, store)
    save_receipts(sweep, settled)
    change = again.change(settled, store)
    _tell(voice, sweep, change.as_json(), n_found=again.n_found)
    for row in not_computed:
        text = (
            f"rerun: block {row.block.id[:12]} of {row.block.spec.label} could not be computed "
            f"again and stays as it was: {row.reason}"
        )
        voice.say("not_computed", text, block=row.block.id, reason=row.reason)
    if not_computed or steps.n_unaccepted_blocks(sweep, store, settled):
        raise typer.Exit(EXIT_FAILED_CELLS)


def _tell(voice: "Voice", sweep: "Sweep", figures: dict[str, int], *, n_found: int) -> None:
    """Say what became of the cells, and what to type next."""
    text = (
        f"rerun: {figures['blocks']} blocks, {figures['failed_before']:,} failed cells; "
        f"{figures['mended']:,} have a forecast now, {figures['otherwise']:,} fail otherwise, "
        f"{figures['same']:,} fail as before; every other block is as it was"
    )
    voice.say("rerun", text, **figures)
    if figures["moved"]:
        voice.say(
            "moved",
            f"rerun: {figures['moved']:,} cells that had a forecast have another one now: the "
            "forecaster is not the one that made the other blocks; raise its version, plan again",
            moved=figures["moved"],
        )
    if figures["replaced"] or n_found:
        verbs = " && ".join(
            f"pmx {verb} {sweep.folder}" for verb in ("evaluate", "compare", "report")
        )
        voice.say("next", f"next: {verbs}", commands=verbs.split(" && "))
