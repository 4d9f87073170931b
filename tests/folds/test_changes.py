"""Refits on change: by hand, causal, and silent where they are not asked for."""

import numpy as np
import pytest
from pydantic import ValidationError

from pmx_ray.data.panel import Panel
from pmx_ray.errors import SettingsError
from pmx_ray.folds import FoldSettings, build_folds, change_alarms
from pmx_ray.folds.changes import refit_folds
from pmx_ray.kernels.change_points_settings import ChangeSettings

CHANGES = ChangeSettings(input="log_return", window=5, n_pages=12, run_length=400)
N_SESSIONS, CHANGED = 420, 300


def stormy_panel(n_sessions: int = N_SESSIONS) -> Panel:
    """Return three tickers whose volatility is five times as large from session 300 on."""
    returns = np.random.default_rng(8).normal(0.0, 0.01, (3, N_SESSIONS))
    returns[:, CHANGED:] *= 5.0
    close = 100.0 * np.exp(np.cumsum(returns, axis=1))
    sessions = np.datetime64("2000-01-01") + np.arange(N_SESSIONS)
    return Panel("24/7", ("A", "B", "C"), sessions[:n_sessions], close[:, :n_sessions])


CUTOFFS = np.array([10, 20, 30, 40, 50, 60, 70])


@pytest.mark.parametrize(
    ("refit_every", "alarms", "expected"),
    [
        (3, None, [1, 0, 0, 1, 0, 0, 1]),
        (3, [], [1, 0, 0, 1, 0, 0, 1]),
        (3, [20], [1, 1, 0, 0, 1, 0, 0]),  # known at its own cutoff, and counted from there
        (3, [21], [1, 0, 1, 0, 0, 1, 0]),
        (100, [5, 33, 36, 61], [1, 0, 0, 1, 0, 0, 1]),  # two alarms, one fit; one before all
        (1, [33], [1, 1, 1, 1, 1, 1, 1]),
        (100, [71], [1, 0, 0, 0, 0, 0, 0]),
    ],
)
def test_refits_when_alarms_are_given_then_as_by_hand(
    refit_every: int, alarms: list[int] | None, expected: list[int]
) -> None:
    given = None if alarms is None else np.array(alarms, np.int64)
    found = refit_folds(CUTOFFS, refit_every=refit_every, alarms=given)
    assert found.astype(int).tolist() == expected


def test_refits_when_folds_and_alarms_are_added_then_the_earlier_stand() -> None:
    alarms = np.array([22, 47, 58])
    whole = refit_folds(CUTOFFS, refit_every=2, alarms=alarms)
    for n in range(1, len(CUTOFFS)):
        early = alarms[alarms <= CUTOFFS[n - 1]]
        part = refit_folds(CUTOFFS[:n], refit_every=2, alarms=early)
        assert part.tolist() == whole[:n].tolist()


def test_plan_when_the_panel_changes_then_the_first_cutoff_after_the_alarm_refits() -> None:
    panel = stormy_panel()
    settings = FoldSettings(
        input_size=60, step_size=10, steps=(1,), refit_every=1000, refit_on_change=CHANGES
    )
    alarms = change_alarms(panel, CHANGES)
    assert ((alarms >= CHANGED) & (alarms < CHANGED + 50)).any()
    plan = build_folds(panel.sessions, settings, alarms=alarms)
    fitted_at = plan.cutoff[plan.refit]
    for alarm in alarms[(alarms > plan.cutoff[0]) & (alarms <= plan.cutoff[-1])]:
        first = plan.cutoff[plan.cutoff >= alarm][0]
        assert first in fitted_at
    assert plan.n_fits == plan.refit.sum() <= len(alarms) + 1
    assert set(plan.train_stop.tolist()) == {int(cutoff) + 1 for cutoff in fitted_at}


# proves M3
@pytest.mark.parametrize("n_sessions", [150, 299, 305, 331, 400])
def test_plan_when_sessions_are_added_then_no_earlier_fold_changes(n_sessions: int) -> None:
    settings = FoldSettings(
        input_size=60, step_size=5, steps=(1,), refit_every=7, refit_on_change=CHANGES
    )
    whole, part = (
        build_folds(panel.sessions, settings, alarms=change_alarms(panel, CHANGES))
        for panel in (stormy_panel(), stormy_panel(n_sessions))
    )
    for name in ("train_start", "train_stop", "context_start", "cutoff", "refit"):
        assert getattr(part, name).tolist() == getattr(whole, name)[: len(part)].tolist()


def test_folds_when_changes_are_wanted_without_alarms_then_refused() -> None:
    settings = FoldSettings(input_size=60, refit_on_change=CHANGES)
    with pytest.raises(SettingsError, match="needs the panel's alarms"):
        build_folds(stormy_panel().sessions, settings)


def test_settings_when_combinatorial_and_on_change_then_refused() -> None:
    with pytest.raises(ValidationError, match="refit_on_change was given"):
        FoldSettings(kind="combinatorial", refit_on_change=CHANGES)


def test_settings_when_no_change_is_watched_then_written_as_before_it_could_be() -> None:
    fields = (
        "kind input_size step_size steps start end refit_every purge embargo tuning_end "
        "n_groups n_test_groups"
    )
    assert list(FoldSettings().model_dump(mode="json")) == fields.split()
    asked = FoldSettings(refit_on_change=CHANGES).model_dump(mode="json")
    assert FoldSettings.model_validate(asked).refit_on_change == CHANGES


def test_folds_when_alarms_are_given_but_not_asked_for_then_unused() -> None:
    panel = stormy_panel()
    settings = FoldSettings(input_size=60, step_size=10, steps=(1,), refit_every=1000)
    plan = build_folds(panel.sessions, settings, alarms=np.array([250, 330]))
    assert plan.n_fits == 1
