"""What is written down of every trial: the ledger's count, then the study, then the user's eyes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.governance.trials import configuration_id
from pmx_ray.ledger.trials import Trial, Trials, TrialSource
from tune_jobs.contest import Score
from tune_jobs.history import Past
from tune_jobs.job import Search
from tune_jobs.loop import Ended
from tune_jobs.study import TuningStudy


@dataclass(frozen=True, slots=True)
class Records:
    """Writes each trial to the ledger's trials first, then to the study, then tells the user.

    In that order, so that a trial that the study calls over has been counted.
    """

    search: Search
    study: TuningStudy
    trials: Trials
    source: TrialSource
    tell: Callable[[Ended], None]

    def past(self) -> tuple[Past, ...]:
        """Return every trial of the study, by number."""
        return self.study.past()

    def add(self, number: int, params: dict[str, Any]) -> None:
        """Write a trial that is about to run."""
        self.study.add(number, params)

    def finish(self, ended: Ended) -> None:
        """Write how a trial ended."""
        if ended.score is not None:
            spec = self.search.space.spec(ended.past.params)
            self.trials.record(trials_of(self.search, spec, ended.score, source=self.source))
        fit_s = 0.0 if ended.score is None else round(ended.score.fit_s, 4)
        self.study.finish(ended.past, fit_s=fit_s, why=ended.why)

    def told(self, ended: Ended) -> None:
        """Tell the user."""
        self.tell(ended)


def trials_of(
    search: Search, spec: ForecasterSpec, score: Score, *, source: TrialSource
) -> tuple[Trial, ...]:
    """Return what the ledger counts of one configuration: one trial a step."""
    settings, tickers = search.settings, tuple(sorted(search.panel.tickers))
    cutoffs = search.panel.sessions[search.plan.cutoff[score.fold]]
    return tuple(
        Trial(
            config_id=configuration_id(
                spec.id,
                step,
                rule=settings.evaluation.model_dump(mode="json"),
                folds=settings.folds,
                seed=settings.seed,
                tickers=tickers,
            ),
            spec_id=spec.id,
            label=spec.label,
            step=step,
            source=source,
            tickers=tickers,
            cutoffs=cutoffs,
            returns=score.net_return[:, h],
        )
        for h, step in enumerate(search.plan.steps)
    )
