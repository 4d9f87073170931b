"""Jumps that look like a fault of the data: an unadjusted split or a wrong unit."""

from dataclasses import dataclass

import numpy as np

from pmx_ray._typing import BoolArray, FloatArray, IntArray

SPLITS_DOWN = (1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 15.0, 20.0, 25.0, 30.0, 50.0)
"""Old price over new price after a forward split: 3:2, 2:1, ..."""

SPLITS_UP = SPLITS_DOWN[1:]
"""New price over old price after a reverse split. There is no 2:3: companies consolidate by whole
numbers, while prices do rise by half on a real day (AMD, 22 April 2016: 1.52)."""

UNIT_TOLERANCE = 0.15
"""Log distance from a power of ten within which a move is a unit error, whatever follows it."""

MAX_APART = 5
"""Sessions between two prices up to which their ratio is judged; time explains it further apart."""

REVERT_WITHIN = 5
"""Prices on either side of a jump that are looked at for a level that did not last."""


@dataclass(frozen=True, slots=True)
class Jumps:
    """Suspicious moves between consecutive prices of a ticker, J of them.

    Attributes
    ----------
    position : ndarray of int, shape (J,)
        Position of the price after the jump.
    ratio : ndarray of shape (J,)
        New price over old price.
    reason : tuple of str, length J
        What the jump looks like.
    """

    position: IntArray
    ratio: FloatArray
    reason: tuple[str, ...]


def find_jumps(
    ticker: IntArray, session: IntArray, close: FloatArray, *, splits: bool = True
) -> Jumps:
    """Return the moves that look like an unadjusted split or a unit error.

    A split stays, so a move counts as one only if the ``REVERT_WITHIN`` prices after it do not
    come back to the old level, nor those before it come from the new one; a move by a power of ten
    counts whether or not it does. The nearer to 1 the split, the closer the ratio must be, because
    real moves of that size are more frequent: 3 % for 3:2 and 2:1, 5 % for 3:1, 8 % from 4:1 on.

    Parameters
    ----------
    ticker, session : ndarray of int, shape (R,)
        Number of the ticker and of the session of each price, sorted by both.
    close : ndarray of shape (R,)
        Price > 0.
    splits : bool
        False for what cannot split, e.g. currencies and indices.

    Notes
    -----
    A crash by exactly a half that never comes back cannot be told from a split by prices alone.
    The gate therefore leaves the ticker out and names the jump, and the user may confirm it.
    """
    log_close = np.log(close)
    move = np.diff(log_close)
    near = (np.diff(ticker) == 0) & (np.diff(session) <= MAX_APART)
    # 1.45 lies below the smallest split with its tolerance, so nothing later is lost here.
    at = np.flatnonzero(near & (np.abs(move) > np.log(1.45))) + 1
    size = move[at - 1]
    power, is_unit = _near_power_of_ten(size)
    factor, is_split = _near_split(size) if splits else (np.ones(len(at)), np.zeros(len(at), bool))
    is_split &= ~_reverts(ticker, log_close, at)
    found = is_split | is_unit
    reasons = [
        _split_reason(size[j], factor[j]) if is_split[j] else _unit_reason(power[j])
        for j in np.flatnonzero(found)
    ]
    return Jumps(at[found], np.exp(size[found]), tuple(reasons))


def _near_power_of_ten(size: FloatArray) -> tuple[IntArray, BoolArray]:
    """Return the nearest power of ten of each log move, and whether it is one, both (J,)."""
    power = np.rint(size / np.log(10.0)).astype(np.int64)
    return power, (power != 0) & (np.abs(size - power * np.log(10.0)) <= UNIT_TOLERANCE)


def _near_split(size: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Return the nearest split factor of each log move, and whether it is one, both (J,)."""
    factor = np.ones(len(size))
    hit = np.zeros(len(size), np.bool_)
    for factors, side in ((SPLITS_DOWN, size < 0), (SPLITS_UP, size > 0)):
        known = np.array(factors)
        nearest = np.abs(np.abs(size)[:, None] - np.log(known)).argmin(axis=1)
        distance = np.abs(np.abs(size) - np.log(known[nearest]))
        factor = np.where(side, known[nearest], factor)
        hit |= side & (distance <= _tolerance(known[nearest]))
    return factor, hit


def _tolerance(factor: FloatArray) -> FloatArray:
    return np.select([factor < 2.5, factor < 3.5], [0.03, 0.05], 0.08)


def _reverts(ticker: IntArray, log_close: FloatArray, at: IntArray) -> BoolArray:
    """Return whether the level before or after a jump is left again at once, (J,).

    True where one of the next prices is back within a quarter of the jump of the old level, or one
    of the prices before was within a quarter of the new one: both edges of a bad tick.
    """
    last = len(log_close) - 1
    size = np.abs(log_close[at] - log_close[at - 1])
    back = np.zeros(len(at), np.bool_)
    for away in range(1, REVERT_WITHIN + 1):
        for edge, other in ((at + away, at - 1), (at - 1 - away, at)):
            position = np.clip(edge, 0, last)
            same = (position == edge) & (ticker[position] == ticker[at])
            back |= same & (np.abs(log_close[position] - log_close[other]) < 0.25 * size)
    return back


def _split_reason(size: float, factor: float) -> str:
    whole, part = (3, 2) if factor == 1.5 else (int(factor), 1)
    if size < 0:
        return f"looks like an unadjusted split {whole}:{part}"
    return f"looks like an unadjusted reverse split {part}:{whole}"


def _unit_reason(power: int) -> str:
    return f"looks like a wrong unit: {10.0 ** abs(power):g}x {'up' if power > 0 else 'down'}"
