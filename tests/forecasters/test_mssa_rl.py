"""MSSA-RL: what its bandit values, when it trusts the model, and that it never looks ahead."""

import numpy as np
import pytest
from pydantic import ValidationError

from pmx_ray.data.panel import Panel
from pmx_ray.forecasters.mssa_rl import (
    Action,
    FittedMssaRl,
    MssaRl,
    MssaRlSettings,
    Rewards,
    look_back_start,
    states_of,
    train,
)
from pmx_ray.forecasters.protocol import Failure, Forecast
from pmx_ray.forecasters.samossa import Samossa, SamossaSettings
from pmx_ray.kernels.change_points import Changes, detect
from pmx_ray.kernels.change_points_space import Base

SMALL = MssaRlSettings(ranks=(1, 2), change_window=5, change_pages=12, run_length=200)
WALK = Action((1, "whole"), 1.0)


def panel_of(returns: np.ndarray) -> Panel:
    close = 100.0 * np.exp(np.cumsum(returns, axis=1))
    sessions = np.datetime64("2000-01-01") + np.arange(returns.shape[1])
    return Panel("24/7", tuple(f"T{n}" for n in range(len(returns))), sessions, close)


def noise(seed: int, n_sessions: int = 500) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 0.01, (4, n_sessions))


def waves(seed: int, n_sessions: int = 500) -> np.ndarray:
    """Return log returns of which a shared wave explains half."""
    wave: np.ndarray = 0.014 * np.sin(0.9 * np.arange(n_sessions))
    return noise(seed, n_sessions) + wave


def fitted(panel: Panel, settings: MssaRlSettings = SMALL) -> FittedMssaRl:
    found = MssaRl(settings).fit(panel, rng=np.random.default_rng(0))
    assert isinstance(found, FittedMssaRl)
    return found


def test_actions_when_listed_then_the_random_walk_is_first_and_once() -> None:
    settings = MssaRlSettings(ranks=(1, 3), look_backs=("whole",), shrinkages=(0.0, 1.0))
    assert settings.actions == (WALK, Action((1, "whole"), 0.0), Action((3, "whole"), 0.0))
    assert MssaRlSettings(shrinkages=()).actions == (WALK,)


def test_values_when_taken_then_weighted_means_less_errors_by_hand() -> None:
    rewards = Rewards(np.array([5, 5, 2, 2]), np.array([[0.0, 1.0], [0.0, 3.0], [0, -1], [0, 1]]))
    # In state 5 each weighs 1 + 2 / 4, elsewhere 2 / 4: mean (1.5 * 4 + 0.5 * 0) / 4.
    found = rewards.values(5, prior_sessions=2, caution=0.0)
    assert found.tolist() == pytest.approx([0.0, 1.5])
    left = np.array([-0.5, 1.5, -2.5, -0.5])
    error = np.sqrt(((np.array([1.5, 1.5, 0.5, 0.5]) / 4 * left) ** 2).sum())
    cautious = rewards.values(5, prior_sessions=2, caution=2.0)
    assert cautious.tolist() == pytest.approx([0.0, 1.5 - 2.0 * error])
    # A state never seen: all sessions alike.
    assert rewards.values(9, prior_sessions=2, caution=0.0).tolist() == pytest.approx([0.0, 1.0])


def test_states_when_changes_are_given_then_by_hand() -> None:
    base = Base(0, 3, 1, 0.9, 1.0, 1.0, 4.0)
    changes = Changes(
        alarms=np.array([4]), onsets=np.array([3]),
        statistic=np.array([np.nan, np.nan, np.nan, 0.0, 4.5, np.nan]),
        energy_ratio=np.array([np.nan, np.nan, np.nan, np.nan, 2.0, np.nan]),
        blind=np.array([1, 1, 1, 0, 0, 1], bool), bases=(base,),
    )  # fmt: skip
    # since * 8 + gap * 4 + ratio * 2 + level; the base is known at the close of session 2.
    assert states_of(changes).tolist() == [0, 0, 4, 4, 8 + 4 + 2 + 1, 8 + 4]


# proves M3
def test_states_when_sessions_are_added_then_the_earlier_stand() -> None:
    series = noise(1, 700)
    series[:, 300:] *= 3.0
    whole = detect(series, SMALL.changes)
    for seen in (59, 60, 61, 305, 311, 400, 699):
        part = detect(series[:, :seen], SMALL.changes)
        assert states_of(part).tolist() == states_of(whole)[:seen].tolist()
        assert look_back_start(part, seen - 1) == look_back_start(whole, seen - 1)


def test_look_back_when_a_change_is_recent_then_long_enough_to_fit() -> None:
    alarms, onsets = np.array([300]), np.array([290])
    flat = np.zeros(600)
    changes = Changes(alarms, onsets, flat, flat, flat > 1.0, ())
    assert look_back_start(changes, 299) == 0  # not alarmed yet
    assert look_back_start(changes, 320) == 321 - 120
    assert look_back_start(changes, 599) == 290


def test_action_when_returns_are_noise_then_the_random_walk_and_a_mean_of_zero() -> None:
    chosen = [fitted(panel_of(noise(seed))) for seed in range(6)]
    walks = [found for found in chosen if found.action == WALK]
    assert len(walks) >= 4
    for outcome in walks[0].forecast((1, 5)):
        assert isinstance(outcome, Forecast)
        assert (outcome.mean == 0.0).all()


def test_action_when_a_wave_is_shared_then_trusted_as_samossa_forecasts() -> None:
    settings = SMALL.model_copy(update={"ranks": (2,), "shrinkages": (0.0,)})
    panel = panel_of(waves(0))
    found = fitted(panel, settings)
    assert found.action.shrinkage == 0.0
    assert found.action.fit[0] == 2
    whole = settings.model_copy(update={"look_backs": ("whole",)})
    samossa = Samossa(SamossaSettings(rank=2)).fit(panel, rng=np.random.default_rng(0))
    for own, other in zip(
        fitted(panel, whole).forecast((1, 5)), samossa.forecast((1, 5)), strict=True
    ):
        assert isinstance(own, Forecast)
        assert isinstance(other, Forecast)
        assert own.mean.tolist() == other.mean.tolist()
        assert own.variance.tolist() == other.variance.tolist()


def test_forecast_when_shrunk_then_the_mean_alone_is() -> None:
    settings = MssaRlSettings(
        ranks=(2,), look_backs=("whole",), shrinkages=(0.75,), change_window=5, change_pages=12,
        run_length=200,
    )  # fmt: skip
    panel = panel_of(waves(0))
    found = fitted(panel, settings)
    assert found.action.shrinkage == 0.75
    samossa = Samossa(SamossaSettings(rank=2)).fit(panel, rng=np.random.default_rng(0))
    own, other = found.forecast((1,))[0], samossa.forecast((1,))[0]
    assert isinstance(own, Forecast)
    assert isinstance(other, Forecast)
    assert own.mean == pytest.approx(0.25 * other.mean, rel=1e-14)
    assert own.variance.tolist() == other.variance.tolist()


# proves M3
def test_rewards_when_the_last_sessions_are_noise_then_the_earlier_stand() -> None:
    returns = waves(2)[:, 1:]
    changes = detect(waves(2), SMALL.changes)
    other = returns.copy()
    other[:, 400:] = np.random.default_rng(0).normal(0.0, 0.05, other[:, 400:].shape)
    before, after = (train(given, changes, SMALL) for given in (returns, other))
    first = returns.shape[1] // 2
    assert before.gains[: 400 - first].tobytes() == after.gains[: 400 - first].tobytes()
    assert before.gains[400 - first :].tobytes() != after.gains[400 - first :].tobytes()


# proves M3
def test_rewards_when_a_change_is_alarmed_among_scored_sessions_then_later_fits_alone_know() -> (
    None
):
    settings = SMALL.model_copy(update={"look_backs": ("since_change",)})
    returns, flat = waves(2)[:, 1:], np.zeros(500)  # fits end at 249, 309, 369, ...
    calm, changed = (
        train(returns, Changes(np.array(at), np.array(at), flat, flat, flat > 1.0, ()), settings)
        for at in (np.zeros(0, np.int64), np.array([330]))
    )
    first = 499 // 2
    scored = slice(309 - first, 369 - first)  # the alarm lies among these
    assert changed.gains[scored].tobytes() == calm.gains[scored].tobytes()
    assert changed.gains[scored.stop :].tobytes() != calm.gains[scored.stop :].tobytes()


def test_rewards_when_the_state_changes_then_each_return_has_that_of_the_session_before() -> None:
    series = noise(1, 501)
    series[:, 300:] *= 4.0
    changes = detect(series, SMALL.changes)
    rewards = train(series[:, 1:], changes, SMALL)  # returns 250 to 499 of 500
    assert len(set(rewards.states.tolist())) > 1
    assert rewards.states.tolist() == states_of(changes)[250:500].tolist()
    assert len(rewards.gains) == 250


def test_rewards_when_a_wave_is_shared_then_most_of_what_can_be_gained_is() -> None:
    series = waves(3, 900)
    rewards = train(series[:, 1:], detect(series, SMALL.changes), SMALL)
    gains = dict(zip(SMALL.actions, rewards.gains.mean(axis=0), strict=True))
    assert gains[WALK] == 0.0
    whole, half, quarter = (gains[Action((2, "whole"), s)] for s in (0.0, 0.5, 0.75))
    assert 0.3 < whole < 0.49  # the wave's variance is 0.49 of the returns'
    # A share w of a forecast f gains 2 w E[f r] - w^2 E[f^2].
    product, square = 2.0 * half - 0.5 * whole, 4.0 * half - 2.0 * whole
    assert quarter == pytest.approx(0.5 * product - square / 16.0, rel=1e-9)


def test_extend_when_the_history_grows_then_the_values_are_kept_and_the_state_is_new() -> None:
    panel = panel_of(np.hstack([waves(4, 500), 3.0 * noise(5, 60)]))
    found = fitted(panel.window(0, 500))
    later = found.extend(panel)
    assert isinstance(later, FittedMssaRl)
    assert later.rewards is found.rewards
    assert later.fits is found.fits
    assert later.history.n_sessions == 560


def test_outcomes_when_a_ticker_is_new_then_it_fails_and_the_others_stand() -> None:
    returns = waves(6)
    panel = panel_of(returns)
    close = panel.close.copy()
    close[0, :470] = np.nan
    gap = np.isnan(close)
    thin = Panel(panel.calendar, panel.tickers, panel.sessions, close, gap=gap)
    outcomes = fitted(thin).forecast((1,))
    assert isinstance(outcomes[0], Failure)
    assert all(isinstance(outcome, Forecast) for outcome in outcomes[1:])


@pytest.mark.parametrize(
    "wrong",
    [{"ranks": (0,)}, {"ranks": (1, 1)}, {"shrinkages": (1.5,)}, {"look_backs": ("whole",) * 2},
     {"run_length": 10}],
)  # fmt: skip
def test_settings_when_out_of_range_then_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        MssaRlSettings(**wrong)
