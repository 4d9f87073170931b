"""The dashboard's pages, rendered when asked for and given out again for a moment."""

import time
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from pmx_ray.clock import Clock
from pmx_ray.data.panel import Panel
from pmx_ray.errors import DataError
from pmx_ray.ledger import Ledger
from pmx_ray.report.dashboard import PAGES, read_facts
from serve_apps.prices import PriceFeed
from serve_apps.settings import ServiceSettings

FRESH_S = 10.0
"""Seconds that a rendered page is given out again."""


@dataclass(frozen=True, slots=True)
class _Rendered:
    """A page, and when it was made."""

    html: str
    at_s: float


class Gallery:
    """Renders one page at a time; a page takes up to a second of one core.

    Parameters
    ----------
    settings : ServiceSettings
        Of the service; say where prices come from and what trades cost.
    home : Path
        Folder of the sweeps.
    ledger : Ledger
        What the pages show; it stays the caller's to close.
    clock : callable
        The time.
    """

    def __init__(
        self, settings: ServiceSettings, *, home: Path, ledger: Ledger, clock: Clock
    ) -> None:
        self._settings, self._home, self._ledger, self._clock = settings, home, ledger, clock
        self._prices = PriceFeed(settings, home=home, clock=clock)
        self._lock = Lock()
        self._rendered: dict[str, _Rendered] = {}

    def page(self, name: str) -> str | None:
        """Return a page by file name, or None where there is no such page.

        Raises
        ------
        LedgerError
            If the ledger cannot be read.
        """
        if name not in PAGES:
            return None
        with self._lock:
            made = self._rendered.get(name)
            if made is None or time.monotonic() - made.at_s > FRESH_S:
                facts = read_facts(
                    self._home,
                    self._ledger,
                    clock=self._clock,
                    panel=self._panel(),
                    costs=self._settings.signals.costs.build(),
                )
                made = self._rendered[name] = _Rendered(PAGES[name](facts), time.monotonic())
        return made.html

    def _panel(self) -> Panel | None:
        """Return the prices that outcomes are judged on; None where none could be read yet."""
        try:
            return self._prices.newest()
        except DataError:
            return None
