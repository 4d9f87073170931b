"""Names of forecasters, and the spec that says which one runs with which settings."""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, TypeVar

from pmx_ray.config import Settings, parse, suggestion
from pmx_ray.errors import SettingsError
from pmx_ray.forecasters.labels import short
from pmx_ray.forecasters.protocol import Forecaster
from pmx_ray.provenance import canonical_json, library_versions, sha256_hex

Device: TypeAlias = Literal["cpu", "gpu"]

BUILT_IN = (
    "pmx_ray.forecasters.naive",
    "pmx_ray.forecasters.variance",
    "pmx_ray.forecasters.sarimax",
    "pmx_ray.forecasters.garch",
    "pmx_ray.forecasters.samossa",
    "pmx_ray.forecasters.mssa_rl",
    "pmx_ray.forecasters.ensemble",
    "pmx_ray.forecasters.nested",
    "pmx_ray.forecasters.onnx_model",
    "pmx_ray.forecasters.boosting",
    "pmx_ray.forecasters.llm",
)
"""Modules whose import registers the project's own forecasters."""


@dataclass(frozen=True, slots=True)
class Family:
    """One registered forecaster family.

    Attributes
    ----------
    name : str
        What settings files call it.
    settings : type of Settings
        Its parameters with their defaults.
    build : callable
        Settings to forecaster.
    version : str
        Bumped when the family's numbers change; part of every spec id.
    summary : str
        One line for ``pmx forecasters``.
    libraries : callable
        Settings to the distributions whose release can change its numbers; part of every block id.
    fit_s : callable
        Settings to rough seconds of one core that a fit of one ticker takes at T = 1000; used to
        size and order work, never for a result.
    extend_s : float
        Likewise for an extension with its forecast.
    device : callable
        Settings to the device that its blocks need.
    search : mapping
        What a search chooses unless told otherwise, as a settings file writes it; see
        ``SearchSpace``. Empty where there is nothing worth a search.
    source : str, optional
        Hash of the module that registers it; None for the built-in families, whose ``version``
        is kept by hand.
    """

    name: str
    settings: type[Settings]
    build: Callable[[Any], Forecaster]
    version: str
    summary: str
    libraries: Callable[[Any], Sequence[str]]
    fit_s: Callable[[Any], float]
    extend_s: float
    device: Callable[[Any], Device]
    search: Mapping[str, Any]
    source: str | None


_FAMILIES: dict[str, Family] = {}

F = TypeVar("F", bound=Callable[[Any], Forecaster])


def register(
    name: str,
    *,
    settings: type[Settings],
    version: str,
    summary: str,
    libraries: Sequence[str] | Callable[[Any], Sequence[str]] = ("numpy",),
    fit_s: float | Callable[[Any], float] = 1e-4,
    extend_s: float = 1e-4,
    device: Callable[[Any], Device] = lambda _: "cpu",
    search: Mapping[str, Any] = MappingProxyType({}),
) -> Callable[[F], F]:
    """Register a forecaster class, built from its settings, under ``name``.

    Raises
    ------
    SettingsError
        If another module has already taken the name, or a parameter has no default.
    """

    def add(build: F) -> F:
        taken = _FAMILIES.get(name)
        if taken is not None and taken.build.__module__ != build.__module__:
            raise SettingsError(f"forecaster '{name}' is already registered by {taken.build}")
        required = [key for key, field in settings.model_fields.items() if field.is_required()]
        if required:
            raise SettingsError(f"forecaster '{name}': parameter '{required[0]}' needs a default")
        _FAMILIES[name] = Family(
            name,
            settings,
            build,
            version,
            summary,
            libraries if callable(libraries) else lambda _: libraries,
            fit_s if callable(fit_s) else lambda _: fit_s,
            extend_s,
            device,
            search,
            _source_of(build.__module__),
        )
        return build

    return add


def _source_of(module: str) -> str | None:
    """Return the hash of a plugin's source, so that an edited plugin is another forecaster."""
    if module.startswith("pmx_ray."):
        return None
    path = getattr(sys.modules.get(module), "__file__", None)
    return None if path is None else sha256_hex(Path(path).read_bytes())[:16]


def load_families(plugins: Sequence[str] = ()) -> Mapping[str, Family]:
    """Import the built-in families and ``plugins``, and return every family by name.

    Parameters
    ----------
    plugins : sequence of str
        Importable modules that call ``register``.

    Raises
    ------
    SettingsError
        If a plugin cannot be imported.
    """
    for module in BUILT_IN:
        importlib.import_module(module)
    for module in plugins:
        try:
            importlib.import_module(module)
        except Exception as error:  # noqa: BLE001 - a plugin is the user's code; say which and why
            why = " ".join(str(error).split()) or type(error).__name__
            raise SettingsError(f"plugins: module '{module}' cannot be imported: {why}") from None
    return dict(sorted(_FAMILIES.items()))


def family(name: str) -> Family:
    """Return the family registered as ``name``.

    Raises
    ------
    SettingsError
        If there is none.
    """
    load_families()
    if name not in _FAMILIES:
        raise SettingsError(f"unknown forecaster '{name}'{suggestion(name, list(_FAMILIES))}")
    return _FAMILIES[name]


@dataclass(frozen=True, slots=True)
class ForecasterSpec:
    """A forecaster by name with all its parameters, sorted; the unit that is compared.

    Attributes
    ----------
    name : str
        A registered family.
    params : tuple of (str, value)
        Every parameter of the family's settings, defaults included, sorted by name.

    Examples
    --------
    >>> spec = ForecasterSpec.parse({"name": "garch", "dist": "t"})
    >>> spec.label
    'garch(dist=t)'
    """

    name: str
    params: tuple[tuple[str, Any], ...]

    @classmethod
    def parse(cls, written: Mapping[str, Any], *, where: str = "forecasters") -> "ForecasterSpec":
        """Return the spec of ``{"name": ..., param: value, ...}`` with defaults filled in.

        Raises
        ------
        SettingsError
            If the name is unknown or a parameter is not accepted.
        """
        values = dict(written)
        name = values.pop("name", None)
        if not isinstance(name, str):
            raise SettingsError(f"{where}: each forecaster needs a name, e.g. {{name: garch}}")
        try:
            known = family(name)
        except SettingsError as error:
            raise SettingsError(f"{where}: {error}") from None
        settings = parse(known.settings, values, where=f"{where}: {name}")
        return cls(name, tuple(sorted(settings.model_dump(mode="json").items())))

    @property
    def id(self) -> str:
        """Hash of name, parameters and the family's version; 16 hexadecimal digits."""
        document = [self.name, [list(item) for item in self.params], family(self.name).version]
        return sha256_hex(canonical_json(document))[:16]

    @property
    def settings(self) -> Settings:
        """The family's settings with these parameters."""
        return family(self.name).settings.model_validate(dict(self.params))

    @property
    def label(self) -> str:
        """The name with the parameters that do not follow from the others; unique among specs."""
        settings = self.settings
        written = [f"{key}={short(getattr(settings, key))}" for key in self._told(settings)]
        return f"{self.name}({', '.join(written)})" if written else self.name

    def _told(self, settings: Settings) -> tuple[str, ...]:
        """Return the parameters that tell all the others.

        Those that differ from their defaults do, less any that settings fill in themselves.
        """
        defaults = family(self.name).settings().model_dump(mode="json")
        told = tuple(key for key, value in self.params if value != defaults.get(key))
        if not self._follows(settings, told):
            told = tuple(key for key, _ in self.params)
        for key in told:
            fewer = tuple(other for other in told if other != key)
            told = fewer if self._follows(settings, fewer) else told
        return told

    def _follows(self, settings: Settings, told: tuple[str, ...]) -> bool:
        """Return whether the parameters named in ``told`` alone give these settings."""
        written = {key: value for key, value in self.params if key in told}
        try:
            return type(settings).model_validate(written) == settings
        except ValueError:
            return False

    @property
    def device(self) -> Device:
        """The device that this spec's blocks need."""
        return family(self.name).device(self.settings)

    @property
    def libraries(self) -> dict[str, str]:
        """Versions of what can change this spec's numbers: libraries, and a plugin's own source."""
        known = family(self.name)
        versions = library_versions(known.libraries(self.settings))
        return versions if known.source is None else {**versions, "plugin": known.source}

    def build(self) -> Forecaster:
        """Return the forecaster itself."""
        return family(self.name).build(self.settings)
