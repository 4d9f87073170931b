"""A card against two cores: GARCH and ARIMA windows, SAMoSSA folds, and how near to its limits.

    python -m benchmarks.gpu [--quick] [--json PATH] [--check]

The processor's side is the processor time of one core on a sample; two cores are taken for twice
that. The card's side is wall time from arrays on the host to results on the host, the first call
left out, which compiles. Without a card its columns say "not measured", and so do the promises.
"""

import sys
from collections.abc import Sequence

from benchmarks.fits.section import ABSENT
from benchmarks.gpu import arima, garch, samossa
from benchmarks.gpu.limits import find_card
from benchmarks.gpu.sides import LENGTH, Measured
from benchmarks.measuring import Promise, conclude, options, print_table


def main() -> int:
    """Measure what there is to measure with, and say what was not."""
    asked = options(__doc__)
    found = find_card()
    named = "no card was at hand: its side is not measured" if found is None else found.name
    print(f"card: {named}")
    promises: list[Promise] = []
    n_windows = n_folds = 2_000 if asked.quick else 100_000
    n_sample, n_sample_folds = (400, 20) if asked.quick else (4_000, 200)
    figures: dict[str, object] = {"card": named}

    def tell(name: str, title: str, measured: Sequence[Measured]) -> None:
        figures[name] = [one.row for one in measured]
        print_table(title, [one.row for one in measured])
        promises.extend(promise for one in measured for promise in one.promises)

    tell(
        "garch",
        f"GARCH, {n_windows:,} windows of {LENGTH} returns: fit and 20 steps",
        [garch.measure(case, n_windows, n_sample=n_sample, found=found) for case in garch.CASES],
    )
    tell(
        "arima",
        f"ARMA, {n_windows:,} windows of {LENGTH} returns: fit and last residuals",
        [arima.measure(order, n_windows, n_sample=n_sample, found=found) for order in arima.ORDERS],
    )
    tell(
        "samossa",
        f"SAMoSSA, {n_folds:,} folds of 20 series x {LENGTH} prices",
        [samossa.measure(n_folds, n_sample=n_sample_folds, found=found)],
    )
    if found is None:
        print(f"promises: {ABSENT}")
    return conclude(asked, figures, promises)


if __name__ == "__main__":
    sys.exit(main())
