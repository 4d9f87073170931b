"""Scale a model's forecast variance, step by step, to the errors seen inside its history."""

from dataclasses import dataclass

import numpy as np

from pmx_ray._typing import FloatArray, IntArray, frozen
from pmx_ray.kernels.recurrence import error_weights, horizon_errors
from pmx_ray.kernels.samossa import (
    Model,
    held_out_errors,
    held_out_squares,
    mean_square,
    unit_variances,
)

Z90 = 1.6448536269514722
"""Normal quantile at 0.95: half the width of a 90 % interval in standard deviations."""


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """How large forecast errors were on sessions after a fit, beside what the model says.

    Attributes
    ----------
    errors : ndarray of shape (N, V)
        One-step errors on the last V times, of a fit on the times before them.
    early, final : ndarray of shape (N, m)
        Coefficients of that fit, and of the final one, whose variance is scaled.
    reference : ndarray of shape (N,)
        Mean squared one-step residual of the final fit on the same times, so that calm or stormy
        times cancel.
    cumulative : bool
        Whether a forecast is the sum of the next values.
    """

    errors: FloatArray
    early: FloatArray
    final: FloatArray
    reference: FloatArray
    cumulative: bool

    def __post_init__(self) -> None:
        for name in ("errors", "early", "final", "reference"):
            object.__setattr__(self, name, frozen(getattr(self, name), np.float64))

    def scale(self, steps: IntArray) -> FloatArray:
        """Return, step by step, squared error over model variance, the median over series, (H,).

        Never below 1: few independent long errors fit into a history, and a calm third must not
        narrow the model's own intervals. Steps beyond a quarter of the held-out times take the
        scale of that quarter; 1 where no error could be seen.
        """
        return np.array([max(_median(mean, 1.0), 1.0) for mean, _ in self._ratios(steps)])

    def coverage(self, steps: IntArray) -> FloatArray:
        """Return the share of held-out errors inside the scaled 90 % interval, (H,); NaN if none.

        The scale was taken from the same errors: this checks the shape of the distribution. The
        share out of sample is what a backtest reports.
        """
        scale = self.scale(steps)
        inside = []
        for (_, squares), factor in zip(self._ratios(steps), scale, strict=True):
            present = ~np.isnan(squares)
            within = present & (squares <= Z90**2 * factor)
            inside.append(within.sum() / present.sum() if present.any() else np.nan)
        return np.array(inside)

    def _ratios(self, steps: IntArray) -> list[tuple[FloatArray, FloatArray]]:
        """Return, step by step, mean (N,) and all (N, origins) of squared error over variance."""
        capped = np.clip(steps, 1, max(self.errors.shape[1] // 4, 1))
        weights = error_weights(self.early, int(capped.max()), cumulative=self.cumulative)
        units = unit_variances(self.final, capped, cumulative=self.cumulative)
        ratios = []
        for column, step in enumerate(capped.tolist()):
            errors = horizon_errors(self.errors, weights, step)
            variance = self.reference * units[:, column]
            ratios.append((mean_square(errors) / variance, errors**2 / variance[:, None]))
        return ratios


def calibrate(
    early: Model, final: Model, series: FloatArray, n_held_out: int, *, cumulative: bool
) -> Calibration:
    """Weigh what ``early`` missed on the last ``n_held_out`` times against ``final``'s residuals.

    Parameters
    ----------
    early : Model
        Fitted without those times.
    final : Model
        Fitted with them.
    series : ndarray of shape (N, T)
    n_held_out : int
        V.
    cumulative : bool
        Whether a forecast is the sum of the next values.
    """
    seen = held_out_errors(early, series, n_held_out)
    reference = held_out_squares(final, series, n_held_out)
    return Calibration(seen, early.coefficients, final.coefficients, reference, cumulative)


def _median(values: FloatArray, otherwise: float) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else otherwise
