"""What the ledger takes and gives: plain values, without a database behind them."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from pmx_ray.errors import LedgerError
from pmx_ray.provenance import canonical_json


class RunStatus(StrEnum):
    """How a sweep ended."""

    DONE = "done"
    """Every cell has a forecast."""
    PARTIAL = "partial"
    """Some cells failed, each with a status of its own."""


@dataclass(frozen=True, slots=True)
class Run:
    """One sweep that was evaluated.

    Attributes
    ----------
    sweep_id : str
        Hash of settings and panel; names the run.
    name : str
        What the user calls it.
    recorded_at : datetime
        When it was first recorded; with a time zone, kept as UTC.
    panel_sha256, forecast_sha256 : str
        Of the data that went in and of the forecasts that came out.
    engine_version : str
        ``provenance.ENGINE_VERSION`` at the time.
    settings : mapping
        The sweep's settings as JSON values.
    n_cells, n_failed : int
        Cells asked for, and how many have no forecast.
    status : RunStatus
        How it ended.

    Raises
    ------
    LedgerError
        If the time has no zone, a count is out of its range, or the settings are not JSON.
    """

    sweep_id: str
    name: str
    recorded_at: datetime
    panel_sha256: str
    forecast_sha256: str
    engine_version: str
    settings: Mapping[str, object]
    n_cells: int
    n_failed: int
    status: RunStatus

    def __post_init__(self) -> None:
        if self.recorded_at.tzinfo is None:
            raise LedgerError(
                f"recorded_at was {self.recorded_at}, without a time zone; use clock.utc_now()"
            )
        object.__setattr__(self, "recorded_at", self.recorded_at.astimezone(UTC))
        object.__setattr__(self, "status", RunStatus(self.status))
        if not self.sweep_id:
            raise LedgerError("sweep_id was empty; it must name the sweep")
        if not 0 <= self.n_failed <= self.n_cells:
            raise LedgerError(f"n_failed was {self.n_failed}; it must be 0 to {self.n_cells}")
        settings = json_values(self.settings, f"settings of run {self.sweep_id}")
        object.__setattr__(self, "settings", settings)


@dataclass(frozen=True, slots=True)
class Spec:
    """One forecaster spec: its id is the hash of name, params and version.

    Attributes
    ----------
    spec_id, name : str
        As in ``ForecasterSpec``.
    params : mapping
        As JSON values.
    """

    spec_id: str
    name: str
    params: Mapping[str, object]

    def __post_init__(self) -> None:
        params = json_values(self.params, f"params of spec {self.spec_id}")
        object.__setattr__(self, "params", params)


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure of one spec at one step.

    Attributes
    ----------
    spec_id : str
        One of the run's specs.
    step : int
        Sessions after the cutoff; 0 for a figure that belongs to no step.
    measure : str
        Name of the figure, e.g. ``rmse``.
    value : float
        NaN where it is not defined; infinities are kept.
    """

    spec_id: str
    step: int
    measure: str
    value: float

    def __post_init__(self) -> None:
        if self.step < 0:
            raise LedgerError(f"step of {self.measure} was {self.step}; it must be >= 0")

    def row(self) -> tuple[str, int, str, float | None]:
        """Return the figure as it is stored: null for NaN, so that rows compare equal."""
        value = float(self.value)
        return self.spec_id, int(self.step), self.measure, None if math.isnan(value) else value


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run with its specs and its metrics: what one transaction writes.

    Attributes
    ----------
    run : Run
        The run.
    specs : tuple of Spec
        Each spec that a metric speaks of.
    metrics : tuple of Metric
        Unique by spec, step and measure.

    Raises
    ------
    LedgerError
        If a spec or a metric repeats, or a metric speaks of a spec that is not in ``specs``.
    """

    run: Run
    specs: tuple[Spec, ...]
    metrics: tuple[Metric, ...]

    def __post_init__(self) -> None:
        known = {spec.spec_id for spec in self.specs}
        if len(known) != len(self.specs):
            raise LedgerError(f"run {self.run.sweep_id} names a spec twice; name each once")
        seen: set[tuple[str, int, str]] = set()
        for metric in self.metrics:
            key = (metric.spec_id, metric.step, metric.measure)
            if metric.spec_id not in known:
                raise LedgerError(f"{metric.measure} is of spec {metric.spec_id}, not in the run")
            if key in seen:
                raise LedgerError(
                    f"{metric.measure} of spec {metric.spec_id} at step {metric.step} "
                    "was given twice; give it once"
                )
            seen.add(key)


def json_values(values: Mapping[str, object], what: str) -> dict[str, object]:
    """Return ``values`` as they come back from JSON: sorted keys, tuples as lists.

    Raises
    ------
    LedgerError
        If they are not JSON; the message starts with ``what``.
    """
    try:
        plain: dict[str, object] = json.loads(canonical_json(dict(values)))
    except (TypeError, ValueError) as error:
        raise LedgerError(f"{what} cannot be JSON: {error}") from None
    return plain
