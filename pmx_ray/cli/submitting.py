"""The verbs of sweeps on a cluster: submit, jobs."""

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from pmx_ray.cli import options
from pmx_ray.cli.options import EXIT_OTHER, Assignments, Json, SettingsPath
from pmx_ray.remote.token import own_token, use_token

if TYPE_CHECKING:
    from pmx_ray.backtest.settings import ExecutionSettings
    from pmx_ray.remote.jobs import Job

Dashboard = Annotated[
    str | None,
    typer.Option(
        "--dashboard",
        help="URL of the cluster's dashboard and jobs API. "
        "[default: $RAY_API_SERVER_ADDRESS, else http://127.0.0.1:8265]",
    ),
]


def mount(app: typer.Typer) -> None:
    """Add the verbs to ``app``."""
    app.command(name="submit")(submit)
    app.command(name="jobs")(jobs)


def submit(
    settings: SettingsPath,
    *,
    assignments: Assignments = None,
    dashboard: Dashboard = None,
    out: Annotated[
        str | None,
        typer.Option(
            help="Folder of the sweep folders on the cluster, whole or '~/...' in quotes. "
            "[default: its $PMX_HOME or ~/pmx-runs]"
        ),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for its end.")] = False,
    priority: Annotated[
        int | None,
        typer.Option(min=1, max=9, help="1 goes before 2 where sweeps share a cluster."),
    ] = None,
    looked_at: Annotated[
        bool, typer.Option("--preflight/--no-preflight", help="Look at the cluster first.")
    ] = True,
) -> None:
    """Run a sweep as a job of a cluster, or follow it where it runs already.

    Ctrl-C leaves the job running; so does a lost connection. The exit code is that of the sweep.
    """
    from pmx_ray.backtest import parcel  # noqa: PLC0415
    from pmx_ray.backtest.settings import load_settings  # noqa: PLC0415

    base_dir = settings.resolve().parent
    options.see_plugins(base_dir)
    asked = [] if priority is None else [f"execution.priority={priority}"]
    loaded = load_settings(settings, [*(assignments or ()), *asked])
    parcel.check_places(loaded, out)
    where = _dashboard(dashboard)
    use_token(where)
    if looked_at:
        _look(where, loaded.execution)
    from pmx_ray.remote.jobs import Jobs  # noqa: PLC0415 - imports Ray

    cluster = Jobs(where)
    with tempfile.TemporaryDirectory() as folder:
        parcel.pack(loaded, Path(folder), base_dir=base_dir)
        name = parcel.job_name(loaded, Path(folder))
        new = cluster.submit(name, parcel.sweep_command(out), folder=Path(folder))
    say = options.console().print
    say(f"submit: {name} {'is submitted' if new else 'runs already'}; {where}")
    if detach:
        say(f"submit: follow it with the same command, stop it with: ray job stop {name}")
        return
    ended = cluster.follow(name, say=sys.stdout.write)
    say(f"submit: {name} {ended.status.lower()}{_took(ended)}")
    if ended.status != "SUCCEEDED":
        raise typer.Exit(ended.exit_code or EXIT_OTHER)


def jobs(*, dashboard: Dashboard = None, as_json: Json = False) -> None:
    """List the sweeps that were submitted to a cluster, the newest first."""
    where = _dashboard(dashboard)
    use_token(where)
    from pmx_ray.remote.jobs import Jobs  # noqa: PLC0415 - imports Ray

    found = Jobs(where).sweeps()
    if as_json:
        options.console().print_json(
            data=[
                {"job": job.name, "status": job.status, "exit_code": job.exit_code,
                 "started": None if job.started is None else job.started.isoformat(),
                 "ended": None if job.ended is None else job.ended.isoformat()}
                for job in found
            ]
        )  # fmt: skip
        return
    table = Table("job", "status", "started", "took", title=f"Sweeps at {where}",
                  title_justify="left")  # fmt: skip
    for job in found:
        started = "" if job.started is None else f"{job.started:%Y-%m-%d %H:%M:%S}"
        table.add_row(job.name, job.status.lower(), started, _took(job).strip(" after"))
    options.console().print(table)


def _look(dashboard: str, execution: "ExecutionSettings") -> None:
    """Refuse a cluster that is open to strangers, or in no state for a sweep."""
    from cluster.facts import machine_facts  # noqa: PLC0415
    from cluster.outside import outside_facts  # noqa: PLC0415
    from cluster.preflight import preflight, refuse  # noqa: PLC0415

    labels = [execution.labels, *([execution.gpu_labels] if execution.gpu_workers else [])]
    if execution.nodes_within_s:  # an autoscaler is to start them
        labels = []
    refuse(preflight(machine_facts(), outside_facts(dashboard, token=own_token()), labels=labels))


def _took(job: "Job") -> str:
    if job.started is None or job.ended is None:
        return ""
    return f" after {(job.ended - job.started).total_seconds():.0f} s"


def _dashboard(given: str | None) -> str:
    return given or os.environ.get("RAY_API_SERVER_ADDRESS") or "http://127.0.0.1:8265"
