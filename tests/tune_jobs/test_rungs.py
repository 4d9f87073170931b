"""How tuning folds are cut into rungs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmx_ray.folds import FoldSettings, build_folds
from tune_jobs.rungs import cut_rungs

SESSIONS = np.datetime64("2001-01-01") + np.arange(400)


def folds(n: int, refit_every: int = 1):
    layout = FoldSettings(input_size=30, step_size=1, steps=(1,), refit_every=refit_every)
    return build_folds(SESSIONS, layout)[:n]


@pytest.mark.parametrize(
    ("n_folds", "n_chunks", "n_rungs", "reduction", "expected"),
    [
        (9, 9, 3, 3, [[(0, 1)], [(4, 5), (8, 9)], [(k, k + 1) for k in (1, 2, 3, 5, 6, 7)]]),
        (8, 4, 2, 2, [[(0, 2), (4, 6)], [(2, 4), (6, 8)]]),
        (3, 9, 1, 3, [[(0, 1), (1, 2), (2, 3)]]),
        (2, 2, 3, 3, [[(0, 1)], [(1, 2)]]),  # a rung that would add nothing is left out
    ],
)  # fmt: skip
def test_rungs_when_cut_then_as_by_hand(n_folds, n_chunks, n_rungs, reduction, expected):
    rungs = cut_rungs(folds(n_folds), n_chunks=n_chunks, n_rungs=n_rungs, reduction=reduction)
    assert [list(rung) for rung in rungs] == expected


@settings(max_examples=30, deadline=None)
@given(
    n_folds=st.integers(1, 300),
    refit_every=st.integers(1, 7),
    n_chunks=st.integers(1, 40),
    n_rungs=st.integers(1, 5),
    reduction=st.integers(2, 5),
)
def test_rungs_when_joined_then_each_fold_once_and_each_run_starts_a_fit(
    n_folds, refit_every, n_chunks, n_rungs, reduction
):
    plan = folds(n_folds, refit_every)
    rungs = cut_rungs(plan, n_chunks=n_chunks, n_rungs=n_rungs, reduction=reduction)
    runs = sorted(run for rung in rungs for run in rung)
    assert [fold for first, stop in runs for fold in range(first, stop)] == list(range(n_folds))
    assert all(plan.refit[first] for first, _ in runs)
    assert all(rungs)


def test_first_rung_when_many_chunks_then_spread_over_time():
    (first, *_) = cut_rungs(folds(320), n_chunks=32, n_rungs=2, reduction=4)
    starts = np.array([start for start, _ in first])
    assert len(first) == 8
    assert np.diff(starts).max() <= 2 * np.diff(starts).min()
    assert starts[-1] > 240
