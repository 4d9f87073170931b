"""Thin Ray Serve shells: an endpoint, the models it serves, the keeper between them, and pages.

Each replica imports what it needs itself when it starts, and not what the others need.
"""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import ray
import structlog
from ray import serve
from ray.serve.config import BackpressureConfig
from ray.serve.handle import DeploymentHandle

from pmx_ray import tracing
from pmx_ray.clock import utc_now
from pmx_ray.config import parse
from serve_apps.settings import ServiceSettings

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from pmx_ray.data.panel import Panel
    from serve_apps.speakers import Said

KEEPER_ANSWERS_S, PAGE_S = 2.0, 9.0
FORECAST_S = 600.0
"""Seconds that the forecasts of a new bar may take, a first compilation of kernels included."""

_log = structlog.get_logger()


@serve.deployment(
    name="Signals",
    num_replicas=2,
    max_ongoing_requests=64,
    max_queued_requests=256,
    backpressure_config=BackpressureConfig(status_code=429, retry_after_s=1),
    health_check_period_s=1,
    health_check_timeout_s=5,
    graceful_shutdown_timeout_s=5,
    ray_actor_options={"num_cpus": 0.1},
)
@serve.ingress()
class SignalsDeployment:
    """Answers HTTP requests from memory.

    Parameters
    ----------
    document : dict
        ``ServiceSettings`` as JSON values.
    keeper : DeploymentHandle
        Asked how it is, by ``GET /v1/status`` alone.
    pages : DeploymentHandle
        Renders the dashboard, which would hold up requests here.
    """

    def __init__(
        self,
        document: dict[str, Any],
        keeper: DeploymentHandle[Any],
        pages: DeploymentHandle[Any],
    ) -> None:
        from serve_apps.desk import open_desk  # noqa: PLC0415
        from serve_apps.smoothing import smooth  # noqa: PLC0415

        settings = parse(ServiceSettings, document, where="service")

        def status() -> dict[str, Any]:
            answer: dict[str, Any] = keeper.status.remote().result(timeout_s=KEEPER_ANSWERS_S)
            return answer

        def page(name: str) -> str | None:
            found: str | None = pages.page.remote(name).result(timeout_s=PAGE_S)
            return found

        replica = serve.get_replica_context().replica_id.unique_id
        self._desk = open_desk(settings, replica=replica, clock=utc_now, keeper=status, page=page)
        self._desk.start()
        smooth()

    def __serve_build_asgi_app__(self) -> "ASGIApp":
        """Return the guarded application, as Serve asks for it."""
        from serve_apps.api import guarded  # noqa: PLC0415

        return guarded(self._desk)

    def check_health(self) -> None:
        """Fail where the watch has ended, so that Serve replaces this replica."""
        if not self._desk.watch.alive:
            raise RuntimeError("the watch of the ledger has ended")

    def __del__(self) -> None:
        with suppress(Exception):
            self._desk.close()


@serve.deployment(
    name="Models",
    num_replicas=2,
    max_ongoing_requests=1,
    max_queued_requests=16,
    graceful_shutdown_timeout_s=5,
    ray_actor_options={"num_cpus": 0.1},
)
class ModelsDeployment:
    """Computes what a model in service expects, out of the path of requests.

    Champion, fallback and challenger are computed by the same replicas, each by the id of its
    version; a version is verified each time, so that what was altered does not speak.

    Parameters
    ----------
    document : dict
        ``ServiceSettings`` as JSON values.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        from pmx_ray.forecasters.registry import load_families  # noqa: PLC0415
        from pmx_ray.governance.opening import open_registry  # noqa: PLC0415

        settings = parse(ServiceSettings, document, where="service")
        load_families(settings.plugins)
        self._registry = open_registry(settings.home(), make_key=False)

    def forecast(self, model: str, panel: "Panel", traceparent: str = "") -> "Said":
        """Return what a model says about ``panel``; a defect is raised, and the keeper says so."""
        from serve_apps.speakers import forecast_one  # noqa: PLC0415

        with tracing.continued(traceparent):
            return forecast_one(panel, self._registry, model)


@serve.deployment(
    name="Pages",
    num_replicas=1,
    max_ongoing_requests=4,
    max_queued_requests=16,
    graceful_shutdown_timeout_s=2,
    ray_actor_options={"num_cpus": 0.1},
)
class PagesDeployment:
    """Renders the dashboard.

    Parameters
    ----------
    document : dict
        ``ServiceSettings`` as JSON values.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        from pmx_ray.ledger import open_ledger  # noqa: PLC0415
        from pmx_ray.place import ledger_url  # noqa: PLC0415
        from serve_apps.gallery import Gallery  # noqa: PLC0415

        settings = parse(ServiceSettings, document, where="service")
        home = settings.home()
        ledger = open_ledger(ledger_url(home))
        self._gallery = Gallery(settings, home=home, ledger=ledger, clock=utc_now)

    async def page(self, name: str) -> str | None:
        """Return a page by file name, or None where there is no such page."""
        return await asyncio.to_thread(self._gallery.page, name)


@serve.deployment(
    name="Keeper",
    num_replicas=1,
    max_ongoing_requests=8,
    health_check_period_s=2,
    health_check_timeout_s=10,
    graceful_shutdown_timeout_s=5,
    ray_actor_options={"num_cpus": 0.1},
)
class KeeperDeployment:
    """Makes a book when a bar arrives or the champion changes; one thread does all of it.

    Parameters
    ----------
    document : dict
        ``ServiceSettings`` as JSON values.
    models : DeploymentHandle
        Of ``ModelsDeployment``.
    """

    def __init__(self, document: dict[str, Any], models: DeploymentHandle[Any]) -> None:
        from pmx_ray.ledger import open_ledger  # noqa: PLC0415
        from pmx_ray.place import ledger_url  # noqa: PLC0415
        from serve_apps.keeper import Keeper  # noqa: PLC0415
        from serve_apps.speakers import ModelFailure  # noqa: PLC0415

        settings = parse(ServiceSettings, document, where="service")
        home = settings.home()

        def forecast(panel: "Panel", ids: tuple[str, ...]) -> "dict[str, Said]":
            shared = ray.put(panel)
            open_span = tracing.traceparent()
            asked = {model: models.forecast.remote(model, shared, open_span) for model in ids}
            found: dict[str, Said] = {}
            for model, response in asked.items():
                try:
                    found[model] = response.result(timeout_s=FORECAST_S)
                except Exception as error:  # noqa: BLE001 - a failed model becomes a reason
                    _log.error("model failed", model=model[:12], error=repr(error))
                    found[model] = ModelFailure(f"it failed with {type(error).__name__}")
            return found

        self._keeper = Keeper(
            settings,
            open_ledger(ledger_url(home)),
            clock=utc_now,
            forecast=forecast,
        )
        self._keeper.start()

    async def status(self) -> dict[str, Any]:
        """Return how the keeper is."""
        return await asyncio.to_thread(self._keeper.status)

    def check_health(self) -> None:
        """Fail where the keeper's thread has ended."""
        if not self._keeper.alive:
            raise RuntimeError("the keeper's thread has ended")

    def __del__(self) -> None:
        with suppress(Exception):
            self._keeper.stop()
