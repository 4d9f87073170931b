"""Books on both databases: put once, found by the start of their id, never changed."""

from datetime import UTC, date, datetime

import pytest
from sqlalchemy import text

from pmx_ray.errors import LedgerError
from pmx_ray.ledger import open_ledger
from pmx_ray.ledger.books import Bookshelf, ShelvedBook

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DAY = date(2026, 2, 27)
A, B, NEAR_A = "a" * 64, "b" * 64, "a" * 63 + "b"


def put(shelf: Bookshelf, book_id: str, cutoff: date = DAY, document: str = "{}") -> int:
    return shelf.put(book_id, cutoff=cutoff, computed_at=NOON, document=document)


def test_put_when_new_then_latest_and_found(url: str) -> None:
    with open_ledger(url) as ledger:
        assert Bookshelf(ledger).latest() is None
        seq = put(Bookshelf(ledger), A, document='{"name": "Zürich"}')
    with open_ledger(url) as ledger:
        shelf = Bookshelf(ledger)
        assert shelf.latest() == ShelvedBook(seq, A, DAY, NOON, '{"name": "Zürich"}')
        assert shelf.get(A) == shelf.get(A[:12]) == '{"name": "Zürich"}'


def test_put_when_same_id_twice_then_nothing_changes(url: str) -> None:
    with open_ledger(url) as ledger:
        shelf = Bookshelf(ledger)
        first = put(shelf, A, document="1")
        second = put(shelf, B)
        assert second > first
        assert put(shelf, A, document="2") == first
        latest = shelf.latest()
        assert latest is not None
        assert latest.book_id == B
        assert shelf.get(A) == "1"


def test_latest_when_an_older_cutoff_is_put_later_then_that_one(url: str) -> None:
    with open_ledger(url) as ledger:
        shelf = Bookshelf(ledger)
        put(shelf, A)
        put(shelf, B, date(2020, 1, 2))
        latest = shelf.latest()
        assert latest is not None
        assert latest.book_id == B


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("a" * 12, "more than one book"),
        ("c" * 12, "no book"),
        ("b" * 11, "12 to 64 hexadecimal"),
        ("b" * 65, "12 to 64 hexadecimal"),
        ("B" * 12, "12 to 64 hexadecimal"),
        ("%" * 12, "12 to 64 hexadecimal"),
        ("b" * 12 + "\n", "12 to 64 hexadecimal"),
    ],
)
def test_get_when_unknown_or_ambiguous_then_refused(url: str, asked: str, said: str) -> None:
    with open_ledger(url) as ledger:
        shelf = Bookshelf(ledger)
        for book_id in (A, NEAR_A, B):
            put(shelf, book_id)
        with pytest.raises(LedgerError, match=said):
            shelf.get(asked)


@pytest.mark.parametrize("book_id", ["", "a" * 12, "g" * 64, "A" * 64])
def test_put_when_id_is_no_hash_then_refused(url: str, book_id: str) -> None:
    with open_ledger(url) as ledger, pytest.raises(LedgerError, match="64 hexadecimal"):
        put(Bookshelf(ledger), book_id)


def test_put_when_time_has_no_zone_then_refused(url: str) -> None:
    with open_ledger(url) as ledger, pytest.raises(LedgerError, match="without a time zone"):
        Bookshelf(ledger).put(A, cutoff=DAY, computed_at=datetime(2026, 1, 1), document="")


def test_cutoffs_when_asked_then_last_book_of_each_from_there_on(url: str) -> None:
    with open_ledger(url) as ledger:
        shelf = Bookshelf(ledger)
        put(shelf, A, date(2026, 2, 27))
        put(shelf, NEAR_A, date(2026, 2, 26))
        put(shelf, B, date(2026, 2, 27))
        assert list(shelf.cutoffs(date(2026, 2, 1)).items()) == [
            (date(2026, 2, 26), NEAR_A),
            (date(2026, 2, 27), B),
        ]
        assert shelf.cutoffs(date(2026, 2, 28)) == {}


@pytest.mark.parametrize("verb", ["UPDATE signal_books SET document = 'x'", "DELETE FROM signal_books"])  # fmt: skip  # noqa: E501
def test_books_when_changed_past_our_code_then_database_refuses(url: str, verb: str) -> None:
    with open_ledger(url) as ledger:
        put(Bookshelf(ledger), A)
        with pytest.raises(Exception, match="never changed"), ledger.engine.begin() as connection:
            connection.execute(text(verb))
