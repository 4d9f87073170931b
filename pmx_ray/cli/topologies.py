"""A cluster's topology as the verbs of `pmx` read it."""

from pathlib import Path
from typing import TYPE_CHECKING

from pmx_ray.config import override, parse, read_yaml

if TYPE_CHECKING:
    from cluster.topology import Topology


def topology_of(settings: Path, assignments: list[str] | None) -> "Topology":
    """Return the topology of a settings file, with what ``--set`` says.

    Raises
    ------
    SettingsError
        If the file cannot be read or the topology has a fault.
    """
    from cluster.topology import Topology  # noqa: PLC0415

    values = override(read_yaml(settings), assignments or ())
    return parse(Topology, values, where=str(settings))
