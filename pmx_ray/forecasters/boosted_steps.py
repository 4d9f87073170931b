"""Boosted trees for one step ahead: the rows they learn from, and their mean, spread, quantiles.

A row is a ticker on a session: what is known of the features at its close, and as target the log
return over the next h sessions in units of the volatility that the ticker had,
``z = (log P(s + h) - log P(s)) / (sigma(s) sqrt(h))``. Calm and wild tickers, and calm and wild
years, so speak one language and are pooled.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from pmx_ray._typing import BoolArray, FloatArray, IntArray
from pmx_ray.data.panel import Panel
from pmx_ray.features.windows import session_returns, weighted_sum
from pmx_ray.forecasters.protocol import QUANTILE_LEVELS, Failure, Status

MIN_ROWS = 100
"""Fewest rows that a step's models are fitted on."""

VALIDATION_FRAC = 0.25
"""Share of the rows, the last ones, whose errors make the variance."""

FEWEST_THINNED = 2_000
"""Rows below which overlapping targets are not thinned out."""

LARGEST = 10.0
"""Targets are cut at so many volatilities: one split or typing error must not fit a tree."""


@dataclass(frozen=True, slots=True)
class TreeSettings:
    """How trees are grown; see ``BoostingSettings``."""

    n_trees: int
    depth: int
    learning_rate: float
    min_leaf_frac: float
    l2: float


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """What models of every step may learn from.

    Attributes
    ----------
    known : ndarray of shape (N, T, K)
        What is known of each column at each close, NaN where it is not.
    returns : ndarray of shape (N, T)
        Log return into each session.
    scale : ndarray of shape (N, T)
        Volatility a session, NaN where a row cannot be used.
    """

    known: FloatArray
    returns: FloatArray
    scale: FloatArray

    def targets(self, step: int) -> FloatArray:
        """Return z over ``step`` sessions, (N, T); NaN where it is not over or lacks a price.

        A target across a gap is left out, so that none reaches over a stretch that was blanked.
        """
        n_sessions = self.returns.shape[1]
        ahead = np.full(self.returns.shape, np.nan)
        over = max(n_sessions - step, 0)
        ahead[:, :over] = weighted_sum(self.returns, np.ones(step))[:, n_sessions - over :]
        z: FloatArray = np.clip(ahead / (self.scale * np.sqrt(step)), -LARGEST, LARGEST)
        return z

    def of_step(self, step: int) -> tuple[FloatArray, FloatArray, IntArray]:
        """Return features (R, K), targets (R,) and sessions (R,) of a step, oldest first.

        Targets of a long step overlap: half of one is told by its neighbour. Where there are many
        rows, every so many sessions serve, counted from the last one whose target is over.
        """
        targets = self.targets(step)
        usable = ~np.isnan(targets)
        stride = max(1, min(step // 2, int(usable.sum()) // FEWEST_THINNED))
        last = targets.shape[1] - 1 - step
        usable &= (last - np.arange(targets.shape[1])) % stride == 0
        session, ticker = np.nonzero(usable.T)
        return self.known[ticker, session], targets[ticker, session], session


def volatility_scale(history: Panel, window: int) -> FloatArray:
    """Return the root mean square of the returns among the last ``window`` sessions, (N, T).

    NaN where fewer than half of them have a return, or where the price stood still.
    """
    returns = session_returns(history)
    present = ~np.isnan(returns)
    squares = weighted_sum(np.where(present, returns, 0.0) ** 2, np.ones(window))
    count = weighted_sum(present.astype(np.float64), np.ones(window))
    enough = (count >= window / 2) & (squares > 0.0)
    scale: FloatArray = np.sqrt(np.where(enough, squares, np.nan) / np.where(enough, count, 1.0))
    return scale


def one_thread() -> threadpool_limits:
    """Return a context in which trees are grown and asked by one thread.

    Two threads would add in another order, and they wait for one another longer than a forecast
    takes. A limit holds only for what is loaded, so the library is loaded first.
    """
    import sklearn.ensemble  # noqa: F401, PLC0415 - a second to import

    return threadpool_limits(1, user_api="openmp")


@dataclass(frozen=True, slots=True, eq=False)
class Boosted:
    """A boosted model of the columns that vary; the others were not there to learn from."""

    model: Any
    used: BoolArray

    def __call__(self, features: FloatArray) -> FloatArray:
        """Return the prediction of each row of ``features`` (R, K)."""
        predicted: FloatArray = self.model.predict(features[:, self.used])
        return predicted


@dataclass(frozen=True, slots=True, eq=False)
class StepModels:
    """The distribution of z one step h ahead.

    Attributes
    ----------
    mean : Boosted
        Of the mean, by squared error.
    variance : float
        Mean square of the errors of a mean fitted earlier on rows that came later.
    quantiles : tuple of Boosted
        One a level of ``QUANTILE_LEVELS``, by the quantile loss.
    """

    mean: Boosted
    variance: float
    quantiles: tuple[Boosted, ...]


def fit_step(rows: Rows, step: int, trees: TreeSettings, *, seed: int) -> StepModels | Failure:
    """Fit the models of ``step``.

    Parameters
    ----------
    rows : Rows
        Of the history that the fit may see.
    step : int
        Sessions ahead, h.
    trees : TreeSettings
        How trees are grown.
    seed : int
        Of the sample that bins are taken from where there are more than 200,000 rows.

    Returns
    -------
    StepModels or Failure
        TOO_SHORT where there are too few rows whose targets are over, or no column varies among
        them; CONSTANT where the errors have no variance.
    """
    features, targets, sessions = rows.of_step(step)
    n_rows = len(targets)
    if n_rows < MIN_ROWS:
        return Failure(
            Status.TOO_SHORT, f"{n_rows} rows with a target {step} ahead; {MIN_ROWS} are needed"
        )
    opening = int(sessions[int(n_rows * (1.0 - VALIDATION_FRAC))])
    early, late = sessions <= opening - step, sessions >= opening
    if early.sum() < MIN_ROWS // 2 or not (_varies(features[early]).any()):
        return Failure(
            Status.TOO_SHORT,
            f"{int(early.sum())} rows before those that make the variance {step} ahead; "
            f"{MIN_ROWS // 2} with a feature that varies are needed",
        )
    first = _boost(features[early], targets[early], trees, seed)
    variance = float(np.mean((targets[late] - first(features[late])) ** 2))
    if variance <= 0.0:
        return Failure(Status.CONSTANT, f"returns {step} ahead do not vary")
    mean = _boost(features, targets, trees, seed)
    return StepModels(mean, variance, tuple(_quantiles(features, targets, trees, seed)))


def _quantiles(
    features: FloatArray, targets: FloatArray, trees: TreeSettings, seed: int
) -> Iterator[Boosted]:
    for level in QUANTILE_LEVELS:
        yield _boost(features, targets, trees, seed, level=level)


def _boost(
    features: FloatArray,
    targets: FloatArray,
    trees: TreeSettings,
    seed: int,
    level: float | None = None,
) -> Boosted:
    """Return the model of the mean, or of the quantile at ``level``."""
    from sklearn.ensemble import HistGradientBoostingRegressor  # noqa: PLC0415 - a second to import

    used = _varies(features)
    model = HistGradientBoostingRegressor(
        loss="squared_error" if level is None else "quantile",
        quantile=level,
        learning_rate=trees.learning_rate,
        max_iter=trees.n_trees,
        max_depth=trees.depth,
        max_leaf_nodes=None,
        min_samples_leaf=max(20, int(trees.min_leaf_frac * len(targets))),
        l2_regularization=trees.l2,
        categorical_features=None,
        early_stopping=False,
        random_state=seed,
    )
    return Boosted(model.fit(features[:, used], targets), used)


def _varies(features: FloatArray) -> BoolArray:
    """Return which columns of (R, K) hold two different values, shape (K,)."""
    lowest = np.where(np.isnan(features), np.inf, features).min(axis=0)
    varies: BoolArray = np.where(np.isnan(features), -np.inf, features).max(axis=0) > lowest
    return varies
