"""The terms a model version serves on: what of its evaluation a forecast of today must repeat."""

import json
from datetime import date
from typing import Literal

import numpy as np
from pydantic import Field

from pmx_ray.backtest.blocks import Scopes, scopes_of
from pmx_ray.backtest.costs import CostSettings
from pmx_ray.backtest.strategy import TradingRule
from pmx_ray.backtest.sweep import Sweep
from pmx_ray.backtest.track_record import TrackRecord
from pmx_ray.config import Settings, parse
from pmx_ray.data.panel import Panel
from pmx_ray.errors import DataError, PmxError, RegistryError
from pmx_ray.folds import FoldPlan
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.governance.registry import LoadedModel

SERVICE = "service.json"
"""Name of the file in a model version that holds its terms."""


class ServingTerms(Settings):
    """On what a model was evaluated, as far as a forecast of today depends on it.

    Attributes
    ----------
    step : int
        Sessions after the cutoff that it was judged at and serves.
    steps : tuple of int
        All steps of the evaluation; they are asked for together, as they were there.
    kind : str
        ``rolling`` or ``expanding``, as in ``FoldSettings``.
    input_size, purge : int
        Sessions of a train window, and those before the cutoff that a fit does not see.
    first_session : date
        First session of the evaluation's prices, where an expanding window starts.
    seed : int
        Root of every generator a fit may draw from.
    costs : CostSettings
        Of one side of a trade.
    min_edge : float
        Expected log return that a trade needs, decimal.
    calendar : str
        Exchange calendar of the prices.
    scopes : tuple of tuple of str
        The tickers it was evaluated on, by what is fitted jointly.
    record : TrackRecord
        What its trades came to at ``step``.
    """

    step: int = Field(ge=1)
    steps: tuple[int, ...]
    kind: Literal["rolling", "expanding"]
    input_size: int = Field(ge=1)
    purge: int = Field(ge=0)
    first_session: date
    seed: int = Field(ge=0)
    costs: CostSettings
    min_edge: float = Field(ge=0)
    calendar: str
    scopes: Scopes
    record: TrackRecord

    @property
    def tickers(self) -> tuple[str, ...]:
        """Every ticker it was evaluated on, sorted."""
        return tuple(sorted(ticker for scope in self.scopes for ticker in scope))

    @property
    def rule(self) -> TradingRule:
        """The trading rule that the evaluation traded by."""
        return TradingRule(self.costs.build(), self.min_edge)

    def fold_at_end(self, panel: Panel) -> FoldPlan:
        """Return one fold that refits at the last session of ``panel``, as a sweep would lay it.

        Raises
        ------
        DataError
            If the panel holds too few sessions, or an expanding window's first is not there.
        """
        cutoff = panel.n_sessions - 1
        train_stop = cutoff + 1 - self.purge
        start = 0 if self.kind == "rolling" else _position(panel, self.first_session)
        if train_stop - start < self.input_size:
            raise DataError(
                f"the prices hold {panel.n_sessions - start} sessions; the model needs "
                f"{self.input_size + self.purge}: bring an earlier first session"
            )
        rolling = self.kind == "rolling"
        return FoldPlan(
            train_start=np.array([train_stop - self.input_size if rolling else start]),
            train_stop=np.array([train_stop]),
            context_start=np.array([cutoff + 1 - self.input_size if rolling else start]),
            cutoff=np.array([cutoff]),
            refit=np.array([True]),
            split=np.array([0]),
            holes=((),),
            steps=self.steps,
            purge=self.purge,
            embargo=0,
        )

    def as_file(self) -> bytes:
        """Return the terms as they are kept in a model version."""
        return f"{json.dumps(self.model_dump(mode='json'), indent=1)}\n".encode()


def terms_in(sweep: Sweep, spec: ForecasterSpec, *, step: int, record: TrackRecord) -> ServingTerms:
    """Return the terms of a forecaster of ``sweep``.

    Raises
    ------
    DataError
        If the plan is combinatorial: none of its fits ends on a newest session.
    """
    folds = sweep.settings.folds
    if folds.kind == "combinatorial":
        raise DataError(
            f"{sweep.folder} has combinatorial folds, which train on both sides of what they "
            "score, and a model in service has only the past; evaluate it with rolling or "
            "expanding folds"
        )
    rule = sweep.settings.evaluation.rule
    return ServingTerms(
        step=step,
        steps=sweep.plan.steps,
        kind=folds.kind,
        input_size=folds.input_size,
        purge=sweep.plan.purge,
        first_session=sweep.panel.sessions[0].astype(date),
        seed=sweep.settings.seed,
        costs=sweep.settings.evaluation.costs,
        min_edge=rule.min_edge,
        calendar=sweep.panel.calendar,
        scopes=scopes_of(spec, sweep.panel),
        record=record,
    )


def terms_of(model: LoadedModel) -> ServingTerms:
    """Return the terms that a model version carries.

    Raises
    ------
    RegistryError
        If it carries none, as before there was a service, or they cannot be read.
    """
    named = f"model {model.id[:12]} ({model.version.label})"
    if SERVICE not in model.files:
        raise RegistryError(
            f"{named} carries no {SERVICE}: it was registered before models were served; "
            "certify it again and promote it with a --key of its own"
        )
    try:
        return parse(ServingTerms, json.loads(model.files[SERVICE]), where=SERVICE)
    except (PmxError, TypeError, ValueError) as error:
        raise RegistryError(f"{named}: {error}; certify and promote it again") from None


def _position(panel: Panel, session: date) -> int:
    found = int(np.searchsorted(panel.sessions, np.datetime64(session)))
    if found == panel.n_sessions or panel.sessions[found] != np.datetime64(session):
        raise DataError(
            f"the model is fitted on every session from {session} on, and the prices start on "
            f"{panel.sessions[0]}; bring them from that day"
        )
    return found
