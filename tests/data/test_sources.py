from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from pmx_ray.config import Settings, parse
from pmx_ray.data.bundled import BundledSettings
from pmx_ray.data.file import FileSettings
from pmx_ray.data.rows import long_rows
from pmx_ray.data.simulator import SimulatedSettings, simulate
from pmx_ray.data.sources import PanelSettings, load_panel
from pmx_ray.errors import SettingsError


class Holder(Settings):
    panel: PanelSettings = Field()


def clock() -> datetime:
    return datetime(2026, 11, 22, tzinfo=UTC)


def written(**values: Any) -> PanelSettings:
    return parse(Holder, {"panel": values}, where="run.yaml").panel


def test_settings_when_the_source_is_named_then_its_own_class() -> None:
    assert written(source="bundled", name="fx") == BundledSettings(name="fx")
    file = written(source="file", path="a.csv", accepted_jumps=[["AAA", "2020-01-02"]])
    assert isinstance(file, FileSettings)
    assert file.accepted_jumps == (("AAA", date(2020, 1, 2)),)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"source": "bundled", "nam": "fx"},
            r"unknown key 'panel\.bundled\.nam'; did you mean 'name'",
        ),
        ({"source": "yahoo"}, "run.yaml: panel: Input tag 'yahoo'"),
        ({"source": "file"}, r"run\.yaml: panel\.file\.path: Field required"),
        ({"source": "bundled", "tickers": []}, "tickers was empty; name at least one"),
        (
            {"source": "bundled", "start": "2020-01-02", "end": "2020-01-01"},
            "start was 2020-01-02; it must be on or before end",
        ),
        ({"source": "bundled", "tickers": [True]}, "must be text"),  # ON, read by YAML
    ],
)
def test_settings_when_wrong_then_one_line_that_says_where(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        written(**values)


@pytest.mark.parametrize("kind", ["garch", "regimes", "seasonal"])
def test_load_panel_when_simulated_then_the_simulators_bytes_through_the_gate(kind: str) -> None:
    settings = SimulatedSettings(kind=kind, n_tickers=4, n_sessions=120, seed=3)
    panel, report = load_panel(settings, clock=clock)
    assert panel.sha256 == simulate(settings)[0].sha256
    assert report.source == f"simulated {kind}"
    assert report.score == 1.0


def test_load_panel_when_written_out_and_read_back_then_the_same_panel(tmp_path: Path) -> None:
    panel, _ = load_panel(BundledSettings(name="us_indices"), clock=clock)
    rows = long_rows(panel)
    rows.to_parquet(tmp_path / "long.parquet", index=False)
    rows.to_csv(tmp_path / "long.csv", index=False)
    for name in ("long.parquet", "long.csv"):
        settings = FileSettings(path=Path(name), splits=False)
        again, _ = load_panel(settings, clock=clock, base_dir=tmp_path)
        assert again.sha256 == panel.sha256


def test_load_panel_when_the_threshold_is_above_the_score_then_refused() -> None:
    with pytest.raises(ValueError, match=r"quality score 0\.9984 is below the threshold 0\.999"):
        load_panel(BundledSettings(name="energy_vol"), clock=clock, threshold=0.999)


def test_load_panel_when_the_calendar_is_unknown_then_suggests(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("date,ticker,close\n2024-01-02,A,1\n")
    settings = FileSettings(path=Path("p.csv"), calendar="XNYX")
    with pytest.raises(SettingsError, match="calendar 'XNYX' is unknown; did you mean 'XNYS'"):
        load_panel(settings, clock=clock, base_dir=tmp_path)
