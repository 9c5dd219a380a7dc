"""How pages are rendered from templates/."""

import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vidpipe.operations.services import lifecycle
from vidpipe.settings import Settings
from vidpipe.web.access import CSRF_COOKIE, new_csrf_token, set_cookie
from vidpipe.web.problems import Problem

_TEMPLATES = Jinja2Templates(
    env=Environment(
        loader=FileSystemLoader(Path(__file__).parents[1] / "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )
)  # fmt: skip

#: How often Dagster's address is looked up, and those found.
_ADDRESS_FOR_S = 10.0
_dagster_pages: dict[tuple[Path, int], str] = {}


def render(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page; every value in it is escaped."""
    caller = getattr(request.state, "caller", None)
    response = _TEMPLATES.TemplateResponse(request, template, {"caller": caller, **values}, status_code=status)
    if CSRF_COOKIE not in request.cookies:
        set_cookie(request, response, CSRF_COOKIE, new_csrf_token())
    return response


def problem_page(request: Request, problem: Problem, headers: dict[str, str] | None) -> Response:
    """Return the page that reports a problem; who has no key is asked for one."""
    if problem.status == 401 and request.method == "GET":
        return RedirectResponse(f"/login?{urlencode({'next': _path(request)})}", 303)
    page = render(request, "problem.html", problem.status, problem=problem)
    page.headers.update({name: value for name, value in (headers or {}).items() if name.lower() == "retry-after"})
    return page


def _path(request: Request) -> str:
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def dagster_page(settings: Settings) -> str:
    """Return the address of Dagster's page as of a few seconds ago; empty: it does not run."""
    key = (settings.home, int(time.monotonic() / _ADDRESS_FOR_S))
    if (address := _dagster_pages.get(key)) is None:
        address = next((one.address for one in lifecycle.status(settings) if one.name == "web"), "")
        _dagster_pages.clear()
        _dagster_pages[key] = address
    return address
