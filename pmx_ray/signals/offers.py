"""What is on the table for one ticker: each model's signal, or why it may not be shown."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Self

from pmx_ray.signals.types import LayerCheck, ModelRef, Signal, SignalBook, Source

LAYERS = ("statistics", "regime", "sizing", "correlation", "costs")
"""Layers of the validator, in their order; a signal that one of them did not see never trades."""

NAMES = {
    Source.CHAMPION: "the champion",
    Source.LLM: "the language model",
    Source.FALLBACK: "the fallback",
    Source.CHALLENGER: "the challenger",
}


@dataclass(frozen=True, slots=True)
class Offer:
    """A signal fit to be shown.

    Attributes
    ----------
    signal : Signal
        What a model says.
    checks : tuple of LayerCheck
        What the validator found about it.
    """

    signal: Signal
    checks: tuple[LayerCheck, ...]

    @property
    def sentence(self) -> str:
        """The signal in a line."""
        refused = "; it may not be acted on" if unmet(self.checks) else ""
        return (
            f"{self.signal.action} at {self.signal.position_frac:+.2%} of capital, confidence "
            f"{self.signal.confidence:.2f}, risk {self.signal.risk_level}{refused}"
        )


@dataclass(frozen=True, slots=True)
class Offers:
    """What every model says about one ticker.

    Attributes
    ----------
    ticker : str
        Whom it is about.
    made : mapping of Source to Offer
        Signals fit to be shown.
    missing : mapping of Source to str
        Why a model that holds a place has none.
    """

    ticker: str
    made: Mapping[Source, Offer]
    missing: Mapping[Source, str]

    @classmethod
    def of(cls, book: SignalBook, ticker: str) -> Self:
        """Return what a book holds about a ticker; a model's signal only where its name is sure."""
        made: dict[Source, Offer] = {}
        missing: dict[Source, str] = {}
        for source in Source:
            found = _found(book, ticker, source)
            if isinstance(found, Offer):
                made[source] = found
            elif found:
                missing[source] = found.rstrip(".")
        return cls(ticker, made, missing)

    def lacking(self, source: Source) -> str:
        """Return why a model has no signal."""
        return self.missing.get(source, "none is in service")

    def considered(self) -> Mapping[Source, str]:
        """Return one line on each model that holds a place."""
        lines = {**self.missing, **{key: offer.sentence for key, offer in self.made.items()}}
        return {source: lines[source] for source in Source if source in lines}


def unmet(checks: Sequence[LayerCheck], *, layers: Collection[str] = LAYERS) -> tuple[str, ...]:
    """Return what these checks have against a signal, a sentence each; empty for nothing.

    Parameters
    ----------
    checks : sequence of LayerCheck
        Of the signal.
    layers : collection of str
        Those that count: all of them where it is to trade.
    """
    failed = tuple(c.sentence for c in checks if c.layer in layers and not c.passed)
    seen = {check.layer for check in checks}
    unseen = [layer for layer in layers if layer not in seen]
    return (*failed, f"It was not checked for {', '.join(unseen)}.") if unseen else failed


def _found(book: SignalBook, ticker: str, source: Source) -> Offer | str:
    """Return the offer, or why there is none; empty where nobody holds that place."""
    if source in book.failures:
        return book.failures[source] or "it failed"
    model, entry = book.models.get(source), book.entries.get(ticker)
    candidate = entry.candidates.get(source) if entry else None
    if candidate is None:
        return "it said nothing about the ticker" if model else ""
    if candidate.signal is None:
        return candidate.failure
    doubt = _doubt(candidate.signal, model, book=book, ticker=ticker, source=source)
    return doubt or Offer(candidate.signal, candidate.checks)


def _doubt(
    signal: Signal, model: ModelRef | None, *, book: SignalBook, ticker: str, source: Source
) -> str:
    """Return what keeps a signal from being shown under a model's name; empty if nothing does."""
    if model is None or model.source is not source:
        return "the book does not say which model made its signal"
    if (signal.ticker, signal.source) != (ticker, source):
        return f"its signal is about {signal.ticker} and made by {NAMES[signal.source]}"
    if signal.cutoff != book.cutoff:
        return f"its signal saw prices up to {signal.cutoff}, and the book's end {book.cutoff}"
    if signal.cutoff > book.computed_at.astimezone(UTC).date():
        return f"its cutoff {signal.cutoff} lies after the moment it was computed"
    return ""
