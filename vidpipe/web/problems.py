"""Errors as problem+json (RFC 9457) for programs, and as a page for people."""

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from pymongo.errors import PyMongoError
from starlette.exceptions import HTTPException

from vidpipe.errors import SettingsError, UnavailableError, VidpipeError
from vidpipe.library.videos import NoSuchVideo
from vidpipe.redaction import redact
from vidpipe.search.engine import NothingToCompare

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """What went wrong.

    Attributes:
        title: The HTTP status in words.
        status: The HTTP status.
        detail: What was found.
        hint: What to do about it.
    """

    title: str
    status: int
    detail: str
    hint: str = ""

    @classmethod
    def of(cls, status: int, detail: str, hint: str = "") -> "Problem":
        """Return the problem with the title of its status."""
        return cls(title=HTTPStatus(status).phrase, status=status, detail=detail, hint=hint)


class RequestError(VidpipeError):
    """A request that is refused.

    Attributes:
        status: HTTP status code.
        headers: Of the response.
    """

    def __init__(self, status: int, message: str, hint: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(message, hint)
        self.status = status
        self.headers = headers or {}


def http_status(error: VidpipeError) -> int:
    """Return the HTTP status that reports an error."""
    if isinstance(error, RequestError):
        return error.status
    if isinstance(error, NoSuchVideo):
        return 404
    if isinstance(error, UnavailableError) and not isinstance(error, NothingToCompare):
        return 503
    if isinstance(error, SettingsError) or error.exit_code == SettingsError.exit_code:
        return 400
    return 409


#: `responses` of routers: what their endpoints may answer besides success.
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}},
    }
    for status in (400, 401, 403, 404, 405, 409, 412, 413, 415, 416, 422, 423, 429, 503, 507)
}


def problem_response(problem: Problem, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return the response that reports a problem."""
    return JSONResponse(problem.model_dump(), problem.status, headers, MEDIA_TYPE)


#: Returns the page that reports a problem.
ProblemPage = Callable[[Request, Problem, dict[str, str] | None], Response]


def install(app: FastAPI, page: ProblemPage) -> None:
    """Make `app` report every error as problem+json, or as a page where a page was asked for."""

    def answer(request: Request, status: int, detail: str, hint: str, headers: dict[str, str] | None) -> Response:
        problem = Problem.of(status, detail, hint)
        if request.url.path.startswith("/api/"):
            return problem_response(problem, headers)
        return page(request, problem, headers)

    @app.exception_handler(VidpipeError)
    def explained(request: Request, error: VidpipeError) -> Response:
        headers = error.headers if isinstance(error, RequestError) else None
        return answer(request, http_status(error), error.message, error.hint, headers)

    @app.exception_handler(PyMongoError)
    def failed(request: Request, error: PyMongoError) -> Response:
        try:
            with app.state.home.opened().library.connection.errors_explained():
                raise error
        except VidpipeError as reason:
            return explained(request, reason)

    @app.exception_handler(HTTPException)
    def refused(request: Request, error: HTTPException) -> Response:
        detail = str(error.detail) if error.detail else HTTPStatus(error.status_code).phrase
        return answer(request, error.status_code, redact(detail), "", dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> Response:
        found = [f"{'.'.join(map(str, one['loc'][1:])) or one['loc'][0]}: {one['msg']}" for one in error.errors()[:10]]
        return answer(request, 422, redact("; ".join(found)), "/api/openapi.json describes the allowed values.", None)

    @app.exception_handler(Exception)
    def unexpected(request: Request, error: Exception) -> Response:
        log.error("unexpected error in %s %s", request.method, request.url.path, exc_info=error)
        detail = f"Unexpected {type(error).__name__}; the log file says where."
        return answer(request, 500, detail, "This is a bug in vidpipe. Please report it.", None)
