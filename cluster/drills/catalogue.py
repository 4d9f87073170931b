"""The drills by name."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Protocol

from cluster.drills.clock import drill_clock
from cluster.drills.heads import drill_gcs, drill_head
from cluster.drills.kills import drill_kills
from cluster.drills.memory import drill_memory, drill_poison, drill_spill
from cluster.drills.result import Asked, Found
from cluster.drills.stores import drill_disk, drill_s3
from cluster.drills.strike import TARGETS
from pmx_ray.config import suggestion
from pmx_ray.errors import SettingsError


class Runs(Protocol):
    """What a drill is: a generator of runs."""

    def __call__(self, asked: Asked) -> Iterator[Found]:
        """Yield each run as it ends."""
        ...


@dataclass(frozen=True, slots=True)
class Drill:
    """One drill.

    Attributes
    ----------
    breaks : str
        What it breaks, in a line.
    holds : str
        What must hold beside the same bytes.
    runs : Runs
        The drill itself.
    """

    breaks: str
    holds: str
    runs: Runs


def _kills(*targets: str, n_strikes: int) -> Runs:
    chosen = tuple(target for target in TARGETS if target in targets)
    return partial(drill_kills, targets=chosen, n_strikes=n_strikes)


DRILLS: Mapping[str, Drill] = MappingProxyType(
    {
        "worker": Drill(
            "a worker's process under a fit; it holds one actor, so it is the actor's drill too",
            "one fit is begun again",
            _kills("worker", n_strikes=1),
        ),
        "node": Drill(
            "every process of a worker node at once",
            "Ray says that the node is dead; one fit is begun again",
            _kills("node", n_strikes=1),
        ),
        "driver": Drill(
            "the sweep's own process; the same command is given again",
            "no finished block is computed again",
            _kills("driver", n_strikes=1),
        ),
        "mixed": Drill(
            "two of worker, node and driver in each run",
            "the same table in every run",
            _kills("worker", "node", "driver", n_strikes=2),
        ),
        "head": Drill(
            "every process of the head, without a store for its records",
            "a new head and the same command go on; no finished block is computed again",
            drill_head,
        ),
        "gcs": Drill(
            "the GCS alone, with its records in RocksDB; it is started again after 3 s",
            "blocks go on without it; nothing is begun again; every node lives",
            drill_gcs,
        ),
        "spill": Drill(
            "an object store that another driver has filled to twice its size",
            "objects were spilled to disk while the sweep ran",
            drill_spill,
        ),
        "disk": Drill(
            "a disk that is full in the middle of the sweep, and has room again later",
            "a refusal with path, bytes and remedy; no finished block is computed again",
            drill_disk,
        ),
        "s3": Drill(
            "10 % of the requests to S3 fail, 2 % of the bodies are cut, 5 % wait",
            "the proxy counted both",
            drill_s3,
        ),
        "clock": Drill(
            "the time of day of the sweep's process: a day forward, then two back",
            "a fit saw both steps; without Ray",
            drill_clock,
        ),
        "poison": Drill(
            "a forecaster that kills its process on one ticker",
            "its cells alone are quarantined, all others have the same bytes",
            drill_poison,
        ),
        "memory": Drill(
            "a forecaster that takes memory on one ticker until Ray ends it",
            "its cells alone are quarantined, all others have the same bytes",
            drill_memory,
        ),
    }
)
"""Every drill, in the order in which they are listed."""


def drill(name: str) -> Drill:
    """Return a drill by name.

    Raises
    ------
    SettingsError
        If there is none of that name.
    """
    if name == "actor":
        raise SettingsError(
            "there is no drill actor: a worker is an actor in a process of its own; run: "
            "pmx drill worker"
        )
    if name not in DRILLS:
        raise SettingsError(f"there is no drill {name}{suggestion(name, tuple(DRILLS))}")
    return DRILLS[name]
