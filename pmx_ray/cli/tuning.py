"""The verb `pmx tune`: search, freeze the choice, and say what it is worth on later folds."""

import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pmx_ray.cli import options
from pmx_ray.cli.options import EXIT_FAILED_CELLS, Address, Assignments, Json, Out
from pmx_ray.clock import utc_now
from pmx_ray.place import default_root, ledger_url

if TYPE_CHECKING:
    from pmx_ray.backtest.sweep import Sweep
    from pmx_ray.cli.steps import Voice
    from tune_jobs.choice import Choice
    from tune_jobs.contest import Contest
    from tune_jobs.job import Search
    from tune_jobs.loop import SearchLoop

TuneSettingsPath = Annotated[Path, typer.Argument(help="YAML file of a search's settings.")]


def mount(app: typer.Typer) -> None:
    """Add the verb to ``app``."""
    app.command(name="tune")(tune)


def tune(
    settings: TuneSettingsPath,
    out: Out = None,
    assignments: Assignments = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Search hyperparameters on the tuning folds; freeze the best, and try it on later folds."""
    from pmx_ray.backtest.outcome import evaluated  # noqa: PLC0415
    from pmx_ray.cli import steps, tuning_report  # noqa: PLC0415
    from tune_jobs.contest import open_contest  # noqa: PLC0415
    from tune_jobs.worth import judge  # noqa: PLC0415

    voice = steps.Voice(options.console(), as_json)
    where = options.checked_address(address)
    search = _prepared(settings, out, assignments)
    contest = open_contest(search.panel, search.plan, search.settings)
    choice = _search(voice, search, contest, address=where)
    sweep = _evaluation(search, choice)
    steps.whole_sweep(voice, sweep, address=where)
    found = judge(search, contest, choice, evaluated(sweep)[0])
    tuning_report.show(voice, search, choice.tuned, gain=found)
    _page(voice, search)
    if steps.n_unaccepted_failures(voice, sweep):
        raise typer.Exit(EXIT_FAILED_CELLS)


def _prepared(settings: Path, out: Path | None, assignments: list[str] | None) -> "Search":
    from tune_jobs.job import prepare  # noqa: PLC0415
    from tune_jobs.settings import load_settings  # noqa: PLC0415

    options.see_plugins(settings.resolve().parent)
    return prepare(
        load_settings(settings, assignments or ()),
        root=out or default_root(),
        clock=utc_now,
        base_dir=settings.resolve().parent,
    )


def _search(
    voice: "Voice", search: "Search", contest: "Contest", *, address: str | None
) -> "Choice":
    """Carry out the trials that the study lacks, and freeze what it chose."""
    from pmx_ray.cli import tuning_report  # noqa: PLC0415
    from pmx_ray.ledger import open_ledger  # noqa: PLC0415
    from pmx_ray.ledger.trials import Trials, TrialSource  # noqa: PLC0415
    from tune_jobs import job  # noqa: PLC0415
    from tune_jobs.choice import freeze  # noqa: PLC0415
    from tune_jobs.driving import driving  # noqa: PLC0415
    from tune_jobs.records import Records  # noqa: PLC0415

    with (
        open_ledger(ledger_url(search.folder.parent)) as ledger,
        driving(ledger, search.study_name),
        closing(search.open_study(ledger)) as study,
        tuning_report.Trace(voice, search) as trace,
    ):
        source = TrialSource.CI if os.environ.get("CI") else TrialSource.TUNE
        records = Records(search, study, Trials(ledger), source, trace.ended)
        loop = job.open_loop(search, contest, records)
        job.save(search)
        trace.begin(loop, ledger.shown_url)
        if not loop.finished:
            _carry_out(search, loop, contest, address=address)
        return freeze(search, study, contest)


def _carry_out(
    search: "Search", loop: "SearchLoop", contest: "Contest", *, address: str | None
) -> None:
    from pmx_ray.cli.steps import IN_PROCESS, check_devices  # noqa: PLC0415
    from tune_jobs import job  # noqa: PLC0415

    if address == IN_PROCESS:
        job.run_in_process(loop, contest, search.space)
        return
    from pmx_ray.remote.token import use_token  # noqa: PLC0415

    use_token(address)  # before anything imports ray
    from pmx_ray.remote.cluster import connected  # noqa: PLC0415
    from tune_jobs.tuner import run_search  # noqa: PLC0415

    execution = search.settings.execution
    default = search.space.default
    check_devices([default], execution)
    gpu = default.device == "gpu"
    with connected(address, n_workers=execution.workers or os.cpu_count() or 1):
        run_search(
            loop,
            contest,
            search.space,
            gpus=execution.gpus_per_worker if gpu else 0.0,
            labels=execution.gpu_labels if gpu else execution.labels,
            plugins=search.settings.plugins,
            max_attempts=execution.max_attempts,
            scratch=search.folder / "tune",
        )


def _evaluation(search: "Search", choice: "Choice") -> "Sweep":
    """Return the sweep of the choice, the default and what is compared over the later folds."""
    from pmx_ray.backtest.sweep import prepare  # noqa: PLC0415
    from tune_jobs.choice import written  # noqa: PLC0415

    return prepare(
        search.settings.sweep([written(one.spec) for one in choice.compared], choice.tuned),
        root=search.folder.parent,
        clock=utc_now,
        base_dir=search.base_dir,
    )


def _page(voice: "Voice", search: "Search") -> None:
    """Write the page of a search that is over, and say where it lies."""
    from pmx_ray.ledger import open_ledger  # noqa: PLC0415
    from tune_jobs.page import write_search_page  # noqa: PLC0415

    with (
        open_ledger(ledger_url(search.folder.parent)) as ledger,
        closing(search.open_study(ledger)) as study,
    ):
        path = write_search_page(search, study)
    voice.say("report", f"tune: {path}", path=str(path))
