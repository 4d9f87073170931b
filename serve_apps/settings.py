"""Settings of the signal endpoint: what it serves, from where, and how strictly."""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field

from pmx_ray.config import Settings
from pmx_ray.data.sources import PanelSettings
from pmx_ray.errors import SettingsError
from pmx_ray.governance.policy import GovernancePolicy, load_policy
from pmx_ray.llm.settings import LlmSettings
from pmx_ray.place import default_root
from pmx_ray.signals.settings import SignalSettings
from serve_apps.admission import AdmissionSettings


class ServiceSettings(Settings):
    """One signal service.

    Attributes
    ----------
    root : str, optional
        Folder of sweep folders, ledger, models and tokens; ``$PMX_HOME`` unless given.
    prices : PanelSettings
        Where bars come from.
    clock : str
        ``live``: prices older than ``max_price_age_hours`` are stale, and no signal trades on
        them. ``replay``: the last session is taken for today, and every answer says so.
    max_price_age_hours : float
        Oldest newest price; four days span a weekend and a holiday.
    data_quality_threshold : float
        Least quality score of the prices, 0 to 1; below it a new bar is refused.
    bars_every_s : float
        Seconds between looks for a new bar.
    pulse_every_s : float
        Seconds between looks of each replica for new flags, books and champions.
    safe_after_s : float
        Seconds without an answer of the ledger after which the safe route serves.
    signals : SignalSettings
        From forecasts to signals.
    llm : LlmSettings, optional
        The language model; none is asked unless given.
    admission : AdmissionSettings
        Rates and sizes.
    policy : str, optional
        YAML file of the governance policy in force; the built-in one unless given.
    plugins : tuple of str
        Modules that register forecasters of your own.
    keep_requests : int
        Lines of the request trail that are kept.
    """

    root: str | None = None
    prices: PanelSettings
    clock: Literal["live", "replay"] = "live"
    max_price_age_hours: float = Field(default=96.0, gt=0)
    data_quality_threshold: float = Field(default=0.95, ge=0, le=1)
    bars_every_s: float = Field(default=60.0, gt=0)
    pulse_every_s: float = Field(default=0.2, gt=0, le=10)
    safe_after_s: float = Field(default=30.0, gt=0)
    signals: SignalSettings = SignalSettings()
    llm: LlmSettings | None = None
    admission: AdmissionSettings = AdmissionSettings()
    policy: str | None = None
    plugins: tuple[str, ...] = ()
    keep_requests: int = Field(default=100_000, ge=0)

    def home(self) -> Path:
        """Return the folder of sweep folders, ledger, models and tokens.

        Raises
        ------
        SettingsError
            If neither the settings nor ``$PMX_HOME`` name one: a replica's working directory says
            nothing.
        """
        if self.root is not None:
            return Path(self.root).expanduser()
        if not os.environ.get("PMX_HOME"):
            raise SettingsError("root is not set; name the folder of the sweeps, or set PMX_HOME")
        return default_root()

    def policy_in_force(self) -> GovernancePolicy:
        """Return the governance policy of the service.

        Raises
        ------
        SettingsError
            If the file that ``policy`` names is not in the service's folder, or holds none.
        """
        if self.policy is None:
            return GovernancePolicy()
        path = self.home() / self.policy
        if not path.exists():
            raise SettingsError(f"policy {self.policy} is not in the service's folder")
        return load_policy(path)
