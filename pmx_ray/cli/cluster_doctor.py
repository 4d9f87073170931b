"""`pmx cluster doctor`: is a cluster fit to be used, and what mends it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from pmx_ray.cli import options
from pmx_ray.cli.options import EXIT_OTHER, Assignments, Json
from pmx_ray.cli.topologies import topology_of
from pmx_ray.place import default_root
from pmx_ray.remote.token import own_token

if TYPE_CHECKING:
    from cluster.check import Check
    from cluster.found import ClusterFacts


def doctor(
    settings: Annotated[
        Path | None, typer.Argument(help="Topology that the cluster should have.")
    ] = None,
    *,
    address: Annotated[
        str | None,
        typer.Option(help="HOST:PORT of the head. [default: the cluster that was started here]"),
    ] = None,
    dashboard: Annotated[
        str, typer.Option(help="URL of its dashboard and jobs API.")
    ] = "http://127.0.0.1:8265",
    assignments: Assignments = None,
    as_json: Json = False,
) -> None:
    """Look at this machine and a cluster, and say what to mend; ends with 1 where anything is."""
    from cluster.checks import examine  # noqa: PLC0415
    from cluster.facts import machine_facts  # noqa: PLC0415

    topology = None if settings is None else topology_of(settings, assignments)
    port = 8000 if topology is None else topology.ports.serve
    checks = examine(
        machine_facts(), _cluster(address, dashboard, serve_port=port), topology=topology
    )
    if as_json:
        options.console().print_json(
            data=[
                {"name": check.name, "passed": check.passed, "warning": check.warning,
                 "sentence": check.sentence, "remedy": check.remedy}
                for check in checks
            ]
        )  # fmt: skip
    else:
        _print(checks)
    if any(not check.passed and not check.warning for check in checks):
        raise typer.Exit(EXIT_OTHER)


def _cluster(address: str | None, dashboard: str, *, serve_port: int) -> "ClusterFacts | None":
    from cluster import local  # noqa: PLC0415
    from cluster.facts import cluster_facts  # noqa: PLC0415

    if address is None:
        known = local.names(default_root())
        here = local.running(default_root(), known[0]) if len(known) == 1 else None
        if here is None:
            return None
        address, dashboard = here.address, here.dashboard
    return cluster_facts(address, dashboard_url=dashboard, token=own_token(), serve_port=serve_port)


def _print(checks: Sequence["Check"]) -> None:
    table = Table("", "check", "found", "remedy", show_lines=False)
    for check in checks:
        failed = "[yellow]warn[/]" if check.warning else "[red]no[/]"
        verdict = "[green]yes[/]" if check.passed else failed
        table.add_row(verdict, check.name, escape(check.sentence), escape(check.remedy))
    options.console().print(table)
    n_failed = sum(not check.passed and not check.warning for check in checks)
    words = "all in order" if not n_failed else f"{n_failed} to mend"
    options.console().print(f"cluster doctor: {len(checks)} checks, {words}")
