"""Start the signal service on a cluster of its own or a running one, and wait until it answers.

This module imports Ray: call ``remote.token.use_token`` first, or the cluster asks for a token that
nobody has.
"""

import errno
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import httpx
from ray import serve

from pmx_ray.errors import ClusterError, SettingsError
from pmx_ray.place import default_root
from pmx_ray.remote.cluster import connected
from serve_apps.app import build_with
from serve_apps.lint import IMPORT_PATH, service_settings
from serve_apps.tokens import load_keyring, tokens_path

Say: TypeAlias = Callable[[str], object]

READY_S = 600.0
"""Seconds until the service must answer; the first start compiles kernels."""

N_CPUS = 2

NAME = "signals"
"""Of the Serve application."""


class Launch:
    """A service that is about to be started.

    Parameters
    ----------
    document : mapping
        Serve config, as ``read_serve_config`` returned it.
    port : int, optional
        In place of the config's.
    where : str
        The config's path, for messages.

    Raises
    ------
    SettingsError
        If the settings are wrong, there are no tokens, or the port is taken.
    """

    def __init__(self, document: Mapping[str, Any], *, port: int | None, where: str) -> None:
        settings = service_settings(document, where=where)
        if settings.root is None:
            settings = settings.model_copy(update={"root": str(default_root().resolve())})
        self._settings = settings
        load_keyring(tokens_path(settings.home()))
        http = dict(document["http_options"])
        self._http = http | ({} if port is None else {"port": port})
        self._http.setdefault("port", 8000)
        applications = {app["import_path"]: app for app in document["applications"]}
        rows = applications[IMPORT_PATH].get("deployments", ())
        self._options = {
            row["name"]: {key: value for key, value in row.items() if key != "name"} for row in rows
        }
        _check_free(self._http["host"], self._http["port"])

    @property
    def url(self) -> str:
        """Address of the service."""
        return f"http://{self._http['host']}:{self._http['port']}"

    @contextmanager
    def running(
        self,
        address: str | None,
        *,
        say: Say,
        dashboard: bool = False,
        stopped: threading.Event | None = None,
    ) -> Iterator[str]:
        """Hold the running service; give its address once it answers.

        Parameters
        ----------
        address : str, optional
            Of a Ray cluster; one is started on this machine unless given.
        say : callable
            Takes lines for people.
        dashboard : bool
            Whether a cluster of its own has Ray's dashboard.
        stopped : Event, optional
            Ends the wait for the service to come up.

        Raises
        ------
        ClusterError
            If the cluster cannot be used, Serve runs on it already with another address, or the
            service does not come up.
        """
        stopped = stopped or threading.Event()
        own = address in (None, "local")
        say(f"serve: starting on {self.url}")
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        os.environ.setdefault("RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S", "1")
        os.environ.setdefault("RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S", "2")
        with connected(address, n_workers=N_CPUS, dashboard=dashboard):
            if not own and serve.status().proxies:
                raise ClusterError(
                    f"Serve runs on {address} already, and its address cannot be changed; deploy "
                    "beside it with: serve deploy"
                )
            serve.start(proxy_location="HeadOnly", http_options=dict(self._http))
            try:
                self._deploy()
                _wait_ready(self.url, say, stopped)
                if not stopped.is_set():
                    say(f"serve: ready; pages at {self.url}/, API at {self.url}/docs")
                yield self.url
            finally:
                if own:
                    serve.shutdown()  # type: ignore[no-untyped-call]
                else:
                    serve.delete(NAME)

    def _deploy(self) -> None:
        try:
            serve.run(
                build_with(self._settings, self._options),
                name=NAME,
                route_prefix="/",
                blocking=False,
            )
        except RuntimeError as error:
            raise ClusterError(
                f"the service did not start: {error} The logs of its replicas are in the folder "
                "logs/serve of Ray's latest session"
            ) from None


def _wait_ready(url: str, say: Say, stopped: threading.Event) -> None:
    until = time.monotonic() + READY_S
    said, said_at = "", 0.0
    while time.monotonic() < until:
        if stopped.is_set():
            return
        try:
            answer = httpx.get(f"{url}/readyz", timeout=5.0)
        except httpx.HTTPError as error:
            why = f"no answer yet ({type(error).__name__})"
        else:
            if answer.status_code == httpx.codes.OK:
                return
            why = str(answer.json().get("detail", answer.status_code))
        if why != said or time.monotonic() - said_at > 10.0:
            say(f"serve: {why}")
            said, said_at = why, time.monotonic()
        stopped.wait(0.5)
    raise ClusterError(f"the service did not come up within {READY_S:.0f} s: {said}")


def _check_free(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise SettingsError(f"port {port} is taken; name another with --port") from None
            raise SettingsError(f"cannot listen on {host}:{port}: {error.strerror}") from None
