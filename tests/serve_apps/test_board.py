from datetime import timedelta

import pytest
import signal_cases
from serve_cases import BARE, CLOSED_AT, FAILED, GOOD, HELD, TICKERS, book

from pmx_ray.errors import DataError, NothingToServeError
from pmx_ray.signals.flag_source import FlagView
from pmx_ray.signals.flags import FlagValues
from pmx_ray.signals.types import FlagStatus, SignalBundle, Source
from pmx_ray.taxonomy import Action
from serve_apps.board import Board, stale_sentence, staleness, without_withdrawn

DAY = timedelta(days=1)
IN_SERVICE = {s: signal_cases.model(s).model_id for s in (Source.CHAMPION, Source.FALLBACK)}


def board(made=None, *, version=3, status=FlagStatus.LIVE, stale="", **flags):
    made = book() if made is None else made
    return Board(made, FlagView(FlagValues(**flags), version, status, 0.0, ""), stale, made.id)


def read(answer):
    return SignalBundle.model_validate_json(answer.body)


@pytest.mark.parametrize(
    ("ticker", "route", "source", "action"),
    [
        (GOOD, "champion", Source.CHAMPION, Action.BUY),
        (HELD, "champion", Source.CHAMPION, Action.HOLD),
        (FAILED, "fallback", Source.FALLBACK, Action.SELL),
        (BARE, "champion", Source.CHAMPION, Action.BUY),
    ],
)
def test_answer_when_asked_then_bytes_are_the_bundle(ticker, route, source, action):
    up = board()
    served = up.answer(ticker)
    bundle = read(served)
    assert bundle == up.bundle(ticker)
    assert (bundle.route, bundle.signal.source, bundle.signal.action) == (route, source, action)
    assert (served.id, served.route, served.source) == (bundle.id, route, source)
    assert served.fallback_used == bundle.fallback_used == (source is Source.FALLBACK)
    assert bundle.model == up.book.models[source]


def test_answer_when_asked_again_then_the_same_answer():
    up = board()
    assert up.answer(GOOD) is up.answer(GOOD)


def test_answer_when_ticker_is_not_in_the_book_then_refused():
    assert not board().knows("NOPE")
    with pytest.raises(DataError, match="ticker NOPE is not served"):
        board().answer("NOPE")


def test_answer_when_no_model_has_a_signal_then_says_who_lacks_what():
    with pytest.raises(NothingToServeError, match=f"no signal for {BARE}.*cut short"):
        board(llm_only=True).answer(BARE)


def test_answer_when_boards_differ_then_ids_do():
    boards = [
        board(),
        board(version=4),
        board(status=FlagStatus.STALE),
        board(status=FlagStatus.SAFE),
        board(stale="old"),
        board(book(note="other")),
    ]
    assert len({up.answer(GOOD).id for up in boards}) == len(boards)


def test_answer_when_prices_are_stale_then_every_ticker_holds():
    up = board(stale="the newest price is old")
    for ticker in TICKERS:
        bundle = read(up.answer(ticker))
        assert (bundle.signal.action, bundle.signal.position_frac) == (Action.HOLD, 0.0)
        assert bundle.stale


def test_without_withdrawn_when_all_are_in_service_then_the_book_itself():
    made = book()
    assert without_withdrawn(made, IN_SERVICE) is made


@pytest.mark.parametrize("now", [None, "another"])
def test_without_withdrawn_when_champion_moved_then_it_answers_no_more(now):
    in_service = {source: m for source, m in IN_SERVICE.items() if source is Source.FALLBACK}
    if now is not None:
        in_service[Source.CHAMPION] = now
    kept = without_withdrawn(book(), in_service)
    assert set(kept.models) == {Source.FALLBACK, Source.LLM}
    assert "was taken out of service" in kept.failures[Source.CHAMPION]
    for ticker in TICKERS:
        assert kept.entries[ticker].candidates[Source.CHAMPION].signal is None
    bundle = board(kept).bundle(GOOD)
    assert (bundle.signal.source, bundle.fallback_used) == (Source.FALLBACK, True)
    assert "was taken out of service" in bundle.reason
    with pytest.raises(NothingToServeError):
        board(kept).bundle(BARE)


def test_without_withdrawn_when_done_twice_then_the_same_book():
    once = without_withdrawn(book(), {})
    assert without_withdrawn(once, {}) is once
    assert set(once.models) == {Source.LLM}  # the registry knows no language model
    assert board(once, llm_only=True).bundle(GOOD).signal.source is Source.LLM


@pytest.mark.parametrize(
    ("age", "stale"),
    [
        (timedelta(0), False),
        (2 * DAY, False),
        (2 * DAY + timedelta(seconds=1), True),
        (-timedelta(seconds=1), True),  # it has not closed yet
    ],
)
def test_staleness_when_the_session_closed_so_long_ago(age, stale):
    made = book()
    said = staleness(made, now=CLOSED_AT + age, max_age=2 * DAY)
    assert bool(said) == stale
    if stale:
        assert said == stale_sentence(made, max_age=2 * DAY)
        assert "2026-03-31" in said
        assert "48 hours" in said


def test_staleness_when_prices_are_replayed_then_never_stale():
    made = book(closed_at=None)
    assert staleness(made, now=CLOSED_AT + 9000 * DAY, max_age=DAY) == ""
