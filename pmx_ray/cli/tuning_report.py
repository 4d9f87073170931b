"""What `pmx tune` says: how the search goes, what it chose, and what that is worth."""

import time
from collections.abc import Callable
from math import isfinite
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.live import Live
from rich.table import Table

from pmx_ray.backtest.tuned import TUNED, TunedSpecs
from pmx_ray.cli.progress import LINE_EVERY_S
from pmx_ray.cli.steps import Voice
from pmx_ray.forecasters.registry import ForecasterSpec

if TYPE_CHECKING:
    from tune_jobs.job import Search
    from tune_jobs.loop import Ended, SearchLoop
    from tune_jobs.worth import Figure, Gain


class Trace:
    """Shows each trial as it ends: a live table on a terminal, a line now and then elsewhere.

    Parameters
    ----------
    voice : Voice
        How it is said.
    search : Search
        What is under way.
    monotonic : callable
        Seconds.
    """

    def __init__(
        self, voice: Voice, search: "Search", *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._voice, self._search, self._now = voice, search, monotonic
        self._loop: SearchLoop | None = None
        self._last = ""
        self._last_line = monotonic()
        self._live: Live | None = None

    def __enter__(self) -> Self:
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

    def begin(self, loop: "SearchLoop", ledger: str) -> None:
        """Say what is searched, how much of it is done, and where the study lies."""
        self._loop = loop
        search, n_over = self._search, loop.n_trials - loop.n_left
        plan, panel, space = search.plan, search.panel, search.space
        size = space.n_configurations
        how_many = f"{size:,.0f}" if size < 1e6 else "more than a million"
        text = (
            f"tune: {space.family}, {loop.n_trials} of {how_many} configurations of "
            f"{', '.join(key for key, _ in space.dimensions)}; {len(plan)} folds x "
            f"{panel.n_tickers} tickers, sessions up to {panel.sessions[-1]} and none after\n"
            f"study: {search.study_name} in {ledger}, {n_over} trials done"
        )
        self._voice.say(
            "tune",
            text,
            study=search.study_name,
            ledger=ledger,
            n_trials=loop.n_trials,
            n_done=n_over,
            folder=str(search.folder),
        )
        if self._voice.console.is_terminal and not self._voice.as_json and loop.n_left:
            self._live = Live(self._table(), console=self._voice.console, refresh_per_second=4)
            self._live.start()

    def ended(self, ended: "Ended") -> None:
        """Take a trial that is over."""
        past = ended.past
        label = self._search.space.spec(past.params).label
        loss = f"{past.rungs[-1]:.5f}" if past.rungs else "none"
        self._last = f"trial {past.number} {past.state.value}: {label}, loss {loss}"
        self._last += f", {ended.why}" if ended.why else ""
        if self._live is not None:
            self._live.update(self._table())
        elif self._voice.as_json:
            self._voice.say(
                "trial",
                "",
                number=past.number,
                state=past.state.value,
                label=label,
                loss=past.rungs[-1] if past.rungs and isfinite(past.rungs[-1]) else None,
                why=ended.why,
            )
        elif self._now() - self._last_line >= LINE_EVERY_S:
            self._last_line = self._now()
            self._voice.say("trial", f"tune: {self._counts()}; {self._last}")

    def _counts(self) -> str:
        loop = self._loop
        if loop is None:
            return ""
        best = min((p.values[0] for p in loop.trials.values() if p.values), default=None)
        stopped = sum(p.state.value == "pruned" for p in loop.trials.values())
        done = loop.n_trials - loop.n_left
        shown = "none yet" if best is None else f"{best:.5f}"
        return f"{done} of {loop.n_trials} trials, {stopped} stopped early, best {shown}"

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 1))
        table.add_row(self._counts())
        table.add_row(self._last, style="dim")
        return table


def show(voice: Voice, search: "Search", tuned: TunedSpecs, *, gain: "Gain") -> None:
    """Print what was chosen and what it is worth."""
    labels = [ForecasterSpec.parse(f).label for f in tuned.forecasters]
    if voice.as_json:
        voice.say("tuned", "", chosen=labels, specs=str(search.folder / TUNED), **gain.as_json())
        return
    table = Table(
        title=f"{tuned.loss} over the random walk's, lower is better",
        title_justify="left",
    )
    for heading in ("", "tuning folds", "later folds"):
        table.add_column(heading, justify="left" if not heading else "right")
    table.add_row("default", _shown(gain.tuning_default), _shown(gain.default))
    table.add_row(labels[0], _shown(gain.tuning), _shown(gain.tuned))
    table.add_row("improvement", f"{gain.improved_on_tuning:+.5f}", _shown(gain.improvement, "+"))
    table.add_row("gap to the tuning folds", "", _shown(gain.gap, "+"))
    table.add_row("gap less the default's", "", _shown(gain.excess_gap, "+"))
    voice.console.print(table)
    voice.say("tuned", f"tune: {gain.verdict}")
    voice.say("tuned", f"tune: chosen of {tuned.n_trials} trials: {', '.join(labels)}")
    voice.say("tuned", f"tune: {search.folder / TUNED}; name it in a sweep as `tuned:`")


def _shown(figure: "Figure", sign: str = "") -> str:
    return f"{figure.value:{sign}.5f} [{figure.low:{sign}.5f}, {figure.high:{sign}.5f}]"
