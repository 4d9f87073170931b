"""What a sweep takes along to another machine."""

import shutil
import subprocess
import sys

import pytest
import yaml

from pmx_ray.backtest.parcel import SETTINGS, check_places, job_name, pack, sweep_command
from pmx_ray.backtest.settings import load_settings
from pmx_ray.errors import SettingsError

WRITTEN = {
    "name": "mine",
    "panel": {"source": "file", "path": "in/prices.csv"},
    "folds": {"input_size": 90, "step_size": 10, "steps": [1, 5]},
    "forecasters": [{"name": "drift"}, {"name": "garch", "dist": "t"}],
}


@pytest.fixture
def here(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "prices.csv").write_text("date,ticker,close\n2020-01-02,A,1\n")
    (tmp_path / "out").mkdir()
    return tmp_path


def loaded(folder, **changed):
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump({**WRITTEN, **changed}))
    return load_settings(path)


def test_parcel_when_packed_then_the_same_sweep_with_its_prices_beside_it(here):
    settings = loaded(here)
    pack(settings, here / "out", base_dir=here)
    assert {path.name for path in (here / "out").iterdir()} == {SETTINGS, "prices.csv"}
    again = load_settings(here / "out" / SETTINGS)
    assert str(again.panel.path) == "prices.csv"
    unmoved = again.panel.model_copy(update={"path": settings.panel.path})
    assert again.model_copy(update={"panel": unmoved}) == settings


def test_parcel_when_a_plugin_lies_beside_the_settings_then_it_comes_along(here, monkeypatch):
    (here / "plugin_of_a_parcel.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(here))
    settings = loaded(here).model_copy(update={"plugins": ("plugin_of_a_parcel", "json")})
    pack(settings, here / "out", base_dir=here)
    assert (here / "out" / "plugin_of_a_parcel.py").read_text() == "x = 1\n"
    assert not (here / "out" / "__init__.py").exists()  # of json, which is everywhere
    sys.modules.pop("plugin_of_a_parcel", None)


def test_parcel_when_the_price_file_is_missing_then_refused_and_nothing_is_written(here):
    settings = loaded(here, panel={"source": "file", "path": "nowhere.csv"})
    with pytest.raises(SettingsError, match=r"nowhere\.csv, which is no file"):
        pack(settings, here / "out", base_dir=here)
    assert not list((here / "out").iterdir())


def name(folder, settings):
    (folder / "empty").mkdir(exist_ok=True)
    return job_name(settings, folder / "empty")


def test_name_when_only_the_execution_differs_then_the_same_job(here):
    plain, wide = loaded(here), loaded(here, execution={"workers": 7, "priority": 1})
    assert name(here, plain) == name(here, wide)
    assert name(here, plain).startswith("pmx-mine-")


@pytest.mark.parametrize("changed", [{"seed": 1}, {"folds": {"input_size": 91}}, {"name": "other"}])
def test_name_when_the_sweep_differs_then_another_job(here, changed):
    assert name(here, loaded(here, **changed)) != name(here, loaded(here))


def test_name_when_the_prices_differ_then_another_job(here):
    def packed():
        shutil.rmtree(here / "out")
        (here / "out").mkdir()
        pack(loaded(here), here / "out", base_dir=here)
        return job_name(loaded(here), here / "out")

    before = packed()
    assert packed() == before
    (here / "in" / "prices.csv").write_text("date,ticker,close\n2020-01-02,A,2\n")
    assert packed() != before


@pytest.mark.parametrize(
    ("lake", "out"),
    [(None, None), ("", None), ("/shared/lake", "/shared/runs"), ("~/lake", "~/runs"),
     ("s3://bucket/lake", "~"), ("file:///shared/lake", "~pmx/runs")],
)  # fmt: skip
def test_places_when_whole_or_of_a_home_then_taken(here, lake, out):
    check_places(loaded(here, lake=lake), out)


@pytest.mark.parametrize("lake", ["lake", "my/lake", "./lake", "../lake"])
def test_places_when_the_lake_is_relative_then_refused(here, lake):
    with pytest.raises(SettingsError, match=rf"lake was '{lake}', a relative path.*/shared/lake"):
        check_places(loaded(here, lake=lake), None)


@pytest.mark.parametrize("out", ["runs", "./runs", "", "s3://bucket/runs"])
def test_places_when_out_is_no_whole_path_then_refused(here, out):
    with pytest.raises(SettingsError, match=rf"--out was '{out}', which is no whole path"):
        check_places(loaded(here), out)


@pytest.mark.parametrize(
    ("out", "seen"),
    [
        (None, []),
        ("/a b/$x", ["--out", "/a b/$x"]),
        ("~", ["--out", "/home/pmx"]),
        ("~/a b/`x`", ["--out", "/home/pmx/a b/`x`"]),
        ("~$(x)/y", ["--out", "~$(x)/y"]),
    ],
)
def test_command_when_the_shell_of_a_job_reads_it_then_the_home_is_there_and_nothing_else_is(
    out, seen
):
    command = sweep_command(out).replace("pmx sweep", "printf '%s\\0'", 1)
    done = subprocess.run(
        command, shell=True, env={"HOME": "/home/pmx"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\0")[:-1] == [SETTINGS, *seen]
