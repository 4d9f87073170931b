"""The steps behind the verbs: each reads the sweep folder, does one thing, and says so."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import update_wrapper
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeAlias, TypeVar

from rich.console import Console
from rich.table import Column, Table

from pmx_ray import tracing
from pmx_ray.backtest import sweep as folder_of
from pmx_ray.backtest.blocks import BlockPlan
from pmx_ray.backtest.dispatch import DispatchPolicy
from pmx_ray.backtest.executor import Settled, run_in_process
from pmx_ray.backtest.frame import FRAME_SCHEMA
from pmx_ray.backtest.outcome import baseline_id, compare_sweep, evaluate_sweep, evaluated
from pmx_ray.backtest.record import run_record
from pmx_ray.backtest.settings import ExecutionSettings
from pmx_ray.backtest.sweep import Sweep
from pmx_ray.cli.options import see_plugins
from pmx_ray.cli.progress import Progress
from pmx_ray.clock import Clock, utc_now
from pmx_ray.errors import SettingsError
from pmx_ray.forecasters.labels import short
from pmx_ray.forecasters.protocol import Status
from pmx_ray.forecasters.registry import ForecasterSpec, load_families
from pmx_ray.governance.trials import trials_of
from pmx_ray.lake import BlockStore, Receipt, open_store, read_block
from pmx_ray.ledger import open_ledger
from pmx_ray.ledger.trials import Trials
from pmx_ray.place import ledger_url
from pmx_ray.remote.token import use_token
from pmx_ray.report.page import write_page
from pmx_ray.report.terminal import print_leaderboard

P = ParamSpec("P")
T = TypeVar("T")

Outline: TypeAlias = tuple[BlockPlan, dict[str, Receipt]]
"""Every block of a sweep, and the receipts of those that the lake holds."""

IN_PROCESS = "in-process"
"""The address that means: no Ray at all."""

SMALL_S = 5.0
"""Predicted seconds of one core below which a plan is over before Ray has started."""


@dataclass(frozen=True, slots=True)
class Voice:
    """How the command speaks: to people, or one JSON object a line."""

    console: Console
    as_json: bool = False

    def say(self, event: str, text: str, **figures: object) -> None:
        """Print one line: ``text`` for people, ``{"event": event, **figures}`` for machines."""
        if self.as_json:  # written as it is: rich would turn ":name:" into an emoji
            line = json.dumps({"event": event, **figures}, default=str)
            self.console.file.write(f"{line}\n")
            self.console.file.flush()
        else:
            self.console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)


def traced(
    name: str,
) -> Callable[
    [Callable[Concatenate[Voice, Sweep, P], T]], Callable[Concatenate[Voice, Sweep, P], T]
]:
    """Return a decorator that holds a span open while a step works, where traces are made."""

    def around(
        step: Callable[Concatenate[Voice, Sweep, P], T],
    ) -> Callable[Concatenate[Voice, Sweep, P], T]:
        def within(voice: Voice, sweep: Sweep, /, *args: P.args, **kwargs: P.kwargs) -> T:
            with tracing.span(name, {"pmx.sweep": sweep.folder.name}):
                return step(voice, sweep, *args, **kwargs)

        return update_wrapper(within, step)

    return around


def open_lake(sweep: Sweep) -> BlockStore:
    """Return the sweep's block store."""
    return open_store(sweep.lake_url)


def show_plan(voice: Voice, sweep: Sweep, plan: BlockPlan) -> None:
    """Print cells, cache hits, predicted seconds and memory, spec by spec."""
    rows = [_plan_row(sweep, plan, spec.id, spec.label) for spec in sweep.specs]
    keys = ("cells", "blocks", "cached", "todo_s")
    totals = {key: round(sum(row[key] for row in rows), 2) for key in keys}
    memory = _memory_mib(sweep)
    if voice.as_json:
        voice.say("plan", "", specs=rows, **totals, memory_mib=memory, sweep_id=sweep.sweep_id)
        return
    table = Table(title=f"{sweep.settings.name}: {_size_line(sweep)}", title_justify="left")
    table.add_column("forecaster")
    for heading in ("cells", "blocks", "cached", "predicted core s"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row["label"], f"{row['cells']:,}", str(row["blocks"]), str(row["cached"]),
            f"{row['todo_s']:.1f}",
        )  # fmt: skip
    table.add_section()
    table.add_row(
        "all", f"{totals['cells']:,}", str(totals["blocks"]), str(totals["cached"]),
        f"{totals['todo_s']:.1f}",
    )  # fmt: skip
    voice.console.print(table)
    voice.say("memory", f"memory: about {memory} MiB at the driver and each worker, beside Ray")


def _plan_row(sweep: Sweep, plan: BlockPlan, spec_id: str, label: str) -> dict[str, Any]:
    todo = [block for block in plan.todo if block.spec.id == spec_id]
    done = [block for block in plan.done if block.spec.id == spec_id]
    return {
        "label": label,
        "cells": sweep.n_cells // len(sweep.specs),
        "blocks": len(todo) + len(done),
        "cached": len(done),
        "todo_s": sum(block.predicted_s for block in todo),
    }


def _size_line(sweep: Sweep) -> str:
    panel, plan = sweep.panel, sweep.plan
    steps = ", ".join(str(step) for step in plan.steps)
    return (
        f"{panel.n_tickers} tickers x {len(sweep.specs)} forecasters x {len(plan)} folds x "
        f"steps {steps}; cutoffs {panel.sessions[plan.cutoff[0]]} to "
        f"{panel.sessions[plan.cutoff[-1]]}"
    )


def _memory_mib(sweep: Sweep) -> int:
    """Return the process's base of libraries and kernels, the panel, and a part of the cells.

    Of a part one spec's frame is there, in two copies and sorted, and 26 bytes a cell of the rest.
    """
    base, bytes_a_row, bytes_a_cell = 500, 400, 26
    folds = min(folder_of.folds_at_once(sweep), len(sweep.plan))
    cells = folds * len(sweep.plan.steps) * sweep.panel.n_tickers
    part = cells * (bytes_a_row + bytes_a_cell * len(sweep.specs))
    return base + int((sweep.panel.close.nbytes * 2 + part) / 2**20)


@traced("run")
def run_step(
    voice: Voice,
    sweep: Sweep,
    store: BlockStore,
    *,
    address: str | None,
    outline: Outline | None = None,
    given_up: Iterable[Settled] = (),
) -> tuple[Settled, ...]:
    """Compute the blocks that the lake lacks, and write ``receipts.jsonl``.

    With an outline of some of the blocks, ``given_up`` are those that stay in quarantine.
    """
    store.remove_orphans()
    plan, receipts = outline or folder_of.outline(sweep, store)
    tracing.note({"pmx.blocks": len(plan.todo), "pmx.reused": len(plan.done)})
    settled = [*given_up, *(Settled(block, receipts[block.id]) for block in plan.done)]
    seconds = sum(block.predicted_s for block in plan.todo)
    if plan.todo:
        check_devices((block.spec for block in plan.todo), sweep.settings.execution)
        folder_of.keep_cut(store, plan.blocks)
        folder_of.keep_order(sweep, plan.todo)
        if address is None and _is_small(seconds, sweep.settings.execution):
            address = IN_PROCESS
            text = (
                f"run: about {seconds:.1f} s of work, in this process; "
                "--address local or execution.workers starts Ray"
            )
            voice.say("small", text, predicted_s=round(seconds, 2))
        progress = Progress(
            voice.console,
            total_blocks=len(plan.todo),
            predicted_s=seconds,
            as_json=voice.as_json,
        )
        with progress, _executor(sweep, store, plan, address) as results:
            computed = list(progress.watch(results))
        folder_of.learn_pace(sweep, store, computed)
        settled += computed
    elif not voice.as_json:
        voice.say("run", f"run: all {len(plan.done)} blocks are in the lake; no fit")
    folder_of.save_receipts(sweep, settled)
    if voice.as_json:
        voice.say("run", "", blocks=len(plan.todo), reused=len(plan.done))
    return folder_of.load_settled(sweep)


def _is_small(seconds: float, execution: ExecutionSettings) -> bool:
    """Return whether a plan is not worth a cluster; settings that ask for workers get them."""
    return seconds < SMALL_S and execution.workers is None and execution.gpu_workers == 0


def check_devices(specs: Iterable[ForecasterSpec], execution: ExecutionSettings) -> None:
    """Refuse specs that need a card where the settings ask for no worker that has one."""
    needing = sorted({spec.label for spec in specs if spec.device == "gpu"})
    if needing and execution.gpu_workers == 0:
        raise SettingsError(
            f"{needing[0]} needs a GPU worker and execution.gpu_workers is 0; set it to 1 or more"
        )


@contextmanager
def _executor(
    sweep: Sweep, store: BlockStore, plan: BlockPlan, address: str | None
) -> Iterator[Iterator[Settled]]:
    if address == IN_PROCESS:
        yield run_in_process(sweep.panel, sweep.plan, plan.todo, store=store)
        return
    # Ray takes a second to import, and reads its token settings as it does.
    use_token(address)
    from pmx_ray.remote.cluster import WorkerPool, connected  # noqa: PLC0415
    from pmx_ray.remote.executor import run_on_ray  # noqa: PLC0415

    execution = sweep.settings.execution
    n_workers = execution.workers or 0  # 0: all that fit
    pools = [
        WorkerPool("cpu", n_workers, 0.0, execution.labels),
        WorkerPool("gpu", execution.gpu_workers, execution.gpus_per_worker, execution.gpu_labels),
    ]
    n_cpus = (execution.workers or os.cpu_count() or 1) + execution.gpu_workers
    with (
        connected(address, n_workers=n_cpus),
        closing(
            run_on_ray(
                sweep.panel,
                sweep.plan,
                plan.todo,
                pools=pools,
                policy=DispatchPolicy(execution.in_flight, execution.max_attempts),
                lake_url=sweep.lake_url,
                plugins=sweep.settings.plugins,
                held=plan.done,
                priority=None if address in (None, "local") else execution.priority,
                nodes_within_s=execution.nodes_within_s,
            )
        ) as results,
    ):
        yield results


def open_sweep(folder: Path) -> Sweep:
    """Return the sweep of a folder; its plugins may lie in the current directory."""
    see_plugins()
    return folder_of.load(folder)


def refresh(sweep: Sweep) -> None:
    """Write the folder's folds and specs anew: its settings may have been edited by hand."""
    folder_of.save(sweep)


def check_ledger(sweep: Sweep) -> None:
    """Open a ledger that the environment names, so that a wrong URL shows before the work."""
    if "PMX_LEDGER_URL" in os.environ:
        open_ledger(ledger_url(sweep.folder.parent)).close()


@traced("plan")
def plan_step(voice: Voice, sweep: Sweep, store: BlockStore) -> Outline:
    """Write the folder's settings, panel, folds and specs, show the plan, and return it."""
    baseline_id(sweep)
    plan, receipts = folder_of.outline(sweep, store)
    folder_of.save(sweep)
    for left_out in sweep.quality["quarantined"]:
        text = (
            f"left out: ticker {left_out['ticker']}, close moved by a factor of "
            f"{left_out['ratio']:.4g} on {left_out['session']}: {left_out['reason']}"
        )
        voice.say("quarantined", text, **left_out)
    show_plan(voice, sweep, plan)
    return plan, receipts


@traced("evaluate")
def evaluate_step(voice: Voice, sweep: Sweep, store: BlockStore) -> None:
    """Write the report's tables and ``provenance.json``."""
    outcome = evaluate_sweep(sweep, store)
    figures = {
        key: outcome.provenance[key]
        for key in ("n_cells", "n_failed", "n_quarantined_blocks", "forecast_sha256")
    }
    how = "evaluate: nothing changed" if outcome.reused else "evaluate: done"
    text = (
        f"{how}; {figures['n_cells']:,} rows (a step each), {figures['n_failed']:,} failed; "
        f"forecasts {figures['forecast_sha256'][:16]}"
    )
    voice.say("evaluate", text, reused=outcome.reused, **figures)


@traced("compare")
def compare_step(voice: Voice, sweep: Sweep, store: BlockStore) -> None:
    """Write ``comparison.json``: paired differences from the baseline, with intervals."""
    comparison = compare_sweep(sweep, store)
    n, label = len(comparison.differences), comparison.baseline_label
    voice.say("compare", f"compare: {n} paired differences from {label}", differences=n)


@traced("sweep")
def whole_sweep(voice: Voice, sweep: Sweep, *, address: str | None) -> None:
    """Plan, run, evaluate, record, compare and report; what is there already is reused."""
    store = open_lake(sweep)
    outline = plan_step(voice, sweep, store)
    run_step(voice, sweep, store, address=address, outline=outline)
    evaluate_step(voice, sweep, store)
    record_step(voice, sweep, clock=utc_now)  # what was seen counts, whatever comes after
    compare_step(voice, sweep, store)
    leaderboard_step(voice, sweep)
    report_step(voice, sweep)


@traced("record")
def record_step(voice: Voice, sweep: Sweep, *, clock: Clock) -> None:
    """Record the run, its specs, metrics and trials; recording again changes nothing."""
    report, provenance = evaluated(sweep)
    with open_ledger(ledger_url(sweep.folder.parent)) as ledger:
        ledger.record_run(run_record(sweep, report, provenance, recorded_at=clock()))
        Trials(ledger).record(trials_of(report, sweep.settings, sweep.panel.tickers))
        url = ledger.shown_url
        text = f"record: run {sweep.sweep_id[:12]} in {url}"
        voice.say("record", text, sweep_id=sweep.sweep_id, ledger=url)


def leaderboard_step(voice: Voice, sweep: Sweep) -> None:
    """Print the leaderboard."""
    report, _ = evaluated(sweep)
    if voice.as_json:
        for row in report.leaderboard.to_pylist():
            voice.say("leaderboard", "", **row)
    else:
        print_leaderboard(report, voice.console)


@traced("report")
def report_step(voice: Voice, sweep: Sweep) -> None:
    """Write ``report.html``."""
    path = write_page(sweep.folder)
    voice.say("report", f"report: {path}", path=str(path))


def n_unaccepted_blocks(sweep: Sweep, store: BlockStore, settled: tuple[Settled, ...]) -> int:
    """Return how many blocks of a run hold a status that is neither ``ok`` nor accepted."""
    fine = {Status.OK.value, *sweep.settings.accepted_failures}
    return sum(bool(_statuses(row, store) - fine) for row in settled)


def _statuses(row: Settled, store: BlockStore) -> set[str]:
    if row.receipt is None:
        return {Status.QUARANTINED.value}
    if row.receipt.failed == 0:
        return {Status.OK.value}
    return set(read_block(store, row.receipt, FRAME_SCHEMA)["status"].to_pylist())


def n_unaccepted_failures(voice: Voice, sweep: Sweep) -> int:
    """Return how many failures have a status that the settings do not accept, and say so."""
    failures = evaluated(sweep)[0].failures
    counts = Counter(failures["status"].to_pylist())
    unaccepted = {s: n for s, n in counts.items() if s not in sweep.settings.accepted_failures}
    if counts:
        text = ", ".join(f"{n} {status}" for status, n in counts.most_common())
        voice.say("failed", f"failed forecasts: {text}; reasons: report, Failed cells", **counts)
    return sum(unaccepted.values())


def list_forecasters(console: Console, plugins: list[str]) -> None:
    """Print every registered family with its parameters and defaults."""
    table = Table("forecaster", Column("parameters", overflow="fold"), "what it does")
    for name, family in load_families(plugins).items():
        params = [f"{key}={short(value)}" for key, value in family.settings()]
        table.add_row(name, "\n".join(params), family.summary)
    console.print(table)
