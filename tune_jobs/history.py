"""What is known of a study's trials, and the two decisions taken from it: stop, or what is next.

Both are functions of the seed and of the trials up to ``number - lag`` alone, and of the parameters
of those in between; never of which of the running trials happened to end first.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from pmx_ray.errors import SettingsError
from pmx_ray.forecasters.search_space import SearchSpace

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

MOST_DRAWS = 100
"""Draws of a sampler before an untried configuration is taken from the list of all."""

N_CANDIDATES = 24
"""Candidates that TPE chooses among at first; Optuna's own number."""

MOST_LISTED = 100_000
"""Configurations of a space that are listed at most."""


class State(StrEnum):
    """How a trial stands: the names are Optuna's."""

    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Past:
    """One trial of a study.

    Attributes
    ----------
    number : int
        0, 1, 2, ... in the order they were proposed.
    params : mapping of str to value
        As the study stores them.
    state : State
        Where it stands.
    rungs : tuple of float
        Relative loss over all folds up to each rung; lower is better.
    values : tuple of float
        One an objective, of a complete trial.
    """

    number: int
    params: Mapping[str, Any]
    state: State
    rungs: tuple[float, ...] = ()
    values: tuple[float, ...] = ()

    @property
    def over(self) -> bool:
        """Whether it will not change any more."""
        return self.state is not State.RUNNING

    @property
    def key(self) -> str:
        """The configuration as one string."""
        return configuration(self.params)


def configuration(params: Mapping[str, Any]) -> str:
    """Return parameters as one string, equal for equal ones."""
    return json.dumps(dict(params), sort_keys=True)


def keeps(loss: float, rung: int, *, number: int, past: Sequence[Past], lag: int, reduction: int
) -> bool:  # fmt: skip
    """Return whether a trial goes on after a rung: asynchronous successive halving.

    It goes on if its loss is among the best ``1 / reduction`` of what is known at the rung, its
    own among them, or as good as the last of these.

    Parameters
    ----------
    loss : float
        Relative loss up to this rung; a NaN never goes on.
    rung : int
        Position of the rung.
    number : int
        The trial's own.
    past : sequence of Past
        Every trial of the study; only those up to ``number - lag`` are looked at.
    lag, reduction : int
        See ``TuneSettings``.

    References
    ----------
    Li, Jamieson, Rostamizadeh, Gonina, Ben-tzur, Hardt, Recht, Talwalkar (2020), A System for
    Massively Parallel Hyperparameter Tuning, MLSys 2.
    """
    if np.isnan(loss):
        return False
    seen = [
        p.rungs[rung]
        for p in past
        # A configuration that fails on many cells may look good on the others.
        if p.number <= number - lag and len(p.rungs) > rung and p.state is not State.FAIL
    ]
    ordered = sorted([*seen, loss])
    return loss <= ordered[max(len(ordered) // reduction, 1) - 1] or len(ordered) < reduction


def propose(
    space: SearchSpace,
    past: Sequence[Past],
    *,
    number: int,
    lag: int,
    seed: int,
    sampler: str,
    n_startup: int,
    n_objectives: int = 1,
) -> dict[str, Any] | None:
    """Return the parameters of trial ``number``, as a study stores them; None if all were tried.

    The first is the default where the space holds it, so that no search ends with less than it
    began with. Each configuration is tried once: where the sampler asks for one that is there, or
    for one that the family's settings do not accept, it is asked again, and at last an untried one
    is drawn.

    Parameters
    ----------
    space : SearchSpace
        What is searched.
    past : sequence of Past
        The trials before ``number``, each once.
    number, lag, seed : int
        See ``TuneSettings``.
    sampler : str
        ``tpe`` or ``random``.
    n_startup : int
        Trials drawn at random before ``tpe`` learns.
    n_objectives : int
        Values of a complete trial.
    """
    default = space.stored(space.default)
    if number == 0 and default is not None:
        return default
    tried = {p.key for p in past}
    study_of = _Sampling(space, past, number - lag, n_objectives)
    for draw in range(MOST_DRAWS):
        entropy = np.random.SeedSequence([seed, number, draw]).generate_state(1)
        params = study_of.ask(_sampler(sampler, int(entropy[0]), n_startup, draw))
        if configuration(params) not in tried and _is_accepted(space, params):
            return params
    return _untried(space, tried, np.random.default_rng([seed, number]))


class _Sampling:
    """Asks a sampler for one more trial, given what it may know of the others."""

    def __init__(
        self, space: SearchSpace, past: Sequence[Past], last_known: int, n_objectives: int
    ) -> None:
        from optuna.study import StudyDirection  # noqa: PLC0415

        self._distributions = space.distributions()
        self._directions = [StudyDirection.MINIMIZE] * n_objectives
        self._trials = [self._frozen(p, p.number <= last_known) for p in past]

    def ask(self, sampler: "BaseSampler") -> dict[str, Any]:
        """Return the parameters that ``sampler`` asks for."""
        import optuna  # noqa: PLC0415

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(sampler=sampler, directions=self._directions)
        study.add_trials(self._trials)
        return dict(study.ask(self._distributions).params)

    def _frozen(self, past: Past, known: bool) -> "FrozenTrial":
        from optuna.trial import TrialState, create_trial  # noqa: PLC0415

        state = TrialState[past.state.name] if known else TrialState.RUNNING
        one = len(self._directions) == 1
        return create_trial(
            state=state,
            params=dict(past.params),
            distributions=self._distributions,
            values=list(past.values) if state is TrialState.COMPLETE else None,
            # What a pruned trial got so far; a sampler of several objectives does not read it.
            intermediate_values=dict(enumerate(past.rungs)) if known and one else None,
        )


def _sampler(name: str, seed: int, n_startup: int, draw: int) -> "BaseSampler":
    from optuna.samplers import RandomSampler, TPESampler  # noqa: PLC0415

    if name == "random":
        return RandomSampler(seed=seed)
    # The best of many candidates is the same one again and again: where it was tried already,
    # fewer candidates leave more to chance, and one is a draw from where good ones lie.
    candidates = max(N_CANDIDATES >> draw, 1)
    return TPESampler(
        seed=seed, n_startup_trials=n_startup, n_ei_candidates=candidates, constant_liar=True
    )


def _is_accepted(space: SearchSpace, params: Mapping[str, Any]) -> bool:
    try:
        space.spec(params)
    except SettingsError:
        return False
    return True


def _untried(
    space: SearchSpace, tried: set[str], rng: np.random.Generator
) -> dict[str, Any] | None:
    """Return one of the configurations that are left, each as likely; None if none is.

    A space too large to list is not exhausted by any study, so None then says that its settings
    accept too few configurations to go on.
    """
    if space.n_configurations > MOST_LISTED:
        return None
    left = [
        params
        for params in space.configurations()
        if configuration(params) not in tried and _is_accepted(space, params)
    ]
    return left[int(rng.integers(len(left)))] if left else None
