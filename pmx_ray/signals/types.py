"""What passes between forecasts, router and endpoint: signals, books of them, and bundles.

They cross the wire and the ledger, so they are pydantic models: frozen, finite, closed.
"""

from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, StringConstraints, model_validator

from pmx_ray.config import Settings
from pmx_ray.provenance import canonical_json, sha256_hex
from pmx_ray.taxonomy import Action, RiskLevel

SCHEMA_VERSION: Literal["1"] = "1"
"""Bumped when a field of a bundle changes its name, type or meaning."""

TICKER_PATTERN = r"^[A-Z0-9][A-Z0-9.^=_-]{0,15}$"
"""What a ticker may look like anywhere in the API."""

Ticker = Annotated[str, StringConstraints(pattern=TICKER_PATTERN)]


class Source(StrEnum):
    """Who made a signal."""

    CHAMPION = "champion"
    """The promoted model."""
    LLM = "llm"
    """The language model."""
    FALLBACK = "fallback"
    """The model behind the alias ``fallback``, exercised before the champion was promoted."""
    CHALLENGER = "challenger"
    """Runs in shadow; never served."""


class ModelRef(Settings):
    """Which model made a signal, and by what right it serves.

    Attributes
    ----------
    source : Source
        Its place.
    label, spec_id : str
        As in ``ForecasterSpec``.
    model_id : str
        Id of the registry's version; for a language model its name and digest.
    alias_version : int
        How often the alias had moved; 0 for a language model.
    certified : bool
        Whether a certificate put it in service.
    standing : str
        One sentence: by which decision, or by whose override and why.
    """

    source: Source
    label: str
    spec_id: str
    model_id: str
    alias_version: int = Field(ge=0)
    certified: bool
    standing: str


class Signal(Settings):
    """What one model advises for one ticker.

    Attributes
    ----------
    ticker : str
        Whom it is about.
    action : Action
        What to do.
    step : int
        Horizon, sessions after the cutoff.
    expected_return : float
        Expected cumulative log return over the horizon, decimal.
    volatility : float
        Standard deviation of the same, decimal, > 0.
    confidence : float
        0 to 1.
    risk_level : RiskLevel
        How risky acting on it is.
    position_frac : float
        Share of capital to hold, long above 0, short below; 0 to hold.
    cutoff : date
        Last session the model saw.
    source : Source
        Who made it.
    why : str
        One sentence for people.
    """

    ticker: Ticker
    action: Action
    step: int = Field(ge=1)
    expected_return: float
    volatility: float = Field(gt=0)
    confidence: float = Field(ge=0, le=1)
    risk_level: RiskLevel
    position_frac: float = Field(ge=-1, le=1)
    cutoff: date
    source: Source
    why: str

    @model_validator(mode="after")
    def _sides_agree(self) -> Self:
        side = (self.position_frac > 0) - (self.position_frac < 0)
        wanted = {Action.BUY: 1, Action.SELL: -1, Action.HOLD: 0}[self.action]
        if side not in (0, wanted):
            raise ValueError(f"action is {self.action} and position_frac {self.position_frac:g}")
        return self


class LayerCheck(Settings):
    """What one layer of the validator found.

    Attributes
    ----------
    layer : str
        ``statistics``, ``regime``, ``sizing``, ``correlation`` or ``costs``.
    passed : bool
        Whether the signal may be acted on as far as this layer knows.
    value, limit : float, optional
        What was found and what it was held against; None where there was nothing to measure.
    unit : str
        Of both.
    sentence : str
        The same in words.
    """

    layer: Literal["statistics", "regime", "sizing", "correlation", "costs"]
    passed: bool
    value: float | None
    limit: float | None
    unit: str
    sentence: str


class Candidate(Settings):
    """A model's signal for a ticker with its checks, or why there is none.

    Attributes
    ----------
    signal : Signal, optional
        None where the model gave nothing usable.
    checks : tuple of LayerCheck
        Of the five layers, in their order; empty without a signal.
    failure : str
        Why there is no signal; empty where there is one.
    """

    signal: Signal | None = None
    checks: tuple[LayerCheck, ...] = ()
    failure: str = ""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.signal is None) == (not self.failure):
            raise ValueError("a candidate holds either a signal or the reason why it has none")
        return self

    @property
    def valid(self) -> bool:
        """Whether there is a signal and every layer passed it."""
        return self.signal is not None and all(check.passed for check in self.checks)


class BookEntry(Settings):
    """Everything known about one ticker at a cutoff.

    Attributes
    ----------
    ticker : str
        Whom it is about.
    close : float, optional
        Price at the cutoff; None where it did not trade.
    candidates : mapping of Source to Candidate
        What each model said.
    """

    ticker: Ticker
    close: float | None = Field(default=None, gt=0)
    candidates: Mapping[Source, Candidate]


class SignalBook(Settings):
    """Every candidate of every ticker at one cutoff: what the endpoint looks up.

    Attributes
    ----------
    cutoff : date
        Last session that any model saw.
    computed_at : datetime
        When, UTC.
    panel_sha256 : str
        Of the prices they saw.
    models : mapping of Source to ModelRef
        Who spoke.
    failures : mapping of Source to str
        Why a model did not speak at all.
    entries : mapping of str to BookEntry
        By ticker.
    closed_at : datetime, optional
        When the cutoff's session closed, UTC; None where prices are replayed, which never age.
    note : str
        What every answer is to say about the prices; empty where there is nothing to say.
    settings_sha256 : str
        Hash of the settings that made signals of forecasts.
    """

    cutoff: date
    computed_at: AwareDatetime
    panel_sha256: str
    models: Mapping[Source, ModelRef]
    failures: Mapping[Source, str] = Field(default_factory=dict)
    entries: Mapping[str, BookEntry]
    closed_at: AwareDatetime | None = None
    note: str = ""
    settings_sha256: str = ""

    @property
    def id(self) -> str:
        """Hash of everything above."""
        return sha256_hex(canonical_json(self.model_dump(mode="json")))


class FlagStatus(StrEnum):
    """How well the flags behind an answer are known."""

    LIVE = "live"
    STALE = "stale"
    """Their source does not answer; these are the last known values."""
    SAFE = "safe"
    """Their source has not answered for too long; the safe route serves."""


class SignalBundle(Settings):
    """One answer of the endpoint: a signal, and everything that explains it.

    Attributes
    ----------
    id : str
        Names book, flags and ticker; ``GET /v1/signals/{id}/explain`` replays it.
    ticker : str
        Whom it is about.
    signal : Signal
        What to do; one that may not be acted on says hold with its reason.
    model : ModelRef
        Who made the signal: exactly this model.
    as_of : datetime
        When the book behind it was computed, UTC.
    cutoff : date
        Last session seen; on or before ``as_of``.
    flags_version : int
        Version of the flags that chose the route.
    flags_status : FlagStatus
        How well they were known.
    route : str
        ``champion``, ``merged``, ``llm_only``, ``fallback`` or ``killed``.
    reason : str
        Why this route, and why a fallback where one was used; one or more sentences.
    fallback_used : bool
        Whether something other than what the flags asked for answered.
    stale : bool
        Whether the newest price is older than the settings allow; then no signal trades.
    checks : tuple of LayerCheck
        What the validator found about the signal.
    considered : mapping of Source to str
        One line on each model that could have answered.
    schema_version : str
        Of this document.
    """

    id: str
    ticker: Ticker
    signal: Signal
    model: ModelRef
    as_of: AwareDatetime
    cutoff: date
    flags_version: int = Field(ge=0)
    flags_status: FlagStatus
    route: Literal["champion", "merged", "llm_only", "fallback", "killed"]
    reason: str = Field(min_length=1)
    fallback_used: bool
    stale: bool
    checks: tuple[LayerCheck, ...]
    considered: Mapping[Source, str]
    schema_version: Literal["1"] = SCHEMA_VERSION

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if self.signal.ticker != self.ticker:
            raise ValueError(f"signal is about {self.signal.ticker}, bundle about {self.ticker}")
        if self.signal.source is not self.model.source:
            raise ValueError(
                f"signal was made by {self.signal.source}, and the bundle names the model of "
                f"{self.model.source}"
            )
        if self.signal.source is Source.CHALLENGER:
            raise ValueError("a challenger's signal is never served")
        if self.cutoff > self.as_of.date():
            raise ValueError(f"cutoff {self.cutoff} lies after as_of {self.as_of}")
        return self
