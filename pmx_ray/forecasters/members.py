"""Members of a combination: forecasters that are part of another one's settings.

A member may have a narrower scope than the combination; it is then served scope by scope.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, TypeAlias

import numpy as np
from pydantic import BeforeValidator, InstanceOf, PlainSerializer

from pmx_ray.data.panel import Panel
from pmx_ray.errors import SettingsError
from pmx_ray.folds import FoldPlan
from pmx_ray.forecasters.batch import (
    MACHINE_ERRORS,
    BatchedForecaster,
    ForecastBatch,
    RngAt,
    forecast_folds,
)
from pmx_ray.forecasters.protocol import (
    FailedFit,
    Failure,
    FittedForecaster,
    Forecaster,
    Outcome,
    Scope,
    Status,
)
from pmx_ray.forecasters.registry import ForecasterSpec, family

SCOPES: tuple[Scope, ...] = ("ticker", "group", "panel")
"""From the narrowest to the widest."""


def member_version(name: str) -> str:
    """Return what changes when a family's numbers do: its version, and a plugin's source."""
    known = family(name)
    return known.version if known.source is None else f"{known.version}+{known.source}"


def _parsed(written: object) -> ForecasterSpec:
    if isinstance(written, ForecasterSpec):
        return written
    if not isinstance(written, Mapping):
        raise SettingsError(f"was {written!r}; write {{name: ..., parameter: ...}}")
    values: dict[str, Any] = dict(written)
    version = values.pop("family_version", None)
    spec = ForecasterSpec.parse(values, where="member")
    if version is not None and version != member_version(spec.name):
        raise SettingsError(
            f"member {spec.name} was written for version {version} of its family; this is "
            f"{member_version(spec.name)}; leave family_version out to use it"
        )
    return spec


def _written(spec: ForecasterSpec) -> dict[str, Any]:
    """Return all of a member that can change a number, its family's version included."""
    return {"name": spec.name, **dict(spec.params), "family_version": member_version(spec.name)}


MemberSpec: TypeAlias = Annotated[
    InstanceOf[ForecasterSpec], BeforeValidator(_parsed), PlainSerializer(_written)
]
"""A forecaster inside settings, written as in a sweep: ``{name: garch, dist: t}``."""


def widest(scopes: Sequence[Scope]) -> Scope:
    """Return the widest of several scopes."""
    return max(scopes, key=SCOPES.index)


def parts(panel: Panel, scope: Scope) -> tuple[tuple[str, ...], ...]:
    """Return the tickers of ``panel`` by what a forecaster of ``scope`` fits jointly.

    Raises
    ------
    SettingsError
        If the scope is the group and the panel has none.
    """
    match scope:
        case "panel":
            return (panel.tickers,)
        case "ticker":
            return tuple((ticker,) for ticker in panel.tickers)
        case "group":
            if panel.groups is None:
                raise SettingsError("a member works by group and the panel has no groups")
            found: dict[str, list[str]] = {}
            for ticker, group in zip(panel.tickers, panel.groups, strict=True):
                found.setdefault(group, []).append(ticker)
            return tuple(tuple(tickers) for _, tickers in sorted(found.items()))


def forecast_member(
    member: Forecaster, panel: Panel, plan: FoldPlan, rng_at: RngAt
) -> ForecastBatch:
    """Return a member's forecasts of every fold, whatever its scope."""
    if member.scope == "panel" or (
        member.scope == "ticker" and isinstance(member, BatchedForecaster)
    ):
        return forecast_folds(member, panel, plan, rng_at)
    scopes = parts(panel, member.scope)
    batches = [forecast_folds(member, panel.select(part), plan, rng_at) for part in scopes]
    row_of = {ticker: n for n, ticker in enumerate(t for part in scopes for t in part)}
    return ForecastBatch.beside(batches).taken([row_of[ticker] for ticker in panel.tickers])


@dataclass(frozen=True, slots=True, eq=False)
class FittedMember:
    """Fits of one member, by the tickers each serves; the plain form of ``forecast_member``."""

    fits: tuple[tuple[tuple[str, ...], FittedForecaster], ...]
    tickers: tuple[str, ...]

    def extend(self, history: Panel) -> "FittedMember":
        """Return the same fits, each conditioned on its tickers of ``history``."""
        extended = []
        for served, fitted in self.fits:
            here = tuple(ticker for ticker in served if ticker in history.tickers)
            if here:
                part = history.select(here)
                done = guarded("extend", part, partial(fitted.extend, part))
                extended.append((here, done))
        return FittedMember(tuple(extended), history.tickers)

    def forecast(self, steps: tuple[int, ...]) -> tuple[Outcome, ...]:
        """Return one outcome a ticker of the history."""
        unseen: Outcome = Failure(Status.ERROR, "the fit has not seen this ticker")
        found: dict[str, Outcome] = {}
        for served, fitted in self.fits:
            found |= zip(served, _outcomes(fitted, served, steps), strict=True)
        return tuple(found.get(ticker, unseen) for ticker in self.tickers)


def fit_member(
    member: Forecaster, history: Panel, *, new_rng: Callable[[], np.random.Generator]
) -> FittedMember:
    """Return the member fitted on each of its scopes in ``history``.

    Parameters
    ----------
    member : Forecaster
    history : Panel
    new_rng : callable
        Gives each scope a generator in the same state, as a plan of folds does.
    """
    fits = []
    for served in parts(history, member.scope):
        part = history.select(served)
        fit = guarded("fit", part, partial(member.fit, part, rng=new_rng()))
        fits.append((served, fit))
    return FittedMember(tuple(fits), history.tickers)


def guarded(where: str, part: Panel, call: Callable[[], FittedForecaster]) -> FittedForecaster:
    """Return what ``call`` does; a member's defect costs that member and not its companions."""
    try:
        return call()
    except MACHINE_ERRORS:
        raise
    except Exception as error:  # noqa: BLE001 - becomes a row where every member fails
        return FailedFit(_defect(where, error), part.n_tickers)


def _outcomes(
    fitted: FittedForecaster, served: tuple[str, ...], steps: tuple[int, ...]
) -> tuple[Outcome, ...]:
    try:
        return fitted.forecast(steps)
    except MACHINE_ERRORS:
        raise
    except Exception as error:  # noqa: BLE001 - as above
        return (_defect("forecast", error),) * len(served)


def _defect(where: str, error: Exception) -> Failure:
    detail = " ".join(str(error).split())[:200]
    return Failure(Status.ERROR, f"{where} raised {type(error).__name__}: {detail}")
