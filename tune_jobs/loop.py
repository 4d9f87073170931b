"""The search as a state machine: reports in, trials and verdicts out; no Ray, no clock.

A thin shell asks it what to start, tells it what came back, and writes what it says to the study.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from tune_jobs.contest import Score
from tune_jobs.history import Past, State, keeps


@dataclass(frozen=True, slots=True)
class Start:
    """A trial to carry out."""

    number: int
    params: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """A trial that is over, with what it got on the folds it saw; no score where it raised."""

    past: Past
    score: Score | None
    why: str = ""


class Book(Protocol):
    """Where trials are written."""

    def add(self, number: int, params: dict[str, Any]) -> None:
        """Write a trial that is about to run."""
        ...

    def finish(self, ended: Ended) -> None:
        """Write how a trial ended."""
        ...

    def told(self, ended: Ended) -> None:
        """Say that a trial ended, once that is written."""
        ...


@dataclass(slots=True)
class SearchLoop:
    """Which trial starts when, and whether it goes on.

    Attributes
    ----------
    trials : dict of int to Past
        Every trial of the study.
    n_trials : int
        How many there are to be.
    n_rungs : int
        Of the contest.
    lag, reduction, max_failed_frac, objectives
        See ``TuneSettings``.
    propose : callable
        Trials before a number, and the number, to its parameters; None if all were tried.
    book : Book
        Told of every trial before it starts and once it is over.
    """

    trials: dict[int, Past]
    n_trials: int
    n_rungs: int
    lag: int
    reduction: int
    max_failed_frac: float
    objectives: tuple[str, ...]
    propose: Callable[[tuple[Past, ...], int], dict[str, Any] | None]
    book: Book
    _started: set[int] = field(default_factory=set)
    _scores: dict[int, Score] = field(default_factory=dict)
    _stopped: set[int] = field(default_factory=set)

    @property
    def finished(self) -> bool:
        """Whether every trial is over."""
        return len(self.trials) >= self.n_trials and all(p.over for p in self.trials.values())

    @property
    def n_left(self) -> int:
        """Trials that are not over."""
        return self.n_trials - sum(past.over for past in self.trials.values())

    def start(self) -> Start | None:
        """Return the next trial to carry out; None if it has to wait, or if there is none.

        A trial that was under way when an earlier process was killed comes first.
        """
        for number in range(self.n_trials):
            past = self.trials.get(number)
            if number in self._started or (past is not None and past.over):
                continue
            if not all(self.trials[n].over for n in range(number - self.lag + 1)):
                return None
            return self._start(number, past)
        return None

    def _start(self, number: int, past: Past | None) -> Start | None:
        if past is None:
            params = self.propose(tuple(self.trials[n] for n in range(number)), number)
            if params is None:  # every configuration was tried
                self.n_trials = number
                return None
            past = Past(number, params, State.RUNNING)
            self.book.add(number, params)
            self.trials[number] = past
        self._started.add(number)
        return Start(number, dict(past.params))

    def report(self, number: int, rung: int, score: Score) -> bool:
        """Take what a trial got on the folds that a rung adds; return whether it goes on."""
        seen = score if rung == 0 else Score.joined([self._scores[number], score])
        self._scores[number] = seen
        past = self.trials[number]
        # A trial that its worker lost begins again at the first rung.
        self.trials[number] = replace(past, rungs=(*past.rungs[:rung], seen.loss))
        if seen.failed_frac > self.max_failed_frac:
            return self._stop(number)
        if rung == self.n_rungs - 1:
            return False
        if len(self.objectives) > 1:  # a dear loss may be a cheap one's price
            return True
        goes_on = keeps(
            seen.loss,
            rung,
            number=number,
            past=tuple(self.trials.values()),
            lag=self.lag,
            reduction=self.reduction,
        )
        return goes_on or self._stop(number)

    def _stop(self, number: int) -> bool:
        self._stopped.add(number)
        return False

    def end(self, number: int, why: str = "") -> Ended:
        """Take it that a trial is over, and return how; ``why`` if it raised."""
        past, score = self.trials[number], self._scores.pop(number, None)
        state, why = self._verdict(number, score, why)
        values: tuple[float, ...] = ()
        if score is not None and state is State.COMPLETE:
            values = tuple({"loss": score.loss, "fit_s": score.fit_s}[o] for o in self.objectives)
        ended = Ended(replace(past, state=state, values=values), score, why)
        self.book.finish(ended)
        self.trials[number] = ended.past
        self.book.told(ended)
        return ended

    def _verdict(self, number: int, score: Score | None, why: str) -> tuple[State, str]:
        if why or score is None:
            return State.FAIL, why or "it ended without a score"
        if score.failed_frac > self.max_failed_frac:
            return State.FAIL, (
                f"no forecast on {score.n_failed} of {score.n_cells} cells; at most "
                f"{self.max_failed_frac:.0%} may fail"
            )
        if score.loss != score.loss:  # NaN
            return State.FAIL, "the random walk has no loss on these folds"
        if number in self._stopped:
            return State.PRUNED, ""
        return State.COMPLETE, ""
