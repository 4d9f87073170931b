"""Prometheus' own settings: whom it asks, how often, with which token."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from pmx_ray.errors import SettingsError

DISCOVERY = "prom_metrics_service_discovery.json"
"""File in Ray's folder on the head: the metrics' addresses of every node, kept up to date."""

RAY_FOLDER = "/tmp/ray"  # noqa: S108 - Ray's own, where none is named
"""Where Ray keeps its files unless told."""

RULES_FILE = "alerts.yml"
"""The rules, beside the settings."""

OF_NO_NODE = (44217, 44227)
"""Ports of Ray's autoscaler and dashboard in that file. They are the same for every cluster of a
machine, and the autoscaler may not listen there: a target that is down is to mean a node."""

INTERVAL_S, SERVICE_INTERVAL_S = 10, 5
"""Seconds between scrapes. Ray renews its metrics every ten; a scrape of the service reaches one
replica, so that it is asked more often."""


@dataclass(frozen=True, slots=True)
class ServiceTarget:
    """The signal service as Prometheus reaches it.

    Attributes
    ----------
    url : str
        ``http://host:port`` or ``https://host:port``.
    token_file : str
        File with a token of the scope ``read``; Prometheus reads it, and nobody else. A relative
        path starts at the folder of Prometheus' settings.
    """

    url: str
    token_file: str

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path.strip("/"):
            raise SettingsError(f"service was {self.url}; it must be http://HOST:PORT")
        if parts.username or parts.password:
            raise SettingsError("the service's URL holds a password; a token file is what it takes")


def prometheus_settings(
    *,
    discovery: Path,
    service: ServiceTarget | None = None,
    interval_s: float = INTERVAL_S,
    service_interval_s: float = SERVICE_INTERVAL_S,
) -> dict[str, Any]:
    """Return Prometheus' settings.

    Parameters
    ----------
    discovery : Path
        ``prom_metrics_service_discovery.json`` of the cluster, on the head. A relative path starts
        at the folder of the settings.
    service : ServiceTarget, optional
        The signal service; not asked unless given.
    interval_s : float
        Seconds between scrapes of Ray, and between looks at who is there.
    service_interval_s : float
        Seconds between scrapes of the service.
    """
    jobs: list[dict[str, Any]] = [
        {
            "job_name": "ray",
            # The file is a link into a session's folder, which Prometheus does not watch.
            "file_sd_configs": [
                {"files": [str(discovery)], "refresh_interval": _duration(interval_s)}
            ],
            "relabel_configs": [
                {
                    "source_labels": ["__address__"],
                    "regex": f".*:({'|'.join(map(str, OF_NO_NODE))})",
                    "action": "drop",
                }
            ],
        }
    ]
    if service is not None:
        parts = urlsplit(service.url)
        jobs.append(
            {
                "job_name": "pmx-service",
                "scrape_interval": _duration(service_interval_s),
                "scheme": parts.scheme,
                "authorization": {"credentials_file": service.token_file},
                "static_configs": [{"targets": [parts.netloc]}],
            }
        )
    return {
        "global": {
            "scrape_interval": _duration(interval_s),
            "evaluation_interval": _duration(interval_s),
        },
        "rule_files": [RULES_FILE],
        "scrape_configs": jobs,
    }


def as_yaml(settings: dict[str, Any]) -> str:
    """Return the text of Prometheus' settings; no secret is in it."""
    return yaml.safe_dump(settings, sort_keys=False, width=200)


def _duration(seconds: float) -> str:
    return f"{round(1000 * seconds)}ms"
