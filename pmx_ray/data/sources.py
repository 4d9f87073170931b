"""Every way to a panel, all through the quality gate."""

import time
from collections.abc import Callable, Mapping
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


def load_panel(
    settings: PanelSettings,
    *,
    clock: Clock,
    threshold: float = 0.95,
    base_dir: Path | None = None,
    until: date | None = None,
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
    until : date, optional
        Last session that the gate and the panel see; later rows are dropped before anything
        looks at them.
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
    today = clock().date()
    match settings:
        case BundledSettings():
            rows, policy = read_bundled(settings)
            source = bundled_origin(settings.name)
            rows = select_rows(_upto(rows, until), settings, source=source)
            return admit(rows, source=source, policy=policy, today=today, threshold=threshold)
        case FileSettings():
            rows, policy = read_file(settings, base_dir=base_dir)
            source = str(settings.path)
            rows = select_rows(_upto(rows, until), settings, source=source)
            return admit(rows, source=source, policy=policy, today=today, threshold=threshold)
        case SimulatedSettings():
            panel, _ = simulate(settings)
            policy = GatePolicy(calendar=settings.calendar, splits=False)
            source = f"simulated {settings.kind}"
            rows = _upto(long_rows(panel), until)
            return admit(rows, source=source, policy=policy, today=today, threshold=threshold)
        case VendorSettings():
            sources = vendor_sources(settings) if bar_sources is None else bar_sources
            rows, origins = fetch_bars(settings, sources=sources, clock=clock, sleep=sleep)
            return admit(
                _upto(rows, until),
                source=" then ".join(settings.vendors),
                policy=settings.policy,
                today=today,
                threshold=threshold,
                origins=origins,
            )


def _upto(rows: pd.DataFrame, until: date | None) -> pd.DataFrame:
    """Return the rows up to a session; their numbers stay."""
    return rows if until is None else rows[rows["date"] <= pd.Timestamp(until)]
