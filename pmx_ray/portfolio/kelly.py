"""How much to stake: Kelly's fraction of the trades that were made, shrunk, and capped.

The only place where it is computed; a test holds every other module to that.
"""

import math

from pmx_ray.errors import DataError

MAX_POSITION_FRAC = 0.02
"""Largest share of capital that a single trade may take, whatever the settings say."""


def kelly_fraction(win_rate_frac: float, payoff_ratio: float) -> float:
    """Return ``f = p - q / b``, Kelly's share of capital where a losing trade loses its stake.

    Capital then grows fastest in the long run. A trade in a stock loses a part of its stake, a mean
    loss L of it; growth would be largest at ``f / L``, many times as much. Staking f itself treats
    every loss as a total one: it is on the safe side by that factor, and no claim to the fastest
    growth.

    Parameters
    ----------
    win_rate_frac : float
        p, share of trades that gained, 0 to 1; ``q = 1 - p``.
    payoff_ratio : float
        b, mean gain of a trade that gained over mean loss of one that lost, > 0; infinite where
        no trade lost.

    Returns
    -------
    float
        At most ``win_rate_frac``; 0 or less where the trades do not pay.

    Raises
    ------
    DataError
        If a number is outside its limits.

    Examples
    --------
    >>> round(kelly_fraction(0.55, 1.2), 6)
    0.175

    References
    ----------
    Kelly (1956), Bell System Technical Journal 35, 917-926.
    """
    if not 0.0 <= win_rate_frac <= 1.0:
        raise DataError(f"win_rate_frac was {win_rate_frac}; it must lie between 0 and 1")
    if not payoff_ratio > 0.0:
        raise DataError(f"payoff_ratio was {payoff_ratio}; it must be > 0")
    return win_rate_frac - (1.0 - win_rate_frac) / payoff_ratio


def shrunk(kelly: float, *, n_effective: float, prior_trades: int) -> float:
    """Return a Kelly fraction as seen by one who doubts its few trades.

    The win rate is pooled with ``prior_trades`` imagined trades that won as often as it takes to
    break even, ``1 / (1 + b)``. As Kelly's fraction is 0 there and linear in the win rate, that
    comes to ``kelly * n / (n + prior)``: 0 without trades, and the fraction itself in the limit.

    Parameters
    ----------
    kelly : float
        Of ``kelly_fraction``.
    n_effective : float
        Independent trades that those behind it are worth, >= 0.
    prior_trades : int
        Imagined ones, independent, >= 0.

    Raises
    ------
    DataError
        If a number of trades is below 0, or not finite.

    Examples
    --------
    >>> shrunk(0.175, n_effective=100, prior_trades=100)
    0.0875
    """
    if not 0.0 <= n_effective < math.inf or prior_trades < 0:
        raise DataError(f"trades were {n_effective} and {prior_trades}; both must be >= 0")
    return kelly * n_effective / (n_effective + prior_trades) if n_effective else 0.0


def stake_frac(kelly: float, *, confidence: float, fraction: float, cap_frac: float) -> float:
    """Return the share of capital to stake on one trade, 0 to ``cap_frac``.

    Parameters
    ----------
    kelly : float
        Of ``shrunk``; 0 or less stakes nothing.
    confidence : float
        In this trade, 0 to 1; multiplies.
    fraction : float
        Share of Kelly to use, 0 to 1, as its full size is for gamblers with nothing to estimate.
    cap_frac : float
        Largest stake, 0 to ``MAX_POSITION_FRAC``.

    Raises
    ------
    DataError
        If a number is outside its limits, or NaN.

    Examples
    --------
    >>> stake_frac(0.0875, confidence=0.6, fraction=0.25, cap_frac=0.02)
    0.013125
    """
    for name, value, most in (
        ("confidence", confidence, 1.0),
        ("fraction", fraction, 1.0),
        ("cap_frac", cap_frac, MAX_POSITION_FRAC),
    ):
        if not 0.0 <= value <= most:
            raise DataError(f"{name} was {value}; it must lie between 0 and {most:g}")
    if math.isnan(kelly):
        raise DataError("kelly was NaN; stake nothing where the trades are not known")
    return min(max(kelly, 0.0) * confidence * fraction, cap_frac)
