"""How a run shows that it is alive: one live table on a terminal, a line now and then elsewhere."""

import json
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from pmx_ray.backtest.executor import Settled

LINE_EVERY_S = 10.0
"""Seconds between lines where there is no terminal."""


MIN_SHARE = 0.2
"""Share of the predicted work that must be done before the time left is worth a guess."""


class Progress:
    """Counts settled blocks and shows the count; use it as a context manager.

    Parameters
    ----------
    console : Console
        Where it is shown.
    total_blocks : int
        Blocks to compute.
    predicted_s : float
        Seconds of one core that they were predicted to take.
    as_json : bool
        One JSON object a line instead of text.
    monotonic : callable
        Seconds.
    """

    def __init__(
        self,
        console: Console,
        *,
        total_blocks: int,
        predicted_s: float,
        as_json: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console, self._json, self._now = console, as_json, monotonic
        self._total, self._predicted = total_blocks, predicted_s
        self._blocks = self._rows = self._failed = self._quarantined = 0
        self._settled_s = 0.0
        self._started = self._last_line = monotonic()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._json:
            self._live = Live(self._table(), console=self._console, refresh_per_second=4)
            self._live.start()
        else:
            self._line()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.update(self._table())
            self._live.stop()
        else:
            self._line()

    def watch(self, settled: Iterator[Settled]) -> Iterator[Settled]:
        """Pass every settled block through, counting it."""
        for row in settled:
            self._count(row)
            if self._live is not None:
                self._live.update(self._table())
            elif self._now() - self._last_line >= LINE_EVERY_S:
                self._line()
            yield row

    def _count(self, row: Settled) -> None:
        self._blocks += 1
        self._settled_s += row.block.predicted_s
        if row.receipt is None:
            self._quarantined += 1
        else:
            self._rows += row.receipt.rows
            self._failed += row.receipt.failed

    def _figures(self) -> dict[str, int | float]:
        elapsed = self._now() - self._started
        share = self._settled_s / self._predicted if self._predicted else 1.0
        figures: dict[str, int | float] = {
            "blocks": self._blocks,
            "of": self._total,
            "rows": self._rows,
            "rows_per_s": round(self._rows / elapsed, 1) if elapsed > 0 else 0.0,
            "failed_rows": self._failed,
            "quarantined_blocks": self._quarantined,
            "elapsed_s": round(elapsed, 1),
        }
        if share > MIN_SHARE:
            figures["left_s"] = round(max(elapsed * (1.0 - share) / share, 0.0), 1)
        return figures

    def _line(self) -> None:
        self._last_line = self._now()
        figures = self._figures()
        if self._json:
            self._console.file.write(json.dumps({"event": "progress", **figures}) + "\n")
            self._console.file.flush()
        else:
            text = (
                f"run: block {self._blocks} of {self._total}, {self._rows} rows "
                f"({figures['rows_per_s']:g}/s), {self._failed} failed, "
                f"{figures['elapsed_s']:.0f} s gone"
            )
            if "left_s" in figures and self._blocks < self._total:
                text += f", about {figures['left_s']:.0f} s left"
            if self._quarantined:
                text += f", {self._quarantined} blocks quarantined"
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _table(self) -> Table:
        figures = self._figures()
        table = Table(box=None, pad_edge=False)
        cells = {
            "blocks": f"{self._blocks}/{self._total}",
            "rows": str(self._rows),
            "rows/s": f"{figures['rows_per_s']:g}",
            "failed": str(self._failed),
            "quarantined": str(self._quarantined),
            "elapsed": f"{figures['elapsed_s']:.0f} s",
            "left": f"{figures['left_s']:.0f} s" if "left_s" in figures else "",
        }
        for heading in cells:
            table.add_column(heading, justify="right")
        table.add_row(*cells.values())
        return table
