"""What is wrong with an audit log, if anything: every altered, removed or reordered entry."""

from collections.abc import Sequence
from dataclasses import dataclass

from pmx_ray.ledger.chain import GENESIS, AuditHead, StoredRow, digest

_N_TRACED = 10
"""Altered entries whose first place is sought: every place is tried for each."""


@dataclass(frozen=True, slots=True)
class AuditProblem:
    """One thing that is wrong with a log.

    Attributes
    ----------
    seq : int
        The entry; 0 for the head record.
    sentence : str
        What is wrong with it.
    """

    seq: int
    sentence: str


@dataclass(frozen=True, slots=True)
class AuditVerdict:
    """What ``verify_chain`` found.

    Attributes
    ----------
    n : int
        Entries that were read.
    problems : tuple of AuditProblem
        By place in the log; none for a sound one.
    """

    n: int
    problems: tuple[AuditProblem, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def verify_chain(
    rows: Sequence[StoredRow], head: AuditHead | None, *, expected: AuditHead | None = None
) -> AuditVerdict:
    """Return everything that is wrong with a log.

    Parameters
    ----------
    rows : sequence of StoredRow
        All that the database holds, by ``seq``.
    head : AuditHead or None
        The head record; None where it is gone.
    expected : AuditHead, optional
        A head that was noted elsewhere, at any time. Who can write to the database can rewrite
        the whole log, hashes and head included; only against this does it show.
    """
    numbered = [row for row in rows if isinstance(row["seq"], int)]
    problems = [
        AuditProblem(0, f"an entry is numbered {row['seq']!r}: altered")
        for row in rows
        if not isinstance(row["seq"], int)
    ]
    problems += [*_gaps(numbered), *_links(numbered), *_end(numbered, head)]
    if expected is not None:
        problems += _against(numbered, expected)
    return AuditVerdict(len(rows), tuple(sorted(problems, key=lambda problem: problem.seq)))


def _gaps(rows: Sequence[StoredRow]) -> list[AuditProblem]:
    found: list[AuditProblem] = []
    before = 0
    for row in rows:
        if row["seq"] != before + 1:
            found.append(_removed(before + 1, row["seq"] - 1, "between its neighbours"))
        before = row["seq"]
    return found


def _links(rows: Sequence[StoredRow]) -> list[AuditProblem]:
    """Return the rows whose content or whose predecessor is not what it was."""
    found: list[AuditProblem] = []
    before = AuditHead(0, GENESIS)
    for row in rows:
        seq = row["seq"]
        if not _is_sealed(row):
            origin = _origin(row, rows) if len(found) < _N_TRACED else None
            what = f"it was entry {origin} and was moved" if origin else "it was altered"
            found.append(AuditProblem(seq, f"the content does not match its hash: {what}"))
        if seq == before.n + 1 and row["previous"] != before.hash:
            sentence = (
                f"the hash before it is not that of entry {before.n}: one of the two was "
                "replaced or moved"
            )
            found.append(AuditProblem(seq, sentence))
        before = AuditHead(seq, row["hash"])
    return found


def _is_sealed(row: StoredRow) -> bool:
    try:
        return bool(digest(row) == row["hash"])
    except (TypeError, ValueError):
        return False


def _origin(row: StoredRow, rows: Sequence[StoredRow]) -> int | None:
    """Return the place at which a row would be sound."""
    places = range(1, len(rows) + 1)
    fitting = (place for place in places if _is_sealed({**row, "seq": place}))
    return next(fitting, None)


def _end(rows: Sequence[StoredRow], head: AuditHead | None) -> list[AuditProblem]:
    last = AuditHead(rows[-1]["seq"], rows[-1]["hash"]) if rows else AuditHead(0, GENESIS)
    if head is None:
        return [AuditProblem(0, "the head record is gone: the log's end cannot be vouched for")]
    if last.n < head.n:
        return [_removed(last.n + 1, head.n, "at the end")]
    if last.n > head.n:
        return [AuditProblem(head.n + 1, f"the head record ends at entry {head.n}: added past it")]
    if last.hash != head.hash:
        return [AuditProblem(head.n, "its hash is not the one in the head record: replaced")]
    return []


def _against(rows: Sequence[StoredRow], expected: AuditHead) -> list[AuditProblem]:
    hashes = {0: GENESIS, **{row["seq"]: row["hash"] for row in rows}}
    found = hashes.get(expected.n)
    if found == expected.hash:
        return []
    what = f"it is {str(found)[:16]}" if found else "the entry is not there"
    sentence = (
        f"the head noted elsewhere has hash {expected.hash[:16]} here and {what}: "
        "the log was cut off or rewritten at or before this entry"
    )
    return [AuditProblem(expected.n, sentence)]


def _removed(first: int, last: int, where: str) -> AuditProblem:
    entries = f"entry {first}" if first == last else f"entries {first} to {last}"
    return AuditProblem(first, f"{entries} missing {where}: removed")
