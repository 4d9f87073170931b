"""The champion's signal as a language model's holds it back: less size, less sure, never more.

Priority is ``confidence * (1 - risk score)``, and the language model's share s of both priorities
decides how much it counts:

====================  ==========================================================================
it says the same      action, size and confidence stay
it says hold          size and confidence times ``1 - s``; hold where s exceeds a half
it says the opposite  size and confidence times ``1 - 2 s``; hold where s is a half or more
the champion holds    it stays a hold: a model without a track record opens no trade
====================  ==========================================================================

The risk level is the higher of both. Expected return and volatility stay the champion's, and the
position only shrinks, so that what the validator found about the champion's signal still holds.
"""

from dataclasses import dataclass

from pmx_ray.signals.types import Signal
from pmx_ray.taxonomy import Action


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


def priority(signal: Signal) -> float:
    """Return ``confidence * (1 - risk score)``, 0 to 1: extreme risk has none."""
    return signal.confidence * (1.0 - signal.risk_level.score)


def share_of(other: Signal, *, beside: Signal) -> float:
    """Return the share of ``other`` in both priorities, 0 to 1; a half where both have none."""
    total = priority(other) + priority(beside)
    return priority(other) / total if total > 0.0 else 0.5


def merge(champion: Signal, llm: Signal) -> Merger:
    """Return the champion's signal as the language model's changes it.

    Parameters
    ----------
    champion, llm : Signal
        About the same ticker, horizon and cutoff.
    """
    share = share_of(llm, beside=champion)
    kept = _kept(champion.action, llm.action, share)
    level = max(champion.risk_level, llm.risk_level, key=lambda word: word.severity)
    action = champion.action if kept > 0.0 else Action.HOLD
    sentence = _sentence(champion, llm, share=share, kept=kept)
    if level is not champion.risk_level:
        sentence += f" It raises the risk level from {champion.risk_level} to {level}."
    changed = {
        "action": action,
        "risk_level": level,
        "confidence": champion.confidence * kept,
        "position_frac": champion.position_frac * kept if kept > 0.0 else 0.0,
        "why": f"{champion.why} {sentence}",
    }
    return Merger(champion.model_copy(update=changed), sentence)


def _kept(champion: Action, llm: Action, share: float) -> float:
    """Return the share of size and confidence that is left, 0 to 1."""
    if Action.HOLD is champion or llm is champion:
        return 1.0
    if llm is Action.HOLD:
        return 1.0 - share if share <= 0.5 else 0.0
    return max(1.0 - 2.0 * share, 0.0)


def _sentence(champion: Signal, llm: Signal, *, share: float, kept: float) -> str:
    spoken = f"The language model says {llm.action}"
    weight = f"at {share:.0%} of both priorities"
    if llm.action is champion.action:
        return f"{spoken} too, and changes nothing about action and size."
    if champion.action is Action.HOLD:
        return f"{spoken}; the champion holds, and it opens no trade by itself."
    if kept == 0.0:
        return f"{spoken} {weight}: the champion's {champion.action} becomes hold."
    return f"{spoken} {weight}: {kept:.0%} of size and confidence are left."
