"""The pages behind the API: the dashboard, a login for browsers, and the API's own description."""

import hashlib
import html
import time
from collections.abc import Mapping
from threading import Lock
from typing import Annotated

from fastapi import FastAPI, Form, Path
from starlette.responses import HTMLResponse, RedirectResponse, Response

from pmx_ray.report.dashboard import read_facts, render_dashboard
from pmx_ray.report.shell import page_policy
from serve_apps.api_page import api_page
from serve_apps.desk import Desk
from serve_apps.gate import COOKIE
from serve_apps.problems import problem

FRESH_S = 10.0
"""Seconds that rendered pages are given out again."""

COOKIE_S = 12 * 3600


class Pages:
    """The dashboard of a desk, rendered at most once in ``FRESH_S``.

    Parameters
    ----------
    desk : Desk
        What it shows.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._lock = Lock()
        self._pages: Mapping[str, str] = {}
        self._at_s = -1e18

    def page(self, name: str) -> str | None:
        """Return a page by file name, or None."""
        with self._lock:
            if time.monotonic() - self._at_s > FRESH_S:
                facts = read_facts(self._desk.home, self._desk.ledger, clock=self._desk.clock)
                self._pages = render_dashboard(facts)
                self._at_s = time.monotonic()
        return self._pages.get(name)
