"""ASGI middleware of all responses: content security policy, and no change by forged requests."""

from __future__ import annotations

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vidpipe.web.access import is_forged
from vidpipe.web.problems import Problem, problem_response

#: No inline scripts or styles, nothing from other sites. blob: is for pictures that a page draws itself.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
    "connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; manifest-src 'self'"
)
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class RequestGuard:
    """Refuses forged requests, and adds the content security policy to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.append("Content-Security-Policy", CONTENT_SECURITY_POLICY)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        if scope["method"] not in _SAFE_METHODS and is_forged(Request(scope)):
            problem = Problem(
                title="Forbidden", status=403, detail="The request lacks the token of a page.",
                hint="Reload the page, and allow cookies.",
            )  # fmt: skip
            await problem_response(problem)(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)
