"""Which model's signal answers for a ticker, under the flags; a pure function of book and flags.

The first of these that applies decides:

1. The kill switch is on: hold, whatever the models say (route ``killed``).
2. The flags have not been known for too long (status SAFE): the fallback.
3. ``llm_only``: the language model; the fallback where it has no signal.
4. ``time_series_pct`` leaves the ticker out: the fallback.
5. ``merge_llm``: the champion's signal, held back by the language model's; else the champion's.
   Without a signal of the champion, the fallback.

What then answers is served as hold where prices are stale or a layer of the validator failed; a
merged signal's risk level, which the language model may have raised, is held to its limit again.
"""

from dataclasses import dataclass, replace
from datetime import UTC
from typing import Literal, TypeAlias

from pmx_ray.errors import NothingToServeError
from pmx_ray.signals.flags import FlagValues, bucket
from pmx_ray.signals.merging import merge
from pmx_ray.signals.offers import NAMES, Offers, unmet
from pmx_ray.signals.signal_id import BOOK_CHARS, SignalId
from pmx_ray.signals.types import (
    FlagStatus,
    LayerCheck,
    Signal,
    SignalBook,
    SignalBundle,
    Source,
)
from pmx_ray.signals.validator import recheck_risk
from pmx_ray.taxonomy import Action

Route: TypeAlias = Literal["champion", "merged", "llm_only", "fallback", "killed"]

ROLLOUT_SALT = "time_series_pct"
"""Salt of the hash that says which tickers a percentage takes in."""

SERVABLE = (Source.CHAMPION, Source.FALLBACK, Source.LLM)
"""Who may answer, best known first."""


@dataclass(frozen=True, slots=True)
class _Choice:
    """What answers, before anything keeps it from trading."""

    route: Route
    signal: Signal
    checks: tuple[LayerCheck, ...]
    reason: str
    fallback_used: bool = False


def route(
    book: SignalBook,
    ticker: str,
    flags: FlagValues,
    *,
    flags_version: int,
    flags_status: FlagStatus,
    stale_reason: str = "",
    book_id: str = "",
) -> SignalBundle:
    """Return what is served for a ticker.

    Parameters
    ----------
    book : SignalBook
        What each model said.
    ticker : str
        Whom it is asked about.
    flags : FlagValues
        The flags, or their last known values.
    flags_version : int
        Their version, >= 0.
    flags_status : FlagStatus
        How well they are known; where SAFE, only ``kill_switch`` of them counts.
    stale_reason : str
        Why the newest price is too old to trade on; empty where it is not.
    book_id : str
        ``book.id``, for one who routes many tickers of one book; computed unless given.

    Returns
    -------
    SignalBundle
        Its model is the one that made its signal. A signal held for any reason has confidence 0
        and says why.

    Raises
    ------
    NothingToServeError
        If neither what the flags ask for nor the fallback has a signal for the ticker.
    """
    offers = Offers.of(book, ticker)
    choice = _choice(offers, flags, flags_status)
    holds = _holds(choice, flags, stale_reason)
    name = SignalId(
        cutoff=book.cutoff,
        book=(book_id or book.id)[:BOOK_CHARS],
        flags_version=flags_version,
        flags_status=flags_status,
        stale=bool(stale_reason),
        ticker=ticker,
    )
    return SignalBundle(
        id=str(name),
        ticker=ticker,
        signal=held(choice.signal, " ".join(holds)) if holds else choice.signal,
        model=book.models[choice.signal.source],
        as_of=book.computed_at.astimezone(UTC),
        cutoff=choice.signal.cutoff,
        flags_version=flags_version,
        flags_status=flags_status,
        route=choice.route,
        reason=" ".join(text for text in (choice.reason, *holds, book.note) if text),
        fallback_used=choice.fallback_used,
        stale=bool(stale_reason),
        checks=choice.checks,
        considered=offers.considered(),
    )


def held(signal: Signal, why: str) -> Signal:
    """Return a signal as hold with no position and no confidence: a rule speaks, not a forecast."""
    changed = {"action": Action.HOLD, "position_frac": 0.0, "confidence": 0.0, "why": why}
    return signal.model_copy(update=changed)


def _choice(offers: Offers, flags: FlagValues, status: FlagStatus) -> _Choice:
    safe = status is FlagStatus.SAFE
    if flags.kill_switch:
        return _killed(offers, safe=safe)
    if safe:
        return _fallback(offers, "The flags have not been known for too long", used=True)
    if flags.llm_only:
        return _llm_only(offers)
    place = bucket(offers.ticker, salt=ROLLOUT_SALT)
    if place >= flags.time_series_pct:
        asked = (
            f"The champion serves {flags.time_series_pct} % of tickers, and {offers.ticker} is not "
            f"among them (place {place} of 0 to 99)"
        )
        return _fallback(offers, asked, used=False)
    return _champion(offers, flags)


def _killed(offers: Offers, *, safe: bool) -> _Choice:
    known = (Source.FALLBACK, Source.LLM) if safe else SERVABLE
    for source in known:
        if source in offers.made:
            reason = f"The kill switch is on; the numbers shown are of {NAMES[source]}."
            return _answer(offers, source, route="killed", reason=reason)
    raise _nothing(offers, "the kill switch is on, and nothing would trade")


def _llm_only(offers: Offers) -> _Choice:
    if Source.LLM in offers.made:
        reason = "The flags ask for the language model alone."
        return _answer(offers, Source.LLM, route="llm_only", reason=reason)
    lacking = offers.lacking(Source.LLM)
    asked = f"The flags ask for the language model alone, and it has no signal: {lacking}"
    return _fallback(offers, asked, used=True)


def _champion(offers: Offers, flags: FlagValues) -> _Choice:
    if Source.CHAMPION not in offers.made:
        asked = f"The champion has no signal: {offers.lacking(Source.CHAMPION)}"
        return _fallback(offers, asked, used=True)
    reason = "The flags ask for the champion."
    choice = _answer(offers, Source.CHAMPION, route="champion", reason=reason)
    return _merged(offers, choice) if flags.merge_llm else choice


def _merged(offers: Offers, alone: _Choice) -> _Choice:
    asked = "The flags ask for the champion and the language model together"
    llm = offers.made.get(Source.LLM)
    if llm is None:
        why = offers.lacking(Source.LLM)
    elif unsound := unmet(llm.checks, layers=("statistics",)):
        why = f"its forecast cannot be relied on. {' '.join(unsound)}"
    elif llm.signal.step != alone.signal.step:
        why = f"its horizon is {llm.signal.step} sessions, the champion's {alone.signal.step}"
    else:
        merger = merge(alone.signal, llm.signal)
        return replace(
            alone,
            route="merged",
            signal=merger.signal,
            checks=recheck_risk(merger.signal, alone.checks),
            reason=f"{asked}. {merger.sentence}",
        )
    reason = f"{asked}; the champion answers alone. The language model: {why.rstrip('.')}."
    return replace(alone, reason=reason, fallback_used=True)


def _fallback(offers: Offers, asked: str, *, used: bool) -> _Choice:
    if Source.FALLBACK not in offers.made:
        raise _nothing(offers, f"{asked[0].lower()}{asked[1:]}, and the fallback has none")
    reason = f"{asked}; the fallback answers."
    choice = _answer(offers, Source.FALLBACK, route="fallback", reason=reason)
    return replace(choice, fallback_used=used)


def _answer(offers: Offers, source: Source, *, route: Route, reason: str) -> _Choice:
    offer = offers.made[source]
    return _Choice(route, offer.signal, offer.checks, reason)


def _holds(choice: _Choice, flags: FlagValues, stale_reason: str) -> tuple[str, ...]:
    """Return every reason why the signal may not trade."""
    killed = ("Held: nothing trades while the kill switch is on.",) if flags.kill_switch else ()
    stale = (f"Held: {stale_reason.rstrip('.')}.",) if stale_reason else ()
    return (*killed, *stale, *(f"Held: {sentence}" for sentence in unmet(choice.checks)))


def _nothing(offers: Offers, asked: str) -> NothingToServeError:
    lines = (f"{NAMES[source].capitalize()}: {why}." for source, why in offers.missing.items())
    first = f"there is no signal for {offers.ticker}: {asked}."
    return NothingToServeError(" ".join((first, *lines)))
