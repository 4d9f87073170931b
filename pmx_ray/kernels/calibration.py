"""Scale a model's forecast variance, step by step, to the errors seen inside its history."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from pmx_ray._typing import FloatArray, IntArray, frozen
from pmx_ray.kernels.eigen import on_host
from pmx_ray.kernels.recurrence import error_weights, horizon_errors
from pmx_ray.kernels.samossa import Stack, mean_square, unit_variances

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
        squares = [mean_square(errors) for errors in self._horizon_errors(steps)]
        ratios = np.stack(squares, axis=1) / self._variances(steps)  # (N, H)
        if np.isfinite(ratios).all():
            return np.maximum(np.median(ratios, axis=0), 1.0)
        return np.array([max(_median(ratio, 1.0), 1.0) for ratio in ratios.T])

    def coverage(self, steps: IntArray) -> FloatArray:
        """Return the share of held-out errors inside the scaled 90 % interval, (H,); NaN if none.

        The scale was taken from the same errors: this checks the shape of the distribution. The
        share out of sample is what a backtest reports.
        """
        limits = Z90**2 * self._variances(steps) * self.scale(steps)
        inside = []
        for errors, limit in zip(self._horizon_errors(steps), limits.T, strict=True):
            present = ~np.isnan(errors)
            within = present & (errors**2 <= limit[:, None])
            inside.append(within.sum() / present.sum() if present.any() else np.nan)
        return np.array(inside)

    def _capped(self, steps: IntArray) -> IntArray:
        return np.clip(steps, 1, max(self.errors.shape[1] // 4, 1))

    def _variances(self, steps: IntArray) -> FloatArray:
        """Return the final model's variance of each step on the held-out times, (N, H)."""
        units = unit_variances(self.final, self._capped(steps), cumulative=self.cumulative)
        return self.reference[:, None] * units

    def _horizon_errors(self, steps: IntArray) -> Iterator[FloatArray]:
        """Yield, step by step, the error made from each origin, (N, origins)."""
        capped = self._capped(steps)
        weights = error_weights(self.early, int(capped.max()), cumulative=self.cumulative)
        for step in capped.tolist():
            yield horizon_errors(self.errors, weights, step)


def calibrate(
    early: Stack, final: Stack, n_held_out: int, *, cumulative: bool, xp: ModuleType = np
) -> tuple[Calibration, ...]:
    """Weigh what ``early`` missed on the last ``n_held_out`` times against ``final``'s residuals.

    Parameters
    ----------
    early : Stack
        Fitted without those times, with its errors on them.
    final : Stack
        Fitted with them, with errors that end on the last of them.
    n_held_out : int
        V.
    cumulative : bool
        Whether a forecast is the sum of the next values.
    xp : module
        Array namespace of the errors.

    Returns
    -------
    tuple of Calibration
        One a fold.
    """
    seen = on_host(early.errors[:, :, -n_held_out:]) * early.scale[:, :, None]
    reference = mean_square(final.errors[:, :, -n_held_out:], xp=xp) * final.scale**2
    return tuple(
        Calibration(errors, before.coefficients, after.coefficients, size, cumulative)
        for errors, before, after, size in zip(
            seen, early.models, final.models, reference, strict=True
        )
    )


def _median(values: FloatArray, otherwise: float) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else otherwise
