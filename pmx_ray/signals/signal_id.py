"""The name of an answer: readable, and enough to compute the answer again."""

import re
from dataclasses import dataclass
from datetime import date
from typing import Self

from pmx_ray.errors import SettingsError
from pmx_ray.signals.types import TICKER_PATTERN, FlagStatus

BOOK_CHARS = 12
"""Characters of a book's id inside a signal's."""

STATUS_LETTERS = {FlagStatus.LIVE: "l", FlagStatus.STALE: "s", FlagStatus.SAFE: "x"}
FRESH, OLD = "n", "o"

_STATUSES = {letter: status for status, letter in STATUS_LETTERS.items()}
_FORM = re.compile(
    rf"(?P<day>[0-9]{{8}})-(?P<book>[0-9a-f]{{{BOOK_CHARS}}})-f(?P<version>0|[1-9][0-9]{{0,17}})"
    rf"-(?P<status>[lsx])(?P<age>[no])-(?P<ticker>{TICKER_PATTERN[1:-1]})"
)


@dataclass(frozen=True, slots=True)
class SignalId:
    """What an answer was made from.

    Written ``20260331-0a1b2c3d4e5f-f7-ln-AAPL``: the cutoff, the start of the book's id, the
    version of the flags, how well they were known (l live, s stale, x safe), whether the newest
    price was new or old (n, o), and the ticker.

    Attributes
    ----------
    cutoff : date
        Of the book.
    book : str
        First ``BOOK_CHARS`` characters of the book's id.
    flags_version : int
        Version of the flags, >= 0.
    flags_status : FlagStatus
        How well they were known.
    stale : bool
        Whether the newest price was too old to trade on.
    ticker : str
        Whom the answer is about.

    Raises
    ------
    SettingsError
        If a part does not have the form above.
    """

    cutoff: date
    book: str
    flags_version: int
    flags_status: FlagStatus
    stale: bool
    ticker: str

    def __post_init__(self) -> None:
        if _FORM.fullmatch(str(self)) is None:
            raise _malformed(str(self))

    def __str__(self) -> str:
        day = self.cutoff.isoformat().replace("-", "")
        letters = STATUS_LETTERS[self.flags_status] + (OLD if self.stale else FRESH)
        return f"{day}-{self.book}-f{self.flags_version}-{letters}-{self.ticker}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the id that ``text`` writes.

        Raises
        ------
        SettingsError
            If it writes none.

        Examples
        --------
        >>> SignalId.parse("20260331-0a1b2c3d4e5f-f7-ln-BRK-B").ticker
        'BRK-B'
        """
        found = _FORM.fullmatch(text)
        if found is None:
            raise _malformed(text)
        day = found["day"]
        try:
            cutoff = date(int(day[:4]), int(day[4:6]), int(day[6:]))
        except ValueError:
            raise _malformed(text) from None
        return cls(
            cutoff=cutoff,
            book=found["book"],
            flags_version=int(found["version"]),
            flags_status=_STATUSES[found["status"]],
            stale=found["age"] == OLD,
            ticker=found["ticker"],
        )


def _malformed(text: str) -> SettingsError:
    shown = text if len(text) <= 64 else f"{text[:64]}…"
    return SettingsError(
        f"signal id {shown!r} has the wrong form; it looks like 20260331-0a1b2c3d4e5f-f7-ln-AAPL "
        "and is the field id of an answer"
    )
