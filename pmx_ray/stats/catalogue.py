"""Every loss and measure by name: direction, unit and meaning, for all who show or judge one."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Direction: TypeAlias = Literal["lower", "higher", "target"]
"""Which way is better; ``target`` is better the nearer it comes to the target value."""


@dataclass(frozen=True, slots=True)
class Measure:
    """How one figure is read.

    Attributes
    ----------
    name : str
        Column of the leaderboard.
    title : str
        Heading for people.
    direction : str
        ``lower``, ``higher`` or ``target``.
    unit : str
        Unit of the figure; ``1`` for a pure number.
    explanation : str
        One line.
    target : float, optional
        The value to come near, where the direction is ``target``.
    """

    name: str
    title: str
    direction: Direction
    unit: str
    explanation: str
    target: float | None = None


_ALL = (
    Measure(
        "rmse",
        "RMSE",
        "lower",
        "log return",
        "Root of the mean squared error of the log return from cutoff to step.",
    ),
    Measure(
        "mae",
        "MAE",
        "lower",
        "log return",
        "Mean absolute error of the log return from cutoff to step.",
    ),
    Measure(
        "smape",
        "sMAPE",
        "lower",
        "% (0 to 200)",
        "Symmetric percentage error of the price P exp(mean), on the 0 to 200 scale of M4.",
    ),
    Measure(
        "tracking_error",
        "Tracking error",
        "lower",
        "log return",
        "Standard deviation of the forecast error of the log return; blind to a constant bias.",
    ),
    Measure(
        "qlike",
        "QLIKE",
        "lower",
        "1",
        "x - log x - 1 with x = realized / forecast variance, where the realized one is above 0.",
    ),
    Measure(
        "crps",
        "CRPS",
        "lower",
        "log return",
        "Continuous ranked probability score of the normal with the forecast's mean and variance.",
    ),
    Measure(
        "pinball",
        "Pinball",
        "lower",
        "log return",
        "Pinball loss, mean over the forecast's quantiles (5, 25, 50, 75 and 95 %).",
    ),
    Measure(
        "coverage_50",
        "Coverage 50 %",
        "target",
        "fraction",
        "Share of outcomes inside the forecast's central 50 % interval.",
        0.5,
    ),
    Measure(
        "coverage_90",
        "Coverage 90 %",
        "target",
        "fraction",
        "Share of outcomes inside the forecast's central 90 % interval.",
        0.9,
    ),
    Measure(
        "hit_rate",
        "Hit rate",
        "higher",
        "fraction",
        "Share of forecasts with the right sign; a forecast or a move of 0 takes no side.",
    ),
    Measure(
        "profit_factor",
        "Profit factor",
        "higher",
        "1",
        "Sum of winning over sum of losing trades, net of costs; infinite without a loss.",
    ),
    Measure(
        "max_drawdown_frac",
        "Max drawdown",
        "lower",
        "fraction",
        "Deepest fall of the net equity from its peak.",
    ),
    Measure(
        "sharpe_annual",
        "Sharpe",
        "higher",
        "1, annual",
        "Mean over standard deviation of the net strategy returns, annualised at 252 sessions.",
    ),
    Measure(
        "volatility_adjusted_return",
        "Vol-adj. return",
        "higher",
        "1, annual",
        "Compound annual net growth over annual volatility of the strategy.",
    ),
    Measure(
        "net_return",
        "Net return",
        "higher",
        "fraction",
        "Growth of the strategy's equity over the whole evaluation, net of costs.",
    ),
    Measure(
        "skill_rmse",
        "RMSE skill",
        "higher",
        "fraction",
        "1 - RMSE / RMSE of the random walk on the same cells; 0 is no better than the walk.",
    ),
    Measure(
        "skill_qlike",
        "QLIKE skill",
        "higher",
        "fraction",
        "1 - QLIKE / QLIKE of the random walk's variance on the same cells.",
    ),
)

MEASURES: dict[str, Measure] = {measure.name: measure for measure in _ALL}
"""The one table of losses and measures, in the order they are shown."""
