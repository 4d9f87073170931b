"""Scale a model's forecast variance, step by step, to the errors seen inside its history."""

from dataclasses import dataclass

import numpy as np

from pmx_ray._typing import FloatArray, IntArray, frozen
from pmx_ray.kernels.recurrence import error_weights, horizon_errors
from pmx_ray.kernels.samossa import Model, held_out_errors, held_out_squares, mean_square

Z90 = 1.6448536269514722
"""Normal quantile at 0.95: half the width of a 90 % interval in standard deviations."""


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """How large forecast errors were on sessions after a fit, beside what the model says.

    Attributes
    ----------
    errors : ndarray of shape (N, V)
        One-step errors on the last V times, of a fit on the times before them.
    coefficients : ndarray of shape (N, m)
        Of that fit.
    reference : ndarray of shape (N,)
        Mean squared one-step residual of the final fit on the same times, so that calm or stormy
        times cancel.
    cumulative : bool
        Whether a forecast is the sum of the next values.
    """

    errors: FloatArray
    coefficients: FloatArray
    reference: FloatArray
    cumulative: bool

    def __post_init__(self) -> None:
        for name in ("errors", "coefficients", "reference"):
            object.__setattr__(self, name, frozen(getattr(self, name), np.float64))

    def scale(self, steps: IntArray) -> FloatArray:
        """Return, step by step, squared error over model variance, averaged over series, (H,).

        Steps beyond a quarter of the held-out times have too few origins of their own and take
        the scale of that quarter; 1 where no error could be seen.
        """
        return np.array([_average(ratio, 1.0) for ratio, _ in self._ratios(steps)])

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
        n_steps = int(capped.max())
        weights = error_weights(self.coefficients, n_steps, cumulative=self.cumulative)
        units = np.cumsum(weights**2, axis=1)
        ratios = []
        for step in capped.tolist():
            errors = horizon_errors(self.errors, weights, step)
            variance = self.reference * units[:, step - 1]
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
    return Calibration(seen, early.coefficients, reference, cumulative)


def _average(values: FloatArray, otherwise: float) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else otherwise
