"""A forecaster class by its address ``package.module:Class``, registered or bare."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, get_type_hints

from pmx_ray.config import Settings, parse, suggestion
from pmx_ray.errors import SettingsError
from pmx_ray.forecasters.protocol import Forecaster
from pmx_ray.forecasters.registry import ForecasterSpec, load_families, register


class NoSettings(Settings):
    """Nothing to set: a bare class takes its arguments itself."""


def spec_of(address: str, given: Mapping[str, Any]) -> ForecasterSpec:
    """Return the spec of the class at ``address``, built with the settings ``given``.

    A class that its module registers is built as a sweep builds it. A bare one is called with its
    settings object, if an argument is annotated with one, else with ``given`` as keyword arguments,
    and is registered under its address for this process.

    Parameters
    ----------
    address : str
        ``package.module:Class``, importable.
    given : mapping of str to value
        Settings that differ from the defaults.

    Raises
    ------
    SettingsError
        If there is no such module or class, or the settings do not fit it.
    """
    build = _found(address)
    for name, family in load_families().items():
        if family.build is build:
            return ForecasterSpec.parse({"name": name, **given}, where=address)
    make = _builder(address, build, given)
    written = ", ".join(f"{key}={value}" for key, value in given.items())
    name = f"{address}({written})" if written else address
    register(name, settings=NoSettings, version="0", summary="a class of the user's")(
        lambda _: make()
    )
    return ForecasterSpec.parse({"name": name})


def _builder(
    address: str, build: Callable[..., Forecaster], given: Mapping[str, Any]
) -> Callable[[], Forecaster]:
    """Return the call that builds a bare class, with a settings object where it asks for one."""
    hints = get_type_hints(getattr(build, "__init__", build))
    for name, hint in hints.items():
        if inspect.isclass(hint) and issubclass(hint, Settings):
            settings = parse(hint, given, where=address)
            return partial(build, **{name: settings})
    _check_arguments(address, build, given)
    return partial(build, **given)


def _found(address: str) -> Callable[..., Forecaster]:
    module, separator, attribute = address.partition(":")
    if not (module and separator and attribute):
        raise SettingsError(f"'{address}' is no class; write it as package.module:Class")
    load_families((module,))
    owner = importlib.import_module(module)
    if not hasattr(owner, attribute):
        known = [name for name, value in vars(owner).items() if inspect.isclass(value)]
        raise SettingsError(f"{module} has no '{attribute}'{suggestion(attribute, known)}")
    found: Callable[..., Forecaster] = getattr(owner, attribute)
    if not callable(found):
        raise SettingsError(f"{address} is a {type(found).__name__}; it must be a class")
    return found


def _check_arguments(
    address: str, build: Callable[..., Forecaster], given: Mapping[str, Any]
) -> None:
    parameters = inspect.signature(build).parameters
    try:
        inspect.signature(build).bind(**given)
    except TypeError as error:
        needed = [name for name, p in parameters.items() if p.default is p.empty]
        raise SettingsError(
            f"{address}: {error}; it takes {', '.join(parameters) or 'nothing'}"
            + (f", and {', '.join(needed)} has no default" if needed else "")
            + "; give values with --setting name=value, or register the class with its settings"
        ) from None
