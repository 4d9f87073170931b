from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmx_ray.data.panel import Panel
from pmx_ray.errors import SettingsError
from pmx_ray.folds import FoldPlan, FoldSettings, as_json, build_folds, partition

DAYS = np.arange("2020-01-01", "2020-07-19", dtype="M8[D]")  # 200 days


def test_cutoffs_when_rolling_then_on_the_grid_by_hand() -> None:
    plan = build_folds(DAYS, FoldSettings(input_size=100, step_size=30, steps=(1, 5)))
    # first cutoff 99; the last may be 200 - 1 - 5 = 194
    assert plan.cutoff.tolist() == [99, 129, 159, 189]
    assert plan.train_start.tolist() == [0, 30, 60, 90]
    assert plan.train_stop.tolist() == [100, 130, 160, 190]
    assert plan.context_start.tolist() == plan.train_start.tolist()


def test_train_windows_when_expanding_then_start_at_zero() -> None:
    plan = build_folds(DAYS, FoldSettings(kind="expanding", input_size=100, step_size=30))
    assert set(plan.train_start.tolist()) == {0}
    assert plan.train_stop.tolist() == [100, 130, 160]


def test_train_windows_when_refit_every_two_then_shared_by_pairs() -> None:
    plan = build_folds(DAYS, FoldSettings(input_size=100, step_size=30, steps=(1,), refit_every=2))
    assert plan.refit.tolist() == [True, False, True, False]
    assert plan.train_stop.tolist() == [100, 100, 160, 160]
    assert plan.context_start.tolist() == [0, 30, 60, 90]
    assert plan.n_fits == 2


def test_cutoffs_when_purged_then_fewer_folds() -> None:
    free = build_folds(DAYS, FoldSettings(input_size=100, step_size=10, steps=(1, 5)))
    purged = build_folds(DAYS, FoldSettings(input_size=100, step_size=10, steps=(1, 5), purge=15))
    assert len(purged) == len(free) - 1
    assert (purged.train_stop == purged.cutoff + 1 - 15).all()


def test_cutoffs_when_a_start_and_an_end_are_given_then_between_them() -> None:
    settings = FoldSettings(
        input_size=60, step_size=5, steps=(1, 5), start=date(2020, 4, 1), end=date(2020, 5, 1)
    )
    plan = build_folds(DAYS, settings)
    assert DAYS[plan.cutoff[0]] == np.datetime64("2020-04-01")
    assert DAYS[plan.cutoff[-1] + 5] <= np.datetime64("2020-05-01")


@pytest.mark.parametrize("kind", ["rolling", "expanding"])
def test_folds_when_a_day_is_added_then_the_earlier_ones_stand(kind: str) -> None:
    settings = FoldSettings(kind=kind, input_size=60, step_size=1, steps=(1, 5), refit_every=7)
    before, after = build_folds(DAYS[:-1], settings), build_folds(DAYS, settings)
    assert len(after) == len(before) + 1
    for name in ("train_start", "train_stop", "context_start", "cutoff", "refit"):
        assert getattr(after, name)[:-1].tolist() == getattr(before, name).tolist()


def test_plan_when_no_fold_fits_then_says_what_is_too_long() -> None:
    with pytest.raises(SettingsError, match="200 sessions leave no fold with input_size 500"):
        build_folds(DAYS, FoldSettings(input_size=500))


def test_partition_when_split_then_no_scored_session_is_shared() -> None:
    plan = build_folds(DAYS, FoldSettings(input_size=60, step_size=3, steps=(1, 20), embargo=4))
    tuning, evaluation = partition(plan, DAYS, date(2020, 4, 30))
    last_tuned = tuning.cutoff[-1] + 20
    assert DAYS[last_tuned] <= np.datetime64("2020-04-30")
    assert DAYS[evaluation.cutoff[0] - 4] >= np.datetime64("2020-04-30")
    assert len(tuning) + len(evaluation) < len(plan)  # those between are dropped


def test_partition_when_one_side_is_empty_then_refused() -> None:
    plan = build_folds(DAYS, FoldSettings(input_size=60))
    with pytest.raises(SettingsError, match="leaves 0 tuning"):
        partition(plan, DAYS, date(2020, 1, 5))


def test_combinatorial_when_six_choose_two_then_fifteen_splits_purged_and_embargoed() -> None:
    settings = FoldSettings(
        kind="combinatorial", input_size=30, step_size=4, steps=(1, 3), embargo=2
    )
    plan = build_folds(DAYS, settings)
    assert len(set(plan.split.tolist())) == 15  # 6 choose 2
    assert plan.purge == 3  # the longest step
    for k in range(len(plan)):
        scored = np.arange(plan.cutoff[k] + 1, plan.cutoff[k] + 4)
        train = np.ones(len(DAYS), bool)
        for start, stop in plan.holes[k]:
            train[start:stop] = False
        assert not train[scored.min() - 3 : scored.max() + 2 + 1].any()
    assert plan.refit.sum() == 15


def test_training_when_combinatorial_then_the_scored_groups_are_blank(panel: Panel) -> None:
    settings = FoldSettings(kind="combinatorial", input_size=30, step_size=9, steps=(1, 3))
    plan = build_folds(panel.sessions, settings)
    history = plan.training(panel, len(plan) // 2)
    for start, stop in plan.holes[len(plan) // 2]:
        assert np.isnan(history.close[:, start:stop]).all()
    assert np.isfinite(history.log_returns()).sum() > 0


def test_context_when_taken_then_ends_on_the_cutoff_and_shares_no_memory(
    panel: Panel, plan: FoldPlan
) -> None:
    context = plan.context(panel, 3)
    assert context.sessions[-1] == panel.sessions[plan.cutoff[3]]
    assert not np.shares_memory(context.close, panel.close)


def _plan(**changed: object) -> FoldPlan:
    base: dict[str, object] = {
        "train_start": [0, 5], "train_stop": [50, 55], "context_start": [0, 5],
        "cutoff": [49, 54], "refit": [True, True], "split": [0, 0], "holes": ((), ()),
        "steps": (1, 5), "purge": 0, "embargo": 0,
    }  # fmt: skip
    return FoldPlan(**{**base, **changed})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"train_stop": [51, 55]}, "fold 0 fits on session 50"),
        ({"train_stop": [50, 56]}, "fold 1 fits on session 55"),
        ({"purge": 3}, "fold 0 fits on session 47"),
        ({"cutoff": [54, 54], "train_stop": [50, 50]}, "cutoffs must increase"),
        ({"train_start": [-1, 5]}, "train window"),
        ({"context_start": [0, 60]}, "context window"),
        ({"holes": ((),)}, "one entry a fold"),
    ],
)
def test_plan_when_a_boundary_is_wrong_then_refused(
    changed: dict[str, object], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        _plan(**changed)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"steps": (5, 1)}, "sorted"),
        ({"steps": ()}, "steps"),
        ({"purge": -1}, "purge was -1; it must be >= 0"),
        ({"n_groups": 3, "n_test_groups": 3}, "n_test_groups was 3"),
    ],
)
def test_settings_when_out_of_range_then_refused(written: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FoldSettings(**written)


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(["rolling", "expanding", "combinatorial"]),
    input_size=st.integers(30, 60),
    step_size=st.integers(1, 9),
    longest=st.integers(1, 12),
    refit_every=st.integers(1, 5),
    embargo=st.integers(0, 5),
)
def test_folds_whatever_the_layout_then_no_fit_sees_what_its_split_scores(
    kind: str, input_size: int, step_size: int, longest: int, refit_every: int, embargo: int
) -> None:
    plan = build_folds(
        DAYS,
        FoldSettings(
            kind=kind, input_size=input_size, step_size=step_size, steps=(longest,),
            refit_every=refit_every, embargo=embargo,
        ),
    )  # fmt: skip
    for k in range(len(plan)):
        seen = set(range(plan.train_start[k], plan.train_stop[k]))
        for start, stop in plan.holes[k]:
            seen -= set(range(start, stop))
        assert not seen & set(range(plan.cutoff[k] + 1, plan.cutoff[k] + longest + 1))
    assert plan.last_read < len(DAYS)


def test_json_when_written_then_dates_stand_for_positions() -> None:
    plan = build_folds(DAYS, FoldSettings(input_size=100, step_size=30, steps=(1, 5)))
    document = as_json(plan, DAYS)
    assert document["folds"][0] == {
        "split": 0,
        "train": ["2020-01-01", "2020-04-09"],
        "context_start": "2020-01-01",
        "cutoff": "2020-04-09",
        "last_scored": "2020-04-14",
        "refit": True,
        "holes": [],
    }


def test_slice_when_cut_mid_chain_then_keeps_the_fit_that_serves_it(plan: FoldPlan) -> None:
    part = plan[2:6]
    assert part.train_stop.tolist() == plan.train_stop[2:6].tolist()
    assert part.train_stop[0] < part.cutoff[0] + 1  # an older fit
