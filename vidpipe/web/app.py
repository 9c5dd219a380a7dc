"""The application: the API below /api/v1, its OpenAPI document, and the pages."""

from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.staticfiles import StaticFiles

from vidpipe import __version__
from vidpipe.web import problems
from vidpipe.web.api import (
    duplicates,
    exports,
    labels,
    media,
    playback,
    rules,
    rules_report,
    runs,
    search,
    session,
    settings,
    sources,
    status,
    uploads,
    verdicts,
    videos,
)  # fmt: skip
from vidpipe.web.home import WebHome
from vidpipe.web.jobs import Jobs
from vidpipe.web.pages import library, simple, video
from vidpipe.web.pages import rules as rules_pages
from vidpipe.web.pages.rendering import problem_page
from vidpipe.web.rate_limits import RateLimits
from vidpipe.web.request_guard import RequestGuard

STATIC = Path(__file__).parent / "static"
API = "/api/v1"

_API = [
    module.router
    for module in (
        session, videos, search, media, playback, sources, uploads, runs, labels, verdicts, exports, status, settings,
        rules, rules_report, duplicates,
    )
]  # fmt: skip
_PAGES = [module.router for module in (library, video, simple, rules_pages)]


def create_app(home: WebHome) -> FastAPI:
    """Return the application for a library."""
    app = FastAPI(
        title="vidpipe", version=__version__, summary="A library of videos: search, explain, correct, export.",
        openapi_url="/api/openapi.json", docs_url=None, redoc_url=None,
        generate_unique_id_function=lambda route: route.name,  # names the functions of generated clients
    )  # fmt: skip
    app.state.home = home
    app.state.rate_limits = RateLimits(home.settings.library_page.requests_per_minute)
    app.state.jobs = Jobs(home.settings.home, home.config)
    problems.install(app, problem_page)
    app.add_middleware(RequestGuard)
    api = APIRouter(prefix=API, responses=problems.RESPONSES)
    for router in _API:
        api.include_router(router)
    app.include_router(api)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    for router in _PAGES:
        app.include_router(router, include_in_schema=False)
    app.openapi()["components"]["schemas"]["Problem"] = problems.Problem.model_json_schema()
    return app
