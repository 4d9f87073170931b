"""Ray Tune carries the search out: one Tune trial a configuration, its folds batched inside."""

import logging
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from pmx_ray.errors import EngineError, PmxError
from pmx_ray.forecasters.registry import load_families
from pmx_ray.forecasters.search_space import SearchSpace
from tune_jobs.contest import Contest, Score
from tune_jobs.loop import SearchLoop

SCORE, NUMBER, PARAMS = "score", "number", "params"
"""Keys of a Tune result, and of a Tune configuration."""


def _hush() -> None:
    """Keep Tune from writing and telling what the study and its trace already do."""
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # it would offer what is never kept
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the new output prints a banner at any verbosity
    # It looks for the files that were not written.
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)


class TrialRunner(tune.Trainable):
    """Scores one configuration, a rung an iteration; a worker is kept for the next trial."""

    def setup(  # type: ignore[override]  # Tune adds what with_parameters names
        self,
        config: dict[str, Any],
        contest: Contest,
        space: SearchSpace,
        plugins: tuple[str, ...],
        plugin_folders: tuple[str, ...],
    ) -> None:
        """Take what every trial shares, and the first trial's configuration."""
        sys.path.extend(folder for folder in plugin_folders if folder not in sys.path)
        load_families(plugins)
        self._contest, self._space = contest, space
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial's configuration."""
        self._spec = self._space.spec(new_config[PARAMS])
        self._rung = 0
        return True

    def step(self) -> dict[str, Any]:
        """Score the folds that the next rung adds."""
        score = self._contest.score(self._spec, self._rung)
        self._rung += 1
        return {SCORE: score}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Keep nothing: a trial that lost its worker begins again."""

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Keep nothing."""


class _NotKept:
    """Leaves the loop out of what Tune writes of itself: the study is the record."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


@dataclass(slots=True)
class Accident:
    """The first error that the loop raised; Tune itself would retry, and lose what it was."""

    error: PmxError | None = None


class StudySearch(_NotKept, Searcher):
    """Asks the loop which configuration is next; after an accident, none is."""

    def __init__(self, loop: SearchLoop, accident: Accident) -> None:
        super().__init__()
        self._loop, self._accident = loop, accident
        self._numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """Return the next configuration, None to be asked again, or ``FINISHED``."""
        try:
            trial = None if self._accident.error else self._loop.start()
        except PmxError as error:
            trial, self._accident.error = None, error
        if self._accident.error:
            return Searcher.FINISHED
        if trial is None:
            waiting = not self._loop.finished
            return None if waiting else Searcher.FINISHED
        self._numbers[trial_id] = trial.number
        return {NUMBER: trial.number, PARAMS: trial.params}

    def on_trial_complete(
        self,
        trial_id: str,
        result: dict[str, Any] | None = None,  # noqa: ARG002 - as Tune calls it
        error: bool = False,
    ) -> None:
        """Take it that a trial is over."""
        why = "its worker raised or died; see the job's log" if error else ""
        if self._accident.error:
            return  # it stays under way in the study, for whoever starts it again
        try:
            self._loop.end(self._numbers[trial_id], why)
        except PmxError as failure:
            self._accident.error = failure

    def save(self, checkpoint_path: str) -> None:
        """Keep nothing: the study is the record."""

    def restore(self, checkpoint_path: str) -> None:
        """Keep nothing."""


class Halving(_NotKept, FIFOScheduler):
    """Stops a trial where the loop says so, and after the last rung."""

    def __init__(self, loop: SearchLoop, accident: Accident) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._loop, self._accident = loop, accident

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:  # noqa: ARG002
        """Hand a rung's score to the loop, and its verdict to Tune."""
        score: Score = result.pop(SCORE)
        rung = int(result["training_iteration"]) - 1
        if self._accident.error:
            return str(TrialScheduler.STOP)
        goes_on = self._loop.report(trial.config[NUMBER], rung, score)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)


def run_search(
    loop: SearchLoop,
    contest: Contest,
    space: SearchSpace,
    *,
    gpus: float,
    labels: Mapping[str, str],
    plugins: tuple[str, ...],
    max_attempts: int,
    scratch: Path,
) -> None:
    """Carry the search out on the connected cluster.

    Parameters
    ----------
    loop : SearchLoop
        Decides; returns with every trial over.
    contest : Contest
        Put once into the object store.
    space : SearchSpace
        Turns a study's parameters into specs.
    gpus : float
        Of each trial; 0 for the families that use none.
    labels : mapping of str to str
        Ray node labels that a trial's node must carry.
    plugins : tuple of str
        Modules that register forecasters.
    max_attempts : int
        Times that a trial may lose its worker before it is told as failed.
    scratch : Path
        Folder for what Tune writes of itself; removed before and after, and never read.

    Raises
    ------
    EngineError
        If Tune ended before the search.
    LedgerError
        If the study could not be written; no further trial is started.
    """
    if loop.finished:
        return
    _hush()
    bundle = {"CPU": 1.0, **({"GPU": gpus} if gpus else {})}
    resources = tune.PlacementGroupFactory([bundle], bundle_label_selector=[dict(labels)])
    trainable = tune.with_parameters(
        TrialRunner, contest=contest, space=space, plugins=plugins, plugin_folders=tuple(sys.path)
    )
    accident = Accident()
    shutil.rmtree(scratch, ignore_errors=True)  # of a search that was killed
    try:
        tune.Tuner(
            tune.with_resources(trainable, resources),
            tune_config=tune.TuneConfig(
                search_alg=StudySearch(loop, accident),
                scheduler=Halving(loop, accident),
                num_samples=loop.n_left,
                max_concurrent_trials=loop.lag,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=str(scratch),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=max_attempts - 1),
            ),
        ).fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if accident.error:
        raise accident.error
    if not loop.finished:
        raise EngineError(
            f"Tune ended with {loop.n_left} of {loop.n_trials} trials to go; start the same "
            "command again, it goes on"
        )
