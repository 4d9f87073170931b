from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signal_cases import COMPUTED_AT, CUTOFF, book, candidate, checks, model, signal

from pmx_ray.errors import NothingToServeError
from pmx_ray.signals.flags import FlagValues, bucket
from pmx_ray.signals.router import route
from pmx_ray.signals.signal_id import SignalId
from pmx_ray.signals.types import BookEntry, Candidate, FlagStatus, SignalBundle, Source
from pmx_ray.taxonomy import Action, RiskLevel

CHAMPION, LLM, FALLBACK, CHALLENGER = (
    Source.CHAMPION,
    Source.LLM,
    Source.FALLBACK,
    Source.CHALLENGER,
)
FULL = book(
    candidate(CHAMPION),
    candidate(LLM, Action.HOLD, size=0.0, confidence=0.3),
    candidate(FALLBACK, Action.SELL),
    candidate(CHALLENGER, Action.SELL),
)


def saying(**spoken):
    """Return the full book with some candidates replaced."""
    entry = FULL.entries["AAPL"]
    candidates = {**entry.candidates, **{Source(name): found for name, found in spoken.items()}}
    changed = entry.model_copy(update={"candidates": candidates})
    return FULL.model_copy(update={"entries": {"AAPL": changed}})


def without(*sources):
    entry = FULL.entries["AAPL"]
    left = {s: c for s, c in entry.candidates.items() if s not in sources}
    return FULL.model_copy(
        update={"entries": {"AAPL": entry.model_copy(update={"candidates": left})}}
    )


def routed(book=FULL, flags=None, *, ticker="AAPL", status=FlagStatus.LIVE, **changed):
    values = {"flags_version": 7, "flags_status": status, **changed}
    return route(book, ticker, flags or FlagValues(), **values)


@pytest.mark.parametrize(
    ("flags", "status", "expected", "source", "action", "fallback_used"),
    [
        ({}, "live", "champion", CHAMPION, "buy", False),
        ({}, "stale", "champion", CHAMPION, "buy", False),
        ({}, "safe", "fallback", FALLBACK, "sell", True),
        ({"llm_only": True}, "live", "llm_only", LLM, "hold", False),
        ({"llm_only": True}, "safe", "fallback", FALLBACK, "sell", True),
        ({"time_series_pct": 0}, "live", "fallback", FALLBACK, "sell", False),
        ({"time_series_pct": 22}, "live", "fallback", FALLBACK, "sell", False),  # place 22
        ({"time_series_pct": 23}, "live", "champion", CHAMPION, "buy", False),
        ({"merge_llm": True}, "live", "merged", CHAMPION, "buy", False),
        ({"merge_llm": True, "time_series_pct": 0}, "live", "fallback", FALLBACK, "sell", False),
        ({"merge_llm": True, "llm_only": True}, "live", "llm_only", LLM, "hold", False),
        ({"kill_switch": True}, "live", "killed", CHAMPION, "hold", False),
        ({"kill_switch": True, "llm_only": True}, "live", "killed", CHAMPION, "hold", False),
        ({"kill_switch": True}, "safe", "killed", FALLBACK, "hold", False),
    ],
)
def test_route_under_flags(flags, status, expected, source, action, fallback_used):  # proves D3, M6
    bundle = routed(flags=FlagValues(**flags), status=FlagStatus(status))
    assert (bundle.route, bundle.signal.source, bundle.signal.action) == (expected, source, action)
    assert bundle.model == model(source)
    assert bundle.fallback_used is fallback_used
    assert (bundle.flags_version, bundle.flags_status) == (7, status)


def test_route_says_why_and_what_else_there_was():
    bundle = routed(flags=FlagValues(time_series_pct=10))
    assert bundle.reason == (
        "The champion serves 10 % of tickers, and AAPL is not among them (place 22 of 0 to 99); "
        "the fallback answers."
    )
    assert bundle.considered[CHAMPION] == ("buy at +1.00% of capital, confidence 0.60, risk medium")
    assert set(bundle.considered) == set(Source)
    assert bundle.checks == checks()
    assert (bundle.cutoff, bundle.as_of) == (CUTOFF, COMPUTED_AT)
    assert bundle.id == f"20260331-{FULL.id[:12]}-f7-ln-AAPL"


def test_route_when_llm_is_missing_then_fallback_says_so():  # proves D3
    entry = FULL.entries["AAPL"]
    timed_out = entry.model_copy(
        update={
            "candidates": {**entry.candidates, LLM: Candidate(failure="it timed out after 5 s.")}
        }
    )
    bundle = routed(
        FULL.model_copy(update={"entries": {"AAPL": timed_out}}), FlagValues(llm_only=True)
    )
    assert (bundle.route, bundle.model.source) == ("fallback", FALLBACK)
    assert bundle.fallback_used
    assert bundle.reason == (
        "The flags ask for the language model alone, and it has no signal: it timed out after 5 s; "
        "the fallback answers."
    )


def test_route_when_champion_failed_as_a_whole_then_fallback_says_so():  # proves D3
    failed = FULL.model_copy(update={"failures": {CHAMPION: "the registry is gone"}})
    bundle = routed(failed)
    assert bundle.model.source is FALLBACK
    assert "The champion has no signal: the registry is gone; the fallback" in bundle.reason
    assert bundle.considered[CHAMPION] == "the registry is gone"


def test_route_when_a_layer_failed_then_held_with_its_reason():
    refused = book(candidate(CHAMPION, failed=("costs",)), candidate(FALLBACK))
    bundle = routed(refused)
    assert (bundle.route, bundle.model.source) == ("champion", CHAMPION)
    assert (bundle.signal.action, bundle.signal.position_frac) == (Action.HOLD, 0.0)
    assert bundle.signal.confidence == 0.0
    assert bundle.signal.why == "Held: Costs failed."
    assert bundle.reason == "The flags ask for the champion. Held: Costs failed."
    assert bundle.considered[CHAMPION].endswith("; it may not be acted on")
    assert bundle.signal.expected_return == 0.01  # what the model expects is not hidden


def test_route_when_a_layer_never_looked_then_held():
    unseen = book(Candidate(signal=signal(), checks=checks()[:3]))
    assert routed(unseen).signal.why == "Held: It was not checked for correlation, costs."
    assert routed(book(Candidate(signal=signal()))).signal.action is Action.HOLD


def test_route_when_prices_are_old_then_held_and_marked():
    bundle = routed(stale_reason="the newest price is of 2026-03-20")
    assert bundle.stale
    assert (bundle.signal.action, bundle.signal.position_frac) == (Action.HOLD, 0.0)
    assert bundle.reason.endswith("Held: the newest price is of 2026-03-20.")
    assert bundle.id.split("-")[3] == "lo"


def test_route_says_what_the_book_notes():
    assert routed(FULL.model_copy(update={"note": "Prices are replayed."})).reason == (
        "The flags ask for the champion. Prices are replayed."
    )


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (None, "it said nothing about the ticker"),
        (Candidate(failure="it talked garbage"), "it talked garbage"),
        (candidate(LLM, failed=("statistics",)), "cannot be relied on. Statistics failed"),
        (candidate(LLM, step=5), "its horizon is 5 sessions, the champion's 1"),
    ],
)
def test_route_when_merging_is_impossible_then_champion_alone_says_why(other, words):
    made = without(LLM) if other is None else saying(llm=other)
    bundle = routed(made, FlagValues(merge_llm=True))
    assert (bundle.route, bundle.signal.action) == ("champion", Action.BUY)
    assert words in bundle.reason
    assert bundle.fallback_used


def test_route_when_merged_champion_is_refused_then_held():
    refused = book(candidate(CHAMPION, failed=("sizing",)), candidate(LLM))
    bundle = routed(refused, FlagValues(merge_llm=True))
    assert (bundle.route, bundle.signal.position_frac) == ("merged", 0.0)
    assert bundle.reason.endswith("Held: Sizing failed.")


@pytest.mark.parametrize("level", RiskLevel)
@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("failed", [(), ("regime", "sizing", "costs")])
def test_route_when_the_llm_calls_the_risk_extreme_then_held(action, level, failed):  # proves M6
    # its checks may be idle, as it holds, or refuse a trade that nobody asks it for
    said = candidate(LLM, action, size=0.0, confidence=0.01, risk_level=level, failed=failed)
    bundle = routed(saying(llm=said), FlagValues(merge_llm=True))
    assert bundle.route == "merged"
    extreme = level is RiskLevel.EXTREME
    assert bundle.signal.action is (Action.HOLD if extreme else Action.BUY)
    if extreme and action is Action.BUY:
        assert bundle.reason.endswith(
            "It raises the risk level from medium to extreme. Held: The risk level is extreme; "
            "only extreme is refused. Not met."
        )
        assert [check.layer for check in bundle.checks if not check.passed] == ["regime"]


def test_route_when_neither_side_counts_and_risk_is_extreme_then_held():
    said = candidate(LLM, Action.HOLD, size=0.0, confidence=0.0, risk_level=RiskLevel.EXTREME)
    bundle = routed(saying(llm=said), FlagValues(merge_llm=True))
    assert (bundle.signal.action, bundle.signal.position_frac) == (Action.HOLD, 0.0)
    assert "The risk level is extreme" in bundle.reason


@pytest.mark.parametrize(
    ("doubtful", "words"),
    [
        (candidate(CHAMPION, cutoff=date(2026, 3, 30)), "saw prices up to 2026-03-30"),
        (Candidate(signal=signal(LLM), checks=checks()), "made by the language model"),
        (Candidate(signal=signal(ticker="MSFT"), checks=checks()), "is about MSFT"),
    ],
)
def test_route_when_a_signal_is_not_what_its_place_says_then_not_shown(doubtful, words):
    entry = BookEntry(ticker="AAPL", candidates={CHAMPION: doubtful, FALLBACK: candidate(FALLBACK)})
    bundle = routed(FULL.model_copy(update={"entries": {"AAPL": entry}}))
    assert bundle.model.source is FALLBACK
    assert words in bundle.reason


def test_route_when_the_model_is_not_named_then_not_shown():  # proves D3
    nameless = book(candidate(CHAMPION), candidate(FALLBACK), models=[FALLBACK])
    assert routed(nameless).model.source is FALLBACK
    swapped = FULL.model_copy(update={"models": {**FULL.models, CHAMPION: model(FALLBACK)}})
    assert "does not say which model" in routed(swapped).reason


def test_route_when_the_cutoff_lies_after_the_computation_then_not_shown():
    early = FULL.model_copy(update={"computed_at": COMPUTED_AT - timedelta(days=1)})
    with pytest.raises(NothingToServeError, match="lies after the moment it was computed"):
        routed(early)


@pytest.mark.parametrize(
    ("left", "flags", "status", "words"),
    [
        (without(CHAMPION, FALLBACK), {}, "live", "the champion has no signal"),
        (without(FALLBACK), {}, "safe", "the flags have not been known for too long"),
        (without(FALLBACK), {"time_series_pct": 0}, "live", "the champion serves 0 %"),
        (without(LLM, FALLBACK), {"llm_only": True}, "live", "the language model alone"),
        (without(*Source), {"kill_switch": True}, "live", "the kill switch is on"),
    ],
)
def test_route_when_nothing_may_be_shown_then_error_says_why(left, flags, status, words):
    with pytest.raises(NothingToServeError, match=words):
        routed(left, FlagValues(**flags), status=FlagStatus(status))


def test_route_when_ticker_is_unknown_then_error():
    for ticker in ("MSFT", "../etc", "", "a" * 1000):
        with pytest.raises(NothingToServeError, match="there is no signal for"):
            routed(ticker=ticker)


def test_route_when_the_id_of_the_book_is_given_then_it_names_the_answer():
    assert SignalId.parse(routed(book_id="ab" * 32).id).book == "ab" * 6


FLAGS = st.builds(
    FlagValues,
    kill_switch=st.booleans(),
    llm_only=st.booleans(),
    time_series_pct=st.integers(0, 100),
    merge_llm=st.booleans(),
    shadow_challenger=st.booleans(),
)
TICKERS = st.sampled_from(["AAPL", "BRK-B", "RDS.A", "EURUSD=X"])


@st.composite
def candidates(draw, ticker):
    if draw(st.integers(0, 4)) == 0:
        return Candidate(failure=draw(st.sampled_from(["it failed", "garbage."])))
    action = draw(st.sampled_from(Action))
    made = signal(
        draw(st.sampled_from(Source)),
        action,
        ticker=draw(st.sampled_from([ticker, ticker, ticker, "MSFT"])),
        size=draw(st.sampled_from([0.0, 0.004, 0.02])),
        confidence=draw(st.floats(0.0, 1.0)),
        risk_level=draw(st.sampled_from(RiskLevel)),
        step=draw(st.sampled_from([1, 1, 5])),
        cutoff=draw(st.sampled_from([CUTOFF, CUTOFF, CUTOFF - timedelta(days=1)])),
    )
    failed = draw(st.sampled_from([(), (), ("costs",), ("statistics", "regime")]))
    seen = draw(st.sampled_from([5, 5, 0]))
    return Candidate(signal=made, checks=checks(*failed)[:seen])


@st.composite
def books(draw):
    """Return any book at all, also one that contradicts itself, and a ticker."""
    ticker = draw(TICKERS)
    spoken = {}
    for source in draw(st.lists(st.sampled_from(Source), unique=True)):
        found = draw(candidates(ticker))
        if found.signal is not None and draw(st.integers(0, 5)):
            found = found.model_copy(
                update={"signal": found.signal.model_copy(update={"source": source})}
            )
        spoken[source] = found
    named = draw(st.lists(st.sampled_from(Source), unique=True))
    models = {source: model(draw(st.sampled_from([source, source, CHAMPION]))) for source in named}
    failures = draw(st.dictionaries(st.sampled_from(Source), st.just("down"), max_size=1))
    made = book(
        models=(),
        entries={ticker: BookEntry(ticker=ticker, candidates=spoken)},
        failures=failures,
        computed_at=COMPUTED_AT - timedelta(days=draw(st.sampled_from([0, 0, 0, 1]))),
        note=draw(st.sampled_from(["", "Replayed."])),
    )
    return made.model_copy(update={"models": models}), ticker


@settings(max_examples=300)
@given(books(), FLAGS, st.sampled_from(FlagStatus), st.sampled_from(["", "prices are old"]))
def test_route_of_any_book_under_any_flags(drawn, flags, status, stale_reason):  # proves D3, M6
    made, ticker = drawn
    usable = {source for source in Source if _usable(made, ticker, source)}
    try:
        bundle = routed(made, flags, ticker=ticker, status=status, stale_reason=stale_reason)
    except NothingToServeError:
        assert not usable & {*_asked(ticker, flags, status), FALLBACK}
        return
    assert usable & {*_asked(ticker, flags, status), FALLBACK}
    source = bundle.signal.source
    assert SignalBundle.model_validate_json(bundle.model_dump_json()) == bundle
    assert SignalId.parse(bundle.id).ticker == ticker
    # the model named is the one that made the signal: its own place, its own numbers
    assert bundle.model == made.models[source]
    assert bundle.model.source is source
    candidate = made.entries[ticker].candidates[source]
    assert bundle.signal.expected_return == candidate.signal.expected_return
    assert abs(bundle.signal.position_frac) <= abs(candidate.signal.position_frac)
    assert bundle.checks == candidate.checks or bundle.route == "merged"
    assert [c.layer for c in bundle.checks] == [c.layer for c in candidate.checks]
    if bundle.route == "merged" and bundle.signal.action is not Action.HOLD:
        assert bundle.signal.risk_level is not RiskLevel.EXTREME
        assert bundle.signal.confidence == candidate.signal.confidence
    # what must not trade does not
    if flags.kill_switch or stale_reason or not all(c.passed for c in bundle.checks):
        assert (bundle.signal.action, bundle.signal.position_frac) == (Action.HOLD, 0.0)
    if len(bundle.checks) < 5:
        assert bundle.signal.action is Action.HOLD
    if flags.kill_switch:
        assert bundle.route == "killed"
    if status is FlagStatus.SAFE:
        assert source is not CHAMPION
    if status is FlagStatus.SAFE and not flags.kill_switch:
        assert source is FALLBACK
    assert source is not CHALLENGER


def _asked(ticker, flags, status):
    """Return who may answer without being a stand-in, written down a second time."""
    if flags.kill_switch:
        return {LLM, FALLBACK} if status is FlagStatus.SAFE else {CHAMPION, LLM, FALLBACK}
    if status is FlagStatus.SAFE:
        return {FALLBACK}
    if flags.llm_only:
        return {LLM}
    taken = bucket(ticker, salt="time_series_pct") < flags.time_series_pct
    return {CHAMPION} if taken else {FALLBACK}


def _usable(made, ticker, source):
    """Return whether a candidate may be shown, written down a second time."""
    candidate = made.entries[ticker].candidates.get(source)
    own = made.models.get(source)
    return (
        candidate is not None
        and candidate.signal is not None
        and own is not None
        and own.source is source
        and source not in made.failures
        and candidate.signal.source is source
        and candidate.signal.ticker == ticker
        and candidate.signal.cutoff == made.cutoff
        and made.cutoff <= made.computed_at.date()
    )


@given(st.lists(st.integers(0, 100), min_size=2, max_size=5))
def test_route_when_the_percentage_rises_then_tickers_only_join(percentages):  # proves M6
    names = ["AAPL", "MSFT", "KO", "XOM", "PG", "JPM", "BRK-B", "GE"]

    def served(pct):
        flags = FlagValues(time_series_pct=pct)
        return {name for name in names if _served(name, flags) == CHAMPION}

    sets = [served(pct) for pct in sorted(percentages)]
    assert all(before <= after for before, after in pairwise(sets))
    assert served(0) == set()
    assert served(100) == set(names)


def _served(name, flags):
    made = book(candidate(CHAMPION, ticker=name), candidate(FALLBACK, ticker=name), ticker=name)
    return routed(made, flags, ticker=name).model.source


def test_rollout_takes_in_about_as_many_as_it_says():  # proves M6
    places = [bucket(f"T{n}", salt="time_series_pct") for n in range(2000)]
    # binomial with p = 0.3: 600 give or take 4 standard deviations of 20.5
    assert abs(sum(place < 30 for place in places) - 600) < 82


def test_route_twice_then_the_same_bytes():
    assert routed().model_dump_json() == routed().model_dump_json()
