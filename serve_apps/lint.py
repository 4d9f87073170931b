"""A strict reading of a Serve config: Ray itself accepts unknown keys in silence."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from ray.serve.schema import ServeDeploySchema

from pmx_ray.config import parse, read_yaml, suggestion
from pmx_ray.errors import SettingsError
from pmx_ray.hosts import is_loopback
from serve_apps.settings import ServiceSettings

IMPORT_PATH = "serve_apps.app:build"
DEPLOYMENTS = ("Signals", "Models", "Keeper", "Pages")


def read_serve_config(path: Path, *, public: bool = False) -> dict[str, Any]:
    """Return the Serve config of a YAML file, if nothing about it is in doubt.

    Parameters
    ----------
    path : Path
        YAML file for ``serve deploy``.
    public : bool
        Whether it may listen beyond this machine.

    Raises
    ------
    SettingsError
        If a key is unknown, a value is wrong, the host is not named or listens to everyone, or the
        endpoint has no bounded queue.
    """
    document = read_yaml(path)
    _check_keys(document, ServeDeploySchema, str(path))
    try:
        ServeDeploySchema.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{path}: {place}: {first['msg']}") from None
    _check_http(document, path, public=public)
    for n, application in enumerate(document.get("applications", ())):
        _check_application(application, f"{path}: applications.{n}")
    return document


def service_settings(document: Mapping[str, Any], *, where: str) -> ServiceSettings:
    """Return the settings of the one signal service of a config.

    Raises
    ------
    SettingsError
        If there is not exactly one, or its settings are wrong.
    """
    found = [app for app in document["applications"] if app["import_path"] == IMPORT_PATH]
    if len(found) != 1:
        raise SettingsError(f"{where}: holds {len(found)} applications of {IMPORT_PATH}; write one")
    return parse(ServiceSettings, found[0].get("args", {}), where=f"{where}: args")


def _check_keys(values: Mapping[str, Any], model: type[BaseModel], where: str) -> None:
    for key, value in values.items():
        if key not in model.model_fields:
            known = list(model.model_fields)
            raise SettingsError(f"{where}: unknown key '{key}'{suggestion(str(key), known)}")
        for inner in _models_in(model.model_fields[key].annotation):
            parts = value if isinstance(value, list) else [value]
            for n, part in enumerate(parts):
                if isinstance(part, Mapping):
                    place = f"{key}.{n}" if isinstance(value, list) else key
                    _check_keys(part, inner, f"{where}: {place}")


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for arg in get_args(annotation) for model in _models_in(arg)][:1]


def _check_http(document: Mapping[str, Any], path: Path, *, public: bool) -> None:
    http = document.get("http_options", {})
    host = http.get("host")
    if host is None:
        raise SettingsError(
            f"{path}: http_options.host is not named, and Serve would listen on every interface; "
            "write host: 127.0.0.1"
        )
    if not public and not is_loopback(host):
        raise SettingsError(
            f"{path}: http_options.host is {host}, beyond this machine; put a proxy with TLS in "
            "front of 127.0.0.1, or allow it with --public"
        )
    if not http.get("request_timeout_s"):
        raise SettingsError(
            f"{path}: http_options.request_timeout_s is not set, and a request could wait for ever"
        )


def _check_application(application: Mapping[str, Any], where: str) -> None:
    if application.get("import_path") != IMPORT_PATH:
        return
    parse(ServiceSettings, application.get("args", {}), where=f"{where}: args")
    named = {row["name"]: row for row in application.get("deployments", ())}
    for name in named:
        if name not in DEPLOYMENTS:
            raise SettingsError(
                f"{where}: deployment '{name}' is unknown{suggestion(name, DEPLOYMENTS)}"
            )
    keeper = named.get("Keeper", {})
    if keeper.get("num_replicas", 1) != 1 or keeper.get("autoscaling_config"):
        raise SettingsError(f"{where}: Keeper has one replica, so that books follow each other")
    endpoint = named.get("Signals", {})
    if endpoint.get("max_queued_requests", 0) < 0:
        raise SettingsError(f"{where}: Signals.max_queued_requests is unbounded; write e.g. 256")
    least = _least_replicas(endpoint)
    if least < 2:
        raise SettingsError(f"{where}: Signals may have {least} replicas; with two, one may fail")


def _least_replicas(deployment: Mapping[str, Any]) -> int:
    """Return how many replicas there are at least; Serve scales down to one unless told."""
    n, scaling = deployment.get("num_replicas"), deployment.get("autoscaling_config")
    if n == "auto" or scaling is not None:
        return int((scaling or {}).get("min_replicas", 1))
    return 2 if n is None else int(n)
