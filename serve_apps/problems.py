"""Errors as the API tells them: problem documents (RFC 9457), never a traceback."""

import json
import math
from collections.abc import Mapping

from starlette.responses import Response

from pmx_ray.errors import (
    DataError,
    PmxError,
    RegistryError,
    SettingsError,
    StaleVersionError,
    TakenKeyError,
)
from serve_apps.slow_lane import BusyError

RETRY_S = 2.0
"""When to come again where nothing can be served yet, seconds."""

TITLES: Mapping[int, str] = {
    400: "Bad request",
    401: "No valid token",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "Too slow",
    409: "Conflict",
    413: "Too large",
    422: "Not valid",
    429: "Too many requests",
    500: "Internal error",
    503: "Not available",
}


def problem(
    status: int, detail: str, *, retry_after_s: float | None = None, **more: object
) -> Response:
    """Return a problem document.

    Parameters
    ----------
    status : int
        HTTP status.
    detail : str
        What is wrong and what to do.
    retry_after_s : float, optional
        When to come again, seconds.
    **more
        Further members, as JSON values.
    """
    document = {
        "type": "about:blank",
        "title": TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        **more,
    }
    headers = {}
    if retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="pmx-ray"'
    content = json.dumps(document, ensure_ascii=True).encode()
    return Response(content, status, headers, "application/problem+json")


def status_of(error: PmxError) -> int:
    """Return the HTTP status that an error of the project means to a caller."""
    match error:
        case StaleVersionError() | TakenKeyError() | RegistryError():
            return 409
        case SettingsError() | DataError():
            return 422
        case BusyError():
            return 429
        case _:
            return 503
