"""The Serve application: endpoint, models and keeper, from one document of settings.

serve deploy configs/serve.yaml      # on a running cluster
pmx serve configs/serve.yaml         # with a cluster of its own, on this machine
"""

from collections.abc import Mapping
from typing import Any

from ray.serve import Application

from serve_apps.deployments import (
    KeeperDeployment,
    ModelsDeployment,
    PagesDeployment,
    SignalsDeployment,
)
from serve_apps.settings import ServiceSettings


def build(args: ServiceSettings) -> Application:
    """Return the application of ``args``; Serve calls this with the ``args`` of its config.

    Raises
    ------
    SettingsError
        If no root is named.
    """
    return build_with(args, {})


def build_with(settings: ServiceSettings, options: Mapping[str, Mapping[str, Any]]) -> Application:
    """Return the application with options of its deployments, by name.

    Raises
    ------
    SettingsError
        If no root is named.
    """
    fixed = settings.model_copy(update={"root": str(settings.home().resolve())})
    document = fixed.model_dump(mode="json")

    def bound(deployment: Any, *parts: object) -> Application:
        """Return a deployment with its options; its type is hidden by Ray's decorator."""
        application: Application = deployment.options(**options.get(deployment.name, {})).bind(
            document, *parts
        )
        return application

    keeper = bound(KeeperDeployment, bound(ModelsDeployment))
    return bound(SignalsDeployment, keeper, bound(PagesDeployment))
