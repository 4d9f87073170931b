"""The verbs of a cluster: up, status, down, render, doctor."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from pmx_ray.cli import cluster_doctor, observing, options
from pmx_ray.cli.options import Assignments, Json
from pmx_ray.cli.topologies import topology_of
from pmx_ray.config import read_yaml
from pmx_ray.errors import SettingsError
from pmx_ray.place import default_root
from pmx_ray.remote.token import keep_token, use_token

cluster = typer.Typer(help="Start, see and end clusters.", no_args_is_help=True)

FORMS = ("ray-start", "ray-up", "kuberay")
ADDRESSES = ("one", "own")

Settings = Annotated[Path, typer.Argument(help="Topology, e.g. configs/cluster/three_nodes.yaml.")]
Name = Annotated[
    str | None, typer.Argument(help="Of the cluster. [default: the one that was started here]")
]


def mount(app: typer.Typer) -> None:
    """Add the verbs to ``app``."""
    cluster.command(name="doctor")(cluster_doctor.doctor)
    cluster.command(name="observe")(observing.observe)
    app.add_typer(cluster, name="cluster")


@cluster.command(name="up")
def up(
    settings: Settings,
    *,
    addresses: Annotated[
        str, typer.Option(help="one: all nodes on loopback; own: one each, which needs root.")
    ] = "one",
    span: Annotated[
        str | None, typer.Option(help="Private addresses, for own. [default: 10.89.0.0/16]")
    ] = None,
    assignments: Assignments = None,
) -> None:
    """Start every node of a topology on this machine, as processes of their own."""
    from cluster import local, namespaces  # noqa: PLC0415

    if addresses not in ADDRESSES:
        raise SettingsError(
            f"--addresses was {addresses}; it must be one of {', '.join(ADDRESSES)}"
        )
    topology = topology_of(settings, assignments)
    token = keep_token()
    say = options.console().print
    made = local.up(
        topology,
        default_root(),
        joined=_joined,
        say=say,
        span=(span or namespaces.SPAN) if addresses == "own" else None,
    )
    say(f"cluster: {topology.name} is up, {topology.n_nodes} nodes; token {token}")
    say("Use it with:")
    say(f"  export RAY_AUTH_MODE=token RAY_API_SERVER_ADDRESS={made.dashboard}")
    say("  ray job submit --working-dir . -- pmx sweep configs/sweep/demo.yaml")
    say(f"  pmx sweep configs/sweep/demo.yaml --address {made.address}")
    say(f"  pmx cluster down {topology.name}")


@cluster.command(name="status")
def status(name: Name = None, *, as_json: Json = False) -> None:
    """Print the nodes of a cluster that was started here, as Ray knows them."""
    from cluster import local  # noqa: PLC0415

    found = _chosen(name)
    nodes = _nodes(found.address)
    processes = local.living(found)
    rows = [
        {
            "node": node["NodeID"][:12],
            "group": node["Labels"].get("pmx-group", ""),
            "address": node["NodeManagerAddress"],
            "alive": bool(node["Alive"]),
            "cpus": node.get("Resources", {}).get("CPU", 0.0),
            "gpus": node.get("Resources", {}).get("GPU", 0.0),
        }
        for node in sorted(nodes, key=lambda node: node["Labels"].get("pmx-group", ""))
    ]
    if as_json:
        options.console().print_json(
            data={"name": found.name, "address": found.address, "dashboard": found.dashboard,
                  "nodes": rows, "processes": len(processes)}
        )  # fmt: skip
        return
    title = f"{found.name} at {found.address}, dashboard {found.dashboard}"
    columns = ("node", "group", "address", "alive", "cpus", "gpus")
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        alive = "yes" if row["alive"] else "[red]no[/]"
        table.add_row(
            row["node"], row["group"], row["address"], alive,
            f"{row['cpus']:g}", f"{row['gpus']:g}",
        )  # fmt: skip
    options.console().print(table)


@cluster.command(name="down")
def down(name: Name = None) -> None:
    """End a cluster that was started here; its processes alone."""
    from cluster import local  # noqa: PLC0415

    found = _chosen(name)
    n = local.down(found, default_root())
    options.console().print(f"cluster: {found.name} is down, {n} processes ended")


@cluster.command(name="render")
def render(
    settings: Settings,
    *,
    form: Annotated[str, typer.Option("--for", help=f"One of {', '.join(FORMS)}.")] = "ray-start",
    host: Annotated[str, typer.Option(help="Address of the head, for ray-start.")] = "127.0.0.1",
    region: Annotated[str, typer.Option(help="Of the cloud, for ray-up.")] = "eu-central-1",
    namespace: Annotated[str, typer.Option(help="Of Kubernetes, for kuberay.")] = "pmx",
    job: Annotated[
        str | None,
        typer.Option(help="Command, for kuberay: a cluster that comes up for it and goes."),
    ] = None,
    serve: Annotated[
        Path | None,
        typer.Option(help="Serve config, for kuberay: a cluster with the service on it."),
    ] = None,
    assignments: Assignments = None,
) -> None:
    """Print a topology as commands or manifests; no secret is in them."""
    topology = topology_of(settings, assignments)
    match form:
        case "ray-start":
            from cluster.commands import script  # noqa: PLC0415

            typer.echo(script(topology, host=host), nl=False)
        case "ray-up":
            from cluster.ray_up import as_yaml, ray_up  # noqa: PLC0415

            typer.echo(as_yaml(ray_up(topology, region=region)), nl=False)
        case "kuberay":
            from cluster.kuberay import as_yaml as of_documents  # noqa: PLC0415
            from cluster.kuberay import manifests, serve_in_pods  # noqa: PLC0415

            documents = manifests(
                topology,
                namespace=namespace,
                entrypoint=job,
                serve_config=None if serve is None else serve_in_pods(read_yaml(serve)),
            )
            typer.echo(of_documents(documents), nl=False)
        case _:
            raise SettingsError(f"--for was {form}; it must be one of {', '.join(FORMS)}")


def _chosen(name: str | None) -> Any:
    from cluster import local  # noqa: PLC0415

    home = default_root()
    known = local.names(home)
    if name is None:
        if len(known) != 1:
            raise SettingsError(f"clusters started here: {', '.join(known) or 'none'}; name one")
        name = known[0]
    found = local.running(home, name)
    if found is None:
        raise SettingsError(
            f"no cluster {name} was started here; known: {', '.join(known) or 'none'}"
        )
    return found


def _nodes(address: str) -> list[dict[str, Any]]:
    use_token(address)
    from pmx_ray.remote.cluster import all_nodes, connected  # noqa: PLC0415 - imports Ray

    with connected(address, n_workers=1):
        return all_nodes()


def _joined(address: str, n_nodes: int) -> None:
    use_token(address)
    from pmx_ray.remote.cluster import await_nodes, connected  # noqa: PLC0415 - imports Ray

    with connected(address, n_workers=1):
        await_nodes(n_nodes)
