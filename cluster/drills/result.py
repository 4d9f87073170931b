"""What a drill found, run by run: the table for people and the document for machines."""

import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from importlib.metadata import version
from statistics import median
from typing import Any

import numpy as np
from rich.table import Table

from cluster.drills import journal
from cluster.drills.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Break:
    """One thing that was broken.

    Attributes
    ----------
    target : str
        In a word, e.g. ``worker``.
    what : str
        What exactly, e.g. the process that was killed.
    proof : str
        How it is known that it broke.
    recovered_s : float, optional
        Seconds from the break until the next block was done and every fit that it cut off was
        computed; None where the drill breaks nothing at one moment.
    """

    target: str
    what: str
    proof: str
    recovered_s: float | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """One run of a drill.

    Attributes
    ----------
    drill : str
        Its name.
    seed, run : int
        What the run was drawn from.
    breaks : tuple of Break
        In their order.
    n_blocks : int
        Of the sweep.
    n_begun_again : int
        Fits that were cut off under way and begun again.
    n_ended_again : int
        Fits that were computed to their end twice.
    took_s : float
        Of the whole run, from the first command to the leaderboard.
    forecasts : str
        SHA-256 of all forecasts.
    faults : tuple of str
        What does not hold; none where the drill passed.
    notes : tuple of str
        What else is worth knowing.
    """

    drill: str
    seed: int
    run: int
    breaks: tuple[Break, ...]
    n_blocks: int
    n_begun_again: int
    n_ended_again: int
    took_s: float
    forecasts: str
    faults: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether everything held."""
        return not self.faults


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of a drill that is to be made.

    Attributes
    ----------
    drill : str
        Its name.
    seed, run : int
        What the run is drawn from.
    """

    drill: str
    seed: int
    run: int = 0

    def rng(self) -> np.random.Generator:
        """Return what the run is drawn from, anew."""
        return np.random.default_rng((self.seed, self.run))

    def found(
        self,
        outcome: Outcome,
        notes: Sequence[journal.Note],
        *,
        breaks: Sequence[Break],
        took_s: float,
        faults: Sequence[str],
        remarks: Sequence[str] = (),
    ) -> Found:
        """Return what was found in it.

        Parameters
        ----------
        outcome : Outcome
            What the sweep came to.
        notes : sequence of Note
            What its fits wrote in the journal.
        breaks : sequence of Break
            In their order.
        took_s : float
            Of the whole run.
        faults : sequence of str
            What does not hold.
        remarks : sequence of str
            What else is worth knowing.
        """
        return Found(
            drill=self.drill,
            seed=self.seed,
            run=self.run,
            breaks=tuple(breaks),
            n_blocks=len(outcome.blocks),
            n_begun_again=journal.begun_again(notes),
            n_ended_again=journal.ended_again(notes),
            took_s=took_s,
            forecasts=outcome.forecast_sha256,
            faults=tuple(faults),
            notes=tuple(remarks),
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """What a drill is asked for.

    Attributes
    ----------
    drill : str
        Its name.
    n_runs : int
        How often.
    seed : int
        What is drawn, e.g. the moment and the victim, is a function of it and of the run's number.
    say : callable
        Takes lines for people.
    """

    drill: str
    n_runs: int
    seed: int
    say: Callable[[str], object]

    def trials(self) -> Iterator[Trial]:
        """Yield the runs that are to be made."""
        for run in range(self.n_runs):
            yield Trial(self.drill, self.seed, run)


def recoveries(runs: Sequence[Found]) -> dict[str, tuple[int, float, float]]:
    """Return, for each target, how often it was broken, and the median and worst recovery.

    Breaks without a time to recover are left out.
    """
    seconds: dict[str, list[float]] = {}
    for run in runs:
        for one in run.breaks:
            if one.recovered_s is not None:
                seconds.setdefault(one.target, []).append(one.recovered_s)
    return {name: (len(s), median(s), max(s)) for name, s in sorted(seconds.items())}


def table_of(runs: Sequence[Found]) -> Table:
    """Return the runs as a table, a row each."""
    table = Table(
        "drill", "run", "broken", "proof", "recovered s", "again", "twice", "took s", "held"
    )
    for run in runs:
        times = [one.recovered_s for one in run.breaks]
        table.add_row(
            run.drill,
            f"{run.seed}.{run.run}",
            "\n".join(one.what for one in run.breaks),
            "\n".join(one.proof for one in run.breaks),
            "\n".join("" if s is None else f"{s:.1f}" for s in times),
            str(run.n_begun_again),
            str(run.n_ended_again),
            f"{run.took_s:.1f}",
            "yes" if run.passed else "[red]no[/]",
        )
    return table


def summary_of(runs: Sequence[Found]) -> Table:
    """Return the time to recover of each target, in a table."""
    table = Table("broken", "times", "median s", "worst s")
    for name, (n, middle, worst) in recoveries(runs).items():
        table.add_row(name, str(n), f"{middle:.1f}", f"{worst:.1f}")
    return table


def document_of(runs: Sequence[Found], *, at: datetime) -> dict[str, Any]:
    """Return the runs as JSON holds them, with the machine that they ran on.

    Parameters
    ----------
    runs : sequence of Found
        Of one drill.
    at : datetime
        When they began, UTC.
    """
    return {
        "at": at.isoformat(timespec="seconds"),
        "machine": {
            "cores": os.cpu_count(),
            "system": platform.platform(),
            "python": platform.python_version(),
            "ray": version("ray"),
            "pmx_ray": version("pmx-ray"),
        },
        "passed": all(run.passed for run in runs),
        "identical_tables": len({run.forecasts for run in runs}) == 1 and runs[0].forecasts != "",
        "recovered_s": {
            name: {"times": n, "median": round(middle, 3), "worst": round(worst, 3)}
            for name, (n, middle, worst) in recoveries(runs).items()
        },
        "runs": [{**asdict(run), "passed": run.passed} for run in runs],
    }
