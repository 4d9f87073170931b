"""Fits: how many times faster than today's libraries, and whether they find the same.

    python -m benchmarks.fits [--quick] [--json PATH] [--check]

Processor seconds of one core; both sides take turns in one run; every ratio stands beside an
agreement of what was found.
"""

import logging
import re
import sys
from collections.abc import Callable

import structlog

from benchmarks.fits import arima, garch, samossa, start, whole_plan
from benchmarks.fits.peer_environment import LOCK
from benchmarks.fits.section import ABSENT, Section, Size
from benchmarks.measuring import Promise, conclude, one_core, options, print_table
from pmx_ray.provenance import library_version

SECTIONS: tuple[Callable[[Size], Section], ...] = (
    garch.measure, arima.measure, samossa.measure, start.measure, whole_plan.measure,
)  # fmt: skip


def main() -> int:
    """Measure, print, and judge where asked to."""
    asked = options(__doc__)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    promises: list[Promise] = []
    figures: dict[str, object] = {"versions": versions()}
    with one_core():
        for measure in SECTIONS:
            section = measure(Size(asked.quick))
            for title, rows in section.tables.items():
                print_table(title, rows)
            promises += section.promises
            figures[section.name] = section.figures
    return conclude(asked, figures, promises)


def versions() -> dict[str, str]:
    """Return the release of every library that is measured or measured with."""
    own = ("arch", "numba", "numpy", "pmdarima", "scipy", "statsmodels")
    pinned = re.search(r"^statsforecast==(\S+)", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    found = {name: library_version(name) for name in own}
    return {**found, "statsforecast": pinned[1] if pinned else ABSENT}


if __name__ == "__main__":
    sys.exit(main())
