"""A search's study in SQLite and PostgreSQL, beside the ledger's own tables."""

import json
import socket
import subprocess
import sys
import urllib.request
from contextlib import closing
from pathlib import Path
from threading import Event

import optuna
import pytest

from pmx_ray.errors import LedgerError
from pmx_ray.forecasters.search_space import SearchSpace
from pmx_ray.ledger import Ledger, open_ledger
from tune_jobs.driving import driving
from tune_jobs.history import Past, State
from tune_jobs.study import TuningStudy

SPACE = SearchSpace.parse("samossa", {"ar_order": {"low": 0, "high": 3}})


def study_in(ledger, name="mine", objectives=("loss",)):
    return closing(
        TuningStudy(ledger, name, space=SPACE, objectives=objectives, facts={"tune_id": "t"})
    )


def test_study_when_opened_again_then_every_trial_as_it_was_left(url: str) -> None:
    with open_ledger(url) as ledger:
        with study_in(ledger) as study:
            for number in range(4):
                study.add(number, {"ar_order": number})
            complete = Past(0, {"ar_order": 0}, State.COMPLETE, (0.9, 0.8), (0.8,))
            pruned = Past(1, {"ar_order": 1}, State.PRUNED, (0.95,))
            failed = Past(2, {"ar_order": 2}, State.FAIL)
            study.finish(complete, fit_s=1.5)
            study.finish(pruned, fit_s=0.5)
            study.finish(failed, fit_s=0.0, why="its worker died")
        running = Past(3, {"ar_order": 3}, State.RUNNING)
        with study_in(ledger) as study:
            assert study.past() == (complete, pruned, failed, running)
            facts = study.facts()
            assert [f.get("fit_s") for f in facts] == [1.5, 0.5, 0.0, None]
            assert facts[1]["label"] == SPACE.default.label  # ar_order 1 is the default
            assert facts[2]["why"] == "its worker died"


def test_study_when_two_objectives_then_both_values(url: str) -> None:
    with open_ledger(url) as ledger, study_in(ledger, objectives=("loss", "fit_s")) as study:
        for number in range(2):
            study.add(number, {"ar_order": number})
        complete = Past(0, {"ar_order": 0}, State.COMPLETE, (0.8,), (0.8, 2.5))
        study.finish(complete, fit_s=2.5)
        study.finish(Past(1, {"ar_order": 1}, State.PRUNED, (0.9,)), fit_s=1.0)
        assert study.past()[0] == complete
        assert study.past()[1].state is State.PRUNED


def test_finish_when_told_twice_then_the_first_stays(url: str) -> None:
    with open_ledger(url) as ledger, study_in(ledger) as study:
        study.add(0, {"ar_order": 0})
        for loss in (0.8, 0.1):
            study.finish(Past(0, {"ar_order": 0}, State.COMPLETE, (loss,), (loss,)), fit_s=1.0)
        assert study.past()[0].values == (0.8,)


def test_add_when_another_process_drives_the_study_then_said(url: str) -> None:
    with open_ledger(url) as ledger, study_in(ledger) as mine, study_in(ledger) as other:
        mine.add(0, {"ar_order": 0})
        with pytest.raises(LedgerError, match="another process drives it"):
            other.add(0, {"ar_order": 1})
        assert [p.state for p in mine.past()] == [State.RUNNING, State.FAIL]


def test_driving_when_another_holds_the_study_then_refused_until_it_ends(url: str) -> None:
    with open_ledger(url) as mine, open_ledger(url) as other:
        with driving(mine, "one"):
            with pytest.raises(LedgerError, match="study one is driven by another process"):
                enter(other, "one")
            enter(other, "two")
        enter(other, "one")


def enter(ledger: Ledger, study: str) -> None:
    with driving(ledger, study):
        pass


def test_study_when_database_is_gone_then_error_without_password(url: str) -> None:
    with open_ledger(url) as ledger, study_in(ledger) as study:
        with ledger.engine.begin() as connection:
            for table in ("trial_params", "trial_values", "trial_intermediate_values",
                          "trial_user_attributes", "trial_system_attributes",
                          "trial_heartbeats", "trials"):  # fmt: skip
                connection.exec_driver_sql(f"DROP TABLE {table}")
        with pytest.raises(LedgerError, match="used for a study") as raised:
            study.add(0, {"ar_order": 0})
        assert "secret" not in str(raised.value)


def test_dashboard_when_started_on_the_ledger_then_it_shows_the_study(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    with open_ledger(url) as ledger, study_in(ledger, "seen by people") as study:
        study.add(0, {"ar_order": 2})
        study.finish(Past(0, {"ar_order": 2}, State.COMPLETE, (0.7,), (0.7,)), fit_s=1.0)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = Path(sys.executable).with_name("optuna-dashboard")
    server = subprocess.Popen(
        [command, url, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        studies = answer(f"http://127.0.0.1:{port}/api/studies")["study_summaries"]
        assert [row["study_name"] for row in studies] == ["seen by people"]
        detail = answer(f"http://127.0.0.1:{port}/api/studies/{studies[0]['study_id']}")
        (trial,) = detail["trials"]
        assert (trial["state"], trial["values"]) == ("Complete", [0.7])
    finally:
        server.terminate()
        server.wait(timeout=20)


def answer(address: str) -> dict[str, object]:
    """Return a server's JSON, once it is up."""
    pause = Event()
    for _ in range(600):
        try:
            with urllib.request.urlopen(address, timeout=5) as reply:
                return json.load(reply)
        except OSError:
            pause.wait(0.05)
    pytest.fail(f"nobody answered at {address}")


def test_study_when_read_by_optuna_then_metric_and_best_are_there(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    with open_ledger(url) as ledger, study_in(ledger) as study:
        for number, loss in enumerate((0.9, 0.7)):
            study.add(number, {"ar_order": number})
            past = Past(number, {"ar_order": number}, State.COMPLETE, (loss,), (loss,))
            study.finish(past, fit_s=1.0)
        seen = study.optuna_study()
        assert seen.best_trial.number == 1
        assert seen.user_attrs["tune_id"] == "t"
        assert isinstance(seen, optuna.Study)
