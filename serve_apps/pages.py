"""The pages behind the API: the dashboard, a login for browsers, and the API's own description."""

import base64
import hashlib
import html
from typing import Annotated
from urllib.parse import parse_qs

import structlog
from fastapi import FastAPI, Path, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from serve_apps.desk import Desk
from serve_apps.gate import COOKIE
from serve_apps.problems import RETRY_S, problem
from serve_apps.slow_lane import BusyError, SlowLane

_log = structlog.get_logger()

COOKIE_S = 12 * 3600


def mount(api: FastAPI, desk: Desk, lane: SlowLane) -> None:
    """Add the pages to an application; they are no part of its described interface."""

    @api.get("/", include_in_schema=False)
    async def root() -> Response:
        return RedirectResponse("/dashboard/index.html")

    @api.get("/dashboard/{name}", include_in_schema=False)
    async def dashboard(
        name: Annotated[str, Path(pattern=r"^[a-z]{1,32}\.html$")],
    ) -> Response:
        try:
            page = await lane.run(lambda: desk.page(name))
        except BusyError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever Ray raises, it is not the caller's
            _log.error("page failed", page=name, error=repr(error))
            return problem(503, "the pages do not answer; come again", retry_after_s=RETRY_S)
        if page is None:
            return problem(404, f"there is no page {name}")
        return HTMLResponse(page, headers=PRIVATE)

    @api.get("/docs", include_in_schema=False)
    def docs() -> Response:
        from serve_apps.api_page import api_page  # noqa: PLC0415 - seconds to import

        return HTMLResponse(api_page(api.openapi()))

    @api.get("/login", include_in_schema=False)
    async def form() -> Response:
        return HTMLResponse(_login_page(), headers=_LOGIN_HEADERS)

    @api.post("/login", include_in_schema=False)
    async def login(request: Request) -> Response:
        token = _token_in(await request.body())
        if desk.keyring.find(token) is None:
            return HTMLResponse(
                _login_page("This token is not known."), status_code=401, headers=_LOGIN_HEADERS
            )
        answer = RedirectResponse("/dashboard/index.html", status_code=303)
        answer.set_cookie(COOKIE, token, max_age=COOKIE_S, httponly=True, samesite="strict")
        return answer


def _token_in(body: bytes) -> str:
    """Return the field ``token`` of a form as browsers send it; empty where there is none."""
    try:
        fields = parse_qs(body.decode("ascii"), max_num_fields=8)
    except ValueError:
        return ""
    return fields.get("token", [""])[0]


PRIVATE = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:26rem;margin:12vh auto;padding:0 1rem;"
    "color-scheme:light dark}input,button{font:inherit;width:100%;padding:.5rem;margin:.25rem 0;"
    "box-sizing:border-box}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_LOGIN_HEADERS = PRIVATE | {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
}


def _login_page(trouble: str = "") -> str:
    said = f'<p role="alert">{html.escape(trouble)}</p>' if trouble else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>pmx-ray: log in</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><main><h1>pmx-ray</h1>{said}"
        '<form method="post" action="/login"><label for="token">Token</label>'
        '<input id="token" name="token" type="password" autocomplete="current-password" required>'
        "<button>Open the dashboard</button></form>"
        "<p>Make one with <code>pmx token NAME --scope read</code>.</p></main></body></html>"
    )
