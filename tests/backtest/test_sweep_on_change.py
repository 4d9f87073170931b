"""A sweep that refits on change: planned, saved and loaded with the same folds and name."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from pmx_ray.backtest.settings import SweepSettings
from pmx_ray.backtest.sweep import Sweep, load, prepare, save
from pmx_ray.data.simulator import SimulatedSettings
from pmx_ray.folds import FoldSettings, change_alarms
from pmx_ray.kernels.change_points_settings import ChangeSettings

CHANGES = ChangeSettings(input="log_return", window=5, n_pages=12, run_length=100)


def sweep_of(folder: Path, changes: ChangeSettings | None) -> Sweep:
    folds = FoldSettings(
        input_size=60, step_size=5, steps=(1,), refit_every=1000, refit_on_change=changes
    )
    settings = SweepSettings(
        name="changes", panel=SimulatedSettings(), folds=folds, forecasters=({"name": "drift"},)
    )
    return prepare(settings, root=folder, clock=lambda: datetime(2030, 1, 1, tzinfo=UTC))


def test_sweep_when_it_refits_on_change_then_folds_follow_the_alarms(tmp_path: Path) -> None:
    sweep, plain = sweep_of(tmp_path, CHANGES), sweep_of(tmp_path, None)
    assert sweep.sweep_id != plain.sweep_id
    assert plain.plan.n_fits == 1
    cutoff = sweep.plan.cutoff
    alarms = change_alarms(sweep.panel, CHANGES)
    late = alarms[(alarms > cutoff[0]) & (alarms <= cutoff[-1])]
    assert len(late) > 0
    expected = {int(cutoff[0]), *(int(cutoff[cutoff >= alarm][0]) for alarm in late)}
    assert set(cutoff[sweep.plan.refit].tolist()) == expected


def test_sweep_when_saved_and_loaded_then_the_same_folds_and_name(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, CHANGES)
    save(sweep)
    again = load(sweep.folder)
    assert again.sweep_id == sweep.sweep_id
    assert np.array_equal(again.plan.refit, sweep.plan.refit)
    assert again.settings.folds.refit_on_change == CHANGES
