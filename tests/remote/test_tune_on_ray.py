"""Ray Tune carries a search out: the same study as in one process, whatever is lost on the way."""

import pytest
import ray
from tune_cases import book_of, contest_of, ledger_in, prepared, searched

from pmx_ray.errors import LedgerError
from pmx_ray.ledger.trials import Trials
from tune_jobs.job import open_loop
from tune_jobs.tuner import run_search

LABELS: dict[str, str] = {}


def tuned_on_ray(search, ledger, contest, *, plugins=(), attempts=3):
    study = search.open_study(ledger)
    loop = open_loop(search, contest, book_of(search, study, ledger))
    run_search(
        loop,
        contest,
        search.space,
        gpus=0.0,
        labels=LABELS,
        plugins=plugins,
        max_attempts=attempts,
        scratch=search.folder / "tune",
    )
    past = study.past()
    study.close()
    return past


def test_search_when_on_ray_then_the_study_of_one_process(cluster, tmp_path):
    # proves D2
    search = prepared(tmp_path)
    contest = contest_of(search)
    (tmp_path / "alone").mkdir()
    with ledger_in(tmp_path / "alone") as ledger:
        alone = searched(search, ledger, contest)
    with ledger_in(tmp_path) as ledger:
        assert tuned_on_ray(search, ledger, contest) == alone
        assert tuned_on_ray(search, ledger, contest) == alone  # nothing is left to do
        window = {"first": search.panel.sessions[0], "last": search.panel.sessions[-1]}
        assert Trials(ledger).n_trials(search.panel.tickers, **window) == 24


def test_search_when_the_ledger_cannot_be_written_then_said_and_the_study_goes_on(
    cluster, tmp_path
):
    search = prepared(tmp_path)
    contest = contest_of(search)
    with ledger_in(tmp_path) as ledger:
        with ledger.engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE TRIGGER full BEFORE INSERT ON evaluated_trials "
                "BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
            )
        with pytest.raises(LedgerError, match="disk is full"):
            tuned_on_ray(search, ledger, contest)
        with ledger.engine.begin() as connection:
            connection.exec_driver_sql("DROP TRIGGER full")
        past = tuned_on_ray(search, ledger, contest)
    assert [p.number for p in past] == list(range(12))
    assert all(p.over for p in past)


def test_search_when_workers_die_then_no_trial_is_lost_or_doubled(cluster, tmp_path):
    search = prepared(
        tmp_path,
        plugins=["odd_forecasters"],
        forecaster={"name": "deadly_once", "folder": str(tmp_path)},
        search={"level": {"low": 0.0, "high": 1.0}},
        n_trials=5,
        folds={
            "input_size": 100, "step_size": 20, "steps": [1], "refit_every": 1,
            "tuning_end": "2001-05-31",
        },
    )  # fmt: skip
    contest = contest_of(search)
    with ledger_in(tmp_path) as ledger:
        past = tuned_on_ray(search, ledger, contest, plugins=("odd_forecasters",))
    assert [p.number for p in past] == list(range(5))
    assert all(p.rungs for p in past)
    assert (tmp_path / "died").exists()
    assert ray.is_initialized()
