"""One suite over both databases: what is recorded is there, once, whole."""

import math
import multiprocessing
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from pmx_ray.errors import LedgerError, SettingsError
from pmx_ray.ledger import Ledger, Metric, Run, RunRecord, RunStatus, Spec, open_ledger
from pmx_ray.ledger.engines import explained, make_engine, parse_url

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
MEASURES = ("rmse", "smape", "tracking_error")


def record(sweep_id: str = "s1", *, n_specs: int = 3, value: float = 0.5) -> RunRecord:
    run = Run(
        sweep_id=sweep_id,
        name="demo",
        recorded_at=NOON,
        panel_sha256="a" * 64,
        forecast_sha256="b" * 64,
        engine_version="1",
        settings={"seed": 7, "folds": {"steps": (1, 5)}},
        n_cells=600,
        n_failed=2,
        status=RunStatus.PARTIAL,
    )
    specs = tuple(Spec(f"spec{n}", f"model{n}", {"window": n}) for n in range(n_specs))
    metrics = tuple(
        Metric(spec.spec_id, step, measure, value + n + step)
        for spec in specs
        for step in (1, 5)
        for n, measure in enumerate(MEASURES)
    )
    return RunRecord(run, specs, metrics)


def test_record_run_when_reopened_then_all_measures_of_all_specs_there(url: str) -> None:
    # proves C3
    with open_ledger(url) as ledger:
        assert ledger.record_run(record())
    with open_ledger(url) as ledger:
        assert ledger.runs() == (record().run,)
        assert ledger.specs("s1") == record().specs
        found = ledger.metrics("s1")
        assert set(found) == set(record().metrics)
        assert len(found) == 3 * 2 * 3
        for spec in record().specs:
            assert {m.measure for m in found if m.spec_id == spec.spec_id} == set(MEASURES)


def test_record_run_when_recorded_twice_then_one_row_and_first_time(url: str) -> None:
    with open_ledger(url) as ledger:
        assert ledger.record_run(record())
        later = replace(record().run, recorded_at=NOON + timedelta(days=1))
        assert not ledger.record_run(replace(record(), run=later))
        assert ledger.runs() == (record().run,)
        assert len(ledger.metrics("s1")) == len(record().metrics)


def test_record_run_when_content_changed_then_new_content_and_first_time(url: str) -> None:
    first, run = record(), replace(record().run, n_failed=0, status=RunStatus.DONE)
    second = RunRecord(
        replace(run, recorded_at=NOON + timedelta(days=1)), first.specs[:2], first.metrics[:3]
    )
    with open_ledger(url) as ledger:
        ledger.record_run(first)
        assert ledger.record_run(second)
        assert ledger.runs() == (run,)
        assert ledger.metrics("s1") == first.metrics[:3]


def test_record_run_when_one_value_changed_then_new_value(url: str) -> None:
    with open_ledger(url) as ledger:
        ledger.record_run(record(value=0.5))
        assert ledger.record_run(record(value=0.25))
        assert set(ledger.metrics("s1")) == set(record(value=0.25).metrics)


def test_record_run_when_two_runs_share_specs_then_both_keep_theirs(url: str) -> None:
    with open_ledger(url) as ledger:
        ledger.record_run(record("s1", n_specs=2))
        ledger.record_run(record("s2", n_specs=3))
        assert [run.sweep_id for run in ledger.runs()] == ["s1", "s2"]
        assert len(ledger.specs("s1")) == 2
        assert len(ledger.specs("s2")) == 3


def test_record_run_when_no_metrics_then_run_alone(url: str) -> None:
    with open_ledger(url) as ledger:
        assert ledger.record_run(RunRecord(record().run, (), ()))
        assert ledger.metrics("s1") == ()
        assert not ledger.record_run(RunRecord(record().run, (), ()))


def test_metrics_when_run_unknown_then_none(url: str) -> None:
    with open_ledger(url) as ledger:
        assert ledger.runs() == ()
        assert ledger.metrics("nothing") == ()
        assert ledger.specs("nothing") == ()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.1 + 0.2, 5e-324, 1.7e308])
def test_metric_when_any_float_then_same_bits_back(url: str, value: float) -> None:
    specs = record().specs
    odd = RunRecord(record().run, specs, (Metric("spec0", 0, "odd", value),))
    with open_ledger(url) as ledger:
        ledger.record_run(odd)
        (found,) = ledger.metrics("s1")
        assert repr(found.value) == repr(value)
        assert not ledger.record_run(odd)


def test_runs_when_recorded_in_another_zone_then_utc_with_its_zone(url: str) -> None:
    tokyo = timezone(timedelta(hours=9))
    run = replace(record().run, recorded_at=datetime(2026, 3, 1, 21, 0, tzinfo=tokyo))
    with open_ledger(url) as ledger:
        ledger.record_run(RunRecord(run, (), ()))
        (found,) = ledger.runs()
    assert found.recorded_at == datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    assert found.recorded_at.utcoffset() == timedelta(0)


def test_runs_when_several_then_oldest_first(url: str) -> None:
    with open_ledger(url) as ledger:
        for name, days in (("s1", 3), ("s2", 1), ("s3", 2)):
            run = replace(record(name).run, recorded_at=NOON + timedelta(days=days))
            ledger.record_run(RunRecord(run, (), ()))
        assert [run.sweep_id for run in ledger.runs()] == ["s2", "s3", "s1"]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(values=st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), json_values))
def test_settings_when_any_json_then_same_back(url: str, values: dict[str, object]) -> None:
    run = replace(record().run, settings=values)
    with open_ledger(url) as ledger:
        ledger.record_run(RunRecord(run, (), ()))
        (found,) = ledger.runs()
        assert found.settings == values


def test_record_run_when_it_fails_half_way_then_nothing_of_it(url: str) -> None:
    with open_ledger(url) as ledger:
        with ledger.engine.begin() as connection:
            connection.execute(text("DROP TABLE metrics"))
        with pytest.raises(LedgerError, match="cannot be written"):
            ledger.record_run(record())
        assert ledger.runs() == ()
        with ledger.engine.begin() as connection:
            assert connection.execute(text("SELECT count(*) FROM specs")).scalar() == 0


def _record_some(task: tuple[str, int]) -> int:
    url, writer = task
    with open_ledger(url) as ledger:
        own = sum(ledger.record_run(record(f"w{writer}-{n}", n_specs=4)) for n in range(5))
        return own + ledger.record_run(record("shared", n_specs=4))


def test_record_run_when_four_processes_write_at_once_then_nothing_lost(url: str) -> None:
    # The database does not exist yet, so the four also race to make it.
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        written = pool.map(_record_some, [(url, writer) for writer in range(4)], chunksize=1)
    assert sum(written) == 4 * 5 + 1  # the shared run is new to one of them alone
    with open_ledger(url) as ledger:
        runs = ledger.runs()
        assert len(runs) == 21
        for run in runs:
            assert len(ledger.metrics(run.sweep_id)) == 4 * 2 * 3


def test_record_run_when_threads_share_a_ledger_then_nothing_lost(url: str) -> None:
    with open_ledger(url) as ledger, ThreadPoolExecutor(8) as pool:
        names = [f"t{n}" for n in range(16)] + ["shared"] * 8
        wrote = list(pool.map(lambda name: ledger.record_run(record(name)), names))
        assert sum(wrote) == 17
        assert len(ledger.runs()) == 17


KILLED = """
import os, signal, sys
from tests_ledger import record
from sqlalchemy import event
from pmx_ray.ledger import open_ledger
ledger = open_ledger(sys.argv[1])
ledger.record_run(record("whole"))
@event.listens_for(ledger.engine, "before_cursor_execute")
def kill(connection, cursor, statement, *rest):
    if "INTO metrics" in statement:
        os.kill(os.getpid(), signal.SIGKILL)
ledger.record_run(record("torn"))
"""


@pytest.mark.drill
def test_record_run_when_killed_before_commit_then_run_whole_or_absent(url: str) -> None:
    code = KILLED.replace("from tests_ledger import record\n", _load_this_file())
    done = subprocess.run([sys.executable, "-c", code, url], check=False, capture_output=True)
    assert done.returncode == -9, done.stderr.decode()
    with open_ledger(url) as ledger:
        assert [run.sweep_id for run in ledger.runs()] == ["whole"]
        assert ledger.record_run(record("torn"))


def _load_this_file() -> str:
    return (
        "import importlib.util as u\n"
        f"s = u.spec_from_file_location('tests_ledger', {str(Path(__file__))!r})\n"
        "m = u.module_from_spec(s); s.loader.exec_module(m); record = m.record\n"
    )


@pytest.mark.parametrize(
    "bad",
    [
        {"recorded_at": datetime(2026, 3, 1)},
        {"sweep_id": ""},
        {"n_failed": -1},
        {"n_failed": 601},
        {"settings": {"x": math.nan}},
        {"settings": {"x": object()}},
    ],
)
def test_run_when_a_field_is_wrong_then_refused(bad: dict[str, object]) -> None:
    with pytest.raises(LedgerError):
        replace(record().run, **bad)


def test_record_when_a_key_repeats_or_a_spec_is_missing_then_refused() -> None:
    whole = record()
    with pytest.raises(LedgerError, match="given twice"):
        replace(whole, metrics=(*whole.metrics, whole.metrics[0]))
    with pytest.raises(LedgerError, match="not in the run"):
        replace(whole, specs=whole.specs[1:])
    with pytest.raises(LedgerError, match="names a spec twice"):
        replace(whole, specs=(*whole.specs, whole.specs[0]))
    with pytest.raises(LedgerError, match="step of rmse was -1"):
        Metric("spec0", -1, "rmse", 0.5)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ledger.db",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///x.db?mode=ro",
        "mysql://me:hunter2@host/db",
        "postgresql+asyncpg://me:hunter2@host/db",
        "postgresql://me:hunter2@host:port/db",
    ],
)
def test_open_when_url_is_not_a_ledgers_then_refused_without_its_password(address: str) -> None:
    with pytest.raises(SettingsError) as caught:
        open_ledger(address)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql+psycopg://me:hunter2@127.0.0.1:9/db",
        "postgresql://me@127.0.0.1:9/db?password=hunter2",
        "postgresql://me@127.0.0.1:9/db?password=hunter2&no_such_option=hunter2",
    ],
)
def test_open_when_server_is_down_then_error_without_password(address: str) -> None:
    with pytest.raises(LedgerError, match=r"127\.0\.0\.1:9/db cannot be read") as caught:
        open_ledger(address)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    shown = repr(Ledger(address)) + Ledger(address).shown_url
    assert "hunter2" not in shown


def test_explained_when_the_driver_repeats_a_password_then_hidden() -> None:
    engine = make_engine(parse_url("postgresql://me:hunter2@127.0.0.1:9/db?sslpassword=swordfish"))
    said = Exception("cannot read 'password=hunter2 sslpassword=swordfish'")
    with (
        pytest.raises(LedgerError, match=r"password=\*\*\* sslpassword=\*\*\*") as caught,
        explained(engine, "read"),
    ):
        raise OperationalError("SELECT 1", {}, said)
    assert "hunter2" not in str(caught.value)
    assert "swordfish" not in str(caught.value)


def test_open_when_file_is_no_database_then_error_names_it(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_text("this is not a database, only text\n" * 100)
    with pytest.raises(LedgerError, match=r"ledger\.db cannot be read: file is not a database"):
        open_ledger(f"sqlite:///{tmp_path}/ledger.db")


def test_open_when_folder_cannot_be_made_then_error_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="file/deep cannot be made"):
        open_ledger(f"sqlite:///{tmp_path}/file/deep/ledger.db")


def test_sqlite_when_opened_then_durable_and_checked(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/deep/ledger.db"
    with open_ledger(url) as ledger, ledger.engine.connect() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    # synchronous 2 is FULL; the timeout is in milliseconds.
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 30_000,
    }
