"""The page of the requests: who asked what, how it was answered, and how long it took."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from pmx_ray.ledger.request_log import RequestRecord
from pmx_ray.report import typeset
from pmx_ray.report.dashboard.layout import (
    NAMED,
    NUMBER,
    age,
    document,
    missing,
    moment,
    seconds,
    table,
    verdict,
)
from pmx_ray.report.markup import Markup, tag
from pmx_ray.report.shell import Chapter

NAME = "requests.html"

MAX_LISTED = 200
"""Requests listed, newest first."""


def requests_page(requests: Sequence[RequestRecord], *, at: datetime) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    requests : sequence of RequestRecord
        The latest ones, newest first.
    at : datetime
        When the facts were read, UTC.
    """
    if not requests:
        none = missing("No request is on record.", "make serve")
        opening = verdict("Nobody has asked yet.", notes=[none])
        return document(NAME, at=at, opening=opening, chapters=())
    chapters = [
        Chapter("routes", "By route", "", _by_route(requests)),
        Chapter(
            "trail",
            "Trail",
            "The id of a signal names book, flags and ticker; its explain route replays it.",
            _trail(requests),
        ),
    ]
    return document(NAME, at=at, opening=_opening(requests, at), chapters=chapters)


def requests_sentence(requests: Sequence[RequestRecord]) -> str:
    """Return in a sentence how many were answered well, and how fast."""
    latency = np.array([one.latency_s for one in requests])
    bad = sum(one.status >= 500 for one in requests)
    return (
        f"{typeset.things(len(requests), 'request')}, {bad} answered with a server's error; half "
        f"within {seconds(float(np.median(latency)))}, 99 % within {seconds(_tail(latency))}."
    )


def _opening(requests: Sequence[RequestRecord], at: datetime) -> Markup:
    first, last = requests[-1], requests[0]
    tokens = sorted({one.token for one in requests if one.token})
    terms = [
        ("Span", f"{moment(first.at)} to {moment(last.at)} UTC, the last {age(at - last.at)}."),
        ("Tokens", typeset.listing(tokens, most=8) or "None was named."),
    ]
    return verdict(requests_sentence(requests), terms)


def route_of(path: str) -> str:
    """Return a path with what varies in it left out.

    Examples
    --------
    >>> route_of("/v1/signals/AAPL"), route_of("/v1/signals/20260331-0a1b-f7/explain?x=1")
    ('/v1/signals/…', '/v1/signals/…/explain')
    """
    parts = path.partition("?")[0].split("/")
    if parts[:3] == ["", "v1", "signals"] and len(parts) > 3:
        parts[3] = "…"
    return "/".join(parts)


def _by_route(requests: Sequence[RequestRecord]) -> Markup:
    groups: dict[tuple[str, str], list[RequestRecord]] = {}
    for one in requests:
        groups.setdefault((one.method, route_of(one.path)), []).append(one)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    rows = (_route_row(f"{method} {path}", found) for (method, path), found in ordered)
    columns = [
        ("Route", NAMED), ("Requests", NUMBER), ("2xx", NUMBER), ("4xx", NUMBER), ("5xx", NUMBER),
        ("Median", NUMBER), ("p99", NUMBER), ("Slowest", NUMBER),
    ]  # fmt: skip
    return table("Requests by route; times are the endpoint's own", columns, rows, pinned=True)


def _route_row(route: str, found: Sequence[RequestRecord]) -> list[str | Markup]:
    latency = np.array([one.latency_s for one in found])
    counts = [sum(one.status // 100 == first for one in found) for first in (2, 4, 5)]
    return [
        tag("code", route),
        typeset.count(len(found)),
        *map(typeset.count, counts),
        seconds(float(np.median(latency))),
        seconds(_tail(latency)),
        seconds(float(latency.max())),
    ]


def _trail(requests: Sequence[RequestRecord]) -> Markup:
    shown = requests[:MAX_LISTED]
    rows = (
        [
            moment(one.at),
            one.token or typeset.DASH,
            tag("code", f"{one.method} {one.path}"),
            _status(one.status),
            seconds(one.latency_s),
            tag("code", one.signal_id) if one.signal_id else typeset.DASH,
            one.replica,
        ]
        for one in shown
    )
    columns = [
        ("At (UTC)", NAMED), ("Token", NAMED), ("Request", NAMED), ("Status", NUMBER),
        ("Took", NUMBER), ("Signal", NAMED), ("Replica", NAMED),
    ]  # fmt: skip
    return table(f"The last {typeset.things(len(shown), 'request')}", columns, rows)


def _status(status: int) -> Markup:
    return tag("strong", str(status), class_="worse") if status >= 400 else tag("span", str(status))


def _tail(latency: np.ndarray) -> float:
    return float(np.quantile(latency, 0.99, method="higher"))
