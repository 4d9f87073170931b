"""The search as a state machine: whoever carries it out, and in whatever order, one study."""

import random
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmx_ray.forecasters.search_space import SearchSpace
from pmx_ray.provenance import sha256_hex
from tune_jobs.contest import Score
from tune_jobs.history import Past, State, configuration, propose
from tune_jobs.loop import Ended, SearchLoop

SPACE = SearchSpace.parse("samossa")
N_RUNGS = 3


class Notes:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.added: list[int] = []
        self.ended: dict[int, Past] = {}

    def add(self, number: int, params: dict[str, object]) -> None:
        self.added.append(number)

    def finish(self, ended: Ended) -> None:
        assert ended.past.number not in self.ended
        self.ended[ended.past.number] = ended.past

    def told(self, ended: Ended) -> None:
        assert self.ended[ended.past.number] is ended.past


def loop_of(notes: Notes, trials: dict[int, Past] | None = None, n_trials: int = 15) -> SearchLoop:
    ask = partial(propose, SPACE, lag=4, seed=1, sampler="tpe", n_startup=4)
    return SearchLoop(
        trials=dict(trials or {}),
        n_trials=n_trials,
        n_rungs=N_RUNGS,
        lag=4,
        reduction=3,
        max_failed_frac=0.1,
        objectives=("loss",),
        propose=lambda past, number: ask(past, number=number),
        book=notes,
    )


def score(params: dict[str, object], rung: int, *, n_failed: int = 0) -> Score:
    """Return a score that is a function of the configuration alone."""
    own = 0.5 + int(sha256_hex(configuration(params).encode())[:4], 16) / 2**17 + 0.01 * rung
    one = np.ones((1, 1))
    return Score(np.array([rung]), own * one, one, 0.0 * one, n_failed, 10, 1.0)


def carry_out(loop: SearchLoop, order: random.Random, workers: int) -> None:
    """Run trials on some workers that report in any order."""
    at_work: dict[int, tuple[dict[str, object], int]] = {}
    while not loop.finished:
        while len(at_work) < workers and (trial := loop.start()) is not None:
            at_work[trial.number] = trial.params, 0
        number = order.choice(sorted(at_work))
        params, rung = at_work.pop(number)
        if loop.report(number, rung, score(params, rung)):
            at_work[number] = params, rung + 1
        else:
            loop.end(number)


@pytest.fixture(scope="module")
def alone() -> dict[int, Past]:
    """The study of one worker."""
    notes = Notes()
    carry_out(loop_of(notes), random.Random(0), 1)
    return notes.ended


def test_search_when_done_then_some_stopped_early_and_some_whole(alone):
    assert sorted(alone) == list(range(15))
    states = [past.state for past in alone.values()]
    assert states.count(State.PRUNED) >= 3
    assert states.count(State.COMPLETE) >= 3
    assert all(len(p.rungs) == N_RUNGS for p in alone.values() if p.state is State.COMPLETE)
    assert all(len(p.rungs) < N_RUNGS for p in alone.values() if p.state is State.PRUNED)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), workers=st.integers(1, 6))
def test_search_when_workers_report_in_any_order_then_the_same_study(alone, seed, workers):
    notes = Notes()
    carry_out(loop_of(notes), random.Random(seed), workers)
    assert notes.ended == alone
    assert notes.added == list(range(15))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), kills=st.integers(1, 5))
def test_search_when_killed_anywhere_then_the_same_study_and_no_trial_twice(alone, seed, kills):
    order, trials = random.Random(seed), {}
    for _ in range(kills):
        notes, loop = Notes(), None
        loop = loop_of(notes, trials)
        for _ in range(order.randrange(1, 12)):
            if (trial := loop.start()) is None:
                break
            rung, going = 0, order.random() < 0.8  # else it is under way when the kill comes
            while going and loop.report(trial.number, rung, score(trial.params, rung)):
                rung += 1
            if going:
                loop.end(trial.number)
        assert not set(notes.added) & set(trials)
        trials = {
            n: notes.ended.get(n) or trials.get(n) or Past(n, loop.trials[n].params, State.RUNNING)
            for n in loop.trials
        }
        trials = {n: p if p.over else Past(n, p.params, State.RUNNING) for n, p in trials.items()}
    notes = Notes()
    loop = loop_of(notes, trials)
    carry_out(loop, order, 2)
    assert loop.trials == alone


def test_start_when_a_trial_of_the_lag_is_open_then_waits():
    loop = loop_of(Notes())
    first = [loop.start() for _ in range(4)]
    assert [trial.number for trial in first if trial] == [0, 1, 2, 3]
    assert loop.start() is None
    for number in (1, 2, 3):  # 4 waits for 0
        loop.report(number, 0, score(first[number].params, 0))
        loop.end(number)
    assert loop.start() is None
    loop.report(0, 0, score(first[0].params, 0))
    loop.end(0)
    assert loop.start().number == 4


def test_report_when_a_trial_begins_again_then_its_first_score_is_forgotten():
    loop = loop_of(Notes())
    trial = loop.start()
    loop.report(0, 0, score(trial.params, 0))
    loop.report(0, 1, score(trial.params, 1))
    loop.report(0, 0, score(trial.params, 0))  # its worker was lost
    assert len(loop.trials[0].rungs) == 1
    assert loop.end(0).score.fit_s == 1.0


def test_report_when_too_many_cells_fail_then_told_as_failed_with_the_count():
    notes = Notes()
    loop = loop_of(notes)
    trial = loop.start()
    assert not loop.report(0, 0, score(trial.params, 0, n_failed=2))
    assert "no forecast on 2 of 10 cells" in loop.end(0).why
    assert notes.ended[0].state is State.FAIL


def test_end_when_it_raised_then_failed_and_the_search_goes_on():
    loop = loop_of(Notes(), n_trials=2)
    for _ in range(2):
        trial = loop.start()
        ended = loop.end(trial.number, "its worker raised")
        assert (ended.past.state, ended.why) == (State.FAIL, "its worker raised")
    assert loop.finished


def test_start_when_the_space_is_exhausted_then_the_search_ends_there():
    notes = Notes()
    loop = loop_of(notes)
    loop.propose = lambda past, number: None if number == 2 else {"ar_order": number}
    for number in range(2):
        loop.start()
        loop.report(number, 0, score({}, 0))
        loop.end(number)
    assert loop.start() is None
    assert loop.finished
