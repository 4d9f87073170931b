"""What comes out of a forecaster is checked once, where it comes out."""

from collections.abc import Callable

import numpy as np
import pytest

from pmx_ray.data.panel import Panel
from pmx_ray.errors import DataError, EngineError
from pmx_ray.folds import FoldPlan
from pmx_ray.forecasters.batch import ForecastBatch, RngAt, forecast_folds
from pmx_ray.forecasters.protocol import QUANTILE_LEVELS, Forecast


class Says:
    """Forecasts whatever it was told to."""

    scope = "ticker"

    def __init__(self, answer: Callable[[], object]) -> None:
        self.answer = answer

    def fit(self, history: Panel, *, rng: np.random.Generator) -> "Says":
        return self

    def extend(self, history: Panel) -> "Says":
        return self

    def forecast(self, steps: tuple[int, ...]) -> object:
        return self.answer()


class SaysAtOnce(Says):
    def forecast_folds(self, panel: Panel, plan: FoldPlan, rng_at: RngAt) -> object:
        return self.answer()


def rng_at(fold: int) -> np.random.Generator:
    return np.random.default_rng(fold)


def raising(error: Exception) -> Callable[[], object]:
    def answer() -> object:
        raise error

    return answer


ONE = Forecast(np.zeros(1), np.ones(1))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda: (ONE,), "a forecast has 1 steps; 2 were asked"),
        (lambda: (None,), "an outcome is a NoneType"),
        (lambda: (), "forecast gave 0 outcomes for 1 tickers"),
        (lambda: None, "TypeError"),
        (raising(KeyError("x")), "forecast raised KeyError: 'x'"),
    ],
)
def test_forecast_when_it_is_none_of_ours_then_rows_with_the_reason(
    panel: Panel, plan: FoldPlan, answer: Callable[[], object], reason: str
) -> None:
    batch = forecast_folds(Says(answer), panel.select(["A"]), plan, rng_at)
    assert set(batch.status.ravel()) == {"error"}
    assert all(reason in text for text in batch.reasons.values())
    assert len(batch.reasons) == len(plan)


@pytest.mark.parametrize("form", [Says, SaysAtOnce])
@pytest.mark.parametrize("error", [MemoryError(), OSError("disk"), EngineError("no card")])
def test_forecast_when_the_machine_fails_then_raised_and_never_a_row(
    panel: Panel, plan: FoldPlan, form: type[Says], error: Exception
) -> None:
    with pytest.raises(type(error)):
        forecast_folds(form(raising(error)), panel.select(["A"]), plan, rng_at)


def batch_of(plan: FoldPlan, **changed: np.ndarray) -> ForecastBatch:
    shape = (len(plan), 1, len(plan.steps))
    values = {
        "mean": np.zeros(shape),
        "variance": np.ones(shape),
        "quantiles": np.zeros((*shape[:2], len(QUANTILE_LEVELS), shape[2])),
        "status": np.full(shape[:2], "ok"),
    }
    return ForecastBatch(**{**values, **changed})


def test_kernel_when_it_raises_or_has_another_shape_then_rows_with_the_reason(
    panel: Panel, plan: FoldPlan
) -> None:
    one = panel.select(["A"])
    for answer, reason in [
        (raising(ValueError("planted")), "forecast_folds raised ValueError: planted"),
        (lambda: batch_of(plan[:2]), "the batch has shape (2, 1, 2)"),
    ]:
        batch = forecast_folds(SaysAtOnce(answer), one, plan, rng_at)
        assert set(batch.status.ravel()) == {"error"}
        assert all(reason in text for text in batch.reasons.values())
    whole = forecast_folds(SaysAtOnce(lambda: batch_of(plan)), one, plan, rng_at)
    assert set(whole.status.ravel()) == {"ok"}


def test_batch_when_its_values_are_no_distribution_then_refused(plan: FoldPlan) -> None:
    falling = np.arange(len(QUANTILE_LEVELS), 0.0, -1.0)
    crossing = np.broadcast_to(falling[:, None], (len(plan), 1, len(falling), 2))
    for changed, message in [
        ({"quantiles": crossing}, "do not cross"),
        ({"variance": np.zeros((len(plan), 1, 2))}, "variance > 0"),
        ({"status": np.full((len(plan), 1), "banana")}, "status 'banana' is unknown"),
    ]:
        with pytest.raises(DataError, match=message):
            batch_of(plan, **changed)
