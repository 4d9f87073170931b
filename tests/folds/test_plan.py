import pickle
from dataclasses import fields, replace
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
        ({"train_stop": [50, 61], "holes": ((), ((54, 58),))}, "fold 1 fits on session 58"),
        ({"train_stop": [61, 55], "holes": (((53, 61), (50, 52)), ())}, "fits on session 52"),
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
        ({"purge": 10_001}, "purge was 10001; it must be <= 10000"),
        ({"embargo": 1e20}, "embargo"),
        ({"input_size": 1e20}, "input_size"),
        ({"step_size": 1e20}, "step_size"),
        ({"refit_every": 1e20}, "refit_every"),
        ({"kind": "combinatorial", "refit_every": 5}, "refit_every was 5; it must be 1"),
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
            refit_every=1 if kind == "combinatorial" else refit_every, embargo=embargo,
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


def _values(plan: FoldPlan) -> list[object]:
    values = [getattr(plan, field.name) for field in fields(plan)]
    return [v.tolist() if isinstance(v, np.ndarray) else v for v in values]


def _checked(plan: FoldPlan) -> FoldPlan:
    """Return the plan built again, which raises if it breaks a rule of its type."""
    return replace(plan)


COMBINATORIAL = FoldSettings(
    kind="combinatorial", input_size=30, step_size=4, steps=(1, 3), embargo=2
)


@pytest.mark.parametrize("settings", [FoldSettings(input_size=60, refit_every=2), COMBINATORIAL])
def test_slice_when_cut_and_shifted_then_as_if_built_and_read_only(settings: FoldSettings) -> None:
    plan = build_folds(DAYS, settings)
    for folds in (slice(None), slice(1, 3), slice(-2, None), slice(0, 2, 1)):
        part = plan[folds]
        moved = part.shifted(part.first_seen)
        assert _values(_checked(part)) == _values(part)
        assert _values(_checked(moved)) == _values(moved)
        assert part.cutoff.tolist() == plan.cutoff.tolist()[folds]
        assert part.holes == plan.holes[folds]
        assert (moved.cutoff + part.first_seen).tolist() == part.cutoff.tolist()
        assert moved.first_seen == 0
        assert _values(moved.shifted(-part.first_seen)) == _values(part)
        for each in (part, moved):
            arrays = [v for f in fields(each) if isinstance(v := getattr(each, f.name), np.ndarray)]
            assert len(arrays) == 6
            assert not any(array.flags.writeable for array in arrays)


def test_slice_when_pickled_then_carries_its_own_folds_only(plan: FoldPlan) -> None:
    part = pickle.loads(pickle.dumps(plan[2:4]))
    assert _values(part) == _values(plan[2:4])


@pytest.mark.parametrize("folds", [slice(0, 0), slice(99, None), slice(3, 1)])
def test_slice_when_empty_then_refused(plan: FoldPlan, folds: slice) -> None:
    with pytest.raises(SettingsError, match="the plan has no fold"):
        plan[folds]


def test_slice_when_backwards_then_refused(plan: FoldPlan) -> None:
    with pytest.raises(SettingsError, match="cutoffs must increase"):
        plan[::-1]


def test_shifted_when_past_what_it_reads_then_refused(plan: FoldPlan) -> None:
    with pytest.raises(SettingsError, match="shifted by 1 sessions; it reads session 0"):
        plan.shifted(1)


def test_lasts_read_when_slices_grow_then_the_last_read_of_each(plan: FoldPlan) -> None:
    back = _plan(cutoff=[54, 49], train_stop=[50, 50], split=[0, 1])  # reads 59, then 54
    assert back.lasts_read.tolist() == [59, 59]
    for each in (plan, build_folds(DAYS, COMBINATORIAL)):
        assert each.lasts_read.tolist() == [
            max(max(int(each.train_stop[k]) - 1, int(each.cutoff[k]) + each.steps[-1])
                for k in range(n + 1))
            for n in range(len(each))
        ]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    train_stop=st.lists(st.integers(5, 40), min_size=2, max_size=2),
    holes=st.lists(
        st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=3).map(tuple),
        min_size=2,
        max_size=2,
    ),
    purge=st.integers(0, 4),
    embargo=st.integers(0, 4),
)
def test_plan_whatever_its_holes_then_refused_exactly_where_a_fit_sees_a_scored_session(
    train_stop: list[int], holes: list[tuple[tuple[int, int], ...]], purge: int, embargo: int
) -> None:
    cutoffs = [15, 22]
    seen = [
        sorted(
            set(range(cutoff + 1 - purge, cutoff + 5 + embargo + 1)) & set(range(stop))
            - {session for a, b in cut for session in range(a, b)}
        )
        for cutoff, stop, cut in zip(cutoffs, train_stop, holes, strict=True)
    ]  # fmt: skip
    changed = {
        "train_start": [0, 0], "context_start": [0, 0], "cutoff": cutoffs, "holes": tuple(holes),
        "train_stop": train_stop, "purge": purge, "embargo": embargo,
    }  # fmt: skip
    first_bad = next((k for k in range(2) if seen[k]), None)
    if first_bad is None:
        assert len(_plan(**changed)) == 2
    else:
        found = f"fold {first_bad} fits on session {seen[first_bad][0]},"
        with pytest.raises(SettingsError, match=found):
            _plan(**changed)


def test_combinatorial_when_a_start_and_an_end_are_given_then_reads_nothing_outside() -> None:
    # 2020-02-01 is position 31, 2020-05-30 position 150: 120 sessions, 6 groups of 20
    plan = build_folds(
        DAYS,
        replace_settings(COMBINATORIAL, start=date(2020, 2, 1), end=date(2020, 5, 30)),
    )
    assert set(plan.train_start.tolist()) == {31}
    assert set(plan.train_stop.tolist()) == {151}
    assert plan.first_seen == 31
    assert plan.last_read == 150
    # the first group, 31 to 50, has no 30 sessions of context; the second stands on 60 at the
    # earliest: its last cutoff is 70 - 3, and the third group's first is 71 - 1
    assert sorted(set(plan.cutoff.tolist()))[:4] == [60, 64, 70, 74]
    for cuts in plan.holes:
        assert all(31 <= a < b <= 151 for a, b in cuts)


def replace_settings(settings_: FoldSettings, **changed: object) -> FoldSettings:
    return FoldSettings.model_validate({**settings_.model_dump(), **changed})


def test_combinatorial_when_uncut_then_as_with_the_whole_range_given() -> None:
    whole = replace_settings(COMBINATORIAL, start=date(2020, 1, 1), end=date(2020, 7, 18))
    assert _values(build_folds(DAYS, whole)) == _values(build_folds(DAYS, COMBINATORIAL))


@pytest.mark.parametrize(
    "changed",
    [
        {"start": date(2020, 7, 1)},
        {"end": date(2020, 1, 20)},
        {"start": date(2020, 5, 1), "end": date(2020, 2, 1)},
    ],
)
def test_combinatorial_when_too_little_is_left_then_says_why(changed: dict[str, date]) -> None:
    with pytest.raises(SettingsError, match="200 sessions leave no fold with input_size 30"):
        build_folds(DAYS, replace_settings(COMBINATORIAL, **changed))


def test_combinatorial_when_the_purge_reaches_before_the_first_session_then_laid() -> None:
    settings_ = replace_settings(COMBINATORIAL, steps=(1, 40), n_groups=3, n_test_groups=1)
    plan = build_folds(DAYS, settings_)
    # groups start on 0, 66, 133; cutoffs from 29 to 66 - 41 do not exist, from 65 to 133 - 41 do
    assert plan.cutoff[0] == 65
    assert plan.holes[0] == ((26, 135),)
    first = build_folds(DAYS, replace_settings(settings_, n_groups=2)).cutoff[0]
    assert first == 29  # purged back to -10, where there is nothing to see


def test_combinatorial_when_too_many_folds_then_says_what_to_change() -> None:
    days = np.arange(2_000).astype("M8[D]")
    settings_ = FoldSettings(
        kind="combinatorial", input_size=30, step_size=1, steps=(1,), n_groups=16, n_test_groups=8
    )
    # each of 16 groups has 125 cutoffs, the first 125 - 29 - 1 = 95, and is in 15 choose 7 splits
    message = f"make {(15 * 125 + 95) * 6435} folds; at most 200000 are laid, so use a longer step"
    with pytest.raises(SettingsError, match=message):
        build_folds(days, settings_)
