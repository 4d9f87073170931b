"""Fits: how many times faster than today's libraries, and whether they find the same.

    python -m benchmarks.fits [--quick] [--json PATH] [--check]

Processor seconds of one core; both sides take turns in one run; every ratio stands beside an
agreement of what was found.
"""

import logging
import sys
from collections.abc import Callable

import structlog

from benchmarks.fits import arima, garch, samossa, start, whole_plan
from benchmarks.fits.section import Section, Size
from benchmarks.measuring import Promise, conclude, one_core, options, print_table

SECTIONS: tuple[Callable[[Size], Section], ...] = (
    garch.measure, arima.measure, samossa.measure, start.measure, whole_plan.measure,
)  # fmt: skip


def main() -> int:
    """Measure, print, and judge where asked to."""
    asked = options(__doc__)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    promises: list[Promise] = []
    figures: dict[str, object] = {}
    with one_core():
        for measure in SECTIONS:
            section = measure(Size(asked.quick))
            for title, rows in section.tables.items():
                print_table(title, rows)
            promises += section.promises
            figures[section.name] = section.figures
    return conclude(asked, figures, promises)


if __name__ == "__main__":
    sys.exit(main())
