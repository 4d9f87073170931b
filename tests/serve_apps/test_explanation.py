from datetime import timedelta

import pytest
import signal_cases
from serve_cases import BARE, GOOD, TICKERS, MovingClock, book, set_flags, settings_of, shelve

from pmx_ray.errors import LedgerError, NothingToServeError, SettingsError
from pmx_ray.ledger import open_ledger
from pmx_ray.ledger.books import Bookshelf
from pmx_ray.ledger.flags import FlagLog
from pmx_ray.signals.flag_source import FlagView, state_of
from pmx_ray.signals.flags import FlagState
from pmx_ray.signals.signal_id import SignalId
from pmx_ray.signals.types import FlagStatus, SignalBundle, Source
from serve_apps.board import Board, staleness, without_withdrawn
from serve_apps.explanation import UnknownSignalError, explain

FLAGS = (
    {},
    {"kill_switch": True},
    {"llm_only": True},
    {"merge_llm": True},
    {"time_series_pct": 0},
    {"time_series_pct": 50, "merge_llm": True},
)


@pytest.fixture
def ledger(tmp_path):
    with open_ledger(f"sqlite:///{tmp_path}/ledger.db") as opened:
        yield opened


@pytest.fixture
def settings(tmp_path):
    return settings_of(tmp_path)


def boards(ledger, made, *, now, max_age):
    """Return a board of a book for each version of the flags and each status they may have."""
    stale = staleness(made, now=now, max_age=max_age)
    versions = [FlagState(), *(state_of(record) for record in FlagLog(ledger).history(100))]
    return [
        Board(made, FlagView(flags.values, flags.version, status, 0.0, ""), stale, made.id)
        for flags in versions
        for status in FlagStatus
    ]


@pytest.mark.parametrize("age_h", [0, 200])
@pytest.mark.parametrize("withdrawn", [False, True])
def test_explain_when_replayed_then_the_very_bytes_that_were_served(
    ledger, settings, age_h, withdrawn
):
    made = book(note="Prices are replayed.")
    if withdrawn:
        in_service = {Source.FALLBACK: signal_cases.model(Source.FALLBACK).model_id}
        made = without_withdrawn(made, in_service)
    shelve(ledger, made)
    for flags in FLAGS:
        set_flags(ledger, **{**FlagState().values.model_dump(), **flags})
    routes = set()
    now = MovingClock().now + timedelta(hours=age_h)
    for board in boards(ledger, made, now=now, max_age=timedelta(hours=96)):
        for ticker in TICKERS:
            try:
                served = board.answer(ticker)
            except NothingToServeError:
                continue
            told = explain(ledger, served.id, settings=settings)
            replayed = SignalBundle.model_validate(told["bundle"])
            assert replayed.model_dump_json().encode() == served.body
            assert told["id"] == served.id
            assert told["flags"]["version"] == board.view.version
            assert told["because"][2] == replayed.reason
            assert all(told["because"])
            routes.add((served.route, replayed.flags_status, replayed.stale))
    expected = {"champion", "merged", "llm_only", "fallback", "killed"}
    if withdrawn:
        expected -= {"champion", "merged"}
    assert {route for route, *_ in routes} == expected
    assert {stale for *_, stale in routes} == {age_h > 96}
    assert {status for _, status, _ in routes} == set(FlagStatus)


def test_explain_when_asked_then_says_flags_book_model_and_checks(ledger, settings):
    made = book()
    shelve(ledger, made)
    version = set_flags(ledger, merge_llm=True)
    told = explain(ledger, str(_id(made, flags_version=version)), settings=settings)
    said = " ".join(told["because"])
    assert "computed at 2026-03-31 21:05:00 UTC on prices up to 2026-03-31" in said
    assert "version 1, set by test at 2026-04-01 09:00:00 UTC: by hand" in said
    assert "champion_model: By hand." in said
    assert "Costs passed." in said
    assert told["book"]["id"] == made.id
    assert set(told["entry"]["candidates"]) == {"champion", "fallback", "llm"}


def test_explain_when_no_flag_was_ever_set_then_says_so(ledger, settings):
    made = book()
    shelve(ledger, made)
    told = explain(ledger, str(_id(made)), settings=settings)
    assert "No flag had ever been set." in told["because"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"book": "f" * 12}, "no book of this ledger has an id"),
        ({"flags_version": 1}, "no version 1"),
        ({"flags_version": 10**17}, "no version"),
        ({"ticker": "NOPE"}, "holds no NOPE"),
        ({"cutoff": "2026-03-30"}, "holds no AAPL at 2026-03-30"),
        ({"ticker": BARE, "flags_status": FlagStatus.SAFE}, "no such answer was given"),
    ],
)
def test_explain_when_records_know_nothing_of_it_then_unknown(ledger, settings, changed, said):
    made = book()
    shelve(ledger, made)
    if "cutoff" in changed:
        changed = {"cutoff": made.cutoff - timedelta(days=1)}
    with pytest.raises(UnknownSignalError, match=said):
        explain(ledger, str(_id(made, **changed)), settings=settings)


def test_explain_when_two_books_share_the_start_of_their_id_then_unknown(ledger, settings):
    made = book()
    for last in "ab":
        Bookshelf(ledger).put(
            "0" * 63 + last,
            cutoff=made.cutoff,
            computed_at=made.computed_at,
            document=made.model_dump_json(),
        )
    with pytest.raises(UnknownSignalError, match="more than one book"):
        explain(ledger, str(_id(made, book="0" * 12)), settings=settings)


def test_explain_when_the_book_is_garbage_then_says_so(ledger, settings):
    made = book()
    Bookshelf(ledger).put("a" * 64, cutoff=made.cutoff, computed_at=made.computed_at, document="{}")
    with pytest.raises(LedgerError, match="is no book of signals"):
        explain(ledger, str(_id(made, book="a" * 12)), settings=settings)


@pytest.mark.parametrize("text", ["", "x", "../../etc/passwd", "20260331-" + "0" * 12 + "-f٣-ln-A"])
def test_explain_when_the_id_has_another_form_then_refused(ledger, settings, text):
    with pytest.raises(SettingsError, match="wrong form"):
        explain(ledger, text, settings=settings)


def _id(made, **changed):
    values = {
        "cutoff": made.cutoff,
        "book": made.id[:12],
        "flags_version": 0,
        "flags_status": FlagStatus.LIVE,
        "stale": False,
        "ticker": GOOD,
    }
    return SignalId(**{**values, **changed})


def test_explain_when_the_keeper_never_shelved_what_was_left_then_found_all_the_same(
    ledger, settings
):
    whole = book()
    shelve(ledger, whole)
    left = without_withdrawn(whole, {Source.FALLBACK: signal_cases.model(Source.FALLBACK).model_id})
    assert left.id != whole.id
    served = Board(left, FlagView(FlagState().values, 0, FlagStatus.LIVE, 0.0, ""), "", left.id)
    bundle = served.bundle(GOOD)
    found = explain(ledger, bundle.id, settings=settings)
    assert found["bundle"] == bundle.model_dump(mode="json")
    assert Source.CHAMPION.value not in found["book"]["models"]
