"""What a finished search left in its folder, read again: every trial, the choice, its worth."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pyarrow.parquet as pq
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState, create_trial

from pmx_ray.backtest.report_types import read_document
from pmx_ray.backtest.tuned import TUNED, TunedSpecs, read_tuned
from pmx_ray.errors import DataError
from pmx_ray.forecasters.registry import ForecasterSpec
from tune_jobs.choice import TRIALS
from tune_jobs.history import State
from tune_jobs.worth import GAIN, Figure, Gain

MIN_COMPLETE = 10
"""Complete trials below which no importance is stated."""

MOST_COMPLETE = 200
"""Complete trials that importance is computed on, evenly over the search; its time grows fast."""


@dataclass(frozen=True, slots=True)
class Tried:
    """One trial as ``trials.parquet`` has it; ``loss`` is NaN where it has none."""

    number: int
    state: State
    label: str
    params: Mapping[str, Any]
    loss: float
    fit_s: float
    rungs: tuple[float, ...]
    why: str


@dataclass(frozen=True, slots=True)
class LossPair:
    """Relative loss of a configuration on the tuning folds and on the later ones."""

    label: str
    tuning: float
    evaluation: float

    @property
    def gap(self) -> float:
        """Evaluation less tuning loss."""
        return self.evaluation - self.tuning


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """A finished search.

    Attributes
    ----------
    tuned : TunedSpecs
        What was frozen.
    trials : tuple of Tried
        Every trial, by number.
    gain : Gain
        What the first choice is worth.
    level : float
        Coverage of its intervals.
    chosen : tuple of str
        Labels of what was frozen, the first one judged.
    default : str
        Label of the configuration that would have been used without a search.
    pairs : tuple of LossPair
        What was evaluated on the later folds.
    """

    tuned: TunedSpecs
    trials: tuple[Tried, ...]
    gain: Gain
    level: float
    chosen: tuple[str, ...]
    default: str
    pairs: tuple[LossPair, ...]

    @classmethod
    def load(cls, folder: Path) -> "Outcome":
        """Return what lies in a search's folder.

        Raises
        ------
        DataError, SettingsError
            If an artefact is missing or cannot be read, or two are not of one choice.
        """
        tuned = read_tuned(folder / TUNED)
        document: Mapping[str, Any] = read_document(folder / GAIN, verb="tune")
        chosen = tuple(ForecasterSpec.parse(one).label for one in tuned.forecasters)
        if (document["study"], document["chosen"]) != (tuned.study, chosen[0]):
            raise DataError(
                f"{folder / GAIN} judges {document['chosen']} of {document['study']}, and "
                f"{TUNED} holds {chosen[0]} of {tuned.study}; run `pmx tune` again"
            )
        return cls(
            tuned=tuned,
            trials=_trials(folder / TRIALS),
            gain=_gain(document["gain"]),
            level=float(document["level"]),
            chosen=chosen,
            default=str(document["default"]),
            pairs=tuple(
                LossPair(one["label"], one["tuning"], one["evaluation"])
                for one in document["compared"]
                if one["tuning"] is not None and one["evaluation"] is not None
            ),
        )

    def those(self, state: State) -> tuple[Tried, ...]:
        """Return the trials in a state, the lowest loss first; by number where there is none."""
        found = [one for one in self.trials if one.state is state]
        return tuple(sorted(found, key=lambda one: (_last(one.loss), one.number)))

    @property
    def ranked(self) -> tuple[Tried, ...]:
        """Every trial: complete ones best first, then stopped ones by rungs seen, then failed."""
        stopped = sorted(self.those(State.PRUNED), key=lambda one: -len(one.rungs))
        return (*self.those(State.COMPLETE), *stopped, *self.those(State.FAIL))

    def is_chosen(self, trial: Tried) -> bool:
        """Return whether a trial is (one of) the choice."""
        return trial.state is State.COMPLETE and trial.label in self.chosen


def importances(study: optuna.Study, *, seed: int) -> dict[str, float]:
    """Return each parameter's share of the variance of the loss, the largest first.

    Over complete trials alone, as the others were scored on fewer folds. Empty where there are
    fewer than ``MIN_COMPLETE`` of them, or where all have one loss.

    Parameters
    ----------
    study : optuna.Study
        The search's own; its first objective is the loss.
    seed : int
        Of the random forest that the shares are read from.

    References
    ----------
    Hutter, Hoos, Leyton-Brown (2014), An Efficient Approach for Assessing Hyperparameter
    Importance, ICML.
    """
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(trials) < MIN_COMPLETE or len({trial.values[0] for trial in trials}) == 1:
        return {}
    n = min(len(trials), MOST_COMPLETE)
    places = np.linspace(0, len(trials) - 1, n).round().astype(int)
    shown = optuna.create_study()
    shown.add_trials(
        [
            create_trial(
                params=trials[k].params,
                distributions=trials[k].distributions,
                value=trials[k].values[0],
            )
            for k in places
        ]
    )
    found = get_param_importances(shown, evaluator=FanovaImportanceEvaluator(seed=seed))
    return {name: float(share) for name, share in found.items()}


def _trials(path: Path) -> tuple[Tried, ...]:
    try:
        rows = pq.read_table(path).to_pylist()
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); run `pmx tune` again") from None
    return tuple(
        Tried(
            **{key: row[key] for key in ("number", "label", "fit_s", "why")},
            state=State(row["state"]),
            params=json.loads(row["params"]),
            loss=np.nan if row["loss"] is None else row["loss"],
            rungs=tuple(row["rung_losses"]),
        )
        for row in rows
    )


def _gain(document: Mapping[str, Any]) -> Gain:
    figures = {
        key: Figure(**{end: np.nan if value is None else value for end, value in one.items()})
        for key, one in document.items()
        if isinstance(one, Mapping)
    }
    return Gain(
        **figures,
        n_tuning=document["n_tuning"],
        n_evaluation=document["n_evaluation"],
        failed=str(document["failed"]),
    )


def _last(loss: float) -> float:
    return np.inf if np.isnan(loss) else loss


def finite(losses: Sequence[float]) -> list[float]:
    """Return the losses that are numbers."""
    return [loss for loss in losses if np.isfinite(loss)]
