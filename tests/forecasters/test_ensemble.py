import numpy as np
import pytest

from pmx_ray import provenance
from pmx_ray.data.calendar import calendar_sessions
from pmx_ray.data.panel import Panel
from pmx_ray.errors import SettingsError
from pmx_ray.folds import FoldSettings, build_folds
from pmx_ray.forecasters.batch import forecast_folds
from pmx_ray.forecasters.ensemble import recent_density
from pmx_ray.forecasters.protocol import Failure, Forecast, Status
from pmx_ray.forecasters.registry import ForecasterSpec, load_families

load_families(["odd_forecasters"])

CHEAP = [{"name": "random_walk"}, {"name": "drift"}, {"name": "ewma_variance"}]


def ensemble(*members: dict[str, object], **settings: object) -> ForecasterSpec:
    return ForecasterSpec.parse({"name": "ensemble", "members": list(members), **settings})


class Walked:
    """A forecaster without its ``forecast_folds``, so that the folds are walked."""

    def __init__(self, inner) -> None:
        self.scope, self.fit = inner.scope, inner.fit


def rng_at(fold: int) -> np.random.Generator:
    return np.random.default_rng([11, fold])


def torn_panel() -> Panel:
    """Return six tickers in two groups, five of which are bad in one way each."""
    returns = np.random.default_rng(3).normal(0.0, 0.02, (6, 400))
    close = 30.0 * np.exp(returns.cumsum(axis=1))
    close[1] = 20.0
    close[2, :260] = np.nan
    close[3, 300:] = np.nan
    close[4, [90, 91, 200, 259, 331, 332]] = np.nan
    close[5, ::2] = np.nan
    sessions = calendar_sessions("XNYS")[9000:9400]
    groups = ("one", "two") * 3
    return Panel("XNYS", tuple("ABCDEF"), sessions, close, gap=np.isnan(close), groups=groups)


PANEL = torn_panel()
PLANS = {
    "refit every third": FoldSettings(input_size=150, step_size=15, steps=(1, 5), refit_every=3),
    "expanding": FoldSettings(kind="expanding", input_size=120, step_size=40, steps=(1, 5)),
    "combinatorial": FoldSettings(
        kind="combinatorial", input_size=70, step_size=25, steps=(1, 5), n_groups=4
    ),
}
SPECS = [
    ensemble(*CHEAP, weighting="adaptive"),
    ensemble(*CHEAP, weighting="inverse_loss", loss="qlike", steps=[1]),
    ensemble({"name": "random_walk"}, {"name": "samossa", "scope": "group"}),  # of two scopes
    ensemble({"name": "dice"}, {"name": "samossa"}, loss="squared_error"),  # draws; not batched
    ensemble({"name": "dice"}, {"name": "drift"}, weighting="equal"),
]


def panels_of(spec: ForecasterSpec) -> list[Panel]:
    """Return the panel by what is fitted jointly, as the runner hands it over."""
    match spec.build().scope:
        case "ticker":
            return [PANEL.select([ticker]) for ticker in PANEL.tickers]
        case "group":
            return [PANEL.select(list(tickers)) for tickers in ("ACE", "BDF")]
        case _:
            return [PANEL]


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.id)
def test_folds_when_served_at_once_then_as_walked(spec, name) -> None:
    plan = build_folds(PANEL.sessions, PLANS[name])
    for panel in panels_of(spec):
        at_once = forecast_folds(spec.build(), panel, plan, rng_at)
        walked = forecast_folds(Walked(spec.build()), panel, plan, rng_at)
        assert np.array_equal(at_once.status, walked.status)
        assert dict(at_once.reasons) == dict(walked.reasons)
        for field in ("mean", "variance", "quantiles"):
            assert getattr(at_once, field).tobytes() == getattr(walked, field).tobytes()
        assert (at_once.status != Status.ERROR).all()


def test_folds_when_tickers_are_handed_over_together_then_each_as_on_its_own() -> None:
    spec, plan = SPECS[0], build_folds(PANEL.sessions, PLANS["refit every third"])
    together = forecast_folds(spec.build(), PANEL, plan, rng_at)
    for row, ticker in enumerate(PANEL.tickers):
        alone = forecast_folds(spec.build(), PANEL.select([ticker]), plan, rng_at)
        assert together.quantiles[:, row].tobytes() == alone.quantiles[:, 0].tobytes()


def test_fit_when_the_last_outcome_is_out_then_it_counts_and_no_later_one(history_of) -> None:
    """Weights use every session of the history and none beyond."""  # proves C4
    spec = ensemble(*CHEAP, weighting="inverse_loss", steps=[1], min_losses=1)
    close = 20.0 * np.exp(np.random.default_rng(0).normal(0, 0.02, 400).cumsum())
    changed = close.copy()
    changed[299] *= 1.1

    def weights(prices: np.ndarray) -> np.ndarray:
        fitted = spec.build().fit(history_of(prices), rng=np.random.default_rng(0))
        return fitted.extend(history_of(close)).weights

    assert not np.array_equal(weights(changed[:300]), weights(close[:300]))
    assert np.array_equal(weights(changed[:299]), weights(close[:299]))


def test_fit_when_one_member_is_right_then_it_gets_the_most(history_of) -> None:
    shocks, returns = np.random.default_rng(1).normal(0, 0.01, 900), np.zeros(900)
    for t in range(1, 900):
        returns[t] = 0.7 * returns[t - 1] + shocks[t]
    history = history_of(20.0 * np.exp(returns.cumsum()))
    members = [{"name": "random_walk"}, {"name": "drift"}, {"name": "sarimax", "order": (1, 1, 0)}]
    weights = {}
    for weighting in ("equal", "inverse_loss", "adaptive"):
        spec = ensemble(*members, weighting=weighting, loss="squared_error", steps=[1])
        (weights[weighting],) = spec.build().fit(history, rng=np.random.default_rng(0)).weights
    assert weights["equal"] == pytest.approx([1 / 3] * 3)
    # The walk errs by the variance of the process, 1 / (1 - 0.7^2) = 1.96 of the innovations'.
    assert weights["inverse_loss"][2] / weights["inverse_loss"][0] == pytest.approx(1.96, abs=0.6)
    assert weights["adaptive"][2] > 0.4  # the walk is rejected, so nothing is shrunk to it


def test_fit_when_prices_walk_then_adaptive_leans_to_the_walk(history_of) -> None:
    close = 20.0 * np.exp(np.random.default_rng(4).normal(0, 0.01, 900).cumsum())
    history = history_of(close)
    squared, crps = (
        ensemble(*CHEAP, loss=loss).build().fit(history, rng=np.random.default_rng(0)).weights[0]
        for loss in ("squared_error", "crps")
    )
    assert squared[0] > 0.5
    assert crps == pytest.approx([1 / 3] * 3, abs=0.05)


def test_fit_when_the_best_member_switches_at_a_change_then_what_was_before_is_forgotten(
    history_of,
) -> None:
    returns = np.random.default_rng(0).normal(0.01, 0.01, 900)
    returns[820:] = 0.3 * (returns[820:] - 0.02)  # the drift turns, and prices calm down
    members = [{"name": "random_walk"}, {"name": "drift"}]
    # A level of nearly 1 rejects the walk, so that nothing is shrunk.
    spec = ensemble(*members, loss="squared_error", steps=[1], variance_ratio_level=0.99)
    weights = []
    for stop in (820, 900):
        history = history_of(20.0 * np.exp(returns[:stop].cumsum()))
        weights.append(spec.build().fit(history, rng=np.random.default_rng(0)).weights[0])
    # Two fifths of the last losses speak for the walk, and outweigh the older ones.
    assert weights[0][0] < 0.01
    assert weights[1][0] > 0.5


def test_density_when_volatility_jumps_then_above_that_of_calm() -> None:
    shocks = np.random.default_rng(0).normal(0, 0.01, (3, 600))
    calm = np.exp(shocks.cumsum(axis=1))
    shocks[:, 450:] *= 4.0
    torn = np.exp(shocks.cumsum(axis=1))
    assert recent_density(torn, window=250) >= 1 / 250 > recent_density(calm, window=250)


def test_forecast_when_members_fail_then_the_others_serve(history_of) -> None:
    spec = ensemble({"name": "garch"}, {"name": "random_walk"})
    history = history_of(20.0 * np.exp(np.random.default_rng(0).normal(0, 0.02, 60).cumsum()))
    (garch,), (walk,) = (
        ForecasterSpec.parse({"name": name}).build().fit(history, rng=rng_at(0)).forecast((1,))
        for name in ("garch", "random_walk")
    )
    assert isinstance(garch, Failure)
    (outcome,) = spec.build().fit(history, rng=rng_at(0)).forecast((1,))
    assert isinstance(outcome, Forecast)
    assert outcome.variance == pytest.approx(walk.variance)


def test_forecast_when_a_member_raises_then_it_alone_is_left_out() -> None:
    spec = ensemble({"name": "raising"}, {"name": "random_walk"})
    plan = build_folds(PANEL.sessions, PLANS["refit every third"])[:2]
    close = PANEL.close.copy()
    close[1] = PANEL.close[0]
    panel = Panel("XNYS", ("A", "B"), PANEL.sessions, close[:2])
    for forecaster in (spec.build(), Walked(spec.build())):
        for ticker in ("A", "B"):
            batch = forecast_folds(forecaster, panel.select([ticker]), plan, rng_at)
            assert (batch.status == Status.OK).all()
    alone = ensemble({"name": "raising"}).build()
    batch = forecast_folds(alone, panel.select(["B"]), plan, rng_at)
    assert (batch.status == Status.ERROR).all()
    assert "planted in B" in batch.reasons[0, 0]


def test_settings_when_written_out_then_the_same_spec_and_every_default() -> None:
    spec = ensemble({"name": "garch", "dist": "t"}, {"name": "drift"})
    again = ForecasterSpec.parse({"name": "ensemble", **dict(spec.params)})
    assert again.id == spec.id
    assert again.settings.members[0].label == "garch(dist=t)"
    assert dict(spec.params)["members"][0]["family_version"]


def test_settings_when_a_member_is_of_another_version_then_refused() -> None:
    with pytest.raises(SettingsError, match=r"drift was written for version 0 .* this is 2"):
        ensemble({"name": "drift", "family_version": "0"})


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"members": [{"name": "gatch"}]}, "did you mean 'garch'"),
        ({"members": [{"name": "garch", "dst": "t"}]}, "did you mean 'dist'"),
        ({"members": ["garch"]}, "write {name: ..., parameter: ...}"),
        ({"members": []}, "members"),
        ({"members": [{"name": "drift"}, {"name": "drift"}]}, "drift is given twice"),
        ({"min_losses": 41}, "at most n_validation"),
        ({"steps": [5, 1]}, "increase"),
        ({"weighting": "clever"}, "weighting"),
    ],
)
def test_settings_when_wrong_then_one_line_says_why(written, message) -> None:
    with pytest.raises(SettingsError) as caught:
        ForecasterSpec.parse({"name": "ensemble", **written})
    assert message in str(caught.value)


def test_spec_when_changes_are_detected_then_the_detector_has_a_version_in_it(monkeypatch) -> None:
    bandit = ForecasterSpec.parse({"name": "mssa_rl"})
    tuned = ForecasterSpec.parse({"name": "nested", "family": "mssa_rl"})
    even = ensemble(*CHEAP, weighting="equal")
    served = [ensemble(*CHEAP), ensemble({"name": "mssa_rl"}, weighting="equal"), bandit, tuned]
    before = [spec.libraries for spec in (*served, even)]
    monkeypatch.setattr(provenance, "CHANGE_POINTS_VERSION", "next")
    moved = [spec.libraries != was for spec, was in zip((*served, even), before, strict=True)]
    assert moved == [True] * 4 + [False]


def test_spec_when_members_need_more_then_so_does_the_ensemble() -> None:
    assert ensemble({"name": "drift"}, {"name": "on_gpu"}).device == "gpu"
    assert "scipy" in ensemble({"name": "drift"}).libraries
    assert ensemble({"name": "drift"}).build().scope == "ticker"
    assert ensemble({"name": "drift"}, {"name": "samossa"}).build().scope == "panel"
