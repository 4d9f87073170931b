import numpy as np
import pytest

from pmx_ray.backtest.leaks import audit_leaks, overwrite_after
from pmx_ray.data.panel import Panel
from pmx_ray.errors import SettingsError
from pmx_ray.folds import FoldPlan, FoldSettings, build_folds
from pmx_ray.forecasters.registry import ForecasterSpec, load_families

load_families(["odd_forecasters"])


def test_audit_when_a_kernel_reads_ahead_then_caught(panel: Panel, plan: FoldPlan) -> None:
    spec = ForecasterSpec.parse({"name": "peeking"})
    leaks = audit_leaks(panel, plan, [spec], rng=np.random.default_rng(0))
    assert {leak.ticker for leak in leaks} == {"A", "B", "C"}
    assert str(leaks[0]).startswith("peeking forecast of A at 2015-")


@pytest.mark.parametrize("name", ["random_walk", "drift", "historical_mean", "dice", "samossa"])
def test_audit_when_a_forecaster_is_honest_then_passes(
    panel: Panel, plan: FoldPlan, name: str
) -> None:
    written = {"name": name, "window": 40} if name == "historical_mean" else {"name": name}
    spec = ForecasterSpec.parse(written)
    assert audit_leaks(panel, plan, [spec], rng=np.random.default_rng(0)) == ()


def test_overwrite_when_applied_then_only_the_future_changes(panel: Panel) -> None:
    noisy = overwrite_after(panel, 100, rng=np.random.default_rng(0))
    assert noisy.window(0, 101).sha256 == panel.window(0, 101).sha256
    assert (noisy.close[:, 101:] != panel.close[:, 101:]).all()


def test_audit_when_the_plan_is_combinatorial_then_refused(panel: Panel) -> None:
    settings = FoldSettings(kind="combinatorial", input_size=30, steps=(1,))
    plan = build_folds(panel.sessions, settings)
    with pytest.raises(SettingsError, match="combinatorial"):
        audit_leaks(panel, plan, [], rng=np.random.default_rng(0))
