"""The quality gate: long rows in, a panel and a report out, or a refusal; nothing is repaired."""

from dataclasses import asdict, dataclass
from datetime import date
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd

from pmx_ray._typing import BoolArray, DateArray, FloatArray, IntArray
from pmx_ray.data.calendar import calendar_sessions
from pmx_ray.data.contract import check_rows
from pmx_ray.data.jumps import find_jumps
from pmx_ray.data.panel import Panel
from pmx_ray.data.rows import build_panel, interior_holes
from pmx_ray.errors import QualityError

QuarantinePolicy: TypeAlias = Literal["leave_out", "refuse"]

STALE_RUN = 20
"""Sessions in a row with the same close from which a price counts as stale: about a month."""


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """What the gate holds a source to.

    Attributes
    ----------
    calendar : str
        Exchange calendar whose sessions the rows lie on.
    splits : bool
        Whether the tickers can split; False for currencies and indices.
    accepted_jumps : tuple of (ticker, date)
        Jumps that somebody has checked and found real.
    quarantine : str
        ``leave_out`` admits the panel without a suspicious ticker, ``refuse`` refuses it all.
    """

    calendar: str
    splits: bool = True
    accepted_jumps: tuple[tuple[str, date], ...] = ()
    quarantine: QuarantinePolicy = "leave_out"


@dataclass(frozen=True, slots=True)
class Gap:
    """Consecutive sessions inside a ticker's life without a row."""

    ticker: str
    first: date
    last: date
    n_sessions: int


@dataclass(frozen=True, slots=True)
class Quarantine:
    """A ticker left out, and the jump that it was left out for (the first, if there are more)."""

    ticker: str
    session: date
    row: int
    ratio: float
    reason: str

    def __str__(self) -> str:
        return (
            f"ticker {self.ticker}, row {self.row}, {self.session}: close moved by a factor of "
            f"{self.ratio:.4g}, {self.reason}"
        )


@dataclass(frozen=True, slots=True)
class TickerQuality:
    """How complete and how lively one admitted ticker is.

    Attributes
    ----------
    ticker : str
        Its name.
    score : float
        Share of the sessions of its life with a price that is not stale, 0 to 1.
    n_sessions, n_missing, n_stale : int
        Sessions from its first to its last price, those without a row, and those in a run of at
        least ``STALE_RUN`` equal prices.
    """

    ticker: str
    score: float
    n_sessions: int
    n_missing: int
    n_stale: int


@dataclass(frozen=True, slots=True)
class QualityReport:
    """What the gate saw in an admitted panel.

    Attributes
    ----------
    source : str
        File, data set or vendors.
    calendar : str
        Exchange calendar of the sessions.
    score, threshold : float
        Quality of the panel and the least that is admitted, 0 to 1.
    n_rows, n_tickers, n_sessions : int
        Rows read, tickers admitted, sessions of the panel.
    gaps : tuple of Gap
        Sessions without a row inside a ticker's life, as runs.
    quarantined : tuple of Quarantine
        Tickers left out.
    tickers : tuple of TickerQuality
        One entry an admitted ticker, in the panel's order.
    origins : tuple of (ticker, vendor)
        Which vendor gave each ticker; empty for other sources.
    """

    source: str
    calendar: str
    score: float
    threshold: float
    n_rows: int
    n_tickers: int
    n_sessions: int
    gaps: tuple[Gap, ...]
    quarantined: tuple[Quarantine, ...]
    tickers: tuple[TickerQuality, ...]
    origins: tuple[tuple[str, str], ...] = ()

    def as_json(self) -> dict[str, object]:
        """Return the report as plain values, dates as text."""
        document = asdict(self)
        for name in ("gaps", "quarantined"):
            document[name] = [
                {k: str(v) if isinstance(v, date) else v for k, v in item.items()}
                for item in document[name]
            ]
        return document


def admit(
    frame: pd.DataFrame,
    *,
    source: str,
    policy: GatePolicy,
    today: date,
    threshold: float = 0.95,
    origins: tuple[tuple[str, str], ...] = (),
) -> tuple[Panel, QualityReport]:
    """Return the panel of the rows and what the gate saw, or refuse them.

    The score is the share of sessions inside the tickers' lives that hold a good price. A missing
    row is not good. A stale price (a month unchanged) counts against its ticker, and against the
    panel only where more than half of the listed tickers are stale at once: one price that stands
    still is a fact about that ticker, a whole panel that does is a fault of the feed. A late
    listing and a delisting cost nothing.

    Parameters
    ----------
    frame : DataFrame
        Long rows as ``check_rows`` wants them.
    source : str
        Starts every message.
    policy : GatePolicy
        Calendar, and what to do about jumps.
    today : date
        No row may lie after it.
    threshold : float
        Least score of a panel that is admitted, 0 to 1.
    origins : tuple of (ticker, vendor)
        Kept in the report.

    Raises
    ------
    QualityError
        If the rows break the contract, no ticker is left, or the score is below ``threshold``.
    """
    check_rows(frame, source=source, calendar=policy.calendar, today=today)
    quarantined = _quarantine(frame, policy)
    if quarantined and policy.quarantine == "refuse":
        raise QualityError(f"{source}: {quarantined[0]}; {_confirm(quarantined[0])}")
    suspects = [item.ticker for item in quarantined]
    admitted = frame[~frame["ticker"].isin(suspects)] if suspects else frame
    if admitted.empty:
        raise QualityError(
            f"{source}: no ticker is left, all {len(suspects)} are in quarantine; the first is "
            f"{quarantined[0]}; {_confirm(quarantined[0])}"
        )
    panel = build_panel(admitted, policy.calendar)
    life, stale = _life(panel), _stale(panel.close)
    missing = life & np.isnan(panel.close)
    frozen_feed = stale.sum(axis=0) * 2 > life.sum(axis=0)  # (T,)
    score = 1.0 - float((missing | (stale & frozen_feed)).sum() / life.sum())
    qualities = _ticker_qualities(panel, life, missing, stale)
    if score < threshold:
        raise QualityError(_below(source, score, threshold, qualities, int(frozen_feed.sum())))
    report = QualityReport(
        source=source,
        calendar=policy.calendar,
        score=score,
        threshold=threshold,
        n_rows=len(frame),
        n_tickers=panel.n_tickers,
        n_sessions=panel.n_sessions,
        gaps=_gaps(panel, missing),
        quarantined=quarantined,
        tickers=qualities,
        origins=origins,
    )
    return panel, report


def _confirm(item: Quarantine) -> str:
    return (
        "adjust the prices, or, if you have checked that the move is real, list "
        f"[{item.ticker}, {item.session}] under accepted_jumps"
    )


def _quarantine(frame: pd.DataFrame, policy: GatePolicy) -> tuple[Quarantine, ...]:
    codes = frame["ticker"].cat.codes.to_numpy().astype(np.int64)
    days = frame["date"].to_numpy().astype("datetime64[D]")
    order = np.argsort(codes, kind="stable")
    session = np.searchsorted(calendar_sessions(policy.calendar), days[order])
    close = frame["close"].to_numpy()[order]
    jumps = find_jumps(codes[order], session, close, splits=policy.splits)
    accepted = set(policy.accepted_jumps)
    first: dict[str, Quarantine] = {}
    names = frame["ticker"].cat.categories
    for position, ratio, reason in zip(jumps.position, jumps.ratio, jumps.reason, strict=True):
        at = order[position]
        ticker, day = str(names[codes[at]]), days[at].item()
        if (ticker, day) not in accepted and ticker not in first:
            first[ticker] = Quarantine(ticker, day, int(frame.index[at]), float(ratio), reason)
    return tuple(first[ticker] for ticker in sorted(first))


def _life(panel: Panel) -> BoolArray:
    """Return the sessions from each ticker's first price to its last, (N, T)."""
    present = ~np.isnan(panel.close)
    return present | interior_holes(present)


def _stale(close: FloatArray) -> BoolArray:
    """Return the cells of runs of at least ``STALE_RUN`` equal closes, (N, T)."""
    n, width = close.shape
    starts = np.ones((n, width), np.bool_)
    starts[:, 1:] = close[:, 1:] != close[:, :-1]  # NaN differs from NaN: gaps end a run
    begin = np.flatnonzero(starts)  # a row's first cell always begins one, so runs stay in rows
    length = np.diff(np.append(begin, n * width))
    run_length: IntArray = np.repeat(length, length).reshape(n, width)
    return run_length >= STALE_RUN


def _ticker_qualities(
    panel: Panel, life: BoolArray, missing: BoolArray, stale: BoolArray
) -> tuple[TickerQuality, ...]:
    n_life, n_missing, n_stale = (mask.sum(axis=1).tolist() for mask in (life, missing, stale))
    return tuple(
        TickerQuality(ticker, 1.0 - (absent + still) / total, total, absent, still)
        for ticker, total, absent, still in zip(
            panel.tickers, n_life, n_missing, n_stale, strict=True
        )
    )


def _gaps(panel: Panel, missing: BoolArray) -> tuple[Gap, ...]:
    edges = np.diff(np.pad(missing, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    n, first = np.nonzero(edges == 1)
    _, stop = np.nonzero(edges == -1)
    days = _dates(panel.sessions)
    return tuple(
        Gap(panel.tickers[ticker], days[a], days[b - 1], int(b - a))
        for ticker, a, b in zip(n, first, stop, strict=True)
    )


def _dates(sessions: DateArray) -> list[date]:
    days: list[date] = sessions.tolist()
    return days


def _below(
    source: str, score: float, threshold: float, tickers: tuple[TickerQuality, ...], n_frozen: int
) -> str:
    worst = min(tickers, key=lambda item: item.score)
    # Rounded down, so that a refused score never reads like the threshold.
    shown = np.floor(score * 1e4) / 1e4
    frozen = f"; on {n_frozen} sessions most tickers stand still" if n_frozen else ""
    return (
        f"{source}: quality score {shown:.4f} is below the threshold {threshold:g}; worst is "
        f"ticker {worst.ticker} with {worst.n_missing} of {worst.n_sessions} sessions missing and "
        f"{worst.n_stale} stale{frozen}; complete the data or leave the ticker out"
    )
