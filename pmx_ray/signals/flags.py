"""The feature flags: which there are, what they may be, and whom a percentage takes in."""

import hashlib
from collections.abc import Mapping
from typing import Any, TypeAlias

from pydantic import AwareDatetime, Field, StrictBool, StrictInt

from pmx_ray.config import Settings, parse, suggestion
from pmx_ray.errors import SettingsError

RETIRED: Mapping[str, str] = {}
"""Names that were flags once, with what took their place; a name is never used again."""

FlagValue: TypeAlias = bool | int


class FlagValues(Settings):
    """Every flag with its value; the defaults serve the champion to everyone.

    Attributes
    ----------
    kill_switch : bool
        No signal trades: every ticker gets hold.
    llm_only : bool
        Signals come from the language model alone; the fallback answers where it has none.
    time_series_pct : int
        Percentage of tickers that the champion serves, 0 to 100, by a sticky hash of the ticker;
        the others get the fallback.
    merge_llm : bool
        The language model's signal is merged into the champion's, by confidence and risk.
    shadow_challenger : bool
        The challenger is computed beside the champion and never served.
    """

    kill_switch: StrictBool = False
    llm_only: StrictBool = False
    time_series_pct: StrictInt = Field(default=100, ge=0, le=100)  # true is not 1 per cent
    merge_llm: StrictBool = False
    shadow_challenger: StrictBool = True

    def changed(self, changes: Mapping[str, Any]) -> "FlagValues":
        """Return the values with ``changes`` applied.

        Raises
        ------
        SettingsError
            If a flag is unknown or retired, or a value is not of its type or range.
        """
        for name in changes:
            check_flag(name)
        return parse(FlagValues, {**self.model_dump(), **changes}, where="flags")


class FlagState(Settings):
    """The flags at one version.

    Attributes
    ----------
    version : int
        0 for the defaults of a ledger in which no flag was ever set; each change adds 1.
    values : FlagValues
        What they are.
    changed_at : datetime, optional
        When, UTC.
    changed_by, reason : str
        Who changed them, and why.
    """

    version: int = Field(default=0, ge=0)
    values: FlagValues = FlagValues()
    changed_at: AwareDatetime | None = None
    changed_by: str = ""
    reason: str = ""


def check_flag(name: str) -> None:
    """Refuse a flag that does not exist, or no longer.

    Raises
    ------
    SettingsError
        With the nearest name, or with what took its place.
    """
    if name in RETIRED:
        raise SettingsError(f"flag '{name}' was retired: {RETIRED[name]}")
    if name not in FlagValues.model_fields:
        known = list(FlagValues.model_fields)
        raise SettingsError(f"flag '{name}' is unknown{suggestion(name, known)}")


def bucket(ticker: str, *, salt: str) -> int:
    """Return the place of a ticker from 0 to 99, the same on every machine and for ever.

    A rollout of p per cent takes in the buckets below p, so that a rising percentage only adds.

    Examples
    --------
    >>> bucket("AAPL", salt="time_series_pct")
    22
    """
    digest = hashlib.sha256(f"{salt}:{ticker}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % 100
