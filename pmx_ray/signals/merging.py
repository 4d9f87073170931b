"""The champion's signal as a language model holds it back: less of it or none, never more.

Each side counts by its confidence, and the champion's, as it is the one that would trade, times
``1 - risk score`` of the higher risk level that either of them names. The language model's share s
of both decides; the riskier it says a trade is, the larger its share:

====================  ==========================================================================
it says the same      the size stays
it says hold          size times ``1 - s``; hold where s exceeds a half
it says the opposite  size times ``1 - 2 s``; hold where s is a half or more
the champion holds    it stays a hold: a model without a track record opens no trade
====================  ==========================================================================

The risk level is the higher of both. Expected return, volatility and confidence stay the
champion's, and the size only shrinks, so of what the validator found about the champion's signal
all still holds but what it said of the risk level: the router has that looked at again.
"""

from dataclasses import dataclass

from pmx_ray.signals.types import Signal
from pmx_ray.taxonomy import Action, RiskLevel


@dataclass(frozen=True, slots=True)
class Merger:
    """A merged signal, and in words what the language model changed.

    Attributes
    ----------
    signal : Signal
        Still the champion's.
    sentence : str
        One sentence.
    """

    signal: Signal
    sentence: str


def priority(champion: Signal, llm: Signal) -> float:
    """Return what the champion's wish to trade counts, 0 to 1.

    Its confidence times ``1 - risk score`` of the higher of both risk levels: nothing where either
    calls the risk extreme.
    """
    return champion.confidence * (1.0 - _riskier(champion, llm).score)


def share_of(llm: Signal, *, beside: Signal) -> float:
    """Return the language model's share, 0 to 1; a half where neither counts for anything.

    Its confidence counts whole, whatever risk it names: a warning weighs no less for being grave.
    """
    total = llm.confidence + priority(beside, llm)
    return llm.confidence / total if total > 0.0 else 0.5


def merge(champion: Signal, llm: Signal) -> Merger:
    """Return the champion's signal as the language model's changes it.

    Parameters
    ----------
    champion, llm : Signal
        About the same ticker, horizon and cutoff.

    Returns
    -------
    Merger
        Its signal may have a higher risk level than the validator saw; a hold has confidence 0
        where the language model made it one.
    """
    share = share_of(llm, beside=champion)
    kept = _kept(champion.action, llm.action, share)
    level = _riskier(champion, llm)
    sentence = _sentence(champion, llm, share=share, kept=kept)
    if level is not champion.risk_level:
        sentence += f" It raises the risk level from {champion.risk_level} to {level}."
    changed = {
        "action": champion.action if kept > 0.0 else Action.HOLD,
        "risk_level": level,
        "confidence": champion.confidence if kept > 0.0 else 0.0,
        "position_frac": champion.position_frac * kept if kept > 0.0 else 0.0,
        "why": f"{champion.why} {sentence}",
    }
    return Merger(champion.model_copy(update=changed), sentence)


def _riskier(champion: Signal, llm: Signal) -> RiskLevel:
    return max(champion.risk_level, llm.risk_level, key=lambda word: word.severity)


def _kept(champion: Action, llm: Action, share: float) -> float:
    """Return the share of the size that is left, 0 to 1."""
    if Action.HOLD is champion or llm is champion:
        return 1.0
    if llm is Action.HOLD:
        return 1.0 - share if share <= 0.5 else 0.0
    return max(1.0 - 2.0 * share, 0.0)


def _sentence(champion: Signal, llm: Signal, *, share: float, kept: float) -> str:
    spoken = f"The language model says {llm.action}"
    weight = f"and has {share:.0%} of the weight"
    if llm.action is champion.action:
        return f"{spoken} too, and changes nothing about action and size."
    if champion.action is Action.HOLD:
        return f"{spoken}; the champion holds, and it opens no trade by itself."
    if kept == 0.0:
        return f"{spoken} {weight}: the champion's {champion.action} becomes hold."
    return f"{spoken} {weight}: {kept:.0%} of the size is left."
