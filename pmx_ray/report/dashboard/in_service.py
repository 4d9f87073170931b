"""What stands behind each alias: which model, since when, and by what right."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pmx_ray.errors import RegistryError, SettingsError
from pmx_ray.governance.opening import open_registry
from pmx_ray.governance.standing import standing
from pmx_ray.ledger.aliases import Alias, Placement, Placements
from pmx_ray.ledger.chain import AuditEntry


@dataclass(frozen=True, slots=True)
class InService:
    """A model behind an alias.

    Attributes
    ----------
    alias : Alias
        The name.
    model, label : str
        Id of the version and what people call it; the label is empty where it does not verify.
    version : int
        How often the alias has moved, from 1.
    since : datetime
        When it last did, UTC.
    by : str
        Who moved it.
    certified : bool
        Whether the model passed a certificate of its own.
    right : str
        By what right it serves, or why it cannot.
    verified : bool
        Whether every byte of it is vouched for.
    """

    alias: Alias
    model: str
    label: str
    version: int
    since: datetime
    by: str
    certified: bool
    right: str
    verified: bool

    @property
    def name(self) -> str:
        """The label with the start of the id, or the id alone."""
        return f"{self.label} {self.model[:12]}".strip()


def in_service(
    placements: Placements, root: Path, *, log: Sequence[AuditEntry] = ()
) -> tuple[InService, ...]:
    """Return what each alias points to, in the order of ``Alias``; models are verified.

    Parameters
    ----------
    placements : mapping of Alias to Placement
        The aliases that are set.
    root : Path
        Folder of the sweep folders, beside which the registry is unless told otherwise.
    log : sequence of AuditEntry, optional
        As in ``standing``.
    """
    return tuple(_one(placements[alias], root, log) for alias in Alias if alias in placements)


def _one(placement: Placement, root: Path, log: Sequence[AuditEntry]) -> InService:
    try:
        model = open_registry(root, make_key=False).load(placement.model)
        label, verified = model.version.label, True
        certified, right = standing(placement, model, log=log)
    except (RegistryError, SettingsError) as error:
        label, verified, certified, right = "", False, False, str(error)
    return InService(
        alias=placement.alias,
        model=placement.model,
        label=label,
        version=placement.version,
        since=placement.entry.at,
        by=placement.entry.actor,
        certified=certified,
        right=right,
        verified=verified,
    )
