"""A search's study: Optuna's tables in the ledger's database, the one record of its trials."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial

from pmx_ray.errors import LedgerError
from pmx_ray.forecasters.search_space import SearchSpace
from pmx_ray.ledger.engines import BUSY_S, explained
from pmx_ray.ledger.ledger import Ledger
from tune_jobs.history import Past, State

RUNGS, FIT_S, LABEL, WHY = "rung_losses", "fit_s", "label", "why"
"""Attributes of a trial beside Optuna's own."""


class TuningStudy:
    """The trials of one search, numbered 0, 1, 2, ... without a gap.

    A trial is written when it is proposed and when it is over. Where a process was killed in
    between it stays ``running``, and whoever opens the study next carries it out under its number.
    One process at a time may drive a study; a second one is told so when it adds a trial.

    Parameters
    ----------
    ledger : Ledger
        Its database keeps the study; it stays the caller's to close.
    name : str
        Of the study; made if it is not there.
    space : SearchSpace
        What is searched.
    objectives : sequence of str
        What is lowered.
    facts : mapping, optional
        Kept with a study that is made, for whoever opens it in ``optuna-dashboard``.

    Raises
    ------
    LedgerError
        If the database cannot be read or written.
    """

    def __init__(
        self,
        ledger: Ledger,
        name: str,
        *,
        space: SearchSpace,
        objectives: Sequence[str],
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self._ledger, self._space = ledger, space
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._distributions = space.distributions()
        with self._explained():
            self._storage = RDBStorage(_url(ledger), engine_kwargs=_engine_options(ledger))
            self._study = optuna.create_study(
                storage=self._storage,
                study_name=name,
                directions=["minimize"] * len(objectives),
                load_if_exists=True,
            )
            for key, value in (facts or {}).items():
                if key not in self._study.user_attrs:
                    self._study.set_user_attr(key, value)

    @property
    def name(self) -> str:
        """Name of the study."""
        return self._study.study_name

    def close(self) -> None:
        """Close the connections."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def past(self) -> tuple[Past, ...]:
        """Return every trial, by number."""
        with self._explained():
            trials = self._study.get_trials(deepcopy=False)
        return tuple(_past(trial) for trial in trials)

    def add(self, number: int, params: Mapping[str, Any]) -> None:
        """Write a trial that is about to run.

        Raises
        ------
        LedgerError
            If the study gave it another number: another process drives it. The trial is then told
            as failed.
        """
        label = self._space.spec(params).label
        trial = create_trial(
            state=TrialState.RUNNING,
            params=dict(params),
            distributions=self._distributions,
            user_attrs={LABEL: label},
        )
        with self._explained():
            trial_id = self._storage.create_new_trial(self._study._study_id, template_trial=trial)
            given = self._storage.get_trial_number_from_id(trial_id)
            if given != number:
                self._storage.set_trial_state_values(trial_id, TrialState.FAIL)
        if given != number:
            raise LedgerError(
                f"study {self.name} gave trial {number} the number {given}: another process "
                "drives it; stop one of the two and start again"
            )

    def finish(self, past: Past, *, fit_s: float, why: str = "") -> None:
        """Write how a trial ended; one that is over already is left as it is.

        Parameters
        ----------
        past : Past
            A trial of the study that is over.
        fit_s : float
            Seconds of one core that it took.
        why : str
            Of a failed trial.
        """
        with self._explained():
            frozen = self._study.get_trials(deepcopy=False)[past.number]
            if frozen.state.is_finished():
                return
            trial, one = frozen._trial_id, len(self._study.directions) == 1
            for key, value in {RUNGS: list(past.rungs), FIT_S: fit_s, WHY: why}.items():
                self._storage.set_trial_user_attr(trial, key, value)
            for rung, loss in enumerate(past.rungs if one else ()):
                self._storage.set_trial_intermediate_value(trial, rung, loss)
            told = list(past.values) if past.state is State.COMPLETE else None
            if past.state is State.PRUNED and one:
                told = [past.rungs[-1]]  # as Optuna itself tells a trial that it pruned
            self._storage.set_trial_state_values(trial, TrialState[past.state.name], told)

    def facts(self) -> tuple[Mapping[str, Any], ...]:
        """Return the attributes of every trial: ``label``, ``rung_losses``, ``fit_s``, ``why``."""
        with self._explained():
            trials = self._study.get_trials(deepcopy=False)
        return tuple(dict(trial.user_attrs) for trial in trials)

    def optuna_study(self) -> optuna.Study:
        """Return the study itself, for Optuna's own analyses; read it only."""
        return self._study

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the database raises into a ``LedgerError``."""
        with explained(self._ledger.engine, "used for a study"):
            try:
                yield
            except optuna.exceptions.StorageInternalError as error:
                raise (error.__cause__ or error) from None


def _past(trial: optuna.trial.FrozenTrial) -> Past:
    state = State[trial.state.name] if trial.state.name in State.__members__ else State.RUNNING
    return Past(
        number=trial.number,
        params=dict(trial.params),
        state=state,
        rungs=tuple(trial.user_attrs.get(RUNGS, ())),
        values=tuple(trial.values) if state is State.COMPLETE else (),
    )


def _url(ledger: Ledger) -> str:
    """Return the database's URL with its password, which Optuna needs and never prints."""
    return ledger.engine.url.render_as_string(hide_password=False)


def _engine_options(ledger: Ledger) -> dict[str, Any]:
    if ledger.engine.url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": BUSY_S}}
    return {"pool_pre_ping": True}
