"""What a search's page says of its numbers, claiming no more than the intervals do."""

import numpy as np

from pmx_ray.report import typeset
from pmx_ray.stats.intervals import MIN_CUTOFFS
from tune_jobs.history import State
from tune_jobs.outcome import Outcome
from tune_jobs.worth import Figure

DECIMALS = 5
"""Of a relative loss, here and on the terminal."""

LOSSES = {"squared_error": "squared error", "qlike": "QLIKE", "crps": "CRPS"}

STATES = {
    State.COMPLETE: "complete",
    State.PRUNED: "stopped early",
    State.FAIL: "failed",
    State.RUNNING: "not ended",
}


def number(value: float, *, signed: bool = False) -> str:
    """Return a relative loss, or a difference of two with its sign."""
    text = typeset.fixed(value, DECIMALS)
    return f"+{text}" if signed and float(f"{value:.{DECIMALS}f}") > 0.0 else text


def interval(figure: Figure, *, signed: bool = False) -> str:
    """Return the interval of a figure; empty where it has none."""
    if np.isnan(figure.low) or np.isnan(figure.high):
        return ""
    return f"[{number(figure.low, signed=signed)}, {number(figure.high, signed=signed)}]"


def written(figure: Figure, *, signed: bool = False) -> str:
    """Return a figure with its interval."""
    return f"{number(figure.value, signed=signed)} {interval(figure, signed=signed)}".rstrip()


def loss_name(outcome: Outcome) -> str:
    """Return what was lowered, as a sentence names it."""
    return LOSSES.get(outcome.tuned.loss, outcome.tuned.loss)


def headline(outcome: Outcome) -> str:
    """Return whether tuning helped, with the two numbers that say so."""
    gain = outcome.gain
    verdict = f"{gain.verdict[0].upper()}{gain.verdict[1:]}"
    if outcome.chosen[0] == outcome.default:
        return f"The search chose the default itself: {number(gain.tuned.value)} on later folds."
    return (
        f"{verdict}. On later folds the choice has a loss of {number(gain.tuned.value)}, the "
        f"default {number(gain.default.value)}."
    )


def improvement(outcome: Outcome) -> tuple[str, str]:
    """Return what the choice saves against the default, and where it stands to the random walk."""
    gain = outcome.gain
    if outcome.chosen[0] == outcome.default:
        first = f"{outcome.default} was not bettered on the tuning folds, so nothing is gained."
    else:
        first = (
            f"The default's loss less that of {outcome.chosen[0]} is "
            f"{written(gain.improvement, signed=True)} on the later folds, which the search did "
            "not see; above zero the choice is better."
        )
    on_tuning = (
        f"On the folds that chose it, it was {number(gain.improved_on_tuning, signed=True)}."
    )
    return first, f"{on_tuning} {_beside_walk(gain.tuned)}"


def _beside_walk(tuned: Figure) -> str:
    if np.isnan(tuned.low):
        return "Whether it beats the random walk, whose loss is 1, cannot be told."
    if tuned.high < 1.0:
        return f"The choice's loss {written(tuned)} lies below 1, the random walk's."
    if tuned.low > 1.0:
        return f"The choice's loss {written(tuned)} lies above 1: the random walk is better."
    return (
        f"The interval of its loss {written(tuned)} holds 1: no sign that it beats the random walk."
    )


def overfit(outcome: Outcome) -> tuple[str, str]:
    """Return the gap between both losses, and what of it the choosing costs."""
    gain = outcome.gain
    default = gain.default.value - gain.tuning_default.value
    first = (
        f"On later folds the choice's loss differs from its tuning loss by "
        f"{written(gain.gap, signed=True)}, the default's by {number(default, signed=True)}."
    )
    left = f"The difference of the two, {written(gain.excess_gap, signed=True)}, is the overfit:"
    return first, f"{left} {_overfit(outcome)}"


def _overfit(outcome: Outcome) -> str:
    excess = outcome.gain.excess_gap
    if outcome.chosen[0] == outcome.default:
        return "none, as the choice is the default."
    if np.isnan(excess.low):
        return "there are too few cutoffs to judge it."
    if excess.low > 0:
        return "its interval lies above zero, so part of the gain on the tuning folds was chance."
    if excess.high < 0:
        return "its interval lies below zero, so the choice did better than its tuning loss said."
    return "its interval holds zero, so it cannot be told from none."


def caveat(outcome: Outcome) -> str:
    """Return how the numbers are to be read."""
    gain, n = outcome.gain, len(outcome.pairs)
    loss = (
        f"Loss is {loss_name(outcome)} over the random walk's on the same cells, averaged over the "
        "steps; lower is better. "
    )
    few = min(gain.n_tuning, gain.n_evaluation)
    if few < MIN_CUTOFFS:
        return f"{loss}There are no intervals: {few} cutoffs are fewer than {MIN_CUTOFFS}."
    return (
        f"{loss}Brackets are {typeset.percent(outcome.level, 0)} intervals from blocks of cutoffs "
        f"drawn again and again, {gain.n_tuning:,} on the tuning folds and {gain.n_evaluation:,} "
        f"on the later ones. {typeset.things(n, 'configuration')} met the later folds; the choice "
        "was made before, on the tuning folds alone."
    )


def counts(outcome: Outcome) -> str:
    """Return how the trials ended."""
    found = ((outcome.those(state), name) for state, name in STATES.items())
    ended = [f"{len(trials):,} {name}" for trials, name in found if trials]
    return f"{typeset.things(len(outcome.trials), 'trial')}: {typeset.listing(ended)}"
