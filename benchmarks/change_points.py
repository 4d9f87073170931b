"""Change points: sessions to a false alarm on noise, and delays on planted changes.

    python -m benchmarks.change_points [--quick] [--json PATH] [--check]

Run lengths are sessions watched per alarm on long streams of noise, base windows anew after each
alarm. Beside them stand the wrong versions: the threshold bootstrapped from a base window, with
the drift as a maximum or as a mean, and a sum without drift on residuals in sample. Delays are
counted from the first changed session to the close at which the alarm is raised.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from scipy.signal import lfilter

from benchmarks.measuring import Promise, conclude, options, print_table
from pmx_ray._typing import FloatArray
from pmx_ray.kernels.change_points import ChangeSettings, detect
from pmx_ray.kernels.change_points_input import watched_series
from pmx_ray.kernels.change_points_ranks import critical_value
from pmx_ray.kernels.change_points_space import fit_subspace, mean_energies, series_energies
from pmx_ray.kernels.ssa import cut_pages, left_spectrum, residuals

Draw = Callable[[np.random.Generator, int, int], FloatArray]
"""From a generator, N series and T sessions to series (N, T)."""

Row = dict[str, object]

MOST_OFF = 0.20
"""Relative distance of a run length from its target that is promised."""

LEAST_FIT = 0.95
"""R2 of a line through the delays over thresholds that is promised."""

STREAM = 30_000
"""Sessions of one stream of noise."""


def gaussian(rng: np.random.Generator, n: int, t: int) -> FloatArray:
    """Return independent normal values."""
    return rng.normal(size=(n, t))


def student(rng: np.random.Generator, n: int, t: int) -> FloatArray:
    """Return independent values of Student's t with 3 degrees of freedom."""
    return rng.standard_t(3, size=(n, t))


def autoregressive(rng: np.random.Generator, n: int, t: int, *, phi: float = 0.5) -> FloatArray:
    """Return first-order autoregressions, begun 200 sessions before."""
    noise: FloatArray = lfilter([1.0], [1.0, -phi], rng.normal(size=(n, t + 200)), axis=1)
    return noise[:, 200:]


def one_factor(rng: np.random.Generator, n: int, t: int) -> FloatArray:
    """Return tickers that share half of their variance, of Student's t."""
    return rng.standard_t(4, size=(1, t)) + rng.standard_t(4, size=(n, t))


def log_volatility(rng: np.random.Generator, n: int, t: int, *, returns: Draw) -> FloatArray:
    """Return what is watched of prices with such returns, as it is by default."""
    close = np.exp(np.cumsum(0.01 * returns(rng, n, t + 1), axis=1))
    return watched_series(close, ChangeSettings())[:, 1:]


NOISES: Mapping[str, Draw] = {
    "Gaussian": gaussian,
    "Student t, 3 df": student,
    "AR(1), 0.5": autoregressive,
    "AR(1), 0.9": partial(autoregressive, phi=0.9),
    "one factor, t, 4 df": one_factor,
}

VOLATILITIES: Mapping[str, Draw] = {
    f"log volatility, {name}": partial(log_volatility, returns=NOISES[name])
    for name in ("Gaussian", "Student t, 3 df", "one factor, t, 4 df")
}

SIMPLE = ("Gaussian", "Student t, 3 df", "AR(1), 0.5")
PROMISED = (*SIMPLE, *VOLATILITIES)


def run_length(draw: Draw, n_series: int, settings: ChangeSettings, n_alarms: int) -> Row:
    """Return sessions watched per alarm until so many alarms were raised, with a standard error."""
    rng, alarms, watched = np.random.default_rng(1), 0, 0
    while alarms < n_alarms:
        found = detect(draw(rng, n_series, STREAM), settings)
        alarms += len(found.alarms)
        watched += int((~found.blind).sum())
    length = watched / alarms
    return {
        "series": n_series, "L": settings.window, "K": settings.n_pages,
        "target": settings.run_length, "found": length,
        "off": length / settings.run_length - 1.0, "se": 1.0 / np.sqrt(alarms),
    }  # fmt: skip


def run_lengths(n_alarms: int) -> list[Row]:
    """Return the run lengths of every noise under four settings."""
    cases = [
        (1, ChangeSettings()),
        (1, ChangeSettings(window=20, n_pages=12, run_length=500)),
        (5, ChangeSettings(window=5, n_pages=20, run_length=250)),
        (10, ChangeSettings(run_length=500)),
    ]
    raw = [(name, draw, *case) for name, draw in NOISES.items() for case in cases]
    defaults = [(1, ChangeSettings()), (10, ChangeSettings(run_length=500))]
    smooth = [(name, draw, *case) for name, draw in VOLATILITIES.items() for case in defaults]
    return [
        {"noise": name, **run_length(draw, n_series, settings, n_alarms)}
        for name, draw, n_series, settings in raw + smooth
        if n_series > 1 or "one factor" not in name
    ]


def bootstrapped(
    draw: Draw, settings: ChangeSettings, *, drift: str, n_bases: int
) -> tuple[float, float]:
    """Return mean and median sessions to an alarm at thresholds from each base window's blocks.

    Runs are followed for 20 targets, and count as long where no alarm came.

    Parameters
    ----------
    draw : callable
        One series of noise.
    settings : ChangeSettings
    drift : str
        ``max``: the largest held-out energy and ``(L - r) sigma^2``, as the method is written;
        ``mean``: half a standard deviation above the mean held-out energy.
    n_bases : int
    """
    rng, length = np.random.default_rng(2), settings.window
    target = settings.run_length / length
    lengths = []
    for _ in range(n_bases):
        stream = draw(rng, 1, settings.base_size + int(20 * target) * length)
        known = np.zeros(stream.shape, np.bool_)
        space = fit_subspace(stream, known, 0, settings, np)
        assert space is not None
        calm = mean_energies(space.held_out)
        if drift == "max":
            c = calm.max() + (length - space.base.rank) * space.base.noise_variance
        else:
            c = calm.mean() + 0.5 * calm.std()
        drawn = rng.choice(calm, size=(200, int(5 * target))) - c
        height = _height(drawn, target)
        starts = np.arange(settings.base_size, stream.shape[1] - length + 1, length)
        new = mean_energies(series_energies(space, stream, known, starts, np)) - c
        lengths.append(length * _first_passage(new[None], height)[0])
    return float(np.mean(lengths)), float(np.median(lengths))


def _sums(steps: FloatArray) -> FloatArray:
    """Return the sums from below at 0 of rows of steps, and their running maximum."""
    level, top = np.zeros(len(steps)), np.zeros(steps.shape)
    most = np.zeros(len(steps))
    for t in range(steps.shape[1]):
        level = np.maximum(0.0, level + steps[:, t])
        most = np.maximum(most, level)
        top[:, t] = most
    return top


def _first_passage(steps: FloatArray, height: float) -> FloatArray:
    beyond = np.sum(_sums(steps) <= height, axis=1, dtype=np.float64)
    return np.minimum(1.0 + beyond, float(steps.shape[1]))


def _height(steps: FloatArray, target: float) -> float:
    """Return the least height whose mean first passage is ``target``; 0 where any will do."""
    top = _sums(steps)
    low, high = 0.0, float(top.max())
    for _ in range(30):
        middle = 0.5 * (low + high)
        mean = np.minimum(1 + (top <= middle).sum(axis=1), steps.shape[1]).mean()
        low, high = (middle, high) if mean < target else (low, middle)
    return high


def wrong_versions(n_bases: int) -> list[Row]:
    """Return the run lengths of thresholds from a bootstrap of the base window."""
    rows: list[Row] = []
    for drift in ("max", "mean"):
        for name in SIMPLE:
            settings = ChangeSettings()
            mean, median = bootstrapped(NOISES[name], settings, drift=drift, n_bases=n_bases)
            rows.append({
                "drift": drift, "noise": name, "target": 1000, "mean": mean, "median": median,
                "followed": 20 * 1000,
            })  # fmt: skip
    return rows


def driftless(n_sessions: int) -> float:
    """Return sessions per alarm of a two-sided sum without drift on residuals in sample."""
    pages = cut_pages(np.random.default_rng(3).normal(size=(1, 1, n_sessions)), 20)
    left = residuals(pages, left_spectrum(pages, [1]).leading(np.array([1])))[0, 0]
    up = down = 0.0
    alarms = 0
    for z in (left / left.std()).tolist():
        up, down = max(0.0, up + z), max(0.0, down - z)
        if max(up, down) >= 4.0:
            up = down = 0.0
            alarms += 1
    return len(left) / alarms


def _scaled(series: FloatArray, *, by: float) -> FloatArray:
    return series * float(np.sqrt(by))


def _shifted(series: FloatArray, *, by: float) -> FloatArray:
    return series + by


def _wave(rng: np.random.Generator, n: int, t: int, *, period: float) -> FloatArray:
    phase = rng.uniform(0.0, 2.0 * np.pi, (n, 1))
    wave: FloatArray = np.sqrt(2.0) * np.sin(2.0 * np.pi * np.arange(t) / period + phase)
    return wave + gaussian(rng, n, t)


def planted(rng: np.random.Generator, n: int, quiet: int, after: int) -> dict[str, FloatArray]:
    """Return series with each kind of change after ``quiet`` sessions, (N, quiet + after)."""
    noise, wave = gaussian(rng, n, quiet + after), _wave(rng, n, quiet, period=10.0)
    calm, later = noise[:, :quiet], noise[:, quiet:]
    changed = {
        "none": later,
        "variance x1.5": _scaled(later, by=1.5),
        "variance x2": _scaled(later, by=2.0),
        "variance x3": _scaled(later, by=3.0),
        "mean + 0.5 sd": _shifted(later, by=0.5),
        "mean + 1 sd": _shifted(later, by=1.0),
        "mean + 2 sd": _shifted(later, by=2.0),
    }
    worlds = {name: np.hstack([calm, part]) for name, part in changed.items()}
    other = _wave(rng, n, after, period=5.0)
    return {**worlds, "period 10 becomes 5": np.hstack([wave, other])}


def delays(n_worlds: int) -> list[Row]:
    """Return how long each kind of change takes, 760 sessions after the base window."""
    settings, quiet, after = ChangeSettings(), 1000, 500
    rows: list[Row] = []
    for n_series in (1, 10):
        found: dict[str, list[tuple[int, int]]] = {}
        rng, counted = np.random.default_rng(4), 0
        while counted < n_worlds:
            worlds = planted(rng, n_series, quiet, after)
            counted += 1
            for name, series in worlds.items():
                changes = detect(series, settings)
                if not (changes.alarms < quiet).any():  # a false alarm before leaves it blind
                    first = [*zip(changes.alarms, changes.onsets, strict=True), (-1, -1)][0]
                    found.setdefault(name, []).append((int(first[0]), int(first[1])))
        rows += [_delay_row(name, n_series, pairs, quiet) for name, pairs in found.items()]
    return rows


def inputs(n_worlds: int) -> list[Row]:
    """Return how long a change of variance takes in returns of Student's t, by what is watched."""
    rows: list[Row] = []
    quiet = 1000
    cases = [(name, n, by) for name in ("log_volatility", "log_return")
             for n in (1, 20) for by in (2.0, 4.0)]  # fmt: skip
    for name, n_series, by in cases:
        rng, pairs = np.random.default_rng(7), []
        settings = ChangeSettings.model_validate({"input": name})
        for _ in range(n_worlds):
            returns = 0.01 * one_factor(rng, n_series, quiet + 500)
            returns[:, quiet:] *= np.sqrt(by)
            close = np.exp(np.cumsum(returns, axis=1))
            changes = detect(watched_series(close, settings), settings)
            if not (changes.alarms < quiet).any():
                first = [*zip(changes.alarms, changes.onsets, strict=True), (-1, -1)][0]
                pairs.append((int(first[0]), int(first[1])))
        label = f"{name}, variance x{by:g}"
        rows.append(_delay_row(label, n_series, pairs, quiet))
    return rows


def _delay_row(name: str, n_series: int, pairs: Sequence[tuple[int, int]], quiet: int) -> Row:
    seen = np.array([pair for pair in pairs if pair[0] >= 0])
    delay = seen[:, 0] - quiet + 1 if len(seen) else np.zeros(0)
    onset = np.abs(seen[:, 1] - quiet) if len(seen) else np.zeros(0)
    return {
        "change": name, "series": n_series, "worlds": len(pairs),
        "seen in 500": len(seen) / len(pairs),
        "median delay": float(np.median(delay)) if len(seen) else np.nan,
        "90 % by": float(np.quantile(delay, 0.9)) if len(seen) else np.nan,
        "onset off by": float(np.median(onset)) if len(seen) else np.nan,
    }  # fmt: skip


def delay_by_height(n_worlds: int) -> tuple[list[Row], float]:
    """Return the mean delay of a doubled standard deviation by threshold, and the R2 of a line."""
    rng, size = np.random.default_rng(5), np.repeat([1.0, 2.0], [600, 1200])
    worlds = rng.normal(size=(n_worlds, 1, 1800)) * size  # changed where the base window ends
    rows: list[Row] = []
    for length in (100, 200, 500, 1000, 2000, 5000, 10_000):
        settings = ChangeSettings(window=5, n_pages=120, run_length=length)
        found = [detect(world, settings).alarms for world in worlds]
        mean = float(np.mean([alarms[0] - 599 for alarms in found if len(alarms)]))
        height = critical_value(60, length / 5, allowance=settings.allowance)
        rows.append({"run length": length, "h": height, "mean delay": mean})
    h, d = (np.array([row[key] for row in rows], np.float64) for key in ("h", "mean delay"))
    return rows, float(np.corrcoef(h, d)[0, 1] ** 2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate, print, and judge where asked to."""
    asked = options(__doc__, arguments)
    n_alarms, n_bases, n_worlds = (250, 40, 40) if asked.quick else (2000, 400, 400)
    lengths = run_lengths(n_alarms)
    print_table("sessions to a false alarm", lengths)
    wrong = wrong_versions(n_bases)
    print_table("thresholds bootstrapped from each base window", wrong)
    without = driftless(20_000 if asked.quick else 400_000)
    print(f"without drift, on residuals in sample: an alarm every {without:.1f} sessions of noise")
    slow = delays(n_worlds)
    print_table("delays", slow)
    watched = inputs(n_worlds)
    print_table("delays by what is watched, one factor, t", watched)
    by_height, fit = delay_by_height(n_worlds)
    print_table(f"delay by threshold; R2 of a line {fit:.3f}", by_height)
    off = [abs(float(str(row["off"]))) for row in lengths if str(row["noise"]) in PROMISED]
    promises = [
        Promise("run length off its target", max(off), MOST_OFF, "<="),
        Promise("delay linear in h, R2", fit, LEAST_FIT, ">="),
    ]
    figures = {
        "run_lengths": lengths, "bootstrapped": wrong, "driftless": without,
        "delays": slow, "inputs": watched, "delay_by_height": by_height, "r2": fit,
    }  # fmt: skip
    return conclude(asked, figures, promises)


if __name__ == "__main__":
    sys.exit(main())
