"""`pmx cluster observe`: what Prometheus and Grafana are started with, as a folder of files."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from pmx_ray.cli import options
from pmx_ray.errors import SettingsError
from pmx_ray.place import default_root


def observe(
    out: Annotated[Path, typer.Argument(help="Folder to write; what is there is replaced.")],
    *,
    ray_folder: Annotated[
        str | None,
        typer.Option(help="Ray's folder on the head. [default: of the cluster started here]"),
    ] = None,
    service: Annotated[
        str | None, typer.Option(help="The signal service, e.g. http://127.0.0.1:8000.")
    ] = None,
    token_file: Annotated[
        str | None, typer.Option(help="File with a token of scope read, for --service.")
    ] = None,
) -> None:
    """Write rules and settings for Prometheus, and dashboards for Grafana; no secret is in them."""
    from cluster.observe import rules, scraping  # noqa: PLC0415
    from cluster.observe.panels import DASHBOARDS  # noqa: PLC0415

    try:
        from cluster.observe import dashboards  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if not str(error.name).startswith("grafana_foundation_sdk"):
            raise
        raise SettingsError(
            "dashboards need grafana-foundation-sdk; install it: pip install 'pmx-ray[observe]'"
        ) from None
    if (service is None) is not (token_file is None):
        raise SettingsError("--service and --token-file are given together, or neither of them")
    target = None
    if service is not None and token_file is not None:
        target = scraping.ServiceTarget(service, str(Path(token_file).absolute()))
    # Prometheus takes a relative path from the folder of its settings, and not from here.
    folder = Path(ray_folder or _ray_folder()).absolute()
    settings = scraping.prometheus_settings(discovery=folder / scraping.DISCOVERY, service=target)
    files = {
        "prometheus.yml": scraping.as_yaml(settings),
        scraping.RULES_FILE: rules.as_yaml(),
        **{f"grafana/{board.uid}.json": dashboards.as_json(board) for board in DASHBOARDS},
    }
    for name, text in files.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    say = partial(options.console().print, soft_wrap=True)
    say(f"observe: {len(files)} files in {out}")
    say("Use them with:")
    say(f"  prometheus --config.file={out}/prometheus.yml --web.listen-address=127.0.0.1:9090")
    say(f"  Grafana: import {out}/grafana/*.json; nobody but you should reach either")


def _ray_folder() -> str:
    """Return Ray's folder of the one cluster that was started here, else Ray's own."""
    from cluster import local  # noqa: PLC0415
    from cluster.observe.scraping import RAY_FOLDER  # noqa: PLC0415

    home = default_root()
    found = [local.running(home, name) for name in local.names(home)]
    here = [cluster.temp for cluster in found if cluster is not None]
    if len(here) > 1:
        raise SettingsError(f"{len(here)} clusters were started here; name one with --ray-folder")
    return here[0] if here else RAY_FOLDER
