"""The verb `pmx features`: columns of a panel, from the lake where it has them."""

from pathlib import Path
from typing import Annotated

import typer

from pmx_ray.cli import options
from pmx_ray.cli.options import Assignments, Json, Out
from pmx_ray.clock import utc_now
from pmx_ray.place import default_root

FeatureSettingsPath = Annotated[
    Path, typer.Argument(help="YAML file with a panel and a list of features.")
]


def mount(app: typer.Typer) -> None:
    """Add the verb to ``app``."""
    app.command(name="features")(features)


def features(
    settings: FeatureSettingsPath,
    out: Out = None,
    assignments: Assignments = None,
    as_json: Json = False,
) -> None:
    """Compute a panel's features into the lake, and say of each column when it is known."""
    from pmx_ray.cli import feature_table  # noqa: PLC0415
    from pmx_ray.cli.steps import Voice  # noqa: PLC0415

    computed = feature_table.compute(
        feature_table.load_settings(settings, assignments or ()),
        root=out or default_root(),
        clock=utc_now,
        base_dir=settings.resolve().parent,
    )
    feature_table.show(Voice(options.console(), as_json), computed)
