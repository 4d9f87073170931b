"""Bodies of requests: closed, bounded, finite."""

from typing import Annotated

from pydantic import Field, StrictBool, StrictInt, StringConstraints

from pmx_ray.config import Settings
from pmx_ray.signals.types import Ticker

Sentence = Annotated[
    str,
    StringConstraints(
        min_length=1,
        max_length=500,
        pattern=r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$",
    ),
]
"""One line of text for the audit log."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._@-]{0,63}$")]


class SignalRequest(Settings):
    """Which tickers are asked for.

    Attributes
    ----------
    tickers : tuple of str
        Each once.
    """

    tickers: tuple[Ticker, ...] = Field(min_length=1, max_length=5000)


class FlagChange(Settings):
    """A change of flags.

    Attributes
    ----------
    changes : mapping of str to bool or int
        New values by name; the others stay.
    reason : str
        Why, for the audit log.
    expected_version : int, optional
        Version that the caller has seen; the change is refused if the flags moved since.
    """

    changes: dict[Annotated[str, StringConstraints(max_length=64)], StrictBool | StrictInt] = Field(
        min_length=1, max_length=32
    )
    reason: Sentence
    expected_version: int | None = Field(default=None, ge=0, le=2**53)


class PromotionRequest(Settings):
    """A promotion of the model that a sweep's decision speaks of.

    Attributes
    ----------
    sweep : str
        Name of the sweep folder that was certified.
    approved_by : tuple of str
        Who agreed to it.
    override : str, optional
        Why a model without a certificate is to serve all the same.
    """

    sweep: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$")]
    approved_by: tuple[Name, ...] = Field(default=(), max_length=16)
    override: Sentence | None = None


class ReversionRequest(Settings):
    """A reversion to the last good model.

    Attributes
    ----------
    reason : str
        Why the champion is to go.
    """

    reason: Sentence
