"""Planted leaks are caught and their honest twins are not accused."""

import numpy as np
import pytest
from conftest import walk
from leaks.planted import PLANTED, stage_of

from pmx_ray.data.panel import Panel
from pmx_ray.folds import FoldSettings, build_folds
from pmx_ray.leaks.audit import audit
from pmx_ray.leaks.probes import Finding


def with_history(panel: Panel) -> Panel:
    """Return the panel with volumes, gaps on every tenth session or so, and a delisting."""
    rng = np.random.default_rng(3)
    missing = rng.random(panel.close.shape) < 0.1
    missing[:, 0] = False
    missing[2, 200:] = True
    close = np.where(missing, np.nan, panel.close)
    gap = missing.copy()
    volume = np.where(missing, np.nan, rng.lognormal(13.0, 1.0, close.shape))
    return Panel(panel.calendar, panel.tickers, panel.sessions, close, volume=volume, gap=gap)


WHOLE = walk("ABC", 240)
TORN = with_history(WHOLE)
PLAN = build_folds(
    WHOLE.sessions, FoldSettings(input_size=100, step_size=6, steps=(7, 10), refit_every=4)
)
TEARS = ("two-sided imputation", "later-than-cutoff exogenous data", "survivorship")


def findings(kind: str, place: int) -> tuple[Finding, ...]:
    stage, panel = PLANTED[kind][place], TORN if kind in TEARS else WHOLE
    return audit([stage], panel, PLAN, rng=np.random.default_rng(0)).findings


def probes_of(found: tuple[Finding, ...]) -> set[str]:
    return {finding.probe for finding in found}


@pytest.mark.parametrize("kind", PLANTED)
def test_audit_when_a_leak_is_planted_then_caught(kind: str) -> None:  # proves X1
    assert findings(kind, 0)


@pytest.mark.parametrize("kind", PLANTED)
def test_audit_when_the_stage_is_the_honest_twin_then_not_accused(kind: str) -> None:
    assert findings(kind, 1) == ()


@pytest.mark.parametrize(
    ("kind", "only"),
    [("survivorship", "truncate"), ("fit of a later fold", "overwrite")],
)
def test_audit_when_a_leak_is_of_that_kind_then_one_probe_alone_sees_it(
    kind: str, only: str
) -> None:
    assert probes_of(findings(kind, 0)) == {only}


def test_audit_when_volume_leaks_then_the_canary_turns_it_into_an_oracle() -> None:
    found = probes_of(findings("later-than-cutoff exogenous data", 0))
    assert "canary" in found
    assert "shuffle" not in found  # real volumes do not tell the return


def test_audit_when_bits_do_not_repeat_then_the_coins_still_tell() -> None:
    plan = build_folds(WHOLE.sessions, FoldSettings(input_size=100, step_size=6, steps=(1, 5)))
    stage = stage_of("noisy_peek")
    found = audit([stage], WHOLE, plan, rng=np.random.default_rng(0)).findings
    assert probes_of(found) == {"repeat", "shuffle", "canary"}


def test_audit_when_a_tuner_leaks_then_caught_whatever_noise_is_drawn() -> None:
    # One noise alone leaves the choice among eight candidates where it was now and then.
    leaky, _ = PLANTED["tuning on evaluation folds"]
    for seed in range(20):
        assert audit([leaky], WHOLE, PLAN, rng=np.random.default_rng(seed)).findings
