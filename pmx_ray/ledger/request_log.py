"""The trail of requests: who asked what, how it was answered, and how long that took."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime

from sqlalchemy import delete, func, select

from pmx_ray.errors import LedgerError
from pmx_ray.ledger.appending import append_new
from pmx_ray.ledger.engines import explained, for_writing
from pmx_ray.ledger.ledger import Ledger
from pmx_ray.ledger.tables import RequestRow
from pmx_ray.ledger.wording import one_line

MAX_PATH = 200
"""Characters of a path that are kept."""


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request.

    Attributes
    ----------
    id : str
        Unique.
    at : datetime
        When it came, with a time zone; kept as UTC.
    token : str
        Name of the token, never the token; ``-`` where none was known.
    method, path : str
        What was asked; the path cut to 200 printable characters.
    status : int
        HTTP status of the answer.
    latency_s : float
        Seconds until it was answered, >= 0.
    signal_id : str
        Of the bundle that was served; empty where none was.
    replica : str
        Who answered.

    Raises
    ------
    LedgerError
        If the id is empty, the time has no zone, or the latency is negative or not finite.
    """

    id: str
    at: datetime
    token: str
    method: str
    path: str
    status: int
    latency_s: float
    signal_id: str
    replica: str

    def __post_init__(self) -> None:
        for name in ("token", "method", "path", "signal_id", "replica"):
            object.__setattr__(self, name, one_line(getattr(self, name), limit=MAX_PATH))
        if not self.id or self.at.tzinfo is None:
            raise LedgerError(f"request {self.id!r} came at {self.at}; give an id and a time zone")
        if not (math.isfinite(self.latency_s) and self.latency_s >= 0):
            raise LedgerError(
                f"latency_s of request {self.id} was {self.latency_s}; it must be >= 0"
            )


class RequestLog:
    """The requests of a ledger.

    Parameters
    ----------
    ledger : Ledger
        An open ledger; it stays the caller's to close.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._engine = ledger.engine

    def append(self, records: Iterable[RequestRecord]) -> None:
        """Write requests in one transaction; one whose id is there already stays as it is.

        Raises
        ------
        LedgerError
            If the database cannot be written; then none was.
        """
        append_new(self._engine, RequestRow, records, order=("at", "id"))

    def recent(self, n: int) -> tuple[RequestRecord, ...]:
        """Return at most ``n`` requests, newest first.

        Raises
        ------
        LedgerError
            If the database cannot be read.
        """
        columns = [RequestRow.__table__.c[field.name] for field in fields(RequestRecord)]
        query = select(*columns).order_by(RequestRow.at.desc(), RequestRow.seq.desc()).limit(n)
        with explained(self._engine, "read"), self._engine.connect() as connection:
            return tuple(RequestRecord(**row) for row in connection.execute(query).mappings())

    def counts(self, since: datetime | None = None) -> dict[int, int]:
        """Return how many requests were answered with each HTTP status, by status.

        Parameters
        ----------
        since : datetime, optional
            With a time zone; requests from then on. Without it, all that are kept.

        Raises
        ------
        LedgerError
            If the time has no zone, or the database cannot be read.
        """
        query = select(RequestRow.status, func.count()).group_by(RequestRow.status)
        if since is not None:
            if since.tzinfo is None:
                raise LedgerError(f"since was {since}, without a time zone; add one, e.g. +00:00")
            query = query.where(RequestRow.at >= since)
        with explained(self._engine, "read"), self._engine.connect() as connection:
            return dict(sorted((status, n) for status, n in connection.execute(query)))

    def prune(self, keep: int) -> int:
        """Remove all but the ``keep`` requests written last, and return how many went.

        Raises
        ------
        LedgerError
            If ``keep`` is negative, or the database cannot be written.
        """
        if keep < 0:
            raise LedgerError(f"keep was {keep}; it must be >= 0")
        with explained(self._engine, "written"), for_writing(self._engine).begin() as connection:
            last_out = select(RequestRow.seq).order_by(RequestRow.seq.desc()).offset(keep).limit(1)
            seq = connection.execute(last_out).scalar_one_or_none()
            if seq is None:
                return 0
            return connection.execute(delete(RequestRow).where(RequestRow.seq <= seq)).rowcount
