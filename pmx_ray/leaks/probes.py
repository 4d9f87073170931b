"""The probes: four ways to catch a stage that depends on what came after its limit.

Two compare bits: with the future cut off, and with the future made noise, a stage must say what it
said before. Two count hits: where the coming return is a coin, nobody is right more often than a
coin. The first two find the slightest dependence, at a few cutoffs; the last two find only what
helps a forecast, at every cutoff, and need no bits that repeat.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil
from typing import Literal, TypeAlias

import numpy as np

from pmx_ray._typing import BoolArray, IntArray
from pmx_ray.data.panel import Panel
from pmx_ray.errors import DataError
from pmx_ray.folds import FoldPlan
from pmx_ray.leaks.choosing import outcomes
from pmx_ray.leaks.stages import Kind, Outputs, Signals, Stage
from pmx_ray.leaks.tosses import FORESIGHT_LIMIT, Toss, disjoint, tossed
from pmx_ray.leaks.worlds import Fair, overwrite_after, plant_canary, shuffle_target

Probe: TypeAlias = Literal["truncate", "overwrite", "shuffle", "canary", "repeat"]

PROBES: tuple[Probe, ...] = ("truncate", "overwrite", "shuffle", "canary")
"""In the order in which they are made; ``repeat`` only answers a doubt."""

MIN_TOSSES = 250
"""Outcomes that a foresight probe asks for; with them the limit is passed at 69 % of hits."""

DRAWS_OF_A_CHOICE = 16
"""Noises tried on a stage that chooses: one alone may leave the choice where it was."""

MakeFair: TypeAlias = Callable[..., Fair]


@dataclass(frozen=True, slots=True)
class Finding:
    """One leak.

    Attributes
    ----------
    kind, stage : str
        Where.
    probe : str
        Which probe found it.
    column : str
        The ticker, or what else the output is of; ``all`` where it is of all together.
    cutoff : str
        Last session that the output may depend on; empty where it is of all folds.
    sentence : str
        What was seen, for a person.
    """

    kind: Kind
    stage: str
    probe: Probe
    column: str
    cutoff: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.kind} {self.stage}: {self.sentence}"


@dataclass(frozen=True, slots=True)
class Probed:
    """What one probe of one stage gave.

    Attributes
    ----------
    kind, stage, probe : str
        What was probed, and how.
    n : int
        Outputs compared, or outcomes scored; 0 where the probe had nothing to go by.
    findings : tuple of Finding
    """

    kind: Kind
    stage: str
    probe: Probe
    n: int
    findings: tuple[Finding, ...] = ()


def truncate(
    stage: Stage, panel: Panel, plan: FoldPlan, *, clean: Outputs, limits: IntArray
) -> Probed:
    """Cut the panel after each of ``limits`` and demand the same outputs up to there.

    Where they differ from those of the whole plan, the part of the plan is computed on the whole
    panel besides: only a difference that the panel made is a leak.

    Parameters
    ----------
    stage : Stage
    panel : Panel
    plan : FoldPlan
    clean : Outputs
        Of the whole panel and plan.
    limits : ndarray of int, shape (L,)
        Positions to cut after, out of ``clean.limits``.
    """
    n = 0
    findings: list[Finding] = []
    for limit in limits.tolist():
        part = plan[: int(np.searchsorted(plan.cutoff, limit, side="right"))]
        cut = stage.outputs(panel.window(0, limit + 1), part)
        changed = differing(clean, cut, limit)
        if changed.any():
            changed = differing(stage.outputs(panel, part), cut, limit)
        n += n_compared(clean, limit)
        findings += _changes(stage, panel, clean, changed, probe="truncate", limit=limit)
    return Probed(stage.kind, stage.name, "truncate", n, tuple(findings))


def overwrite(
    stage: Stage,
    panel: Panel,
    plan: FoldPlan,
    *,
    clean: Outputs,
    limits: IntArray,
    rng: np.random.Generator,
) -> Probed:
    """Replace everything after each of ``limits`` by noise and demand the same outputs up to there.

    Parameters are those of ``truncate``; ``rng`` draws the noise.
    """
    draws = DRAWS_OF_A_CHOICE if clean.values.dtype.kind == "i" else 1
    n = 0
    findings: list[Finding] = []
    for limit in limits.tolist():
        changed = np.zeros_like(differing(clean, clean, limit))
        for _ in range(draws):
            noisy = overwrite_after(panel, limit, rng=rng)
            changed |= differing(clean, stage.outputs(noisy, plan), limit)
        n += n_compared(clean, limit)
        findings += _changes(stage, panel, clean, changed, probe="overwrite", limit=limit)
    return Probed(stage.kind, stage.name, "overwrite", n, tuple(findings))


def shuffle(stage: Stage, panel: Panel, plan: FoldPlan, *, rng: np.random.Generator) -> Probed:
    """Draw the sign of every return anew and score the stage on what is now a coin.

    Whatever the stage knows of the past, each coming sign is fair given it; so the hits less the
    misses, over the square root of the outcomes, exceed x with a chance of at most
    ``2 exp(-x^2 / 2)`` at any sample size (Azuma's inequality). Outcomes that overlap are left out.

    References
    ----------
    Azuma (1967), Tohoku Mathematical Journal 19, 357-367.
    """
    return _foresight(stage, panel, plan, make=shuffle_target, probe="shuffle", rng=rng)


def canary(stage: Stage, panel: Panel, plan: FoldPlan, *, rng: np.random.Generator) -> Probed:
    """Score the stage on coins that every field of later sessions shouts, size and direction.

    The bound is that of ``shuffle``. A stage that makes use of later opens, volumes or closes
    becomes an oracle here.
    """
    return _foresight(stage, panel, plan, make=plant_canary, probe="canary", rng=rng)


def differing(clean: Outputs, again: Outputs, limit: int) -> BoolArray:
    """Return which rows up to ``limit`` and columns hold other bits, shape (rows, M).

    Raises
    ------
    DataError
        If the two do not have the same rows and columns.
    """
    rows = int(np.searchsorted(clean.limits, limit, side="right"))
    one, other = (np.ascontiguousarray(found.values[:rows]) for found in (clean, again))
    if one.shape != other.shape:
        raise DataError(
            f"outputs have shape {other.shape} and before {one.shape}; a stage must give the same "
            "rows and columns whatever follows the cutoff"
        )
    changed: BoolArray = (one.view(np.int64) != other.view(np.int64)).any(axis=2)
    return changed


def n_compared(clean: Outputs, limit: int) -> int:
    """Return how many outputs up to ``limit`` hold numbers."""
    rows = int(np.searchsorted(clean.limits, limit, side="right"))
    return int(np.isfinite(clean.values[:rows]).all(axis=2).sum())


def _changes(
    stage: Stage, panel: Panel, clean: Outputs, changed: BoolArray, *, probe: Probe, limit: int
) -> Iterator[Finding]:
    """Yield one finding a column that changed, at its last row that did."""
    what = "are cut off" if probe == "truncate" else "become noise"
    for column in np.flatnonzero(changed.any(axis=0)):
        row = int(np.flatnonzero(changed[:, column])[-1])
        cutoff, name = str(panel.sessions[clean.limits[row]]), clean.columns[column]
        sentence = (
            f"the output of {name} at {cutoff} changes when the sessions after "
            f"{panel.sessions[limit]} {what}"
        )
        yield Finding(stage.kind, stage.name, probe, name, cutoff, sentence)


def _foresight(
    stage: Stage,
    panel: Panel,
    plan: FoldPlan,
    *,
    make: MakeFair,
    probe: Probe,
    rng: np.random.Generator,
) -> Probed:
    tallies: dict[str, Toss] = {}
    for _ in range(ceil(MIN_TOSSES / (len(plan) * panel.n_tickers))):
        fair = make(panel, rng=rng)
        signals = stage.outputs(fair.panel, plan).signals
        for name, toss in _tosses(signals, fair, plan) if signals else ():
            tallies[name] = toss if name not in tallies else tallies[name] + toss
    findings = tuple(
        Finding(stage.kind, stage.name, probe, "all", "", _sentence(name, toss))
        for name, toss in tallies.items()
        if toss.score > FORESIGHT_LIMIT
    )
    n_scored = sum(toss.n for toss in tallies.values())
    return Probed(stage.kind, stage.name, probe, n_scored, findings)


def _sentence(name: str, toss: Toss) -> str:
    return (
        f"its {name} knows coins before they fall: {(toss.n + toss.furthest) / 2:.0f} of {toss.n} "
        f"told, a score of {toss.score:.1f} where a coin stays below {FORESIGHT_LIMIT:.0f}"
    )


def _tosses(signals: Signals, fair: Fair, plan: FoldPlan) -> Iterator[tuple[str, Toss]]:
    """Yield each statement's name and how it fared."""
    for k, step in enumerate(signals.steps):
        folds = disjoint(plan.cutoff, step)
        cutoff = plan.cutoff[folds]
        column = f" (column {k + 1})" if signals.steps.count(step) > 1 else ""
        where = f" at step {step}{column}"
        actual = outcomes(fair.panel, cutoff, step)
        yield f"direction{where}", tossed(signals.mean[folds, :, k], actual)
        if fair.sizes is not None and signals.variance is not None:
            total = np.cumsum(fair.sizes, axis=1)
            sizes = (total[:, cutoff + step] - total[:, cutoff]).T
            statement = np.log(signals.variance[folds, :, k])
            yield f"size{where}", tossed(statement, np.where(np.isnan(actual), 0, sizes))
