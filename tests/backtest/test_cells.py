import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hand_frames import DRIFT, FIRST_CUTOFF, RANDOM_WALK, averaging, hand_frame

from pmx_ray.backtest.cells import collect, complete_specs
from pmx_ray.errors import DataError
from pmx_ray.stats.losses import pinball

ACTUAL = np.array([[0.02, -0.01], [-0.03, 0.04], [0.01, 0.01]])[..., None]


def walk(**values):
    return RANDOM_WALK, hand_frame(RANDOM_WALK, 0.0, ACTUAL, **values)


def test_collect_when_a_frame_then_grids_stand_where_their_axes_say():
    actual = np.arange(12.0).reshape(3, 2, 2) / 100
    cells = collect([(DRIFT, hand_frame(DRIFT, -actual, actual, steps=(1, 20)))])
    assert cells.axes.tickers == ("A", "B")
    assert cells.axes.steps == (1, 20)
    assert list(cells.axes.cutoff) == [FIRST_CUTOFF, FIRST_CUTOFF + 7, FIRST_CUTOFF + 14]
    np.testing.assert_array_equal(cells.actual, actual)
    np.testing.assert_array_equal(cells.specs[0].mean, -actual)


def test_collect_when_cutoffs_are_before_1970_then_still_dates():
    early = hand_frame(RANDOM_WALK, 0.0, ACTUAL, cutoff=(-3000, -2999, 0), split=(0, 0, 1))
    cells = collect([(RANDOM_WALK, early)])
    assert list(cells.axes.split) == [0, 0, 1]
    assert cells.axes.cutoff[0] == FIRST_CUTOFF - 21_000
    assert not cells.axes.is_path


def test_collect_when_quantiles_are_given_then_pinball_is_their_mean():
    cells = collect([(DRIFT, hand_frame(DRIFT, 0.01, ACTUAL))])
    # normal quantiles at 5, 25, 50, 75, 95 % with mean .01 and standard deviation .02
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    z = (-1.6448536269514722, -0.6744897501960817, 0.0, 0.6744897501960817, 1.6448536269514722)
    losses = [pinball(ACTUAL, np.array(0.01 + 0.02 * q), level) for level, q in zip(levels, z)]  # noqa: B905
    assert cells.specs[0].pinball == pytest.approx(np.mean(losses, axis=0))


def test_collect_when_specs_come_in_any_order_then_sorted_by_label():
    cells = collect([walk(), (DRIFT, hand_frame(DRIFT, 0.0, ACTUAL))])
    assert [spec.label for spec in cells.specs] == ["drift", "random_walk"]


def _without_last(table):
    return table.slice(0, len(table) - 1)


def _doubled(table):
    return pa.concat_tables([_without_last(table), table.slice(0, 1)])


def _said_ok(table):
    ok = pa.repeat("ok", len(table))
    return table.set_column(
        table.schema.get_field_index("status"), table.schema.field("status"), ok
    )


FAILED = {(0, 0): ("error", "no")}


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        pytest.param([], "no frame to evaluate", id="none"),
        pytest.param([walk(), walk()], "came twice", id="twice"),
        pytest.param([(RANDOM_WALK, _without_last(walk()[1]))], "5 rows for 6 cells", id="hole"),
        pytest.param([(RANDOM_WALK, _doubled(walk()[1]))], "each cell once", id="repeat"),
        pytest.param(
            [walk(), (DRIFT, hand_frame(DRIFT, 0.0, ACTUAL[:2]))], "does not cover", id="cells"
        ),
        pytest.param(
            [walk(), (DRIFT, hand_frame(DRIFT, 0.0, -ACTUAL))], "other outcomes", id="outcomes"
        ),
        pytest.param([(RANDOM_WALK, _said_ok(walk(failed=FAILED)[1]))], "contradicts", id="status"),
    ],
)
def test_collect_when_frames_disagree_then_refused(frames, message):
    with pytest.raises(DataError, match=message):
        collect(frames)


def test_spec_when_not_evaluated_then_names_those_that_were():
    with pytest.raises(DataError, match=r"not among the evaluated specs: random_walk \("):
        collect([walk()]).spec("0" * 16)


@pytest.mark.parametrize(("limit", "labels"), [(0.0, 1), (0.16, 1), (0.17, 2), (1.0, 2)])
def test_complete_when_a_sixth_failed_then_only_above_that_limit(limit, labels):
    cells = collect([walk(), (DRIFT, hand_frame(DRIFT, 0.0, ACTUAL, failed=FAILED))])
    assert len(complete_specs([cells], RANDOM_WALK.id, max_failed_frac=limit)) == labels


def test_common_when_each_spec_fails_elsewhere_then_what_is_left_of_both():
    other = averaging(20)
    cells = collect([
        walk(),
        (DRIFT, hand_frame(DRIFT, 0.0, ACTUAL, failed={(0, 0): ("error", "no")})),
        (other, hand_frame(other, 0.0, ACTUAL, failed={(2, 1): ("error", "no")})),
    ])  # fmt: skip
    expected = np.ones((3, 2, 1), bool)
    expected[0, 0] = expected[2, 1] = False
    np.testing.assert_array_equal(cells.common({spec.id for spec in cells.specs}), expected)


def test_losses_when_a_cell_is_not_used_then_missing_everywhere():
    cells = collect([walk()])
    used = np.array([[True, False], [True, True], [True, True]])
    for name, grid in cells.losses(cells.specs[0], 0, used).items():
        if name != "hits":  # the walk takes no side
            np.testing.assert_array_equal(np.isnan(grid), ~used, err_msg=name)


def test_failures_when_a_forecast_failed_then_one_row_for_all_steps():
    actual = np.repeat(ACTUAL, 3, axis=2)
    table = hand_frame(DRIFT, 0.0, actual, steps=(1, 5, 20), failed=FAILED)
    cells = collect([(DRIFT, table)])
    assert pc.sum(pc.equal(table["status"], "error")).as_py() == 3
    assert cells.failures.num_rows == 1
