"""What a search costs beside its fits: trials a second, and the share of worker time in fits.

    python -m benchmarks.tuning [--quick] [--json PATH] [--check]

Runs ``configs/tune/samossa.yaml`` (``--quick``: a part of its trials) on a local Ray cluster of two
workers. Worker time is two workers from the start of the first trial to the end of the last;
starting Ray and its processes is stated apart. Promise, in the full mode: at least ``SHARE`` of it
is in fits.
"""

import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

import structlog

from benchmarks.measuring import Promise, conclude, options, print_table
from pmx_ray.ledger import open_ledger
from pmx_ray.ledger.trials import Trials, TrialSource
from pmx_ray.remote.token import use_token
from tune_jobs.contest import Score, open_contest
from tune_jobs.history import State
from tune_jobs.job import open_loop, prepare
from tune_jobs.loop import SearchLoop
from tune_jobs.records import Records
from tune_jobs.settings import load_settings

SHARE = 0.90
"""Least share of worker time in fits."""

WORKERS = 2

SETTINGS = Path(__file__).parents[1] / "configs" / "tune" / "samossa.yaml"


@dataclass(slots=True)
class WatchedLoop(SearchLoop):
    """A search that notes when scores arrive and what they took."""

    first_start: float = float("inf")
    last_end: float = 0.0
    fit_s: float = 0.0
    n_scores: int = 0

    def report(self, number: int, rung: int, score: Score) -> bool:
        """Note the score, then go on as ever."""
        now = time.perf_counter()
        self.first_start = min(self.first_start, now - score.fit_s)
        self.last_end = now
        self.fit_s += score.fit_s
        self.n_scores += 1
        return SearchLoop.report(self, number, rung, score)


def measure(n_trials: int | None) -> dict[str, float]:
    """Return what the search took, in seconds, trials and shares."""
    use_token("local")
    from pmx_ray.remote.cluster import connected  # noqa: PLC0415
    from tune_jobs.tuner import run_search  # noqa: PLC0415

    changes = [] if n_trials is None else [f"n_trials={n_trials}"]
    settings = load_settings(SETTINGS, changes)
    with tempfile.TemporaryDirectory() as folder:
        search = prepare(settings, root=Path(folder), clock=lambda: NOW)
        contest = open_contest(search.panel, search.plan, settings)
        with (
            open_ledger(f"sqlite:///{folder}/ledger.db") as ledger,
            closing(search.open_study(ledger)) as study,
            connected("local", n_workers=WORKERS),
        ):
            records = Records(search, study, Trials(ledger), TrialSource.TUNE, lambda _: None)
            plain = open_loop(search, contest, records)
            loop = WatchedLoop(**{f.name: getattr(plain, f.name) for f in fields(SearchLoop)
                                  if f.init})  # fmt: skip
            started = time.perf_counter()
            run_search(
                loop,
                contest,
                search.space,
                gpus=0.0,
                labels={},
                plugins=(),
                max_attempts=3,
                scratch=Path(folder) / "tune",
            )
            whole_s = time.perf_counter() - started
    window_s = loop.last_end - loop.first_start
    states = [past.state for past in loop.trials.values()]
    return {
        "trials": len(states),
        "stopped": states.count(State.PRUNED),
        "scores": loop.n_scores,
        "fit_s": loop.fit_s,
        "window_s": window_s,
        "whole_s": whole_s,
        "start_s": loop.first_start - started,
        "trials_per_s": len(states) / window_s,
        "share": loop.fit_s / (WORKERS * window_s),
    }


NOW = datetime(2100, 1, 1, tzinfo=UTC)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and judge where asked to."""
    asked = options(__doc__, arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    found = measure(12 if asked.quick else None)
    row = {
        "trials": f"{found['trials']:.0f}, {found['stopped']:.0f} stopped early",
        "trials/s": round(found["trials_per_s"], 3),
        "s in fits": round(found["fit_s"], 1),
        "s of two workers": round(WORKERS * found["window_s"], 1),
        "share in fits": round(found["share"], 4),
        "s to start workers": round(found["start_s"], 1),
    }
    print_table("configs/tune/samossa.yaml on two workers", [row])
    promises = []
    if not asked.quick:  # of a dozen trials the last leaves a worker idle for too long
        promises.append(Promise("share of worker time in fits", found["share"], SHARE, ">="))
    return conclude(asked, found, promises)


if __name__ == "__main__":
    sys.exit(main())
