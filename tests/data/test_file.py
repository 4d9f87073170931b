"""CSV and Parquet files in: what is read, and each refusal with its row and ticker."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pmx_ray.data.file import FileSettings
from pmx_ray.data.panel import Panel
from pmx_ray.data.quality import QualityReport
from pmx_ray.data.sources import load_panel
from pmx_ray.errors import DataError, QualityError, SettingsError

GOOD = """date,ticker,close
2024-01-02,AAA,10.0
2024-01-02,BBB,20.0
2024-01-03,AAA,10.1
2024-01-03,BBB,20.2
2024-01-04,AAA,10.2
2024-01-04,BBB,20.4
"""


def clock() -> datetime:
    return datetime(2024, 6, 3, 12, tzinfo=UTC)


def load(folder: Path, text: str, **options: Any) -> tuple[Panel, QualityReport]:
    (folder / "prices.csv").write_text(text)
    settings = FileSettings(path=Path("prices.csv"), **options)
    return load_panel(settings, clock=clock, base_dir=folder)


def test_csv_when_good_then_the_panel_it_says(tmp_path: Path) -> None:
    panel, report = load(tmp_path, GOOD)
    assert panel.tickers == ("AAA", "BBB")
    assert panel.sessions.astype(str).tolist() == ["2024-01-02", "2024-01-03", "2024-01-04"]
    np.testing.assert_array_equal(panel.close, [[10.0, 10.1, 10.2], [20.0, 20.2, 20.4]])
    assert (report.score, report.n_rows, report.gaps, report.quarantined) == (1.0, 6, (), ())
    assert panel.gap is None


def test_csv_when_a_price_has_17_digits_then_the_same_double(tmp_path: Path) -> None:
    text = GOOD.replace("10.1", "10.100000000000001")
    assert load(tmp_path, text)[0].close[0, 1] == 10.100000000000001


def test_csv_when_all_columns_then_all_in_the_panel(tmp_path: Path) -> None:
    text = (
        "date,ticker,close,open,high,low,volume,group\n"
        "2024-01-02,AAA,10,9,11,8,100,tech\n"
        "2024-01-03,AAA,11,10,12,9,,tech\n"
    )
    panel, _ = load(tmp_path, text)
    assert panel.groups == ("tech",)
    assert panel.open is not None
    assert panel.volume is not None
    np.testing.assert_array_equal(panel.open, [[9.0, 10.0]])
    np.testing.assert_array_equal(panel.volume, [[100.0, np.nan]])


def test_csv_when_blank_lines_then_rows_keep_their_line_numbers(tmp_path: Path) -> None:
    text = GOOD.replace("2024-01-03,BBB,20.2", "\n2024-01-03,BBB,-1")
    with pytest.raises(QualityError, match=r"prices.csv: row 6, ticker BBB, 2024-01-03: close"):
        load(tmp_path, text)


def test_csv_when_a_ticker_is_called_nan_or_na_then_it_is_a_ticker(tmp_path: Path) -> None:
    panel, _ = load(tmp_path, GOOD.replace("AAA", "NA").replace("BBB", "NAN"))
    assert panel.tickers == ("NA", "NAN")


def test_csv_when_zip_of_utc_days_then_read_as_days(tmp_path: Path) -> None:
    text = GOOD.replace(",AAA", "T00:00:00Z,AAA").replace(",BBB", "T00:00:00+00:00,BBB")
    assert load(tmp_path, text)[0].sha256 == load(tmp_path, GOOD)[0].sha256


def test_csv_when_a_spreadsheet_wrote_it_then_its_marks_are_read_over(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    panel, _ = load_panel(FileSettings(path=tmp_path / "p.csv"), clock=clock)
    assert panel.sha256 == load(tmp_path, GOOD)[0].sha256


def test_csv_when_a_row_is_of_today_then_it_is_not_in_the_future(tmp_path: Path) -> None:
    text = "date,ticker,close\n2024-05-31,AAA,1\n2024-06-03,AAA,1\n"
    assert load(tmp_path, text)[0].n_sessions == 2


REFUSED = [
    ("20.2", "", r"row 5, ticker BBB, 2024-01-03: close was NaN; a price must be a finite number"),
    ("20.2", "NaN", r"row 5, ticker BBB, 2024-01-03: close was NaN"),
    ("20.2", "inf", r"row 5, ticker BBB, 2024-01-03: close was inf"),
    ("20.2", "0", r"row 5, ticker BBB, 2024-01-03: close was 0.0; .* correct the row, or remove"),
    ("20.2", "-20.2", r"row 5, ticker BBB, 2024-01-03: close was -20.2"),
    ("20.2", "abc", r"row 5: close was 'abc'; it must be a number"),
    ("20.2", '"1,020.2"', r"row 5: close was '1,020.2'; it must be a number"),
    ("2024-01-03,BBB", "2024-01-02,BBB", r"row 5, ticker BBB, .*: a duplicate date, row 3 has it"),
    ("2024-01-04,BBB", "2024-01-02,BBB", r"row 7, ticker BBB, .*: an unsorted date, row 5 before"),
    ("2024-01-04,BBB", "2024-06-04,BBB", r"row 7, ticker BBB, .*: a future row, today is 2024-06-"),
    ("2024-01-04,BBB", "2024-01-06,BBB", r"row 7, ticker BBB, .*: not a session of calendar XNYS"),
    ("2024-01-04,BBB", "04/01/2024,BBB", r"row 7: date was '04/01/2024'; write it as YYYY-MM-DD"),
    ("2024-01-04,BBB", "2024-02-30,BBB", r"row 7: date was '2024-02-30'; write it as YYYY-MM-DD"),
    ("2024-01-04,BBB", ",BBB", r"row 7: date was ''; write it as YYYY-MM-DD"),
    ("2024-01-04,BBB", "2024-01-04,../../x", r"row 7, ticker ../../x, .*: ticker was '../../x'; a"),
    (
        "2024-01-04,BBB",
        "2024-01-04,",
        r"row 7, ticker \(none\), .*: ticker was empty; a ticker has",
    ),
    (
        "2024-01-04,BBB",
        "2024-01-04T00:00:00-05:00,BBB",
        r"row 7: mixed time zones: -05:00 here, none on row 2; write the dates without",
    ),
]


@pytest.mark.parametrize(("old", "new", "message"), REFUSED)
def test_csv_when_a_row_is_bad_then_refused_with_its_place(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert GOOD.count(old) == 1
    with pytest.raises(QualityError, match=message) as refused:
        load(tmp_path, GOOD.replace(old, new))
    assert "prices.csv" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_csv_when_offsets_change_with_summer_time_then_mixed_time_zones(tmp_path: Path) -> None:
    text = "date,ticker,close\n2024-03-08T00:00:00-05:00,AAA,1\n2024-03-11T00:00:00-04:00,AAA,1\n"
    with pytest.raises(
        QualityError, match=r"row 3: mixed time zones: -04:00 here, -05:00 on row 2"
    ):
        load(tmp_path, text)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (
            "9,8,7,-1,x",
            "row 2, ticker AAA, 2024-01-02: volume was -1.0; it must be a finite number",
        ),
        (
            "0,8,7,1,x",
            "row 2, ticker AAA, 2024-01-02: open was 0.0; it must be a finite number > 0",
        ),
        ("9,inf,7,1,x", "row 2, ticker AAA, 2024-01-02: high was inf"),
        ("9,8,7,1,", "row 2, ticker AAA, 2024-01-02: group was empty; give every row a group"),
        ("9,8,7,1,y", "row 3, ticker AAA, 2024-01-03: group was 'x' and is 'y' on row 2"),
    ],
)
def test_csv_when_an_optional_cell_is_bad_then_refused(
    tmp_path: Path, cells: str, message: str
) -> None:
    text = (
        "date,ticker,close,open,high,low,volume,group\n"
        f"2024-01-02,AAA,8,{cells}\n2024-01-03,AAA,8,8,9,7,1,x\n"
    )
    with pytest.raises(QualityError, match=message):
        load(tmp_path, text)


def test_csv_when_two_rows_are_bad_then_the_first_in_the_file_is_named(tmp_path: Path) -> None:
    text = GOOD.replace("20.4", "inf").replace("2024-01-03,AAA", "2024-01-03,A/A")
    with pytest.raises(QualityError, match="row 4, ticker A/A"):
        load(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("close", "Close"), "has no column 'close'; did you mean 'Close'"),
        (GOOD.replace("ticker", "sym"), "has no column 'ticker'"),
        ("date,ticker,close\n", "holds no row"),
        ("", "is not a table of comma-separated cells"),
        (GOOD + "2024-01-05,AAA,1,2\n", "is not a table .*line 8"),
        ("date,ticker,close\n2024-01-02,AAA,1,9\n", "is not a table"),
        (GOOD.replace("10.0", "True").replace("20.0", "True"), "close was 'True'"),
    ],
)
def test_csv_when_not_a_table_of_prices_then_says_so(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load(tmp_path, text)


def test_csv_when_prices_are_booleans_then_refused(tmp_path: Path) -> None:
    with pytest.raises(QualityError, match="column 'close' holds true and false"):
        load(tmp_path, "date,ticker,close\n2024-01-02,AAA,True\n")


def test_file_when_missing_then_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "prices.csv").write_text(GOOD)
    settings = FileSettings(path=Path("price.csv"))
    with pytest.raises(DataError, match=r"price.csv: no such file; did you mean 'prices.csv'"):
        load_panel(settings, clock=clock, base_dir=tmp_path)


def test_file_when_of_another_kind_then_settings_error(tmp_path: Path) -> None:
    (tmp_path / "prices.xlsx").write_text("")
    with pytest.raises(SettingsError, match=r"must end in \.csv, \.csv\.gz or \.parquet"):
        load_panel(FileSettings(path=tmp_path / "prices.xlsx"), clock=clock)


def test_file_when_not_what_its_name_says_then_data_error(tmp_path: Path) -> None:
    (tmp_path / "prices.parquet").write_text(GOOD)
    (tmp_path / "prices.csv").write_bytes(b"\xff\xfe\x00bad")
    for name in ("prices.parquet", "prices.csv"):
        with pytest.raises(DataError, match=name):
            load_panel(FileSettings(path=tmp_path / name), clock=clock)


def test_file_when_tickers_and_dates_are_chosen_then_only_those(tmp_path: Path) -> None:
    panel, _ = load(tmp_path, GOOD, tickers=("BBB",), start="2024-01-03")
    assert panel.tickers == ("BBB",)
    assert panel.close.tolist() == [[20.2, 20.4]]


def test_file_when_a_ticker_is_unknown_then_suggests(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="ticker 'AAB' is not in it; did you mean 'AAA'"):
        load(tmp_path, GOOD, tickers=("AAB",))


def test_file_when_no_row_is_in_the_dates_then_says_which_it_has(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="no row from 2030-01-01 to the end; it holds 2024-01-02 to"
    ):
        load(tmp_path, GOOD, start="2030-01-01")


def frame() -> pd.DataFrame:
    lines = [line.split(",") for line in GOOD.splitlines()[1:]]
    days, tickers, closes = zip(*lines, strict=True)
    return pd.DataFrame(
        {"date": pd.to_datetime(list(days)), "ticker": tickers, "close": [float(c) for c in closes]}
    )


@pytest.mark.parametrize(
    "kind",
    [pa.date32(), pa.timestamp("ns"), pa.timestamp("us", "America/New_York"), pa.string()],
    ids=str,
)
def test_parquet_when_good_then_the_panel_of_the_csv(tmp_path: Path, kind: pa.DataType) -> None:
    dates = frame()["date"]
    if pa.types.is_timestamp(kind) and kind.tz:
        dates = dates.dt.tz_localize(kind.tz)
    days = (
        pa.array(dates.dt.strftime("%Y-%m-%d"), pa.string())
        if pa.types.is_string(kind)
        else pa.array(dates).cast(kind)
    )
    tickers = pa.array(frame()["ticker"], pa.string()).dictionary_encode()
    table = pa.table({"date": days, "ticker": tickers, "close": frame()["close"].to_numpy()})
    pq.write_table(table, tmp_path / "p.parquet")
    panel, _ = load_panel(FileSettings(path=tmp_path / "p.parquet"), clock=clock)
    assert panel.sha256 == load(tmp_path, GOOD)[0].sha256


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("close", [1.0, None, 1, 1, 1, 1], "row 2, ticker BBB, 2024-01-02: close was NaN"),
        ("close", ["1"] * 6, "column 'close' holds string; give numbers"),
        ("date", [1, 2, 3, 4, 5, 6], "column 'date' holds int64; give dates"),
        ("ticker", [1, 2, 3, 4, 5, 6], "column 'ticker' holds int64; give text"),
        ("ticker", ["A", "B", "A", None, "A", "B"], "row 4, .*ticker was empty"),
        ("date", [None, *frame()["date"][1:]], "row 1: date was empty"),
    ],
)
def test_parquet_when_bad_then_refused_with_rows_counted_from_1(
    tmp_path: Path, column: str, values: list[object], message: str
) -> None:
    table = pa.Table.from_pandas(frame(), preserve_index=False)
    table = table.set_column(table.column_names.index(column), column, pa.array(values))
    pq.write_table(table, tmp_path / "p.parquet")
    with pytest.raises(QualityError, match=message):
        load_panel(FileSettings(path=tmp_path / "p.parquet"), clock=clock)
