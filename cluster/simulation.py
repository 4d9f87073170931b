"""A thousand machines on paper: how many drivers, or which size of blocks, keep them busy.

    python -m cluster.simulation [--set KEY=VALUE ...] [--json PATH]

The dispatch is the real one; its machines, their failures and the driver's costs are simulated
(see ``simulation_fleet``). Two tables: one driver with blocks of growing size, and blocks of the
given size with more and more drivers, each with its share of the machines and of the blocks. Then
the fewest drivers, and the smallest blocks of one driver, that keep nine of ten workers busy.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cluster.simulation_fleet import Fleet, Outcome, Replay
from pmx_ray.config import override, parse
from pmx_ray.errors import PmxError

BUSY = 0.9
"""Share of the workers that is to be busy with blocks that come back, once a run is steady."""

FAR = 3.0
"""Times what the costs alone ask for, beyond which no answer is looked for."""

SIZES = (1, 2, 4, 8, 16, 32, 64)
"""Times the fleet's block that the first table tries; and numbers of drivers in the second."""


@dataclass(frozen=True, slots=True)
class Row:
    """What a fleet did under so many drivers.

    Attributes
    ----------
    drivers : int
        Each with its share of machines and blocks.
    block_s : float
        Mean seconds of a block.
    wall_s, ideal_s : float
        Until the last driver was through, and if every worker had worked all the time.
    blocks_per_s : float
        Of all drivers, by the wall.
    busy, busy_steady : float
        Share of workers in blocks that came back: of the whole run, and in its steady part.
    driver_busy : float
        Share of the busiest driver's time.
    nodes_lost, workers_lost, recomputed, quarantined : int
        What failed, and what it cost.
    """

    drivers: int
    block_s: float
    wall_s: float
    ideal_s: float
    blocks_per_s: float
    busy: float
    busy_steady: float
    driver_busy: float
    nodes_lost: int
    workers_lost: int
    recomputed: int
    quarantined: int


def simulate(fleet: Fleet, *, drivers: int = 1) -> Row:
    """Run a fleet whose machines and blocks are dealt out evenly to ``drivers``.

    Raises
    ------
    ClusterError
        If every worker of a driver was given up.
    """
    parts = [
        fleet.model_copy(update={"nodes": nodes, "n_blocks": blocks})
        for nodes, blocks in zip(
            _dealt(fleet.nodes, drivers), _dealt(fleet.n_blocks, drivers), strict=True
        )
    ]
    outcomes = [Replay(part, shard=n).run() for n, part in enumerate(parts)]
    return _row(fleet, outcomes)


def fewest_drivers(fleet: Fleet, *, busy: float = BUSY) -> Row | None:
    """Return the fewest drivers that keep so many workers busy; None if no number does."""
    guess = busy * fleet.n_workers * fleet.driver.block_s / fleet.block_s
    most = min(fleet.nodes, math.ceil(FAR * guess))
    rows = (simulate(fleet, drivers=n) for n in range(max(1, math.floor(guess)), most + 1))
    return next((row for row in rows if row.busy_steady >= busy), None)


def smallest_blocks(fleet: Fleet, *, busy: float = BUSY) -> Row | None:
    """Return the smallest block, to a twentieth, with which one driver keeps so many busy."""
    guess = busy * fleet.n_workers * fleet.driver.block_s
    sizes = (guess * 1.05**n for n in range(math.ceil(math.log(FAR, 1.05))))
    rows = (simulate(fleet.model_copy(update={"block_s": size})) for size in sizes)
    return next((row for row in rows if row.busy_steady >= busy), None)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print both tables and what it takes; return 2 if a setting is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m cluster.simulation", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    asked = parser.parse_args(arguments)
    console = Console(width=120)
    try:
        fleet = parse(Fleet, override({}, asked.set), where="--set")
        figures = dict(_figures(fleet, console))
    except PmxError as error:
        print(error, file=sys.stderr)
        return 2
    if asked.json is not None:
        asked.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


def _figures(fleet: Fleet, console: Console) -> Iterator[tuple[str, object]]:
    """Yield each part of the figures, printed as it is there."""
    yield "fleet", fleet.model_dump()
    sizes = [simulate(fleet.model_copy(update={"block_s": n * fleet.block_s})) for n in SIZES]
    title = f"{fleet.nodes:,} machines of {fleet.slots} workers, one driver"
    console.print(_table(title, sizes))
    yield "sizes", [asdict(row) for row in sizes]
    several = [simulate(fleet, drivers=n) for n in SIZES if n <= fleet.nodes]
    console.print(_table(f"blocks of {fleet.block_s:g} s, several drivers", several))
    yield "drivers", [asdict(row) for row in several]
    fewest, smallest = fewest_drivers(fleet), smallest_blocks(fleet)
    for name, row in (("fewest_drivers", fewest), ("smallest_blocks", smallest)):
        console.print(_sentence(name, row))
        yield name, None if row is None else asdict(row)


def _sentence(name: str, row: Row | None) -> str:
    what = name.replace("_", " ")
    if row is None:
        return f"{what}: none keeps {BUSY:.0%} of the workers busy; too much fails"
    count = f"{row.drivers} driver" + "s" * (row.drivers > 1)
    return f"{what}: {count}, blocks of {row.block_s:.3g} s, {row.busy_steady:.1%} busy"


def _dealt(n: int, among: int) -> list[int]:
    """Return ``n`` cut into ``among`` parts that differ by one at most."""
    return [n // among + (part < n % among) for part in range(among)]


def _row(fleet: Fleet, outcomes: Sequence[Outcome]) -> Row:
    wall_s = max(o.wall_s for o in outcomes)
    workers = fleet.n_workers
    shares = _dealt(fleet.nodes, len(outcomes))
    steady = [
        nodes / fleet.nodes * o.steady_useful_s / (o.steady_s * nodes * fleet.slots)
        for nodes, o in zip(shares, outcomes, strict=True)
    ]
    n_done = sum(o.n_done for o in outcomes)
    return Row(
        drivers=len(outcomes),
        block_s=fleet.block_s,
        wall_s=wall_s,
        ideal_s=fleet.n_blocks * fleet.block_s / workers,
        blocks_per_s=n_done / wall_s,
        busy=sum(o.useful_s for o in outcomes) / (wall_s * workers),
        busy_steady=sum(steady),
        driver_busy=max(o.driver_s / o.wall_s for o in outcomes),
        nodes_lost=sum(o.nodes_lost for o in outcomes),
        workers_lost=sum(o.workers_lost for o in outcomes),
        recomputed=sum(o.recomputed for o in outcomes),
        quarantined=sum(o.n_quarantined for o in outcomes),
    )


COLUMNS = (
    "drivers", "block s", "wall s", "ideal s", "blocks/s", "busy", "steady", "driver",
    "nodes lost", "deaths", "again", "given up",
)  # fmt: skip


def _table(title: str, rows: Sequence[Row]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            str(row.drivers), f"{row.block_s:g}", f"{row.wall_s:,.0f}", f"{row.ideal_s:,.0f}",
            f"{row.blocks_per_s:,.0f}", f"{row.busy:.1%}", f"{row.busy_steady:.1%}",
            f"{row.driver_busy:.1%}", str(row.nodes_lost), f"{row.workers_lost:,}",
            f"{row.recomputed:,}", str(row.quarantined),
        )  # fmt: skip
    return table


if __name__ == "__main__":
    sys.exit(main())
