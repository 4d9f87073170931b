"""A small search on simulated prices with a structure, for several tests."""

from pathlib import Path
from typing import Any

from pmx_ray.clock import utc_now
from pmx_ray.config import parse
from pmx_ray.ledger import Ledger, open_ledger
from pmx_ray.ledger.trials import Trials, TrialSource
from tune_jobs.contest import Contest, open_contest
from tune_jobs.history import Past
from tune_jobs.job import Search, open_loop, prepare, run_in_process
from tune_jobs.loop import Ended
from tune_jobs.records import Records
from tune_jobs.settings import TuneSettings
from tune_jobs.study import TuningStudy

WRITTEN: dict[str, Any] = {
    "name": "small",
    "panel": {
        "source": "simulated", "kind": "seasonal", "n_tickers": 3, "n_sessions": 420, "seed": 3,
    },
    "folds": {
        "input_size": 100, "step_size": 5, "steps": [1, 5], "refit_every": 2,
        "tuning_end": "2001-05-31",
    },
    "forecaster": {"name": "samossa", "calibrate": False},
    "search": {  # every one of them can be fitted on a hundred sessions
        "rank": {"choices": [1, 2, 3, 5, "donoho"]},
        "shape_ratio": {"choices": [1, 3]},
        "ar_order": {"low": 0, "high": 3},
        "difference": {"choices": [True, False]},
    },
    "n_trials": 12,
    "n_startup": 4,
    "n_chunks": 9,
    "lag": 4,
    "compared": 2,
    "evaluation": {"n_resamples": 100},
    "seed": 5,
}  # fmt: skip


def tune_settings(**changes: Any) -> TuneSettings:
    """Return the small search's settings with some of them changed."""
    return parse(TuneSettings, {**WRITTEN, **changes}, where="tests")


def prepared(root: Path, **changes: Any) -> Search:
    """Return the small search, ready to run under ``root``."""
    return prepare(tune_settings(**changes), root=root, clock=utc_now)


def contest_of(search: Search) -> Contest:
    """Return what the search is scored on."""
    return open_contest(search.panel, search.plan, search.settings)


def searched(search: Search, ledger: Ledger, contest: Contest | None = None) -> tuple[Past, ...]:
    """Carry a search out in this process; return its trials."""
    contest = contest or contest_of(search)
    study = search.open_study(ledger)
    try:
        run_in_process(open_loop(search, contest, book_of(search, study, ledger)), contest,
                       search.space)  # fmt: skip
        return study.past()
    finally:
        study.close()


def book_of(search: Search, study: TuningStudy, ledger: Ledger) -> Records:
    """Return what writes the search's trials down."""
    return Records(search, study, Trials(ledger), TrialSource.TUNE, _silent)


def _silent(ended: Ended) -> None:
    """Say nothing."""


def ledger_in(folder: Path) -> Ledger:
    """Return a ledger of its own."""
    return open_ledger(f"sqlite:///{folder}/ledger.db")
