"""GARCH windows: fitted and filtered, on a core and on a card."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.fits.windows import STEPS, return_windows
from benchmarks.gpu.limits import Card, Counts, Work, passes_and_lanes
from benchmarks.gpu.sides import (
    LENGTH,
    SAME_LOGLIK,
    Measured,
    apart,
    many_windows,
    on_one_core,
    row_of,
    walls,
)
from pmx_ray._typing import FloatArray
from pmx_ray.kernels import garch
from pmx_ray.kernels.cuda import garch as on_card
from pmx_ray.kernels.garch import Form

N_STEPS = STEPS[-1]


@dataclass(frozen=True, slots=True)
class Case:
    """A GARCH model and what one pass over one session costs, counted in the PTX of ``garch.cu``.

    Attributes
    ----------
    name : str
    form : Form
    survey, search : int
        Double-precision instructions a session: of one point of the grid, and of the pass with
        derivatives.
    """

    name: str
    form: Form
    survey: int
    search: int


CASES = (
    Case("GARCH(1,1) normal", Form(1, 1, 0, 1, 0), 13, 73),
    Case("GJR(1,1) t", Form(1, 1, 1, 1, 1), 10, 126),
)


def measure(case: Case, n_windows: int, *, n_sample: int, found: Card | None) -> Measured:
    """Measure one core on a sample, and the card on ``n_windows`` where there is one."""
    sample = return_windows(LENGTH, n_sample).values
    ours = on_one_core(
        partial(fit_and_filter, garch, sample, case.form),
        first=partial(fit_and_filter, garch, sample[:8], case.form),
    )
    row = partial(
        row_of, case.name, ours, unit="window", n_sample=len(sample), n=n_windows,
        work=counted(sample, case, n_windows), limits=found,
    )  # fmt: skip
    if found is None:
        return Measured(row(None))
    theirs = walls(partial(fit_and_filter, on_card, many_windows(n_windows), case.form))
    both = [kernel.fit(sample, case.form).loglik for kernel in (on_card, garch)]
    promise = apart(f"{case.name}: log-likelihoods", *both, limit=SAME_LOGLIK)
    return Measured(row(theirs), (promise,))


def fit_and_filter(kernel: Any, windows: FloatArray, form: Form) -> FloatArray:
    """Return the expected variances of the sessions after each window."""
    fits = kernel.fit(windows, form)
    ahead: FloatArray = kernel.filter_variances(windows, fits.parameters, form, n_steps=N_STEPS)
    return ahead


def counted(windows: FloatArray, case: Case, n_windows: int) -> Work:
    """Count what a sample needs, and return it for ``n_windows``."""
    engine = _Counted(windows, case.form)
    garch.estimate(engine, case.form, windows.shape[1])
    passes, lanes = passes_and_lanes(engine.searches, len(windows))
    readings = -(-engine.n_points // on_card.AT_ONCE) + passes + 3  # scaled, and filtered once
    sessions = float(n_windows * windows.shape[1])
    instructions = case.survey * engine.n_points + case.search * passes
    return Work(sessions * instructions, 8.0 * sessions * readings, passes, lanes)


class _Counted:
    """The processor as an engine, which notes the steps of every search."""

    def __init__(self, windows: FloatArray, form: Form) -> None:
        self._host = garch.Host(windows, form)
        self.searches: list[Counts] = []

    def survey(self, grid: FloatArray) -> tuple[FloatArray, FloatArray]:
        self.n_points = len(grid)
        return self._host.survey(grid)

    def search(self, *given: Any) -> Any:
        found = self._host.search(*given)
        self.searches.append(found[2])
        return found
