"""From the forecasts of each model to a book of validated signals: values in, values out."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np

from pmx_ray._typing import FloatArray
from pmx_ray.backtest.track_record import TrackRecord
from pmx_ray.data.panel import Panel
from pmx_ray.governance.serving import NowForecasts
from pmx_ray.ledger.signal_log import SignalRecord, latest_of_each
from pmx_ray.provenance import canonical_json, sha256_hex
from pmx_ray.signals.making import Statement, make_signal
from pmx_ray.signals.market import MarketContext
from pmx_ray.signals.quality import SignalQuality, backtest_signal_quality
from pmx_ray.signals.risk import percentile, volatility_annual, volatility_history
from pmx_ray.signals.settings import SignalSettings
from pmx_ray.signals.tracker import SignalTracker
from pmx_ray.signals.types import BookEntry, Candidate, ModelRef, SignalBook, Source
from pmx_ray.signals.validator import validate


@dataclass(frozen=True, slots=True)
class Moments:
    """What a model expects of one ticker.

    Attributes
    ----------
    mean, variance : float
        Of the cumulative log return over the step, decimal and decimal squared.
    statement : Statement, optional
        What a language model said beside its number.
    """

    mean: float
    variance: float
    statement: Statement | None = None


@dataclass(frozen=True, slots=True)
class Speaker:
    """A model and what it expects of each ticker.

    Attributes
    ----------
    model : ModelRef
        Which one.
    step : int
        Sessions ahead.
    track : TrackRecord, optional
        Of its out-of-sample trades.
    expects : mapping of str to Moments
        By ticker.
    failures : mapping of str to str
        Why there is nothing for a ticker.
    """

    model: ModelRef
    step: int
    track: TrackRecord | None
    expects: Mapping[str, Moments]
    failures: Mapping[str, str]


def speaker_of(found: NowForecasts, model: ModelRef, track: TrackRecord) -> Speaker:
    """Return what a model in service expects."""
    expects, failures = {}, {}
    for n, ticker in enumerate(found.tickers):
        if math.isfinite(found.mean[n]):
            expects[ticker] = Moments(float(found.mean[n]), float(found.variance[n]))
        else:
            failures[ticker] = found.reasons.get(ticker) or f"its fit ended as {found.status[n]}"
    return Speaker(model, found.step, track, expects, failures)


def make_book(
    panel: Panel,
    speakers: Sequence[Speaker],
    *,
    failures: Mapping[Source, str],
    quality: Mapping[Source, SignalQuality],
    settings: SignalSettings,
    computed_at: datetime,
    closed_at: datetime | None,
    note: str,
) -> SignalBook:
    """Return the book of what the speakers expect at the last session of ``panel``.

    Parameters
    ----------
    panel : Panel
        Prices up to now.
    speakers : sequence of Speaker
        One a source.
    failures : mapping of Source to str
        Why a model did not speak at all.
    quality : mapping of Source to SignalQuality
        Of each source's past signals.
    settings : SignalSettings
        Costs, sizing, limits.
    computed_at : datetime
        Now, UTC.
    closed_at : datetime, optional
        When the last session closed; None where prices are replayed.
    note : str
        What every answer is to say about the prices.
    """
    judge = _Judge(panel, quality=quality, settings=settings)
    entries = {}
    for n, ticker in enumerate(panel.tickers):
        close = float(panel.close[n, -1])
        entries[ticker] = BookEntry(
            ticker=ticker,
            close=close if math.isfinite(close) else None,
            candidates={s.model.source: judge.candidate(s, ticker) for s in speakers},
        )
    return SignalBook(
        cutoff=judge.cutoff,
        computed_at=computed_at,
        panel_sha256=panel.sha256,
        models={speaker.model.source: speaker.model for speaker in speakers},
        failures=dict(failures),
        entries=entries,
        closed_at=closed_at,
        note=note,
        settings_sha256=settings_sha256(settings),
    )


def settings_sha256(settings: SignalSettings) -> str:
    """Return the hash of what makes signals of forecasts."""
    return sha256_hex(canonical_json(settings.model_dump(mode="json")))


def with_speaker(
    book: SignalBook,
    said: Speaker | str,
    panel: Panel,
    *,
    quality: Mapping[Source, SignalQuality],
    settings: SignalSettings,
    computed_at: datetime,
) -> SignalBook:
    """Return a book with what the language model said as well, or why it said nothing.

    Parameters
    ----------
    book : SignalBook
        Of the same prices.
    said : Speaker or str
        The language model's answers, or why there are none.
    panel, quality, settings, computed_at
        As in ``make_book``.
    """
    book = book.model_copy(update={"computed_at": computed_at})
    if isinstance(said, str):
        return _without_llm(book, said)
    judge = _Judge(panel, quality=quality, settings=settings)
    entries = {
        ticker: entry.model_copy(
            update={"candidates": {**entry.candidates, Source.LLM: judge.candidate(said, ticker)}}
        )
        for ticker, entry in book.entries.items()
    }
    failures = {source: why for source, why in book.failures.items() if source is not Source.LLM}
    models = {**book.models, Source.LLM: said.model}
    return book.model_copy(update={"entries": entries, "models": models, "failures": failures})


def _without_llm(book: SignalBook, why: str) -> SignalBook:
    entries = {
        ticker: entry.model_copy(
            update={
                "candidates": {s: c for s, c in entry.candidates.items() if s is not Source.LLM}
            }
        )
        for ticker, entry in book.entries.items()
    }
    models = {source: model for source, model in book.models.items() if source is not Source.LLM}
    failures = {**book.failures, Source.LLM: why}
    return book.model_copy(update={"entries": entries, "models": models, "failures": failures})


class _Judge:
    """Makes and validates signals at the last session of a panel."""

    def __init__(
        self, panel: Panel, *, quality: Mapping[Source, SignalQuality], settings: SignalSettings
    ) -> None:
        self._settings = settings
        self._context = MarketContext.of(panel, settings, quality=quality)
        self._histories: dict[str, FloatArray] = {}

    @property
    def cutoff(self) -> date:
        """Last session seen."""
        return self._context.cutoff

    def candidate(self, speaker: Speaker, ticker: str) -> Candidate:
        """Return what a speaker's forecast of a ticker comes to."""
        expected = speaker.expects.get(ticker)
        if expected is None:
            return Candidate(failure=speaker.failures.get(ticker) or "it said nothing")
        annual = volatility_annual(expected.variance, step=speaker.step)
        signal = make_signal(
            ticker=ticker,
            mean=expected.mean,
            variance=expected.variance,
            step=speaker.step,
            cutoff=self.cutoff,
            source=speaker.model.source,
            track=speaker.track,
            settings=self._settings,
            volatility_percentile=percentile(annual, self._history(ticker)),
            statement=expected.statement,
        )
        return Candidate(signal=signal, checks=validate(signal, self._context))

    def _history(self, ticker: str) -> FloatArray:
        if ticker not in self._histories:
            self._histories[ticker] = volatility_history(self._context.returns_of(ticker))
        return self._histories[ticker]


def track(tracker: SignalTracker, book: SignalBook, book_id: str) -> None:
    """Register every signal of a book with what the validator found, and write them.

    Raises
    ------
    LedgerError
        If the ledger cannot be written; the tracker keeps them for the next time.
    """
    records = records_of(book, book_id)
    tracker.register(records)
    for record in records:
        checks = book.entries[record.ticker].candidates[Source(record.source)].checks
        tracker.record_validator_result(
            record.book_id,
            record.ticker,
            record.source,
            valid=all(check.passed for check in checks),
            layers={check.layer: check.passed for check in checks},
        )
    tracker.flush()


def records_of(book: SignalBook, book_id: str) -> tuple[SignalRecord, ...]:
    """Return every signal of a book as the ledger keeps it, not judged yet."""
    return tuple(
        SignalRecord(
            book_id=book_id,
            ticker=entry.ticker,
            source=source.value,
            action=candidate.signal.action,
            risk_level=candidate.signal.risk_level,
            step=candidate.signal.step,
            expected_return=candidate.signal.expected_return,
            volatility=candidate.signal.volatility,
            confidence=candidate.signal.confidence,
            position_frac=candidate.signal.position_frac,
            cutoff=candidate.signal.cutoff,
            model_id=book.models[source].model_id,
            label=book.models[source].label,
            close=entry.close,
            valid=None,
            why=candidate.signal.why,
        )
        for entry in book.entries.values()
        for source, candidate in entry.candidates.items()
        if candidate.signal is not None
    )


def past_quality(
    records: Iterable[SignalRecord],
    panel: Panel,
    settings: SignalSettings,
    *,
    models: Mapping[Source, str],
) -> dict[Source, SignalQuality]:
    """Return how good the past signals of the models that now speak were.

    A model answers for what it said in the place it has now, and for no other model's signals.

    Parameters
    ----------
    records : iterable of SignalRecord
        As ``SignalLog.since`` orders them.
    panel : Panel
        Prices up to now.
    settings : SignalSettings
        Of the service; names what a trade costs.
    models : mapping of Source to str
        Id of the model in each place.
    """
    own = latest_of_each(r for r in records if models.get(Source(r.source)) == r.model_id)
    return {
        source: backtest_signal_quality(
            [record for record in own if record.source == source],
            panel,
            costs=settings.costs.build(),
            rng=np.random.default_rng(0),
        )
        for source in models
        if any(record.source == source for record in own)
    }
