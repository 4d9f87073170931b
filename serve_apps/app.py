"""The Serve application: endpoint, models and keeper, from one document of settings.

    serve deploy configs/serve.yaml      # on a running cluster
    pmx serve configs/serve.yaml         # with a cluster of its own, on this machine
"""

from ray import serve
from ray.serve import Application

from serve_apps.deployments import KeeperDeployment, ModelsDeployment, SignalsDeployment
from serve_apps.settings import ServiceSettings


def build(args: ServiceSettings) -> Application:
    """Return the application of ``args``; Serve calls this with the ``args`` of its config.

    Raises
    ------
    SettingsError
        If no root is named.
    """
    settings = args.model_copy(update={"root": str(args.home().resolve())})
    document = settings.model_dump(mode="json")
    models = ModelsDeployment.bind(document)
    keeper = KeeperDeployment.bind(document, models)
    application: Application = SignalsDeployment.bind(document, keeper)
    return application


__all__ = ["build", "serve"]
