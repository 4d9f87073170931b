"""The ledger's pulse: three numbers that tell a reader, many times a second, whether it must look.

A poll costs one statement. It waits for no writer, and for no database longer than it is told.
"""

from dataclasses import dataclass

from sqlalchemy import func, literal, select, union_all

from pmx_ray.ledger.engines import explained
from pmx_ray.ledger.ledger import Ledger
from pmx_ray.ledger.patience import PatientReader
from pmx_ray.ledger.tables import AliasRow, BookRow, FlagVersionRow


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a reader compares with what it saw last.

    Attributes
    ----------
    flags_version : int
        Of the newest flags; 0 where none was ever set.
    book_seq : int
        Of the newest book; 0 where there is none.
    aliases : tuple of (str, int)
        Each alias that is set with its version, by name.
    """

    flags_version: int
    book_seq: int
    aliases: tuple[tuple[str, int], ...]


_QUERY = union_all(
    select(literal(0), literal(""), func.coalesce(func.max(FlagVersionRow.version), 0)),
    select(literal(1), literal(""), func.coalesce(func.max(BookRow.seq), 0)),
    select(literal(2), AliasRow.alias, AliasRow.version),
)


def read_pulse(ledger: Ledger) -> Pulse:
    """Return the pulse, all of one moment.

    It waits for as long as the database lets it; ``PulseReader`` does not.

    Raises
    ------
    LedgerError
        If the database cannot be read.
    """
    with explained(ledger.engine, "read"), ledger.engine.connect() as connection:
        rows = sorted((kind, name, version) for kind, name, version in connection.execute(_QUERY))
    (_, _, flags), (_, _, book), *aliases = rows
    return Pulse(flags, book, tuple((name, version) for _, name, version in aliases))


class PulseReader:
    """Reads the pulse and gives up in good time, also where the database hangs without a word.

    Threads may share a reader.

    Parameters
    ----------
    ledger : Ledger
        An open ledger; it stays the caller's to close.
    timeout_s : float
        Seconds until a read is given up.
    """

    def __init__(self, ledger: Ledger, *, timeout_s: float = 2.0) -> None:
        self._reader = PatientReader(
            lambda: read_pulse(ledger), of=ledger.shown_url, timeout_s=timeout_s
        )

    def read(self) -> Pulse:
        """Return the pulse.

        Raises
        ------
        LedgerError
            If the database cannot be read, or did not answer in time.
        """
        return self._reader.read()
