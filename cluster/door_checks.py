"""Checks of a cluster's doors: who gets in, and where they listen."""

from collections.abc import Iterator

from cluster.check import Check, judged
from cluster.found import ClusterFacts, JobsApi, Listening
from cluster.topology import Topology
from pmx_ray.hosts import is_loopback

UNAUTHORIZED = 401
FORBIDDEN = 403
WELCOME = 200

SET_MODE = (
    "export RAY_AUTH_MODE=token where the head is started, and start it again; then see that "
    "nothing in front of it adds a token"
)


def door_checks(cluster: ClusterFacts, topology: Topology | None) -> Iterator[Check]:
    """Yield the checks of tokens and ports; those that the head must answer only if joined."""
    yield from api_checks(cluster.api)
    yield judged(
        "joined",
        not cluster.refusal,
        sentence=f"{cluster.address} could not be joined: {cluster.refusal}"
        if cluster.refusal
        else f"{cluster.address} could be joined",
        remedy="ray status on the head; then run this on the head or another node of the cluster, "
        "with its token",
    )
    if cluster.refusal:
        return
    yield _dashboard(cluster.dashboard, topology)
    yield _serve(cluster.serve)
    yield _gcs(cluster.gcs, topology)


def api_checks(api: JobsApi) -> Iterator[Check]:
    """Yield the checks of who gets in at the Jobs API."""
    yield _status("api_without_token", "without a token", api.without_token, UNAUTHORIZED, SET_MODE)
    yield _status("api_wrong_token", "with a wrong token", api.wrong_token, FORBIDDEN, SET_MODE)
    yield _status(
        "api_own_token",
        "with the token of this machine",
        api.own_token,
        WELCOME,
        "bring the head's token here: ray get-auth-token on the head; or see that "
        f"{api.url} is the dashboard of the cluster",
    )


def _status(name: str, how: str, status: int | None, wanted: int, remedy: str) -> Check:
    said = "did not answer a caller" if status is None else f"answered {status} to a caller"
    return judged(
        name,
        status == wanted,
        sentence=f"the Jobs API {said} {how}; it must answer {wanted}",
        remedy=remedy
        if status is not None
        else "see that the dashboard runs and the token exists: ray status on the head, then "
        "ray start --head --include-dashboard=true; it does not start on a port that is taken",
    )


def _dashboard(listening: Listening, topology: Topology | None) -> Check:
    allowed = "127.0.0.1" if topology is None else topology.head.dashboard_host
    return judged(
        "dashboard_bound",
        _within(listening, allowed),
        sentence=f"the dashboard's port {_where(listening)}; it may on loopback"
        + ("" if is_loopback(allowed) else f" and on {allowed}, as the topology says"),
        remedy="start the head with --dashboard-host=127.0.0.1 and reach it through ssh -L, or "
        "name the address as head.dashboard_host in the topology",
    )


def _serve(listening: Listening) -> Check:
    return judged(
        "serve_bound",
        _within(listening, "127.0.0.1"),
        sentence=f"Serve's port {_where(listening)}; it may on loopback only, as the token does "
        "not guard it",
        remedy="write http_options.host: 127.0.0.1 in the Serve config and start Serve again: "
        "serve shutdown, serve deploy; put a proxy with TLS in front",
    )


def _gcs(listening: Listening, topology: Topology | None) -> Check:
    asks = topology is not None and topology.n_nodes > 1
    addresses = listening.addresses
    reached = addresses is not None and any(not is_loopback(one) for one in addresses)
    return judged(
        "gcs_reachable",
        reached or not asks,
        sentence=f"the head's port for nodes {_where(listening)}; beyond loopback the token alone "
        "guards it" + (", and nodes must reach it" if asks else ""),
        remedy="start the head with --node-ip-address set to an address that the nodes can reach",
    )


def _within(listening: Listening, allowed: str) -> bool:
    if listening.addresses is None:
        return False
    return all(
        is_loopback(one) or one == allowed or allowed in ("0.0.0.0", "::")  # noqa: S104 - compared
        for one in listening.addresses
    )


def _where(listening: Listening) -> str:
    if listening.addresses is None:
        return f"{listening.port} is not known, as the head did not answer"
    if not listening.addresses:
        return f"{listening.port} is closed"
    return f"{listening.port} listens on {', '.join(listening.addresses)}"
