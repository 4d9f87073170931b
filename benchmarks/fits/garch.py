"""GARCH by maximum likelihood: ``arch`` against the kernel, in speed and in what is found."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from arch import arch_model

from benchmarks.fits.section import Section, Side, Size, number, speed_row
from benchmarks.fits.windows import LENGTHS, STEPS, Windows, demo_windows, return_windows
from benchmarks.measuring import Promise, side_by_side
from pmx_ray._typing import BoolArray, FloatArray
from pmx_ray.kernels.garch import Fits, Form, filter_variances, fit

N_STEPS = STEPS[-1]

SAME = 1e-6
"""Relative distance of two log-likelihoods that counts as none."""

PROMISED_SHARE = 0.999
"""Share of windows whose log-likelihood is that of the best."""

BREACH = 1e-8
"""How far a point may lie outside of its constraints and still count."""


class Case(NamedTuple):
    """A model, and how many times faster than ``arch`` it is promised to be; 0 is no promise."""

    name: str
    form: Form
    promised: float

    @property
    def asked(self) -> dict[str, Any]:
        """What ``arch`` is asked for."""
        form = self.form
        dist = "t" if form.student else "normal"
        return {"mean": "Constant", "p": form.p, "o": form.o, "q": form.q, "dist": dist}


CASES = (
    Case("GARCH(1,1) normal", Form(1, 1, 0, 1, 0), 300.0),
    Case("GARCH(1,1) t", Form(1, 1, 0, 1, 1), 150.0),
    Case("GJR(1,1) normal", Form(1, 1, 1, 1, 0), 250.0),
    Case("GJR(1,1) t", Form(1, 1, 1, 1, 1), 150.0),
    Case("GARCH(2,2) normal", Form(1, 2, 0, 2, 0), 0.0),
)


@dataclass(frozen=True, slots=True)
class Optimum:
    """Where ``arch`` ended.

    Attributes
    ----------
    loglik : float
        NaN where it failed.
    allowed : bool
        Whether the point satisfies its own constraints to ``BREACH``.
    """

    loglik: float
    allowed: bool


def measure(size: Size) -> Section:
    """Return ratios on the demo's windows, and agreement on windows of every bundled ticker."""
    speeds = [_speed(case, size) for case in CASES]
    promises = [
        Promise(f"{case.name}: times faster than arch", number(row, "ratio"), case.promised, ">=")
        for case, row in zip(CASES, speeds, strict=True)
        if case.promised
    ]
    agreed, rest = [], []
    for case in CASES[:4]:
        row, behind = _agreement(case, size)
        agreed.append(row)
        rest += behind
        if not size.quick:
            share = number(row, "ours best")
            promises.append(
                Promise(f"{case.name}: share of windows at the best", share, PROMISED_SHARE, ">=")
            )
    tables = {
        "GARCH: fit and 20 steps ahead, T = 999": speeds,
        f"GARCH: log-likelihood within {SAME:g} (relative) of the best of both": agreed,
        "GARCH: windows where ours is not the best": rest[:20],
    }
    return Section("garch", tables, promises, {"speed": speeds, "agreement": agreed, "rest": rest})


def arch_fit(returns: FloatArray, case: Case) -> Optimum:
    """Fit one window as a user of ``arch`` does, with its default options, and forecast."""
    model = arch_model(returns, rescale=False, **case.asked)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = model.fit(disp="off", show_warning=False)
            result.forecast(horizon=N_STEPS)
        except (ValueError, np.linalg.LinAlgError):
            return Optimum(np.nan, False)
    return Optimum(
        float(result.loglikelihood), allowed({str(k): float(v) for k, v in result.params.items()})
    )


def allowed(parameters: Mapping[str, float]) -> bool:
    """Return whether coefficients named as in ``arch`` satisfy the constraints of its models."""
    alpha = {k[6:-1]: v for k, v in parameters.items() if k.startswith("alpha[")}
    gamma = {k[6:-1]: v for k, v in parameters.items() if k.startswith("gamma[")}
    beta = [v for k, v in parameters.items() if k.startswith("beta[")]
    bad_news = [alpha.get(lag, 0.0) + v for lag, v in gamma.items()]
    persistence = sum(alpha.values()) + sum(gamma.values()) / 2 + sum(beta)
    least = min([*alpha.values(), *bad_news, *beta])
    return least >= -BREACH and persistence <= 1.0 + BREACH and parameters["omega"] >= -BREACH


def kernel_fit(windows: FloatArray, case: Case) -> Fits:
    """Fit all windows with the kernel, and forecast."""
    found = fit(windows, case.form)
    filter_variances(windows, found.parameters, case.form, n_steps=N_STEPS)
    return found


def behind_best(ours: FloatArray, theirs: FloatArray, counts: BoolArray) -> FloatArray:
    """Return how far ours lies below the best of both, relative to it; never below 0.

    Parameters
    ----------
    ours, theirs : ndarray of shape (W,)
        Log-likelihoods.
    counts : ndarray of bool, shape (W,)
        Where theirs may be the best.
    """
    best = np.where(counts & (theirs > ours), theirs, ours)
    return (best - ours) / np.abs(best)


def _speed(case: Case, size: Size) -> dict[str, object]:
    levels = demo_windows(size.pick(10, 25))
    windows = np.diff(levels, axis=2).reshape(-1, levels.shape[2] - 1)
    sample = windows[:: len(windows) // size.pick(10, 50)]
    kernel_fit(windows, case)
    arch_fit(windows[0], case)
    theirs, ours = side_by_side(
        lambda: [arch_fit(window, case) for window in sample],
        lambda: kernel_fit(windows, case),
        repeats=size.turns,
    )
    return speed_row(case.name, "arch", Side(theirs, len(sample)), Side(ours, len(windows)))


def _agreement(case: Case, size: Size) -> tuple[dict[str, object], list[dict[str, object]]]:
    """Return how often each side is at the best, and the windows where ours is not."""
    gaps, their_gaps, rest = [], [], []
    n_outside = 0
    for length in LENGTHS:
        windows = return_windows(length, size.pick(10, 1700))
        ours = kernel_fit(windows.values, case).loglik
        optima = [arch_fit(window, case) for window in windows.values]
        theirs = np.array([optimum.loglik for optimum in optima])
        counts = np.array([optimum.allowed for optimum in optima])
        n_outside += int((~counts).sum())
        gap = behind_best(ours, theirs, counts)
        their_gaps.append(behind_best(np.where(counts, theirs, -np.inf), ours, np.isfinite(ours)))
        gaps.append(gap)
        rest += [
            _listed(case, windows, n, ours, theirs) for n in np.flatnonzero(gap > SAME).tolist()
        ]
    gap, their_gap = np.concatenate(gaps), np.concatenate(their_gaps)
    row: dict[str, object] = {
        "model": case.name,
        "windows": len(gap),
        "ours best": float((gap <= SAME).mean()),
        "arch best": float((their_gap <= SAME).mean()),
        "ours behind at most": float(gap.max()),
        "arch outside": n_outside,
    }
    return row, rest


def _listed(
    case: Case, windows: Windows, n: int, ours: FloatArray, theirs: FloatArray
) -> dict[str, object]:
    return {
        "model": case.name,
        "ticker": windows.tickers[n],
        "cutoff": windows.cutoffs[n],
        "T": windows.values.shape[1],
        "ours": f"{ours[n]:.6f}",
        "arch": f"{theirs[n]:.6f}",
    }
