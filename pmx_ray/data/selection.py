"""Which part of a source is wanted: some tickers, some dates."""

from datetime import date
from typing import Self

import numpy as np
import pandas as pd
from pydantic import model_validator

from pmx_ray.config import Settings, suggestion
from pmx_ray.errors import DataError, SettingsError


class Selection(Settings):
    """Base of the sources that hold more than one may want.

    Attributes
    ----------
    tickers : tuple of str, optional
        The tickers wanted; all of them unless given.
    start, end : date, optional
        First and last day wanted, both included.
    """

    tickers: tuple[str, ...] | None = None
    start: date | None = None
    end: date | None = None

    @model_validator(mode="after")
    def _something_is_wanted(self) -> Self:
        if self.tickers is not None and not self.tickers:
            raise ValueError("tickers was empty; name at least one or leave the key out")
        if self.start is not None and self.end is not None and self.start > self.end:
            raise ValueError(f"start was {self.start}; it must be on or before end ({self.end})")
        return self


def select_rows(frame: pd.DataFrame, selection: Selection, *, source: str) -> pd.DataFrame:
    """Return the long rows that ``selection`` wants; their numbers stay.

    Raises
    ------
    SettingsError
        If a ticker is not in the source.
    DataError
        If no row lies between start and end.
    """
    if selection.tickers is not None:
        known = [str(name) for name in frame["ticker"].cat.categories]
        for ticker in selection.tickers:
            if ticker not in known:
                raise SettingsError(
                    f"{source}: ticker '{ticker}' is not in it{suggestion(ticker, known)}"
                )
        frame = frame[frame["ticker"].isin(selection.tickers)]
    days = frame["date"].to_numpy().astype("datetime64[D]")
    wanted = np.ones(len(days), np.bool_)
    if selection.start is not None:
        wanted &= days >= np.datetime64(selection.start)
    if selection.end is not None:
        wanted &= days <= np.datetime64(selection.end)
    if len(days) and not wanted.any():
        raise DataError(
            f"{source}: no row from {selection.start or 'the beginning'} to "
            f"{selection.end or 'the end'}; it holds {np.nanmin(days)} to {np.nanmax(days)}"
        )
    return frame if wanted.all() else frame[wanted]
