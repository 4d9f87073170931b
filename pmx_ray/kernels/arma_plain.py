"""The plain twin of the ARMA kernel: the Kalman recursion of one window, term by term."""

import math

import numpy as np

from pmx_ray._typing import FloatArray


def loglikelihood(values: FloatArray, ar: FloatArray, ma: FloatArray, mean: float) -> float:
    """Return the exact Gaussian log-likelihood with the variance at its optimum.

    Parameters
    ----------
    values : ndarray of shape (n,)
    ar, ma : ndarray of shape (3,)
        phi and theta, stationary.
    mean : float

    References
    ----------
    Harvey (1989), Forecasting, Structural Time Series Models and the Kalman Filter, sections 3.1
    and 3.4.
    """
    squares, log_det = 0.0, 0.0
    for innovation, variance in _innovations(values - mean, ar, ma):
        squares += innovation**2 / variance
        log_det += math.log(variance)
    n = len(values)
    return -0.5 * (n * (math.log(2.0 * math.pi * squares / n) + 1.0) + log_det)


def _innovations(
    deviations: FloatArray, ar: FloatArray, ma: FloatArray
) -> list[tuple[float, float]]:
    """Return each one-step error and its variance over that of e, from the stationary state."""
    size = 4
    transition = np.zeros((size, size))
    transition[:3, 0] = ar
    transition[:-1, 1:] = np.eye(size - 1)
    loading = np.r_[1.0, ma]
    shock = np.outer(loading, loading)
    stacked = np.eye(size * size) - np.kron(transition, transition)
    covariance = np.linalg.solve(stacked, shock.ravel()).reshape(size, size)
    state, errors = np.zeros(size), []
    for value in deviations:
        innovation, variance = value - state[0], covariance[0, 0]
        errors.append((float(innovation), float(variance)))
        gain = transition @ covariance[:, 0] / variance
        state = transition @ state + gain * innovation
        covariance = (
            transition @ covariance @ transition.T + shock - variance * np.outer(gain, gain)
        )
    return errors
