"""A search and its folder: every step reads what is there, and goes on where it was stopped.

``settings.yaml folds.json quality.json`` say what is to be done; ``trials.parquet`` every trial,
``specs.yaml`` the choice, which a sweep takes, ``gain.json`` what it is worth on later folds. The
study itself lies in the ledger's database, and is all that a search needs to go on.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from pmx_ray.backtest.report_types import json_bytes
from pmx_ray.clock import Clock
from pmx_ray.data.panel import Panel
from pmx_ray.data.sources import read_prices
from pmx_ray.folds import FoldPlan, as_json, folds_of, partition
from pmx_ray.forecasters.search_space import SearchSpace
from pmx_ray.lake import FolderStore
from pmx_ray.ledger import Ledger
from pmx_ray.provenance import ENGINE_VERSION
from tune_jobs.contest import Contest, tuning_partition
from tune_jobs.history import Past, propose
from tune_jobs.loop import Book, SearchLoop
from tune_jobs.settings import TuneSettings
from tune_jobs.study import TuningStudy


class StudyBook(Book, Protocol):
    """Where trials are written, and read again."""

    def past(self) -> tuple[Past, ...]:
        """Return every trial, by number."""
        ...


@dataclass(frozen=True, slots=True)
class Search:
    """A search ready to run.

    Attributes
    ----------
    folder : Path
        ``<root>/<name>-tune-<first 12 digits of tune_id>``.
    settings : TuneSettings
        What the user asked for.
    space : SearchSpace
        What is searched.
    panel : Panel
        Sessions up to the last that a tuning fold scores.
    plan : FoldPlan
        The tuning partition.
    quality : mapping
        The gate's report as JSON.
    base_dir : Path, optional
        What a relative path of the settings is relative to.
    """

    folder: Path
    settings: TuneSettings
    space: SearchSpace
    panel: Panel
    plan: FoldPlan
    quality: dict[str, Any]
    base_dir: Path | None = None

    @property
    def tune_id(self) -> str:
        """Hash of everything that can change the study."""
        return self.settings.tune_id(self.panel.sha256)

    @property
    def study_name(self) -> str:
        """Name of the study in the ledger's database."""
        return f"{self.settings.name}-{self.tune_id[:12]}"

    def open_study(self, ledger: Ledger) -> TuningStudy:
        """Return the study, made if it is not there."""
        facts = {
            "tune_id": self.tune_id,
            "panel_sha256": self.panel.sha256,
            "sessions": f"{self.panel.sessions[0]} to {self.panel.sessions[-1]}",
            "loss": f"{self.settings.loss} over the random walk's, averaged over the steps",
            "engine": ENGINE_VERSION,
        }
        return TuningStudy(
            ledger,
            self.study_name,
            space=self.space,
            objectives=self.settings.objectives,
            facts=facts,
        )


def prepare(
    settings: TuneSettings, *, root: Path, clock: Clock, base_dir: Path | None = None
) -> Search:
    """Load the panel through the quality gate and cut off what a search must not see.

    Nothing is written.

    Raises
    ------
    SettingsError, DataError
        If the settings, the data or the folds cannot be used.
    """
    assert settings.folds.tuning_end is not None  # noqa: S101 - the settings demand it
    prices = read_prices(settings.panel, clock=clock, base_dir=base_dir)
    threshold = settings.data_quality_threshold
    whole, _ = prices.admitted(clock=clock, threshold=threshold)
    partition(folds_of(whole, settings.folds), whole.sessions, settings.folds.tuning_end)
    # The gate itself must not see later: a ticker may be left out for what it does there.
    seen = prices.until(settings.folds.tuning_end)
    panel, quality = seen.admitted(clock=clock, threshold=threshold)
    panel, plan = tuning_partition(panel, settings)
    folder = root.resolve() / f"{settings.name}-tune-{settings.tune_id(panel.sha256)[:12]}"
    return Search(folder, settings, settings.space(), panel, plan, quality.as_json(), base_dir)


def save(search: Search) -> None:
    """Write what is to be done into the search's folder; saving again changes nothing."""
    store = FolderStore(search.folder)
    store.replace("quality.json", json_bytes(search.quality))
    store.replace("folds.json", json_bytes(as_json(search.plan, search.panel.sessions)))
    store.replace("settings.yaml", search.settings.as_yaml().encode())


def open_loop(search: Search, contest: Contest, book: StudyBook) -> SearchLoop:
    """Return the search where its study stands."""
    settings, trials = search.settings, book.past()
    return SearchLoop(
        trials={past.number: past for past in trials},
        # A study that has more, some of them perhaps under way, is carried out to its end.
        n_trials=max(settings.n_trials, len(trials)),
        n_rungs=len(contest.rungs),
        lag=settings.lag,
        reduction=settings.reduction,
        max_failed_frac=settings.max_failed_frac,
        objectives=settings.objectives,
        propose=partial(_propose, search),
        book=book,
    )


def _propose(search: Search, past: tuple[Past, ...], number: int) -> dict[str, Any] | None:
    settings = search.settings
    return propose(
        search.space,
        past,
        number=number,
        lag=settings.lag,
        seed=settings.seed,
        sampler=settings.sampler,
        n_startup=settings.n_startup,
        n_objectives=len(settings.objectives),
    )


def run_in_process(loop: SearchLoop, contest: Contest, space: SearchSpace) -> None:
    """Carry the search out in this process, one trial after the other; the same study."""
    while not loop.finished:
        trial = loop.start()
        if trial is None:  # every configuration was tried
            return
        spec = space.spec(trial.params)
        for rung in range(len(contest.rungs)):
            if not loop.report(trial.number, rung, contest.score(spec, rung)):
                break
        loop.end(trial.number)
