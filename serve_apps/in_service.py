"""Which models are in service, by the place that each has."""

from collections.abc import Mapping

from pmx_ray.ledger import Ledger
from pmx_ray.ledger.aliases import Alias, Aliases, Placement
from pmx_ray.ledger.flags import FlagLog
from pmx_ray.signals.flag_source import state_of
from pmx_ray.signals.types import Source

ALIASES: Mapping[Source, Alias] = {
    Source.CHAMPION: Alias.CHAMPION,
    Source.FALLBACK: Alias.FALLBACK,
    Source.CHALLENGER: Alias.CHALLENGER,
}
"""The registry's name for each source that has one."""


def models_in_service(ledger: Ledger) -> dict[Source, str]:
    """Return the model that each source's alias points to."""
    return {source: placement.model for source, placement in _placed(ledger).items()}


def called_on(ledger: Ledger) -> dict[Source, Placement]:
    """Return who is to speak: the models in service, a challenger where the flags want one.

    Raises
    ------
    LedgerError
        If aliases or flags cannot be read.
    """
    called = _placed(ledger)
    record = FlagLog(ledger).current()
    if record is not None and not state_of(record).values.shadow_challenger:
        called.pop(Source.CHALLENGER, None)
    champion, shadow = called.get(Source.CHAMPION), called.get(Source.CHALLENGER)
    if champion is not None and shadow is not None and champion.model == shadow.model:
        del called[Source.CHALLENGER]  # it was promoted
    return called


def _placed(ledger: Ledger) -> dict[Source, Placement]:
    placed = Aliases(ledger).current()
    return {source: placed[alias] for source, alias in ALIASES.items() if alias in placed}
