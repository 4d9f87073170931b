"""Who speaks in a book, and what they say: the models in service, asked one by one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pmx_ray import tracing
from pmx_ray.data.panel import Panel
from pmx_ray.errors import PmxError, RegistryError
from pmx_ray.governance.registry import LoadedModel, Registry
from pmx_ray.governance.serving import NowForecasts, forecast_now
from pmx_ray.governance.standing import standing
from pmx_ray.governance.terms import terms_of
from pmx_ray.ledger import Ledger
from pmx_ray.ledger.aliases import Placement
from pmx_ray.ledger.audit import AuditLog
from pmx_ray.ledger.chain import AuditEntry
from pmx_ray.signals.types import ModelRef, Source
from serve_apps.bookmaking import Speaker, speaker_of


@dataclass(frozen=True, slots=True)
class ModelFailure:
    """Why a model in service has no forecasts.

    Attributes
    ----------
    reason : str
        In a sentence.
    """

    reason: str


Said: TypeAlias = NowForecasts | ModelFailure
"""What a model expects, or why it says nothing."""

Forecasting: TypeAlias = Callable[[Panel, tuple[str, ...]], Mapping[str, Said]]
"""From prices and ids of model versions to what each says."""


def forecast_one(panel: Panel, registry: Registry, model_id: str) -> Said:
    """Return the forecasts of a model at the last session of ``panel``, or why there are none.

    The version is verified each time, so that what was altered does not speak. A defect is not
    answered for here: it is raised.
    """
    with tracing.span("forecast", {"pmx.model": model_id[:12], "pmx.tickers": panel.n_tickers}):
        try:
            return forecast_now(panel, registry.load(model_id))
        except PmxError as error:
            tracing.note({"pmx.failed": True})
            return ModelFailure(str(error))


def ask(
    panel: Panel,
    called: Mapping[Source, Placement],
    *,
    registry: Registry,
    ledger: Ledger,
    forecast: Forecasting,
) -> tuple[list[Speaker], dict[Source, str]]:
    """Return what the models called on say about a bar, and why some say nothing.

    Parameters
    ----------
    panel : Panel
        Prices up to now.
    called : mapping of Source to Placement
        As ``called_on`` returns it.
    registry : Registry
        Of the versions.
    ledger : Ledger
        Knows how each came to its place.
    forecast : callable
        Asks the models.

    Raises
    ------
    LedgerError
        If the audit log cannot be read.
    """
    models: dict[Source, LoadedModel] = {}
    failures: dict[Source, str] = {}
    for source, placement in called.items():
        try:
            models[source] = registry.load(placement.model)
        except RegistryError as error:
            failures[source] = str(error)
    found = forecast(panel, tuple({model.id for model in models.values()}))
    log = AuditLog(ledger).entries()
    speakers = []
    for source, model in models.items():
        said = found[model.id]
        if isinstance(said, ModelFailure):
            failures[source] = said.reason
        else:
            speakers.append(_speaker(said, source, model, called[source], log))
    return speakers, failures


def _speaker(
    said: NowForecasts,
    source: Source,
    model: LoadedModel,
    placement: Placement,
    log: Sequence[AuditEntry],
) -> Speaker:
    certified, sentence = standing(placement, model, log=log)
    reference = ModelRef(
        source=source,
        label=model.version.label,
        spec_id=model.version.spec_id,
        model_id=model.id,
        alias_version=placement.version,
        certified=certified,
        standing=" ".join((sentence, *said.changed)),
    )
    return speaker_of(said, reference, terms_of(model).record)
