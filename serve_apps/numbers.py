"""What a replica counts, in Prometheus' format."""

from functools import cache
from typing import Literal, TypeAlias

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Seconds."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Counted by name; callers may make up others, which count together."""

SIGNALS = "/v1/signals"
"""Path of several tickers' signals; one ticker's is below it."""

Kind: TypeAlias = Literal["signal", "other"]
"""What was asked for: signals come from memory, and pages, explanations and changes take longer."""


def kind_of(path: str) -> Kind:
    """Return what a path asks for."""
    above, _, _ = path.rpartition("/")
    return "signal" if SIGNALS in {path, above} else "other"


class Numbers:
    """Counters and gauges of one replica.

    Parameters
    ----------
    replica : str
        Label of every series.
    """

    def __init__(self, replica: str) -> None:
        self._registry = CollectorRegistry()
        self._replica = replica
        requests = Counter(
            "pmx_http_requests",
            "Requests answered.",
            ("replica", "method", "status"),
            registry=self._registry,
        )
        seconds = Histogram(
            "pmx_http_request_seconds",
            "Time from request to answer inside the replica.",
            ("replica", "kind"),
            buckets=BUCKETS,
            registry=self._registry,
        )
        signals = Counter(
            "pmx_signals_served",
            "Signals served, by the model that made them and by route.",
            ("replica", "source", "route", "fallback"),
            registry=self._registry,
        )
        # Finding a series by its labels takes longer than counting on it.
        self._answered = cache(lambda method, status: requests.labels(replica, method, str(status)))
        self._took = cache(lambda kind: seconds.labels(replica, kind))
        self._made = cache(
            lambda source, route, fallback: signals.labels(
                replica, source, route, str(fallback).lower()
            )
        )
        self._gauges = {
            name: Gauge(f"pmx_{name}", told, ("replica",), registry=self._registry)
            for name, told in (
                ("flags_version", "Version of the flags in effect here."),
                ("flags_live", "1 where the flags' source answers, else 0."),
                ("book_age_seconds", "Seconds since the book was computed."),
                ("prices_stale", "1 where the prices are too old to act on."),
                ("trail_lost", "Lines of the request trail that were dropped."),
            )
        }

    def answered(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count an answer."""
        named = method if method in METHODS else "other"
        self._answered(named, status).inc()
        self._took(kind_of(path)).observe(seconds)

    def served(self, source: str, route: str, *, fallback: bool) -> None:
        """Count a signal."""
        self._made(source, route, fallback).inc()

    def set(self, name: str, value: float) -> None:
        """Set a gauge."""
        self._gauges[name].labels(self._replica).set(value)

    def exposition(self) -> bytes:
        """Return everything as text."""
        text: bytes = generate_latest(self._registry)
        return text
