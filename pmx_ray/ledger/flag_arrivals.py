"""When each version of the flags took effect at each replica: how fast a change travels."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from pmx_ray.ledger.appending import append_new
from pmx_ray.ledger.engines import explained
from pmx_ray.ledger.flags import FlagLog
from pmx_ray.ledger.ledger import Ledger
from pmx_ray.ledger.tables import FlagArrivalRow


@dataclass(frozen=True, slots=True)
class FlagArrival:
    """A version of the flags at a replica.

    Attributes
    ----------
    version : int
        Of the flags.
    replica : str
        Where it arrived.
    at : datetime
        When it took effect there, UTC.
    """

    version: int
    replica: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Propagation:
    """How long a version took to reach the replicas that were there.

    Attributes
    ----------
    version : int
        Of the flags.
    changed_at : datetime
        When it was set, UTC.
    n_replicas : int
        Where it arrived.
    slowest_s : float
        Seconds until it had arrived at the last of them.
    """

    version: int
    changed_at: datetime
    n_replicas: int
    slowest_s: float


class FlagArrivals:
    """Arrivals in a ledger; threads and processes may record at once.

    Parameters
    ----------
    ledger : Ledger
        An open ledger; it stays the caller's to close.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._engine, self._flags = ledger.engine, FlagLog(ledger)

    def record(self, arrivals: Sequence[FlagArrival]) -> None:
        """Write arrivals; one that is there already stays as it is.

        Raises
        ------
        LedgerError
            If the database cannot be written.
        """
        append_new(self._engine, FlagArrivalRow, arrivals, order=("version", "replica"))

    def propagation(self, *, limit: int = 100) -> tuple[Propagation, ...]:
        """Return how long the latest versions took, newest first.

        A replica that starts after a change does not see it arrive, and does not count.

        Raises
        ------
        LedgerError
            If the database cannot be read.
        """
        changed = {record.version: record.at for record in self._flags.history(limit)}
        query = select(FlagArrivalRow.version, FlagArrivalRow.at)
        query = query.where(FlagArrivalRow.version.in_(changed))
        with explained(self._engine, "read"), self._engine.connect() as connection:
            seen = connection.execute(query).all()
        found = []
        for version, at in changed.items():
            waits = [(row.at - at).total_seconds() for row in seen if row.version == version]
            if waits:
                found.append(Propagation(version, at, len(waits), max(waits)))
        return tuple(found)
