import numpy as np
import pytest

from pmx_ray.forecasters.batch import ForecastBatch
from pmx_ray.forecasters.inner_folds import inner_losses, inner_plan


def test_plan_when_history_is_long_then_every_outcome_lies_inside() -> None:
    plan = inner_plan(1000, n_folds=40, spacing=5, refit_every=20, steps=(1, 5))
    assert len(plan) == 40
    assert plan.last_read == 999  # the last outcome is the last session of the history
    assert plan.first_seen == 0
    assert plan.n_fits == 2
    assert set((plan.train_stop - plan.train_start).tolist()) == {800}


@pytest.mark.parametrize(("n_sessions", "n_folds"), [(260, 17), (60, 4), (18, 1), (16, 1), (15, 1)])
def test_plan_when_history_is_short_then_fewer_folds(n_sessions, n_folds) -> None:
    plan = inner_plan(n_sessions, n_folds=40, spacing=5, refit_every=20, steps=(1, 5))
    assert len(plan) == n_folds
    assert plan.last_read == n_sessions - 1


def test_plan_when_history_is_too_short_then_none() -> None:
    assert inner_plan(14, n_folds=40, spacing=5, refit_every=20, steps=(1, 5)) is None
    assert inner_plan(2, n_folds=4, spacing=1, refit_every=1, steps=(1,)) is None


def test_losses_when_by_hand_then_outcomes_of_the_right_sessions(history_of) -> None:
    close = np.exp(np.arange(12.0) ** 2 / 100)[None]  # return into session t is (2 t - 1) / 100
    close[0, 11] = np.nan
    history = history_of(close)
    plan = inner_plan(12, n_folds=2, spacing=1, refit_every=1, steps=(1, 2))  # cutoffs 8 and 9
    shape = (2, 1, 2)
    batch = ForecastBatch(
        np.zeros(shape), np.full(shape, 0.04), np.zeros((2, 1, 5, 2)), np.full((2, 1), "ok")
    )
    squares = inner_losses(batch, history, plan, loss="squared_error")
    assert squares[:, 0] == pytest.approx(
        np.array([[0.17**2, 0.36**2], [0.19**2, np.nan]]), nan_ok=True
    )
    ratio = np.array([[0.17**2, 0.17**2 + 0.19**2], [0.19**2, np.nan]]) / 0.04
    found = inner_losses(batch, history, plan, loss="qlike")
    assert found[:, 0] == pytest.approx(ratio - np.log(ratio) - 1, nan_ok=True)
    # The normal score at z = 0.17 / 0.2 = 0.85, of a table: pdf 0.277985, cdf 0.802337.
    score = 0.2 * (0.85 * (2 * 0.802337 - 1) + 2 * 0.277985 - 1 / np.sqrt(np.pi))
    assert inner_losses(batch, history, plan, loss="crps")[0, 0, 0] == pytest.approx(score, 1e-5)
