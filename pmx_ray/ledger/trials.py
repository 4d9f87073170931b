"""Trials: every configuration that was ever evaluated, by the data it has seen."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from sqlalchemy import Connection, RowMapping, Select, func, select

from pmx_ray._typing import DateArray, FloatArray, frozen
from pmx_ray.errors import LedgerError
from pmx_ray.ledger.engines import explained, for_writing
from pmx_ray.ledger.ledger import Ledger
from pmx_ray.ledger.tables import SliceRow, TrialRow, insert, insert_new
from pmx_ray.provenance import canonical_json, sha256_hex

_DAYS, _RETURNS = np.dtype("<i4"), np.dtype("<f8")


class TrialSource(StrEnum):
    """Where a configuration was evaluated."""

    SWEEP = "sweep"
    TUNE = "tune"
    CI = "ci"


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """One configuration on one data slice, with what it earned there.

    Attributes
    ----------
    config_id : str
        Hash of spec id, step and trading rule, by the caller.
    spec_id, label : str
        As in ``ForecasterSpec``.
    step : int
        Sessions after the cutoff, >= 1.
    source : TrialSource
        Where it was evaluated.
    tickers : tuple of str
        Of the slice; sorted, unique, at least one.
    cutoffs : ndarray of datetime64[D], shape (F,)
        Of the slice; increasing, at least one, in the years 1 to 9999.
    returns : ndarray of float64, shape (F,)
        Net return of the trading rule per cutoff, as a fraction; NaN where there is none.

    Raises
    ------
    LedgerError
        If an id is empty, an axis is unsorted, repeats or is empty, a shape differs, or a return
        is infinite.
    """

    config_id: str
    spec_id: str
    label: str
    step: int
    source: TrialSource
    tickers: tuple[str, ...]
    cutoffs: DateArray
    returns: FloatArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", TrialSource(self.source))
        object.__setattr__(self, "tickers", tuple(self.tickers))
        object.__setattr__(self, "cutoffs", frozen(self.cutoffs, np.dtype("datetime64[D]")))
        object.__setattr__(self, "returns", frozen(self.returns, np.float64))
        if not self.config_id or not self.spec_id:
            raise LedgerError(f"a trial of '{self.label}' has an empty id; name config and spec")
        if self.step < 1:
            raise LedgerError(f"step of trial {self.config_id} was {self.step}; it must be >= 1")
        self._check_slice()

    def _check_slice(self) -> None:
        if not self.tickers or list(self.tickers) != sorted(set(self.tickers)):
            raise LedgerError(
                f"tickers of trial {self.config_id} were {self.tickers[:5]}; "
                "give at least one, sorted, each once"
            )
        days = self.cutoffs.astype(np.int64)
        if days.ndim != 1 or not days.size or np.any(np.diff(days) <= 0):
            raise LedgerError(
                f"cutoffs of trial {self.config_id} have shape {days.shape}; "
                "give at least one, increasing"
            )
        _check_day(self.cutoffs[0])
        _check_day(self.cutoffs[-1])
        if self.returns.shape != days.shape or np.isinf(self.returns).any():
            raise LedgerError(
                f"returns of trial {self.config_id} have shape {self.returns.shape} and "
                f"{np.isinf(self.returns).sum()} infinities; give {days.size} values, NaN for none"
            )

    @property
    def slice_id(self) -> str:
        """Hash of tickers and cutoffs."""
        return sha256_hex(canonical_json(list(self.tickers)), self._days())

    def _days(self) -> bytes:
        return self.cutoffs.astype(np.int64).astype(_DAYS).tobytes()

    def _slice_columns(self) -> dict[str, Any]:
        return {
            "slice_id": self.slice_id,
            "first": self.cutoffs[0].item(),
            "last": self.cutoffs[-1].item(),
            "n_cutoffs": len(self.cutoffs),
            "tickers": list(self.tickers),
            "cutoffs": self._days(),
        }

    def _columns(self) -> dict[str, Any]:
        return {
            "config_id": self.config_id,
            "slice_id": self.slice_id,
            "spec_id": self.spec_id,
            "label": self.label,
            "step": int(self.step),
            "source": self.source.value,
            "returns": self.returns.astype(_RETURNS).tobytes(),
        }


class Trials:
    """The trials of a ledger, counted by the data they touch.

    A trial touches a window of cutoffs over some tickers if its slice has at least one of the
    tickers and at least one cutoff inside the window. One more day, a ticker fewer or a shifted
    start therefore never hides a trial: ``docs/decisions/0008-trials-are-counted-by-overlap.md``.

    Threads and processes may record and count at once, as with the ledger itself.

    Parameters
    ----------
    ledger : Ledger
        An open ledger; it stays the caller's to close.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._engine = ledger.engine

    def record(self, trials: Iterable[Trial]) -> int:
        """Write trials in one transaction; return how many were new or have other returns now.

        The key of a trial is its configuration and its slice. One that is there already with the
        same returns is left alone, label and source included; other returns (a new version of the
        engine) take the place of the old ones. Nothing ever lowers the count.

        Raises
        ------
        LedgerError
            If the database cannot be written; then none of them was.
        """
        # In one order for every writer, so that two never wait for each other's rows.
        ordered = sorted(trials, key=lambda trial: (trial.slice_id, trial.config_id))
        slices = {trial.slice_id: trial for trial in ordered}
        with explained(self._engine, "written"), for_writing(self._engine).begin() as connection:
            for trial in slices.values():
                connection.execute(insert_new(connection, SliceRow), trial._slice_columns())
            return sum(_write(connection, trial._columns()) for trial in ordered)

    def touching(
        self, tickers: Sequence[str], *, first: np.datetime64, last: np.datetime64
    ) -> tuple[Trial, ...]:
        """Return every trial that touches a window, one a configuration, by configuration.

        Of a configuration that was evaluated on several slices that touch the window, the series
        that reaches the latest cutoff is returned; of two that end on one day, the longer.

        Parameters
        ----------
        tickers : sequence of str
            At least one.
        first, last : datetime64[D]
            First and last cutoff of the window, both inside.

        Raises
        ------
        LedgerError
            If the window is empty, or the database cannot be read.
        """
        with explained(self._engine, "read"), self._engine.connect() as connection:
            slices = _slices_touching(connection, tickers, first, last)
            rows = connection.execute(_latest(list(slices))).mappings().all()
        return tuple(_trial(row, slices[row["slice_id"]]) for row in rows)

    def n_trials(self, tickers: Sequence[str], *, first: np.datetime64, last: np.datetime64) -> int:
        """Return how many configurations touch a window: the length of ``touching``."""
        count = func.count(TrialRow.config_id.distinct())
        with explained(self._engine, "read"), self._engine.connect() as connection:
            slices = _slices_touching(connection, tickers, first, last)
            query = select(count).where(TrialRow.slice_id.in_(list(slices)))
            return connection.execute(query).scalar_one()


def _check_day(day: np.datetime64) -> None:
    if not np.datetime64("0001-01-01") <= day <= np.datetime64("9999-12-31"):
        raise LedgerError(f"cutoff was {day}; it must lie between 0001-01-01 and 9999-12-31")


def _write(connection: Connection, columns: dict[str, Any]) -> bool:
    """Insert or update one trial; return whether anything changed."""
    new = insert(connection, TrialRow)
    changed = {name: new.excluded[name] for name in ("returns", "label", "source")}
    statement = new.on_conflict_do_update(
        index_elements=["config_id", "slice_id"],
        set_=changed,
        where=TrialRow.returns != new.excluded["returns"],
    )
    return connection.execute(statement.returning(TrialRow.config_id), columns).first() is not None


def _slices_touching(
    connection: Connection, tickers: Sequence[str], first: np.datetime64, last: np.datetime64
) -> dict[str, RowMapping]:
    first, last = first.astype("datetime64[D]"), last.astype("datetime64[D]")
    if not tickers or not first <= last:
        raise LedgerError(
            f"the window was {len(tickers)} tickers from {first} to {last}; give at least one "
            "ticker, and a first cutoff that is not after the last"
        )
    _check_day(first)
    _check_day(last)
    query = select(SliceRow.__table__).where(
        SliceRow.first <= last.item(), SliceRow.last >= first.item()
    )
    wanted = frozenset(tickers)
    return {
        row["slice_id"]: row
        for row in connection.execute(query).mappings()
        if not wanted.isdisjoint(row["tickers"]) and _any_between(_cutoffs(row), first, last)
    }


def _any_between(cutoffs: DateArray, first: np.datetime64, last: np.datetime64) -> bool:
    # A slice may begin before the window and end after it with no cutoff inside.
    position = int(np.searchsorted(cutoffs, first))
    return position < len(cutoffs) and bool(cutoffs[position] <= last)


def _cutoffs(row: RowMapping) -> DateArray:
    days = np.frombuffer(row["cutoffs"], dtype=_DAYS).astype(np.int64)
    return days.astype("datetime64[D]")


def _latest(slice_ids: list[str]) -> Select[Any]:
    """Return the query of one trial a configuration: the one whose slice reaches furthest."""
    order = (SliceRow.last.desc(), SliceRow.n_cutoffs.desc(), SliceRow.slice_id)
    rank = func.row_number().over(partition_by=TrialRow.config_id, order_by=order).label("rank")
    ranked = (
        select(TrialRow.config_id, TrialRow.slice_id, rank)
        .join(SliceRow, SliceRow.slice_id == TrialRow.slice_id)
        .where(TrialRow.slice_id.in_(slice_ids))
        .subquery()
    )
    same = (TrialRow.config_id == ranked.c.config_id) & (TrialRow.slice_id == ranked.c.slice_id)
    table = TrialRow.__table__
    return (
        select(table)
        .select_from(table.join(ranked, same))
        .where(ranked.c.rank == 1)
        .order_by(table.c.config_id)
    )


def _trial(row: RowMapping, slice_row: RowMapping) -> Trial:
    columns = {name: row[name] for name in ("config_id", "spec_id", "label", "step", "source")}
    returns = np.frombuffer(row["returns"], dtype=_RETURNS)
    return Trial(
        **columns, tickers=tuple(slice_row["tickers"]), cutoffs=_cutoffs(slice_row), returns=returns
    )
