"""A user's own prices: a CSV or Parquet file in long form."""

import re
import warnings
from datetime import date
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from pmx_ray._typing import DateArray, FloatArray
from pmx_ray.config import suggestion
from pmx_ray.data.contract import OPTIONAL, REQUIRED, check_columns
from pmx_ray.data.panel import FIELDS
from pmx_ray.data.quality import GatePolicy, QuarantinePolicy
from pmx_ray.data.rows import coded
from pmx_ray.data.selection import Selection
from pmx_ray.errors import DataError, QualityError, SettingsError

NUMBERS = ("close", *FIELDS)

EMPTY = ("", "NaN", "nan", "NA", "N/A", "null", "NULL", "None")
"""What a CSV cell may hold instead of a number. A ticker of that name stays a ticker."""

DAY = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?(Z|[+-]\d{2}:?\d{2})?"
)


class FileSettings(Selection):
    """A CSV or Parquet file with ``date, ticker, close[, open, high, low, volume, group]``.

    Attributes
    ----------
    path : Path
        ``.csv``, ``.csv.gz`` or ``.parquet``; a relative path starts at the settings file.
    calendar : str
        Exchange calendar of the dates; ``24/7`` for what trades every day.
    splits : bool
        Look for unadjusted splits; false for currencies and indices.
    accepted_jumps : tuple of (ticker, date)
        Jumps that somebody has checked and found real.
    quarantine : str
        ``leave_out`` goes on without a suspicious ticker, ``refuse`` does not go on.
    """

    source: Literal["file"] = "file"
    path: Path
    calendar: str = Field(default="XNYS", min_length=1)
    splits: bool = True
    accepted_jumps: tuple[tuple[str, date], ...] = ()
    quarantine: QuarantinePolicy = "leave_out"


def read_file(settings: FileSettings, *, base_dir: Path | None) -> tuple[pd.DataFrame, GatePolicy]:
    """Return the long rows of a file, numbered as a person counts, and the gate's policy.

    Parameters
    ----------
    settings : FileSettings
        Which file.
    base_dir : Path, optional
        Where a relative path starts; the working folder unless given.

    Raises
    ------
    SettingsError
        If the file's kind is not known.
    DataError
        If the file is missing, is not what its name says, or a date or a number cannot be read.
    """
    path = (base_dir or Path()) / settings.path
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob("*")) if path.parent.is_dir() else []
        raise DataError(f"{path}: no such file{suggestion(path.name, near)}")
    if path.name.endswith((".csv", ".csv.gz")):
        frame = _read_csv(path)
    elif path.suffix == ".parquet":
        frame = _read_parquet(path)
    else:
        raise SettingsError(f"{path}: its name must end in .csv, .csv.gz or .parquet")
    policy = GatePolicy(
        calendar=settings.calendar,
        splits=settings.splits,
        accepted_jumps=settings.accepted_jumps,
        quarantine=settings.quarantine,
    )
    return frame, policy


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # more cells than columns
            raw = pd.read_csv(
                path,
                dtype=dict.fromkeys(("date", "ticker", "group"), "str"),
                keep_default_na=False,
                na_values={name: list(EMPTY) for name in NUMBERS},
                skip_blank_lines=False,  # so that rows keep their line numbers
                index_col=False,
                low_memory=False,
                encoding="utf-8-sig",
            )
    except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError) as error:
        detail = " ".join(str(error).split())
        raise DataError(f"{path}: is not a table of comma-separated cells: {detail}") from None
    except (UnicodeDecodeError, OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    check_columns([str(name) for name in raw.columns], source=str(path))
    raw.index = pd.RangeIndex(2, len(raw) + 2)  # line 1 is the header
    blank = raw["date"].isin(["", np.nan]) & raw["ticker"].isin(["", np.nan]) & raw["close"].isna()
    raw = raw[~blank]
    columns: dict[str, object] = {
        "date": _text_days(raw["date"], path),
        "ticker": pd.Categorical(raw["ticker"].replace("", np.nan)),
        **{name: _numbers(raw[name], path) for name in NUMBERS if name in raw},
    }
    if "group" in raw:
        columns["group"] = pd.Categorical(raw["group"].replace("", np.nan))
    return pd.DataFrame(columns, index=raw.index)


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        names = pq.read_schema(path).names
        check_columns(names, source=str(path))
        wanted = [name for name in (*REQUIRED, *OPTIONAL) if name in names]
        table = pq.ParquetFile(path).read(columns=wanted)
    except (pa.ArrowException, OSError) as error:
        detail = " ".join(str(error).split())
        raise DataError(f"{path}: is not a Parquet file that can be read: {detail}") from None
    index = pd.RangeIndex(1, table.num_rows + 1)
    columns: dict[str, object] = {"date": _arrow_days(table["date"], index, path)}
    for name in wanted[1:]:
        column = table[name]
        if name in NUMBERS:
            columns[name] = _arrow_numbers(column, name, path)
        else:
            columns[name] = _arrow_names(column, name, path)
    return pd.DataFrame(columns, index=index)


def _numbers(column: "pd.Series[float]", path: Path) -> "pd.Series[float]":
    if pd.api.types.is_bool_dtype(column):
        raise QualityError(f"{path}: column '{column.name}' holds true and false; give numbers")
    numbers = pd.to_numeric(column, errors="coerce")
    bad = numbers.isna() & column.notna()
    if bad.any():
        at = int(bad.to_numpy().argmax())
        raise QualityError(
            f"{path}: row {column.index[at]}: {column.name} was {str(column.iloc[at])!r:.60}; "
            "it must be a number "
            "with a decimal point and no other mark"
        )
    return numbers.astype(np.float64)


def _text_days(column: "pd.Series[str]", path: Path) -> DateArray:
    """Return the day each text names, datetime64[s]; each distinct text is read once."""
    codes, texts = pd.factorize(column.fillna(""))
    matches = [DAY.fullmatch(str(text)) for text in texts]
    unread = np.array([match is None for match in matches], np.bool_)
    days = pd.to_datetime(
        pd.Series([match[1] if match else None for match in matches], dtype="str"),
        format="%Y-%m-%d",
        errors="coerce",
    )
    unread |= days.isna().to_numpy()
    if unread.any():
        at = int(unread[codes].argmax())
        raise QualityError(
            f"{path}: row {column.index[at]}: date was {str(texts[codes[at]])!r:.60}; "
            "write it as YYYY-MM-DD"
        )
    zones = np.array([(m[2] or "none").replace("Z", "+00:00") for m in matches if m], dtype=object)
    other = (zones != zones[codes[0]])[codes] if len(codes) else np.zeros(0, np.bool_)
    if other.any():
        at = int(other.argmax())
        raise QualityError(
            f"{path}: row {column.index[at]}: mixed time zones: {zones[codes[at]]} here, "
            f"{zones[codes[0]]} on row {column.index[0]}; write the dates without a time zone"
        )
    return days.to_numpy().astype("datetime64[s]")[codes]


def _arrow_days(column: pa.ChunkedArray, index: pd.RangeIndex, path: Path) -> DateArray:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _text_days(pd.Series(column.to_pylist(), index=index, dtype="str"), path)
    if not (pa.types.is_date(kind) or pa.types.is_timestamp(kind)):
        raise QualityError(f"{path}: column 'date' holds {kind}; give dates")
    if column.null_count:
        row = index[int(pc.index(pc.is_null(column), True).as_py())]
        raise QualityError(f"{path}: row {row}: date was empty; give every row its date")
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        column = pc.local_timestamp(column)  # the day as the exchange writes it
    days: DateArray = column.cast(pa.date32()).to_numpy().astype("datetime64[s]")
    return days


def _arrow_numbers(column: pa.ChunkedArray, name: str, path: Path) -> FloatArray:
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise QualityError(f"{path}: column '{name}' holds {kind}; give numbers")
    numbers: FloatArray = column.cast(pa.float64(), safe=False).to_numpy()
    return numbers


def _arrow_names(column: pa.ChunkedArray, name: str, path: Path) -> "pd.Categorical[str]":
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise QualityError(f"{path}: column '{name}' holds {kind}; give text")
    encoded = column.combine_chunks().dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return coded(codes, encoded.dictionary.to_pylist())
