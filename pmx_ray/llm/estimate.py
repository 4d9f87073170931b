"""Means over questions of many cutoffs, with intervals that know which prices moved together."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over n questions with its interval; NaN where there is none."""

    value: float
    low: float
    high: float
    n: int


def mean(values: Sequence[float], groups: Sequence[Hashable], *, level: float) -> Estimate:
    """Return the mean of values, NaN left out, with an interval that is robust to groups.

    Student's t with as many degrees of freedom as there are groups less one, on the
    cluster-robust standard error.

    References
    ----------
    Cameron, Miller (2015), Journal of Human Resources 50, 317-372, equation 11.
    """
    known = [(v, g) for v, g in zip(values, groups, strict=True) if not math.isnan(v)]
    if not known:
        return Estimate(math.nan, math.nan, math.nan, 0)
    numbers = np.array([v for v, _ in known])
    places = {group: n for n, group in enumerate(dict.fromkeys(g for _, g in known))}
    centre, n_groups = float(numbers.mean()), len(places)
    if n_groups < 2:
        return Estimate(centre, math.nan, math.nan, len(known))
    sums = np.bincount([places[g] for _, g in known], weights=numbers - centre)
    error = math.sqrt(n_groups / (n_groups - 1) * float(sums @ sums)) / len(known)
    half = float(stats.t.ppf(0.5 + level / 2, n_groups - 1)) * error
    return Estimate(centre, centre - half, centre + half, len(known))


def share(values: Sequence[float], groups: Sequence[Hashable], *, level: float) -> Estimate:
    """Return the mean of zeros and ones, with the hull of the interval of ``mean`` and Wilson's."""
    found = mean(values, groups, level=level)
    if found.n == 0:
        return found
    wilson = stats.binomtest(round(found.value * found.n), found.n).proportion_ci(level, "wilson")
    low = float(np.fmin(found.low, wilson.low))
    high = float(np.fmax(found.high, wilson.high))
    return Estimate(found.value, max(low, 0.0), min(high, 1.0), found.n)


def apart(one: Estimate, other: Estimate) -> Estimate:
    """Return the difference of two independent means, with its interval."""
    half = math.hypot(one.high - one.value, other.high - other.value)
    value = one.value - other.value
    return Estimate(value, value - half, value + half, one.n + other.n)
