"""The prices a service lives on, read anew once in a while and no more often."""

import time
from pathlib import Path

from pmx_ray.clock import Clock
from pmx_ray.data.panel import Panel
from pmx_ray.data.sources import load_panel
from pmx_ray.errors import DataError, PmxError
from serve_apps.settings import ServiceSettings


class PriceFeed:
    """Reads the prices at most once in ``bars_every_s``; the last that could be read stand.

    Parameters
    ----------
    settings : ServiceSettings
        Of the service; say where prices come from.
    home : Path
        Folder that their path is relative to.
    clock : callable
        The time.
    """

    def __init__(self, settings: ServiceSettings, *, home: Path, clock: Clock) -> None:
        self._settings, self._home, self._clock = settings, home, clock
        self._panel: Panel | None = None
        self._trouble = "the prices were not read yet"
        self._read_at_s = -1e18

    @property
    def panel(self) -> Panel | None:
        """The newest prices that could be read; the same object until others come."""
        return self._panel

    @property
    def trouble(self) -> str:
        """Why the last reading failed; empty where it did not."""
        return self._trouble

    def newest(self) -> Panel:
        """Return the newest prices, or the last known where none could be read.

        Raises
        ------
        DataError
            If none was ever read.
        """
        now_s = time.monotonic()
        if now_s - self._read_at_s >= self._settings.bars_every_s:
            self._read_at_s = now_s
            self._read()
        if self._panel is None:
            raise DataError(self._trouble)
        return self._panel

    def _read(self) -> None:
        try:
            panel, _ = load_panel(
                self._settings.prices,
                clock=self._clock,
                threshold=self._settings.data_quality_threshold,
                base_dir=self._home,
            )
        except PmxError as error:
            self._trouble = str(error)
            return
        self._trouble = ""
        if self._panel is None or panel.sha256 != self._panel.sha256:
            self._panel = panel
