"""Which figures a search's page holds, and the words that stand with each."""

from collections.abc import Mapping, Sequence
from itertools import accumulate

from pmx_ray.report import typeset
from pmx_ray.report.figures import Plot
from tune_jobs import figures, wording
from tune_jobs.history import State
from tune_jobs.job import Search
from tune_jobs.outcome import MIN_COMPLETE, MOST_COMPLETE, Outcome
from tune_jobs.parallel import parallel
from tune_jobs.rungs import cut_rungs


def progress(search: Search, outcome: Outcome) -> tuple[Plot, ...]:
    """Return the history, and the rungs where there are several."""
    n_folds = folds_by_rung(search)
    losses = [one.loss for one in outcome.trials]
    failed = len(outcome.those(State.FAIL))
    history = Plot(
        id="history",
        title="Loss by trial",
        unit=_unit(outcome),
        caption=(
            "A point a trial, in the order proposed; the line is the best complete one so far. "
            "Who was stopped early stands at its loss over the folds it saw, which are fewer."
            + (f" {typeset.things(failed, 'failed trial')} at the foot." if failed else "")
            + _outside(losses)
        ),
        alt=f"Loss of each of {_count(outcome)}, and the best so far. {_best(outcome)}",
        by_step={"": figures.history(outcome)},
    )
    if len(n_folds) < 2:
        return (history,)
    n_hidden = len(outcome.trials) - failed - figures.MOST_LINES
    rungs = Plot(
        id="rungs",
        title="Loss by rung",
        unit=_unit(outcome),
        caption=(
            "A line a trial: its loss over all folds up to each rung. At each but the last the "
            f"best 1 in {search.settings.reduction} of what was known there went on."
            + (f" {n_hidden:,} more are not drawn." if n_hidden > 0 else "")
            + _outside([loss for one in outcome.trials for loss in one.rungs])
        ),
        alt=f"Loss of each of {_count(outcome)} over {typeset.listing(_folds(n_folds))}.",
        by_step={"": figures.rungs(outcome, n_folds)},
    )
    return history, rungs


def cost(search: Search, outcome: Outcome) -> tuple[Plot, ...]:
    """Return the front of loss and seconds; none where the loss alone was lowered."""
    if len(search.settings.objectives) == 1:
        return ()
    n = len(outcome.chosen)
    return (
        Plot(
            id="front",
            title="Loss against seconds",
            unit=_unit(outcome),
            caption=(
                f"Complete trials. {typeset.things(n, 'of them', 'of them')} on the front: nobody "
                "else is both as fast and as good. Seconds are of one core over the tuning folds, "
                "measured, so they vary from run to run."
            ),
            alt=f"Loss against seconds of the complete trials; {n} form the front.",
            by_step={"": figures.front(outcome)},
        ),
    )


def without_importance(outcome: Outcome, shares: Mapping[str, float]) -> str:
    """Return why no importance is stated; empty where it is."""
    n = len(outcome.those(State.COMPLETE))
    if shares:
        return ""
    if n < MIN_COMPLETE:
        return (
            f"Too few complete trials to say which parameter matters: {n}, and at least "
            f"{MIN_COMPLETE} are needed."
        )
    return "All complete trials have one loss, so no parameter matters more than another."


def parameters(search: Search, outcome: Outcome, shares: Mapping[str, float]) -> tuple[Plot, ...]:
    """Return parameter importance where it can be told, and parallel coordinates."""
    losses = [one.loss for one in outcome.those(State.COMPLETE)]
    n = len(losses)
    found = [f"{name} {typeset.percent(share)}" for name, share in shares.items()]
    importance = Plot(
        id="importance",
        title="Parameter importance",
        unit="share of the variance of the loss, all parameters together 100%",
        caption=(
            f"fANOVA over {typeset.things(min(n, MOST_COMPLETE), 'complete trial')}: how much of "
            "the spread of their losses each parameter explains alone. The sampler looked longer "
            "where the loss was low, and few trials make a rough guide."
        ),
        alt=f"Importance of each parameter: {typeset.listing(found, most=8)}.",
        by_step={"": figures.importance(shares)},
    )
    lines = Plot(
        id="parallel",
        title="Parallel coordinates",
        unit="an axis a parameter, the last one the loss",
        caption=(
            "A line a trial. Strong blue: the best fifth of the complete ones; light blue: the "
            "others; dotted: stopped early, at their loss over fewer folds. Lines are set slightly "
            f"apart where many share a value.{_outside(losses)}"
        ),
        alt=f"Each of {_count(outcome)} as a line across its parameters. {_best(outcome)}",
        by_step={"": parallel(outcome, search.space)},
    )
    return (importance, lines) if shares else (lines,)


def overfit(outcome: Outcome) -> tuple[Plot, ...]:
    """Return evaluation loss against tuning loss, and the difference of the two."""
    gain, n = outcome.gain, len(outcome.pairs)
    level = typeset.percent(outcome.level, 0)
    what = f"{typeset.things(n, 'configuration')}: the default, the choice and trials by rank."
    return (
        Plot(
            id="against",
            title="Evaluation loss against tuning loss",
            unit="loss on later folds, over the random walk's",
            caption=(
                f"{what} On the grey line both losses are the same; above it the tuning loss "
                f"promised too much. Bars are {level} intervals."
                + _outside([pair.tuning for pair in outcome.pairs])
            ),
            alt=(
                f"Evaluation loss against tuning loss. Choice {wording.written(gain.tuning)} to "
                f"{wording.written(gain.tuned)}, default {wording.written(gain.tuning_default)} to "
                f"{wording.written(gain.default)}."
            ),
            by_step={"": figures.against(outcome)},
        ),
        Plot(
            id="gaps",
            title="Gap by tuning loss",
            unit="loss on later folds less loss on tuning folds",
            caption=(
                "Above zero a configuration is worse than its tuning loss said. Luck in the choice "
                "lifts those whose tuning loss is lowest. The bar is the choice's "
                f"{level} interval."
            ),
            alt=f"Gap of {n} configurations; of the choice "
            f"{wording.written(gain.gap, signed=True)}.",
            by_step={"": figures.gaps(outcome)},
        ),
    )


def folds_by_rung(search: Search) -> list[int]:
    """Return the folds up to each rung."""
    settings = search.settings
    rungs = cut_rungs(
        search.plan,
        n_chunks=settings.n_chunks,
        n_rungs=settings.n_rungs,
        reduction=settings.reduction,
    )
    return list(accumulate(sum(stop - first for first, stop in rung) for rung in rungs))


def _folds(n_folds: Sequence[int]) -> list[str]:
    return [typeset.things(n, "fold") for n in n_folds]


def _unit(outcome: Outcome) -> str:
    return f"{wording.loss_name(outcome)} over the random walk's, lower is better"


def _count(outcome: Outcome) -> str:
    return typeset.things(len(outcome.trials), "trial")


def _best(outcome: Outcome) -> str:
    return f"The best is {outcome.chosen[0]} at {wording.number(outcome.gain.tuning.value)}."


def _outside(losses: Sequence[float]) -> str:
    n = figures.n_outside(losses)
    if not n:
        return ""
    return f" {typeset.things(n, 'loss', 'losses')} above the axis {'is' if n == 1 else 'are'} cut."
