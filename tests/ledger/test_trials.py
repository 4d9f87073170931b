"""Trials on both databases: recorded once, counted by overlap, given back bit by bit."""

import multiprocessing
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pmx_ray.errors import LedgerError
from pmx_ray.ledger import open_ledger
from pmx_ray.ledger.trials import Trial, Trials, TrialSource

START = np.datetime64("2024-01-01")


def days(first: int, stop: int, every: int = 1) -> np.ndarray:
    return START + np.arange(first, stop, every).astype("timedelta64[D]")


def trial(
    config: str = "c1",
    *,
    tickers: str = "ABC",
    cutoffs: np.ndarray | None = None,
    seed: int = 0,
    source: TrialSource = TrialSource.SWEEP,
) -> Trial:
    dates = days(0, 10) if cutoffs is None else cutoffs
    returns = np.random.default_rng(seed).normal(0, 0.01, len(dates))
    return Trial(config, "spec", "garch", 5, source, tuple(tickers), dates, returns)


def assert_same(found: Trial, expected: Trial) -> None:
    for name in ("config_id", "spec_id", "label", "step", "source", "tickers"):
        assert getattr(found, name) == getattr(expected, name)
    assert found.cutoffs.dtype == expected.cutoffs.dtype
    assert found.cutoffs.tobytes() == expected.cutoffs.tobytes()
    assert found.returns.tobytes() == expected.returns.tobytes()


def whole(trials: Trials, tickers: str = "ABC") -> tuple[Trial, ...]:
    return trials.touching(tuple(tickers), first=START, last=START + 10_000)


def test_record_when_read_again_then_the_same_bits(url: str) -> None:
    odd = replace(trial(), returns=[0.1 + 0.2, np.nan, 5e-324, -0.0, -1.0, 0, 1, 2, 3, 4])
    with open_ledger(url) as ledger:
        assert Trials(ledger).record([odd]) == 1
    with open_ledger(url) as ledger:
        (found,) = whole(Trials(ledger))
    assert_same(found, odd)
    assert not found.returns.flags.writeable


def test_record_when_repeated_then_nothing_changes_and_the_first_source_stays(url: str) -> None:
    with open_ledger(url) as ledger:
        trials = Trials(ledger)
        assert trials.record([trial(), trial("c2")]) == 2
        assert trials.record([trial(), trial("c2"), trial(source=TrialSource.CI)]) == 0
        assert trials.n_trials("A", first=START, last=START) == 2
        assert_same(whole(trials)[0], trial())


def test_record_when_returns_changed_then_the_new_ones_and_the_same_count(url: str) -> None:
    with open_ledger(url) as ledger:
        trials = Trials(ledger)
        trials.record([trial(seed=1)])
        assert trials.record([trial(seed=2)]) == 1
        (found,) = whole(trials)
        assert_same(found, trial(seed=2))


@pytest.mark.parametrize(
    ("tickers", "first", "last", "n"),
    [
        ("ABC", 0, 9, 1),  # the same slice
        ("ABC", 0, 10, 1),  # one more day
        ("AB", 0, 9, 1),  # a ticker fewer
        ("CXYZ", 0, 9, 1),  # one in common is enough
        ("ABC", 1, 9, 1),  # a shifted start
        ("ABC", 9, 99, 1),  # the last cutoff alone
        ("ABC", -99, 0, 1),  # the first cutoff alone
        ("XYZ", 0, 9, 0),  # other tickers
        ("ABC", 10, 99, 0),  # after the last cutoff
        ("ABC", -99, -1, 0),  # before the first
    ],
)
def test_n_trials_when_slices_overlap_then_counted(
    url: str, tickers: str, first: int, last: int, n: int
) -> None:
    window = {"first": START + first, "last": START + last}
    with open_ledger(url) as ledger:
        trials = Trials(ledger)
        trials.record([trial()])
        assert trials.n_trials(tuple(tickers), **window) == n
        assert len(trials.touching(tuple(tickers), **window)) == n


def test_n_trials_when_the_window_lies_between_two_cutoffs_then_none(url: str) -> None:
    with open_ledger(url) as ledger:
        trials = Trials(ledger)
        trials.record([trial(cutoffs=days(0, 100, 10))])
        assert trials.n_trials("A", first=START + 11, last=START + 19) == 0
        assert trials.n_trials("A", first=START + 11, last=START + 20) == 1


def test_touching_when_one_config_has_many_slices_then_the_latest_of_the_longest(url: str) -> None:
    latest = trial(cutoffs=days(2, 12), seed=3)
    rows = [
        trial(cutoffs=days(0, 10), seed=1),
        trial(cutoffs=days(5, 12), seed=2),
        latest,
        trial(tickers="XYZ", cutoffs=days(0, 50), seed=4),  # touches nothing of A
        trial("c2", cutoffs=days(0, 4), seed=5),
    ]
    for order in (rows, rows[::-1]):  # what was recorded last does not matter
        with open_ledger(url) as ledger:
            trials = Trials(ledger)
            trials.record(order)
            found = trials.touching("A", first=START, last=START + 99)
            assert [row.config_id for row in found] == ["c1", "c2"]
            assert_same(found[0], latest)
            assert trials.n_trials("A", first=START, last=START + 99) == 2


def test_touching_when_the_ledger_is_empty_then_none(url: str) -> None:
    with open_ledger(url) as ledger:
        assert whole(Trials(ledger)) == ()
        assert Trials(ledger).n_trials("A", first=START, last=START) == 0
        assert Trials(ledger).record([]) == 0


slices = st.tuples(
    st.integers(0, 3),
    st.sets(st.sampled_from("ABCD"), min_size=1),
    st.sets(st.integers(0, 12), min_size=1),
)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(recorded=st.lists(slices, max_size=6), window=slices)
def test_n_trials_when_any_slices_then_as_counted_by_hand(
    url: str, recorded: list[tuple[int, set[str], set[int]]], window: tuple[int, set[str], set[int]]
) -> None:
    _, wanted, around = window
    with open_ledger(url) as ledger:
        with ledger.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM evaluated_trials")
            connection.exec_driver_sql("DELETE FROM slices")
        trials = Trials(ledger)
        trials.record(
            trial(f"c{n}", tickers="".join(sorted(names)), cutoffs=START + np.array(sorted(at)))
            for n, names, at in recorded
        )
        by_hand = {
            f"c{n}"
            for n, names, at in recorded
            if names & wanted and any(min(around) <= day <= max(around) for day in at)
        }
        found = trials.touching(sorted(wanted), first=START + min(around), last=START + max(around))
        assert {row.config_id for row in found} == by_hand


def _record(task: tuple[str, int]) -> int:
    url, writer = task
    rows = [trial(f"own-{writer}-{n}", seed=n) for n in range(10)]
    shared = [trial(f"shared-{n}", cutoffs=days(n, n + 8), seed=n) for n in range(10)]
    with open_ledger(url) as ledger:
        both = [*rows, *shared]
        return Trials(ledger).record(both[::-1] if writer % 2 else both)


def test_record_when_four_processes_write_at_once_then_each_trial_once(url: str) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        written = pool.map(_record, [(url, n) for n in range(4)], chunksize=1)
    assert sum(written) == 4 * 10 + 10
    with open_ledger(url) as ledger:
        assert Trials(ledger).n_trials("A", first=START, last=START + 99) == 50


def test_record_when_one_cannot_be_written_then_none_is(url: str) -> None:
    with open_ledger(url) as ledger:
        with ledger.engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE evaluated_trials")
        with pytest.raises(LedgerError, match="cannot be written"):
            Trials(ledger).record([trial()])
        with ledger.engine.begin() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM slices").scalar() == 0


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"config_id": ""}, "empty id"),
        ({"step": 0}, "step of trial c1 was 0"),
        ({"tickers": ()}, "at least one"),
        ({"tickers": ("B", "A")}, "sorted"),
        ({"tickers": ("A", "A")}, "each once"),
        ({"cutoffs": days(0, 0), "returns": []}, "at least one, increasing"),
        ({"cutoffs": days(0, 10)[::-1]}, "increasing"),
        ({"cutoffs": days(0, 9)}, "give 9 values"),
        ({"returns": [np.inf] * 10}, "10 infinities"),
        ({"cutoffs": np.array(["NaT"], "datetime64[D]"), "returns": [0.0]}, "cutoff was NaT"),
    ],
)
def test_trial_when_a_field_is_wrong_then_refused(bad: dict[str, object], said: str) -> None:
    with pytest.raises(LedgerError, match=said):
        replace(trial(), **bad)


def test_trial_when_its_source_is_unknown_then_refused() -> None:
    with pytest.raises(ValueError, match="magic"):
        replace(trial(), source="magic")


@pytest.mark.parametrize(("tickers", "first", "last"), [((), 0, 1), (("A",), 1, 0)])
def test_n_trials_when_the_window_is_empty_then_refused(
    url: str, tickers: tuple[str, ...], first: int, last: int
) -> None:
    with open_ledger(url) as ledger, pytest.raises(LedgerError, match="the window was"):
        Trials(ledger).n_trials(tickers, first=START + first, last=START + last)


def test_slice_when_stored_then_days_are_little_endian_int32(url: str) -> None:
    # 2024-01-01 is day 19723 since 1970: 0x4D0B.
    with open_ledger(url) as ledger:
        Trials(ledger).record([replace(trial(cutoffs=days(0, 1)), returns=[1.0])])
        with ledger.engine.connect() as connection:
            joined = "slices JOIN evaluated_trials USING (slice_id)"
            query = f"SELECT cutoffs, returns, first FROM {joined}"
            cutoffs, returns, first = connection.exec_driver_sql(query).one()
    assert bytes(cutoffs) == b"\x0b\x4d\x00\x00"
    assert bytes(returns) == b"\x00\x00\x00\x00\x00\x00\xf0\x3f"
    assert str(first) == str(date(2024, 1, 1))
