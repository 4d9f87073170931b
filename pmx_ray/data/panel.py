"""The panel: prices of many tickers on the sessions of one exchange calendar."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pmx_ray._typing import BoolArray, DateArray, FloatArray, S, frozen
from pmx_ray.errors import DataError
from pmx_ray.provenance import canonical_json, sha256_hex

TICKER = re.compile(r"[A-Za-z0-9^][A-Za-z0-9._=^\-]{0,31}")
"""What a ticker may look like: it becomes part of file names and pages, so no separators."""

FIELDS = ("open", "high", "low", "volume")
"""Optional columns of a panel beside ``close``."""


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """Prices of N tickers over T sessions; also what a forecaster sees, cut at the cutoff.

    Attributes
    ----------
    calendar : str
        Name of the exchange calendar.
    tickers : tuple of str, length N
        Sorted, unique.
    sessions : ndarray of datetime64[D], shape (T,)
        Increasing.
    close : ndarray of shape (N, T)
        Price > 0. NaN before the listing, after the delisting, or where ``gap`` says so.
    open, high, low, volume : ndarray of shape (N, T), optional
        In the unit of the source; NaN where it has none.
    gap : ndarray of bool, shape (N, T), optional
        True where a price is known to be missing between two prices.
    groups : tuple of str, length N, optional
        Sector or asset class of each ticker.

    Raises
    ------
    DataError
        If an axis is unsorted or repeats, a shape differs, or a price breaks the rules above.
    """

    calendar: str
    tickers: tuple[str, ...]
    sessions: DateArray
    close: FloatArray
    open: FloatArray | None = None
    high: FloatArray | None = None
    low: FloatArray | None = None
    volume: FloatArray | None = None
    gap: BoolArray | None = None
    groups: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        _check_tickers(self.tickers)
        object.__setattr__(self, "sessions", frozen(self.sessions, np.dtype("datetime64[D]")))
        object.__setattr__(self, "close", frozen(self.close, np.float64))
        for name in FIELDS:
            values = getattr(self, name)
            if values is not None:
                object.__setattr__(self, name, frozen(values, np.float64))
        if self.gap is not None:
            object.__setattr__(self, "gap", frozen(self.gap, np.bool_))
        self._check_shapes()
        self._check_prices()

    def _check_shapes(self) -> None:
        if np.any(np.diff(self.sessions) <= np.timedelta64(0, "D")):
            raise DataError("sessions must increase and not repeat; sort them and drop repeats")
        shape = (len(self.tickers), len(self.sessions))
        for name in ("close", *FIELDS, "gap"):
            values = getattr(self, name)
            if values is not None and values.shape != shape:
                raise DataError(f"{name} has shape {values.shape}; tickers x sessions is {shape}")
        if self.groups is not None and len(self.groups) != len(self.tickers):
            raise DataError(
                f"groups has {len(self.groups)} entries; there are {len(self.tickers)} tickers"
            )

    def _check_prices(self) -> None:
        # NaN compares false, so this finds zero, negative and infinite prices only.
        bad = (self.close <= 0) | np.isinf(self.close)
        if bad.any():
            n, t = np.argwhere(bad)[0]
            raise DataError(
                f"close of {self.tickers[n]} on {self.sessions[t]} is {self.close[n, t]}; "
                "it must be finite and > 0"
            )
        hole = _interior(~np.isnan(self.close))
        if self.gap is not None:
            hole &= ~self.gap
        if hole.any():
            n, t = np.argwhere(hole)[0]
            raise DataError(
                f"close of {self.tickers[n]} on {self.sessions[t]} is missing between two prices "
                "and not listed as a gap"
            )

    @property
    def n_tickers(self) -> int:
        """Number of tickers, N."""
        return len(self.tickers)

    @property
    def n_sessions(self) -> int:
        """Number of sessions, T."""
        return len(self.sessions)

    @property
    def sha256(self) -> str:
        """Hash of everything the panel holds."""
        return sha256_hex(
            canonical_json([self.calendar, self.tickers, self.groups]),
            self.sessions.tobytes(),
            *(_array_bytes(getattr(self, name)) for name in ("close", *FIELDS, "gap")),
        )

    def window(self, start: int, stop: int) -> Self:
        """Return sessions ``start`` to ``stop - 1`` as a panel that shares no memory with this."""
        return self._take(slice(None), slice(start, stop), self.tickers, self.groups)

    def select(self, tickers: Sequence[str]) -> Self:
        """Return the panel of ``tickers`` alone, in sorted order.

        Raises
        ------
        DataError
            If a ticker is not in the panel.
        """
        position = {ticker: n for n, ticker in enumerate(self.tickers)}
        missing = [ticker for ticker in tickers if ticker not in position]
        if missing:
            raise DataError(f"ticker {missing[0]} is not in the panel of {self.n_tickers} tickers")
        if not tickers:
            raise DataError("a panel needs at least one ticker")
        rows = sorted(position[ticker] for ticker in set(tickers))
        groups = None if self.groups is None else tuple(self.groups[n] for n in rows)
        return self._take(rows, slice(None), tuple(self.tickers[n] for n in rows), groups)

    def without(self, start: int, stop: int) -> Self:
        """Return the panel with the prices of sessions ``start`` to ``stop - 1`` blanked as a gap.

        The sessions stay, so that the remaining prices keep their distance in time.
        """
        gap = np.zeros(self.close.shape, np.bool_) if self.gap is None else self.gap.copy()
        gap[:, start:stop] = True
        blanked: dict[str, Any] = {}
        for name in ("close", *FIELDS):
            values = getattr(self, name)
            if values is not None:
                blanked[name] = values.copy()
                blanked[name][:, start:stop] = np.nan
        return replace(self, gap=gap, **blanked)

    def log_returns(self) -> FloatArray:
        """Return log P(t) - log P(t - 1), shape (N, T - 1); NaN where either price is missing."""
        returns: FloatArray = np.diff(np.log(self.close), axis=1)
        return returns

    def _take(
        self,
        rows: slice | list[int],
        columns: slice,
        tickers: tuple[str, ...],
        groups: tuple[str, ...] | None,
    ) -> Self:
        """Return a part of the panel; a part of what was checked needs no second check."""

        def cut(values: npt.NDArray[S] | None) -> npt.NDArray[S] | None:
            return None if values is None else frozen(values[rows, columns], values.dtype)

        part = object.__new__(type(self))
        changed: dict[str, Any] = {
            "calendar": self.calendar,
            "tickers": tickers,
            "sessions": frozen(self.sessions[columns], self.sessions.dtype),
            **{name: cut(getattr(self, name)) for name in ("close", *FIELDS, "gap")},
            "groups": groups,
        }
        for name, value in changed.items():
            object.__setattr__(part, name, value)
        return part


def observed_returns(history: Panel) -> FloatArray:
    """Return the log returns of a one-ticker history that have both prices, shape (R,).

    A return across a gap is left out, never stretched over it.

    Raises
    ------
    DataError
        If the history holds more than one ticker.
    """
    if history.n_tickers != 1:
        raise DataError(f"history holds {history.n_tickers} tickers; one was expected")
    returns = history.log_returns()[0]
    observed: FloatArray = returns[~np.isnan(returns)]
    return observed


def _interior(present: BoolArray) -> BoolArray:
    """Return where a value is absent after the first and before the last present one, (N, T)."""
    seen = np.logical_or.accumulate(present, axis=1)
    still = np.logical_or.accumulate(present[:, ::-1], axis=1)[:, ::-1]
    return seen & still & ~present


def _check_tickers(tickers: tuple[str, ...]) -> None:
    if not tickers:
        raise DataError("a panel needs at least one ticker")
    for ticker in tickers:
        if not TICKER.fullmatch(ticker):
            raise DataError(
                f"ticker {ticker!r} is not a ticker; use letters, digits and . _ = ^ - "
                "(at most 32, no path separators)"
            )
    if list(tickers) != sorted(set(tickers)):
        raise DataError("tickers must be sorted and must not repeat")


def _array_bytes(values: FloatArray | BoolArray | None) -> bytes:
    return b"" if values is None else values.tobytes()
