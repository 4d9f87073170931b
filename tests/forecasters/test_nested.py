from typing import ClassVar

import numpy as np
import optuna
import pytest

from pmx_ray.config import Settings
from pmx_ray.data.panel import Panel
from pmx_ray.errors import SettingsError
from pmx_ray.forecasters.nested_search import search
from pmx_ray.forecasters.protocol import Failure, Forecast, Outcome, Scope, Status
from pmx_ray.forecasters.registry import ForecasterSpec, load_families, register
from pmx_ray.forecasters.search_space import SearchSpace

load_families(["odd_forecasters"])

ORDERS = {"order": {"choices": [[0, 1, 0], [1, 1, 0], [0, 1, 1], [2, 1, 1]]}}


def nested(**written: object) -> ForecasterSpec:
    return ForecasterSpec.parse({"name": "nested", **written})


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def persistent(n: int) -> np.ndarray:
    """Return prices whose log returns are an AR(1) of 0.6."""
    shocks, returns = np.random.default_rng(1).normal(0, 0.01, n), np.zeros(n)
    for t in range(1, n):
        returns[t] = 0.6 * returns[t - 1] + shocks[t]
    return 20.0 * np.exp(returns.cumsum())


def test_fit_when_one_configuration_is_right_then_found_and_fitted_on_all(history_of) -> None:
    spec = nested(family="sarimax", search=ORDERS, loss="squared_error", steps=[1], n_trials=12)
    history = history_of(persistent(800))
    fitted = spec.build().fit(history, rng=rng())
    assert dict(fitted.spec.params)["order"][0] > 0  # with an autoregression
    assert fitted.n_inner_trials == spec.settings.n_trials == 12
    (outcome,) = fitted.forecast((1, 5))
    (alone,) = fitted.spec.build().fit(history, rng=rng()).forecast((1, 5))
    assert outcome.bands.tobytes() == alone.bands.tobytes()


def test_fit_when_called_again_then_the_same_choice_and_bits(history_of) -> None:
    spec = nested(search={"rank": {"low": 1, "high": 6}, "ar_order": {"low": 0, "high": 3}})
    history = history_of(np.vstack([persistent(300), persistent(310)[10:]]))
    one, other = (spec.build().fit(history, rng=rng(3)) for _ in range(2))
    assert one.spec == other.spec
    for a, b in zip(one.forecast((1, 5)), other.forecast((1, 5)), strict=True):
        assert a.bands.tobytes() == b.bands.tobytes()


def test_fit_when_sessions_follow_then_they_have_no_say(history_of) -> None:
    """The search sees its history and no more."""  # proves M3
    spec = nested(family="sarimax", search=ORDERS, n_trials=6)
    close, noisy = persistent(420), persistent(420)
    noisy[300:] = np.random.default_rng(0).uniform(1, 9, 120)
    chosen = [
        spec.build().fit(history_of(prices).window(0, 300), rng=rng()) for prices in (close, noisy)
    ]
    assert chosen[0].spec == chosen[1].spec
    changed = persistent(300)
    changed[200:] = 20.0 * np.exp(np.random.default_rng(5).normal(0, 0.02, 100).cumsum())
    other = spec.build().fit(history_of(changed), rng=rng())
    assert other.forecast((1,))[0] != chosen[0].forecast((1,))[0]


def test_fit_when_nothing_can_be_scored_then_the_default(history_of) -> None:
    fitted = nested().build().fit(history_of(np.array([20.0, 21.0])), rng=rng())
    assert fitted.n_inner_trials == 0
    assert fitted.spec.label == "samossa"


def test_fit_when_a_configuration_fails_where_others_serve_then_not_chosen(history_of) -> None:
    # A mean of the last 280 returns lacks them in inner windows of 200 sessions.
    spec = nested(family="sample_variance", search={"window": {"choices": [60, 280]}}, n_trials=6)
    fitted = spec.build().fit(history_of(persistent(300)), rng=rng())
    assert dict(fitted.spec.params)["window"] == 60
    assert isinstance(fitted.forecast((1,))[0], Forecast)


SPACE = SearchSpace.parse("samossa", {"rank": {"low": 1, "high": 9}})


def study(seed: int = 0) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))


def test_search_when_scores_are_known_then_the_least_and_each_computed_once() -> None:
    asked = []

    def score(spec: ForecasterSpec) -> float:
        asked.append(dict(spec.params)["rank"])
        return abs(asked[-1] - 4.0)

    best = search(study(), SPACE, score, n_trials=40)
    assert dict(best.params)["rank"] == 4
    assert len(asked) == len(set(asked)) <= 9


def test_search_when_every_trial_fails_then_none() -> None:
    assert search(study(), SPACE, lambda _: np.nan, n_trials=5) is None


def test_settings_when_read_back_then_the_same_spec() -> None:
    spec = nested(family="garch", fixed={"dist": "t"})
    assert "dist" not in spec.settings.search
    assert spec.settings.search["p"] == {"low": 1, "high": 2, "log": False}
    assert ForecasterSpec.parse({"name": "nested", **dict(spec.params)}).id == spec.id
    assert spec.build().scope == "ticker"
    assert {"optuna", "numba"} <= set(spec.libraries)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"family": "gatch"}, "did you mean 'garch'"),
        ({"family": "random_walk"}, "nothing to search"),
        ({"search": {"rnk": {"low": 1, "high": 2}}}, "did you mean 'rank'"),
        ({"search": {"rank": {"low": 3, "high": 2}}}, "below high"),
        ({"search": {"scope": {"choices": ["ticker", "panel"]}}}, "another scope or device"),
        ({"search": {"engine": {"choices": ["numpy", "cupy"]}}}, "device"),
        ({"family_version": "0"}, "written for version 0"),
        ({"steps": []}, "increase"),
        ({"n_trials": 0}, "n_trials"),
    ],
)
def test_settings_when_wrong_then_one_line_says_why(written, message) -> None:
    with pytest.raises(SettingsError) as caught:
        nested(**written)
    assert message in str(caught.value)


class AbstainerSettings(Settings):
    """Whether it says nothing after a session that fell."""

    abstain: bool = False


@register("abstainer", settings=AbstainerSettings, version="1", summary="may say nothing")
class Abstainer:
    scope: ClassVar[Scope] = "ticker"

    def __init__(self, settings: AbstainerSettings) -> None:
        self.settings = settings

    def fit(self, history: Panel, *, rng: np.random.Generator) -> "Abstainer":
        return self.extend(history)

    def extend(self, history: Panel) -> "Abstainer":
        other = Abstainer(self.settings)
        other.fell = history.close[0, -1] < history.close[0, -2]
        return other

    def forecast(self, steps: tuple[int, ...]) -> tuple[Outcome, ...]:
        if self.settings.abstain and self.fell:
            return (Failure(Status.NOT_CONVERGED, "would rather not"),)
        h = np.array(steps, float)
        return (Forecast(0.0 * h, 1.5e-4 * h),)


def test_fit_when_a_configuration_abstains_then_it_does_not_win_by_that(history_of) -> None:
    choices = {"abstain": {"choices": [True, False]}}
    spec = nested(family="abstainer", search=choices, n_trials=4)
    close = 20.0 * np.exp(np.random.default_rng(0).normal(0, 0.01, 300).cumsum())
    fitted = spec.build().fit(history_of(close), rng=rng())
    assert dict(fitted.spec.params)["abstain"] is False
