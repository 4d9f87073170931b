"""The forecast of today by a model in service: the bits that a sweep would find at this cutoff."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

from pmx_ray._typing import FloatArray, frozen
from pmx_ray.backtest.blocks import Scopes
from pmx_ray.backtest.runner import forecast_scopes
from pmx_ray.data.panel import Panel
from pmx_ray.errors import DataError, RegistryError, SettingsError
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.governance.manifest import ModelVersion
from pmx_ray.governance.registry import LoadedModel
from pmx_ray.governance.terms import ServingTerms, terms_of
from pmx_ray.provenance import ENGINE_VERSION

NAMED = 5
"""Tickers that a message names at most."""


@dataclass(frozen=True, slots=True, eq=False)
class NowForecasts:
    """What a model expects of each ticker, one step ahead of the newest session.

    Attributes
    ----------
    tickers : tuple of str, length N
        As in the panel.
    cutoff : date
        Last session seen.
    step : int
        Sessions after the cutoff.
    mean, variance : ndarray of shape (N,)
        Of the cumulative log return over the step, decimal and decimal squared; NaN where the
        status is not ``ok``.
    status : ndarray of str, shape (N,)
        Values of ``Status``.
    reasons : mapping of str to str
        Why a ticker has no forecast, by ticker.
    changed : tuple of str
        What is not as it was when the model was evaluated and may move its numbers: versions of
        the engine and of libraries, a sentence each.
    """

    tickers: tuple[str, ...]
    cutoff: date
    step: int
    mean: FloatArray
    variance: FloatArray
    status: npt.NDArray[np.str_]
    reasons: Mapping[str, str]
    changed: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in ("mean", "variance"):
            object.__setattr__(self, name, frozen(getattr(self, name), np.float64))


def forecast_now(panel: Panel, model: LoadedModel) -> NowForecasts:
    """Return the forecasts of a model at the last session of ``panel``, from a fit of its own.

    They are those of a sweep's fold that refits at this cutoff, with the same train window, steps
    and seed, bit for bit.

    Parameters
    ----------
    panel : Panel
        Prices up to now, of tickers that the model was evaluated on.
    model : LoadedModel
        A verified version with its terms.

    Raises
    ------
    RegistryError
        If the version carries no terms, or its forecaster is no longer the one that was evaluated.
    DataError
        If a ticker was never evaluated, one that is fitted jointly with others is missing, the
        calendar is another, or there are too few sessions.
    """
    terms, spec = terms_of(model), spec_of(model.version)
    if panel.calendar != terms.calendar:
        raise DataError(
            f"the prices are on calendar {panel.calendar}; {model.version.label} was evaluated on "
            f"{terms.calendar}"
        )
    scopes = _scopes(panel, terms, model.version.label)
    fold = terms.fold_at_end(panel)
    first = fold.first_seen
    batch = forecast_scopes(
        panel.window(first, panel.n_sessions),
        fold.shifted(first),
        spec,
        scopes=scopes,
        seed=terms.seed,
    )
    h = terms.steps.index(terms.step)
    return NowForecasts(
        panel.tickers,
        panel.sessions[-1].astype(date),
        terms.step,
        batch.mean[0, :, h],
        batch.variance[0, :, h],
        batch.status[0],
        {panel.tickers[n]: reason for (_, n), reason in batch.reasons.items()},
        _changed(model.version, spec),
    )


def spec_of(version: ModelVersion) -> ForecasterSpec:
    """Return the forecaster of a model version.

    Raises
    ------
    RegistryError
        If it is not registered here, or is no longer the one that was evaluated.
    """
    named = f"model {version.label}"
    try:
        spec = ForecasterSpec.parse({"name": version.name, **version.params}, where=named)
    except SettingsError as error:
        raise RegistryError(f"{error}; bring the plugin that it was evaluated with") from None
    if spec.id != version.spec_id:
        raise RegistryError(
            f"{named} was evaluated as {version.spec_id}, and {version.name} with its parameters "
            f"is {spec.id} in this release: its numbers have changed; evaluate and certify it again"
        )
    return spec


def _scopes(panel: Panel, terms: ServingTerms, label: str) -> Scopes:
    """Return the scopes whose tickers the panel holds."""
    unknown = sorted(set(panel.tickers) - set(terms.tickers))
    if unknown:
        raise DataError(
            f"{label} was never evaluated on {_named(unknown)}; serve the "
            f"{len(terms.tickers)} tickers it was evaluated on, or evaluate it on more"
        )
    held = set(panel.tickers)
    scopes = tuple(scope for scope in terms.scopes if held & set(scope))
    missing = sorted({ticker for scope in scopes for ticker in scope} - held)
    if missing:
        raise DataError(
            f"{label} fits {_named(missing)} jointly with others, and the prices lack them; "
            "bring them"
        )
    return scopes


def _changed(version: ModelVersion, spec: ForecasterSpec) -> tuple[str, ...]:
    then = {"engine": version.engine_version, **version.libraries}
    now = {"engine": ENGINE_VERSION, **spec.libraries}
    return tuple(
        f"{name} was {then.get(name, 'absent')} when it was evaluated and is "
        f"{now.get(name, 'absent')}"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    )


def _named(tickers: list[str]) -> str:
    more = len(tickers) - NAMED
    return ", ".join(tickers[:NAMED]) + (f" and {more} more" if more > 0 else "")
