"""What a search freezes, what it counts, and that a sweep takes it where it may."""

import pyarrow.parquet as pq
import pytest
import yaml
from tune_cases import book_of, contest_of, ledger_in, prepared, searched

from pmx_ray.backtest.settings import load_settings
from pmx_ray.backtest.tuned import TUNED, read_tuned
from pmx_ray.errors import DataError, SettingsError
from pmx_ray.ledger.trials import Trials
from tune_jobs.choice import TRIALS, chosen, freeze
from tune_jobs.history import Past, State
from tune_jobs.job import open_loop, save


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished search with its ledger, study and choice."""
    root = tmp_path_factory.mktemp("search")
    search = prepared(root)
    contest = contest_of(search)
    with ledger_in(root) as ledger:
        past = searched(search, ledger, contest)
        study = search.open_study(ledger)
        save(search)
        yield search, past, freeze(search, study, contest), ledger
        study.close()


def test_search_when_done_then_every_trial_once_and_the_first_is_the_default(done):
    search, past, _, _ = done
    assert [p.number for p in past] == list(range(12))
    assert len({p.key for p in past}) == 12
    assert search.space.spec(past[0].params) == search.space.default
    assert {p.state for p in past} == {State.COMPLETE, State.PRUNED}


def test_choice_when_frozen_then_the_lowest_loss_of_the_complete_trials(done):
    search, past, choice, _ = done
    best = min((p for p in past if p.state is State.COMPLETE), key=lambda p: p.values[0])
    assert choice.tuned.tuning_loss == best.values[0] <= choice.tuned.default_tuning_loss
    written = dict(choice.tuned.forecasters[0])
    assert search.space.spec(best.params).params == tuple(
        sorted((k, v) for k, v in written.items() if k != "name")
    )
    assert contest_of(search).whole(search.space.spec(best.params)).loss == best.values[0]
    assert read_tuned(search.folder / TUNED) == choice.tuned


def test_trials_file_when_written_then_a_row_a_trial(done):
    search, past, _, _ = done
    rows = pq.read_table(search.folder / TRIALS).to_pylist()
    assert [(r["number"], r["state"]) for r in rows] == [(p.number, p.state.value) for p in past]
    assert [tuple(r["rung_losses"]) for r in rows] == [p.rungs for p in past]


def test_ledger_when_searched_then_every_trial_counts_where_it_was_seen(done):
    search, past, _, ledger = done
    sessions, plan = search.panel.sessions, search.plan
    window = {"first": sessions[plan.cutoff[0]], "last": sessions[plan.cutoff[-1]]}
    found = Trials(ledger).touching(search.panel.tickers, **window)
    assert len(found) == 12 * len(plan.steps)
    assert {trial.source.value for trial in found} == {"tune"}
    after = sessions[-1] + 1
    assert Trials(ledger).n_trials(search.panel.tickers, first=after, last=after + 999) == 0
    best = next(p for p in past if p.number == 0)
    (trial,) = (t for t in found if t.label == search.space.spec(best.params).label and t.step == 1)
    assert len(trial.returns) == len(plan)


def test_search_when_started_again_then_nothing_is_done(done):
    search, past, _, ledger = done
    study = search.open_study(ledger)
    loop = open_loop(search, contest_of(search), book_of(search, study, ledger))
    assert loop.finished
    assert study.past() == past
    study.close()


def test_search_when_asked_for_more_then_it_goes_on(done, tmp_path):
    _, past, _, _ = done
    with ledger_in(tmp_path) as ledger:
        assert searched(prepared(tmp_path, n_trials=9), ledger) == past[:9]
        assert searched(prepared(tmp_path), ledger) == past


def sweep_file(folder, tuned, **folds):
    written = {
        "name": "later",
        "panel": {
            "source": "simulated", "kind": "seasonal", "n_tickers": 3, "n_sessions": 420, "seed": 3,
        },
        "folds": {"input_size": 100, "step_size": 5, "steps": [1, 5], **folds},
        "forecasters": [{"name": "drift"}],
        "tuned": str(tuned),
    }  # fmt: skip
    path = folder / "later.yaml"
    path.write_text(yaml.safe_dump(written))
    return path


@pytest.mark.parametrize("key", ["start", "tuning_end"])
def test_sweep_when_it_names_the_choice_then_evaluated_with_the_others(done, tmp_path, key):
    search, _, choice, _ = done
    until = choice.tuned.tuned_until.isoformat()
    settings = load_settings(sweep_file(tmp_path, search.folder / TUNED, **{key: until}))
    labels = [spec.label for spec in settings.specs()]
    assert labels[:2] == ["random_walk", "drift"]
    assert len(labels) == 3
    assert settings.tuned == choice.tuned


@pytest.mark.parametrize("folds", [{}, {"start": "2001-01-02"}, {"tuning_end": "2001-01-02"}])
def test_sweep_when_a_cutoff_lies_in_what_the_search_saw_then_refused(done, tmp_path, folds):
    search, _, _, _ = done
    with pytest.raises(SettingsError, match="no cutoff lies before it"):
        load_settings(sweep_file(tmp_path, search.folder / TUNED, **folds))


def test_sweep_when_the_choice_is_missing_then_error_names_the_file(tmp_path):
    with pytest.raises(SettingsError, match=r"nowhere\.yaml: no such"):
        load_settings(sweep_file(tmp_path, tmp_path / "nowhere.yaml"))


def complete(number, *values):
    return Past(number, {"n": number}, State.COMPLETE, (values[0],), values)


def test_chosen_when_two_objectives_then_the_front_by_loss():
    trials = [complete(0, 0.5, 9.0), complete(1, 0.6, 3.0), complete(2, 0.7, 4.0),
              complete(3, 0.9, 1.0)]  # fmt: skip
    assert [p.number for p in chosen(trials)] == [0, 1, 3]


def test_chosen_when_equal_then_the_earlier():
    assert [p.number for p in chosen([complete(0, 0.5), complete(1, 0.5)])] == [0]


def test_chosen_when_nothing_was_completed_then_refused():
    with pytest.raises(DataError, match="no trial was completed"):
        chosen([Past(0, {}, State.FAIL)])


def test_search_when_fewer_trials_are_asked_for_than_are_under_way_then_all_are_carried_out(
    done, tmp_path
):
    search, past, _, _ = done
    with ledger_in(tmp_path) as ledger:
        study = search.open_study(ledger)
        for trial in past[:6]:
            study.add(trial.number, trial.params)
        study.close()
        fewer = prepared(tmp_path, n_trials=3)
        assert [p.number for p in searched(fewer, ledger)] == list(range(6))


def test_freeze_when_the_default_fails_then_the_choice_stands_without_its_loss(tmp_path):
    search = prepared(
        tmp_path,
        plugins=["odd_forecasters"],
        forecaster={"name": "fickle"},
        search={"fails": {"choices": ["always", "never"]}},
        n_trials=5,
    )
    contest = contest_of(search)
    with ledger_in(tmp_path) as ledger:
        past = searched(search, ledger, contest)
        study = search.open_study(ledger)
        save(search)
        choice = freeze(search, study, contest)
        study.close()
    assert [p.state for p in past] == [State.FAIL, State.COMPLETE]  # there are but two
    assert choice.tuned.default_tuning_loss is None
    assert read_tuned(search.folder / TUNED) == choice.tuned
