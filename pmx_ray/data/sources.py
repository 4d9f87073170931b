"""Every way to a panel, all through the quality gate."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Annotated, TypeAlias

import pandas as pd
from pydantic import Field

from pmx_ray.clock import Clock
from pmx_ray.data.bundled import BundledSettings, bundled_origin, read_bundled
from pmx_ray.data.fetching import VendorSettings, fetch_bars, vendor_sources
from pmx_ray.data.file import FileSettings, read_file
from pmx_ray.data.panel import Panel
from pmx_ray.data.quality import GatePolicy, QualityReport, admit
from pmx_ray.data.rows import long_rows
from pmx_ray.data.selection import select_rows
from pmx_ray.data.simulator import SimulatedSettings, simulate
from pmx_ray.data.vendors import BarSource

PanelSettings: TypeAlias = Annotated[
    BundledSettings | FileSettings | SimulatedSettings | VendorSettings,
    Field(discriminator="source"),
]
"""Where a panel comes from. Simulated prices come only when they are asked for by name."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Rows of a source, not yet seen by the quality gate.

    Attributes
    ----------
    rows : DataFrame
        In long form, with the columns that the gate takes.
    source : str
        Where they come from, in words.
    policy : GatePolicy
        How they are judged.
    origins : tuple of (str, str)
        Ticker and the vendor that had it, where there are several.
    """

    rows: pd.DataFrame
    source: str
    policy: GatePolicy
    origins: tuple[tuple[str, str], ...] = ()

    def until(self, last: date) -> "Prices":
        """Return the rows up to a session; the gate then knows nothing of later ones."""
        return replace(self, rows=self.rows[self.rows["date"] <= pd.Timestamp(last)])

    def admitted(self, *, clock: Clock, threshold: float) -> tuple[Panel, QualityReport]:
        """Return the panel of the rows and what the gate saw; see ``load_panel``."""
        return admit(
            self.rows,
            source=self.source,
            policy=self.policy,
            today=clock().date(),
            threshold=threshold,
            origins=self.origins,
        )


def read_prices(
    settings: PanelSettings,
    *,
    clock: Clock,
    base_dir: Path | None = None,
    bar_sources: Mapping[str, BarSource] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Prices:
    """Return the rows that ``settings`` describe; arguments and errors are ``load_panel``'s."""
    match settings:
        case BundledSettings():
            rows, policy = read_bundled(settings)
            source = bundled_origin(settings.name)
            return Prices(select_rows(rows, settings, source=source), source, policy)
        case FileSettings():
            rows, policy = read_file(settings, base_dir=base_dir)
            source = str(settings.path)
            return Prices(select_rows(rows, settings, source=source), source, policy)
        case SimulatedSettings():
            panel, _ = simulate(settings)
            policy = GatePolicy(calendar=settings.calendar, splits=False)
            return Prices(long_rows(panel), f"simulated {settings.kind}", policy)
        case VendorSettings():
            sources = vendor_sources(settings) if bar_sources is None else bar_sources
            rows, origins = fetch_bars(settings, sources=sources, clock=clock, sleep=sleep)
            return Prices(rows, " then ".join(settings.vendors), settings.policy, origins)


def load_panel(
    settings: PanelSettings,
    *,
    clock: Clock,
    threshold: float = 0.95,
    base_dir: Path | None = None,
    bar_sources: Mapping[str, BarSource] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Panel, QualityReport]:
    """Return the panel that ``settings`` describe and what the quality gate saw.

    Parameters
    ----------
    settings : PanelSettings
        One of the sources.
    clock : Clock
        Time now; no price may be later.
    threshold : float
        Least quality score of a panel that is admitted, 0 to 1.
    base_dir : Path, optional
        Where a relative path in the settings starts; the working folder unless given.
    bar_sources : mapping of str to BarSource, optional
        Vendors by name in place of the real ones.
    sleep : callable
        How to let seconds pass between requests to a vendor.

    Raises
    ------
    SettingsError
        If a name in the settings is not known.
    DataError
        If the source cannot be read; ``QualityError`` if the gate refuses what it holds.
    VendorError
        If no vendor has a ticker.
    """
    prices = read_prices(
        settings, clock=clock, base_dir=base_dir, bar_sources=bar_sources, sleep=sleep
    )
    return prices.admitted(clock=clock, threshold=threshold)
