"""The ensemble's own weight functions, and the ensembles themselves, under the leak audit."""

import numpy as np
import pytest
from conftest import walk

from pmx_ray.folds import FoldSettings, build_folds
from pmx_ray.forecasters.ensemble_weights import (
    Evidence,
    adaptive_weights,
    equal_weights,
    inverse_loss_weights,
)
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.leaks.audit import audit
from pmx_ray.leaks.bench import Bench
from pmx_ray.leaks.choosing import EnsembleStage, LossTable
from pmx_ray.leaks.stages import ForecasterStage

PANEL = walk("ABC", 240)
PLAN = build_folds(
    PANEL.sessions, FoldSettings(input_size=100, step_size=6, steps=(7, 10), refit_every=4)
)


def weighed(losses: np.ndarray, known_at: np.ndarray, now: int, weighting: str) -> np.ndarray:
    """Return the weights of losses (K, N, S), out at ``known_at``, for a fold at ``now``."""
    if weighting == "inverse_loss":
        return inverse_loss_weights(losses, min_losses=2)
    age = np.maximum(now - known_at, 0).astype(float)
    told = Evidence(age, 0.02, 0.3, equal_weights(losses.shape[2]))
    return adaptive_weights(losses, told, min_losses=2)


def by_past(table: LossTable, weighting: str) -> np.ndarray:
    """Weigh each fold by what is out at its cutoff, as a fit does."""
    rows = []
    for fold, cutoff in enumerate(table.cutoff):
        past = table.before(fold)
        rows.append(weighed(past.losses, past.known_at, cutoff, weighting))
    return np.stack(rows)


def by_folds_begun(table: LossTable, weighting: str) -> np.ndarray:
    """Take a fold for past once its forecast is made: the planted leak."""
    rows = []
    for fold, cutoff in enumerate(table.cutoff):
        begun = table.upto(fold)
        rows.append(weighed(begun.losses, begun.known_at, cutoff, weighting))
    return np.stack(rows)


@pytest.mark.parametrize("weighting", ["inverse_loss", "adaptive"])
def test_audit_when_weights_are_of_the_past_then_not_accused(weighting: str) -> None:
    """proves C4"""  # proves C4
    stage = EnsembleStage(weighting, lambda table: by_past(table, weighting))
    audited = audit([stage], PANEL, PLAN, rng=np.random.default_rng(0))
    assert audited.findings == ()
    assert audited.n_probes > 0
    assert len(np.unique(stage.outputs(PANEL, PLAN).values)) > 8  # and they do move


@pytest.mark.parametrize("weighting", ["inverse_loss", "adaptive"])
def test_audit_when_weights_use_losses_not_out_then_accused(weighting: str) -> None:
    stage = EnsembleStage(weighting, lambda table: by_folds_begun(table, weighting))
    assert audit([stage], PANEL, PLAN, rng=np.random.default_rng(0)).findings


@pytest.mark.parametrize("weighting", ["equal", "inverse_loss", "adaptive"])
@pytest.mark.parametrize("loss", ["squared_error", "qlike"])
def test_audit_when_a_whole_ensemble_is_run_then_not_accused(weighting: str, loss: str) -> None:
    members = [{"name": "random_walk"}, {"name": "ewma_variance"}, {"name": "samossa"}]
    written = {"name": "ensemble", "members": members, "weighting": weighting, "loss": loss}
    bench = Bench(ForecasterSpec.parse(written), input_size=260)
    audited = audit(
        [ForecasterStage(bench.spec)], bench.panel, bench.plan, rng=np.random.default_rng(0)
    )
    assert audited.findings == ()
    assert all(probed.n > 0 for probed in audited.probed)
