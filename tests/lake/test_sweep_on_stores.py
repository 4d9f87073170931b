"""A whole sweep over each store: the same forecasts, resumed from whatever is there."""

from datetime import UTC, datetime
from pathlib import Path

from pmx_ray.backtest import sweep as folder_of
from pmx_ray.backtest.executor import Settled, run_in_process
from pmx_ray.backtest.outcome import evaluate_sweep
from pmx_ray.backtest.settings import SweepSettings
from pmx_ray.backtest.sweep import Sweep
from pmx_ray.lake import BlockStore, open_store

SETTINGS = SweepSettings.model_validate(
    {
        "name": "stored",
        "panel": {
            "source": "simulated", "kind": "garch", "n_tickers": 3, "n_sessions": 200, "seed": 4,
        },
        "folds": {"input_size": 90, "step_size": 10, "steps": [1, 5], "refit_every": 2},
        "forecasters": [{"name": "drift"}, {"name": "samossa"}],
        "evaluation": {"n_resamples": 100},
        "execution": {"folds_per_block": 2, "tickers_per_block": 2},
    }
)  # fmt: skip


def run(sweep: Sweep, store: BlockStore, *, blocks: int | None = None) -> int:
    """Compute up to ``blocks`` of the missing blocks; return how many were missing."""
    plan, receipts = folder_of.outline(sweep, store)
    settled = [Settled(block, receipts[block.id]) for block in plan.done]
    settled += run_in_process(sweep.panel, sweep.plan, plan.todo[:blocks], store=store)
    folder_of.save(sweep)
    folder_of.save_receipts(sweep, settled)
    return len(plan.todo)


def test_sweep_when_its_lake_is_any_store_then_resumed_to_the_same_bytes(
    store: BlockStore, tmp_path: Path
) -> None:
    sweep = folder_of.prepare(
        SETTINGS, root=tmp_path / "runs", clock=lambda: datetime(2026, 1, 2, tzinfo=UTC)
    )
    plain = open_store(str(tmp_path / "plain"))
    missing = run(sweep, plain)
    expected = evaluate_sweep(sweep, plain).provenance["forecast_sha256"]
    assert run(sweep, store, blocks=3) == missing
    assert run(sweep, store) == missing - 3
    (sweep.folder / "provenance.json").unlink()  # else nothing would be read anew
    assert evaluate_sweep(sweep, store).provenance["forecast_sha256"] == expected
    assert run(sweep, store) == 0
