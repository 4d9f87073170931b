from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmx_ray.data.calendar import sessions_after
from pmx_ray.data.panel import Panel
from pmx_ray.data.snapshot import load_saved_panel, save_panel
from pmx_ray.errors import DataError, LakeError


def small(**changes: object) -> Panel:
    values: dict[str, object] = {
        "calendar": "XNYS",
        "tickers": ("AAA", "B.B"),
        "sessions": sessions_after("XNYS", np.datetime64("2020-01-01"), 3),
        "close": np.array([[1.0, np.nan, 3.0], [np.nan, 0.1 + 0.2, np.nan]]),
        "gap": np.array([[False, True, False], [False, False, False]]),
        "groups": ("tech", "energy"),
        **changes,
    }
    return Panel(**values)  # type: ignore[arg-type]


def test_snapshot_when_gaps_and_groups_then_the_same_panel(tmp_path: Path) -> None:
    panel = small(volume=np.array([[1.0, np.nan, 2.0], [np.nan, -0.0, np.nan]]))
    save_panel(panel, tmp_path / "panel.parquet")
    loaded = load_saved_panel(tmp_path / "panel.parquet")
    assert loaded.sha256 == panel.sha256
    assert (loaded.tickers, loaded.groups, loaded.calendar) == (
        panel.tickers,
        panel.groups,
        "XNYS",
    )


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_snapshot_of_any_panel_gives_back_the_same_bits(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    n, t = data.draw(st.integers(1, 4)), data.draw(st.integers(0, 6))

    def matrix(low: float) -> np.ndarray:
        cell = st.one_of(st.just(np.nan), st.floats(low, 1e300, allow_subnormal=True))
        rows = st.lists(st.lists(cell, min_size=t, max_size=t), min_size=n, max_size=n)
        return np.array(data.draw(rows), dtype=np.float64).reshape(n, t)

    close = matrix(5e-324)
    panel = Panel(
        calendar="TARGET",
        tickers=tuple(f"T{k}" for k in range(n)),
        sessions=sessions_after("TARGET", np.datetime64("2001-12-20"), t),
        close=close,
        high=matrix(-1e300) if data.draw(st.booleans()) else None,
        gap=np.isnan(close),
        groups=("g",) * n if data.draw(st.booleans()) else None,
    )
    path = tmp_path_factory.getbasetemp() / "any.parquet"
    save_panel(panel, path)
    assert load_saved_panel(path).sha256 == panel.sha256


def test_snapshot_when_nan_has_another_bit_pattern_then_kept(tmp_path: Path) -> None:
    odd = np.array([0x7FF8000000000001, 0xFFF8000000000000], dtype=np.uint64).view(np.float64)
    close = np.array([[odd[0], 1.0, odd[1]], [1.0, 2.0, np.nan]])
    panel = small(close=close, gap=None)
    save_panel(panel, tmp_path / "p.parquet")
    assert load_saved_panel(tmp_path / "p.parquet").close.tobytes() == close.tobytes()


def test_snapshot_when_saved_twice_then_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.parquet", "b.parquet"):
        save_panel(small(), tmp_path / name)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_snapshot_when_read_elsewhere_then_plain_long_rows(tmp_path: Path) -> None:
    save_panel(small(), tmp_path / "p.parquet")
    table = pq.read_table(tmp_path / "p.parquet")
    assert table.column_names == ["date", "ticker", "close", "gap", "group"]
    assert table["ticker"].to_pylist() == ["AAA"] * 3 + ["B.B"] * 3


def test_save_when_the_disk_fails_then_the_old_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.parquet"
    save_panel(small(), path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(LakeError, match=r"p\.parquet: cannot be written: No space left"):
        save_panel(small(groups=None), path)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["p.parquet"]


def test_load_when_a_price_was_changed_then_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    save_panel(small(), path)
    table = pq.read_table(path)
    changed = table.set_column(2, "close", [table["close"].to_numpy() * 1.01])
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), path)
    with pytest.raises(DataError, match="its values are not those that were saved"):
        load_saved_panel(path)


def test_load_when_missing_foreign_or_torn_then_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such panel"):
        load_saved_panel(tmp_path / "none.parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "foreign.parquet")
    with pytest.raises(DataError, match="is not a saved panel"):
        load_saved_panel(tmp_path / "foreign.parquet")
    save_panel(small(), tmp_path / "torn.parquet")
    torn = (tmp_path / "torn.parquet").read_bytes()[:-20]
    (tmp_path / "torn.parquet").write_bytes(torn)
    with pytest.raises(DataError, match="is not a Parquet file that can be read"):
        load_saved_panel(tmp_path / "torn.parquet")
