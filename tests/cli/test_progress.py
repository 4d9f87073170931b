"""Progress where there is no terminal: few lines, and no guess before there is ground for one."""

import io
import json
from collections.abc import Iterator

import pytest
from rich.console import Console

from pmx_ray.backtest.blocks import WorkBlock
from pmx_ray.backtest.executor import Settled
from pmx_ray.cli.progress import Progress
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.lake import Receipt


class Ticking:
    """A clock that goes on by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def settled(n_blocks: int, clock: Ticking, *, each_s: float) -> Iterator[Settled]:
    spec = ForecasterSpec.parse({"name": "drift"})
    for n in range(n_blocks):
        clock.now += each_s
        name = f"{n:064x}"
        receipt = Receipt(name, f"blocks/00/{name}.parquet", 6, 1, "0" * 64, 0.1, "node", 1)
        block = WorkBlock(name, spec, (("A",),), n, n + 1, 0, 1.0)
        yield Settled(block, None if n == 3 else receipt, "killed" if n == 3 else None)


def lines(n_blocks: int, *, each_s: float, as_json: bool = False) -> list[str]:
    clock, out = Ticking(), io.StringIO()
    console = Console(file=out, width=40)
    progress = Progress(
        console, total_blocks=n_blocks, predicted_s=n_blocks, as_json=as_json, monotonic=clock
    )
    with progress:
        for _ in progress.watch(settled(n_blocks, clock, each_s=each_s)):
            pass
    return out.getvalue().splitlines()


def test_progress_when_not_a_terminal_then_at_most_a_line_in_ten_seconds() -> None:
    shown = lines(20, each_s=3.0)  # a minute: the first, one every 12 s, and the last
    assert len(shown) == 1 + 5 + 1
    assert shown[0] == "run: block 0 of 20, 0 rows (0/s), 0 failed, 0 s gone"
    assert shown[-1] == (
        "run: block 20 of 20, 114 rows (1.9/s), 19 failed, 60 s gone, 1 blocks quarantined"
    )


def test_progress_when_a_fifth_is_done_then_a_guess_of_the_time_left() -> None:
    shown = lines(20, each_s=3.0)
    assert "left" not in shown[1]  # 4 of 20 blocks are a fifth, and not more
    assert shown[2].startswith("run: block 8 of 20") and "about 36 s left" in shown[2]  # noqa: PT018


@pytest.mark.parametrize("n_blocks", [1, 20])
def test_progress_when_for_machines_then_every_line_is_json(n_blocks: int) -> None:
    shown = [json.loads(line) for line in lines(n_blocks, each_s=3.0, as_json=True)]
    assert {line["event"] for line in shown} == {"progress"}
    assert shown[-1]["blocks"] == n_blocks
