"""A small sweep, run and evaluated in this process, and models registered from it."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pmx_ray.backtest.executor import run_in_process
from pmx_ray.backtest.outcome import evaluate_sweep, evaluated
from pmx_ray.backtest.settings import SweepSettings
from pmx_ray.backtest.sweep import Sweep, outline, save, save_receipts
from pmx_ray.data.bundled import BundledSettings
from pmx_ray.data.panel import Panel
from pmx_ray.data.sources import load_panel
from pmx_ray.folds import FoldSettings, build_folds
from pmx_ray.governance.decision import Check, GovernanceDecision, Outcome
from pmx_ray.governance.policy import GovernancePolicy
from pmx_ray.governance.registration import Registered, register
from pmx_ray.governance.registry import Registry
from pmx_ray.governance.signing import SigningKey
from pmx_ray.lake import FolderStore, open_store

FORECASTERS = (
    {"name": "random_walk"},
    {"name": "drift"},
    {"name": "ewma_variance"},
    {"name": "garch", "dist": "t"},
    {"name": "sarimax", "order": (1, 0, 0)},
    {"name": "samossa"},
    {"name": "boosting", "scope": "panel", "n_trees": 3},
    {"name": "nested", "n_trials": 2},
)
"""Of every scope but group, batched and not, and one that draws random numbers."""


def three_shares() -> Panel:
    """Return real prices from a stretch on which GARCH fits converge: noise has no such fit."""
    settings = BundledSettings(name="us_equities")
    whole, _ = load_panel(settings, clock=lambda: datetime(2026, 1, 1, tzinfo=UTC), threshold=0.9)
    part = whole.select(whole.tickers[:3]).window(2000, 2300)
    return replace(part, tickers=("A", "B", "C"), groups=None)


def evaluated_sweep(
    root: Path, *, forecasters: tuple[dict[str, object], ...] = FORECASTERS, **folds: object
) -> Sweep:
    """Return a sweep over 300 sessions of three shares called A, B and C, under ``root``."""
    panel = three_shares()
    settings = SweepSettings(
        name="served",
        panel=BundledSettings(name="us_equities"),
        folds=FoldSettings(
            **{"input_size": 210, "step_size": 12, "steps": (1, 5), "refit_every": 3, **folds}
        ),
        forecasters=forecasters,
        evaluation={"n_resamples": 100, "min_edge_bps": 1.0},
        seed=11,
    )
    specs = settings.specs()
    folder = root / f"served-{settings.sweep_id(panel.sha256)[:12]}"
    plan = build_folds(panel.sessions, settings.folds)
    sweep = Sweep(folder, settings, panel, {}, plan, specs)
    save(sweep)
    store = open_store(sweep.lake_url)
    blocks = outline(sweep, store)[0]
    settled = tuple(run_in_process(panel, sweep.plan, blocks.todo, store=store))
    save_receipts(sweep, settled)
    evaluate_sweep(sweep, store)
    return sweep


def decided(
    sweep: Sweep,
    label: str,
    *,
    step: int = 5,
    outcome: Outcome = Outcome.PROMOTE,
    fallback: str = "",
) -> GovernanceDecision:
    """Return a decision about a forecaster of the sweep; one check of it is as the outcome.

    The random walk takes over from it, or another one from the random walk, unless named.
    """
    ids = {spec.label: spec.id for spec in sweep.specs}
    fallback = fallback or next(other for other in ("random_walk", *ids) if other != label)
    passed = outcome is Outcome.PROMOTE
    check = Check("sharpe", 1.5, ">=", 1.0 if passed else 2.0, "ratio", passed, "It was found.")
    key, policy = str(evaluated(sweep)[1]["key"]), GovernancePolicy().sha256
    walk_id = ids["random_walk"]
    return GovernanceDecision(
        outcome, ids[label], label, walk_id, "random_walk", ids.get(fallback, ""), fallback,
        step, (check,), key, policy,
    )  # fmt: skip


def registry_of(root: Path) -> Registry:
    return Registry(FolderStore(root), key=SigningKey(b"k" * 32))


_REGISTERED: dict[tuple[Path, str], Registered] = {}


def registered(sweep: Sweep, label: str, **changes: object) -> Registered:
    """Return a forecaster of the sweep as a decision about it registers it; made once."""
    decision = decided(sweep, label, **changes)
    key = sweep.folder, decision.id
    if key not in _REGISTERED:
        _REGISTERED[key] = register(registry_of(sweep.folder.parent), sweep, decision)
    return _REGISTERED[key]
